//! Two hosts, the parts between them, and on each host the agents of either make.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kernel::Namespace;
use serde_json::Value;
use testkit::{
    deployment::{Lan, Node, Plugged, Process, at},
    host::{bridge, run},
    http::{Client, text},
    mariadb::MariaDb,
    nova_metadata,
    process::{Signal, signal},
    rabbitmq::Broker,
};

/// The host with everything, and the one with instances only.
pub(super) const HOSTS: [&str; 2] = ["one", "two"];
/// Agents by host.
pub(super) const AGENTS: [(&str, &str); 4] =
    [("one", "linuxbridge"), ("one", "dhcp"), ("one", "metadata"), ("two", "linuxbridge")];
/// How long anything may take to come true: upstream's agents look every other second and start slowly.
const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &str = "abcdocker";

/// Who made a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Ours,
    /// Release 25.
    Upstream25,
    /// Release 29; the Linux bridge agent of 25, since 29 has none.
    Upstream29,
}

pub(super) struct Lab {
    // Dropped in order: what runs, the hosts, the parts.
    server: Option<(Make, Process)>,
    agents: BTreeMap<(&'static str, &'static str), (Make, Process)>,
    nodes: [Node; 2],
    lan: Lan,
    _tunnels: Lan,
    mariadb: MariaDb,
    broker: Broker,
}

/// A virtualenv that `make test-agents` made.
fn venv(variable: &str) -> Result<PathBuf> {
    let path = std::env::var(variable).with_context(|| format!("{variable} is not set; use make test-agents"))?;
    Ok(fs::canonicalize(path)?)
}

impl Make {
    fn venv(self, agent: &str) -> Result<Option<PathBuf>> {
        match self {
            Self::Ours => Ok(None),
            Self::Upstream29 if agent != "linuxbridge" => venv("UPSTREAM_VENV").map(Some),
            Self::Upstream25 | Self::Upstream29 => venv("UPSTREAM25_VENV").map(Some),
        }
    }

