//! A cloud of three hosts: the network's services are on the first, the machine runs on another. It is on a tenant's
//! network behind a router, with security groups in force, or on the provider's network itself.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Result;
use serde_json::{Value, json};
use testkit::{
    cloud::{Cloud, HOSTS, OUTSIDE, Plan},
    host::{run, tap},
    http::{id, text},
    virtual_machine::VirtualMachine,
};

use crate::{
    PROGRAM,
    tools::{Capture, Plugging, address, talks},
};

/// The host that machines run on.
const COMPUTE: &str = HOSTS[1];
/// What an overlay leaves of the wires' 1500.
const OVERLAY_MTU: usize = 1450;
const WIRE_MTU: usize = 1500;
/// Packets in pieces, of either family.
const PIECES: &str = "ip[6:2] & 0x3fff != 0 or ip6 proto 44";
const METADATA: [&str; 2] = ["169.254.169.254", "[fe80::a9fe:a9fe%25eth0]"];
/// How long what is blocked is waited for.
const NEVER: Duration = Duration::from_secs(3);

/// The networks, the router between them, and the groups of the machine.
struct Scene {
    cloud: Cloud,
    plugging: Plugging,
    external: String,
    tenant: Value,
    router: Value,
    group: String,
}

/// A machine on its host.
struct Running {
    port: Value,
    vm: VirtualMachine,
}

pub(crate) fn machines_are_served(plugging: Plugging) {
    let scene = Scene::set(plugging).unwrap();
    scene.on_the_tenants_network();
    scene.on_the_providers_network();
    assert_eq!(scene.cloud.errors(), Vec::<String>::new());
    scene.cloud.stop().unwrap();
}

impl Scene {
    fn set(plugging: Plugging) -> Result<Self> {
        let options =
            format!("[DEFAULT]\nenable_isolated_metadata = true\n[ml2_linuxbridge]\nvif_type = {}\n", plugging.name());
        let plan = Plan::new(PROGRAM).agent(HOSTS[0], "l3").agent(HOSTS[0], "metadata").common(&options);
        let cloud = plan.start()?;
        cloud.start_nova_metadata()?;
        let api = cloud.api();
        let external = api.create(
            "networks",
            json!({
                "name": "public", "router:external": true, "provider:network_type": "flat",
                "provider:physical_network": "public",
            }),
        )?;
        let tenant = api.create("networks", json!({"name": "tenant"}))?;
        let subnet = |network: &Value, cidr: &str, more: Value| {
            let version = if cidr.contains(':') { 6 } else { 4 };
            let mut wish = json!({"network_id": id(network), "ip_version": version, "cidr": cidr});
            wish.as_object_mut()
                .into_iter()
                .for_each(|wish| wish.extend(more.as_object().cloned().unwrap_or_default()));
            api.create("subnets", wish)
        };
        let pool = json!({"allocation_pools": [{"start": "203.0.113.100", "end": "203.0.113.199"}]});
        subnet(&external, "203.0.113.0/24", pool)?;
        subnet(&external, "2001:db8:cafe::/64", json!({"enable_dhcp": false, "gateway_ip": "2001:db8:cafe::1"}))?;
        let inside = subnet(&tenant, "10.0.0.0/24", json!({}))?;
        let modes = json!({"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"});
        let inside6 = subnet(&tenant, "fd00:a1::/64", modes)?;
        let gateway = json!({"network_id": id(&external)});
        let router = api.create("routers", json!({"name": "r", "external_gateway_info": gateway}))?;
        for subnet in [&inside, &inside6] {
            let path = format!("/v2.0/routers/{}/add_router_interface", id(&router));
            let answer = api.json("PUT", &path, &json!({"subnet_id": id(subnet)}))?;
            anyhow::ensure!(answer.status == 200, "{}", answer.text());
        }
        let group = id(&api.create("security-groups", json!({"name": "shell"}))?);
        let scene = Self { cloud, plugging, external: id(&external), tenant, router, group };
        for (ethertype, protocol, port) in
            [("IPv4", "tcp", Some(22)), ("IPv4", "icmp", None), ("IPv6", "ipv6-icmp", None)]
        {
            scene.let_in(ethertype, protocol, port)?;
        }
        let via = scene.gateway(6);
        run(&scene.cloud.outside(), "ip", &format!("route add fd00:a1::/64 via {via}"))?;
        Ok(scene)
    }

