//! Hosts with agents, instances and what is outside, and connections between them.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle as Thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use isospin_agent::l3::{self, Config};
use kernel::{
    Address, Bridge, LinkChange, Namespace, Netlink, NewKind, NewLink, Route, System,
    process::{Process, Signal},
    sysctl,
    testing::{Machine, ping},
};
use oslo::messaging::Bus;
use rpc::l3::Router;
use tokio::{sync::oneshot, task::JoinHandle};
use types::{NetworkId, RouterId, device};

use super::server::Server;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server and a host.
pub struct Lab {
    pub server: Arc<Server>,
    pub host: TestHost,
}

/// A machine of its own with an agent.
pub struct TestHost {
    pub name: String,
    pub machine: Machine,
    bus: Bus,
    agent: Option<(oneshot::Sender<()>, JoinHandle<Ended>)>,
}

type Ended = Result<(), l3::AgentError>;

impl Lab {
    pub async fn new() -> Self {
        let bus = Bus::in_process();
        let server = Server::start(bus.clone());
        let mut host = TestHost::new("host-a", bus).await;
        host.start();
        Self { host, server }
    }

    /// Gives a router to the host, waits until it is set up, and wires its devices.
    pub async fn serve(&self, router: &Router) {
        self.server.add(router, &[&self.host.name]).await;
        self.host.wire_router(router).await;
        self.host.until_rules(router.id, "").await;
    }
}

impl TestHost {
    pub async fn new(name: &str, bus: Bus) -> Self {
        let machine = Machine::new().await.unwrap();
        Self { name: name.to_owned(), machine, bus, agent: None }
    }

    pub fn state_path(&self) -> PathBuf {
        self.machine.directory().join("state")
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new(&self.name, self.state_path());
        config.system = self.system();
        config.report_interval = Duration::from_millis(200);
        config
    }

    pub fn start(&mut self) {
        self.start_with(self.config());
    }

    pub fn start_with(&mut self, config: Config) {
        let (stop, stopped) = oneshot::channel();
        let run = l3::run(config, self.bus.clone(), async {
            let _ = stopped.await;
        });
        self.agent = Some((stop, tokio::spawn(run)));
    }

    /// Ends the agent in an orderly way.
    pub async fn stop(&mut self) {
        let (stop, task) = self.agent.take().unwrap();
        let _ = stop.send(());
        task.await.unwrap().unwrap();
    }

    /// Ends the agent wherever it stands, as a kill would.
    pub async fn kill(&mut self) {
        let (_, task) = self.agent.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    pub fn system(&self) -> System {
        self.machine.system.clone()
    }

    pub fn namespace(&self, router: RouterId) -> Namespace {
        self.system().namespace(&device::router_namespace(router))
    }

    pub fn radvd(&self, router: RouterId) -> Option<Process> {
        Process::find(&self.config().radvd_pid(router), &router.to_string()).unwrap()
    }

    /// Index of a network's bridge, made if it is not there.
    async fn bridge(&self, network: NetworkId) -> u32 {
        let netlink = self.machine.netlink().unwrap();
        let name = device::bridge(network);
        if netlink.link(&name).await.unwrap().is_none() {
            let kind = NewKind::Bridge(Bridge::default());
            netlink.link_create(&NewLink { name: name.clone(), kind, settings: LinkChange::up() }).await.unwrap();
        }
        netlink.link(&name).await.unwrap().unwrap().index
    }

    /// What the layer 2 agent does: a bridge for each network of a router, and the router's tap ends in them.
    pub async fn wire_router(&self, router: &Router) {
        for port in router.interfaces.iter().chain(&router.gw_port).chain(&router.ha_interface) {
            self.wire(port.network_id, &device::tap(port.id)).await;
        }
    }

    pub async fn wire(&self, network: NetworkId, tap: &str) {
        let netlink = self.machine.netlink().unwrap();
        let began = Instant::now();
        while netlink.link(tap).await.unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "{tap} does not appear");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let bridge = self.bridge(network).await;
        netlink.link_set(tap, &LinkChange::up().with_master(bridge)).await.unwrap();
    }