    /// The command line of one of its programs.
    fn program(self, name: &str, agent: &str) -> Result<String> {
        let Some(venv) = self.venv(agent)? else { return Ok(name.to_owned()) };
        let (bin, here) = (venv.join("bin"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstream_agents"));
        Ok(format!(
            "env PATH={bin}:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={here} {bin}/{name}",
            bin = bin.display(),
            here = here.display()
        ))
    }
}

impl Lab {
    /// Both hosts and a server, which answers.
    pub(super) fn start(server: Make) -> Result<Self> {
        let (mariadb, broker) = (MariaDb::start()?, Broker::start()?);
        let (lan, tunnels) = (Lan::start("192.168.56.1/24")?, Lan::start("10.0.1.1/24")?);
        let node = |name: &str, number: u32| {
            let node = Node::start(&lan, name, &format!("192.168.56.{number}/24"), env!("CARGO_BIN_EXE_isospin"))?;
            let inside = node.namespace().path().display().to_string();
            let cable = format!("link add to-{name} up master lan type veth peer name eth1 netns {inside}");
            run(&tunnels.namespace(), "ip", &cable)?;
            node.run(&format!("ip address add 10.0.1.{number}/24 dev eth1"))?;
            node.run("ip link set eth1 up")?;
            node.write("plugins/ml2/linuxbridge_agent.ini", linuxbridge_ini(number))?;
            anyhow::Ok(node)
        };
        let nodes = [node("one", 11)?, node("two", 12)?];
        for (port, to) in [
            (5672, broker.address()),
            (3306, mariadb.address()),
            (8775, nova_metadata::serve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)?),
        ] {
            nodes[0].forward(at("192.168.56.11", port)?, to)?;
        }
        let mut lab = Self { server: None, agents: BTreeMap::new(), nodes, lan, _tunnels: tunnels, mariadb, broker };
        lab.configure(Make::Ours)?;
        lab.start_server(server)?;
        Ok(lab)
    }

    /// Writes the files that differ with the release of the agents.
    fn configure(&self, agents: Make) -> Result<()> {
        let transport = self.broker.url_at(at("192.168.56.11", 5672)?, "/");
        let database = self.mariadb.url().replace(&self.mariadb.address().to_string(), "192.168.56.11:3306");
        let paste = venv("UPSTREAM25_VENV")?.join("etc/neutron/api-paste.ini").display().to_string();
        let common = format!(
            "[DEFAULT]\nauth_strategy = noauth\ncore_plugin = ml2\nservice_plugins = router\ntransport_url = {transport}\n\
             bind_host = 192.168.56.11\napi_workers = 1\nrpc_workers = 1\napi_paste_config = {paste}\n\
             notify_nova_on_port_status_changes = false\nnotify_nova_on_port_data_changes = false\n\
             state_path = /var/lib/neutron\n[agent]\nreport_interval = 5\n[AGENT]\nreport_interval = 5\nroot_helper = env\n\
             [oslo_concurrency]\nlock_path = /var/lib/neutron/tmp\n[experimental]\nlinuxbridge = true\n"
        );
        let driver = match agents {
            Make::Upstream29 => "bridge_driver.VethInterfaceDriver",
            _ => "neutron.agent.linux.interface.BridgeInterfaceDriver",
        };
        for node in &self.nodes {
            node.write("neutron.conf", &common)?;
        }
        let one = &self.nodes[0];
        one.write("plugins/ml2/ml2_conf.ini", format!("[database]\nconnection = {database}\n{ML2}"))?;
        one.write(
            "dhcp_agent.ini",
            format!("[DEFAULT]\ninterface_driver = {driver}\nenable_isolated_metadata = true\n"),
        )?;
        one.write("l3_agent.ini", format!("[DEFAULT]\ninterface_driver = {driver}\n"))?;
        one.write(
            "metadata_agent.ini",
            format!(
                "[DEFAULT]\nnova_metadata_host = 192.168.56.11\nmetadata_proxy_shared_secret = {SECRET}\n\
                     metadata_workers = 1\n"
            ),
        )
    }

    fn start_server(&mut self, make: Make) -> Result<()> {
        const FILES: &str =
            "--config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini";
        let one = &self.nodes[0];
        one.run(&format!("{} {FILES} upgrade head", make.program("neutron-db-manage", "")?))?;
        let server = one.spawn("neutron-server", &format!("{} {FILES}", make.program("neutron-server", "")?))?;
        self.server = Some((make, server));
        let api = self.api();
        self.until("the API answers", || {
            api.send("GET", "/v2.0/networks", &[], None).is_ok_and(|answer| answer.status == 200)
        });
        Ok(())
    }

    pub(super) fn api(&self) -> Client {
        Client::new("192.168.56.11:9696", self.lan.namespace())
    }

    /// The machine outside, on the physical network.
    pub(super) fn outside(&self) -> Namespace {
        self.lan.namespace()
    }

    /// A request that changes something beyond what a resource is.
    pub(super) fn put(&self, path: &str, body: &Value) {
        let answer = self.api().json("PUT", path, body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }

    pub(super) fn node(&self, name: &str) -> &Node {
        &self.nodes[usize::from(name != HOSTS[0])]
    }

    /// Starts an agent; waits until the server has its first report.
    pub(super) fn start_agent(&mut self, host: &'static str, agent: &'static str, make: Make) -> Result<()> {
        // Drivers differ with the release.
        if matches!(agent, "dhcp" | "l3") {
            self.configure(make)?;
        }
        let file = if agent == "linuxbridge" { "plugins/ml2/linuxbridge" } else { agent };
        let binary = format!("neutron-{agent}-agent");
        let words = format!(
            "{} --config-file /etc/neutron/neutron.conf --config-file /etc/neutron/{file}_agent.ini",
            make.program(&binary, agent)?
        );
        let before = self.started_at(host, &binary);
        let process = self.node(host).spawn(&format!("{binary}-{make:?}"), &words)?;
        self.agents.insert((host, agent), (make, process));
        self.until(&format!("{binary} of {make:?} on {host} reports"), || self.started_at(host, &binary) != before);
        Ok(())
    }

    /// When an agent that lives says that it was started.
    fn started_at(&self, host: &str, binary: &str) -> Option<String> {
        let agents = self.api().list("agents", &format!("?host={host}&binary={binary}")).ok()?;
        agents.iter().find(|agent| agent["alive"] == true).map(|agent| text(agent, "started_at"))
    }

    /// Ends an agent as an operator does, and lets a second pass: the server counts starts in seconds.
    pub(super) fn stop_agent(&mut self, host: &'static str, agent: &'static str) -> Result<()> {
        let (make, mut process) = self.agents.remove(&(host, agent)).context("it runs")?;
        signal(process.pid(), Signal::SIGTERM)?;
        let code = process.ended()?;
        if make == Make::Ours {
            anyhow::ensure!(code == Some(0), "it ended with {code:?}: {}", process.log());
        }
        thread::sleep(Duration::from_millis(1100));
        Ok(())
    }

    /// How often an agent that runs, and those of its make before it, have logged something.
    pub(super) fn said(&self, host: &'static str, agent: &'static str, what: &str) -> usize {
        self.agents.get(&(host, agent)).map_or(0, |(_, process)| process.log().matches(what).count())
    }

    /// Plugs in an instance as the compute service's plug-in for Linux bridges does: the bridge is there, and the tap in it.
    pub(super) fn plug(&self, host: &str, port: &Value) -> Result<Plugged> {
        let node = self.node(host);
        let bridge = bridge(&text(port, "network_id"));
        if node.run(&format!("ip link add {bridge} type bridge forward_delay 0 stp_state 0")).is_ok() {
            node.run(&format!("ip link set {bridge} up"))?;
        }
        let plugged = node.plug(port)?;
        node.run(&format!("ip link set {} master {bridge}", plugged.instance.tap))?;
        Ok(plugged)
    }

    /// The dnsmasq of a network.
    pub(super) fn dnsmasq(&self, network: &str) -> Option<u32> {
        self.nodes[0].run(&format!("cat /var/lib/neutron/dhcp/{network}/pid")).ok()?.trim().parse().ok()
    }

    /// Whom the dnsmasq of a network gives addresses to, one a line.
    pub(super) fn served(&self, network: &str) -> String {
        self.nodes[0].run(&format!("cat /var/lib/neutron/dhcp/{network}/host")).unwrap_or_default()
    }

    /// Waits until DHCP no longer serves anybody on a network. Upstream's agents would otherwise be in each other's way: one
    /// deletes the device that the other uses.
    pub(super) fn until_forgotten(&self, network: &str) {
        self.until("DHCP has forgotten the instances", || self.served(network).is_empty());
        if !self.agents.get(&(HOSTS[0], "dhcp")).is_some_and(|(make, _)| *make == Make::Ours) {
            // It looks at the device after it has written the file, and says nothing when it is done.
            thread::sleep(Duration::from_secs(3));
        }
    }

    /// The haproxy of a network that lives.
    pub(super) fn haproxy(&self, network: &str) -> Option<u32> {
        let pid = self.nodes[0].run(&format!("cat /var/lib/neutron/external/pids/{network}.pid.haproxy")).ok()?;
        let pid = pid.trim().parse().ok()?;
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(network)).then_some(pid)
    }

    /// Waits until agents have removed all that they made on both hosts, and says what they did not.
    pub(super) fn until_nothing_is_left(&self) {
        let began = Instant::now();
        loop {
            let left: Vec<_> = self.nodes.iter().flat_map(Node::left_behind).collect();
            if left.is_empty() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "left after {PATIENCE:?}:\n{}", left.join("\n"));
            thread::sleep(Duration::from_millis(100));
        }
    }

