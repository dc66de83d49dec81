//! The two hosts, the parts that run on the controller, and the operator at its keyboard.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::{
    clients::Clients,
    deployment::{Lan, Node, Plugged, Process, at, succeeded},
    http::{Client, text},
    keystone::{self, Keystone},
    mariadb::MariaDb,
    memcached::Memcached,
    nova::Nova,
    nova_metadata,
    rabbitmq::Broker,
};

pub(super) const CONTROLLER: &str = "linux-node1";
pub(super) const COMPUTE: &str = "linux-node2";
const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Lab {
    // Dropped in order: what runs, the hosts, the parts.
    processes: BTreeMap<(&'static str, &'static str), Process>,
    controller: Node,
    compute: Node,
    lan: Lan,
    pub(super) mariadb: MariaDb,
    pub(super) nova: Nova,
    broker: Broker,
    _memcached: Memcached,
    keystone: Keystone,
    clients: Clients,
    /// The administrator's.
    token: OnceLock<String>,
}

/// A file of the deployment as it was typed.
pub(super) fn seed(name: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/seed-deployment");
    fs::read_to_string(data.join(name)).expect("the deployment has this file")
}

/// A host of the deployment with its files.
pub(super) fn node(lan: &Lan, name: &'static str) -> Result<Node> {
    let (address, kind) = match name {
        CONTROLLER => ("192.168.56.11/24", "controller"),
        _ => ("192.168.56.12/24", "compute"),
    };
    let node = Node::start(lan, name, address, PROGRAM)?;
    let mut files = vec!["neutron.conf", "linuxbridge_agent.ini"];
    if name == CONTROLLER {
        files.extend(["ml2_conf.ini", "dhcp_agent.ini", "metadata_agent.ini"]);
        node.link("plugin.ini", "/etc/neutron/plugins/ml2/ml2_conf.ini")?;
    }
    for file in files {
        let place = if matches!(file, "ml2_conf.ini" | "linuxbridge_agent.ini") { "plugins/ml2/" } else { "" };
        node.write(&format!("{place}{file}"), seed(&format!("{kind}/{file}")))?;
    }
    Ok(node)
}

