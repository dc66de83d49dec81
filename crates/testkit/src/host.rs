//! A host of its own for a whole standalone service: a network namespace in which it runs with its agents, and instances
//! plugged into it. Needs root. What is looked at, is looked at with `ip`, not with code of ours.
//!
//! The agents' named namespaces are the machine's, since `/run/netns` is; their names are made of ids that nobody else
//! has. Everything is removed with the value, also while a panic unwinds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read, Seek},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kernel::{Namespace, System, process::Signal, testing::Machine};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    http::{Client, text},
    process::signal,
    standalone::{Plan, Service},
};

/// How long anything may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How many pings may not have been answered yet.
const UNDER_WAY: u32 = 3;
/// The name of the host towards the API.
pub const NAME: &str = "host-a";
/// The agents that every service has.
const AGENTS: [&str; 3] = ["neutron-linuxbridge-agent", "neutron-dhcp-agent", "neutron-l3-agent"];
/// The DHCP client calls this; it notes what the client was given and sets the card up.
const SCRIPT: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
env > "$LEASE"
# As a client that renews: what it has stays, for packets are on their way.
ip link set dev "$interface" mtu "${mtu:-1500}"
ip address replace "$ip/$mask" dev "$interface"
[ -z "$router" ] || ip route replace default via "${router%% *}"
set -- $staticroutes
while [ $# -ge 2 ]; do ip route replace "$1" via "$2"; shift 2; done
exit 0
"#;

/// A host, and the service that runs on it.
pub struct Host {
    /// The service.
    pub service: Service,
    machine: Machine,
    _runtime: Runtime,
}

/// A namespace that behaves like an instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its namespace.
    pub namespace: Namespace,
    /// The host's end of its card.
    pub tap: String,
    directory: PathBuf,
}

/// A link as `ip` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The bridge it is in.
    pub master: Option<String>,
    /// Largest packet.
    pub mtu: u64,
    /// The administrator's switch.
    pub up: bool,
}

/// A ping that runs until it is stopped.
#[derive(Debug)]
pub struct Pings {
    child: Child,
    /// What it prints.
    said: File,
}

impl Host {
    /// A new host with a service that answers.
    pub fn start(program: &str, configuration: &str) -> Result<Self> {
        let runtime = Runtime::new()?;
        let machine = runtime.block_on(Machine::new())?;
        let configuration = format!("[DEFAULT]\nhost = {NAME}\n{configuration}");
        let plan = Plan::standalone(program).configuration(&configuration).inside(machine.system.root());
        let host = Self { service: plan.start()?, machine, _runtime: runtime };
        host.until_agents_live()?;
        Ok(host)
    }

    /// Waits until the agents that every service has live.
    pub fn until_agents_live(&self) -> Result<Duration> {
        let client = self.client();
        let lives = |agents: &[Value], binary: &str| {
            agents.iter().any(|agent| agent["alive"] == true && agent["binary"] == binary)
        };
        self.until("the agents live", || {
            let agents = client.list("agents", "")?;
            Ok(AGENTS.iter().all(|binary| lives(&agents, binary)))
        })
    }

    /// A client of the service.
    pub fn client(&self) -> Client {
        self.service.client()
    }

    /// The host's own namespace.
    pub fn root(&self) -> Namespace {
        self.machine.system.root()
    }

    /// Plugs an instance in as a hypervisor would: a namespace with a card that has the port's MAC, and the card's
    /// other end on the host.
    pub fn plug(&self, name: &str, port: &Value) -> Result<Instance> {
        let instance = self.instance(name, port)?;
        run(&self.root(), "ip", &Self::cable(&instance, port))?;
        Ok(instance)
    }

    /// The namespace of an instance without a card.
    pub fn instance(&self, name: &str, port: &Value) -> Result<Instance> {
        let directory = self.machine.directory().join(name);
        fs::create_dir_all(&directory)?;
        let namespace = self.machine.system.namespace_create(name)?;
        Ok(Instance { namespace, tap: tap(port), directory })
    }

    /// Plugs in many at once.
    pub fn plug_all(&self, instances: &[(Instance, Value)]) -> Result<()> {
        let lines: Vec<String> = instances.iter().map(|(instance, port)| Self::cable(instance, port)).collect();
        let batch = self.machine.directory().join("batch");
        fs::write(&batch, lines.join("\n") + "\n")?;
        run(&self.root(), "ip", &format!("-batch {}", batch.display())).map(|_| ())
    }

