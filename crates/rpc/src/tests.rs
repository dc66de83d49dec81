//! The interfaces over the in-process transport, against messages captured from upstream's agents and server.

use oslo::{
    context::Context,
    messaging::{Bus, CallError, Failure, Incoming, Listener},
};
use serde_json::{Value, json};

use super::*;
use crate::payload::{DnsAssignment, Port, Subnet};

const NET: &str = "3b6e0f1c-8d2a-4f0e-9b57-1c2d3e4f5a6b";
const PORT: &str = "5a1f6c3e-0b7d-4f8a-a2c4-9e8d7c6b5a40";
const SUBNET: &str = "c0ffee00-1111-4222-8333-444455556666";

/// Takes one request and answers it.
async fn serve_one(mut listener: Listener, answer: Value) -> Incoming {
    let mut incoming = listener.next().await.unwrap();
    if let Some(reply) = incoming.reply.take() {
        reply.send(Ok(answer));
    }
    incoming
}

fn port_golden() -> Value {
    json!({"id": PORT, "name": "", "network_id": NET, "project_id": "p", "tenant_id": "p",
        "mac_address": "fa:16:3e:df:a3:18", "admin_state_up": true, "status": "DOWN",
        "device_id": format!("dhcp645ab895-b76a-5ada-8177-739c5b8ac740-{NET}"), "device_owner": "network:dhcp",
        "standard_attr_id": 38, "fixed_ips": [{"subnet_id": SUBNET, "ip_address": "10.0.0.2"}],
        "allowed_address_pairs": [], "extra_dhcp_opts": [], "security_groups": [], "description": "",
        "binding:vnic_type": "normal", "binding:profile": {}, "binding:host_id": "host-a", "binding:vif_type": "ovs",
        "binding:vif_details": {"connectivity": "l2", "port_filter": true, "bound_drivers": {"0": "openvswitch"}},
        "port_security_enabled": false, "qos_policy_id": null, "qos_network_policy_id": null, "dns_name": "",
        "dns_assignment": [{"ip_address": "10.0.0.2", "hostname": "host-10-0-0-2",
            "fqdn": "host-10-0-0-2.openstacklocal."}],
        "ip_allocation": "immediate", "resource_request": null, "revision_number": 3,
        "created_at": "2026-11-22T11:42:42Z", "updated_at": "2026-11-22T11:42:42Z", "tags": []})
}

fn subnet_golden() -> Value {
    json!({"id": SUBNET, "name": "", "project_id": "p", "tenant_id": "p", "network_id": NET, "ip_version": 4,
        "subnetpool_id": null, "enable_dhcp": true, "ipv6_ra_mode": null, "ipv6_address_mode": null,
        "standard_attr_id": 36, "gateway_ip": "10.0.0.1", "cidr": "10.0.0.0/24",
        "allocation_pools": [{"start": "10.0.0.2", "end": "10.0.0.254"}],
        "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}], "dns_nameservers": ["8.8.8.8"],
        "shared": false, "description": "", "router:external": false, "service_types": [], "segment_id": null,
        "revision_number": 0, "created_at": "2026-11-22T11:42:42Z", "updated_at": "2026-11-22T11:42:42Z", "tags": []})
}

#[test]
fn the_committed_list_of_methods_is_the_code() {
    let mut rendered = String::from("# interface version: method version kind topic\n");
    for interface in INTERFACES {
        let name = interface.name.rsplit("::").next().unwrap();
        rendered.push_str(&format!("\n{name} {}:\n", interface.version));
        for m in interface.methods {
            rendered.push_str(&format!("{} {} {:?} {}\n", m.name, m.version, m.kind, m.topic).to_lowercase());
        }
    }
    let committed = include_str!("../methods.txt");
    assert_eq!(committed, rendered, "methods.txt differs from the interfaces; it should read:\n{rendered}");
}

