//! An instance pretends to be another, in every way that there is a rule against. Its frames must not come out anywhere:
//! neither on its own host nor on another. The same frames from a port without security come out at both, which shows
//! that the captures would see them and that nothing else stops them.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, Ipv6Addr},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use kernel::Namespace;
use serde_json::{Value, json};
use testkit::{
    cloud::{Cloud, HOSTS, Plan},
    deployment::Plugged,
    http::{id, text},
    wait,
};

use super::{
    PROGRAM,
    frame::{self, ALL_NODES, BROADCAST, Ends, Link, Mac},
};

/// Prints every frame that comes in at `eth0`, whomever it is for; where a tag was taken off, the rest.
const CAPTURE: &str = "
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(('eth0', 0))
s.setsockopt(263, 1, (socket.if_nametoindex('eth0')).to_bytes(4, 'little') + b'\\x01\\x00' + bytes(10))
print('listening', flush=True)
while True:
    frame, whence = s.recvfrom(4096)
    if whence[2] != 4: print(frame.hex(), flush=True)
";
/// Sends frames, one a line.
const SEND: &str = "
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
for line in sys.stdin: s.send(bytes.fromhex(line))
";
const PATIENCE: Duration = Duration::from_secs(60);

/// One way to pretend, and its frames.
struct Attempt {
    what: &'static str,
    words: [u8; 8],
    frames: Vec<Vec<u8>>,
}

/// What came in at an instance.
struct Capture {
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Capture {
    fn start(at: &Namespace) -> Result<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", CAPTURE]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = at.run(|| command.spawn())??;
        let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        lines.next().context("the capture listens")??;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noting = Arc::clone(&seen);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                noting.lock().unwrap().extend_from_slice(&bytes(&line));
            }
        });
        Ok(Self { child, seen })
    }

    fn has(&self, words: &[u8]) -> bool {
        self.seen.lock().unwrap().windows(words.len()).any(|window| window == words)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).filter_map(|at| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()).collect()
}

fn send(from: &Namespace, frames: &[Vec<u8>]) -> Result<()> {
    let mut command = Command::new("python3");
    command.args(["-c", SEND]).stdin(Stdio::piped());
    let mut child = from.run(|| command.spawn())??;
    let mut input = child.stdin.take().context("a pipe")?;
    for frame in frames {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(input, "{hex}")?;
    }
    drop(input);
    anyhow::ensure!(child.wait()?.success(), "the frames were not sent");
    Ok(())
}

/// Who sends, and at whose cost.
struct Parties {
    mac: Mac,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    victim: Mac,
    victim_v4: Ipv4Addr,
    victim_v6: Ipv6Addr,
}

const NOBODY: Mac = [0xfa, 0x16, 0x3e, 0xee, 0xee, 0xee];
const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// Nobody is given it: the pools begin at the other end.
const FOREIGN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0xff, 1);
/// The first address past those of the pair.
const BEYOND_PAIR: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 196);

impl Parties {
    fn new(attacker: &Value, victim: &Value) -> Self {
        let address = |port: &Value, version: usize| text(&port["fixed_ips"][version], "ip_address");
        Self {
            mac: frame::mac(&text(attacker, "mac_address")),
            v4: address(attacker, 0).parse().unwrap(),
            v6: address(attacker, 1).parse().unwrap(),
            victim: frame::mac(&text(victim, "mac_address")),
            victim_v4: address(victim, 0).parse().unwrap(),
            victim_v6: address(victim, 1).parse().unwrap(),
        }
    }

    fn own(&self) -> Link {
        Link { from: self.mac, to: self.victim }
    }

    fn own_to(&self, to: Mac) -> Link {
        Link { from: self.mac, to }
    }

    fn ends4(&self, from: Ipv4Addr) -> Ends<Ipv4Addr> {
        Ends { from: (from, 4000), to: (self.victim_v4, 4001) }
    }

