//! An isolated network of the standalone service: addresses of both families by DHCP, metadata, a neighbour, a restart.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use testkit::{
    host::{Host, NAME, bridge, run, tap},
    http::{id, text},
    nova_metadata,
    virtual_machine::VirtualMachine,
};

use crate::{
    PROGRAM,
    tools::{Capture, Plugging, address, talks},
};

/// Smaller than any default.
const MTU: usize = 1400;

/// A host with a compute service's metadata, and a network on it.
fn host(plugging: Plugging) -> (Host, String) {
    let host = Host::start(
        PROGRAM,
        &format!(
            "enable_isolated_metadata = true\nnova_metadata_host = 127.0.0.1\nmetadata_proxy_shared_secret = abcdocker\n\
             [ml2_linuxbridge]\nvif_type = {}\n",
            plugging.name()
        ),
    )
    .unwrap();
    let address: SocketAddr = "127.0.0.1:8775".parse().unwrap();
    let listener = host.root().run(|| TcpListener::bind(address)).unwrap().unwrap();
    nova_metadata::serve(listener).unwrap();
    let network = id(&host.client().create("networks", json!({"mtu": MTU})).unwrap());
    for subnet in [
        json!({"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}),
        json!({"network_id": network, "ip_version": 6, "cidr": "2001:db8::/64",
               "ipv6_address_mode": "dhcpv6-stateful", "ipv6_ra_mode": "dhcpv6-stateful"}),
    ] {
        host.client().create("subnets", subnet).unwrap();
    }
    (host, network)
}

fn port(host: &Host, network: &str, device: &str) -> Value {
    let wish = json!({
        "network_id": network, "binding:host_id": NAME, "device_owner": "compute:nova", "device_id": device,
    });
    host.client().create("ports", wish).unwrap()
}

pub(crate) fn a_machine_is_served(plugging: Plugging) {
    let (host, network) = host(plugging);
    let wanted = port(&host, &network, "vm-1");
    assert_eq!(wanted["binding:vif_type"], plugging.name());
    plugging.prepare(&host.root(), &wanted);
    let mut vm = VirtualMachine::boot(&host.root(), &tap(&wanted), &text(&wanted, "mac_address")).unwrap();
    host.until_active(&id(&wanted)).unwrap();
    println!("{plugging:?}: the machine booted in {:?}", vm.booted_in);
    let links = host.links().unwrap();
    assert_eq!(links[&tap(&wanted)].master, Some(bridge(&network)));
    assert_eq!(links[&tap(&wanted)].mtu, MTU as u64);

    // Addresses of both families.
    let lease = vm.dhcp().unwrap();
    let (v4, v6) = (address(&wanted, 4), address(&wanted, 6));
    assert!(lease.lines().any(|line| line == format!("ip={v4}")), "{lease}");
    assert!(lease.lines().any(|line| line == format!("mtu={MTU}")), "{lease}");
    let lease = vm.dhcpv6().unwrap();
    assert!(lease.lines().any(|line| line == format!("new_ip6_address={v6}")), "{lease}");
    assert!(vm.run("cat /sys/class/net/eth0/mtu").unwrap().contains(&MTU.to_string()));

    // Metadata over both.
    let path = "openstack/latest/meta_data.json";
    for at in ["169.254.169.254", "[fe80::a9fe:a9fe%25eth0]"] {
        let said = vm.run(&format!("curl -sSgf --max-time 30 http://{at}/{path}")).unwrap().to_lowercase();
        assert!(said.contains("x-instance-id: vm-1"), "{said}");
        assert!(said.contains("x-instance-id-signature: "), "{said}");
    }

    // Its neighbour, both ways, in packets as large as the network carries, none of them in pieces.
    let other = port(&host, &network, "vm-2");
    let neighbour = host.plug("neighbour", &other).unwrap();
    neighbour.dhcp().unwrap();
    let pieces = Capture::start(&neighbour.namespace, "eth0", "ip[6:2] & 0x3fff != 0 or ip6 proto 44");
    let large =
        Capture::start(&neighbour.namespace, "eth0", &format!("icmp and ip[2:2] = {MTU} and ip[6] & 0x40 != 0"));
    let payload = MTU - 28;
    vm.run(&format!("ping -c 3 -s {payload} {}", address(&other, 4))).unwrap();
    assert_eq!(neighbour.ping(&v4, 5).unwrap(), 5);
    talks(&neighbour.namespace, &v4, &mut vm);
    assert_eq!(pieces.count(), 0, "packets came in pieces");
    assert!(large.count() >= 3, "no large packet that may not be cut");
    let whole = format!("-n -q -M do -s {payload} -c 3 -W 5 {v4}");
    run(&neighbour.namespace, "ping", &whole).unwrap();

    // The service goes and comes back under it.
    drop(host.client());
    let mut host = host;
    host.service.kill().unwrap();
    assert_eq!(neighbour.ping(&v4, 20).unwrap(), 20);
    host.service.start().unwrap();
    host.until_agents_live().unwrap();
    host.until_active(&id(&wanted)).unwrap();
    assert_eq!(neighbour.ping(&v4, 20).unwrap(), 20);

    // Nova takes it out, and nothing is left.
    drop(vm);
    run(&host.root(), "ip", &format!("tuntap del {} mode tap", tap(&wanted))).unwrap();
    host.until("the port is DOWN", || Ok(host.client().show("ports", &id(&wanted))?["status"] == "DOWN")).unwrap();
    host.unplug(&neighbour).unwrap();
    for port in [&wanted, &other] {
        host.client().delete("ports", &id(port)).unwrap();
    }
    host.client().delete("networks", &network).unwrap();
    host.until("the bridge is gone", || Ok(!host.links()?.contains_key(&bridge(&network)))).unwrap();
    assert_eq!(host.service.faults(), [""; 0]);
}