#[test]
fn every_method_is_asked_for_in_a_version_that_its_interface_serves() {
    for interface in INTERFACES {
        for m in interface.methods {
            assert!(oslo::messaging::envelope::compatible(interface.version, m.version), "{} {m:?}", interface.name);
            assert_eq!(interface.method(m.name), Some(m));
        }
    }
}

#[test]
fn the_first_candidate_with_the_method_takes_a_request() {
    let served: &[&Interface] = &[&l2::INTERFACE, &security_group::INTERFACE, &dhcp::INTERFACE, &metadata::INTERFACE];
    let chosen = |version, method| select(served, None, version, method).map(|i| i.name.rsplit("::").next().unwrap());
    assert_eq!(chosen("1.9", "get_device_details"), Ok("l2"));
    assert_eq!(chosen("1.9", "get_network_info"), Ok("dhcp"));
    assert_eq!(chosen("1.0", "get_ports"), Ok("metadata"));
    assert_eq!(chosen("1.10", "get_device_details"), Err(Failure::no_such_method("get_device_details")));
    assert_eq!(chosen("1.0", "_private"), Err(Failure::no_such_method("_private")));
    assert_eq!(chosen("1.11", "get_ports"), Err(Failure::unsupported_version("1.11", "get_ports")));
    let other = select(served, Some("trunk"), "1.0", "get_ports").unwrap_err();
    assert_eq!(other.class, "UnsupportedVersion");
}

#[tokio::test]
async fn a_report_is_nested_twice() {
    let bus = Bus::in_process();
    let served = tokio::spawn(serve_one(bus.listen(reports::TOPIC, "server"), json!("new")));
    let state = reports::AgentState {
        binary: "neutron-linuxbridge-agent".into(),
        host: "host-a".into(),
        topic: "N/A".into(),
        agent_type: types::agent::kind::LINUX_BRIDGE.into(),
        start_flag: true,
        ..Default::default()
    };
    let client = reports::Client::new(bus);
    let report = reports::Report { agent_state: state };
    let status = client.report_state(&Context::admin(), report, "2026-11-22T11:42:42.000000".into()).await;
    assert_eq!(status, Ok(Some(reports::Status::New)));
    let incoming = served.await.unwrap();
    assert_eq!(incoming.version, "1.3");
    assert_eq!(
        incoming.args,
        json!({"agent_state": {"agent_state": {"binary": "neutron-linuxbridge-agent", "host": "host-a", "topic": "N/A",
            "agent_type": "Linux bridge agent", "configurations": {}, "start_flag": true}},
            "time": "2026-11-22T11:42:42.000000"})
    );
}

#[tokio::test]
async fn details_are_as_captured() {
    let golden = json!({"device": "tap5a1f6c3e-0b", "network_id": NET, "port_id": PORT,
        "mac_address": "fa:16:3e:05:82:ac", "admin_state_up": true, "network_type": "vxlan", "segmentation_id": 434,
        "physical_network": null, "mtu": 1450, "fixed_ips": [{"subnet_id": SUBNET, "ip_address": "10.0.0.165"}],
        "device_owner": "compute:nova",
        "allowed_address_pairs": [{"mac_address": "fa:16:3e:05:82:ac", "ip_address": "10.0.0.200"}],
        "port_security_enabled": true, "qos_policy_id": null, "qos_network_policy_id": null, "profile": {},
        "propagate_uplink_status": false});
    let answers = json!([golden, {"device": "tapx"}, {"device": "tapy", "no_active_binding": true}]);
    let bus = Bus::in_process();
    let served = tokio::spawn(serve_one(bus.listen(l2::TOPIC, "server"), answers.clone()));
    let devices =
        vec!["tap5a1f6c3e-0b".into(), "tapx".into(), l2::Device::Pci("fa:16:3e:05:82:ac".into(), "0:1".into())];
    let client = l2::Client::new(bus);
    let details = client
        .get_devices_details_list(&Context::admin(), devices, Some("lb001122334455".into()), Some("host-a".into()))
        .await
        .unwrap();
    assert!(matches!(&details[0], l2::Details::Port(p) if p.segmentation_id == Some(434)));
    assert!(matches!(&details[1], l2::Details::Absent { no_active_binding: false, .. }));
    assert!(matches!(&details[2], l2::Details::Absent { no_active_binding: true, .. }));
    assert_eq!(interface::encode(&details), answers);
    let incoming = served.await.unwrap();
    assert_eq!(
        incoming.args,
        json!({"devices": ["tap5a1f6c3e-0b", "tapx", ["fa:16:3e:05:82:ac", "0:1"]], "agent_id": "lb001122334455",
            "host": "host-a"})
    );
}

