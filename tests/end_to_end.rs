//! The whole standalone service on a host of its own, with real instances: addresses by DHCP, packets between them while
//! parts are killed, and nothing left behind. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{
    host::{Host, Instance, NAME, bridge, tap},
    http::{id, text},
    process::{Signal, signal},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");

fn start() -> Host {
    Host::start(PROGRAM, "[quotas]\nquota_port = -1\n").unwrap()
}

fn network(host: &Host, cidr: &str) -> String {
    let network = id(&host.client().create("networks", json!({"mtu": 1400})).unwrap());
    let subnet = json!({
        "network_id": network, "ip_version": 4, "cidr": cidr, "dns_nameservers": ["192.0.2.53", "198.51.100.53"],
    });
    host.client().create("subnets", subnet).unwrap();
    host.until("dnsmasq serves", || Ok(host.dnsmasq(&network).is_some())).unwrap();
    network
}

/// A port as the compute service asks for it. (One without an owner waits for no agent to wire it.)
fn wish(network: &str) -> Value {
    json!({"network_id": network, "binding:host_id": NAME, "device_owner": "compute:nova", "device_id": "vm"})
}

fn port(host: &Host, network: &str) -> Value {
    host.client().create("ports", wish(network)).unwrap()
}

fn address(port: &Value) -> String {
    text(&port["fixed_ips"][0], "ip_address")
}

/// An instance with its address, on a port that is ACTIVE.
fn boot(host: &Host, name: &str, port: &Value) -> Instance {
    let instance = host.plug(name, port).unwrap();
    host.until_active(&id(port)).unwrap();
    let lease = instance.dhcp().unwrap();
    assert_eq!(lease["ip"], address(port));
    instance
}

/// Deletes ports, then what is left of the networks.
fn delete(host: &Host, networks: &[&String], ports: &[&Value]) {
    for port in ports {
        host.client().delete("ports", &id(port)).unwrap();
    }
    for network in networks {
        host.client().delete("networks", network).unwrap();
    }
}

#[test]
fn instances_get_their_settings_reach_each_other_and_leave_nothing() {
    let host = start();
    let before = host.inventory(&[]).unwrap();
    let (blue, red) = (network(&host, "10.0.0.0/24"), network(&host, "10.0.0.0/24"));
    let [first, second] = [port(&host, &blue), port(&host, &blue)];
    assert_eq!(first["binding:vif_type"], "bridge", "{first}");
    let stranger = port(&host, &red);
    let one = host.plug("one", &first).unwrap();
    host.until_active(&id(&first)).unwrap();
    let lease = one.dhcp().unwrap();
    assert_eq!(lease["ip"], address(&first));
    assert_eq!((lease["subnet"].as_str(), lease["router"].as_str()), ("255.255.255.0", "10.0.0.1"));
    assert_eq!((lease["dns"].as_str(), lease["mtu"].as_str()), ("192.0.2.53 198.51.100.53", "1400"));
    let two = boot(&host, "two", &second);
    let three = boot(&host, "three", &stranger);
    assert_eq!(one.ping(&address(&second), 10).unwrap(), 10);
    assert_eq!(two.ping(&address(&first), 10).unwrap(), 10);
    // Both networks have the same addresses: what answers there must be of the own network.
    let other = if address(&stranger) == address(&first) { &second } else { &first };
    assert_eq!(three.ping(&address(other), 5).unwrap(), 0);
    let links = host.links().unwrap();
    for (port, network) in [(&first, &blue), (&second, &blue), (&stranger, &red)] {
        let link = &links[&tap(port)];
        assert_eq!((link.master.as_deref(), link.mtu), (Some(bridge(network).as_str()), 1400));
    }
    // A card that is taken out makes its port DOWN.
    host.unplug(&two).unwrap();
    let client = host.client();
    host.until("the port is DOWN", || Ok(client.show("ports", &id(&second))?["status"] == "DOWN")).unwrap();
    for instance in [one, three] {
        host.unplug(&instance).unwrap();
    }
    delete(&host, &[&blue, &red], &[&first, &second, &stranger]);
    let networks = [blue, red];
    host.until("nothing is left", || Ok(host.inventory(&networks)? == before)).unwrap_or_else(|error| {
        let left = host.inventory(&networks).unwrap();
        panic!("{error}: more {:?}, less {:?}", left.difference(&before), before.difference(&left));
    });
    assert_eq!(host.service.faults(), [""; 0]);
}

