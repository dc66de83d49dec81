//! Hosts of a deployment on one machine: each has a network, a mount table and a name of its own, with its own
//! `/etc/neutron`, `/var/lib/neutron`, `/var/log/neutron` and `/run`, and our program under upstream's names on its
//! `PATH`. Their `eth0` are in one [`Lan`]. Needs root. Everything ends with the values, also while a panic unwinds.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use kernel::{Namespace, process::Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    host::{Instance, PATIENCE, run, tap},
    http::text,
    process::signal,
    wait,
};

/// What a host does before it is one; ends with its standard input.
const BECOME_A_HOST: &str = r#"
set -e
hostname "$NAME"
ip link set lo up
mount --bind "$DIRECTORY/etc" /etc
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/log
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
mount --bind "$PROGRAM" "$DIRECTORY/bin/isospin"
mkdir -p /run/netns /run/lock /var/lib/neutron/tmp /var/log/neutron
chown -R neutron:neutron /var/lib/neutron /var/log/neutron
echo ready
exec cat >/dev/null
"#;

/// What to look at, with the columns that say what it is.
const INVENTORY: [(&str, &str, usize); 10] = [
    ("link", "ip -brief link show", 1),
    ("namespace", "ip netns list", 1),
    ("nft", "nft list tables", 3),
    ("iptables", "iptables-save", usize::MAX),
    ("ip6tables", "ip6tables-save", usize::MAX),
    ("ebtables", "ebtables-save", usize::MAX),
    ("ipset", "ipset list -name", 1),
    ("file", "find /var/lib/neutron /run -mindepth 1 -ignore_readdir_race", 1),
    ("connection", "conntrack -L -f ipv4", usize::MAX),
    ("connection", "conntrack -L -f ipv6", usize::MAX),
];
/// Directories for files of networks and routers.
const DIRECTORIES: [&str; 5] = [
    "/var/lib/neutron/external",
    "/var/lib/neutron/external/pids",
    "/var/lib/neutron/ha_confs",
    "/var/lib/neutron/ra",
    "/var/lib/neutron/routers",
];
/// Programs that agents keep running.
const PROGRAMS: [&str; 4] = ["dnsmasq", "radvd", "keepalived", "haproxy"];
/// The account of the services.
const ACCOUNT: &str = "neutron";

/// Namespaces that live as long as this value.
#[derive(Debug)]
struct Holder {
    child: Child,
    _input: ChildStdin,
}

/// The wire between hosts, and a machine on it that is no part of the deployment.
#[derive(Debug)]
pub struct Lan(Holder);

/// A machine with nothing but a loopback.
#[derive(Debug)]
pub struct Room(Holder);

/// A host.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    holder: Holder,
    directory: TempDir,
}

/// A program that runs on a host.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// An instance, plugged in on a host.
#[derive(Debug)]
pub struct Plugged {
    /// What runs in it.
    pub instance: Instance,
    _holder: Holder,
    _directory: TempDir,
}

impl Holder {
    /// Runs a script in new namespaces; it says `ready` and lives until its standard input ends.
    fn start(unshare: &[&str], script: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-c", script]).envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("standard input is a pipe")?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().context("standard output is a pipe")?).read_line(&mut said)?;
        if said.trim() != "ready" {
            let mut problem = String::new();
            child.stderr.take().context("standard error is a pipe")?.read_to_string(&mut problem)?;
            let _ = child.wait();
            bail!("no namespace: {problem}");
        }
        Ok(Self { child, _input: input })
    }

    fn namespace(&self) -> Namespace {
        Namespace::at(format!("/proc/{}/ns/net", self.child.id()))
    }