#[tokio::test]
async fn a_network_to_serve_is_as_captured() {
    let golden = json!([{"id": NET, "project_id": "p", "admin_state_up": true, "mtu": 1450, "non_local_subnets": [],
        "subnets": [subnet_golden()], "ports": [port_golden()]}]);
    let bus = Bus::in_process();
    let served = tokio::spawn(serve_one(bus.listen(dhcp::TOPIC, "server"), golden.clone()));
    let client = dhcp::Client::new(bus);
    let networks = client.get_active_networks_info(&Context::admin(), "host-a".into(), Some(false)).await.unwrap();
    assert_eq!(interface::encode(&networks), golden);
    let incoming = served.await.unwrap();
    assert_eq!(
        (incoming.version.as_str(), incoming.args),
        ("1.1", json!({"host": "host-a", "enable_dhcp_filter": false}))
    );
}

#[tokio::test]
async fn notifications_hold_their_priority_in_the_payload() {
    let bus = Bus::in_process();
    let mut listener = bus.listen(dhcp_agent::TOPIC, "host-a");
    let client = dhcp_agent::Client::new(bus.clone()).to_server("host-a");
    let ctx = Context::admin();
    let network = dhcp_agent::NetworkCreated { network: dhcp_agent::NetworkRef { id: NET.parse().unwrap() } };
    let payload = dhcp_agent::Payload { body: network, priority: dhcp_agent::priority::NETWORK_CREATE };
    client.network_create_end(&ctx, payload).await.unwrap();
    let port: Port = serde_json::from_value(port_golden()).unwrap();
    let port = dhcp_agent::PortChanged { port: dhcp_agent::WithNetwork { resource: port, network: None } };
    let payload = dhcp_agent::Payload { body: port, priority: dhcp_agent::priority::PORT_CREATE_HIGH };
    client.port_create_end(&ctx, payload).await.unwrap();
    client.agent_updated(&ctx, dhcp_agent::AgentUpdated { admin_state_up: false }).await.unwrap();

    let sent = listener.next().await.unwrap();
    assert_eq!(sent.args, json!({"payload": {"network": {"id": NET}, "priority": 0}}));
    let sent = listener.next().await.unwrap();
    assert_eq!(sent.args, json!({"payload": {"port": port_golden(), "priority": 5}}));
    assert_eq!(listener.next().await.unwrap().args, json!({"payload": {"admin_state_up": false}}));
}

#[test]
fn resources_are_written_as_they_were_read() {
    let subnet: Subnet = serde_json::from_value(subnet_golden()).unwrap();
    assert_eq!(interface::encode(&subnet), subnet_golden());
    let network = json!({"id": NET, "admin_state_up": true, "mtu": 1450, "standard_attr_id": 3, "name": "n"});
    let read: payload::Network = serde_json::from_value(network.clone()).unwrap();
    assert_eq!(interface::encode(&read), network);
    let six = DnsAssignment::of_address("2001:db8::a".parse().unwrap(), "openstacklocal");
    assert_eq!(six.fqdn, "host-2001-db8--a.openstacklocal.");
}

