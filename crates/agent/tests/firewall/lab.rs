//! Instances of a test, and what they try.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use isospin_agent::linuxbridge::{self, Config, FirewallDriver};
use kernel::{
    Address, LinkChange, Namespace, Netlink,
    testing::{Machine, Wire},
};
use rpc::security_group::Rule;
use tokio::{sync::oneshot, task::JoinHandle};
use types::{Mac, NetworkId, NetworkType, PortId, SecurityGroupId, SubnetId, device, port::AddressPair, port::FixedIp};

use crate::server::Server;

/// Waits, at most as long as an emulated machine may need, until `done` says yes.
macro_rules! eventually {
    ($what:expr, $done:expr) => {
        let started = std::time::Instant::now();
        while !$done {
            assert!(started.elapsed() < std::time::Duration::from_secs(60), "still not: {}", $what);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
}
pub(crate) use eventually;

/// How long something that passes may take on a busy machine, and how long something that is blocked is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_millis(300);

pub struct Lab {
    pub machine: Machine,
    pub root: Netlink,
    pub server: Server,
    pub network: NetworkId,
    pub config: Config,
}

pub struct Agent {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), linuxbridge::Error>>,
}

/// An instance with one port.
pub struct Instance {
    pub port: PortId,
    pub mac: Mac,
    pub addresses: Vec<IpAddr>,
    pub namespace: Namespace,
}

impl Agent {
    /// As SIGTERM and kill -9 alike: the agent does nothing on its way out.
    pub async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
    }
}

impl Lab {
    /// With the driver that the environment asks for.
    pub async fn new() -> Self {
        let driver = match std::env::var("ISOSPIN_TEST_FIREWALL").as_deref() {
            Ok("nftables") => FirewallDriver::Nftables,
            _ => FirewallDriver::Iptables,
        };
        Self::with(driver, true).await
    }

    /// nftables where no connections are tracked.
    pub async fn untracked() -> Self {
        Self::with(FirewallDriver::Nftables, false).await
    }

    async fn with(driver: FirewallDriver, tracking: bool) -> Self {
        let machine = Machine::new().await.unwrap();
        let root = machine.netlink().unwrap();
        let mut config = Config::new("host-a");
        config.system = machine.system.clone();
        config.firewall.driver = driver;
        config.firewall.tracking = tracking;
        Self { machine, root, server: Server::start(), network: NetworkId::random(), config }
    }

    /// Instances from now on are on another network.
    pub fn next_network(&mut self) {
        self.network = NetworkId::random();
    }

    pub fn agent(&self) -> Agent {
        let (stop, stopped) = oneshot::channel::<()>();
        let run = linuxbridge::run(self.config.clone(), self.server.bus.clone(), async { drop(stopped.await) });
        Agent { stop, task: tokio::spawn(run) }
    }

    /// An instance with these groups; without any, its port security is off.
    pub async fn instance(&self, addresses: &[&str], groups: &[SecurityGroupId]) -> Instance {
        let instance = self.plug(addresses, groups).await;
        eventually!("the port is up", self.server.are_up(&[instance.port]));
        instance
    }

    /// An instance that nobody has waited for.
    pub async fn plug(&self, addresses: &[&str], groups: &[SecurityGroupId]) -> Instance {
        let port = self.server.port(self.network, NetworkType::Local, None);
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let [a, b, c, ..] = *uuid_bytes(port);
        let mac = Mac([0xfa, 0x16, 0x3e, a, b, c]);
        self.server.change(port, |details| {
            details.mac_address = mac;
            details.mtu = Some(1500);
            let fixed = |ip_address: &IpAddr| FixedIp { subnet_id: SubnetId::random(), ip_address: *ip_address };
            details.fixed_ips = addresses.iter().map(fixed).collect();
            details.port_security_enabled = !groups.is_empty();
        });
        self.server.secure(port, groups, !groups.is_empty(), Vec::new());
        let namespace = self.machine.system.namespace_create(&format!("vm-{port}")).unwrap();
        let inside = namespace.open().unwrap();
        inside.link_set("lo", &LinkChange::up()).await.unwrap();
        kernel::sysctl::write(&namespace, "net/ipv6/conf/default/accept_dad", "0").unwrap();
        kernel::sysctl::write(&namespace, "net/ipv6/conf/all/accept_dad", "0").unwrap();
        let instance = Instance { port, mac, addresses, namespace };
        self.card(&instance, &device::tap(port)).await;
        instance
    }

    /// Gives an instance its card, whose other end has this name.
    pub async fn card(&self, instance: &Instance, other_end: &str) {
        let settings = LinkChange::up().with_mac(instance.mac).in_namespace(&instance.namespace);
        let kind = kernel::NewKind::Veth { peer: "eth0".to_owned(), settings: Box::new(settings) };
        let link = kernel::NewLink { name: other_end.to_owned(), kind, settings: LinkChange::up() };
        self.root.link_create(&link).await.unwrap();
        let inside = instance.namespace.open().unwrap();
        let eth0 = inside.link("eth0").await.unwrap().unwrap().index;
        for address in &instance.addresses {
            let length = if address.is_ipv4() { 24 } else { 64 };
            inside.address_set(&Address::new(eth0, format!("{address}/{length}").parse().unwrap())).await.unwrap();
        }
    }