    fn cable(instance: &Instance, port: &Value) -> String {
        let (tap, inside, mac) = (&instance.tap, instance.namespace.path().display(), text(port, "mac_address"));
        format!("link add {tap} up type veth peer name eth0 address {mac} netns {inside}")
    }

    /// Takes an instance out again, and forgets it.
    pub fn unplug(&self, instance: &Instance) -> Result<()> {
        run(&self.root(), "ip", &format!("link delete {}", instance.tap))?;
        self.forget(instance)
    }

    /// Removes the namespace of an instance, with what it has.
    pub fn forget(&self, instance: &Instance) -> Result<()> {
        let name = instance.namespace.name().context("an instance has a name")?;
        self.machine.system.namespace_delete(name)?;
        Ok(fs::remove_dir_all(&instance.directory)?)
    }

    /// All links of the host, by name.
    pub fn links(&self) -> Result<BTreeMap<String, Shown>> {
        let output = run(&self.root(), "ip", "-json link show")?;
        let links: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        let shown = |link: &Value| Shown {
            master: link["master"].as_str().map(str::to_owned),
            mtu: link["mtu"].as_u64().unwrap_or_default(),
            up: link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP")),
        };
        Ok(links.iter().map(|link| (text(link, "ifname"), shown(link))).collect())
    }

    /// The dnsmasq of a network, if one lives.
    pub fn dnsmasq(&self, network: &str) -> Option<u32> {
        let file = self.service.state_dir().join("dhcp").join(network).join("pid");
        let pid: u32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        arguments(pid).contains(network).then_some(pid)
    }

    /// Everything that may be left behind: links, namespaces, processes and files, one a line. Of the namespaces and
    /// processes those that belong to these networks or this host.
    pub fn inventory(&self, networks: &[String]) -> Result<BTreeSet<String>> {
        let mut found: BTreeSet<String> = self.links()?.into_keys().map(|name| format!("link {name}")).collect();
        let named = System::current().namespaces()?;
        let ours = |name: &String| networks.iter().any(|network| name.contains(network.as_str()));
        found.extend(named.into_iter().filter(ours).map(|name| format!("namespace {name}")));
        found.extend(self.machine.system.namespaces()?.into_iter().map(|name| format!("instance {name}")));
        for pid in self.processes() {
            found.insert(format!("process {pid} {}", arguments(pid)));
        }
        list(&self.service.state_dir(), &mut found);
        Ok(found)
    }