    /// Every process that sees the same files, or that sees the same name of its own: what `ip netns exec` starts has
    /// other mounts.
    fn processes(&self) -> Vec<u32> {
        let of = |pid: u32, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
        let child = self.child.id();
        let kinds = ["mnt", "uts"].map(|kind| (kind, of(child, kind)));
        // What is not our own is shared with the whole machine.
        let own =
            kinds.into_iter().filter(|(kind, theirs)| theirs.is_some() && *theirs != of(std::process::id(), kind));
        let own: Vec<_> = own.collect();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| *pid != child && own.iter().any(|(kind, theirs)| of(*pid, kind) == *theirs)).collect()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = signal(pid, Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lan {
    /// A wire, on which a machine has this address (with its prefix length).
    pub fn start(address: &str) -> Result<Self> {
        let script = "set -e; ip link set lo up; ip link add lan type bridge; ip address add $ADDRESS dev lan; \
                      ip link set lan up; echo ready; exec cat >/dev/null";
        Ok(Self(Holder::start(&["--net", "--mount"], script, &[("ADDRESS", address)])?))
    }

    /// The machine on the wire.
    pub fn namespace(&self) -> Namespace {
        self.0.namespace()
    }
}

impl Room {
    /// An empty machine.
    pub fn start() -> Result<Self> {
        Ok(Self(Holder::start(&["--net", "--mount"], "ip link set lo up; echo ready; exec cat >/dev/null", &[])?))
    }

    /// Its network.
    pub fn namespace(&self) -> Namespace {
        self.0.namespace()
    }

    /// Runs `ip` in it.
    pub fn ip(&self, words: &str) -> Result<()> {
        run(&self.namespace(), "ip", words).map(drop)
    }

    /// Lays a cable: a card here, and one in another machine.
    pub fn cable(&self, here: &str, there: &Self, name: &str) -> Result<()> {
        let inside = there.namespace().path().display().to_string();
        self.ip(&format!("link add {here} up type veth peer name {name} netns {inside}"))?;
        there.ip(&format!("link set {name} up"))
    }
}

impl Node {
    /// A host with this address (with its prefix length) on its `eth0`, and our program to run.
    pub fn start(lan: &Lan, name: &str, address: &str, program: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("isospin-node-").tempdir()?;
        let path = directory.path();
        // Services that are not root find their files below it.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        ensure!(Command::new("cp").args(["-a", "/etc"]).arg(path).status()?.success(), "cannot copy /etc");
        fs::create_dir_all(path.join("etc/neutron/plugins/ml2"))?;
        fs::create_dir(path.join("bin"))?;
        fs::write(path.join("bin/isospin"), "")?;
        add_account(&path.join("etc"))?;
        let variables = [("NAME", name), ("DIRECTORY", &*path.to_string_lossy()), ("PROGRAM", program)];
        let unshare = ["--net", "--mount", "--uts", "--propagation", "private"];
        let holder = Holder::start(&unshare, BECOME_A_HOST, &variables)?;
        let node = Self { name: name.to_owned(), holder, directory };
        let bin = node.directory.path().join("bin");
        node.run(&format!("isospin links {}", bin.display()))?;
        let port = format!("to-{}", node.holder.child.id());
        let inside = node.namespace().path().display().to_string();
        run(&lan.namespace(), "ip", &format!("link add {port} master lan up type veth peer name eth0 netns {inside}"))?;
        node.run(&format!("ip address add {address} dev eth0"))?;
        node.run("ip link set eth0 up")?;
        Ok(node)
    }

    /// Its network.
    pub fn namespace(&self) -> Namespace {
        self.holder.namespace()
    }

    /// Writes a file below `/etc/neutron`.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        Ok(fs::write(self.directory.path().join("etc/neutron").join(name), contents)?)
    }

    /// Makes a link below `/etc/neutron`.
    pub fn link(&self, name: &str, to: &str) -> Result<()> {
        Ok(std::os::unix::fs::symlink(to, self.directory.path().join("etc/neutron").join(name))?)
    }

    /// A command on this host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.child.id().to_string(), "--net", "--mount", "--uts", "--", program]);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.directory.path().join("bin").display()));
        command.stdin(Stdio::null());
        command
    }

    /// Runs words parted by spaces, whatever comes of it.
    pub fn attempt(&self, words: &str) -> Result<Output> {
        let mut words = words.split(' ');
        Ok(self.command(words.next().unwrap_or_default()).args(words).output()?)
    }

    /// Runs words parted by spaces; they must succeed. What they print.
    pub fn run(&self, words: &str) -> Result<String> {
        succeeded(words, &self.attempt(words)?)
    }

    /// Starts a service, which logs to a file of that name.
    pub fn spawn(&self, name: &str, words: &str) -> Result<Process> {
        let log = self.directory.path().join(format!("{name}.log"));
        let file = fs::File::options().create(true).append(true).open(&log)?;
        let mut words = words.split(' ');
        let mut command = self.command(words.next().unwrap_or_default());
        command.args(words).stdout(file.try_clone()?).stderr(file);
        Ok(Process { child: command.spawn()?, log })
    }