#[test]
fn security_groups_are_as_captured() {
    let golden = json!({
        "security_groups": {"g": [{"direction": "egress", "ethertype": "IPv4", "stateful": true},
            {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22,
             "source_ip_prefix": "192.0.2.0/24", "stateful": true}]},
        "sg_member_ips": {"g": {"IPv4": [["10.0.0.165", null], ["10.0.0.200", "fa:16:3e:05:82:ac"]], "IPv6": []}},
        "devices": {}});
    let info: security_group::SecurityGroupInfo = serde_json::from_value(golden.clone()).unwrap();
    assert_eq!(interface::encode(&info), golden);
}

/// A callee of which only the dispatch is of interest.
struct Ready;

impl metadata::Callee for Ready {
    type Error = Failure;

    async fn get_ports(&self, _: &Context, filters: Option<metadata::Filters>) -> Result<Vec<Port>, Failure> {
        match filters {
            Some(_) => Err(Failure::neutron("InvalidInput", "no")),
            None => Ok(vec![]),
        }
    }
}

#[tokio::test]
async fn dispatch_reads_arguments_and_names_what_is_wrong() {
    let ctx = Context::admin();
    let run = async |name: &str, args: Value| metadata::dispatch(&Ready, &ctx, name, &args).await;
    assert_eq!(run("get_ports", json!({"unknown": 1})).await, Ok(json!([])));
    assert_eq!(run("get_ports", json!({"filters": {}})).await.unwrap_err().class, "InvalidInput");
    let bad = run("get_ports", json!({"filters": 7})).await.unwrap_err();
    assert_eq!((bad.class.as_str(), bad.module.as_str()), ("TypeError", "builtins"));
    assert_eq!(run("get_nets", json!({})).await, Err(Failure::no_such_method("get_nets")));
}

#[tokio::test]
async fn a_failure_reaches_the_caller_by_class() {
    let bus = Bus::in_process();
    let mut listener = bus.listen(metadata::TOPIC, "server");
    tokio::spawn(async move {
        let failure = Failure::neutron("NetworkNotFound", "gone");
        listener.next().await.unwrap().reply.unwrap().send(Err(failure));
        listener.next().await.unwrap().reply.unwrap().send(Ok(json!({"not": "a list"})));
    });
    let client = metadata::Client::new(bus);
    let failed = client.get_ports(&Context::admin(), None).await.unwrap_err();
    assert_eq!(failed.remote_class(), Some("NetworkNotFound"));
    let strange = client.get_ports(&Context::admin(), None).await.unwrap_err();
    assert!(matches!(strange, CallError::Answer { .. }));
}

/// A port inside a router: as others, with prefix lengths and what of its network routing needs.
fn router_port(owner: &str, address: &str, prefixlen: u8) -> Value {
    let mut port = port_golden();
    port["device_owner"] = owner.into();
    port["fixed_ips"] = json!([{"subnet_id": SUBNET, "ip_address": address, "prefixlen": prefixlen}]);
    port["subnets"] = json!([{"id": SUBNET, "cidr": "203.0.113.0/24", "gateway_ip": "203.0.113.1",
        "dns_nameservers": ["8.8.8.8"], "ipv6_ra_mode": null, "subnetpool_id": null}]);
    port["extra_subnets"] = json!([{"id": NET, "cidr": "2001:db8::/64", "gateway_ip": "2001:db8::",
        "dns_nameservers": [], "ipv6_ra_mode": "slaac", "subnetpool_id": null}]);
    port["address_scopes"] = json!({"4": null, "6": null});
    port["mtu"] = 1500.into();
    port
}