    fn ends6(&self, from: Ipv6Addr) -> Ends<Ipv6Addr> {
        Ends { from: (from, 4000), to: (self.victim_v6, 4001) }
    }

    fn attempts(&self) -> Vec<Attempt> {
        let mut all: Vec<Attempt> = Vec::new();
        let mut add = |what: &'static str, frames: &dyn Fn(&[u8]) -> Vec<Vec<u8>>| {
            let words: [u8; 8] = format!("spoof-{:02}", all.len()).into_bytes().try_into().unwrap();
            all.push(Attempt { what, words, frames: frames(&words) });
        };
        let (own, local) = (self.own(), frame::link_local(self.mac));
        add("a MAC that is not its own", &|words| {
            vec![frame::udp4(Link { from: NOBODY, ..own }, self.ends4(self.v4), words)]
        });
        add("another's IPv4 address", &|words| vec![frame::udp4(own, self.ends4(GATEWAY4), words)]);
        add("another's IPv6 address", &|words| vec![frame::udp6(own, self.ends6(FOREIGN6), words)]);
        add("an address next to its pair", &|words| vec![frame::udp4(own, self.ends4(BEYOND_PAIR), words)]);
        add("another's IPv4 address, in fragments", &|words| {
            // The words lie in the first fragment and are repeated in the second.
            frame::udp4_fragments(own, self.ends4(GATEWAY4), &words.repeat(4))
        });
        add("an ARP reply for another", &|words| vec![frame::arp(own, true, GATEWAY4, self.victim_v4, words)]);
        add("a gratuitous ARP for another", &|words| {
            vec![frame::arp(self.own_to(BROADCAST), false, GATEWAY4, GATEWAY4, words)]
        });
        add("a neighbour advertisement for another", &|words| {
            vec![frame::neighbour_advertisement(self.own_to(ALL_NODES), local, FOREIGN6, words)]
        });
        add("a router advertisement", &|words| vec![frame::router_advertisement(self.own_to(ALL_NODES), local, words)]);
        add("a DHCPv4 server's answer", &|words| {
            let ends = Ends { from: (self.v4, 67), to: (self.victim_v4, 68) };
            vec![frame::udp4(own, ends, words)]
        });
        add("a DHCPv6 server's answer", &|words| {
            let ends = Ends { from: (local, 547), to: (frame::link_local(self.victim), 546) };
            vec![frame::udp6(own, ends, words)]
        });
        add("another's IPv4 address, with a VLAN tag", &|words| {
            vec![frame::tagged(&frame::udp4(own, self.ends4(GATEWAY4), words), 5)]
        });
        all
    }

    /// What the instance may send: by its own addresses and as its pair, and claims of its own.
    fn honest(&self) -> Vec<Attempt> {
        let (own, local) = (self.own(), frame::link_local(self.mac));
        let frames = [
            ("IPv4 of its own", frame::udp4(own, self.ends4(self.v4), b"honest-0")),
            ("IPv6 of its own", frame::udp6(own, self.ends6(self.v6), b"honest-1")),
            ("IPv4 of its pair", frame::udp4(own, self.ends4(Ipv4Addr::new(10, 0, 1, 194)), b"honest-2")),
            ("ARP for its own", frame::arp(own, true, self.v4, self.victim_v4, b"honest-3")),
            ("ND for its own", frame::neighbour_advertisement(self.own_to(ALL_NODES), local, self.v6, b"honest-4")),
        ];
        frames
            .into_iter()
            .enumerate()
            .map(|(number, (what, frame))| {
                let words = format!("honest-{number}").into_bytes().try_into().unwrap();
                Attempt { what, words, frames: vec![frame] }
            })
            .collect()
    }
}

struct Network {
    id: String,
}

