//! Random calls of the API, random plugging of instances and random kills of the service end in the state that the API
//! describes, and that a fresh agent leaves as it is. Needs root.
//!
//! `ISOSPIN_SEQUENCES` is how many sequences are run (20 unless said otherwise), `ISOSPIN_SEED` the number of the first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{
    dice::Dice,
    host::{Host, Instance, NAME, Shown, bridge, tap},
    http::{Client, id, text},
    process::{Signal, signal},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
/// Steps of a sequence.
const STEPS: u32 = 14;
/// How long the host may take to come to rest.
const REST: Duration = Duration::from_secs(90);

/// In a namespace of its own, where every port is free.
const METRICS: &str = "127.0.0.1:9698";
/// How long nothing may change for the host to be at rest.
const QUIET: Duration = Duration::from_millis(300);

/// One sequence: what it has made, and which cards are plugged in.
struct Sequence<'a> {
    host: &'a mut Host,
    client: Client,
    dice: Dice,
    networks: Vec<String>,
    /// Every network that ever was.
    known: Vec<String>,
    instances: BTreeMap<String, Instance>,
    /// Ports whose cards were taken out while no agent saw it: nobody tells that they are DOWN, with upstream neither.
    unseen: BTreeSet<String>,
    count: usize,
    told: Vec<String>,
}

/// What is on the host, as far as the agents look after it.
#[derive(Debug, PartialEq, Eq, Default)]
struct State {
    /// Bridges by name, and their MTU.
    bridges: BTreeMap<String, u64>,
    /// Taps by name.
    taps: BTreeMap<String, Shown>,
    /// Networks with a namespace, the MTU that their dnsmasq tells, and their addresses by MAC.
    served: BTreeMap<String, (u64, BTreeSet<(String, String)>)>,
    /// Networks with a directory.
    directories: BTreeSet<String>,
}

