//! A cloud of three hosts on one machine: a controller and two others, the parts between them, and on each host agents
//! as processes of their own, of our program under upstream's names.
//!
//! Three wires connect the hosts: `eth0` to the controller's services, `eth1` for tunnels, `eth2` to the provider's
//! network `public`, on which there is a machine that belongs to nobody: the outside. Needs root. Everything ends with
//! the value, also while a panic unwinds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use kernel::Namespace;
use serde_json::Value;

use crate::{
    deployment::{Lan, Node, Process, at},
    host::run,
    http::{Client, text},
    mariadb::MariaDb,
    nova_metadata,
    process::{Signal, signal},
    rabbitmq::Broker,
};

/// The hosts. The first is the controller.
pub const HOSTS: [&str; 3] = ["one", "two", "three"];
/// The outside, with its prefix lengths. It is the gateway of the provider's network too.
pub const OUTSIDE: [&str; 2] = ["203.0.113.1/24", "2001:db8:cafe::1/64"];
/// How long anything may take to come true, on a machine busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);
/// The lines that a failing test shows of each log.
const SHOWN: usize = 25;
/// What the metadata agent signs with.
const SECRET: &str = "abcdocker";
const API: &str = "192.168.56.11:9696";

/// How a cloud is configured.
#[derive(Debug, Clone)]
pub struct Plan {
    program: PathBuf,
    agents: Vec<(&'static str, &'static str)>,
    firewall: &'static str,
    l2_population: bool,
    common: String,
}

/// The cloud.
#[derive(Debug)]
pub struct Cloud {
    // Dropped in order: what runs, the hosts, the parts.
    server: Option<Process>,
    agents: BTreeMap<(&'static str, &'static str), Process>,
    nodes: Vec<Node>,
    lan: Lan,
    tunnels: Lan,
    outside: Lan,
    database: MariaDb,
    broker: Broker,
}

impl Plan {
    /// A cloud of this program, `env!("CARGO_BIN_EXE_isospin")` in a test: a Linux bridge agent on each host, the DHCP
    /// agent on the controller.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let mut agents: Vec<_> = HOSTS.map(|host| (host, "linuxbridge")).into();
        agents.push((HOSTS[0], "dhcp"));
        Self { program: program.into(), agents, firewall: "auto", l2_population: false, common: String::new() }
    }

    /// One more agent.
    pub fn agent(mut self, host: &'static str, kind: &'static str) -> Self {
        self.agents.push((host, kind));
        self
    }

    /// The firewall driver of every host.
    pub fn firewall(self, driver: &'static str) -> Self {
        Self { firewall: driver, ..self }
    }

    /// Forwarding entries come from the server.
    pub fn l2_population(self) -> Self {
        Self { l2_population: true, ..self }
    }

    /// More text of every `neutron.conf`.
    pub fn common(mut self, text: &str) -> Self {
        self.common.push_str(text);
        self
    }

    /// Starts everything; every agent has reported.
    pub fn start(self) -> Result<Cloud> {
        let broker = thread::spawn(Broker::start);
        let database = MariaDb::start();
        // What was started in a thread is waited for before anything may fail, or nobody would end it.
        let broker = broker.join().ok().context("the message broker could not be started")??;
        let wires = [Lan::start("192.168.56.1/24")?, Lan::start("10.99.0.254/24")?, Lan::start(OUTSIDE[0])?];
        let [lan, tunnels, outside] = wires;
        run(&outside.namespace(), "ip", &format!("address add {} dev lan nodad", OUTSIDE[1]))?;
        let mut cloud = Cloud {
            server: None,
            agents: BTreeMap::new(),
            nodes: Vec::new(),
            lan,
            tunnels,
            outside,
            database: database?,
            broker,
        };
        for (index, name) in HOSTS.into_iter().enumerate() {
            let node = cloud.host(name, index + 11, &self)?;
            cloud.nodes.push(node);
        }
        for (port, to) in [(5672, cloud.broker.address()), (3306, cloud.database.address())] {
            cloud.nodes[0].forward(at("192.168.56.11", port)?, to)?;
        }
        cloud.configure(&self)?;
        cloud.start_server()?;
        for (host, kind) in &self.agents {
            cloud.spawn_agent(host, kind)?;
        }
        cloud.until("every agent has reported", || Ok(cloud.alive()? == self.agents.len()))?;
        Ok(cloud)
    }

    fn ml2(&self) -> String {
        let drivers = if self.l2_population { "linuxbridge,l2population" } else { "linuxbridge" };
        format!(
            "[ml2]\ntype_drivers = local,flat,vlan,vxlan\ntenant_network_types = vxlan\nmechanism_drivers = {drivers}\n\
             extension_drivers = port_security\n[ml2_type_flat]\nflat_networks = public\n\
             [ml2_type_vxlan]\nvni_ranges = 1:10000\n[securitygroup]\nenable_ipset = true\n"
        )
    }

    fn linuxbridge(&self, number: usize) -> String {
        format!(
            "[linux_bridge]\nphysical_interface_mappings = public:eth2\n[vxlan]\nenable_vxlan = true\n\
             local_ip = 10.99.0.{number}\nl2_population = {}\n[securitygroup]\nenable_security_group = true\n\
             firewall_driver = {}\n",
            self.l2_population, self.firewall
        )
    }
}