    /// A machine on a network with these addresses, and a default route by way of each gateway.
    pub async fn plug(&self, network: NetworkId, name: &str, addresses: &[&str], gateways: &[&str]) -> Instance {
        let namespace = self.system().namespace_create(name).unwrap();
        sysctl::write(&namespace, "net/ipv6/conf/default/accept_dad", "0").unwrap();
        let tap = format!("tap{name}");
        self.machine.plug(name, &tap).await.unwrap();
        let inside = namespace.open().unwrap();
        inside.link_set("lo", &LinkChange::up()).await.unwrap();
        let link = inside.link("eth0").await.unwrap().unwrap().index;
        for address in addresses {
            inside.address_set(&Address::new(link, address.parse().unwrap())).await.unwrap();
        }
        self.wire(network, &tap).await;
        for gateway in gateways {
            inside.route_replace(&Route::default_via(gateway.parse().unwrap(), link)).await.unwrap();
        }
        Instance { namespace, inside, link }
    }

    /// The rules of a router, as `nft` lists them.
    pub async fn rules(&self, router: RouterId) -> String {
        let namespace = self.namespace(router);
        let list = move || namespace.run(|| Command::new("nft").args(["list", "ruleset"]).output());
        let output = tokio::task::spawn_blocking(list).await.unwrap();
        output.ok().and_then(Result::ok).map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default()
    }

    /// Waits until the rules of a router stand and contain a text.
    pub async fn until_rules(&self, router: RouterId, text: &str) {
        let began = Instant::now();
        loop {
            let rules = self.rules(router).await;
            if rules.contains("table inet isospin") && rules.contains(text) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "no rules with {text:?}: {rules}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether a router has an answer of a neighbour on a device.
    pub async fn knows(&self, router: RouterId, device: &str, address: &str) -> bool {
        let namespace = self.namespace(router);
        let arguments = ["neighbour", "show", address, "dev", device].map(str::to_owned);
        let show = move || namespace.run(|| Command::new("ip").args(arguments).output());
        let shown = tokio::task::spawn_blocking(show).await.unwrap().unwrap().unwrap();
        String::from_utf8(shown.stdout).unwrap().contains("lladdr")
    }

    /// Addresses of a device of a router, sorted, without those of the link.
    pub async fn addresses(&self, router: RouterId, device: &str) -> Vec<String> {
        let Ok(inside) = self.namespace(router).open() else { return Vec::new() };
        let Some(link) = inside.link(device).await.unwrap() else { return Vec::new() };
        let all = inside.addresses().await.unwrap();
        let of_device = all.iter().filter(|address| address.link == link.index && address.is_global());
        let mut nets: Vec<String> = of_device.map(|address| address.net.to_string()).collect();
        nets.sort();
        nets
    }

    /// Everything that may be left behind: links, namespaces, files of the state directory.
    pub async fn inventory(&self) -> Vec<String> {
        let mut found = Vec::new();
        for link in self.machine.netlink().unwrap().links().await.unwrap() {
            found.push(format!("link {}", link.name));
        }
        found.extend(self.system().namespaces().unwrap().into_iter().map(|name| format!("namespace {name}")));
        files(&self.state_path(), &mut found);
        found.sort();
        found
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.agent {
            task.abort();
        }
        for directory in ["external/pids", "ha_confs"] {
            for entry in fs::read_dir(self.state_path().join(directory)).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let router = name.split('.').next().unwrap_or_default();
                if let Ok(Some(process)) = Process::find(&entry.path(), router) {
                    let _ = process.signal(Signal::SIGKILL);
                }
            }
        }
    }
}

fn files(directory: &std::path::Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(format!("file {}", entry.path().display()));
        }
    }
}

/// A machine on a network: a tenant's, or somebody's outside.
pub struct Instance {
    pub namespace: Namespace,
    pub inside: Netlink,
    link: u32,
}

impl Instance {
    /// Whether an address answers.
    pub async fn pings(&self, to: &str) -> bool {
        let (namespace, to) = (self.namespace.clone(), to.parse().unwrap());
        tokio::task::spawn_blocking(move || ping(&namespace, to, 2)).await.unwrap()
    }

    /// Waits until an address answers.
    pub async fn until_pings(&self, to: &str) {
        let began = Instant::now();
        while !self.pings(to).await {
            assert!(began.elapsed() < PATIENCE, "{to} does not answer");
        }
    }

    pub async fn add_route(&self, to: &str, via: &str) {
        let route = Route::new(to.parse::<IpNet>().unwrap(), Some(via.parse().unwrap()), self.link);
        self.inside.route_replace(&route).await.unwrap();
    }