impl Network {
    fn new(cloud: &Cloud) -> Result<Self> {
        let api = cloud.api();
        let network = id(&api.create("networks", json!({"name": "n"}))?);
        let v4 = json!({"network_id": network, "ip_version": 4, "cidr": "10.0.1.0/24", "enable_dhcp": false});
        let v6 = json!({"network_id": network, "ip_version": 6, "cidr": "fd00:1::/64", "enable_dhcp": false});
        api.create_all("subnets", vec![v4, v6])?;
        Ok(Self { id: network })
    }

    fn boot(&self, cloud: &Cloud, host: &str, attributes: &Value) -> Result<(Value, Plugged)> {
        let mut all = json!({
            "network_id": self.id, "binding:host_id": host, "device_id": "vm", "device_owner": "compute:nova",
        });
        all.as_object_mut().context("an object")?.extend(attributes.as_object().cloned().unwrap_or_default());
        let port = cloud.api().create("ports", all)?;
        let plugged = cloud.node(host).plug(&port)?;
        testkit::host::run(&plugged.instance.namespace, "ip", "link set eth0 up")?;
        cloud.until_active(&[id(&port)])?;
        Ok((port, plugged))
    }
}

/// Sends one thing after the other, and something that may pass last: once that has come, so has all before it.
fn sent(from: &Namespace, attempts: &[Attempt], last: Option<&Attempt>, captures: &[Capture]) -> Result<()> {
    let frames: Vec<Vec<u8>> = attempts.iter().chain(last).flat_map(|attempt| attempt.frames.clone()).collect();
    send(from, &frames)?;
    let words = last.or(attempts.last()).context("something is sent")?.words;
    for capture in captures {
        anyhow::ensure!(wait::until(PATIENCE, || capture.has(&words)), "what was sent last did not come");
    }
    Ok(())
}

pub(super) fn run(firewall: &'static str) -> Result<()> {
    let cloud = Plan::new(PROGRAM).firewall(firewall).start()?;
    let network = Network::new(&cloud)?;
    let free = json!({"port_security_enabled": false});
    let pair = json!({"allowed_address_pairs": [{"ip_address": "10.0.1.192/30"}]});
    let (attacker, attacking) = network.boot(&cloud, HOSTS[0], &pair)?;
    let (_, unbound) = network.boot(&cloud, HOSTS[0], &free)?;
    let (_, near) = network.boot(&cloud, HOSTS[0], &free)?;
    let (victim, far) = network.boot(&cloud, HOSTS[1], &free)?;
    let parties = Parties::new(&attacker, &victim);
    let (attempts, honest) = (parties.attempts(), parties.honest());
    // The near one sees what is for all and what the bridge does not yet know where to send.
    let captures = [Capture::start(&far.instance.namespace)?];
    let beside = Capture::start(&near.instance.namespace)?;
    sent(&attacking.instance.namespace, &attempts, honest.first(), &captures)?;
    for attempt in &attempts {
        let came: Vec<bool> = captures.iter().chain([&beside]).map(|capture| capture.has(&attempt.words)).collect();
        println!("{}: {}", attempt.what, if came.contains(&true) { "CAME" } else { "did not come" });
    }
    let came = |attempt: &&Attempt| captures.iter().chain([&beside]).any(|capture| capture.has(&attempt.words));
    let through: Vec<&str> = attempts.iter().filter(came).map(|attempt| attempt.what).collect();
    anyhow::ensure!(through.is_empty(), "these came through: {through:?}");
    sent(&attacking.instance.namespace, &honest, None, &captures)?;
    let held: Vec<&str> = honest.iter().filter(|attempt| !came(attempt)).map(|attempt| attempt.what).collect();
    anyhow::ensure!(held.is_empty(), "these were held up: {held:?}");
    // The same frames from where nobody looks at them.
    for attempt in &attempts {
        send(&unbound.instance.namespace, &attempt.frames)?;
        let comes = wait::until(PATIENCE, || captures[0].has(&attempt.words));
        anyhow::ensure!(comes, "{} does not come even from a port without security", attempt.what);
    }
    Ok(())
}