    /// Has a server that runs elsewhere answer on an address of this host.
    pub fn forward(&self, from: SocketAddr, to: SocketAddr) -> Result<()> {
        let listener = self.namespace().run(|| TcpListener::bind(from))??;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || relay(stream, to));
            }
        });
        Ok(())
    }

    /// Plugs in an instance as a hypervisor would.
    pub fn plug(&self, port: &Value) -> Result<Plugged> {
        let holder = Holder::start(&["--net", "--mount"], "ip link set lo up; echo ready; exec cat >/dev/null", &[])?;
        let directory = tempfile::Builder::new().prefix("isospin-instance-").tempdir()?;
        let instance = Instance::new(holder.namespace(), tap(port), directory.path());
        let plugged = Plugged { instance, _holder: holder, _directory: directory };
        self.plug_again(&plugged, port)?;
        Ok(plugged)
    }

    /// Plugs in an instance that is unplugged elsewhere, as a migration does. Its card is a new one.
    pub fn plug_again(&self, plugged: &Plugged, port: &Value) -> Result<()> {
        let instance = &plugged.instance;
        let (mac, inside) = (text(port, "mac_address"), instance.namespace.path().display().to_string());
        let cable = format!("link add {} up type veth peer name eth0 address {mac} netns {inside}", instance.tap);
        run(&self.namespace(), "ip", &cable).map(drop)
    }

    /// Namespaces, bridges, taps and tunnels of agents on this host, one a line.
    pub fn left_behind(&self) -> Vec<String> {
        let links = self.run("ip -brief link show").unwrap_or_default();
        let of_agents = |line: &&str| ["brq", "tap", "ns-", "vxlan-"].iter().any(|prefix| line.starts_with(prefix));
        let namespaces = self.run("ip netns list").unwrap_or_default();
        let found = links.lines().filter(of_agents).chain(namespaces.lines());
        found.map(|line| format!("{} {line}", self.name)).collect()
    }

    /// Everything that agents may make on this host, one a line: links, namespaces, rules, sets, tracked connections of
    /// networks, files and programs.
    pub fn inventory(&self) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for (kind, words, columns) in INVENTORY {
            let said = self.run(words)?;
            let lines = said.lines().filter(|line| !is_of_nobody(kind, line));
            // Other columns say how things are, not what.
            let shown = |line: &str| line.split_whitespace().take(columns).collect::<Vec<_>>().join(" ");
            found.extend(lines.map(|line| format!("{kind} {}", shown(line))));
        }
        for pid in self.holder.processes() {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            found.extend(PROGRAMS.contains(&name.trim()).then(|| format!("program {}", name.trim())));
        }
        Ok(found)
    }

    /// Takes an instance out.
    pub fn unplug(&self, plugged: &Plugged) -> Result<()> {
        run(&self.namespace(), "ip", &format!("link delete {}", plugged.instance.tap)).map(drop)
    }
}

impl Process {
    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has logged something.
    pub fn until_logged(&self, what: &str) -> Result<()> {
        ensure!(wait::until(PATIENCE, || self.log().contains(what)), "'{what}' was not logged: {}", self.log());
        Ok(())
    }

    /// Waits until it has ended by itself; its exit code.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        let mut status = None;
        wait::until(PATIENCE, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        Ok(status.with_context(|| format!("it still runs: {}", self.log()))?.code())
    }

    /// Ends it as an operator does.
    pub fn stop(mut self) -> Result<()> {
        signal(self.child.id(), Signal::SIGTERM)?;
        let code = self.ended()?;
        ensure!(code == Some(0), "it ended with {code:?}: {}", self.log());
        Ok(())
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `inventory` lists that no agent made for anything in particular.
fn is_of_nobody(kind: &str, line: &str) -> bool {
    match kind {
        // Remarks, and what is there once a tool has been used: its tables, and what the kernel calls.
        "iptables" | "ip6tables" | "ebtables" => {
            line.starts_with(['#', '*', ':']) && !line.contains(":neutron") || line == "COMMIT"
        }
        "nft" => ["raw", "mangle", "nat", "filter"].iter().any(|table| line.ends_with(table)),
        "connection" => !line.contains(" zone="),
        "file" => DIRECTORIES.contains(&line),
        _ => false,
    }
}

/// What a command printed, if it succeeded.
pub fn succeeded(what: &str, output: &Output) -> Result<String> {
    let (said, problem) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{what}: {} {said} {problem}", output.status);
    Ok(said.into_owned())
}

/// Adds the account of the services to a copy of `/etc`, unless the machine has it.
fn add_account(etc: &Path) -> Result<()> {
    let lines = [
        ("passwd", format!("{ACCOUNT}:x:64123:64123::/var/lib/neutron:/usr/sbin/nologin\n")),
        ("group", format!("{ACCOUNT}:x:64123:\n")),
        ("shadow", format!("{ACCOUNT}:!:20000:0:99999:7:::\n")),
    ];
    for (name, line) in lines {
        let path = etc.join(name);
        if !fs::read_to_string(&path)?.lines().any(|line| line.starts_with(&format!("{ACCOUNT}:"))) {
            fs::OpenOptions::new().append(true).open(&path)?.write_all(line.as_bytes())?;
        }
    }
    Ok(())
}

/// Carries bytes both ways until one side ends.
fn relay(near: TcpStream, to: SocketAddr) {
    let Ok(far) = TcpStream::connect_timeout(&to, Duration::from_secs(5)) else { return };
    // Each waiting for the other's acknowledgement would make 40 ms of a statement.
    let (Ok(()), Ok(())) = (near.set_nodelay(true), far.set_nodelay(true)) else { return };
    let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { return };
    let back = thread::spawn(move || carry(far_too, near_too));
    carry(near, far);
    let _ = back.join();
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// An address with a port.
pub fn at(address: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse::<IpAddr>()?, port))
}
