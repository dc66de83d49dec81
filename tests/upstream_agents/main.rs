//! Upstream's agents at our server, ours at upstream's, and one in place of the other while packets flow: the real
//! programs, on two hosts with a VXLAN network and a flat one between them.
//!
//! The Linux bridge agent and the other server are those of release 25, the last with either; at our server the agents of
//! DHCP and metadata are those of 29, with a driver for Linux bridges of this test's, since 29 has none. It needs
//! upstream's programs, so it is not among the other tests: `make test-agents`. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

mod lab;
mod routers;

use std::time::{Duration, Instant};

use lab::{AGENTS, HOSTS, Lab, Make};
use serde_json::{Value, json};
use testkit::{
    deployment::Plugged,
    host::Pings,
    http::{id, text},
};

/// An instance that runs.
struct Booted {
    host: &'static str,
    port: Value,
    plugged: Plugged,
}

impl Booted {
    fn address(&self) -> String {
        text(&self.port["fixed_ips"][0], "ip_address")
    }

    fn pings(&self, to: &str) -> u32 {
        self.plugged.instance.ping(to, 10).unwrap()
    }
}

fn network(lab: &Lab, attributes: Value, cidr: &str, gateway: &str, start: &str, end: &str) -> String {
    let network = id(&lab.api().create("networks", attributes).unwrap());
    let pools = json!([{"start": start, "end": end}]);
    let subnet = json!({
        "network_id": network, "ip_version": 4, "cidr": cidr, "gateway_ip": gateway, "allocation_pools": pools,
    });
    lab.api().create("subnets", subnet).unwrap();
    lab.until("dnsmasq serves", || lab.dnsmasq(&network).is_some());
    network
}

/// A stream of packets.
struct Flow {
    what: &'static str,
    /// Whether upstream's agent filters what its ports send.
    filtered: bool,
    pings: Pings,
}

/// What upstream's agent may lose of each flow that it filters when it starts where it ran before: it empties the chains
/// that let a port send, whose policy is to drop, before it fills them again. What ours leaves it does not empty.
const LOST_BY_UPSTREAM: u32 = 50;

/// An instance whose port nobody may have wired yet.
fn plugged(lab: &Lab, host: &'static str, network: &str, port_security: bool) -> Booted {
    let device = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned();
    let port = json!({
        "network_id": network, "binding:host_id": host, "device_owner": "compute:nova", "device_id": device,
        "port_security_enabled": port_security,
    });
    let port = lab.api().create("ports", port).unwrap();
    assert_eq!(port["binding:vif_type"], "bridge", "{port}");
    let plugged = lab.plug(host, &port).unwrap();
    Booted { host, port, plugged }
}

fn until_active(lab: &Lab, booted: &Booted) {
    lab.until("the port is ACTIVE", || lab.api().show("ports", &id(&booted.port)).unwrap()["status"] == "ACTIVE");
}

/// An instance on a host: its port ACTIVE, and with the address that DHCP gave it.
fn boot(lab: &Lab, host: &'static str, network: &str, port_security: bool) -> Booted {
    let began = Instant::now();
    let booted = plugged(lab, host, network, port_security);
    until_active(lab, &booted);
    let active = began.elapsed();
    let mut lease = booted.plugged.instance.dhcp();
    lab.until("DHCP answers", || {
        if lease.is_err() {
            lease = booted.plugged.instance.dhcp();
        }
        lease.is_ok()
    });
    assert_eq!(lease.unwrap()["ip"], booted.address());
    println!("    a port on {host} became ACTIVE after {active:?}");
    booted
}

/// Asks until the compute service answers with the headers that name the instance; how many times in vain.
fn metadata(lab: &Lab, booted: &Booted) -> u32 {
    let mut failures = 0;
    lab.until("metadata is answered", || {
        let answer = booted.plugged.instance.curl("http://169.254.169.254/latest/meta-data/instance-id");
        let right = answer.is_ok_and(|(status, body)| {
            let body = body.to_lowercase();
            status == 200 && body.contains(&text(&booted.port, "device_id")) && body.contains("x-instance-id-signature")
        });
        failures += u32::from(!right);
        right
    });
    failures
}

fn start_all(lab: &mut Lab, make: Make) {
    for (host, agent) in AGENTS {
        lab.start_agent(host, agent, make).unwrap();
    }
    let agents = lab.api().list("agents", "").unwrap();
    assert_eq!(agents.iter().filter(|agent| agent["alive"] == true).count(), AGENTS.len(), "{agents:?}");
}

