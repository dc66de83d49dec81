//! A real virtual machine on a tap that the whole standalone service wires: however its hypervisor plugs it in, it gets
//! its addresses and its metadata, and talks with others in packets of the largest size. It needs an emulator and a
//! kernel, so it is not among the other tests: `make test-vm`. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{
    host::{Host, Instance, NAME, bridge, run, tap},
    http::{id, text},
    nova_metadata,
    process::signal,
    virtual_machine::VirtualMachine,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
/// Emulation is slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// Smaller than any default.
const MTU: usize = 1400;

/// Ways in which a hypervisor plugs a card in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugging {
    /// Nova makes the bridge of the network and the tap in it.
    Bridge,
    /// Nova makes a tap and leaves the rest to the agent.
    Tap,
}

impl Plugging {
    fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Tap => "tap",
        }
    }

    /// What Nova does before it starts the machine, by the vif type of the port.
    fn prepare(self, host: &Host, port: &Value) {
        let (tap, root) = (tap(port), host.root());
        run(&root, "ip", &format!("tuntap add {tap} mode tap")).unwrap();
        if self == Self::Bridge {
            let bridge = bridge(&text(port, "network_id"));
            // Where the DHCP agent was first it is there already.
            let _ = run(&root, "ip", &format!("link add {bridge} type bridge"));
            run(&root, "ip", &format!("link set {bridge} up")).unwrap();
            run(&root, "ip", &format!("link set {tap} master {bridge}")).unwrap();
        }
        run(&root, "ip", &format!("link set {tap} up")).unwrap();
    }
}

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

fn address(port: &Value, version: usize) -> String {
    let fixed = port["fixed_ips"].as_array().unwrap();
    let addresses = fixed.iter().map(|fixed| text(fixed, "ip_address"));
    let of_version = |address: &String| address.parse::<IpAddr>().unwrap().is_ipv4() == (version == 4);
    addresses.into_iter().find(of_version).unwrap()
}

/// Counts the packets on a card that some filter takes, from its making until it is asked.
struct Capture(Child);

impl Capture {
    fn start(instance: &Instance, filter: &str) -> Self {
        let mut command = Command::new("tcpdump");
        command.args(["-i", "eth0", "-n", "--immediate-mode", filter]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = instance.namespace.run(|| command.spawn()).unwrap().expect("tcpdump is installed");
        let mut said = BufReader::new(child.stderr.as_mut().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "tcpdump ended");
        }
        Self(child)
    }

    fn count(mut self) -> u32 {
        signal(self.0.id(), kernel::process::Signal::SIGINT).unwrap();
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        self.0.wait().unwrap();
        let line = said.lines().find(|line| line.ends_with(" captured")).expect("tcpdump counts");
        line.split(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A stream as of a shell: what listens says who it is, then sends back what it gets.
fn talks(from: &Instance, to: &str, vm: &mut VirtualMachine) {
    vm.run("printf '#!/bin/sh\\necho SSH-2.0-instance\\nexec cat\\n' >/tmp/shell; chmod +x /tmp/shell").unwrap();
    vm.run("nc -ll -p 22 -e /tmp/shell &").unwrap();
    let to = SocketAddr::new(to.parse().unwrap(), 22);
    let began = Instant::now();
    let stream = loop {
        match from.namespace.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5))).unwrap() {
            Ok(stream) => break stream,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut reader, mut line) = (BufReader::new(stream.try_clone().unwrap()), String::new());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "SSH-2.0-instance\n");
    // Enough that packets are as large as they may be.
    let mut sent = vec![b'x'; 200_000];
    sent.push(b'\n');
    let writing = sent.clone();
    let writer = std::thread::spawn(move || (&stream).write_all(&writing).unwrap());
    let mut got = vec![0; sent.len()];
    reader.read_exact(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got == sent, "the bytes that came back are others");
}

fn a_machine_is_served(plugging: Plugging) {
    let (host, network) = host(plugging);
    let wanted = port(&host, &network, "vm-1");
    assert_eq!(wanted["binding:vif_type"], plugging.name());
    plugging.prepare(&host, &wanted);
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
    let pieces = Capture::start(&neighbour, "ip[6:2] & 0x3fff != 0 or ip6 proto 44");
    let large = Capture::start(&neighbour, &format!("icmp and ip[2:2] = {MTU} and ip[6] & 0x40 != 0"));
    let payload = MTU - 28;
    vm.run(&format!("ping -c 3 -s {payload} {}", address(&other, 4))).unwrap();
    assert_eq!(neighbour.ping(&v4, 5).unwrap(), 5);
    talks(&neighbour, &v4, &mut vm);
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

#[test]
#[ignore = "needs an emulator: make test-vm"]
fn a_machine_that_nova_puts_into_the_bridge_is_served() {
    a_machine_is_served(Plugging::Bridge);
}

#[test]
#[ignore = "needs an emulator: make test-vm"]
fn a_machine_whose_tap_the_agent_wires_is_served() {
    a_machine_is_served(Plugging::Tap);
}