    fn let_in(&self, ethertype: &str, protocol: &str, port: Option<u16>) -> Result<()> {
        let rule = json!({
            "security_group_id": self.group, "direction": "ingress", "ethertype": ethertype, "protocol": protocol,
            "port_range_min": port, "port_range_max": port,
        });
        self.cloud.api().create("security-group-rules", rule).map(drop)
    }

    /// The router's address outside.
    fn gateway(&self, version: usize) -> String {
        let fixed = &self.router["external_gateway_info"]["external_fixed_ips"];
        address(&json!({"fixed_ips": fixed}), version)
    }

    /// As Nova does it: the machine starts when its port is ACTIVE.
    fn boot(&self, network: &str, device: &str) -> Running {
        let wish = json!({
            "network_id": network, "binding:host_id": COMPUTE, "device_owner": "compute:nova", "device_id": device,
            "security_groups": [self.group],
        });
        let port = self.cloud.api().create("ports", wish).unwrap();
        assert_eq!(port["binding:vif_type"], self.plugging.name());
        let host = self.cloud.node(COMPUTE).namespace();
        self.plugging.prepare(&host, &port);
        self.cloud.until_active(&[id(&port)]).unwrap();
        let vm = VirtualMachine::boot(&host, &tap(&port), &text(&port, "mac_address")).unwrap();
        println!("{:?}, {device}: booted in {:?}", self.plugging, vm.booted_in);
        Running { port, vm }
    }

    /// The machine goes, and its port.
    fn remove(&self, running: Running) {
        drop(running.vm);
        let host = self.cloud.node(COMPUTE).namespace();
        run(&host, "ip", &format!("tuntap del {} mode tap", tap(&running.port))).unwrap();
        self.cloud.api().delete("ports", &id(&running.port)).unwrap();
    }

    fn on_the_tenants_network(&self) {
        let mut machine = self.boot(&id(&self.tenant), "vm-tenant");
        let wire = Capture::start(&self.cloud.tunnels(), "lan", PIECES);
        let outside = Capture::start(&self.cloud.outside(), "lan", PIECES);
        machine.gets_an_address(OVERLAY_MTU);
        machine.makes_its_own_address("fd00:a1::");
        machine.gets_metadata("vm-tenant", &METADATA);
        let own6 = address(&machine.port, 6);
        self.goes_out(&mut machine, [&self.gateway(4), &own6]);
        let wish = json!({"floating_network_id": self.external, "port_id": id(&machine.port)});
        let floating = self.cloud.api().create("floatingips", wish).unwrap();
        let active = || Ok(self.cloud.api().show("floatingips", &id(&floating))?["status"] == "ACTIVE");
        self.cloud.until("the floating IP is ACTIVE", active).unwrap();
        let floating = text(&floating, "floating_ip_address");
        talks(&self.cloud.outside(), &floating, &mut machine.vm);
        self.goes_out(&mut machine, [&floating, &own6]);
        self.is_guarded(&mut machine, &floating);
        self.fills_packets(&mut machine, &floating, OVERLAY_MTU);
        assert_eq!((wire.count(), outside.count()), (0, 0), "packets came in pieces");
        self.pretends(&mut machine);
        self.remove(machine);
    }

    /// Without a router, a tunnel or a translation; by the same group.
    fn on_the_providers_network(&self) {
        let mut machine = self.boot(&self.external, "vm-public");
        let pieces = Capture::start(&self.cloud.outside(), "lan", PIECES);
        machine.gets_an_address(WIRE_MTU);
        machine.gets_metadata("vm-public", &METADATA[..1]);
        let own = address(&machine.port, 4);
        talks(&self.cloud.outside(), &own, &mut machine.vm);
        self.is_guarded(&mut machine, &own);
        self.fills_packets(&mut machine, &own, WIRE_MTU);
        assert_eq!(pieces.count(), 0, "packets came in pieces");
        self.remove(machine);
    }

    /// It asks the outside as whom it comes, over both families.
    fn goes_out(&self, machine: &mut Running, expected: [&str; 2]) {
        for (outside, expected) in OUTSIDE.iter().zip(expected) {
            let outside = outside.split('/').next().unwrap();
            let at = SocketAddr::new(outside.parse().unwrap(), 80);
            let listener = self.cloud.outside().run(|| TcpListener::bind(at)).unwrap().unwrap();
            let answer = thread::spawn(move || {
                let (mut stream, peer) = listener.accept().unwrap();
                writeln!(stream, "from {}", peer.ip()).unwrap();
            });
            let said = machine.vm.run(&format!("nc -w 60 {outside} 80")).unwrap();
            answer.join().unwrap();
            assert_eq!(said.trim(), format!("from {expected}"));
        }
    }