impl Sequence<'_> {
    fn step(&mut self) {
        self.count += 1;
        let number = self.count;
        match self.dice.below(12) {
            0 | 1 => self.create_network(),
            2..=4 => self.create_port(),
            5 => self.plug(),
            6 => self.unplug(),
            7 => self.update_port(),
            8 => self.delete_port(),
            9 => self.update_network(number),
            10 => self.delete_network(),
            _ => self.kill(),
        }
    }

    fn tell(&mut self, what: String) {
        self.told.push(what);
    }

    fn create_network(&mut self) {
        if self.networks.len() >= 3 {
            return;
        }
        let network = id(&self.client.create("networks", json!({})).unwrap());
        self.tell(format!("create network {network}"));
        self.networks.push(network.clone());
        self.known.push(network.clone());
        let subnet = json!({"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"});
        self.client.create("subnets", subnet).unwrap();
    }

    fn create_port(&mut self) {
        let Some(network) = self.dice.pick(&self.networks).cloned() else { return };
        let attributes = json!({
            "network_id": network, "binding:host_id": NAME, "device_id": "vm", "device_owner": "compute:nova",
        });
        let port = self.client.create("ports", attributes).unwrap();
        self.tell(format!("create port {} on {network}", id(&port)));
        if self.dice.below(3) > 0 {
            self.plug_port(&port);
        }
    }

    /// Ports of instances, as the API has them now.
    fn ports(&self) -> Vec<Value> {
        self.client.list("ports", "?device_id=vm").unwrap()
    }

    fn plug(&mut self) {
        let ports = self.ports();
        let free: Vec<&Value> = ports.iter().filter(|port| !self.instances.contains_key(&id(port))).collect();
        if let Some(port) = self.dice.pick(&free).copied() {
            self.plug_port(port);
        }
    }

    fn plug_port(&mut self, port: &Value) {
        self.tell(format!("plug {}", id(port)));
        self.unseen.remove(&id(port));
        let instance = self.host.plug(&format!("vm-{}", id(port)), port).unwrap();
        self.instances.insert(id(port), instance);
    }

    fn unplug(&mut self) {
        let plugged: Vec<String> = self.instances.keys().cloned().collect();
        if let Some(port) = self.dice.pick(&plugged).cloned() {
            self.unplug_port(&port);
        }
    }

    fn unplug_port(&mut self, port: &str) {
        self.tell(format!("unplug {port}"));
        if !self.has_looked() {
            self.unseen.insert(port.to_owned());
        }
        self.host.unplug(&self.instances.remove(port).unwrap()).unwrap();
    }

    /// Whether the agent has looked around since the service was started last: else it may not have seen a card.
    fn has_looked(&self) -> bool {
        let page = Client::new(METRICS, self.host.root()).send("GET", "/metrics", &[], None);
        let settled = "isospin_agent_settled_seconds_count{agent=\"linuxbridge\"} 1";
        page.is_ok_and(|page| page.text().lines().any(|line| line == settled))
    }

    fn update_port(&mut self) {
        let ports = self.ports();
        let Some(port) = self.dice.pick(&ports).map(id) else { return };
        let change = match self.dice.below(2) {
            0 => json!({"admin_state_up": self.dice.below(2) == 0}),
            _ => json!({"extra_dhcp_opts": [{"opt_name": "ntp-server", "opt_value": "192.0.2.7"}]}),
        };
        self.tell(format!("update port {port} {change}"));
        self.client.update("ports", &port, change).unwrap();
    }

    /// As Nova does it: the card goes, then the port; or the other way round.
    fn delete_port(&mut self) {
        let ports = self.ports();
        let Some(port) = self.dice.pick(&ports).map(id) else { return };
        let first = self.dice.below(2) == 0;
        if first && self.instances.contains_key(&port) {
            self.unplug_port(&port);
        }
        self.tell(format!("delete port {port}"));
        self.client.delete("ports", &port).unwrap();
        if self.instances.contains_key(&port) {
            self.unplug_port(&port);
        }
    }

    fn update_network(&mut self, number: usize) {
        let Some(network) = self.dice.pick(&self.networks).cloned() else { return };
        self.tell(format!("update network {network}"));
        if self.dice.below(2) == 0 {
            self.client.update("networks", &network, json!({"mtu": 1300 + number})).unwrap();
            return;
        }
        let subnets = self.client.list("subnets", &format!("?network_id={network}")).unwrap();
        let Some(subnet) = subnets.first() else { return };
        let change = json!({"enable_dhcp": subnet["enable_dhcp"] == false});
        self.client.update("subnets", &id(subnet), change).unwrap();
    }

    fn delete_network(&mut self) {
        if self.networks.len() < 2 {
            return;
        }
        let network = self.networks.remove(self.dice.below(self.networks.len()));
        self.remove(&network);
    }

    fn remove(&mut self, network: &str) {
        for port in self.ports().iter().filter(|port| port["network_id"] == network).map(id) {
            if self.instances.contains_key(&port) {
                self.unplug_port(&port);
            }
            self.client.delete("ports", &port).unwrap();
        }
        self.tell(format!("delete network {network}"));
        self.client.delete("networks", network).unwrap();
    }

    fn kill(&mut self) {
        let dnsmasq = self.networks.iter().find_map(|network| self.host.dnsmasq(network));
        if let (Some(pid), 0) = (dnsmasq, self.dice.below(3)) {
            self.tell(format!("kill dnsmasq {pid}"));
            let _ = signal(pid, Signal::SIGKILL);
            return;
        }
        self.tell("kill the service".to_owned());
        // Of a card that was taken out just now the agent may not have told yet.
        let untold = self.wrong_statuses().into_iter().map(|(port, _)| port);
        self.unseen.extend(untold.filter(|port| !self.instances.contains_key(port)).collect::<Vec<_>>());
        self.host.service.kill().unwrap();
        if self.dice.below(2) == 0 {
            // What happens while nobody looks.
            self.unplug();
        }
        self.host.service.start().unwrap();
        self.client = self.host.client();
    }

    /// What the API says that there must be.
    fn wanted(&self) -> State {
        let mut state = State::default();
        let networks = self.client.list("networks", "").unwrap();
        let ports = self.client.list("ports", "").unwrap();
        let subnets = self.client.list("subnets", "?enable_dhcp=true").unwrap();
        let mtu = |port: &Value| {
            let network = networks.iter().find(|network| network["id"] == port["network_id"]).unwrap();
            network["mtu"].as_u64().unwrap()
        };
        let served = networks.iter().filter(|n| subnets.iter().any(|subnet| subnet["network_id"] == n["id"]));
        for (network, mtu) in served.map(|network| (id(network), network["mtu"].as_u64().unwrap())) {
            let ports = ports.iter().filter(|port| port["network_id"] == *network);
            let hosts = ports.filter(|port| port["device_owner"] != "network:dhcp");
            let hosts = hosts.map(|port| (text(port, "mac_address"), text(&port["fixed_ips"][0], "ip_address")));
            state.served.insert(network.clone(), (mtu, hosts.collect()));
            state.directories.insert(network);
        }
        for port in &ports {
            let is_dhcp = port["device_owner"] == "network:dhcp";
            if self.instances.contains_key(&id(port)) || is_dhcp {
                let bridge = bridge(&text(port, "network_id"));
                state.bridges.insert(bridge.clone(), mtu(port));
                let up = port["admin_state_up"] == true;
                state.taps.insert(tap(port), Shown { master: Some(bridge), mtu: mtu(port), up });
            }
        }
        state
    }

    /// What there is.
    fn actual(&self) -> State {
        let mut state = State::default();
        for (name, shown) in self.host.links().unwrap() {
            if name.starts_with("brq") {
                state.bridges.insert(name, shown.mtu);
            } else if name.starts_with("tap") {
                state.taps.insert(name, shown);
            }
        }
        // The bridge of a network that lives stays for a while after its last tap, in case the next one is on its way.
        let empty = |bridge: &String| !state.taps.values().any(|tap| tap.master.as_ref() == Some(bridge));
        for spare in self.networks.iter().map(|network| bridge(network)).filter(empty).collect::<Vec<_>>() {
            state.bridges.remove(&spare);
        }
        let inventory = self.host.inventory(&self.known).unwrap();
        for network in inventory.iter().filter_map(|line| line.strip_prefix("namespace qdhcp-")) {
            let told = match self.host.dnsmasq(network) {
                Some(pid) => (told_mtu(pid), self.hosts(network)),
                None => (0, BTreeSet::from([("no".to_owned(), "dnsmasq".to_owned())])),
            };
            state.served.insert(network.to_owned(), told);
        }
        let directories = fs::read_dir(self.host.service.state_dir().join("dhcp")).into_iter().flatten().flatten();
        state.directories = directories.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        state
    }

    /// The addresses that dnsmasq hands out, by MAC, but for its own.
    fn hosts(&self, network: &str) -> BTreeSet<(String, String)> {
        let file = self.host.service.state_dir().join("dhcp").join(network).join("host");
        let text = fs::read_to_string(file).unwrap_or_default();
        let own: BTreeSet<String> = {
            let query = format!("?network_id={network}&device_owner=network:dhcp");
            self.client.list("ports", &query).unwrap().iter().map(|port| self::text(port, "mac_address")).collect()
        };
        let line = |line: &str| {
            let mut words = line.split(',');
            let mac = words.next()?.to_owned();
            let address = words.find(|word| word.parse::<std::net::Ipv4Addr>().is_ok())?.to_owned();
            Some((mac, address))
        };
        text.lines().filter_map(line).filter(|(mac, _)| !own.contains(mac)).collect()
    }

    /// Waits until the host is as the API says, and stays so for a moment.
    fn settles(&self, when: &str, seed: u64) {
        let began = Instant::now();
        loop {
            let (wanted, actual) = (self.wanted(), self.actual());
            let statuses = self.wrong_statuses();
            if wanted == actual && statuses.is_empty() {
                return;
            }
            if began.elapsed() > REST {
                let told = self.told.join("\n  ");
                panic!(
                    "seed {seed}, {when}, after\n  {told}\nwanted {wanted:?}\nactual {actual:?}\nnot so {statuses:?}"
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ports that are not ACTIVE though their cards are plugged in and switched on, or are though not.
    fn wrong_statuses(&self) -> Vec<(String, String)> {
        let is_wrong = |port: &Value| {
            let works = self.instances.contains_key(&id(port)) && port["admin_state_up"] == true;
            (port["status"] == "ACTIVE") != works && !self.unseen.contains(&id(port))
        };
        self.ports().iter().filter(|port| is_wrong(port)).map(|port| (id(port), text(port, "status"))).collect()
    }

    fn run(&mut self, seed: u64) {
        for _ in 0..STEPS {
            self.step();
        }
        self.settles("at rest", seed);
        let (before, dnsmasqs) = self.quiet();
        self.host.service.kill().unwrap();
        self.host.service.start().unwrap();
        self.client = self.host.client();
        self.host.until_agents_live().unwrap();
        self.settles("before a fresh agent", seed);
        assert_eq!(
            (before, dnsmasqs),
            (self.actual(), self.dnsmasqs()),
            "seed {seed}: a fresh agent changed something"
        );
        for network in std::mem::take(&mut self.networks) {
            self.remove(&network);
        }
        self.settles("everything deleted", seed);
    }

    /// The state and the processes once they have stayed as they are for a moment: an option that is still on its way
    /// to a dnsmasq is not seen otherwise.
    fn quiet(&self) -> (State, Vec<Option<u32>>) {
        let (began, mut since) = (Instant::now(), Instant::now());
        let mut last = (self.actual(), self.dnsmasqs());
        while since.elapsed() < QUIET && began.elapsed() < REST {
            std::thread::sleep(Duration::from_millis(20));
            let now = (self.actual(), self.dnsmasqs());
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        last
    }

    fn dnsmasqs(&self) -> Vec<Option<u32>> {
        self.networks.iter().map(|network| self.host.dnsmasq(network)).collect()
    }
}

/// The MTU in the arguments of a dnsmasq, with which it was started.
fn told_mtu(dnsmasq: u32) -> u64 {
    let arguments = fs::read(format!("/proc/{dnsmasq}/cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments).into_owned();
    let mtu = arguments.split('\0').find_map(|word| word.strip_prefix("--dhcp-option-force=option:mtu,"));
    mtu.and_then(|mtu| mtu.parse().ok()).unwrap_or_default()
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn random_sequences_end_in_the_state_that_the_api_describes() {
    let (sequences, first) = (variable("ISOSPIN_SEQUENCES", 20), variable("ISOSPIN_SEED", 1));
    let options = format!("[quotas]\nquota_port = -1\n[isospin]\nmetrics_bind = {METRICS}\n");
    let mut host = Host::start(PROGRAM, &options).unwrap();
    let before = host.inventory(&[]).unwrap();
    let began = Instant::now();
    let mut known = Vec::new();
    let (mut steps, mut kills) = (0, 0);
    for seed in first..first + sequences {
        let client = host.client();
        let mut sequence = Sequence {
            host: &mut host,
            client,
            dice: Dice(seed),
            networks: Vec::new(),
            known: std::mem::take(&mut known),
            instances: BTreeMap::new(),
            unseen: BTreeSet::new(),
            count: 0,
            told: Vec::new(),
        };
        sequence.run(seed);
        steps += sequence.told.len();
        kills += sequence.told.iter().filter(|what| what.starts_with("kill")).count() + 1;
        known = sequence.known;
    }
    println!("{sequences} sequences, {steps} steps and {kills} kills in {:?}", began.elapsed());
    assert_eq!(host.inventory(&known).unwrap(), before);
}
