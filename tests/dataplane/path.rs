//! Ways between two machines, and how much goes over them.

use std::{
    io::Write as _,
    net::UdpSocket,
    os::fd::AsRawFd,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kernel::Namespace;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use serde_json::Value;
use testkit::{
    deployment::{Room, succeeded},
    host::run,
};

use super::layout::{self, Load, Port};

/// Where packets come from and go to.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) from: Namespace,
    pub(super) to: Namespace,
    pub(super) address: String,
}

/// Machines on bridges that nobody looks after.
pub(super) struct Plain {
    rooms: Vec<Room>,
}

pub(super) const TCP_SECONDS: u32 = 2;
const STREAM: Duration = Duration::from_millis(1500);
const PAYLOAD: usize = 18;

impl Plain {
    /// Two machines on one bridge.
    pub(super) fn bridge() -> Result<Self> {
        let rooms = [Room::start()?, Room::start()?, Room::start()?];
        let [host, one, two] = &rooms;
        quiet(&host.namespace(), "0")?;
        host.ip("link add br0 type bridge forward_delay 0")?;
        host.ip("link set br0 up")?;
        for (room, tap, last) in [(one, "tap0000000000", 1), (two, "tap1111111111", 2)] {
            host.cable(tap, room, "eth0")?;
            host.ip(&format!("link set {tap} master br0"))?;
            room.ip(&format!("link set eth0 mtu 1450 address fa:16:3e:00:00:0{last}"))?;
            room.ip(&format!("address add 10.7.0.{last}/24 dev eth0"))?;
        }
        Ok(Self { rooms: rooms.into() })
    }

    /// Two machines on a bridge each, and a machine between that forwards.
    pub(super) fn forwarder() -> Result<Self> {
        let rooms = [Room::start()?, Room::start()?, Room::start()?, Room::start()?];
        let [host, one, two, between] = &rooms;
        quiet(&host.namespace(), "0")?;
        between.namespace().run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
        for (room, net) in [(one, 1), (two, 2)] {
            host.ip(&format!("link add br{net} type bridge forward_delay 0"))?;
            host.ip(&format!("link set br{net} up"))?;
            host.cable(&format!("tap{net}"), room, "eth0")?;
            host.cable(&format!("tapr{net}"), between, &format!("qr{net}"))?;
            for port in [format!("tap{net}"), format!("tapr{net}")] {
                host.ip(&format!("link set {port} master br{net}"))?;
            }
            room.ip("link set eth0 mtu 1450")?;
            room.ip(&format!("address add 10.7.{net}.2/24 dev eth0"))?;
            room.ip(&format!("route add default via 10.7.{net}.1"))?;
            between.ip(&format!("link set qr{net} mtu 1450"))?;
            between.ip(&format!("address add 10.7.{net}.1/24 dev qr{net}"))?;
        }
        Ok(Self { rooms: rooms.into() })
    }

    /// Puts upstream's chains in force on the bridge, in place of those before.
    pub(super) fn filter(&self, load: &Load) -> Result<()> {
        let host = self.rooms[0].namespace();
        quiet(&host, "1")?;
        let port = |tap, mac, address| Port { tap, bridge: "br0", mac, address };
        let ports = [
            port("tap0000000000", "fa:16:3e:00:00:01", "10.7.0.1"),
            port("tap1111111111", "fa:16:3e:00:00:02", "10.7.0.2"),
        ];
        restore(&host, "iptables-restore", "*raw\nCOMMIT\n*filter\nCOMMIT\n")?;
        run(&host, "ipset", "destroy")?;
        restore(&host, "ipset restore", &layout::sets(load))?;
        restore(&host, "iptables-restore", &layout::tables(&ports, load))?;
        restore(&host, "ebtables-restore", &layout::frames(&ports))
    }

    pub(super) fn path(&self, address: &str) -> Path {
        Path { from: self.rooms[1].namespace(), to: self.rooms[2].namespace(), address: address.to_owned() }
    }
}

/// Whether what crosses bridges passes iptables.
pub(super) fn quiet(host: &Namespace, value: &str) -> Result<()> {
    let set = || {
        for family in ["iptables", "ip6tables", "arptables"] {
            let _ = std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{family}"), value);
        }
    };
    Ok(host.run(set)?)
}

fn restore(host: &Namespace, words: &str, text: &str) -> Result<()> {
    let mut parts = words.split(' ');
    let mut command = Command::new(parts.next().context("a program")?);
    command.args(parts).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = host.run(|| command.spawn())??;
    child.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
    succeeded(words, &child.wait_with_output()?).map(drop)
}

impl Path {
    /// Bits in a second of one TCP stream, as who receives them counts.
    pub(super) fn throughput(&self) -> Result<f64> {
        let mut server = Command::new("iperf3");
        server.args(["--server", "--one-off", "--forceflush"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = self.to.run(|| server.spawn())??;
        let mut client = Command::new("iperf3");
        let seconds = TCP_SECONDS.to_string();
        client.args(["--json", "--connect-timeout", "2000", "--time", &seconds, "--client", &self.address]);
        let began = Instant::now();
        let said = loop {
            let output = self.from.run(|| client.output())??;
            let said: Value = serde_json::from_slice(&output.stdout)?;
            // The other end may not listen yet, which is no failure to this program.
            if said["error"].is_null() || began.elapsed() > Duration::from_secs(10) {
                break said;
            }
            thread::sleep(Duration::from_millis(20));
        };
        let _ = server.kill();
        let _ = server.wait();
        said["end"]["sum_received"]["bits_per_second"].as_f64().with_context(|| format!("iperf3 said {said}"))
    }

    /// Small datagrams in a second, as the card counts that they come in at. Who sends them counts nothing.
    pub(super) fn packets(&self) -> Result<f64> {
        // A socket that nobody reads: what comes is dropped without an answer.
        let sink = self.to.run(|| UdpSocket::bind("0.0.0.0:9"))??;
        ensure!(run(&self.from, "ping", &format!("-c 1 -W 2 {}", self.address)).is_ok(), "{} is away", self.address);
        let address: std::net::Ipv4Addr = self.address.parse()?;
        let socket = self.from.run(|| UdpSocket::bind("0.0.0.0:0"))??;
        let before = (received(&self.to)?, Instant::now());
        let sender = thread::spawn(move || flood(&socket, SockaddrIn::from(std::net::SocketAddrV4::new(address, 9))));
        sender.join().ok().context("the sender ended")??;
        let (count, took) = (received(&self.to)? - before.0, before.1.elapsed());
        drop(sink);
        Ok(count / took.as_secs_f64())
    }
}

/// Sends as fast as it goes, 64 datagrams a call.
fn flood(socket: &UdpSocket, to: SockaddrIn) -> Result<()> {
    const BATCH: usize = 64;
    let payload = [0u8; PAYLOAD];
    let slices: Vec<_> = (0..BATCH).map(|_| [std::io::IoSlice::new(&payload)]).collect();
    let (mut headers, to) = (MultiHeaders::preallocate(BATCH, None), vec![Some(to); BATCH]);
    let began = Instant::now();
    while began.elapsed() < STREAM {
        // A full queue is no failure.
        let _ = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &to, [], MsgFlags::empty())?;
    }
    Ok(())
}

fn received(at: &Namespace) -> Result<f64> {
    let output = run(at, "ip", "-json -statistics link show eth0")?;
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    shown[0]["stats64"]["rx"]["packets"].as_f64().context("the card counts")
}
