//! Hosts with agents, instances with real DHCP clients, and what they see.

use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use isospin_agent::dhcp::{self, Config};
use kernel::{
    Address, Bridge, LinkChange, Namespace, NewKind, NewLink, System,
    addr::AddressFlags,
    process::{Process, Signal, which},
    sysctl,
    testing::Machine,
};
use oslo::messaging::Bus;
use rpc::payload::Port;
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};
use types::{NetworkId, PortId, device};

use super::server::Server;

/// How long anything may take: less than the minute after which an agent looks at everything again.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// A server and a host.
pub struct Lab {
    pub server: Arc<Server>,
    pub host: TestHost,
}

/// A machine of its own with an agent.
pub struct TestHost {
    pub name: String,
    pub machine: Machine,
    pub confs: PathBuf,
    bus: Bus,
    agent: Option<(oneshot::Sender<()>, JoinHandle<Ended>)>,
}

type Ended = Result<(), dhcp::AgentError>;

/// What the script of a DHCP client was given.
pub type Lease = BTreeMap<String, String>;

impl Lab {
    pub async fn new() -> Self {
        let bus = Bus::in_process();
        let server = Server::start(bus.clone());
        Self { host: TestHost::new("host-a", bus).await, server }
    }

    /// Serves a network with these subnets, waits until it does, and puts a bridge under it.
    pub async fn serve(&mut self, subnets: &[(&str, Value)]) -> NetworkId {
        let network = self.server.add_network(&[&self.host.name], subnets);
        if self.host.agent.is_none() {
            self.host.start();
        }
        self.server.tell_created(network).await;
        self.host.until_served(network).await;
        let ports = self.server.dhcp_ports(network);
        self.host.wire(network, &device::tap(ports[0].id)).await;
        network
    }

    /// A port with an instance on it.
    pub async fn boot(&self, network: NetworkId, name: &str, options: Value) -> (Port, Instance) {
        let port = self.server.create_port(network, options).await;
        self.until_ready(port.id).await;
        let instance = self.host.plug(network, name, &port).await;
        (port, instance)
    }

    pub async fn until_ready(&self, port: PortId) {
        until("the port is ready", || self.server.inner(|inner| inner.ready.contains(&port))).await;
    }
}

impl TestHost {
    pub async fn new(name: &str, bus: Bus) -> Self {
        let machine = Machine::new().await.unwrap();
        let confs = machine.directory().join("state/dhcp");
        Self { name: name.to_owned(), machine, confs, bus, agent: None }
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new(&self.name, self.confs.parent().unwrap());
        config.system = self.system();
        config.resync_throttle = Duration::from_millis(100);
        config
    }

    pub fn start(&mut self) {
        self.start_with(self.config());
    }

