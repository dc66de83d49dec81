//! A measurement: how long it takes until a new member of a large group is let in by other hosts, and what these touch
//! for it.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::{
    cloud::{Cloud, HOSTS, Plan},
    deployment::Plugged,
    host::run,
    http::{Client, id, text},
    wait,
};

const MEMBERS: usize = 2_000;
const TIMES: usize = 20;
const PORT: u16 = 7000;
/// How often a datagram is sent.
const PULSE: Duration = Duration::from_micros(500);
/// How long anything may take at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// No datagram for so long: none comes any more.
const SILENCE: Duration = Duration::from_millis(300);

/// Who wants in, and those at whose hosts it does.
struct Stage {
    cloud: Cloud,
    asker: Value,
    asking: Plugged,
    /// Which group has the members, and which has none but the one who asks.
    crowd: String,
    alone: String,
    doors: Vec<Door>,
}

/// An instance that lets members of the group in.
struct Door {
    host: &'static str,
    at: SocketAddr,
    socket: UdpSocket,
    _plugged: Plugged,
}

/// What one round took: from the call's start and from its answer.
struct Took {
    from_call: Duration,
    from_answer: Duration,
}

pub(super) fn run_all(program: &str) -> Result<()> {
    let stage = Stage::set(Plan::new(program).start()?)?;
    let mut all = Vec::new();
    for _ in 0..TIMES {
        all.push(stage.round()?);
    }
    for (what, of) in [
        ("the call's start", (|took| took.from_call) as fn(&Took) -> Duration),
        ("its answer", |took| took.from_answer),
    ] {
        let mut times: Vec<Duration> = all.iter().map(of).collect();
        times.sort();
        println!(
            "a member of {MEMBERS} is let in on {} hosts, from {what}: median {:?}, longest {:?} of {TIMES}",
            stage.doors.len(),
            times[times.len() / 2],
            times[times.len() - 1]
        );
    }
    println!("each host touched one element of one set each time");
    Ok(())
}

impl Stage {
    fn set(cloud: Cloud) -> Result<Self> {
        let api = cloud.api();
        let network = id(&api.create("networks", json!({"name": "n"}))?);
        let subnet = json!({"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16", "enable_dhcp": false});
        api.create("subnets", subnet)?;
        let group = |name: &str| api.create("security-groups", json!({"name": name})).map(|group| id(&group));
        let (crowd, alone, door) = (group("crowd")?, group("alone")?, group("door")?);
        api.create(
            "security-group-rules",
            json!({
                "security_group_id": door, "direction": "ingress", "ethertype": "IPv4", "protocol": "udp",
                "remote_group_id": crowd,
            }),
        )?;
        let member =
            |number: usize| json!({"network_id": network, "name": format!("m{number}"), "security_groups": [crowd]});
        for chunk in (0..MEMBERS).collect::<Vec<_>>().chunks(100) {
            api.create_all("ports", chunk.iter().copied().map(member).collect())?;
        }
        let (asker, asking) = boot(&cloud, &network, HOSTS[0], &alone)?;
        let mut doors = Vec::new();
        for host in &HOSTS[1..] {
            let (port, plugged) = boot(&cloud, &network, host, &door)?;
            let listen = || UdpSocket::bind(("0.0.0.0", PORT));
            let socket = plugged.instance.namespace.run(listen)??;
            socket.set_read_timeout(Some(SILENCE))?;
            let at = SocketAddr::new(text(&port["fixed_ips"][0], "ip_address").parse()?, PORT);
            doors.push(Door { host, at, socket, _plugged: plugged });
        }
        Ok(Self { cloud, asker, asking, crowd, alone, doors })
    }

