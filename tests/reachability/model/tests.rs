//! The model by itself, on answers of the API written by hand: each test changes one thing.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::*;

const TCP: Carries = Carries::Tcp { from: 40_000, to: 80 };
const PING: Carries = Carries::Echo { reply: false };

/// Two tenants with the same addresses, a router each, and the outside.
struct Cloud {
    lists: Value,
}

impl Cloud {
    fn new() -> Self {
        let subnet = |id: &str, network: &str, cidr: &str, gateway: &str| json!({"id": id, "network_id": network, "cidr": cidr, "gateway_ip": gateway});
        let rule = |ingress: bool, ethertype: &str, remote: Value| {
            let direction = if ingress { "ingress" } else { "egress" };
            json!({"direction": direction, "ethertype": ethertype, "protocol": null, "remote_group_id": remote})
        };
        let group = |id: &str| {
            let rules = [
                rule(false, "IPv4", Value::Null),
                rule(false, "IPv6", Value::Null),
                rule(true, "IPv4", json!(id)),
                rule(true, "IPv6", json!(id)),
            ];
            json!({"id": id, "stateful": true, "security_group_rules": rules})
        };
        let router = |id: &str, address: &str| {
            let own = [json!({"subnet_id": "public", "ip_address": address})];
            let gateway = json!({"network_id": "public", "enable_snat": true, "external_fixed_ips": own});
            json!({"id": id, "admin_state_up": true, "external_gateway_info": gateway, "routes": []})
        };
        let lists = json!({
            "subnets": [
                subnet("a1", "a1", "10.0.1.0/24", "10.0.1.1"), subnet("a2", "a2", "10.0.2.0/24", "10.0.2.1"),
                subnet("a1-6", "a1", "fd00:1::/64", "fd00:1::1"), subnet("a2-6", "a2", "fd00:2::/64", "fd00:2::1"),
                subnet("b1", "b1", "10.0.1.0/24", "10.0.1.1"), subnet("public", "public", "203.0.113.0/24", "203.0.113.1"),
            ],
            "ports": [
                port("one", "a1", &["10.0.1.11", "fd00:1::11"]), port("two", "a1", &["10.0.1.12"]),
                port("far", "a2", &["10.0.2.11", "fd00:2::11"]), port("other", "b1", &["10.0.1.12"]),
                interface("a", "a1", &["10.0.1.1", "fd00:1::1"]), interface("a", "a2", &["10.0.2.1", "fd00:2::1"]),
                interface("b", "b1", &["10.0.1.1"]), interface("a", "public", &["203.0.113.10"]),
                interface("b", "public", &["203.0.113.11"]),
            ],
            "routers": [router("a", "203.0.113.10"), router("b", "203.0.113.11")],
            "floatingips": [],
            "security-groups": [group("ga"), group("gb")],
            "address-groups": [{"id": "trusted", "addresses": ["10.0.2.0/25"]}],
        });
        Self { lists }
    }

    fn one(&mut self, collection: &str, id: &str) -> &mut Value {
        self.lists[collection].as_array_mut().unwrap().iter_mut().find(|one| one["id"] == id).unwrap()
    }

    fn add(&mut self, collection: &str, value: Value) {
        self.lists[collection].as_array_mut().unwrap().push(value);
    }

    fn rule(&mut self, group: &str, mut rule: Value) {
        rule["ethertype"] = rule.get("ethertype").cloned().unwrap_or(json!("IPv4"));
        self.one("security-groups", group)["security_group_rules"].as_array_mut().unwrap().push(rule);
    }

    fn floating(&mut self, address: &str, router: &str, to: &str) {
        self.add("floatingips", json!({"floating_ip_address": address, "fixed_ip_address": to, "router_id": router}));
    }

    fn world(&self) -> World {
        let state = State::from_lists(|collection| self.lists[collection].as_array().cloned().unwrap_or_default());
        let machine = |name: &str, addresses: &[&str], gateways: &[&str]| Machine {
            name: name.to_owned(),
            at: At::Port(name.to_owned()),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            gateways: gateways.iter().map(|address| address.parse().unwrap()).collect(),
            routes: Vec::new(),
        };
        let mut outside = machine("outside", &["203.0.113.1"], &[]);
        outside.at = At::Network("public".to_owned());
        let machines = vec![
            machine("one", &["10.0.1.11", "fd00:1::11", "10.0.1.200"], &["10.0.1.1", "fd00:1::1"]),
            machine("two", &["10.0.1.12"], &["10.0.1.1"]),
            machine("far", &["10.0.2.11", "fd00:2::11"], &["10.0.2.1", "fd00:2::1"]),
            machine("other", &["10.0.1.12"], &["10.0.1.1"]),
            outside,
        ];
        World { state, machines }
    }