impl Cloud {
    fn host(&self, name: &str, number: usize, plan: &Plan) -> Result<Node> {
        let node = Node::start(&self.lan, name, &format!("192.168.56.{number}/24"), &plan.program.to_string_lossy())?;
        let inside = node.namespace().path().display().to_string();
        for (wire, card) in [(&self.tunnels, "eth1"), (&self.outside, "eth2")] {
            let cable = format!("link add to-{name} up master lan type veth peer name {card} netns {inside}");
            run(&wire.namespace(), "ip", &cable)?;
            node.run(&format!("ip link set {card} up"))?;
        }
        node.run(&format!("ip address add 10.99.0.{number}/24 dev eth1"))?;
        Ok(node)
    }

    fn configure(&self, plan: &Plan) -> Result<()> {
        let transport = self.broker.url_at(at("192.168.56.11", 5672)?, "/");
        let database = self.database.url().replace(&self.database.address().to_string(), "192.168.56.11:3306");
        for (index, node) in self.nodes.iter().enumerate() {
            node.write(
                "neutron.conf",
                format!(
                    "[DEFAULT]\nauth_strategy = noauth\ncore_plugin = ml2\nservice_plugins = router\n\
                     transport_url = {transport}\nbind_host = 192.168.56.11\nstate_path = /var/lib/neutron\n\
                     dhcp_agents_per_network = 1\n[agent]\nreport_interval = 5\n\
                     [oslo_concurrency]\nlock_path = /var/lib/neutron/tmp\n[quotas]\nquota_network = -1\nquota_subnet = -1\n\
                     quota_port = -1\nquota_router = -1\nquota_floatingip = -1\nquota_security_group = -1\n\
                     quota_security_group_rule = -1\n{}",
                    plan.common
                ),
            )?;
            node.write("plugins/ml2/linuxbridge_agent.ini", plan.linuxbridge(index + 11))?;
            node.write("dhcp_agent.ini", "[DEFAULT]\ninterface_driver = linuxbridge\n")?;
            let nova = format!("nova_metadata_host = 192.168.56.11\nmetadata_proxy_shared_secret = {SECRET}\n");
            node.write("metadata_agent.ini", format!("[DEFAULT]\n{nova}"))?;
            node.write("l3_agent.ini", "[DEFAULT]\ninterface_driver = linuxbridge\n")?;
        }
        let ml2 = format!("{}[database]\nconnection = {database}\n", plan.ml2());
        self.nodes[0].write("plugins/ml2/ml2_conf.ini", ml2)
    }

    /// Starts the server and waits until it answers.
    pub fn start_server(&mut self) -> Result<()> {
        const FILES: &str =
            "--config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini";
        let one = &self.nodes[0];
        one.run(&format!("neutron-db-manage {FILES} upgrade head"))?;
        self.server = Some(one.spawn("neutron-server", &format!("neutron-server {FILES}"))?);
        let api = self.api();
        self.until("the API answers", || Ok(api.get("/v2.0/networks").is_ok()))
    }

    /// Ends the server as a crash would, and starts it again.
    pub fn restart_server(&mut self) -> Result<()> {
        self.server.take().context("it runs")?.kill()?;
        self.start_server()
    }

    /// A client of the API.
    pub fn api(&self) -> Client {
        Client::new(API, self.lan.namespace())
    }

    /// A host by its name.
    ///
    /// # Panics
    ///
    /// When there is no such host.
    pub fn node(&self, name: &str) -> &Node {
        let index = HOSTS.iter().position(|host| *host == name).unwrap_or_default();
        &self.nodes[index]
    }

    /// The compute service's side of metadata starts to listen, on the controller.
    pub fn start_nova_metadata(&self) -> Result<()> {
        let address = at("192.168.56.11", 8775)?;
        nova_metadata::serve(self.nodes[0].namespace().run(|| TcpListener::bind(address))??)?;
        Ok(())
    }

    /// The machine on the provider's network.
    pub fn outside(&self) -> Namespace {
        self.outside.namespace()
    }

    /// The wire that carries tunnels, as `lan`.
    pub fn tunnels(&self) -> Namespace {
        self.tunnels.namespace()
    }

    /// Agents that the server has heard of.
    fn alive(&self) -> Result<usize> {
        Ok(self.api().list("agents", "")?.iter().filter(|agent| agent["alive"] == true).count())
    }

    fn spawn_agent(&mut self, host: &'static str, kind: &'static str) -> Result<()> {
        let file = if kind == "linuxbridge" { "plugins/ml2/linuxbridge" } else { kind };
        let binary = format!("neutron-{kind}-agent");
        let words = format!(
            "{binary} --config-file /etc/neutron/neutron.conf --config-file /etc/neutron/{file}_agent.ini --debug"
        );
        let process = self.node(host).spawn(&binary, &words)?;
        self.agents.insert((host, kind), process);
        Ok(())
    }