impl Lab {
    /// Everything but what the operator starts.
    pub(super) fn start() -> Result<Self> {
        let keystone = thread::spawn(|| {
            let plan = keystone::Plan::default().url("http://192.168.56.11:5000/v3");
            plan.service("compute", "nova", "http://192.168.56.11:8774/v2.1").start()
        });
        let broker = thread::spawn(|| {
            let broker = Broker::start()?;
            broker.control(&["change_password", "openstack", "openstack"])?;
            anyhow::Ok(broker)
        });
        let mariadb = MariaDb::start();
        // What was started in threads is waited for before anything may fail, or nobody would end it.
        let (broker, keystone) = (broker.join(), keystone.join());
        let broker = broker.ok().context("the message broker could not be started")??;
        let keystone = keystone.ok().context("Keystone could not be started")??;
        let mariadb = mariadb?;
        mariadb.query("CREATE USER 'neutron'@'%' IDENTIFIED BY 'neutron'; GRANT ALL ON neutron.* TO 'neutron'@'%'")?;
        // The relay to it comes from this machine.
        mariadb.query("SET PASSWORD FOR 'neutron'@'127.0.0.1' = PASSWORD('neutron')")?;
        let (nova, memcached) = (Nova::start()?, Memcached::start()?);
        let lan = Lan::start("192.168.56.1/24")?;
        let (controller, compute) = (node(&lan, CONTROLLER)?, node(&lan, COMPUTE)?);
        let nova_address = nova.endpoint().trim_start_matches("http://").trim_end_matches("/v2.1").parse()?;
        let parts = [
            (3306, mariadb.address()),
            (5672, broker.address()),
            (11211, memcached.address()),
            (5000, keystone.address()),
            (35357, keystone.address()),
            (8774, nova_address),
            (8775, nova_metadata::serve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)?),
        ];
        for (port, to) in parts {
            controller.forward(at("192.168.56.11", port)?, to)?;
        }
        Ok(Self {
            processes: BTreeMap::new(),
            controller,
            compute,
            lan,
            mariadb,
            nova,
            broker,
            _memcached: memcached,
            keystone,
            clients: Clients::find()?,
            token: OnceLock::new(),
        })
    }

    pub(super) fn node(&self, name: &str) -> &Node {
        if name == CONTROLLER { &self.controller } else { &self.compute }
    }

    pub(super) fn seed(&self, name: &str) -> String {
        seed(name)
    }

    /// Runs a command on the controller as the services' account.
    pub(super) fn as_neutron(&self, words: &str) -> Result<String> {
        let output = self.controller.command("su").args(["-s", "/bin/sh", "-c", words, "neutron"]).output()?;
        succeeded(words, &output)
    }

    /// Runs a command on the controller after `source admin-openstack.sh`.
    pub(super) fn admin(&self, words: &str) -> Result<String> {
        let mut words = words.split_whitespace();
        let program = words.next().unwrap_or_default();
        let path = if program == "openstack" { self.clients.program() } else { PathBuf::from(program) };
        let words: Vec<_> = words.collect();
        let mut command = self.controller.command(&path.to_string_lossy());
        let variables = [
            ("OS_PROJECT_DOMAIN_NAME", "default"),
            ("OS_USER_DOMAIN_NAME", "default"),
            ("OS_PROJECT_NAME", "admin"),
            ("OS_TENANT_NAME", "admin"),
            ("OS_USERNAME", "admin"),
            ("OS_PASSWORD", keystone::PASSWORD),
            ("OS_AUTH_URL", "http://192.168.56.11:35357/v3"),
            ("OS_IDENTITY_API_VERSION", "3"),
        ];
        let output = command.args(&words).envs(variables).output()?;
        succeeded(&format!("{program} {}", words.join(" ")), &output)
    }

    /// The API as its administrator sees it, by a client on the physical network.
    pub(super) fn api(&self) -> Client {
        let issued = || self.keystone.token("admin", keystone::PASSWORD, "admin").expect("a token");
        let token = self.token.get_or_init(issued).clone();
        Client::new("192.168.56.11:9696", self.lan.namespace()).with_token(token)
    }

    /// The API as a project's member sees it.
    pub(super) fn member(&self) -> Client {
        let token = self.keystone.token("member", "member", "demo").expect("a token");
        Client::new("192.168.56.11:9696", self.lan.namespace()).with_token(token)
    }

    pub(super) fn start_server(&mut self) -> Result<()> {
        let process = self.controller.spawn(
            "neutron-server",
            "setpriv --reuid=neutron --regid=neutron --clear-groups neutron-server \
             --config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugin.ini",
        )?;
        process.until_logged("the API answers")?;
        self.processes.insert((CONTROLLER, "server"), process);
        Ok(())
    }

    pub(super) fn start_agent(&mut self, host: &'static str, agent: &'static str) -> Result<()> {
        let file = match agent {
            "linuxbridge" => "plugins/ml2/linuxbridge_agent.ini".to_owned(),
            other => format!("{other}_agent.ini"),
        };
        let words = format!(
            "neutron-{agent}-agent --config-file /etc/neutron/neutron.conf --config-file /etc/neutron/{file} --debug"
        );
        let process = self.node(host).spawn(&format!("neutron-{agent}-agent"), &words)?;
        self.processes.insert((host, agent), process);
        Ok(())
    }

    pub(super) fn stop_agent(&mut self, host: &'static str, agent: &'static str) -> Result<()> {
        self.processes.remove(&(host, agent)).context("it runs")?.stop()
    }

    pub(super) fn kill_agent(&mut self, host: &'static str, agent: &'static str) -> Result<()> {
        self.processes.remove(&(host, agent)).context("it runs")?.kill()
    }

    pub(super) fn restart_broker(&mut self) -> Result<()> {
        self.broker.kill();
        self.broker.resume()
    }

    /// The dnsmasq of a network, if one lives.
    pub(super) fn dnsmasq(&self, network: &str) -> Option<u32> {
        self.controller.run(&format!("cat /var/lib/neutron/dhcp/{network}/pid")).ok()?.trim().parse().ok()
    }

    /// How many of five pings from the physical network are answered.
    pub(super) fn physical_pings(&self, to: &str) -> u32 {
        let machine = testkit::host::Instance::new(self.lan.namespace(), "lan".to_owned(), Path::new("/"));
        machine.ping(to, 5).expect("ping runs")
    }

    /// What an instance is told of itself.
    pub(super) fn metadata(&self, plugged: &Plugged) -> Result<String> {
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail", "--max-time", "3", "http://169.254.169.254/latest/meta-data/instance-id"]);
        let output = plugged.instance.namespace.run(|| command.output())??;
        succeeded("curl", &output)
    }

    /// Changes a port in a request of its own, and finds that request in the logs of those who had to do with it.
    pub(super) fn follow(&self, port: &Value) -> Result<String> {
        let path = format!("/v2.0/ports/{}", text(port, "id"));
        let body =
            br#"{"port": {"name": "followed", "extra_dhcp_opts": [{"opt_name": "domain-name", "opt_value": "x"}]}}"#;
        let answer = self.api().send("PUT", &path, &[("Content-Type", "application/json")], Some(body))?;
        ensure!(answer.status == 200, "{}", answer.text());
        let id = answer.header("x-openstack-request-id").context("an answer has a request id")?.to_owned();
        for program in ["server", "dhcp"] {
            self.processes[&(CONTROLLER, program)].until_logged(&id)?;
        }
        Ok(id)
    }

    /// What agents made on both hosts and did not remove.
    pub(super) fn left_behind(&self) -> Vec<String> {
        [&self.controller, &self.compute].into_iter().flat_map(Node::left_behind).collect()
    }

    pub(super) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends everything as an operator does.
    pub(super) fn stop(mut self) -> Result<()> {
        for (_, process) in std::mem::take(&mut self.processes) {
            process.stop()?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    /// A test that fails shows what was logged last.
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for ((host, name), process) in &self.processes {
            let log = process.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            println!("--- {name} on {host}\n{}", tail.join("\n"));
        }
    }
}