/// One after the other, each agent gives way to one of another make.
fn swap(lab: &mut Lab, make: Make) {
    for (host, agent) in AGENTS {
        lab.stop_agent(host, agent).unwrap();
        lab.start_agent(host, agent, make).unwrap();
    }
}

/// The streams of packets that no change of agents may disturb.
fn flows(lab: &Lab, tenant: &str, instances: &[Booted]) -> Vec<Flow> {
    let query = format!("?network_id={tenant}&device_owner=network:dhcp");
    let dhcp = text(&lab.api().list("ports", &query).unwrap()[0]["fixed_ips"][0], "ip_address");
    let flow = |what, from: usize, to: &str| {
        let filtered = instances[from].port["port_security_enabled"] == true;
        Flow { what, filtered, pings: instances[from].plugged.instance.pings(to).unwrap() }
    };
    vec![
        flow("between hosts, by VXLAN, filtered", 0, &instances[1].address()),
        flow("between hosts, by VXLAN", 4, &instances[5].address()),
        flow("to the DHCP port of the other host, by VXLAN", 5, &dhcp),
        flow("between hosts, by the physical network, filtered", 3, &instances[2].address()),
        flow("to a machine of the physical network", 6, "192.168.56.1"),
    ]
}

/// Ends the flows, during which agents have started; of those that are filtered no more was lost than this, of others
/// nothing.
fn finish(flows: Vec<Flow>, of_filtered: u32) {
    let mut wrong = Vec::new();
    for Flow { what, filtered, pings } in flows {
        let (sent, answered) = pings.stop().unwrap();
        let lost = sent - answered;
        println!("    {what}: {sent} sent, {lost} lost");
        let allowed = if filtered { of_filtered } else { 0 };
        if lost > allowed || sent < 100 {
            wrong.push(format!("{what}: {lost} of {sent}"));
        }
    }
    assert!(wrong.is_empty(), "packets were lost: {wrong:?}");
}

/// Whatever agents that have come do once everything works.
fn at_leisure() {
    std::thread::sleep(Duration::from_secs(8));
}

/// Swaps the agents while packets flow, starts an instance with those that came, and counts.
fn swap_under_load(lab: &mut Lab, make: Make, networks: [&str; 2], instances: &[Booted]) {
    println!("  to {make:?}");
    let flows = flows(lab, networks[0], instances);
    let served = networks.map(|network| lab.dnsmasq(network).unwrap());
    let began = Instant::now();
    swap(lab, make);
    let fresh = boot(lab, HOSTS[1], networks[0], true);
    assert_eq!(fresh.pings(&instances[4].address()), 10);
    if make == Make::Ours {
        // Upstream's rules stay as they were when its agent ended: who comes later is not known to them.
        println!("    a new instance reaches one that upstream filtered: {}", fresh.pings(&instances[0].address()) > 0);
    } else {
        lab.until("the new instance is a member of its group", || fresh.pings(&instances[0].address()) == 10);
    }
    let vain = metadata(lab, &instances[1]) + metadata(lab, &fresh);
    at_leisure();
    let serve = networks.map(|network| lab.dnsmasq(network).unwrap());
    let haproxies = networks.iter().filter(|network| lab.haproxy(network).is_some()).count();
    println!(
        "    in {:?}; metadata asked {vain} times in vain; dnsmasq {}; {haproxies} haproxy",
        began.elapsed(),
        if served == serve { "the same processes" } else { "started anew" }
    );
    finish(flows, 0);
    assert_eq!(haproxies, if make == Make::Ours { 0 } else { 2 });
    if make == Make::Ours {
        assert_eq!(served, serve, "a dnsmasq that serves was disturbed");
    }
    remove(lab, fresh);
}

/// Ends an instance.
fn remove(lab: &Lab, booted: Booted) {
    lab.node(booted.host).run(&format!("ip link delete {}", booted.plugged.instance.tap)).unwrap();
    lab.api().delete("ports", &id(&booted.port)).unwrap();
}

/// Whether upstream's agent has made rules of the security groups that it asked for.
fn filtered(lab: &Lab, booted: &Booted) -> bool {
    has_rules(lab, booted.host, &id(&booted.port))
}