    /// A group with these rules.
    pub fn group(&self, rules: &[Rule]) -> SecurityGroupId {
        let group = SecurityGroupId::random();
        self.server.set_rules(group, rules.to_vec());
        group
    }

    pub fn pair(&self, instance: &Instance, mac: Mac, address: &str) {
        let pair = AddressPair { mac_address: mac, ip_address: address.to_owned() };
        self.server.change(instance.port, |details| details.allowed_address_pairs.push(pair));
    }

    pub async fn unplug(&self, instance: &Instance) {
        self.root.link_delete(&device::tap(instance.port)).await.unwrap();
    }

    /// Everything that a firewall has on this machine, as text. Sets and rules of either kind.
    pub async fn everything(&self) -> String {
        let mut all = String::new();
        for tool in [kernel::xtables::Tool::Iptables, kernel::xtables::Tool::Ip6tables] {
            all.push_str(&tool.save(&self.machine.system.root()).await.unwrap());
        }
        for tool in [kernel::xtables::Tool::Ebtables, kernel::xtables::Tool::Ipset] {
            all.push_str(&tool.save(&self.machine.system.root()).await.unwrap());
        }
        let tables = self.root.nft_table_text().await;
        all.lines()
            .filter(|line| !line.starts_with(['#', ':', '*']) && *line != "COMMIT")
            .collect::<Vec<_>>()
            .join("\n")
            + &tables
    }
}

impl Lab {
    /// nftables filters.
    pub async fn has_table(&self) -> bool {
        !self.root.nft_table_text().await.is_empty()
    }
}

trait NftText {
    async fn nft_table_text(&self) -> String;
}

impl NftText for Netlink {
    async fn nft_table_text(&self) -> String {
        use kernel::Kernel;
        let table = self.nft_table("bridge", "isospin_ports").await.unwrap();
        table.map(|table| format!("\n{table:?}")).unwrap_or_default()
    }
}

fn uuid_bytes(port: PortId) -> Box<[u8; 3]> {
    let text = port.to_string();
    let byte = |place: usize| u8::from_str_radix(&text[place..place + 2], 16).unwrap();
    Box::new([byte(0), byte(2), byte(4)])
}

impl Instance {
    pub fn wire(&self) -> Wire {
        Wire::open(&self.namespace, "eth0").unwrap()
    }

    fn address(&self, six: bool) -> IpAddr {
        *self.addresses.iter().find(|address| address.is_ipv6() == six).unwrap()
    }

    pub fn v4(&self) -> IpAddr {
        self.address(false)
    }

    pub fn v6(&self) -> IpAddr {
        self.address(true)
    }

    /// Serves TCP, one line for each connection after another, until the test ends.
    pub fn serve_tcp(&self, address: IpAddr, port: u16) {
        let listener = self.namespace.run(|| TcpListener::bind((address, port))).unwrap().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(length) = stream.read(&mut buffer) {
                        if length == 0 || stream.write_all(&buffer[..length]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
    }

    /// Answers UDP datagrams.
    pub fn serve_udp(&self, address: IpAddr, port: u16) {
        let socket = self.namespace.run(|| UdpSocket::bind((address, port))).unwrap().unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        });
    }

    /// A connection, if it can be made.
    pub async fn connect(&self, to: IpAddr, port: u16) -> Option<TcpStream> {
        self.connect_within(PATIENCE, to, port).await
    }

    async fn connect_within(&self, limit: Duration, to: IpAddr, port: u16) -> Option<TcpStream> {
        let namespace = self.namespace.clone();
        let connect = move || namespace.run(|| TcpStream::connect_timeout(&SocketAddr::new(to, port), limit)).unwrap();
        tokio::task::spawn_blocking(connect).await.unwrap().ok()
    }

    /// A socket for datagrams from its IPv4 address and this port.
    pub fn socket(&self, port: u16) -> UdpSocket {
        self.namespace.run(|| UdpSocket::bind((self.v4(), port))).unwrap().unwrap()
    }

    pub async fn tcp(&self, to: IpAddr, port: u16) -> bool {
        self.connect(to, port).await.is_some()
    }

    /// Whether no connection can be made.
    pub async fn no_tcp(&self, to: IpAddr, port: u16) -> bool {
        self.connect_within(NEVER, to, port).await.is_none()
    }

    /// Whether a datagram is answered.
    pub async fn udp(&self, to: IpAddr, port: u16) -> bool {
        self.datagram(to, port, 1).await.is_ok()
    }

    /// Whether no datagram is answered.
    pub async fn no_udp(&self, to: IpAddr, port: u16) -> bool {
        self.datagram_within(NEVER, to, port, 1).await.is_err()
    }

