//! Routers: an L3 agent of either make at a server of either.

use std::{
    fs,
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use testkit::{
    host::run,
    http::{id, text},
};

use super::{Booted, HOSTS, Lab, Make, boot, metadata, network, remove};

/// Whom a machine outside hears from when the instance connects to it.
fn heard_outside(lab: &Lab, booted: &Booted) -> String {
    let outside: SocketAddr = "192.168.56.1:2222".parse().unwrap();
    let listener = lab.outside().run(|| TcpListener::bind(outside)).unwrap().unwrap();
    let answering = thread::spawn(move || listener.accept().unwrap().1.ip().to_string());
    booted.plugged.instance.namespace.run(|| TcpStream::connect(outside)).unwrap().unwrap();
    answering.join().unwrap()
}

/// Whether who connects to this address from outside is answered by the instance.
fn answers_outside(lab: &Lab, booted: &Booted, address: &str) -> bool {
    let (inside, outside) = (SocketAddr::new(booted.address().parse().unwrap(), 22), format!("{address}:22"));
    let listener = booted.plugged.instance.namespace.run(|| TcpListener::bind(inside)).unwrap().unwrap();
    let answering = thread::spawn(move || drop(listener.accept()));
    let stream = lab.outside().run(|| TcpStream::connect(&outside)).unwrap();
    let answered = stream.is_ok_and(|mut stream| stream.read(&mut [0; 1]).is_ok());
    if !answered {
        // So that nobody waits for ever.
        let _ = booted.plugged.instance.namespace.run(|| TcpStream::connect(inside));
    }
    answering.join().unwrap();
    answered
}

/// Whether a program of this name runs anywhere.
fn runs(program: &str) -> bool {
    let names =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    names.into_iter().any(|name| name.trim_end() == program)
}

/// Every agent of one make, but for what the make has none of.
pub(super) fn routers(server: Make, agents: Make) {
    println!("server {server:?}, L3 agent and others of {agents:?}");
    let mut lab = Lab::start(server).unwrap();
    for (host, agent) in super::AGENTS {
        lab.start_agent(host, agent, agents).unwrap();
    }
    lab.start_agent(HOSTS[0], "l3", agents).unwrap();
    let tenant = network(&lab, json!({"name": "tenant"}), "10.9.0.0/24", "10.9.0.1", "10.9.0.10", "10.9.0.99");
    let external = json!({
        "name": "public", "router:external": true, "provider:network_type": "flat", "provider:physical_network": "public",
    });
    let public = network(&lab, external, "192.168.56.0/24", "192.168.56.1", "192.168.56.100", "192.168.56.200");

    let gateway = json!({"name": "r", "external_gateway_info": {"network_id": public}});
    let router = lab.api().create("routers", gateway).unwrap();
    let router_id = id(&router);
    let subnet = id(&lab.api().list("subnets", &format!("?network_id={tenant}")).unwrap()[0]);
    let interface = json!({"subnet_id": subnet});
    let path = format!("/v2.0/routers/{router_id}");
    lab.put(&format!("{path}/add_router_interface"), &interface);
    lab.until("the router is ACTIVE at an agent", || {
        let agents = lab.api().get(&format!("{path}/l3-agents")).unwrap();
        agents["agents"].as_array().is_some_and(|agents| agents.len() == 1)
            && lab.api().show("routers", &router_id).unwrap()["status"] == "ACTIVE"
    });
    // Later than the router, which changes by which way DHCP says that metadata is reached. Without port security, as
    // nobody outside is a member of its group.
    let instance = boot(&lab, HOSTS[1], &tenant, false);

    // Out, as the router.
    lab.until("the instance reaches its router", || instance.pings("10.9.0.1") == 10);
    lab.until("the instance reaches the world", || instance.pings("192.168.56.1") == 10);
    let own = text(&router["external_gateway_info"]["external_fixed_ips"][0], "ip_address");
    assert_eq!(heard_outside(&lab, &instance), own);
    metadata(&lab, &instance);

    // In by a floating IP, and out as that.
    let floating = json!({"floating_network_id": public, "port_id": id(&instance.port)});
    let floating = lab.api().create("floatingips", floating).unwrap();
    let address = text(&floating, "floating_ip_address");
    let status = |lab: &Lab| text(&lab.api().show("floatingips", &id(&floating)).unwrap(), "status");
    lab.until("the floating IP is ACTIVE", || status(&lab) == "ACTIVE");
    lab.until("it answers", || run(&lab.outside(), "ping", &format!("-n -q -c 3 -i 0.1 -W 1 {address}")).is_ok());
    assert!(answers_outside(&lab, &instance, &address));
    assert_eq!(heard_outside(&lab, &instance), address);

    // Away with the floating IP: in no more, out as the router again.
    lab.api().update("floatingips", &id(&floating), json!({"port_id": null})).unwrap();
    lab.until("the floating IP is DOWN", || status(&lab) == "DOWN");
    lab.until("the instance is the router again", || heard_outside(&lab, &instance) == own);
    lab.api().delete("floatingips", &id(&floating)).unwrap();

    // The agent starts again under packets.
    let done = format!("Finished a router update for {router_id}");
    let before = lab.said(HOSTS[0], "l3", &done);
    let pings = instance.plugged.instance.pings("192.168.56.1").unwrap();
    lab.stop_agent(HOSTS[0], "l3").unwrap();
    lab.start_agent(HOSTS[0], "l3", agents).unwrap();
    if agents != Make::Ours {
        // A router that goes while upstream's agent looks at it is an error to that.
        lab.until("the agent has gone through its router", || lab.said(HOSTS[0], "l3", &done) > before);
        // As is one that goes while it tells the neighbours of an address, which it does every two seconds a few times.
        let mut last = Instant::now();
        lab.until("the agent has told the neighbours", || {
            if runs("arping") {
                last = Instant::now();
            }
            last.elapsed() > Duration::from_secs(4)
        });
    }
    thread::sleep(Duration::from_secs(5));
    let (sent, answered) = pings.stop().unwrap();
    println!("    the L3 agent started again: {sent} sent, {} lost", sent - answered);
    // Ours loses nothing; what upstream's does at its start is its own affair.
    assert!(agents != Make::Ours || sent == answered, "{} of {sent} lost", sent - answered);

    lab.put(&format!("{path}/remove_router_interface"), &interface);
    lab.api().delete("routers", &router_id).unwrap();
    remove(&lab, instance);
    for network in [&tenant, &public] {
        lab.until_forgotten(network);
        lab.api().delete("networks", network).unwrap();
    }
    lab.until_nothing_is_left();
    let mut errors = lab.errors();
    if agents != Make::Ours {
        // Neighbours may be told once more than the wait above allows for, on a busy machine.
        errors.retain(|error| !(error.contains("'arping'") && error.contains("Cannot open network namespace")));
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}