fn has_rules(lab: &Lab, host: &str, port: &str) -> bool {
    lab.node(host).run("iptables-save").unwrap().contains(&format!("neutron-linuxbri-i{port:.10}"))
}

/// A member of the group of all, in the set by which the rules of others let it in.
fn member(lab: &Lab, host: &str, address: &str) -> bool {
    lab.node(host).run("ipset list").unwrap().lines().any(|line| line.starts_with(address))
}

fn exchange(server: Make, first: Make, second: Make) {
    println!("server {server:?}, agents {first:?}");
    let mut lab = Lab::start(server).unwrap();
    start_all(&mut lab, first);
    let flat = json!({
        "name": "public", "shared": true, "provider:network_type": "flat", "provider:physical_network": "public",
    });
    let tenant = network(&lab, json!({"name": "tenant"}), "10.9.0.0/24", "10.9.0.1", "10.9.0.10", "10.9.0.99");
    let public = network(&lab, flat, "192.168.56.0/24", "192.168.56.1", "192.168.56.100", "192.168.56.200");

    let instances = vec![
        boot(&lab, HOSTS[0], &tenant, true),
        boot(&lab, HOSTS[1], &tenant, true),
        boot(&lab, HOSTS[1], &public, true),
        boot(&lab, HOSTS[0], &public, true),
        boot(&lab, HOSTS[0], &tenant, false),
        boot(&lab, HOSTS[1], &tenant, false),
        boot(&lab, HOSTS[1], &public, false),
    ];
    let reach = |from: usize, to: usize| instances[from].pings(&instances[to].address());
    lab.until("security groups let members in", || reach(0, 1) == 10 && reach(3, 2) == 10);
    assert_eq!([reach(1, 0), reach(2, 3)], [10, 10]);
    for booted in &instances {
        metadata(&lab, booted);
    }
    if first != Make::Ours {
        for booted in &instances[..4] {
            assert!(filtered(&lab, booted), "no rules for {}", booted.port);
        }
        assert!(member(&lab, HOSTS[0], &instances[1].address()));
    }

    // Agents that start again find everything as it is.
    let flowing = flows(&lab, &tenant, &instances);
    lab.stop_agent(HOSTS[0], "linuxbridge").unwrap();
    lab.start_agent(HOSTS[0], "linuxbridge", first).unwrap();
    lab.stop_agent(HOSTS[1], "linuxbridge").unwrap();
    let missed = plugged(&lab, HOSTS[1], &tenant, true);
    lab.start_agent(HOSTS[1], "linuxbridge", first).unwrap();
    until_active(&lab, &missed);
    at_leisure();
    println!("  the Linux bridge agents of {first:?} started again");
    finish(flowing, if first == Make::Ours { 0 } else { LOST_BY_UPSTREAM });

    // A port that goes takes its rules along, and the others learn it.
    let address = missed.address();
    if first != Make::Ours {
        lab.until("the port is filtered", || filtered(&lab, &missed) && member(&lab, HOSTS[0], &address));
    }
    let port = id(&missed.port);
    remove(&lab, missed);
    lab.until("its rules are gone", || !has_rules(&lab, HOSTS[1], &port) && !member(&lab, HOSTS[0], &address));

    swap_under_load(&mut lab, second, [&tenant, &public], &instances);
    swap_under_load(&mut lab, first, [&tenant, &public], &instances);

    for booted in instances {
        remove(&lab, booted);
    }
    for network in [&tenant, &public] {
        lab.until_forgotten(network);
        lab.api().delete("networks", network).unwrap();
    }
    lab.until_nothing_is_left();
    let errors = lab.errors();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
#[ignore = "needs upstream's programs: make test-agents"]
fn upstream_agents_at_our_server() {
    exchange(Make::Ours, Make::Upstream29, Make::Ours);
}

#[test]
#[ignore = "needs upstream's programs: make test-agents"]
fn our_agents_at_upstream_server() {
    exchange(Make::Upstream25, Make::Ours, Make::Upstream25);
}

#[test]
#[ignore = "needs upstream's programs: make test-agents"]
fn routers_of_upstream_at_our_server() {
    routers::routers(Make::Ours, Make::Upstream29);
}

#[test]
#[ignore = "needs upstream's programs: make test-agents"]
fn our_routers_at_upstream_server() {
    routers::routers(Make::Upstream25, Make::Ours);
}