    fn ask(&self, from: &str, to: &str, carries: Carries) -> Option<Answer> {
        self.world().answer(from, to.parse().unwrap(), carries)
    }
}

fn fixed(network: &str, addresses: &[&str]) -> Vec<Value> {
    let subnet = |address: &str| if address.contains(':') { format!("{network}-6") } else { network.to_owned() };
    addresses.iter().map(|address| json!({"subnet_id": subnet(address), "ip_address": address})).collect()
}

fn port(id: &str, network: &str, addresses: &[&str]) -> Value {
    json!({
        "id": id, "network_id": network, "mac_address": format!("mac of {id}"), "device_owner": "compute:nova",
        "device_id": id, "admin_state_up": true, "fixed_ips": fixed(network, addresses), "allowed_address_pairs": [],
        "security_groups": [if network.starts_with('a') { "ga" } else { "gb" }], "port_security_enabled": true,
    })
}

fn interface(router: &str, network: &str, addresses: &[&str]) -> Value {
    let owner = if network == "public" { "network:router_gateway" } else { "network:router_interface" };
    let mut port = port(&format!("{router}-{network}"), network, addresses);
    port["device_owner"] = json!(owner);
    port["device_id"] = json!(router);
    port["security_groups"] = json!([]);
    port
}

fn by(name: &str, seen: &str) -> Option<Answer> {
    Some(Answer::Machine(name.to_owned(), seen.parse().unwrap()))
}

#[test]
fn members_of_a_group_reach_each_other_on_one_network_and_through_a_router() {
    let cloud = Cloud::new();
    assert_eq!(cloud.ask("one", "10.0.1.12", TCP), by("two", "10.0.1.11"));
    assert_eq!(cloud.ask("one", "10.0.2.11", PING), by("far", "10.0.1.11"));
    assert_eq!(cloud.ask("far", "fd00:1::11", TCP), by("one", "fd00:2::11"));
    assert_eq!(cloud.ask("one", "10.0.2.99", PING), None);
}

#[test]
fn tenants_with_the_same_addresses_meet_their_own_only() {
    let cloud = Cloud::new();
    assert_eq!(cloud.ask("other", "10.0.1.11", PING), None);
    assert_eq!(cloud.ask("other", "10.0.2.11", PING), None);
    assert_eq!(cloud.ask("other", "10.0.1.1", PING), Some(Answer::Cloud));
}

#[test]
fn groups_decide_by_direction_family_protocol_port_and_peer() {
    let mut cloud = Cloud::new();
    cloud.one("ports", "two")["security_groups"] = json!(["gb"]);
    assert_eq!(cloud.ask("one", "10.0.1.12", TCP), None);
    cloud.rule("gb", json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 81, "port_range_max": 90}));
    assert_eq!(cloud.ask("one", "10.0.1.12", TCP), None);
    cloud.rule("gb", json!({"direction": "ingress", "protocol": "6", "port_range_min": 80, "port_range_max": 80}));
    assert_eq!(cloud.ask("one", "10.0.1.12", TCP), by("two", "10.0.1.11"));
    assert_eq!(cloud.ask("one", "10.0.1.12", PING), None);
    cloud.rule("gb", json!({"direction": "ingress", "protocol": "icmp", "port_range_min": 0, "port_range_max": 0}));
    assert_eq!(cloud.ask("one", "10.0.1.12", PING), None);
    cloud.rule("gb", json!({"direction": "ingress", "protocol": "icmp", "port_range_min": 8}));
    assert_eq!(cloud.ask("one", "10.0.1.12", PING), by("two", "10.0.1.11"));
    cloud.one("security-groups", "ga")["security_group_rules"] = json!([]);
    assert_eq!(cloud.ask("one", "10.0.1.12", TCP), None);
    assert_eq!(cloud.ask("two", "10.0.1.11", TCP), None);
}