    /// Starts an agent again; waits until the server has its first report.
    pub fn start_agent(&mut self, host: &'static str, kind: &'static str) -> Result<()> {
        let before = self.started_at(host, kind);
        // Starts are told apart by the second.
        let now = || chrono::Utc::now().format("%Y-%m-%d %H:%M:%S").to_string();
        self.until("the second is over", || Ok(before.as_ref().is_none_or(|before| *before < now())))?;
        self.spawn_agent(host, kind)?;
        self.until(&format!("the {kind} agent on {host} reports"), || Ok(self.started_at(host, kind) != before))
    }

    /// Ends an agent as a crash would.
    pub fn kill_agent(&mut self, host: &'static str, kind: &'static str) -> Result<()> {
        self.agents.remove(&(host, kind)).context("it runs")?.kill()
    }

    /// Ends an agent as an operator does.
    pub fn stop_agent(&mut self, host: &'static str, kind: &'static str) -> Result<()> {
        self.agents.remove(&(host, kind)).context("it runs")?.stop()
    }

    /// The agents that run, by host and kind.
    pub fn agents(&self) -> Vec<(&'static str, &'static str)> {
        self.agents.keys().copied().collect()
    }

    /// An agent that runs.
    pub fn agent(&self, host: &'static str, kind: &'static str) -> Option<&Process> {
        self.agents.get(&(host, kind))
    }

    /// When an agent that lives says that it was started.
    fn started_at(&self, host: &str, kind: &str) -> Option<String> {
        let query = format!("?host={host}&binary=neutron-{kind}-agent");
        let agents = self.api().list("agents", &query).ok()?;
        agents.iter().find(|agent| agent["alive"] == true).map(|agent| text(agent, "started_at"))
    }

    /// Waits until something holds.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let began = Instant::now();
        while !holds()? {
            if began.elapsed() > PATIENCE {
                bail!("waited {PATIENCE:?} until {what}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until ports are ACTIVE.
    pub fn until_active(&self, ports: &[String]) -> Result<()> {
        let api = self.api();
        self.until("ports are ACTIVE", || {
            let all = api.list("ports", "?fields=id&fields=status")?;
            let active = |id: &String| all.iter().any(|port: &Value| port["id"] == **id && port["status"] == "ACTIVE");
            Ok(ports.iter().all(active))
        })
    }

    /// What agents made and did not remove.
    pub fn left_behind(&self) -> Vec<String> {
        self.nodes.iter().flat_map(Node::left_behind).collect()
    }

    /// Everything that agents may have made, by host, and how many rows each table of the database has.
    pub fn inventory(&self) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for node in &self.nodes {
            found.extend(node.inventory()?.into_iter().map(|line| format!("{} {line}", node.name)));
        }
        let tables =
            self.database.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'neutron'")?;
        // The locks of projects' quotas outlive what they counted.
        let tables: Vec<_> = tables.iter().filter(|table| *table != "quotausages").collect();
        let count = |table: &&String| format!("SELECT '{table}', COUNT(*) FROM `{table}`");
        let counts = tables.iter().map(count).collect::<Vec<_>>().join(" UNION ALL ");
        found.extend(self.database.query(&counts)?.into_iter().map(|line| format!("rows {}", line.replace('\t', " "))));
        let taken = "SELECT COUNT(*) FROM ml2_vxlan_allocations WHERE allocated";
        found.extend(self.database.query(taken)?.into_iter().map(|count| format!("rows VNIs {count}")));
        Ok(found)
    }

    /// What anybody has logged as an error.
    pub fn errors(&self) -> Vec<String> {
        let wrong =
            |line: &&str| matches!(line.split(' ').nth(3), Some("ERROR" | "CRITICAL")) || line.contains("panicked at");
        self.logs().flat_map(|(name, log)| lines(&log, wrong, &name)).collect()
    }

    fn logs(&self) -> impl Iterator<Item = (String, String)> {
        let agents = self.agents.iter().map(|((host, kind), process)| (format!("{kind}-{host}"), process.log()));
        agents.chain(self.server.iter().map(|process| ("server".to_owned(), process.log())))
    }

    /// Ends everything as an operator does; nobody may fail at that.
    pub fn stop(mut self) -> Result<()> {
        for (_, process) in std::mem::take(&mut self.agents) {
            signal(process.pid(), Signal::SIGTERM)?;
            process.stop()?;
        }
        self.server.take().map_or(Ok(()), Process::stop)?;
        ensure!(self.agents.is_empty());
        Ok(())
    }
}

fn lines(log: &str, chosen: impl Fn(&&str) -> bool, name: &str) -> Vec<String> {
    log.lines().filter(chosen).map(|line| format!("{name}: {line}")).collect()
}

impl Drop for Cloud {
    /// A test that fails shows what was logged last; whole logs go where `ISOSPIN_KEEP_LOGS` says.
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let keep = std::env::var_os("ISOSPIN_KEEP_LOGS").map(PathBuf::from);
        for (name, log) in self.logs() {
            if let Some(keep) = &keep {
                let _ = fs::write(keep.join(format!("{name}.log")), &log);
            }
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("--- {name}\n{tail}\n").as_bytes());
        }
    }
}
