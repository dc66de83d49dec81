//! The endpoints over the in-process bus, called as agents call them.

use std::time::Duration;

use oslo::{context::Context, messaging::Target};
use rpc::{
    dhcp::{Body, FixedIpRequest, PortCreate, PortUpdate},
    l2::Details,
    reports::{Report, Status},
};
use serde_json::json;
use types::{
    NetworkType, PortId,
    agent::{Agent, kind},
    device::{dhcp_device_id, tap},
    network::Network,
    port::Port,
};

use crate::{
    Ctx, event,
    resource::{self, Condition, Resource},
    testing,
};

async fn port(ctx: &Ctx, id: PortId) -> Port {
    let mut conn = ctx.db().reader().await.unwrap();
    resource::find(ctx, &mut conn, &id.to_string()).await.unwrap()
}

async fn agents(ctx: &Ctx) -> Vec<Agent> {
    let mut conn = ctx.db().reader().await.unwrap();
    resource::find_all(ctx, &mut conn, &Default::default()).await.unwrap()
}

fn l2(ctx: &Ctx) -> rpc::l2::Client {
    rpc::l2::Client::new(ctx.parts.bus.clone())
}

fn dhcp(ctx: &Ctx) -> rpc::dhcp::Client {
    rpc::dhcp::Client::new(ctx.parts.bus.clone())
}

fn dhcp_port(network: &Network, host: &str, subnet: types::SubnetId) -> Body<PortCreate> {
    Body {
        port: PortCreate {
            name: String::new(),
            admin_state_up: true,
            device_id: dhcp_device_id(host, network.id),
            network_id: network.id,
            project_id: network.project_id.clone(),
            fixed_ips: vec![FixedIpRequest { subnet_id: Some(subnet), ip_address: None }],
            mac_address: None,
        },
    }
}

#[tokio::test]
async fn an_agent_is_new_then_alive_then_revived() {
    let ctx = testing::serving(|_| {}).await;
    let reports = rpc::reports::Client::new(ctx.parts.bus.clone());
    let caller = Context::admin();
    let report = || Report { agent_state: testing::linux_bridge("a") };
    let now = || chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    let send = async |time: String| reports.report_state(&caller, report(), time).await.unwrap();
    assert_eq!(send("2020-01-01T00:00:00.000000".into()).await, None, "older than the server");
    assert!(agents(&ctx).await.is_empty());
    assert_eq!(send(now()).await, Some(Status::New));
    assert_eq!(send(now()).await, Some(Status::Alive));
    testing::silence(&ctx, "a", 100).await;
    assert!(!agents(&ctx).await[0].alive);
    assert_eq!(send(now()).await, Some(Status::Revived));
    let agent = agents(&ctx).await.remove(0);
    assert!(agent.alive && agent.admin_state_up);
    assert_eq!((agent.agent_type.as_str(), agent.host.as_str()), (kind::LINUX_BRIDGE, "a"));
    assert!(reports.has_alive_neutron_server(&caller).await.unwrap());
    let found = reports.get_agents(&caller, Some(kind::LINUX_BRIDGE.into()), None, Some(true)).await.unwrap();
    assert_eq!(found.len(), 1);
    reports.delete_agent(&caller, "a".into(), kind::LINUX_BRIDGE.into()).await.unwrap();
    assert!(agents(&ctx).await.is_empty());
}