    /// Listens for connections and sends back what comes, until it is dropped.
    pub fn echo(&self) -> Echo {
        let listener = self.namespace.run(|| TcpListener::bind("[::]:7777")).unwrap().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        listener.set_nonblocking(true).unwrap();
        let serve = move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, peer)) => drop(std::thread::spawn(move || echo(stream, peer))),
                    Err(_) => pause(),
                }
            }
        };
        Echo { stop, thread: Some(std::thread::spawn(serve)) }
    }

    /// Connects; what the other side sees as the address of this one.
    pub async fn seen_as(&self, to: &str) -> Option<IpAddr> {
        let mut stream = self.connect(to).await?;
        let seen = tokio::task::spawn_blocking(move || {
            stream.write_all(b"?").ok()?;
            let mut text = [0; 64];
            let length = stream.read(&mut text).ok()?;
            std::str::from_utf8(&text[..length]).ok()?.parse::<IpAddr>().ok()
        });
        seen.await.unwrap().map(|ip| ip.to_canonical())
    }

    async fn connect(&self, to: &str) -> Option<TcpStream> {
        let (namespace, to) = (self.namespace.clone(), SocketAddr::new(to.parse().unwrap(), 7777));
        let connect = move || namespace.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)));
        let stream = tokio::task::spawn_blocking(connect).await.unwrap().unwrap().ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Some(stream)
    }

    /// A connection with something sent and answered every few milliseconds, until it is asked how that went.
    pub async fn flow(&self, to: &str) -> Flow {
        let mut stream = self.connect(to).await.expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let exchange = move || {
            let mut went = Went { exchanges: 0, retransmitted: 0, broke: false };
            while !stopped.load(Ordering::Relaxed) {
                let mut answer = [0];
                if stream.write_all(b"x").and_then(|()| stream.read_exact(&mut answer)).is_err() {
                    went.broke = true;
                    return went;
                }
                went.exchanges += 1;
                counted.store(went.exchanges, Ordering::Relaxed);
                pause();
            }
            went
        };
        let namespace = self.namespace.clone();
        Flow { stop, count, thread: std::thread::spawn(exchange), before: retransmissions(&namespace), namespace }
    }
}

/// A listener of [`Instance::echo`].
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<Thread<()>>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(Thread::join);
    }
}

/// A pause of a thread that serves no runtime.
#[allow(clippy::disallowed_methods)]
fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

/// Sends back what comes; `?` is answered with the peer's address.
fn echo(mut stream: TcpStream, peer: SocketAddr) {
    let mut bytes = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        let text = peer.ip().to_string();
        let answer = if bytes[0] == b'?' { text.as_bytes() } else { &bytes[..length] };
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

/// A connection of [`Instance::flow`].
pub struct Flow {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Thread<Went>,
    namespace: Namespace,
    before: u64,
}

/// How a connection went.
#[derive(Debug)]
pub struct Went {
    pub exchanges: usize,
    /// What its machine had to send again meanwhile.
    pub retransmitted: u64,
    pub broke: bool,
}

impl Flow {
    /// Whether something more is answered within the time that anything may take.
    pub async fn goes_on(&self) -> bool {
        let (began, before) = (Instant::now(), self.count.load(Ordering::Relaxed));
        while self.count.load(Ordering::Relaxed) < before + 3 {
            if self.thread.is_finished() || began.elapsed() > PATIENCE {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    pub async fn end(self) -> Went {
        self.stop.store(true, Ordering::Relaxed);
        let went = tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap();
        Went { retransmitted: retransmissions(&self.namespace) - self.before, ..went }
    }
}

impl Went {
    /// Nothing was lost, or it would have been sent again.
    pub fn lost_nothing(&self) -> bool {
        !self.broke && self.exchanges > 2 && self.retransmitted == 0
    }
}

/// How many segments of TCP a namespace has sent again.
fn retransmissions(namespace: &Namespace) -> u64 {
    let text = namespace.run(|| fs::read_to_string("/proc/thread-self/net/snmp")).unwrap().unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split(' ').position(|name| name == "RetransSegs").unwrap();
    values.split(' ').nth(place).unwrap().parse().unwrap()
}

/// Waits until something holds, or fails by saying what does not.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