    /// It becomes a member, is let in, and is a member no more.
    fn round(&self) -> Result<Took> {
        let before: Vec<Seen> = self.doors.iter().map(|door| self.seen(door.host)).collect::<Result<_>>()?;
        self.doors.iter().try_for_each(|door| silent(&door.socket))?;
        let (api, ends) = (self.cloud.api(), AtomicBool::new(false));
        let took = thread::scope(|scope| {
            scope.spawn(|| self.knock(&ends));
            let waiting: Vec<_> = self.doors.iter().map(|door| scope.spawn(|| first(&door.socket))).collect();
            let began = Instant::now();
            let asked = self.groups(&api, &[&self.alone, &self.crowd]);
            let answered = Instant::now();
            let arrived = waiting.into_iter().map(|thread| thread.join().ok().context("a thread ended")?);
            let arrived = arrived.collect::<Result<Vec<_>>>();
            ends.store(true, Ordering::Relaxed);
            asked?;
            let last = arrived?.into_iter().max().context("there are hosts")?;
            anyhow::Ok(Took { from_call: last - began, from_answer: last.saturating_duration_since(answered) })
        })?;
        for (Door { host, .. }, before) in self.doors.iter().zip(before) {
            let now = self.seen(host)?;
            let changes = &now.changes[before.changes.len()..];
            ensure!(changes.len() == 1 && changes[0].contains("lines=1"), "{host} changed more: {changes:#?}");
            let more: Vec<_> = now.elements.iter().filter(|element| !before.elements.contains(element)).collect();
            ensure!(more.len() == 1 && now.elements.len() == before.elements.len() + 1, "{host} has {more:?} more");
        }
        let within = self.elements()?;
        self.groups(&api, &[&self.alone])?;
        ensure!(
            wait::until(PATIENCE, || self.elements().is_ok_and(|now| now + self.doors.len() == within)),
            "it stays a member"
        );
        Ok(took)
    }

    fn groups(&self, api: &Client, groups: &[&String]) -> Result<()> {
        api.update("ports", &id(&self.asker), json!({"security_groups": groups})).map(drop)
    }

    /// Sends datagrams, from a socket of its own, until it is told to end.
    fn knock(&self, ends: &AtomicBool) -> Result<()> {
        let socket = self.asking.instance.namespace.run(|| UdpSocket::bind(("0.0.0.0", 0)))??;
        while !ends.load(Ordering::Relaxed) {
            for door in &self.doors {
                // Until its neighbour is known a datagram may be refused.
                let _ = socket.send_to(b"let me in", door.at);
            }
            thread::sleep(PULSE);
        }
        Ok(())
    }

    fn seen(&self, host: &'static str) -> Result<Seen> {
        let log = self.cloud.agent(host, "linuxbridge").context("it runs")?.log();
        let changes = log.lines().filter(|line| line.contains("rules change")).map(str::to_owned).collect();
        let elements = self.cloud.node(host).run("ipset save")?.lines().map(str::to_owned).collect();
        Ok(Seen { changes, elements })
    }

    /// Elements of the sets of all hosts that let somebody in.
    fn elements(&self) -> Result<usize> {
        let of = |door: &Door| self.seen(door.host).map(|seen| seen.elements.len());
        self.doors.iter().map(of).sum()
    }
}

/// What a host has in its sets, and what its agent has said that it changed.
struct Seen {
    changes: Vec<String>,
    elements: Vec<String>,
}

/// Reads away what is left of the round before.
fn silent(socket: &UdpSocket) -> Result<()> {
    let (mut words, began) = ([0; 16], Instant::now());
    while socket.recv(&mut words).is_ok() {
        ensure!(began.elapsed() < PATIENCE, "who is no member is let in");
    }
    Ok(())
}

/// When the first datagram came.
fn first(socket: &UdpSocket) -> Result<Instant> {
    let (mut words, began) = ([0; 16], Instant::now());
    while began.elapsed() < PATIENCE {
        if socket.recv(&mut words).is_ok() {
            return Ok(Instant::now());
        }
    }
    anyhow::bail!("nobody was let in")
}

fn boot(cloud: &Cloud, network: &str, host: &str, group: &str) -> Result<(Value, Plugged)> {
    let attributes = json!({
        "network_id": network, "binding:host_id": host, "device_id": "vm", "device_owner": "compute:nova",
        "security_groups": [group],
    });
    let port = cloud.api().create("ports", attributes)?;
    let plugged = cloud.node(host).plug(&port)?;
    let inside = &plugged.instance.namespace;
    let address = text(&port["fixed_ips"][0], "ip_address");
    run(inside, "ip", "link set eth0 mtu 1450 up")?;
    run(inside, "ip", &format!("address add {address}/16 dev eth0"))?;
    cloud.until_active(&[id(&port)])?;
    Ok((port, plugged))
}