    pub(super) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What everybody of this project's and every agent of upstream's has logged as an error. Upstream's server does so
    /// too, for want of Keystone.
    pub(super) fn errors(&self) -> Vec<String> {
        let agents = self
            .agents
            .iter()
            .map(|((host, name), (make, process))| (format!("{name} of {make:?} on {host}"), process));
        let ours = self.server.iter().filter(|(make, _)| *make == Make::Ours);
        let all = agents.chain(ours.map(|(_, process)| ("the server".to_owned(), process)));
        // Date, time, process, level; and what is written past the log.
        let wrong = |line: &&str| {
            let said = matches!(line.split(' ').nth(3), Some("ERROR" | "CRITICAL"));
            // Upstream's agent has the broker out of reach for a moment when it moves the host's address to a bridge.
            said && !line.contains(" oslo.messaging._drivers.impl_rabbit ")
                || line.starts_with("Traceback")
                || line.contains("panicked at")
        };
        all.flat_map(|(name, process)| {
            let log = process.log();
            log.lines().filter(wrong).map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
        })
        .collect()
    }
}

impl Drop for Lab {
    /// A test that fails shows what was logged last.
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let keep = std::env::var_os("ISOSPIN_KEEP_LOGS").map(PathBuf::from);
        let agents =
            self.agents.iter().map(|((host, name), (make, process))| (format!("{name}-{make:?}-{host}"), process));
        for (name, process) in agents.chain(self.server.iter().map(|(_, process)| ("server".to_owned(), process))) {
            let log = process.log();
            if let Some(keep) = &keep {
                let _ = fs::write(keep.join(format!("{name}.log")), &log);
            }
            let lines: Vec<_> = log.lines().collect();
            println!("--- {name}\n{}", lines[lines.len().saturating_sub(25)..].join("\n"));
        }
    }
}

const ML2: &str = "\
[ml2]
type_drivers = flat,vxlan
tenant_network_types = vxlan
mechanism_drivers = linuxbridge,l2population
extension_drivers = port_security
[ml2_type_flat]
flat_networks = public
[ml2_type_vxlan]
vni_ranges = 1:1000
[securitygroup]
enable_ipset = true
";

fn linuxbridge_ini(number: u32) -> String {
    format!(
        "[linux_bridge]\nphysical_interface_mappings = public:eth0\n[vxlan]\nenable_vxlan = true\n\
         local_ip = 10.0.1.{number}\nl2_population = true\n[securitygroup]\nenable_security_group = true\n\
         firewall_driver = iptables\n"
    )
}