#[test]
fn echo_requests_over_ipv6_leave_without_a_rule() {
    let mut cloud = Cloud::new();
    cloud.one("ports", "one")["security_groups"] = json!([]);
    cloud.rule("ga", json!({"direction": "ingress", "ethertype": "IPv6"}));
    assert_eq!(cloud.ask("one", "fd00:2::11", PING), by("far", "fd00:1::11"));
    assert_eq!(cloud.ask("one", "fd00:2::11", TCP), None);
}

#[test]
fn prefixes_and_address_groups_name_peers() {
    for remote in [json!({"remote_ip_prefix": "10.0.2.0/28"}), json!({"remote_address_group_id": "trusted"})] {
        let mut cloud = Cloud::new();
        cloud.one("ports", "two")["security_groups"] = json!(["gb"]);
        let mut rule = json!({"direction": "ingress"});
        rule.as_object_mut().unwrap().extend(remote.as_object().unwrap().clone());
        cloud.rule("gb", rule);
        assert_eq!(cloud.ask("far", "10.0.1.12", TCP), by("two", "10.0.2.11"));
        assert_eq!(cloud.ask("one", "10.0.1.12", TCP), None);
    }
}

#[test]
fn nobody_remembers_for_a_stateless_group() {
    let mut cloud = Cloud::new();
    cloud.add("security-groups", json!({"id": "plain", "stateful": false, "security_group_rules": []}));
    cloud.one("ports", "two")["security_groups"] = json!(["plain"]);
    cloud.rule("plain", json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}));
    assert_eq!(cloud.ask("one", "10.0.1.12", TCP), None);
    cloud.rule("plain", json!({"direction": "egress", "protocol": "tcp"}));
    assert_eq!(cloud.ask("one", "10.0.1.12", TCP), by("two", "10.0.1.11"));
}

#[test]
fn ports_without_security_take_all_and_ports_without_groups_nothing() {
    let mut cloud = Cloud::new();
    cloud.one("ports", "two")["security_groups"] = json!([]);
    assert_eq!(cloud.ask("one", "10.0.1.12", PING), None);
    assert_eq!(cloud.ask("two", "10.0.1.11", PING), None);
    cloud.one("ports", "two")["port_security_enabled"] = json!(false);
    assert_eq!(cloud.ask("one", "10.0.1.12", PING), by("two", "10.0.1.11"));
    // It is no member of the group any more.
    assert_eq!(cloud.ask("two", "10.0.1.11", PING), None);
}

#[test]
fn an_address_that_is_no_pair_is_not_there() {
    let mut cloud = Cloud::new();
    assert_eq!(cloud.ask("two", "10.0.1.200", PING), None);
    let pair = json!([{"ip_address": "10.0.1.192/26", "mac_address": "mac of one"}]);
    cloud.one("ports", "one")["allowed_address_pairs"] = pair;
    assert_eq!(cloud.ask("two", "10.0.1.200", PING), by("one", "10.0.1.12"));
    assert_eq!(cloud.ask("far", "10.0.1.200", TCP), by("one", "10.0.2.11"));
    cloud.one("ports", "one")["allowed_address_pairs"][0]["mac_address"] = json!("another");
    assert_eq!(cloud.ask("two", "10.0.1.200", PING), None);
}

#[test]
fn what_is_switched_off_carries_nothing() {
    let mut cloud = Cloud::new();
    cloud.one("ports", "two")["admin_state_up"] = json!(false);
    assert_eq!(cloud.ask("one", "10.0.1.12", PING), None);
    assert_eq!(cloud.ask("two", "10.0.1.11", PING), None);
    cloud.one("routers", "a")["admin_state_up"] = json!(false);
    assert_eq!(cloud.ask("one", "10.0.2.11", PING), None);
    assert_eq!(cloud.ask("one", "10.0.1.1", PING), None);
}

#[test]
fn the_outside_sees_the_routers_address_or_the_floating_one() {
    let mut cloud = Cloud::new();
    assert_eq!(cloud.ask("one", "203.0.113.1", TCP), by("outside", "203.0.113.10"));
    cloud.floating("203.0.113.50", "a", "10.0.1.11");
    assert_eq!(cloud.ask("one", "203.0.113.1", TCP), by("outside", "203.0.113.50"));
    assert_eq!(cloud.ask("two", "203.0.113.1", TCP), by("outside", "203.0.113.10"));
    cloud.one("routers", "a")["external_gateway_info"]["enable_snat"] = json!(false);
    assert_eq!(cloud.ask("one", "203.0.113.1", TCP), by("outside", "203.0.113.50"));
    assert_eq!(cloud.ask("two", "203.0.113.1", TCP), None);
}

