//! How fast packets go through the nftables driver where connections are tracked on bridges, beside a bridge without rules
//! and beside the chains of release 25's driver, in turns; with the fast path as well where the kernel can. Under emulation
//! only ratios say anything.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use isospin_agent::linuxbridge::FirewallDriver;
use kernel::Namespace;
use types::{SecurityGroupId, device};

use crate::lab::{Agent, Instance, Lab, egress, eventually, from_group, rule};

#[path = "../../../../tests/dataplane/layout.rs"]
mod layout;

use layout::{Load, Port};

const SIZES: [(&str, Load); 3] = [
    ("1 rule, 1 member", Load { rules: 1, members: 1 }),
    ("10,000 rules", Load { rules: 10_000, members: 1 }),
    ("2,000 members", Load { rules: 1, members: 2_000 }),
];
const ADDRESSES: [&str; 2] = ["10.0.0.1", "10.0.0.2"];
const ROUND: Duration = Duration::from_millis(300);
/// Rendering 10,000 rules takes long under emulation.
const SETTLING: Duration = Duration::from_secs(300);

/// A machine with two instances on a bridge.
struct Way {
    name: String,
    lab: Lab,
    agent: Agent,
    ends: [Instance; 2],
    bits: Vec<f64>,
    packets: Vec<f64>,
}

impl Way {
    async fn new(name: &str, driver: FirewallDriver, fast_path: bool, load: &Load) -> Self {
        let mut lab = Lab::new().await;
        lab.config.firewall.driver = driver;
        lab.config.firewall.fast_path = fast_path;
        let members = SecurityGroupId::random();
        let named: Vec<_> = (0..load.members).map(|n| format!("10.9.{}.{}", n / 250, n % 250 + 1)).collect();
        lab.server.set_members(members, &named);
        let narrow = |n: usize| {
            let port = 1 + n % 60_000;
            rule(&format!("ingress IPv4 udp {port} {port} 172.16.{}.{}/32", n / 256, n % 256))
        };
        let mut rules = [egress().to_vec(), vec![from_group("ingress IPv4", members)]].concat();
        rules.extend((0..load.rules).map(narrow));
        rules.extend(["tcp", "udp", "icmp"].map(|protocol| rule(&format!("ingress IPv4 {protocol} - - -"))));
        let group = lab.group(&rules);
        let ends = [lab.plug(&ADDRESSES[..1], &[group]).await, lab.plug(&ADDRESSES[1..], &[group]).await];
        let agent = lab.agent();
        let began = Instant::now();
        while !lab.server.are_up(&[ends[0].port, ends[1].port]) {
            assert!(began.elapsed() < SETTLING, "{name}: not up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("{name}: up after {:.0?}", began.elapsed());
        Self { name: name.to_owned(), lab, agent, ends, bits: Vec::new(), packets: Vec::new() }
    }

    /// Release 25's chains on the bridge.
    fn filter(&self, load: &Load) {
        let root = self.lab.machine.system.root();
        passes_iptables(&root, true);
        let bridge = device::bridge(self.lab.network);
        let ports = self.ends.each_ref().map(|end| (device::tap(end.port), end.mac.to_string(), end.v4().to_string()));
        let ports = ports.each_ref().map(|(tap, mac, address)| Port { tap, bridge: &bridge, mac, address });
        restore(&root, &["ipset", "restore"], &layout::sets(load));
        restore(&root, &["iptables-restore"], &layout::tables(&ports, load));
        restore(&root, &["ebtables-restore"], &layout::frames(&ports));
    }

    async fn measure(&mut self) {
        let [from, to] = self.ends.each_ref().map(|end| end.namespace.clone());
        let address = self.ends[1].v4();
        eventually!("they reach each other", kernel::testing::ping(&from, address, 1));
        let (bits, packets) = tokio::task::spawn_blocking(move || {
            let at = |port| SocketAddr::new(address, port);
            (stream(&from, &to, at(5201)), datagrams(&from, &to, at(9)))
        })
        .await
        .unwrap();
        self.bits.push(bits);
        self.packets.push(packets);
    }
}

fn passes_iptables(root: &Namespace, on: bool) {
    for family in ["iptables", "ip6tables", "arptables"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
        root.run(|| fs::write(path, if on { "1" } else { "0" })).unwrap().unwrap();
    }
}

fn restore(root: &Namespace, command: &[&str], text: &str) {
    let start = || Command::new(command[0]).args(&command[1..]).stdin(Stdio::piped()).spawn();
    let mut child = root.run(start).unwrap().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
}

/// Bits in a second, as who receives them counts.
fn stream(from: &Namespace, to: &Namespace, address: SocketAddr) -> f64 {
    let listener = to.run(|| TcpListener::bind(address)).unwrap().unwrap();
    let mut sender = from.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(20))).unwrap().unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    let sending = std::thread::spawn(move || {
        let (began, data) = (Instant::now(), vec![0; 131_072]);
        while began.elapsed() < ROUND && sender.write_all(&data).is_ok() {}
    });
    let (began, mut buffer, mut count) = (Instant::now(), vec![0; 131_072], 0);
    while let Ok(length @ 1..) = receiver.read(&mut buffer) {
        count += length;
    }
    sending.join().unwrap();
    8.0 * count as f64 / began.elapsed().as_secs_f64()
}

/// Small datagrams in a second, as the card counts that they come in at.
fn datagrams(from: &Namespace, to: &Namespace, address: SocketAddr) -> f64 {
    let _sink = to.run(|| UdpSocket::bind(address)).unwrap().unwrap();
    let socket = from.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.connect(address).unwrap();
    let (before, began) = (received(to), Instant::now());
    while began.elapsed() < ROUND {
        for _ in 0..64 {
            let _ = socket.send(&[0; 18]);
        }
    }
    (received(to) - before) / began.elapsed().as_secs_f64()
}

fn received(at: &Namespace) -> f64 {
    let text = at.run(|| fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whether the kernel has TCX.
fn fast_path_is_possible() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(6))
}

/// Others' work only ever slows a round down.
fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: make bench-dataplane-vm"]
async fn of_nftables_beside_a_bare_bridge_and_release_25() {
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let mut ways = vec![Way::new("bare bridge", FirewallDriver::Noop, false, &SIZES[0].1).await];
    passes_iptables(&ways[0].lab.machine.system.root(), false);
    let ours = [("ours", false), ("ours with the fast path", true)];
    let ours = if fast_path_is_possible() { &ours[..] } else { &ours[..1] };
    for (name, load) in &SIZES {
        for &(ours, fast_path) in ours {
            ways.push(Way::new(&format!("{ours}, {name}"), FirewallDriver::Nftables, fast_path, load).await);
        }
        let upstream = Way::new(&format!("release 25's chains, {name}"), FirewallDriver::Noop, false, load).await;
        upstream.filter(load);
        ways.push(upstream);
    }
    for _ in 0..rounds {
        for way in &mut ways {
            way.measure().await;
        }
    }
    println!("| way | TCP to the bare bridge | small packets to the bare bridge |\n|---|---:|---:|");
    let (bits, packets) = (best(&ways[0].bits), best(&ways[0].packets));
    for way in &ways {
        println!("| {} | {:.2} | {:.2} |", way.name, best(&way.bits) / bits, best(&way.packets) / packets);
    }
    for way in ways {
        way.agent.stop().await;
    }
}
