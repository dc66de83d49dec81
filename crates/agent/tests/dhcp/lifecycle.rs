//! What survives, what comes back and what goes.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use isospin_agent::dhcp::{desired::Service, driver::Driver};
use kernel::process::Signal;
use oslo::messaging::Bus;
use reconcile::Desired;
use serde_json::json;
use types::device;

use super::{
    lab::{Lab, PATIENCE, TestHost, until},
    server::Server,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_dnsmasq_is_back_before_anybody_looks() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.31.0.0/24", json!({}))]).await;
    let (port, instance) = lab.boot(network, "vm", json!([])).await;
    let before = lab.host.dnsmasq(network).unwrap();
    before.signal(Signal::SIGKILL).unwrap();
    let gone = before.pid();
    let after = until("dnsmasq is back", || ![0, gone].contains(&lab.host.pid(network))).await;
    println!("dnsmasq is back after {after:?}");
    assert_eq!(instance.udhcpc(&[]).await["ip"], port.fixed_ips[0].ip_address.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_adopts_what_the_old_one_left() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.32.0.0/24", json!({}))]).await;
    let pid = lab.host.pid(network);
    let tap = device::tap(lab.server.dhcp_ports(network)[0].id);
    let index = lab.host.machine.netlink().unwrap().link(&tap).await.unwrap().unwrap().index;
    for orderly in [true, false] {
        if orderly {
            lab.host.stop().await
        } else {
            lab.host.kill().await
        }
        // A port that comes while no agent runs is served by the next.
        let syncs = lab.server.calls_of("get_active_networks_info");
        let port = lab.server.create_port(network, json!([])).await;
        lab.host.start();
        lab.until_ready(port.id).await;
        assert!(lab.server.calls_of("get_active_networks_info") > syncs);
        assert_eq!(lab.host.pid(network), pid, "dnsmasq was not adopted");
        let address = port.fixed_ips[0].ip_address.to_string();
        assert!(lab.host.file(network, "host").contains(&address));
        assert_eq!(lab.host.machine.netlink().unwrap().link(&tap).await.unwrap().unwrap().index, index);
        let instance = lab.host.plug(network, &format!("vm-{orderly}"), &port).await;
        assert_eq!(instance.udhcpc(&[]).await["ip"], address);
    }
    assert_eq!(lab.server.dhcp_ports(network).len(), 1);
    assert_eq!(lab.server.calls_of("create_dhcp_port"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_network_leaves_nothing_behind() {
    let mut lab = Lab::new().await;
    lab.host.start();
    until("the agent runs", || lab.server.calls_of("get_active_networks_info") > 0).await;
    let before = lab.host.inventory().await;
    let network = lab.serve(&[("10.33.0.0/24", json!({})), ("2001:db8:33::/64", json!({}))]).await;
    lab.host.machine.netlink().unwrap().link_delete(&device::bridge(network)).await.unwrap();
    assert!(lab.host.inventory().await.len() > before.len() + 4);
    lab.server.delete_network(network).await;
    until("the directory is gone", || !lab.host.directory(network).exists()).await;
    assert_eq!(lab.host.inventory().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_went_while_no_agent_ran_is_cleaned_up_after_the_first_full_answer() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.34.0.0/24", json!({}))]).await;
    let kept = lab.serve(&[("10.35.0.0/24", json!({}))]).await;
    lab.host.kill().await;
    lab.server.delete_network(network).await;
    lab.server.inner(|inner| inner.failing.insert("get_active_networks_info".to_owned()));
    let (pid, other) = (lab.host.pid(network), lab.host.pid(kept));
    lab.host.start();
    until("the agent has asked", || lab.server.calls_of("get_active_networks_info") > 3).await;
    assert_eq!(lab.host.pid(network), pid, "cleaned up before the server answered");
    lab.server.inner(|inner| inner.failing.clear());
    until("the directory is gone", || !lab.host.directory(network).exists()).await;
    assert!(!lab.host.system().namespace_exists(&device::dhcp_namespace(network)));
    assert_eq!(lab.host.pid(kept), other);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_left_alone() {
    let mut lab = Lab::new().await;
    let foreign = format!("qdhcp-{}", types::NetworkId::random());
    lab.host.system().namespace_create(&foreign).unwrap();
    let network = lab.serve(&[("10.36.0.0/24", json!({}))]).await;
    // Not a network's directory.
    fs::create_dir_all(lab.host.confs.join("notes")).unwrap();
    lab.host.stop().await;
    lab.host.start();
    let port = lab.server.create_port(network, json!([])).await;
    lab.until_ready(port.id).await;
    assert!(lab.host.system().namespace_exists(&foreign));
    assert!(lab.host.confs.join("notes").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_put_right() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.37.0.0/24", json!({"gateway_ip": "10.37.0.1"}))]).await;
    let tap = device::tap(lab.server.dhcp_ports(network)[0].id);
    // The agent is done with what it does, or it would put things right sooner than this can break them.
    let port = lab.server.create_port(network, json!([])).await;
    lab.until_ready(port.id).await;
    // The namespace loses its name under a running dnsmasq, which then serves nobody.
    let orphan = lab.host.dnsmasq(network).unwrap();
    lab.host.system().namespace_delete(&device::dhcp_namespace(network)).unwrap();
    let port = lab.server.create_port(network, json!([])).await;
    lab.until_ready(port.id).await;
    assert!(orphan.has_exited());
    lab.host.until_served(network).await;
    lab.host.wire(network, &tap).await;
    let instance = lab.host.plug(network, "vm", &port).await;
    assert_eq!(instance.udhcpc(&[]).await["ip"], port.fixed_ips[0].ip_address.to_string());
    // Its cable is pulled out.
    let netlink = lab.host.machine.netlink().unwrap();
    let before = netlink.link(&tap).await.unwrap().unwrap().index;
    netlink.link_delete(&tap).await.unwrap();
    let started = Instant::now();
    while netlink.link(&tap).await.unwrap().is_none_or(|link| link.index == before) {
        assert!(started.elapsed() < PATIENCE, "the tap does not come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lab.host.wire(network, &tap).await;
    let port = lab.server.create_port(network, json!([])).await;
    lab.until_ready(port.id).await;
    let instance = lab.host.plug(network, "vm2", &port).await;
    assert_eq!(instance.udhcpc(&[]).await["ip"], port.fixed_ips[0].ip_address.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_serve_one_network() {
    let bus = Bus::in_process();
    let server = Server::start(bus.clone());
    let mut hosts = [TestHost::new("host-a", bus.clone()).await, TestHost::new("host-b", bus).await];
    let network = server.add_network(&["host-a", "host-b"], &[("10.38.0.0/24", json!({"gateway_ip": "10.38.0.1"}))]);
    for host in &mut hosts {
        host.start();
        host.until_served(network).await;
    }
    let ports = server.dhcp_ports(network);
    assert_eq!(ports.len(), 2);
    server.tell_subnet(network).await;
    let addresses: Vec<String> = ports.iter().map(|port| port.fixed_ips[0].ip_address.to_string()).collect();
    for host in &hosts {
        // Both are told as name servers.
        let line = format!("option:dns-server,{}", addresses.join(","));
        until("both are name servers", || host.file(network, "opts").contains(&line)).await;
    }
    let port = server.create_port(network, json!([])).await;
    for host in &hosts {
        until("the port is known", || host.file(network, "host").contains(&port.mac_address.to_string())).await;
    }
    for host in &mut hosts {
        let own = server.dhcp_ports(network).into_iter().find(|port| port.host == host.name).unwrap();
        host.wire(network, &device::tap(own.id)).await;
        let instance = host.plug(network, "vm", &port).await;
        let lease = instance.udhcpc(&[]).await;
        assert_eq!(lease["ip"], port.fixed_ips[0].ip_address.to_string());
        assert_eq!(lease["serverid"], own.fixed_ips[0].ip_address.to_string());
    }
    server.delete_network(network).await;
    for host in &hosts {
        until("the directory is gone", || !host.directory(network).exists()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_anywhere_leaves_work_that_the_next_one_finishes() {
    let mut lab = Lab::new().await;
    lab.host.start();
    until("the agent runs", || lab.server.calls_of("get_active_networks_info") > 0).await;
    let before = lab.host.inventory().await;
    for round in 0..12 {
        let cidr = format!("10.39.{round}.0/24");
        let network = lab.server.add_network(&["host-a"], &[(&cidr, json!({}))]);
        lab.server.tell_created(network).await;
        // Somewhere in the middle of setting up, and then of taking away.
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        lab.host.kill().await;
        lab.host.start();
        let port = lab.server.create_port(network, json!([])).await;
        lab.until_ready(port.id).await;
        lab.host.until_served(network).await;
        assert_eq!(lab.server.dhcp_ports(network).len(), 1);
        lab.server.delete_network(network).await;
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        lab.host.kill().await;
        lab.host.start();
        until("the directory is gone", || !lab.host.directory(network).exists()).await;
    }
    assert_eq!(lab.host.inventory().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dnsmasq_that_lost_its_pid_file_is_replaced() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.40.0.0/24", json!({}))]).await;
    let port = lab.server.create_port(network, json!([])).await;
    lab.until_ready(port.id).await;
    let lost = lab.host.dnsmasq(network).unwrap();
    fs::remove_file(lab.host.directory(network).join("pid")).unwrap();
    let port = lab.server.create_port(network, json!([])).await;
    lab.until_ready(port.id).await;
    assert!(lost.has_exited());
    lab.host.until_served(network).await;
    // And one that loses it just before its network goes is not forgotten.
    let lost = lab.host.dnsmasq(network).unwrap();
    fs::remove_file(lab.host.directory(network).join("pid")).unwrap();
    lab.server.delete_network(network).await;
    until("the directory is gone", || !lab.host.directory(network).exists()).await;
    assert!(lost.has_exited());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_only_root_can_reach_are_read_again_all_the_same() {
    let mut lab = Lab::new().await;
    fs::create_dir_all(&lab.host.confs).unwrap();
    fs::set_permissions(lab.host.confs.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    let network = lab.serve(&[("10.40.0.0/24", json!({}))]).await;
    let (port, instance) = lab.boot(network, "vm", json!([])).await;
    assert_eq!(instance.udhcpc(&[]).await["ip"], port.fixed_ips[0].ip_address.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_settles_at_once() {
    let lab = Lab::new().await;
    let mut config = lab.host.config();
    config.enable_isolated_metadata = true;
    let gateways = [json!({"gateway_ip": "192.0.2.1"}), json!({"gateway_ip": "2001:db8:40::1"})];
    let [four, six] = gateways;
    let network = lab.server.add_network(&["host-a"], &[("10.40.0.0/24", four), ("2001:db8:40::/64", six)]);
    lab.server.create_port(network, json!([])).await;
    let wanted = lab.server.inner(|inner| {
        let mut own = inner.info(network).ports[0].clone();
        own.device_id = isospin_agent::dhcp::desired::device_id("host-a", network);
        Service::new(inner.info(network), &own, &config)
    });
    let driver = Driver::new(Arc::new(config)).unwrap();
    let desired = Desired::from_iter([(network, wanted)]);
    let driver = reconcile::testing::settles(driver, desired.clone()).await.unwrap();
    assert!(lab.host.dnsmasq(network).is_some());
    // Nothing is wanted any more.
    let driver = reconcile::testing::settles(driver, Desired::from_iter([])).await.unwrap();
    assert_eq!(reconcile::Driver::read(&driver).await.unwrap().len(), 0);
    assert!(!lab.host.system().namespace_exists(&device::dhcp_namespace(network)));
}
