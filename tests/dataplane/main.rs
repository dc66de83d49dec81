//! How fast packets go through what the agents put in force, beside a bridge and a router that nobody looks after and
//! beside the chains of release 25's iptables driver, in turns in one run. A measurement: `make bench-dataplane`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

mod layout;
mod path;
mod report;

use std::net::IpAddr;

use layout::Load;
use path::{Path, Plain};
use report::Report;
use serde_json::{Value, json};
use testkit::{
    host::{Host, Instance, NAME, run},
    http::{id, text},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
const CONFIGURATION: &str = "\
service_plugins = router
[quotas]
quota_port = -1
quota_security_group_rule = -1
[securitygroup]
enable_security_group = true
firewall_driver = ";

/// Sizes of a security group.
const SIZES: [Load; 3] =
    [Load { rules: 1, members: 1 }, Load { rules: 10_000, members: 1 }, Load { rules: 1, members: 2_000 }];

fn network(host: &Host, number: u8) -> String {
    let network = id(&host.client().create("networks", json!({"name": format!("n{number}")})).unwrap());
    let subnet = json!({
        "network_id": network, "ip_version": 4, "cidr": format!("10.8.{number}.0/24"), "enable_dhcp": false,
    });
    host.client().create("subnets", subnet).unwrap();
    network
}

/// An instance in groups, with its address.
fn boot(host: &Host, name: &str, network: &str, groups: &[String]) -> (Instance, String) {
    let attributes = json!({
        "network_id": network, "binding:host_id": NAME, "device_id": name, "device_owner": "compute:nova",
        "security_groups": groups,
    });
    let port = host.client().create("ports", attributes).unwrap();
    let instance = host.plug(name, &port).unwrap();
    let address: IpAddr = text(&port["fixed_ips"][0], "ip_address").parse().unwrap();
    let gateway = address.to_string().rsplit_once('.').map(|(net, _)| format!("{net}.1")).unwrap();
    let ip = |words: &str| run(&instance.namespace, "ip", words).unwrap();
    ip("link set eth0 mtu 1450 up");
    ip(&format!("address add {address}/24 dev eth0"));
    ip(&format!("route add default via {gateway}"));
    host.until_active(&id(&port)).unwrap();
    (instance, address.to_string())
}

/// A group that lets all in by its last rule, after rules that let nothing in that is asked for, and a group of members.
fn group(host: &Host, load: &Load) -> String {
    let client = host.client();
    let group = |name: &str| id(&client.create("security-groups", json!({"name": name})).unwrap());
    let (own, remote) = (group("measured"), group("members"));
    let rule = |attributes: Value| {
        let mut rule = json!({"security_group_id": own, "direction": "ingress", "ethertype": "IPv4"});
        rule.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
        rule
    };
    let prefix = |number: usize| format!("172.16.{}.{}/32", number / 256, number % 256);
    let narrow = |number: usize| {
        let port = 1 + number % 60_000;
        rule(
            json!({"protocol": "udp", "port_range_min": port, "port_range_max": port, "remote_ip_prefix": prefix(number)}),
        )
    };
    let mut rules = vec![rule(json!({"remote_group_id": remote}))];
    rules.extend((0..load.rules).map(narrow));
    rules.extend(["tcp", "udp", "icmp"].map(|protocol| rule(json!({"protocol": protocol}))));
    for some in rules.chunks(1_000) {
        client.create_all("security-group-rules", some.to_vec()).unwrap();
    }
    let elsewhere = id(&client.create("networks", json!({"name": "members"})).unwrap());
    let subnet = json!({"network_id": elsewhere, "ip_version": 4, "cidr": "10.9.0.0/16", "enable_dhcp": false});
    client.create("subnets", subnet).unwrap();
    let member = || json!({"network_id": elsewhere, "security_groups": [remote]});
    for some in (0..load.members).map(|_| member()).collect::<Vec<_>>().chunks(500) {
        client.create_all("ports", some.to_vec()).unwrap();
    }
    own
}

/// Two instances on a network of a host of their own, with a group of this size.
fn filtered(driver: &str, fast_path: bool, load: &Load) -> (Host, Path) {
    let host = Host::start(PROGRAM, &format!("{CONFIGURATION}{driver}\nfast_path = {fast_path}\n")).unwrap();
    let network = network(&host, 1);
    let groups = [group(&host, load)];
    let (one, _) = boot(&host, "one", &network, &groups);
    let (two, address) = boot(&host, "two", &network, &groups);
    (host, Path { from: one.namespace, to: two.namespace, address })
}

/// Two instances on two networks with a router between, none of them filtered. `bare`: what crosses the bridges passes
/// no iptables, as with plain forwarding; a kernel that has `br_netfilter` has it pass otherwise.
fn routed(bare: bool) -> (Host, Path) {
    let host = Host::start(PROGRAM, &format!("{CONFIGURATION}noop\n")).unwrap();
    path::quiet(&host.root(), if bare { "0" } else { "1" }).unwrap();
    let (first, second) = (network(&host, 1), network(&host, 2));
    let router = id(&host.client().create("routers", json!({"name": "r"})).unwrap());
    for subnet in host.client().list("subnets", "").unwrap() {
        let path = format!("/v2.0/routers/{router}/add_router_interface");
        let answer = host.client().json("PUT", &path, &json!({"subnet_id": id(&subnet)})).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let (one, _) = boot(&host, "one", &first, &[]);
    let (two, address) = boot(&host, "two", &second, &[]);
    let path = Path { from: one.namespace.clone(), to: two.namespace, address: address.clone() };
    host.until("the router forwards", || Ok(one.ping(&address, 1)? == 1)).unwrap();
    (host, path)
}

#[test]
#[ignore = "a measurement: make bench-dataplane"]
fn bridges_and_firewalls() {
    let driver = std::env::var("FIREWALL").unwrap_or_else(|_| "auto".to_owned());
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let bare = Plain::bridge().unwrap();
    let upstream: Vec<Plain> = SIZES.iter().map(|_| Plain::bridge().unwrap()).collect();
    for (plain, load) in upstream.iter().zip(&SIZES) {
        plain.filter(load).unwrap();
    }
    let ours: Vec<_> = SIZES.iter().map(|load| filtered(&driver, true, load)).collect();
    let (_host, slow) = filtered(&driver, false, &SIZES[0]);
    let names = ["1 rule, 1 member", "10,000 rules", "2,000 members"];
    let mut ways = vec![("bare bridge".to_owned(), bare.path("10.7.0.2"))];
    for (name, (plain, (_, path))) in names.iter().zip(upstream.iter().zip(&ours)) {
        ways.push((format!("ours with the fast path, {name}"), path.clone()));
        ways.push((format!("release 25's chains, {name}"), plain.path("10.7.0.2")));
    }
    ways.push((format!("ours without the fast path, {}", names[0]), slow));
    let mut report = Report::new(&format!("Firewall ({driver})"), "bare bridge");
    report.measure(&ways, rounds).unwrap();
    report.write("firewall").unwrap();
}

#[test]
#[ignore = "a measurement: make bench-dataplane"]
fn routers() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let plain = Plain::forwarder().unwrap();
    let hosts = [routed(true), routed(false)];
    let mut ways = vec![("plain forwarding".to_owned(), plain.path("10.7.2.2"))];
    for ((_, path), name) in hosts.iter().zip(["our router", "our router, bridges pass iptables"]) {
        ways.push((name.to_owned(), path.clone()));
    }
    let mut report = Report::new("Router", "plain forwarding");
    report.measure(&ways, rounds).unwrap();
    report.write("router").unwrap();
}