    /// What no rule lets in is not let in, though somebody listens; then a rule lets it in.
    fn is_guarded(&self, machine: &mut Running, at: &str) {
        const TELNET: u16 = 23;
        machine.vm.run("nc -ll -p 23 -e /tmp/shell & sleep 1").unwrap();
        machine.vm.run("nc -w 30 127.0.0.1 23 | grep -q SSH").unwrap();
        let to = SocketAddr::new(at.parse().unwrap(), TELNET);
        let connect = || self.cloud.outside().run(|| TcpStream::connect_timeout(&to, NEVER)).unwrap();
        assert_eq!(connect().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        self.let_in("IPv4", "tcp", Some(TELNET)).unwrap();
        self.cloud.until("the rule is in force", || Ok(connect().is_ok())).unwrap();
        let rules = format!("?security_group_id={}&port_range_min={TELNET}", self.group);
        for rule in self.cloud.api().list("security-group-rules", &rules).unwrap() {
            self.cloud.api().delete("security-group-rules", &id(&rule)).unwrap();
        }
        self.cloud.until("it is no more", || Ok(connect().is_err())).unwrap();
    }

    /// The largest packets pass whole, both ways, and none larger is sent.
    fn fills_packets(&self, machine: &mut Running, at: &str, mtu: usize) {
        let outside = OUTSIDE[0].split('/').next().unwrap();
        let filter = format!("src host {at} and icmp[0] = 8 and ip[2:2] = {mtu} and ip[6] & 0x40 != 0");
        let large = Capture::start(&self.cloud.outside(), "lan", &filter);
        machine.vm.run(&format!("ping -c 3 -s {} {outside}", mtu - 28)).unwrap();
        let words = format!("-n -q -M do -c 3 -W 5 -s {} {at}", mtu - 28);
        run(&self.cloud.outside(), "ping", &words).unwrap();
        assert!(large.count() >= 3, "no large packets that may not be cut");
        if mtu == OVERLAY_MTU {
            let six = address(&machine.port, 6);
            run(&self.cloud.outside(), "ping", &format!("-n -q -M do -c 3 -W 5 -s {} {six}", mtu - 48)).unwrap();
        }
    }

    /// From another address than its own nothing leaves it.
    fn pretends(&self, machine: &mut Running) {
        let host = self.cloud.node(COMPUTE).namespace();
        let link = format!("vxlan-{}", self.tenant["provider:segmentation_id"]);
        let own = address(&machine.port, 4);
        let [honest, forged] =
            [own.as_str(), "10.0.0.99"].map(|source| Capture::start(&host, &link, &format!("src host {source}")));
        machine.vm.run("ip address add 10.0.0.99/24 dev eth0").unwrap();
        machine.vm.run(&format!("ping -c 2 -I {own} 10.0.0.1")).unwrap();
        let (code, said) = machine.vm.attempt("ping -c 2 -W 3 -I 10.0.0.99 10.0.0.1").unwrap();
        assert_ne!(code, 0, "{said}");
        assert!(honest.count() >= 2);
        assert_eq!(forged.count(), 0);
    }
}

impl Running {
    fn gets_an_address(&mut self, mtu: usize) {
        let lease = self.vm.dhcp().unwrap();
        let own = address(&self.port, 4);
        for line in [format!("ip={own}"), format!("mtu={mtu}")] {
            assert!(lease.lines().any(|told| told == line), "{line}: {lease}");
        }
    }

    /// Of the prefix that the router advertises, and of its MAC, as the server expects.
    fn makes_its_own_address(&mut self, prefix: &str) {
        let own = address(&self.port, 6);
        assert!(own.starts_with(prefix), "{own}");
        let ready = format!("ip -6 address show dev eth0 | grep {own}/ | grep -qv tentative");
        self.vm.run(&format!("timeout 150 sh -c 'until {ready}; do sleep 0.5; done'")).unwrap();
        let routes = self.vm.run("ip -6 route").unwrap();
        assert!(routes.contains("default via fe80::"), "{routes}");
    }

    fn gets_metadata(&mut self, device: &str, at: &[&str]) {
        for at in at {
            let path = "openstack/latest/meta_data.json";
            let ask = format!("curl -sSgf --retry 5 --max-time 60 http://{at}/{path}");
            let said = self.vm.run(&ask).unwrap().to_lowercase();
            assert!(said.contains(&format!("x-instance-id: {device}")), "{said}");
            assert!(said.contains("x-instance-id-signature: "), "{said}");
        }
    }
}