    /// Whether a datagram of this length is answered by one that is the same, or what came instead.
    pub async fn datagram(&self, to: IpAddr, port: u16, length: usize) -> std::io::Result<()> {
        self.datagram_within(PATIENCE, to, port, length).await
    }

    /// Whether nothing comes for a datagram of this length, not even a refusal.
    pub async fn no_datagram(&self, to: IpAddr, port: u16, length: usize) -> bool {
        let came = self.datagram_within(NEVER, to, port, length).await;
        came.is_err_and(|error| error.kind() != ErrorKind::ConnectionRefused)
    }

    async fn datagram_within(&self, limit: Duration, to: IpAddr, port: u16, length: usize) -> std::io::Result<()> {
        let namespace = self.namespace.clone();
        let ask = move || {
            let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
            let socket = namespace.run(|| UdpSocket::bind((any, 0))).unwrap().unwrap();
            socket.set_read_timeout(Some(limit)).unwrap();
            socket.connect((to, port))?;
            let (sent, mut got) = (vec![b'x'; length], vec![0; length + 1]);
            let mut last = Ok(());
            for _ in 0..2 {
                socket.send(&sent)?;
                match socket.recv(&mut got) {
                    Ok(received) => {
                        assert_eq!(got[..received], sent);
                        return Ok(());
                    }
                    Err(error) => last = Err(error),
                }
            }
            last
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    pub async fn pings(&self, to: IpAddr) -> bool {
        self.ping_within(PATIENCE, to).await
    }

    /// Whether an echo request is not answered.
    pub async fn no_pings(&self, to: IpAddr) -> bool {
        !self.ping_within(NEVER, to).await
    }

    async fn ping_within(&self, limit: Duration, to: IpAddr) -> bool {
        let (namespace, limit) = (self.namespace.clone(), limit.as_secs_f64().to_string());
        let ping = move || {
            let mut command = std::process::Command::new("ping");
            command.args(["-n", "-q", "-c", "1", "-W", &limit, &to.to_string()]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            namespace.run(|| command.status()).unwrap().unwrap().success()
        };
        tokio::task::spawn_blocking(ping).await.unwrap()
    }
}

/// Whether what this socket sends is answered.
pub async fn answered(socket: &UdpSocket, to: IpAddr, port: u16) -> bool {
    answered_within(PATIENCE, socket, to, port).await
}

/// Whether nothing answers what this socket sends.
pub async fn unanswered(socket: &UdpSocket, to: IpAddr, port: u16) -> bool {
    !answered_within(NEVER, socket, to, port).await
}

async fn answered_within(limit: Duration, socket: &UdpSocket, to: IpAddr, port: u16) -> bool {
    let socket = socket.try_clone().unwrap();
    socket.set_read_timeout(Some(limit)).unwrap();
    let ask = move || (0..2).any(|_| socket.send_to(b"x", (to, port)).is_ok() && socket.recv(&mut [0; 8]).is_ok());
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// Whether a connection still carries data.
pub async fn alive(stream: &TcpStream) -> bool {
    alive_within(PATIENCE, stream).await
}

/// Whether a connection carries no more data.
pub async fn dead(stream: &TcpStream) -> bool {
    !alive_within(NEVER, stream).await
}

async fn alive_within(limit: Duration, stream: &TcpStream) -> bool {
    let stream = stream.try_clone().unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    let ask = move || {
        let (mut stream, mut buffer) = (stream, [0; 64]);
        while let Ok(length) = read_now(&mut stream, &mut buffer) {
            if length == 0 {
                return false;
            }
        }
        if stream.write_all(b"?").is_err() {
            return false;
        }
        stream.read(&mut buffer).is_ok_and(|length| length > 0)
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

fn read_now(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    stream.set_nonblocking(true)?;
    let read = stream.read(buffer);
    stream.set_nonblocking(false)?;
    read
}

/// A rule from its text: `ingress IPv4 tcp 22 80 10.0.0.0/8`, where `-` leaves a part out.
pub fn rule(text: &str) -> Rule {
    let mut words = text.split(' ').map(|word| (word != "-").then(|| word.to_owned()));
    let mut word = || words.next().flatten();
    let (direction, ethertype) = (word().unwrap(), word().unwrap());
    let (protocol, min, max, prefix) = (word(), word(), word(), word());
    let number = |text: Option<String>| text.map(|text| text.parse().unwrap());
    let (source, dest) = if direction == "ingress" { (prefix, None) } else { (None, prefix) };
    Rule {
        direction,
        ethertype,
        protocol,
        port_range_min: number(min),
        port_range_max: number(max),
        source_ip_prefix: source,
        dest_ip_prefix: dest,
        stateful: Some(true),
        ..Rule::default()
    }
}

/// A rule whose other side are the members of a group.
pub fn from_group(text: &str, group: SecurityGroupId) -> Rule {
    Rule { remote_group_id: Some(group.to_string()), ..rule(text) }
}

/// Everything out, as groups have it from the start.
pub fn egress() -> [Rule; 2] {
    [rule("egress IPv4"), rule("egress IPv6")]
}

pub fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| rule(text)).chain(egress()).collect()
}