    pub fn start_with(&mut self, config: Config) {
        let (stop, stopped) = oneshot::channel();
        let run = dhcp::run(config, self.bus.clone(), async {
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

    pub fn directory(&self, network: NetworkId) -> PathBuf {
        self.confs.join(network.to_string())
    }

    pub fn file(&self, network: NetworkId, name: &str) -> String {
        fs::read_to_string(self.directory(network).join(name)).unwrap_or_default()
    }

    pub fn namespace(&self, network: NetworkId) -> Namespace {
        self.system().namespace(&device::dhcp_namespace(network))
    }

    pub fn dnsmasq(&self, network: NetworkId) -> Option<Process> {
        Process::find(&self.directory(network).join("pid"), &network.to_string()).unwrap()
    }

    pub fn pid(&self, network: NetworkId) -> i32 {
        self.dnsmasq(network).map(|process| process.pid()).unwrap_or_default()
    }

    pub async fn until_served(&self, network: NetworkId) {
        until("dnsmasq serves", || {
            self.dnsmasq(network).is_some_and(|process| process.is_in(&self.namespace(network)))
        })
        .await;
    }

    /// What the layer 2 agent does: a bridge for the network, and a tap in it.
    pub async fn wire(&self, network: NetworkId, tap: &str) {
        let netlink = self.machine.netlink().unwrap();
        let name = device::bridge(network);
        if netlink.link(&name).await.unwrap().is_none() {
            let bridge =
                NewLink { name: name.clone(), kind: NewKind::Bridge(Bridge::default()), settings: LinkChange::up() };
            netlink.link_create(&bridge).await.unwrap();
        }
        let bridge = netlink.link(&name).await.unwrap().unwrap();
        netlink.link_set(tap, &LinkChange::up().with_master(bridge.index)).await.unwrap();
    }

    pub async fn plug(&self, network: NetworkId, name: &str, port: &Port) -> Instance {
        let tap = device::tap(port.id);
        let namespace = self.system().namespace_create(name).unwrap();
        // Its link-local address is of use at once; nobody here has the same.
        sysctl::write(&namespace, "net/ipv6/conf/default/accept_dad", "0").unwrap();
        self.machine.plug(name, &tap).await.unwrap();
        let inside = namespace.open().unwrap();
        inside.link_set("lo", &LinkChange::up()).await.unwrap();
        let down = LinkChange { up: Some(false), ..LinkChange::default() };
        inside.link_set("eth0", &down.with_mac(port.mac_address)).await.unwrap();
        inside.link_set("eth0", &LinkChange::up()).await.unwrap();
        self.wire(network, &tap).await;
        let started = Instant::now();
        let is_usable = |address: &Address| {
            let ip = address.net.addr();
            ip.is_ipv6() && !ip.is_loopback() && !address.flags.contains(AddressFlags::Tentative)
        };
        while !inside.addresses().await.unwrap().iter().any(is_usable) {
            assert!(started.elapsed() < PATIENCE, "no link-local address");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Instance { namespace, directory: self.machine.directory().join(name) }
    }

    /// Everything that may be left behind: links, namespaces, files, processes.
    pub async fn inventory(&self) -> Vec<String> {
        let mut found = Vec::new();
        for link in self.machine.netlink().unwrap().links().await.unwrap() {
            found.push(format!("link {}", link.name));
        }
        found.extend(self.system().namespaces().unwrap().into_iter().map(|name| format!("namespace {name}")));
        list(&self.confs, &mut found);
        let confs = self.confs.display().to_string();
        found.extend(processes_of(&confs).into_iter().map(|pid| format!("process {pid}")));
        found.sort();
        found
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.agent {
            task.abort();
        }
        for entry in fs::read_dir(&self.confs).into_iter().flatten().flatten() {
            let network = entry.file_name().to_string_lossy().into_owned();
            if let Ok(Some(process)) = Process::find(&entry.path().join("pid"), &network) {
                let _ = process.signal(Signal::SIGKILL);
            }
        }
    }
}

/// A namespace that behaves like an instance.
pub struct Instance {
    pub namespace: Namespace,
    directory: PathBuf,
}

impl Instance {
    /// udhcpc, asking for what a typical instance asks for.
    pub async fn udhcpc(&self, options: &[&str]) -> Lease {
        let script = self.script();
        let mut words = vec!["udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "20", "-T", "1", "-s", &script];
        for option in ["mtu", "dns", "router", "domain", "staticroutes"] {
            words.extend(["-O", option]);
        }
        words.extend(options);
        self.run(&words).await;
        self.lease("bound")
    }

    /// dhclient for IPv4 or IPv6.
    pub async fn dhclient(&self, family: &str, reason: &str) -> Lease {
        let script = self.script();
        let file = |name: &str| self.directory.join(name).display().to_string();
        let (leases, pid, config) = (file("dhclient.leases"), file("dhclient.pid"), file("dhclient.conf"));
        let also = "also request interface-mtu, domain-name-servers, dhcp6.name-servers, dhcp6.domain-search;\n";
        fs::write(&config, format!("timeout 20;\nretry 1;\n{also}")).unwrap();
        fs::write(&leases, "").unwrap();
        let mut words = vec!["dhclient", "-v", "-1", "-sf", &script, "-lf", &leases, "-pf", &pid, "-cf", &config];
        words.extend(family.split(' '));
        words.push("eth0");
        self.run(&words).await;
        // It went into the background to renew, which nobody here waits for; its pid file may not be written yet.
        for process in Process::search(&pid) {
            process.terminate(Duration::from_secs(20)).await.unwrap();
        }
        self.lease(reason)
    }

    /// Asks a name server for the IPv4 address of a name.
    pub async fn resolve(&self, name: &str, server: &str) -> Option<String> {
        let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.trim_end_matches('.').split('.') {
            query.push(label.len() as u8);
            query.extend(label.bytes());
        }
        query.extend([0, 0, 1, 0, 1]);
        let (namespace, server) = (self.namespace.clone(), format!("{server}:53"));
        let ask = move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(&query, server).unwrap();
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer).unwrap();
            // One answer, whose last four bytes are the address.
            (answer[7] == 1).then(|| answer[length - 4..length].iter().map(u8::to_string).collect::<Vec<_>>().join("."))
        };
        tokio::task::spawn_blocking(move || namespace.run(ask).unwrap()).await.unwrap()
    }

    /// A script that notes all variables that it is given under the reason that it is called for.
    fn script(&self) -> String {
        fs::create_dir_all(&self.directory).unwrap();
        let path = self.directory.join("script");
        let note = format!("#!/bin/sh\nenv > {}/${{reason:-$1}}\nexit 0\n", self.directory.display());
        fs::write(&path, note).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    fn lease(&self, reason: &str) -> Lease {
        let text = fs::read_to_string(self.directory.join(reason)).unwrap_or_else(|_| panic!("no lease: {reason}"));
        text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    /// Runs a program inside and waits for it, without holding up the others.
    pub async fn run(&self, words: &[&str]) -> bool {
        let mut command = Command::new(which(words[0]).unwrap_or_else(|| panic!("{} is not installed", words[0])));
        command.args(&words[1..]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let namespace = self.namespace.clone();
        let output = tokio::task::spawn_blocking(move || namespace.run(|| command.output()).unwrap().unwrap());
        let output = output.await.unwrap();
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            eprintln!("{words:?}: {}", String::from_utf8_lossy(&said));
        }
        output.status.success()
    }
}

/// Waits until something holds, or fails by saying what does not.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

fn list(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        found.push(format!("file {}", entry.path().display()));
        list(&entry.path(), found);
    }
}

/// Pids whose command line names this.
fn processes_of(text: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    })
    .collect()
}
