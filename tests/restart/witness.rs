//! What a restart must not touch: packets on their way, and everything that there is in the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kernel::Namespace;
use testkit::host::{Instance, Pings, run};

use super::scene::Scene;

/// The time between two messages of a flow.
const PACE: Duration = Duration::from_millis(5);
const PORT: u16 = 7000;

/// Packets on all ways: pings, and a connection by which one end sends what the other sends back.
pub(super) struct Traffic {
    pings: Vec<(String, Pings)>,
    flows: Vec<Flow>,
}

struct Flow {
    from: Namespace,
    to: String,
    resent: u64,
    stop: Arc<AtomicBool>,
    client: JoinHandle<Result<usize>>,
    server: JoinHandle<Result<()>>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Pings, and how many had no answer.
    pub(super) pings: u32,
    pub(super) lost: u32,
    /// Messages that came back by TCP, and segments that were sent twice.
    pub(super) messages: usize,
    pub(super) resent: u64,
}

impl Traffic {
    /// From now on.
    pub(super) fn start(scene: &Scene) -> Result<Self> {
        let mut traffic = Self { pings: Vec::new(), flows: Vec::new() };
        let ends = [&scene.two, &scene.far, &scene.one];
        for (number, ((from, to), end)) in scene.ways().into_iter().zip(ends).enumerate() {
            let port = PORT + u16::try_from(number)?;
            traffic.pings.push((to.clone(), from.pings(&to)?));
            traffic.flows.push(Flow::start(from, &end.instance, &to, port)?);
        }
        Ok(traffic)
    }

    /// Until now.
    pub(super) fn stop(self) -> Result<Passed> {
        let mut passed = Passed::default();
        for (to, pings) in self.pings {
            let (sent, answered) = pings.stop().with_context(|| format!("pings to {to}"))?;
            passed.lost += sent - answered;
            passed.pings += sent;
        }
        for flow in self.flows {
            let to = flow.to.clone();
            let (messages, resent) = flow.stop().with_context(|| format!("the connection to {to}"))?;
            passed.messages += messages;
            passed.resent += resent;
        }
        Ok(passed)
    }
}

impl Flow {
    fn start(from: &Instance, end: &Instance, to: &str, port: u16) -> Result<Self> {
        let listener = end.namespace.run(|| TcpListener::bind(("0.0.0.0", port)))??;
        let server = thread::spawn(move || echo(&listener));
        let connection = from.namespace.run(|| TcpStream::connect((to, port)))??;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        let resent = resent(&from.namespace)?;
        let stop = Arc::new(AtomicBool::new(false));
        let client = thread::spawn({
            let stop = Arc::clone(&stop);
            move || talk(connection, &stop)
        });
        Ok(Self { from: from.namespace.clone(), to: to.to_owned(), resent, stop, client, server })
    }

    fn stop(self) -> Result<(usize, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let messages = self.client.join().ok().context("the client ended")??;
        self.server.join().ok().context("the server ended")??;
        Ok((messages, resent(&self.from)? - self.resent))
    }
}

fn echo(listener: &TcpListener) -> Result<()> {
    let (mut connection, _) = listener.accept()?;
    connection.set_nodelay(true)?;
    let mut message = [0; 8];
    while connection.read_exact(&mut message).is_ok() {
        connection.write_all(&message)?;
    }
    Ok(())
}

fn talk(mut connection: TcpStream, stop: &AtomicBool) -> Result<usize> {
    let mut messages: usize = 0;
    while !stop.load(Ordering::Relaxed) {
        let message = messages.to_be_bytes();
        connection.write_all(&message)?;
        let mut answer = [0; 8];
        connection.read_exact(&mut answer)?;
        ensure!(answer == message, "another answer came back");
        messages += 1;
        thread::sleep(PACE);
    }
    Ok(messages)
}

/// Segments of TCP that were sent again inside.
fn resent(inside: &Namespace) -> Result<u64> {
    let text = String::from_utf8(run(inside, "cat", "/proc/net/snmp")?.stdout)?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, value) = columns.find(|(name, _)| *name == "RetransSegs").context("RetransSegs")?;
    Ok(value.parse()?)
}

/// Everything in the kernel that agents make, with the numbers by which a thing that was made anew would differ: links,
/// addresses, routes and rules of the host and of every namespace, and the processes and files beside them.
pub(super) fn everything(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let names = scene.networks.iter().map(|id| format!("qdhcp-{id}"));
    let names = names.chain(scene.routers.iter().map(|id| format!("qrouter-{id}")));
    let namespaces = names.map(|name| (name.clone(), kernel::System::current().namespace(&name)));
    let namespaces = namespaces.filter(|(_, namespace)| namespace.identity().is_some());
    for (name, namespace) in namespaces.chain([("the host".to_owned(), scene.host.root())]) {
        all.extend(inside(&namespace)?.into_iter().map(|(what, text)| (format!("{what} in {name}"), text)));
    }
    for line in scene.host.inventory(&scene.networks)? {
        all.insert(line, String::new());
    }
    Ok(all)
}

/// One program for each namespace, as there are many.
fn inside(namespace: &Namespace) -> Result<Vec<(&'static str, String)>> {
    const SCRIPT: &str = "for what in 'ip -oneline link' 'ip -oneline address' 'ip -oneline route show table all' \
         'ip -oneline -6 route show table all' 'nft -a list ruleset' 'ebtables-save' 'ipset save'; do $what; echo @; done";
    const PARTS: [&str; 7] = ["links", "addresses", "routes", "routes of IPv6", "rules", "rules of frames", "sets"];
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]);
    let output = namespace.run(|| command.output())?.context("sh is not installed")?;
    let text = String::from_utf8(output.stdout)?;
    Ok(PARTS.into_iter().zip(text.split("@\n").map(without_figures)).collect())
}

/// What counters count is not what was made, nor are link-local addresses, which the kernel gives out in its own time.
/// Members of sets come in any order.
fn without_figures(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.contains(" fe80:")) {
        let mut words: Vec<&str> = line.split(' ').collect();
        for index in 0..words.len().saturating_sub(1) {
            if matches!(words[index], "packets" | "bytes") {
                words[index + 1] = "_";
            }
        }
        lines.push(words.join(" "));
    }
    if lines.iter().any(|line| line.starts_with("create ")) {
        lines.sort();
    }
    lines.join("\n")
}

/// What is not the same in both, by lines.
pub(super) fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut all = Vec::new();
    for name in names {
        let lines = |of: &BTreeMap<String, String>| -> Option<BTreeSet<String>> {
            Some(of.get(name)?.lines().map(str::to_owned).collect())
        };
        let (was, is) = (lines(before), lines(after));
        if was == is {
            continue;
        }
        let (was, is) = (was.unwrap_or_default(), is.unwrap_or_default());
        let [gone, new] = [was.difference(&is), is.difference(&was)].map(Vec::from_iter);
        all.push(format!("{name}: gone {gone:?}, new {new:?}"));
    }
    all
}