#[test]
fn floating_addresses_answer_from_everywhere_if_the_group_lets_them() {
    let mut cloud = Cloud::new();
    cloud.floating("203.0.113.50", "a", "10.0.1.11");
    assert_eq!(cloud.ask("outside", "203.0.113.50", TCP), None);
    cloud.rule("ga", json!({"direction": "ingress", "protocol": "tcp"}));
    assert_eq!(cloud.ask("outside", "203.0.113.50", TCP), by("one", "203.0.113.1"));
    // Through both routers.
    assert_eq!(cloud.ask("other", "203.0.113.50", TCP), by("one", "203.0.113.11"));
    // Hairpins: from another network of the router, from the same one, from behind another floating address, and to itself.
    assert_eq!(cloud.ask("far", "203.0.113.50", TCP), by("one", "203.0.113.10"));
    assert_eq!(cloud.ask("two", "203.0.113.50", TCP), by("one", "203.0.113.10"));
    cloud.floating("203.0.113.51", "a", "10.0.1.12");
    assert_eq!(cloud.ask("two", "203.0.113.50", TCP), by("one", "203.0.113.51"));
    assert_eq!(cloud.ask("one", "203.0.113.50", TCP), by("one", "203.0.113.50"));
    assert_eq!(cloud.ask("one", "203.0.113.50", PING), None);
}

#[test]
fn a_hairpin_comes_back_by_the_router_even_where_the_outside_is_not_shared() {
    let mut cloud = Cloud::new();
    cloud.floating("203.0.113.50", "a", "10.0.1.11");
    cloud.rule("ga", json!({"direction": "ingress"}));
    cloud.one("routers", "a")["external_gateway_info"]["enable_snat"] = json!(false);
    assert_eq!(cloud.ask("two", "203.0.113.50", TCP), by("one", "203.0.113.10"));
    assert_eq!(cloud.ask("far", "203.0.113.50", TCP), by("one", "203.0.113.10"));
    assert_eq!(cloud.ask("two", "203.0.113.1", TCP), None);
}

#[test]
fn extra_routes_go_where_they_say() {
    let mut cloud = Cloud::new();
    let to: IpNet = "198.51.100.0/24".parse().unwrap();
    cloud.one("routers", "a")["routes"] = json!([{"destination": "198.51.100.0/24", "nexthop": "10.0.1.11"}]);
    let mut world = cloud.world();
    assert_eq!(world.answer("far", "198.51.100.7".parse().unwrap(), PING), None);
    world.machines[0].addresses.push("198.51.100.7".parse().unwrap());
    // It answers from an address that is no pair of its port's.
    assert_eq!(world.answer("far", "198.51.100.7".parse().unwrap(), PING), None);
    cloud.one("ports", "one")["allowed_address_pairs"] =
        json!([{"ip_address": to.to_string(), "mac_address": "mac of one"}]);
    world.state = cloud.world().state;
    assert_eq!(world.answer("far", "198.51.100.7".parse().unwrap(), PING), by("one", "10.0.2.11"));
}

#[test]
fn ipv6_is_routed_as_it_is() {
    let mut cloud = Cloud::new();
    let pub6 = json!({"id": "public-6", "network_id": "public", "cidr": "2001:db8::/64", "gateway_ip": "2001:db8::1"});
    cloud.add("subnets", pub6);
    let own = json!({"subnet_id": "public-6", "ip_address": "2001:db8::10"});
    for list in ["/routers/0/external_gateway_info/external_fixed_ips", "/ports/7/fixed_ips"] {
        cloud.lists.pointer_mut(list).unwrap().as_array_mut().unwrap().push(own.clone());
    }
    let mut world = cloud.world();
    world.machines[4].addresses.push("2001:db8::1".parse().unwrap());
    assert_eq!(world.answer("one", "2001:db8::1".parse().unwrap(), TCP), None, "nobody knows the way back");
    world.machines[4].routes.push(("fd00::/16".parse().unwrap(), "2001:db8::10".parse().unwrap()));
    assert_eq!(world.answer("one", "2001:db8::1".parse().unwrap(), TCP), by("outside", "fd00:1::11"));
    assert_eq!(world.answer("outside", "fd00:1::11".parse().unwrap(), TCP), None, "the group refuses");
}