#[tokio::test]
async fn resource_versions_stay_when_a_report_leaves_them_out() {
    let ctx = testing::server(|_| {}).await;
    let mut first = testing::linux_bridge("a");
    first.resource_versions = Some([("Port".to_owned(), "1.11".to_owned())].into());
    testing::report(&ctx, first).await;
    testing::report(&ctx, testing::linux_bridge("a")).await;
    let mut conn = ctx.db().reader().await.unwrap();
    let agent = db::agent::agent_on_host(&mut conn, kind::LINUX_BRIDGE, "a").await.unwrap().unwrap();
    assert_eq!(agent.resource_versions.as_deref(), Some(r#"{"Port":"1.11"}"#));
}

#[tokio::test]
async fn an_operator_disables_describes_and_deletes_an_agent() {
    let ctx = testing::server(|_| {}).await;
    testing::report(&ctx, testing::dhcp("a")).await;
    let mut listener = ctx.parts.bus.listen(rpc::dhcp_agent::TOPIC, "a");
    let id = agents(&ctx).await[0].id.to_string();
    let given = json!({"admin_state_up": false, "description": "rack 3"});
    let given = types::attribute::Attributes::for_update(Agent::TABLE, given.as_object().unwrap().clone()).unwrap();
    let agent = Agent::update(&ctx, &id, given, Condition::default()).await.unwrap();
    assert_eq!((agent.admin_state_up, agent.description.as_deref()), (false, Some("rack 3")));
    event::settle(&ctx).await;
    let told = listener.next().await.unwrap();
    assert_eq!((told.method.as_str(), told.args), ("agent_updated", json!({"payload": {"admin_state_up": false}})));
    Agent::delete(&ctx, &id, Condition::default()).await.unwrap();
    assert!(Agent::delete(&ctx, &id, Condition::default()).await.is_err());
}

#[tokio::test]
async fn a_port_is_down_then_built_then_active_then_down() {
    let ctx = testing::serving(|_| {}).await;
    testing::host(&ctx, "a").await;
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let made = testing::instance_port(&ctx, &network, "a").await;
    assert_eq!((made.status.as_str(), made.binding.vif_type.as_str()), ("DOWN", "bridge"));
    let (caller, device, host) = (Context::admin(), tap(made.id), || Some("a".to_owned()));

    let details = l2(&ctx).get_device_details(&caller, device.as_str().into(), None, host()).await.unwrap();
    let Details::Port(details) = details else { panic!("{details:?}") };
    assert_eq!((details.port_id, details.network_id, details.mtu), (made.id, network.id, Some(network.mtu)));
    assert_eq!((details.device.as_str(), &details.fixed_ips), (device.as_str(), &made.fixed_ips));
    assert_eq!(port(&ctx, made.id).await.status, "BUILD");

    l2(&ctx).update_device_up(&caller, device.as_str().into(), None, host(), None).await.unwrap();
    assert_eq!(port(&ctx, made.id).await.status, "BUILD", "DHCP is not ready");
    dhcp(&ctx).dhcp_ready_on_ports(&caller, vec![made.id, PortId::random()]).await.unwrap();
    let active = port(&ctx, made.id).await;
    assert_eq!(active.status, "ACTIVE");
    assert_eq!(active.standard.revision_number, made.standard.revision_number + 2);

    let down = l2(&ctx).update_device_down(&caller, device.as_str().into(), None, host()).await.unwrap();
    assert!(down.exists);
    assert_eq!(port(&ctx, made.id).await.status, "DOWN");
}

#[tokio::test]
async fn only_the_host_of_a_port_wires_it() {
    let ctx = testing::serving(|_| {}).await;
    testing::report(&ctx, testing::linux_bridge("a")).await;
    let network = testing::network(&ctx).await;
    let made = testing::instance_port(&ctx, &network, "a").await;
    let unbound = testing::instance_port(&ctx, &network, "").await;
    let (caller, other) = (Context::admin(), || Some("b".to_owned()));
    let devices = vec![tap(made.id).as_str().into(), tap(unbound.id).as_str().into(), "tapdeadbeef-00".into()];
    let details = l2(&ctx).get_devices_details_list(&caller, devices, None, other()).await.unwrap();
    let absent = |device: String, no_active_binding| Details::Absent { device, no_active_binding };
    let expected = [absent(tap(made.id), true), absent(tap(unbound.id), false), absent("tapdeadbeef-00".into(), false)];
    assert_eq!(details, expected);
    assert_eq!(port(&ctx, made.id).await.status, "DOWN");

    let up = Some(vec![made.id.to_string().as_str().into()]);
    let down = Some(vec!["tapdeadbeef-00".into()]);
    let list = l2(&ctx).update_device_list(&caller, up, down, None, other(), None).await.unwrap();
    assert_eq!((list.devices_up.len(), list.devices_down[0].exists), (1, true));
    assert_eq!(port(&ctx, made.id).await.status, "DOWN");
    let up = Some(vec![made.id.to_string().as_str().into()]);
    l2(&ctx).update_device_list(&caller, up, None, None, Some("a".into()), None).await.unwrap();
    assert_eq!(port(&ctx, made.id).await.status, "ACTIVE", "without a DHCP agent wiring is all");
}

#[tokio::test]
async fn a_port_made_before_its_agent_is_bound_when_that_reports() {
    let ctx = testing::serving(|_| {}).await;
    let network = testing::network(&ctx).await;
    let made = testing::instance_port(&ctx, &network, "a").await;
    assert_eq!(made.binding.vif_type, "binding_failed");
    testing::report(&ctx, testing::linux_bridge("a")).await;
    assert_eq!(port(&ctx, made.id).await.binding.vif_type, "bridge");
}

#[tokio::test]
async fn a_dhcp_agent_is_given_networks_and_makes_its_port() {
    let ctx = testing::serving(|config| {
        config.quotas.limits.insert("port".into(), 0);
    })
    .await;
    let network = testing::network(&ctx).await;
    let subnet = testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    testing::host(&ctx, "a").await;
    let caller = Context::admin();
    let networks = dhcp(&ctx).get_active_networks_info(&caller, "a".into(), Some(false)).await.unwrap();
    assert_eq!((networks.len(), networks[0].id, networks[0].subnets[0].id), (1, network.id, subnet.id));

    let wanted = dhcp_port(&network, "a", subnet.id);
    let made = dhcp(&ctx).create_dhcp_port(&caller, wanted, "a".into()).await.unwrap().unwrap();
    assert_eq!((made.device_owner.as_str(), made.host.as_str()), ("network:dhcp", "a"));
    assert_eq!((made.port_security_enabled, made.vif_type.as_str()), (false, "bridge"));
    assert_eq!(made.dns_assignment[0].hostname, format!("host-{}", made.fixed_ips[0].ip_address).replace('.', "-"));
    assert_eq!(dhcp(&ctx).get_dhcp_port(&caller, made.id).await.unwrap().unwrap(), made);
    let info = dhcp(&ctx).get_network_info(&caller, network.id, Some("a".into())).await.unwrap().unwrap();
    assert_eq!(info.ports.iter().map(|p| p.id).collect::<Vec<_>>(), [made.id]);

    dhcp(&ctx).release_dhcp_port(&caller, network.id, made.device_id.clone(), Some("a".into())).await.unwrap();
    assert_eq!(dhcp(&ctx).get_dhcp_port(&caller, made.id).await.unwrap(), None);
    dhcp(&ctx).release_dhcp_port(&caller, network.id, made.device_id, None).await.unwrap();
}

#[tokio::test]
async fn a_vanished_network_is_an_ordinary_answer() {
    let ctx = testing::serving(|_| {}).await;
    let network = testing::network(&ctx).await;
    let subnet = testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let caller = Context::admin();
    let other = Network::default();
    assert_eq!(dhcp(&ctx).get_network_info(&caller, other.id, None).await.unwrap(), None);
    let wanted = dhcp_port(&other, "a", subnet.id);
    assert_eq!(dhcp(&ctx).create_dhcp_port(&caller, wanted, "a".into()).await.unwrap(), None);
    let wanted = dhcp_port(&network, "a", types::SubnetId::random());
    assert_eq!(dhcp(&ctx).create_dhcp_port(&caller, wanted, "a".into()).await.unwrap(), None);
}

#[tokio::test]
async fn an_agent_changes_its_own_and_reserved_ports_of_networks_it_serves() {
    let ctx = testing::serving(|_| {}).await;
    testing::host(&ctx, "a").await;
    testing::host(&ctx, "b").await;
    let network = testing::network(&ctx).await;
    let subnet = testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let caller = Context::admin();
    let mut conn = ctx.db().reader().await.unwrap();
    let host = db::dhcp_binding::agents_of_network(&mut conn, network.id).await.unwrap().remove(0).host;
    drop(conn);
    let other = if host == "a" { "b" } else { "a" }.to_owned();
    let wanted = dhcp_port(&network, &host, subnet.id);
    let made = dhcp(&ctx).create_dhcp_port(&caller, wanted, host.clone()).await.unwrap().unwrap();
    let update =
        |device_id: Option<String>| Body { port: PortUpdate { network_id: network.id, fixed_ips: None, device_id } };

    let refused = dhcp(&ctx).update_dhcp_port(&caller, made.id, update(None), other.clone()).await.unwrap();
    assert_eq!(refused, None, "another agent's port");
    let reserved = update(Some("reserved_dhcp_port".into()));
    let kept = dhcp(&ctx).update_dhcp_port(&caller, made.id, reserved, host.clone()).await.unwrap().unwrap();
    assert_eq!(kept.device_id, "reserved_dhcp_port");
    let failed = dhcp(&ctx).update_dhcp_port(&caller, made.id, update(None), other).await.unwrap_err();
    assert_eq!(failed.remote_class(), Some("NetworkNotFound"));
    let own = update(Some(dhcp_device_id(&host, network.id)));
    let taken = dhcp(&ctx).update_dhcp_port(&caller, made.id, own, host).await.unwrap().unwrap();
    assert_eq!((taken.device_id, taken.fixed_ips), (made.device_id, made.fixed_ips));
    assert_eq!(dhcp(&ctx).update_dhcp_port(&caller, PortId::random(), update(None), "a".into()).await.unwrap(), None);
}

#[tokio::test]
async fn tunnel_ends_are_kept_one_for_each_host_and_address() {
    let ctx = testing::serving(|_| {}).await;
    let mut agents = ctx.parts.bus.listen_all(&[rpc::l2_agent::TUNNEL_UPDATE, rpc::l2_agent::TUNNEL_DELETE], "x");
    let caller = Context::admin();
    let sync = async |ip: &str, host: &str| {
        let tunnels = l2(&ctx).tunnel_sync(&caller, Some(ip.into()), Some("vxlan".into()), Some(host.into())).await;
        let tunnels = tunnels.unwrap().tunnels.into_iter();
        tunnels.map(|t| format!("{} {} {:?}", t.ip_address, t.host, t.udp_port)).collect::<Vec<_>>()
    };
    assert_eq!(sync("10.10.0.1", "a").await, ["10.10.0.1 a Some(4789)"]);
    assert_eq!(sync("10.10.0.2", "b").await, ["10.10.0.1 a Some(4789)", "10.10.0.2 b Some(4789)"]);
    assert_eq!(sync("10.10.0.3", "a").await, ["10.10.0.2 b Some(4789)", "10.10.0.3 a Some(4789)"]);
    assert_eq!(sync("10.10.0.2", "a").await, ["10.10.0.2 a Some(4789)"]);
    let mut told = Vec::new();
    while let Ok(Some(incoming)) = tokio::time::timeout(Duration::from_millis(20), agents.next()).await {
        told.push(format!("{} {}", incoming.method, incoming.args["tunnel_ip"].as_str().unwrap()));
    }
    let update = |ip: &str| format!("tunnel_update 10.10.0.{ip}");
    let expected = [update("1"), update("2"), "tunnel_delete 10.10.0.1".to_owned(), update("3"), update("2")];
    assert_eq!(told, expected);
    let bad = l2(&ctx).tunnel_sync(&caller, None, Some("vxlan".into()), None).await.unwrap_err();
    assert_eq!(bad.remote_class(), Some("InvalidInput"));
}

#[tokio::test]
async fn what_is_not_served_fails_as_upstream_has_it() {
    let ctx = testing::serving(|_| {}).await;
    let (caller, target) = (Context::admin(), Target::topic(rpc::l2::TOPIC));
    let call = async |version: &str, method: &str| {
        let bus = &ctx.parts.bus;
        let result = bus.call(&caller, &target, version, method, json!({}), Duration::from_secs(5)).await;
        result.unwrap_err().remote_class().unwrap().to_owned()
    };
    assert_eq!(call("1.0", "no_such").await, "NoSuchMethod");
    assert_eq!(call("3.0", "get_ports").await, "UnsupportedVersion");
    assert_eq!(call("1.9", "get_device_details").await, "TypeError");
}

#[tokio::test]
async fn l2_agents_are_told_of_rewiring_and_not_of_status() {
    let ctx = testing::serving(|_| {}).await;
    testing::report(&ctx, testing::linux_bridge("a")).await;
    let mut agents = ctx.parts.bus.listen_all(&rpc::l2_agent::LINUX_BRIDGE_TOPICS, "a");
    let mut deleted = ctx.parts.bus.listen(rpc::l2_agent::PORT_DELETE, "a");
    let network = testing::network(&ctx).await;
    let made = testing::instance_port(&ctx, &network, "a").await;
    let told = agents.next().await.unwrap();
    assert_eq!((told.method.as_str(), &told.args["port"]["id"]), ("port_update", &json!(made.id)));
    assert_eq!(told.args["network_type"], "local");

    let caller = Context::admin();
    l2(&ctx).update_device_up(&caller, tap(made.id).as_str().into(), None, Some("a".into()), None).await.unwrap();
    assert_eq!(port(&ctx, made.id).await.status, "ACTIVE");
    event::settle(&ctx).await;
    let given = json!({"admin_state_up": false}).as_object().unwrap().clone();
    let given = types::attribute::Attributes::for_update(Port::TABLE, given).unwrap();
    Port::update(&ctx, &made.id.to_string(), given, Condition::default()).await.unwrap();
    event::settle(&ctx).await;
    let told = agents.next().await.unwrap();
    assert_eq!((told.method.as_str(), &told.args["port"]["admin_state_up"]), ("port_update", &json!(false)));

    Port::delete(&ctx, &made.id.to_string(), Condition::default()).await.unwrap();
    event::settle(&ctx).await;
    assert_eq!(deleted.next().await.unwrap().args, json!({"port_id": made.id}));
    Network::delete(&ctx, &network.id.to_string(), Condition::default()).await.unwrap();
    event::settle(&ctx).await;
    assert_eq!(agents.next().await.unwrap().args, json!({"network_id": network.id}));
}

#[tokio::test]
async fn firewalls_get_rules_members_and_what_always_passes() {
    let ctx = testing::serving(|_| {}).await;
    testing::report(&ctx, testing::linux_bridge("a")).await;
    let network = testing::network(&ctx).await;
    let subnet = testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let made = testing::instance_port(&ctx, &network, "a").await;
    let wanted = dhcp_port(&network, "a", subnet.id);
    let caller = Context::admin();
    let trusted = dhcp(&ctx).create_dhcp_port(&caller, wanted, "a".into()).await.unwrap().unwrap();
    let client = rpc::security_group::Client::new(ctx.parts.bus.clone());
    let devices = || vec![tap(made.id), tap(trusted.id)];
    let info = client.security_group_info_for_devices(&caller, devices(), Some("1.3".into())).await.unwrap();
    let info = rpc::interface::encode(&info);
    let (group, address) = (made.security_groups[0].to_string(), made.fixed_ips[0].ip_address.to_string());
    assert_eq!(info["security_groups"][&group].as_array().unwrap().len(), 4, "the default group");
    assert_eq!(info["sg_member_ips"][&group], json!({"IPv4": [[address, null]], "IPv6": []}));
    let listed: Vec<_> = info["devices"].as_object().unwrap().keys().collect();
    assert_eq!(listed, [&made.id.to_string()], "ports of the service are trusted");
    let device = &info["devices"][made.id.to_string()];
    assert_eq!((&device["device"], &device["fixed_ips"]), (&json!(tap(made.id)), &json!([address])));
    assert_eq!((&device["network_id"], &device["security_group_source_groups"]), (&json!(network.id), &json!([group])));
    let prefixes: Vec<_> =
        device["security_group_rules"].as_array().unwrap().iter().map(|r| &r["dest_ip_prefix"]).collect();
    assert_eq!(prefixes, [&json!(format!("{address}/32")), &json!("255.255.255.255/32"), &json!("fe80::/64")]);
    let old = client.security_group_info_for_devices(&caller, devices(), None).await.unwrap();
    assert_eq!(rpc::interface::encode(&old.sg_member_ips)[&group]["IPv4"], json!([address]));
    let expanded = client.security_group_rules_for_devices(&caller, devices()).await.unwrap();
    let rules = &expanded[&tap(made.id)].security_group_rules;
    assert!(rules.iter().all(|rule| rule.remote_group_id.is_none()), "the only member is the port itself");
    assert!(rules.iter().any(|rule| rule.security_group_id.as_ref() == Some(&group)));
}

#[tokio::test]
async fn agents_are_listed_by_life() {
    let ctx = testing::server(|_| {}).await;
    testing::report(&ctx, testing::linux_bridge("a")).await;
    testing::report(&ctx, testing::linux_bridge("b")).await;
    testing::silence(&ctx, "b", 100).await;
    let mut conn = ctx.db().reader().await.unwrap();
    for (alive, host) in [("True", "a"), ("False", "b")] {
        let mut query = db::list::ListQuery::default().matching("alive", alive);
        Agent::refine(&ctx, &mut query).unwrap();
        let found: Vec<Agent> = resource::find_all(&ctx, &mut conn, &query).await.unwrap();
        assert_eq!(found.iter().map(|agent| agent.host.as_str()).collect::<Vec<_>>(), [host]);
    }
}

/// One host is on the physical network, the other only reaches it by tunnels.
#[tokio::test]
async fn a_network_of_several_segments_is_bound_to_the_one_that_a_host_carries() {
    let ctx = testing::serving(|config| {
        config.ml2.vlan_ranges = [("physnet1".to_owned(), vec![(100, 199)])].into();
        config.ml2.vxlan_ranges = vec![(1, 9)];
    })
    .await;
    for (host, key, value) in
        [("a", "interface_mappings", json!({"physnet1": "eth1"})), ("b", "tunnel_types", json!(["vxlan"]))]
    {
        let mut state = testing::linux_bridge(host);
        state.configurations.insert(key.to_owned(), value);
        testing::report(&ctx, state).await;
    }
    let vlan = json!({"provider:network_type": "vlan", "provider:physical_network": "physnet1",
        "provider:segmentation_id": 150});
    let network: Network = testing::create(&ctx, json!({"segments": [vlan, {"provider:network_type": "vxlan"}]})).await;
    assert_eq!(network.mtu, 1450, "the smaller of both");
    for (host, network_type) in [("a", NetworkType::Vlan), ("b", NetworkType::Vxlan)] {
        let port = testing::instance_port(&ctx, &network, host).await;
        let device = tap(port.id);
        let (caller, asks, host) = (Context::admin(), l2(&ctx), host.to_owned());
        let details = asks.get_device_details(&caller, device.as_str().into(), None, Some(host)).await.unwrap();
        let Details::Port(details) = details else { panic!("{details:?}") };
        assert_eq!((details.network_type, details.mtu), (network_type, Some(1450)));
        assert_eq!(details.physical_network.is_some(), network_type == NetworkType::Vlan);
    }
    let neither = testing::instance_port(&ctx, &network, "c").await;
    assert_eq!(neither.binding.vif_type, "binding_failed");
}

/// Agents of Linux bridges report tunnels of vxlan alone: upstream's driver binds a type only where it is reported.
#[tokio::test]
async fn what_linux_bridges_cannot_carry_is_not_bound_and_stands_in_nobodys_way() {
    let ctx = testing::serving(|config| {
        config.ml2.vxlan_ranges = vec![(1, 9)];
        config.ml2.gre_ranges = vec![(1, 9)];
        config.ml2.geneve_ranges = vec![(1, 9)];
    })
    .await;
    let agent = |types: &[&str]| {
        let mut state = testing::linux_bridge("a");
        state.configurations.insert("tunnel_types".to_owned(), json!(types));
        state
    };
    testing::report(&ctx, agent(&["vxlan"])).await;
    let carried: Network = testing::create(&ctx, json!({"provider:network_type": "vxlan"})).await;
    let (caller, asks, host) = (Context::admin(), l2(&ctx), || Some("a".to_owned()));
    for (kind, mtu) in [("gre", 1458), ("geneve", 1450)] {
        let network: Network = testing::create(&ctx, json!({"provider:network_type": kind})).await;
        testing::subnet(&ctx, &network, "10.0.0.0/24").await;
        assert!((1..=9).contains(&network.segments[0].segmentation_id.unwrap()), "{kind}");
        assert_eq!(network.mtu, mtu, "{kind}");
        let failed = testing::instance_port(&ctx, &network, "a").await;
        assert_eq!((failed.binding.vif_type.as_str(), failed.fixed_ips.len()), ("binding_failed", 1), "{kind}");
        assert!(failed.binding.vif_details.is_empty());
        let wired = testing::instance_port(&ctx, &carried, "a").await;
        // The agent asks for both at once, and tells of both.
        let devices: Vec<rpc::l2::Device> = [&failed, &wired].map(|port| tap(port.id).as_str().into()).into();
        let details = asks.get_devices_details_list(&caller, devices.clone(), None, host()).await.unwrap();
        assert!(matches!(&details[0], Details::Absent { no_active_binding: false, .. }), "{:?}", details[0]);
        assert!(matches!(&details[1], Details::Port(port) if port.port_id == wired.id), "{:?}", details[1]);
        asks.update_device_list(&caller, Some(devices), None, None, host(), None).await.unwrap();
        assert_eq!(port(&ctx, wired.id).await.status.as_str(), "ACTIVE");
        let still = port(&ctx, failed.id).await;
        assert_eq!((still.binding.vif_type.as_str(), still.status.as_str()), ("binding_failed", "DOWN"), "{kind}");
        // A network that has another segment besides is bound to that.
        let segments = json!({"segments": [{"provider:network_type": kind}, {"provider:network_type": "vxlan"}]});
        let both: Network = testing::create(&ctx, segments).await;
        assert_eq!(testing::instance_port(&ctx, &both, "a").await.binding.vif_type, "bridge");
        // An agent that carries it, should there be one, gets what it asks for.
        testing::report(&ctx, agent(&["vxlan", kind])).await;
        let details = asks.get_device_details(&caller, tap(failed.id).as_str().into(), None, host()).await.unwrap();
        assert!(matches!(&details, Details::Port(port) if port.network_type.as_str() == kind), "{details:?}");
        testing::report(&ctx, agent(&["vxlan"])).await;
    }
}

/// What the reference does when it is asked the same.
#[tokio::test]
async fn the_id_of_a_vlan_network_is_changed_while_nothing_is_bound_to_it() {
    let ctx = testing::serving(|config| {
        config.ml2.vlan_ranges = [("physnet1".to_owned(), vec![(100, 199)])].into();
        config.ml2.vxlan_ranges = vec![(1, 9)];
    })
    .await;
    let mut state = testing::linux_bridge("a");
    state.configurations.insert("interface_mappings".to_owned(), json!({"physnet1": "eth1"}));
    testing::report(&ctx, state).await;
    let vlan = |id: u64| json!({"provider:network_type": "vlan", "provider:physical_network": "physnet1", "provider:segmentation_id": id});
    let (network, other): (Network, Network) =
        (testing::create(&ctx, vlan(150)).await, testing::create(&ctx, vlan(160)).await);
    let update = async |body: serde_json::Value| {
        let given =
            types::attribute::Attributes::for_update(Network::TABLE, body.as_object().unwrap().clone()).unwrap();
        Network::update(&ctx, &network.id.to_string(), given, Condition::default()).await
    };
    let changed = update(json!({"provider:segmentation_id": 155})).await.unwrap();
    assert_eq!(changed.segments[0].segmentation_id, Some(155));
    testing::create::<Network>(&ctx, vlan(150)).await;
    for (body, refusal) in [
        (json!({"provider:segmentation_id": 155}), "The VLAN 155 on physical network physnet1 is in use."),
        (json!({"provider:segmentation_id": other.segments[0].segmentation_id}), "The VLAN 160 on physical network"),
        (json!({"provider:segmentation_id": 4095}), "segmentation_id out of range (1 through 4094)"),
        (json!({"provider:network_type": "vxlan"}), "Plugin does not support updating"),
    ] {
        let error = update(body.clone()).await.unwrap_err().to_string();
        assert!(error.contains(refusal), "{body}: {error}");
    }
    assert!(update(json!({"segments": [{"provider:network_type": "vxlan"}]})).await.is_ok(), "not looked at");
    testing::instance_port(&ctx, &network, "a").await;
    let error = update(json!({"provider:segmentation_id": 156})).await.unwrap_err().to_string();
    assert!(error.contains("has not the following binding:vif_type: unbound, binding_failed"), "{error}");
    let twins = json!({"segments": [vlan(170), vlan(170)], "project_id": "p"});
    let given = types::attribute::Attributes::for_create(Network::TABLE, twins.as_object().unwrap().clone()).unwrap();
    let error = Network::create(&ctx, vec![given]).await.unwrap_err().to_string();
    assert!(error.contains("Duplicate segment entry in request."), "{error}");
}
