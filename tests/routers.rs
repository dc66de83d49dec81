//! Routers of the whole standalone service: from the API to packets, and back to nothing. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kernel::System;
use serde_json::{Value, json};
use testkit::{
    host::{Host, Instance, NAME},
    http::{id, text},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");

fn network(host: &Host, cidr: &str, external: bool) -> (String, String) {
    let wish = json!({"mtu": 1400, "router:external": external, "port_security_enabled": false});
    let network = id(&host.client().create("networks", wish).unwrap());
    let subnet = json!({"network_id": network, "ip_version": 4, "cidr": cidr});
    let subnet = id(&host.client().create("subnets", subnet).unwrap());
    host.until("dnsmasq serves", || Ok(host.dnsmasq(&network).is_some())).unwrap();
    (network, subnet)
}

fn boot(host: &Host, name: &str, network: &str) -> (Value, Instance) {
    let wish =
        json!({"network_id": network, "binding:host_id": NAME, "device_owner": "compute:nova", "device_id": name});
    let port = host.client().create("ports", wish).unwrap();
    let instance = host.plug(name, &port).unwrap();
    host.until_active(&id(&port)).unwrap();
    instance.dhcp().unwrap();
    (port, instance)
}

fn interface(host: &Host, router: &str, action: &str, subnet: &str) {
    let path = format!("/v2.0/routers/{router}/{action}_router_interface");
    let answer = host.client().json("PUT", &path, &json!({"subnet_id": subnet})).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn until_pings(host: &Host, from: &Instance, to: &str, answers: bool) {
    let what = format!("{to} answers: {answers}");
    host.until(&what, || Ok((from.ping(to, 1)? == 1) == answers)).unwrap();
}

#[test]
fn a_tenant_gets_out_and_is_reached_by_a_floating_ip_until_all_is_deleted() {
    let host = Host::start(PROGRAM, "").unwrap();
    let client = host.client();
    let before = host.inventory(&[]).unwrap();
    let (external, external_subnet) = network(&host, "203.0.113.0/24", true);
    let (inside, inside_subnet) = network(&host, "10.0.0.0/24", false);
    let (outside_port, outside) = boot(&host, "outside", &external);
    let outside_address = text(&outside_port["fixed_ips"][0], "ip_address");
    let wish = json!({"external_gateway_info": {"network_id": external, "external_fixed_ips": [{"subnet_id": external_subnet}]}});
    let router = id(&client.create("routers", wish).unwrap());
    interface(&host, &router, "add", &inside_subnet);
    let (port, one) = boot(&host, "one", &inside);
    until_pings(&host, &one, &outside_address, true);

    // Nobody outside knows the way in, until there is a floating IP.
    let wish = json!({"floating_network_id": external, "port_id": id(&port)});
    let floating = client.create("floatingips", wish).unwrap();
    let address = text(&floating, "floating_ip_address");
    host.until("the floating IP is ACTIVE", || Ok(client.show("floatingips", &id(&floating))?["status"] == "ACTIVE"))
        .unwrap();
    until_pings(&host, &outside, &address, true);
    client.update("floatingips", &id(&floating), json!({"port_id": null})).unwrap();
    host.until("the floating IP is DOWN", || Ok(client.show("floatingips", &id(&floating))?["status"] == "DOWN"))
        .unwrap();
    until_pings(&host, &outside, &address, false);

    // Deleted in the order that the API asks for, nothing is left.
    client.delete("floatingips", &id(&floating)).unwrap();
    interface(&host, &router, "remove", &inside_subnet);
    until_pings(&host, &one, &outside_address, false);
    client.delete("routers", &router).unwrap();
    let namespace = format!("qrouter-{router}");
    host.until("the router's namespace is gone", || Ok(!System::current().namespace_exists(&namespace))).unwrap();
    for (instance, port) in [(&one, &port), (&outside, &outside_port)] {
        host.unplug(instance).unwrap();
        client.delete("ports", &id(port)).unwrap();
    }
    for network in [&inside, &external] {
        client.delete("networks", network).unwrap();
    }
    let networks = [inside, external];
    host.until("nothing is left", || {
        let left = host.inventory(&networks)?;
        Ok(left.difference(&before).all(|it| it.ends_with("/routers")))
    })
    .unwrap();
    assert_eq!(host.service.faults(), [""; 0]);
}