fn router_golden() -> Value {
    let mut router = json!({"id": PORT, "name": "legacy", "project_id": "p", "tenant_id": "p", "admin_state_up": true,
        "status": "ACTIVE", "description": "", "revision_number": 4, "flavor_id": null, "tags": [],
        "created_at": "2026-11-22T11:42:42Z", "updated_at": "2026-11-22T11:42:42Z", "enable_snat": true,
        "gw_port_id": PORT, "gw_port": router_port("network:router_gateway", "203.0.113.194", 24),
        "gw_port_host": "host-b", "distributed": false, "ha": false, "ha_vr_id": 0, "availability_zones": ["nova"],
        "availability_zone_hints": [], "enable_default_route_ecmp": false, "enable_default_route_bfd": false,
        "routes": [{"destination": "172.16.0.0/16", "nexthop": "10.0.0.9"}], "conntrack_helpers": [],
        "enable_ndp_proxy": false, "_snat_router_interfaces": [], "_floatingip_agent_interfaces": []});
    router["external_gateway_info"] = json!({"network_id": NET, "enable_snat": true,
        "external_fixed_ips": [{"subnet_id": SUBNET, "ip_address": "203.0.113.194"}]});
    router["_floatingips"] = json!([{"id": PORT, "floating_ip_address": "203.0.113.31", "floating_network_id": NET,
            "router_id": PORT, "port_id": PORT, "fixed_ip_address": "10.0.0.165", "status": "DOWN",
            "port_details": {"name": "vm1", "status": "ACTIVE"}, "qos_policy_id": null, "dns_name": "",
            "port_forwardings": [], "fixed_ip_address_scope": null, "standard_attr_id": 55}]);
    router["_interfaces"] = json!([router_port("network:router_interface", "10.0.0.1", 24)]);
    router
}

#[tokio::test]
async fn a_router_is_as_captured() {
    let bus = Bus::in_process();
    let answer = json!([router_golden()]);
    let served = tokio::spawn(serve_one(bus.listen(l3::TOPIC, "server"), answer.clone()));
    let ids = Some(vec![PORT.parse().unwrap()]);
    let routers = l3::Client::new(bus).sync_routers(&Context::admin(), "host-b".into(), ids).await.unwrap();
    assert_eq!(interface::encode(&routers), answer);
    let incoming = served.await.unwrap();
    assert_eq!((incoming.version.as_str(), incoming.args), ("1.0", json!({"host": "host-b", "router_ids": [PORT]})));
}

#[test]
fn what_a_router_has_not_is_absent() {
    let mut bare = router_golden();
    for key in ["gw_port", "_floatingips", "_interfaces"] {
        bare.as_object_mut().unwrap().remove(key);
    }
    let router: l3::Router = serde_json::from_value(bare.clone()).unwrap();
    assert!(router.floating_ips.is_empty() && router.interfaces.is_empty() && router.gw_port.is_none());
    assert_eq!(interface::encode(&router), bare);
}

#[test]
fn an_ha_router_is_as_captured_and_nulls_are_read_as_absent() {
    let mut golden = router_golden();
    golden["ha"] = true.into();
    golden["ha_vr_id"] = 17.into();
    golden["_ha_state"] = "standby".into();
    golden["_ha_interface"] = router_port("network:router_ha_interface", "169.254.193.4", 18);
    let router: l3::Router = serde_json::from_value(golden.clone()).unwrap();
    assert_eq!((router.ha_vr_id, router.ha_state), (17, Some(l3::HaState::Standby)));
    assert_eq!(interface::encode(&router), golden);

    golden["ha_vr_id"] = Value::Null;
    golden["_ha_interface"] = Value::Null;
    golden["distributed"] = Value::Null;
    let router: l3::Router = serde_json::from_value(golden).unwrap();
    assert_eq!((router.ha_vr_id, router.distributed, router.ha_interface), (0, false, None));
}

#[test]
fn routers_are_hinted_at_by_id_or_as_objects() {
    let hints: Vec<l3_agent::RouterHint> = serde_json::from_value(json!([PORT, {"id": NET, "name": "r"}])).unwrap();
    let ids: Vec<String> = hints.iter().map(|h| h.id().to_string()).collect();
    assert_eq!(ids, [PORT, NET]);
    assert_eq!(interface::encode(&hints[0]), json!(PORT));
}