    /// Processes of the service that are not the service.
    fn processes(&self) -> Vec<u32> {
        let state = format!("{}/", self.service.state_dir().display());
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| Some(*pid) != self.service.pid() && arguments(*pid).contains(&state)).collect()
    }

    /// Waits until something holds.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
        let began = Instant::now();
        while !holds()? {
            if began.elapsed() > PATIENCE {
                bail!("waited {PATIENCE:?} until {what}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(began.elapsed())
    }

    /// Waits until a port is ACTIVE.
    pub fn until_active(&self, port: &str) -> Result<Duration> {
        let client = self.client();
        self.until("the port is ACTIVE", || Ok(client.show("ports", port)?["status"] == "ACTIVE"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.service.kill();
        for pid in self.processes() {
            let _ = signal(pid, Signal::SIGKILL);
        }
        // Its networks and routers are those that have a directory or a file.
        let networks = fs::read_dir(self.service.state_dir().join("dhcp")).into_iter().flatten().flatten();
        for network in networks {
            let _ = System::current().namespace_delete(&format!("qdhcp-{}", network.file_name().to_string_lossy()));
        }
        let routers = fs::read_dir(self.service.state_dir().join("routers")).into_iter().flatten().flatten();
        for router in routers {
            let _ = System::current().namespace_delete(&format!("qrouter-{}", router.file_name().to_string_lossy()));
        }
    }
}

impl Instance {
    /// An instance whose card is `tap` on the host and `eth0` in its namespace. The directory is for its files.
    pub fn new(namespace: Namespace, tap: String, directory: &Path) -> Self {
        Self { namespace, tap, directory: directory.to_owned() }
    }

    /// Runs a DHCP client once and sets the card up as it was told. What the client was told, by the client's names.
    pub fn dhcp(&self) -> Result<BTreeMap<String, String>> {
        let (script, lease) = (self.directory.join("script"), self.directory.join("lease"));
        fs::write(&script, SCRIPT)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let _ = fs::remove_file(&lease);
        run(&self.namespace, "ip", "link set eth0 up")?;
        let mut command = Command::new("udhcpc");
        command.args([
            "-i",
            "eth0",
            "-f",
            "-n",
            "-q",
            "-t",
            "20",
            "-T",
            "1",
            "-O",
            "mtu",
            "-O",
            "dns",
            "-O",
            "staticroutes",
            "-s",
        ]);
        command.arg(&script).env("LEASE", &lease).stdin(Stdio::null());
        let output = self.namespace.run(|| command.output())?.context("udhcpc is not installed")?;
        let told = fs::read_to_string(&lease)
            .with_context(|| format!("no lease: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok(told.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    /// Status and body of what `curl` gets; status 0 when there is no answer.
    pub fn curl(&self, url: &str) -> Result<(u16, String)> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--globoff", "--max-time", "20", "--write-out", "\n%{http_code}", url]);
        let output = self.namespace.run(|| command.output())?.context("curl is not installed")?;
        let text = String::from_utf8(output.stdout)?;
        let (body, status) = text.rsplit_once('\n').context("curl writes the status")?;
        Ok((status.parse()?, body.to_owned()))
    }

    /// How many of `count` echo requests were answered.
    pub fn ping(&self, to: &str, count: u32) -> Result<u32> {
        let words = format!("-n -q -i 0.02 -W 1 -c {count} {to}");
        let words: Vec<&str> = words.split(' ').collect();
        let output = self.namespace.run(|| Command::new("ping").args(words).output())??;
        Ok(answered(&output.stdout).map_or(0, |(_, received)| received))
    }

    /// Pings every 10 ms until stopped.
    pub fn pings(&self, to: &str) -> Result<Pings> {
        let said = tempfile::tempfile()?;
        let mut command = Command::new("ping");
        command.args(["-n", "-i", "0.01", "-w", "600", to]).stdin(Stdio::null());
        command.stdout(said.try_clone()?).stderr(Stdio::null());
        Ok(Pings { child: self.namespace.run(|| command.spawn())??, said })
    }
}

impl Pings {
    /// Stops; how many were sent and how many were answered. The last ones are not counted if they were not answered: the
    /// answers may have been on their way, or not have been read.
    pub fn stop(mut self) -> Result<(u32, u32)> {
        signal(self.child.id(), Signal::SIGINT)?;
        self.child.wait()?;
        self.said.rewind()?;
        let mut said = String::new();
        self.said.read_to_string(&mut said)?;
        let (sent, _) = answered(said.as_bytes()).with_context(|| format!("ping said {said:?}"))?;
        let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok();
        let answers: BTreeSet<u32> = said.lines().filter(|line| line.contains(" time=")).filter_map(number).collect();
        let last = answers.last().copied().unwrap_or_default();
        let sent = if sent - last <= UNDER_WAY { last } else { sent };
        Ok((sent, u32::try_from(answers.len())?))
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The host's end of a port.
pub fn tap(port: &Value) -> String {
    format!("tap{:.11}", text(port, "id"))
}

/// The bridge of a network.
pub fn bridge(network: &str) -> String {
    format!("brq{network:.11}")
}

/// Runs a program in a namespace; it must succeed.
pub fn run(namespace: &Namespace, program: &str, words: &str) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(words.split(' ')).stdin(Stdio::null());
    let output = namespace.run(|| command.output())?.with_context(|| format!("{program} is not installed"))?;
    if !output.status.success() {
        bail!("{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output)
}

/// Sent and received, from what `ping` prints at its end.
fn answered(said: &[u8]) -> Option<(u32, u32)> {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().find(|line| line.contains("packets transmitted"))?;
    let mut numbers = line.split([' ', ',']).filter_map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// The command line of a process; empty when it is gone.
fn arguments(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

fn list(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // The database's journal comes and goes.
        if !entry.file_name().to_string_lossy().contains(".sqlite-") {
            found.insert(format!("file {}", entry.path().display()));
        }
        list(&entry.path(), found);
    }
}
