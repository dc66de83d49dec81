//! What the agent makes of messages, and what it tells.

use oslo::context::Context;
use rpc::{
    dhcp::RESERVED_DEVICE_ID,
    dhcp_agent::{AgentUpdated, NetworkUpdated, Payload, PortChanged, WithNetwork},
    payload::{Network, Port},
    reports::Status,
};
use serde_json::json;

use super::{
    lab::{Lab, until},
    server::subnet,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_upstreams() {
    let mut lab = Lab::new().await;
    let mut config = lab.host.config();
    config.report_interval = std::time::Duration::from_millis(300);
    lab.host.start_with(config);
    let network = lab.server.add_network(&["host-a"], &[("10.41.0.0/24", json!({}))]);
    lab.server.tell_created(network).await;
    until("figures are told", || {
        lab.server.inner(|inner| inner.reports.last().is_some_and(|state| state.configurations["ports"] == 1))
    })
    .await;
    let reports = lab.server.inner(|inner| inner.reports.clone());
    let (first, last) = (&reports[0], &reports[reports.len() - 1]);
    assert_eq!(lab.server.inner(|inner| inner.calls[0].clone()), "report_state");
    assert!(first.start_flag && !last.start_flag);
    assert_eq!((first.binary.as_str(), first.topic.as_str()), ("neutron-dhcp-agent", "dhcp_agent"));
    assert_eq!((first.agent_type.as_str(), first.availability_zone.as_deref()), ("DHCP agent", Some("nova")));
    let expected = json!({
        "dhcp_driver": "neutron.agent.linux.dhcp.Dnsmasq", "dhcp_lease_duration": 86400, "log_agent_heartbeats": false,
        "networks": 1, "subnets": 1, "ports": 1,
    });
    assert_eq!(json!(last.configurations), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_told_in_chunks() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.42.0.0/16", json!({}))]).await;
    lab.host.stop().await;
    for _ in 0..150 {
        lab.server.create_port(network, json!([])).await;
    }
    lab.host.start();
    until("all are ready", || lab.server.inner(|inner| inner.ready.len() >= 150)).await;
    assert!(lab.server.inner(|inner| inner.chunks.iter().all(|chunk| *chunk <= 64)));
    assert_eq!(lab.host.file(network, "host").lines().count(), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_ports_at_once_are_few_reloads_and_no_restart() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.43.0.0/16", json!({}))]).await;
    let pid = lab.host.pid(network);
    let mut ports = Vec::new();
    for _ in 0..100 {
        ports.push(lab.server.create_port(network, json!([])).await);
    }
    for port in &ports {
        lab.until_ready(port.id).await;
    }
    assert_eq!(lab.host.pid(network), pid);
    assert!(lab.server.calls_of("get_network_info") <= 1);
    for port in &ports[1..] {
        lab.server.delete_port(port).await;
    }
    until("ports are gone", || lab.host.file(network, "host").lines().count() == 1).await;
    assert_eq!(lab.host.pid(network), pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_free_for_its_next_holder_at_once() {
    for with_program in [true, false] {
        let mut lab = Lab::new().await;
        let network = lab.serve(&[("10.44.0.0/24", json!({"gateway_ip": "10.44.0.1"}))]).await;
        let (first, instance) = lab.boot(network, "first", json!([])).await;
        let address = first.fixed_ips[0].ip_address.to_string();
        assert_eq!(instance.udhcpc(&["-x", "61:01020304"]).await["ip"], address);
        let mac = first.mac_address.to_string();
        until("the lease is noted", || lab.host.file(network, "leases").contains(&mac)).await;
        if !with_program {
            // The program is looked for on the path and beside it; what stands here is no program of that name.
            let lease = dhcp_lease(&lab.host.file(network, "leases"), &mac);
            let packet = lease.release_packet("10.44.0.2".parse().unwrap()).unwrap();
            let server = lab.server.dhcp_ports(network)[0].fixed_ips[0].ip_address;
            assert_eq!(server.to_string(), "10.44.0.2");
            kernel::datagram::send(&lab.host.namespace(network), (server, 67).into(), &packet).unwrap();
            until("the lease is released", || !lab.host.file(network, "leases").contains(&mac)).await;
            continue;
        }
        lab.server.delete_port(&first).await;
        until("the lease is released", || !lab.host.file(network, "leases").contains(&mac)).await;
        let (second, instance) = lab.boot(network, "second", json!([])).await;
        assert_eq!(second.fixed_ips[0].ip_address.to_string(), address);
        assert_eq!(instance.udhcpc(&[]).await["ip"], address);
    }
}

fn dhcp_lease(text: &str, mac: &str) -> isospin_agent::dhcp::lease::Lease {
    isospin_agent::dhcp::lease::parse(text).into_iter().find(|lease| lease.holder == mac).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subnet_restarts_and_a_port_does_not() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.45.0.0/24", json!({}))]).await;
    let pid = lab.host.pid(network);
    let port = lab.server.create_port(network, json!([])).await;
    lab.until_ready(port.id).await;
    lab.server.tell_subnet(network).await;
    let port = lab.server.create_port(network, json!([])).await;
    lab.until_ready(port.id).await;
    assert_eq!(lab.host.pid(network), pid);
    lab.server.inner(|inner| inner.info(network).subnets.push(subnet(network, "10.46.0.0/24", json!({}))));
    lab.server.tell_subnet(network).await;
    until("dnsmasq serves both", || {
        let arguments = lab.host.dnsmasq(network).map(|process| process.arguments().join(" ")).unwrap_or_default();
        arguments.contains("10.45.0.0") && arguments.contains("10.46.0.0")
    })
    .await;
    assert_eq!(lab.server.dhcp_ports(network)[0].fixed_ips.len(), 2);
    // One subnet stops using DHCP.
    lab.server.inner(|inner| inner.info(network).subnets[0].enable_dhcp = false);
    lab.server.tell_subnet(network).await;
    until("dnsmasq serves one", || {
        let arguments = lab.host.dnsmasq(network).map(|process| process.arguments().join(" ")).unwrap_or_default();
        !arguments.contains("10.45.0.0") && arguments.contains("10.46.0.0")
    })
    .await;
    // And the last.
    lab.server.inner(|inner| inner.info(network).subnets[1].enable_dhcp = false);
    lab.server.tell_subnet(network).await;
    until("nothing is served", || !lab.host.directory(network).exists()).await;
    assert_eq!(lab.server.dhcp_ports(network).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_message_changes_nothing() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.47.0.0/24", json!({}))]).await;
    let old = lab.server.create_port(network, json!([])).await;
    lab.until_ready(old.id).await;
    let mut new: Port = old.clone();
    new.revision_number = 5;
    new.mac_address = "fa:16:3e:aa:aa:aa".parse().unwrap();
    lab.server.inner(|inner| inner.put(new.clone()));
    lab.server.tell_port(&new).await;
    until("the new address is written", || lab.host.file(network, "host").contains("fa:16:3e:aa:aa:aa")).await;
    lab.server.tell_port(&old).await;
    lab.server.delete_port(&new).await;
    lab.server.tell_port(&new).await;
    let probe = lab.server.create_port(network, json!([])).await;
    lab.until_ready(probe.id).await;
    let host = lab.host.file(network, "host");
    assert!(!host.contains(&old.mac_address.to_string()) && !host.contains("fa:16:3e:aa:aa:aa"), "{host}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserved_port_is_adopted_with_its_address() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.48.0.0/24", json!({}))]).await;
    let mut port = lab.server.dhcp_ports(network).remove(0);
    lab.host.kill().await;
    // The network was taken from the agent and given back.
    port.device_id = RESERVED_DEVICE_ID.to_owned();
    lab.server.inner(|inner| inner.put(port.clone()));
    lab.host.start();
    until("the port is adopted", || lab.server.dhcp_ports(network)[0].device_id.starts_with("dhcp")).await;
    assert_eq!(lab.server.dhcp_ports(network)[0].id, port.id);
    assert_eq!(lab.server.calls_of("create_dhcp_port"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_retried_and_hold_up_no_other_network() {
    let mut lab = Lab::new().await;
    lab.host.start();
    lab.server.inner(|inner| inner.failing.insert("create_dhcp_port".to_owned()));
    let failing = lab.server.add_network(&["host-a"], &[("10.49.0.0/24", json!({}))]);
    lab.server.tell_created(failing).await;
    until("it was tried several times", || lab.server.calls_of("create_dhcp_port") > 2).await;
    lab.server.inner(|inner| inner.failing.clear());
    lab.host.until_served(failing).await;
    // An agent that cannot make a directory for one network serves the others.
    let blocked = lab.server.add_network(&["host-a"], &[("10.50.0.0/24", json!({}))]);
    std::fs::write(lab.host.directory(blocked), "in the way").unwrap();
    lab.server.tell_created(blocked).await;
    let other = lab.server.add_network(&["host-a"], &[("10.51.0.0/24", json!({}))]);
    lab.server.tell_created(other).await;
    lab.host.until_served(other).await;
    assert!(lab.host.dnsmasq(blocked).is_none());
    std::fs::remove_file(lab.host.directory(blocked)).unwrap();
    lab.host.until_served(blocked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_taken_for_dead_fetches_everything_again() {
    let mut lab = Lab::new().await;
    let mut config = lab.host.config();
    config.report_interval = std::time::Duration::from_millis(200);
    lab.host.start_with(config);
    let network = lab.server.add_network(&["host-a"], &[("10.52.0.0/24", json!({}))]);
    // Nobody tells the agent.
    lab.server.inner(|inner| inner.status = Some(Status::Revived));
    lab.host.until_served(network).await;
    // An operator switches it off: the server then gives it no networks.
    lab.server.inner(|inner| inner.networks.get_mut(&network).unwrap().hosts.clear());
    let agent = rpc::dhcp_agent::Client::new(lab.server.bus.clone()).to_server("host-a");
    agent.agent_updated(&Context::admin(), AgentUpdated { admin_state_up: false }).await.unwrap();
    until("nothing is served", || !lab.host.directory(network).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_switched_off_is_not_served() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.53.0.0/24", json!({}))]).await;
    for up in [false, true] {
        lab.server.inner(|inner| inner.info(network).admin_state_up = up);
        let rest = serde_json::Map::new();
        let network = Network { id: network, admin_state_up: up, mtu: 1450, standard_attr_id: 1, rest };
        let body = NetworkUpdated { network: network.clone() };
        for agent in lab.server.agents(network.id) {
            agent.network_update_end(&Context::admin(), Payload { body: body.clone(), priority: 1 }).await.unwrap();
        }
        until("it is as it shall be", || lab.host.dnsmasq(network.id).is_some() == up).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_about_networks_of_others_are_ignored() {
    let mut lab = Lab::new().await;
    let ours = lab.serve(&[("10.54.0.0/24", json!({}))]).await;
    let theirs = lab.server.add_network(&["host-b"], &[("10.55.0.0/24", json!({}))]);
    let port = lab.server.create_port(theirs, json!([])).await;
    let agents = rpc::dhcp_agent::Client::new(lab.server.bus.clone()).to_server("host-a");
    let body = PortChanged { port: WithNetwork { resource: port, network: None } };
    agents.port_create_end(&Context::admin(), Payload { body, priority: 6 }).await.unwrap();
    lab.server.delete_network(theirs).await;
    let probe = lab.server.create_port(ours, json!([])).await;
    lab.until_ready(probe.id).await;
    assert!(!lab.host.directory(theirs).exists());
    assert_eq!(lab.server.calls_of("release_dhcp_port"), 0);
}