#[test]
fn killing_any_part_loses_no_packet() {
    let mut host = start();
    let before = host.inventory(&[]).unwrap();
    let blue = network(&host, "10.0.0.0/24");
    let [first, second] = [port(&host, &blue), port(&host, &blue)];
    let (one, two) = (boot(&host, "one", &first), boot(&host, "two", &second));
    let pings = one.pings(&address(&second)).unwrap();
    for round in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        // dnsmasq is back by itself.
        let dnsmasq = host.dnsmasq(&blue).unwrap();
        signal(dnsmasq, Signal::SIGKILL).unwrap();
        let back = host.until("dnsmasq is back", || Ok(host.dnsmasq(&blue).is_some_and(|pid| pid != dnsmasq))).unwrap();
        // The service is killed; what it has set up works on without it, new leases included.
        host.service.kill().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(two.dhcp().unwrap()["ip"], address(&second));
        let dnsmasq = host.dnsmasq(&blue);
        if round == 2 {
            // Both at once.
            signal(dnsmasq.unwrap(), Signal::SIGKILL).unwrap();
        }
        host.service.start().unwrap();
        let began = Instant::now();
        // A port that comes now is wired, so the agents have found their way.
        let third = port(&host, &blue);
        let three = boot(&host, "three", &third);
        println!("dnsmasq back in {back:?}; {:?} from the restart to a new instance's lease", began.elapsed());
        assert_eq!(three.ping(&address(&first), 5).unwrap(), 5);
        if round != 2 {
            assert_eq!(host.dnsmasq(&blue), dnsmasq, "a dnsmasq that serves is adopted");
        }
        host.unplug(&three).unwrap();
        delete(&host, &[], &[&third]);
    }
    let (sent, received) = pings.stop().unwrap();
    println!("{received} of {sent} packets came through three kills of the service and four of dnsmasq");
    assert!(sent > 10 && sent == received, "{} of {sent} packets lost", sent - received);
    for port in [&first, &second] {
        assert_eq!(host.client().show("ports", &id(port)).unwrap()["status"], "ACTIVE");
    }
    for instance in [one, two] {
        host.unplug(&instance).unwrap();
    }
    delete(&host, &[&blue], &[&first, &second]);
    let networks = [blue];
    host.until("nothing is left", || Ok(host.inventory(&networks)? == before)).unwrap_or_else(|error| {
        let left = host.inventory(&networks).unwrap();
        panic!("{error}: more {:?}, less {:?}", left.difference(&before), before.difference(&left));
    });
}

#[test]
fn a_port_is_active_soon_after_its_tap_appears() {
    let host = start();
    let client = host.client();
    let blue = network(&host, "10.0.0.0/16");
    let mut times = Vec::new();
    for number in 0..100 {
        let port = port(&host, &blue);
        let instance = host.instance(&format!("vm-{number}"), &port).unwrap();
        let began = Instant::now();
        host.plug_all(&[(instance.clone(), port.clone())]).unwrap();
        host.until_active(&id(&port)).unwrap();
        times.push(began.elapsed());
    }
    times.sort();
    println!("tap to ACTIVE, one at a time: median {:?}, 90 % {:?}, most {:?}", times[50], times[90], times[99]);
    assert!(times[50] < Duration::from_secs(5), "{:?}", times[50]);

    let ports = (0..100).map(|_| wish(&blue)).collect();
    let ports = client.create_all("ports", ports).unwrap();
    let plug =
        |(number, port): (usize, &Value)| (host.instance(&format!("many-{number}"), port).unwrap(), port.clone());
    let instances: Vec<(Instance, Value)> = ports.iter().enumerate().map(plug).collect();
    let began = Instant::now();
    host.plug_all(&instances).unwrap();
    let plugged = began.elapsed();
    let active = format!("?network_id={blue}&status=ACTIVE&fields=id&device_owner=compute:nova");
    host.until("all are ACTIVE", || Ok(client.list("ports", &active)?.len() == 200)).unwrap();
    println!("100 taps at once, made in {plugged:?}: all ACTIVE {:?} after the first", began.elapsed());
    println!("resident: {} MiB with 200 ports", host.service.resident_kib().unwrap() / 1024);
}

#[test]
fn a_port_without_a_card_stays_down() {
    let host = start();
    let blue = network(&host, "10.0.0.0/24");
    let ports = [port(&host, &blue), port(&host, &blue), port(&host, &blue)];
    let plugged = boot(&host, "one", &ports[0]);
    let status = |port: &Value| text(&host.client().show("ports", &id(port)).unwrap(), "status");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(ports.each_ref().map(status), ["ACTIVE", "DOWN", "DOWN"]);
    host.client().update("ports", &id(&ports[0]), json!({"admin_state_up": false})).unwrap();
    host.client().update("ports", &id(&ports[1]), json!({"extra_dhcp_opts": []})).unwrap();
    host.until("the port is DOWN", || Ok(status(&ports[0]) == "DOWN")).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let late = port(&host, &blue);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(ports.each_ref().map(status), ["DOWN", "DOWN", "DOWN"]);
    assert_eq!(status(&late), "DOWN");
    host.unplug(&plugged).unwrap();
}
