//! The agent on a kernel with 802.1Q while anything happens to its VLAN networks, in any order: each sequence ends with
//! the links that a fresh agent would make, with frames that go where their tags say, and with nothing left in the end.

use std::collections::BTreeMap;

use kernel::testing::Wire;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;

use super::*;

/// VLAN id of each network; the last is the untagged one below them.
const NETWORKS: [Option<u16>; 3] = [Some(101), Some(102), None];
const PORTS: usize = 5;
const GRACE: Duration = Duration::from_millis(100);
/// No new sequence begins after this, and none is looked for that fails sooner, unless `ISOSPIN_SEQUENCES` says how many.
const ENOUGH: Duration = Duration::from_secs(120);
/// The far end of the uplink, in the namespace of the instances, and the bridge above it, which has what it brings without
/// a tag.
const TRUNK: &str = "trunk";
const UNTAGGED: &str = "untagged";
/// An EtherType for experiments.
const MARK: [u8; 2] = [0x88, 0xb5];

/// Anything that can happen, by number of port or network.
#[derive(Debug, Clone)]
enum Step {
    Plug(usize),
    Unplug(usize),
    Replace(usize),
    ToggleAdminState(usize),
    ChangeMtu(usize, u32),
    TakeFromBridge(usize),
    DeleteBridge(usize),
    DeleteUplink(usize),
    TakeUplinkFromBridge(usize),
    SwitchUplinkOff(usize),
    SwitchInterfaceOff,
    ReplaceInterface,
    RefuseServer,
    Restart,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (port, network) = (0..PORTS, 0..NETWORKS.len());
    prop_oneof![
        9 => port.clone().prop_map(Step::Plug),
        6 => port.clone().prop_map(Step::Unplug),
        3 => port.clone().prop_map(Step::Replace),
        3 => port.clone().prop_map(Step::ToggleAdminState),
        3 => (network.clone(), 1200..1500u32).prop_map(|(network, mtu)| Step::ChangeMtu(network, mtu)),
        3 => port.prop_map(Step::TakeFromBridge),
        3 => network.clone().prop_map(Step::DeleteBridge),
        3 => network.clone().prop_map(Step::DeleteUplink),
        3 => network.clone().prop_map(Step::TakeUplinkFromBridge),
        3 => network.prop_map(Step::SwitchUplinkOff),
        2 => Just(Step::SwitchInterfaceOff),
        2 => Just(Step::ReplaceInterface),
        1 => Just(Step::RefuseServer),
        3 => Just(Step::Restart),
        6 => (0..40u64).prop_map(Step::Wait),
    ]
}

/// What stands: name, bridge, MTU, up or down.
type Links = BTreeMap<String, (Option<String>, u32, bool)>;

/// A host, the far ends of its cables in one namespace, and what was done to it.
struct World<'a> {
    host: &'a mut Host,
    /// Handle and name of that namespace.
    guests: (&'a Netlink, &'a Namespace),
    server: Server,
    networks: Vec<NetworkId>,
    ports: Vec<PortId>,
    mtu: Vec<u32>,
    up: Vec<bool>,
    plugged: Vec<bool>,
}

/// A cable between a link of the host and one of the guests.
fn cable(name: &str, peer: &str, guests: &Namespace) -> NewLink {
    let settings = Box::new(LinkChange::up().in_namespace(guests));
    NewLink { name: name.into(), kind: NewKind::Veth { peer: peer.into(), settings }, settings: LinkChange::up() }
}

fn network_of(port: usize) -> usize {
    port % NETWORKS.len()
}

fn guest(port: usize) -> String {
    format!("vm{port}")
}

/// The device of the trunk on which frames of this network are heard and said.
fn trunk(vlan: Option<u16>) -> String {
    vlan.map_or_else(|| UNTAGGED.to_owned(), |id| format!("{TRUNK}.{id}"))
}

fn uplink(network: usize) -> String {
    NETWORKS[network].map_or_else(|| UPLINK.to_owned(), |id| format!("{UPLINK}.{id}"))
}

impl<'a> World<'a> {
    async fn new(host: &'a mut Host, guests: (&'a Netlink, &'a Namespace)) -> Self {
        let server = Server::start();
        let networks: Vec<_> = NETWORKS.iter().map(|_| NetworkId::random()).collect();
        let port = |i: usize| {
            let (network, vlan) = (networks[network_of(i)], NETWORKS[network_of(i)]);
            let kind = if vlan.is_some() { NetworkType::Vlan } else { NetworkType::Flat };
            let port = server.port(network, kind, Some(PHYSICAL));
            server.change(port, |details| details.segmentation_id = vlan.map(u32::from));
            port
        };
        let ports = (0..PORTS).map(port).collect();
        let (mtu, up, plugged) = (vec![1500; NETWORKS.len()], vec![true; PORTS], vec![false; PORTS]);
        let mut world = Self { host, guests, server, networks, ports, mtu, up, plugged };
        world.clear().await;
        world.connect().await;
        world.start();
        world
    }

    /// What a sequence that failed left behind.
    async fn clear(&mut self) {
        self.stop().await;
        for link in self.host.root.links().await.unwrap() {
            // With one end of a cable the other goes, and with an interface what is above.
            let _ = if link.name == "lo" { Ok(()) } else { self.host.root.link_delete(&link.name).await };
        }
    }

    /// The interface and what is at its far end.
    async fn connect(&self) {
        let (inside, namespace) = self.guests;
        self.host.root.link_create(&cable(UPLINK, TRUNK, namespace)).await.unwrap();
        let index = async |name| inside.link(name).await.unwrap().unwrap().index;
        let (parent, untagged) = (index(TRUNK).await, index(UNTAGGED).await);
        inside.link_set(TRUNK, &LinkChange::default().with_master(untagged)).await.unwrap();
        for id in NETWORKS.into_iter().flatten() {
            let kind = NewKind::Vlan { parent, id };
            let link = NewLink { name: trunk(Some(id)), kind, settings: LinkChange::up() };
            inside.link_create(&link).await.unwrap();
        }
    }

    fn tap(&self, port: usize) -> String {
        device::tap(self.ports[port])
    }

    async fn unplug(&mut self, port: usize) {
        if std::mem::take(&mut self.plugged[port]) {
            self.host.root.link_delete(&self.tap(port)).await.unwrap();
        }
    }

    async fn plug(&mut self, port: usize) {
        if !std::mem::replace(&mut self.plugged[port], true) {
            let cable = cable(&self.tap(port), &guest(port), self.guests.1);
            self.host.root.link_create(&cable).await.unwrap();
        }
    }

    /// What may be there or not.
    async fn set(&self, link: &str, change: LinkChange) {
        let _ = self.host.root.link_set(link, &change).await;
    }

    fn start(&mut self) {
        self.host.start_with(&self.server.bus, |config| config.empty_bridge_grace = GRACE);
    }

    /// An agent that found no interface at its start has said so and ended.
    async fn stop(&mut self) {
        if let Some((stop, task)) = self.host.agent.take() {
            drop(stop);
            let ended = task.await.unwrap();
            assert!(matches!(ended, Ok(()) | Err(linuxbridge::Error::Mapping { .. })), "{ended:?}");
        }
    }

    async fn restart(&mut self) {
        self.stop().await;
        self.start();
    }

    /// Whoever started it starts it again.
    async fn revive(&mut self) {
        if self.host.agent.as_ref().is_some_and(|(_, task)| task.is_finished()) {
            self.restart().await;
        }
    }

    async fn take(&mut self, step: Step) {
        let out = || LinkChange { master: Some(None), ..LinkChange::default() };
        let off = || LinkChange { up: Some(false), ..LinkChange::default() };
        match step {
            Step::Plug(port) => self.plug(port).await,
            Step::Unplug(port) => self.unplug(port).await,
            Step::Replace(port) => {
                self.unplug(port).await;
                self.plug(port).await;
            }
            Step::ToggleAdminState(port) => {
                self.up[port] = !self.up[port];
                let up = self.up[port];
                self.server.change(self.ports[port], |details| details.admin_state_up = up);
                self.server.port_update(self.ports[port]).await;
            }
            Step::ChangeMtu(network, mtu) => {
                self.mtu[network] = mtu;
                for port in (0..PORTS).filter(|port| network_of(*port) == network) {
                    self.server.change(self.ports[port], |details| details.mtu = Some(mtu));
                }
                self.server.network_update(self.networks[network]).await;
            }
            Step::TakeFromBridge(port) => self.set(&self.tap(port), out()).await,
            Step::DeleteBridge(network) => {
                let _ = self.host.root.link_delete(&device::bridge(self.networks[network])).await;
            }
            Step::DeleteUplink(network) if NETWORKS[network].is_some() => {
                let _ = self.host.root.link_delete(&uplink(network)).await;
            }
            Step::DeleteUplink(network) | Step::TakeUplinkFromBridge(network) => {
                self.set(&uplink(network), out()).await;
            }
            Step::SwitchUplinkOff(network) => self.set(&uplink(network), off()).await,
            Step::SwitchInterfaceOff => self.set(UPLINK, off()).await,
            Step::ReplaceInterface => {
                self.host.root.link_delete(UPLINK).await.unwrap();
                self.connect().await;
            }
            Step::RefuseServer => self.server.fail(1),
            Step::Restart => self.restart().await,
            Step::Wait(time) => tokio::time::sleep(Duration::from_millis(time)).await,
        }
    }

    fn plugged(&self) -> impl Iterator<Item = usize> + '_ {
        (0..PORTS).filter(|port| self.plugged[*port])
    }

    fn expected(&self) -> Links {
        let mut expected = Links::new();
        for port in self.plugged() {
            let network = network_of(port);
            let bridge = device::bridge(self.networks[network]);
            expected.insert(bridge.clone(), (None, self.mtu[network], true));
            expected.insert(uplink(network), (Some(bridge.clone()), 1500, true));
            expected.insert(self.tap(port), (Some(bridge), self.mtu[network], self.up[port]));
        }
        expected
    }

    async fn actual(&self) -> Links {
        let links = self.host.root.links().await.unwrap_or_default();
        let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
        // Outside a bridge, as when somebody takes it out while the agent is away, a VLAN device may be another's.
        let aside = |link: &Link| link.name == UPLINK || matches!(link.kind, Kind::Vlan(_));
        let ours = links.iter().filter(|link| link.name != "lo" && (!aside(link) || link.master.is_some()));
        ours.map(|link| (link.name.clone(), (link.master.and_then(name), link.mtu, link.up))).collect()
    }

    async fn becomes_as_expected(&mut self) -> Result<(), TestCaseError> {
        let (expected, started) = (self.expected(), Instant::now());
        loop {
            self.revive().await;
            let actual = self.actual().await;
            let wired: Vec<_> = self.plugged().filter(|port| self.up[*port]).map(|port| self.ports[port]).collect();
            if actual == expected && self.server.are_up(&wired) {
                return Ok(());
            }
            prop_assert!(
                started.elapsed() < PATIENCE,
                "not as expected: {actual:#?}\nbut {expected:#?}\nup: {wired:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// From each port and from the trunk with each tag a frame to all: who hears it.
    fn hears(&self) -> BTreeMap<String, BTreeSet<String>> {
        let guests = self.plugged().map(guest);
        let names: Vec<_> = guests.chain(NETWORKS.map(trunk)).collect();
        let open = |name: &String| (name.clone(), Wire::open(self.guests.1, name).unwrap());
        let wires: BTreeMap<_, _> = names.iter().map(open).collect();
        for (number, wire) in (0..).zip(wires.values()) {
            // One whose other end is down has no carrier.
            let _ = wire.send(&frame(number));
        }
        let mut heard: BTreeMap<_, _> = wires.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
        for (listener, wire) in &wires {
            // All have been delivered when the last one has been sent; so the first pause is the end.
            while let Some(frame) = wire.receive(Duration::from_millis(1), |frame| frame.get(12..14) == Some(&MARK)) {
                let from = wires.keys().nth(usize::from(frame[14])).unwrap();
                if from != listener {
                    heard.get_mut(from).unwrap().insert(listener.clone());
                }
            }
        }
        heard
    }

    async fn should_hear(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut all = BTreeMap::new();
        let there = self.host.names().await;
        for (network, vlan) in NETWORKS.into_iter().enumerate() {
            let on = self.plugged().filter(|port| network_of(*port) == network);
            let (open, shut): (Vec<_>, Vec<_>) = on.partition(|port| self.up[*port]);
            let ends: Vec<_> = open.iter().map(|port| guest(*port)).chain([trunk(vlan)]).collect();
            for end in &ends {
                all.insert(end.clone(), ends.iter().filter(|other| *other != end).cloned().collect());
            }
            all.extend(shut.into_iter().map(|port| (guest(port), BTreeSet::new())));
        }
        // A tag that no device of this host takes off stays on, and the bridge of the untagged network lets it pass.
        let untagged = all[UNTAGGED].clone();
        for (network, vlan) in NETWORKS.into_iter().enumerate() {
            if !there.contains(&uplink(network)) {
                all.insert(trunk(vlan), untagged.clone());
            }
        }
        all
    }

    /// A frame that was just sent may be on its way still, as may be the news of a cable's other end.
    async fn frames_go_where_they_should(&self) -> Result<(), TestCaseError> {
        let (expected, started) = (self.should_hear().await, Instant::now());
        while self.hears() != expected {
            let late = started.elapsed() > Duration::from_secs(10);
            prop_assert!(!late, "heard: {:#?}\nbut {expected:#?}", self.hears());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// After another start nothing is other than before, down to the indexes of links.
    async fn a_fresh_agent_changes_nothing(&mut self) -> Result<(), TestCaseError> {
        let before = self.host.root.links().await.unwrap();
        self.server.forget();
        self.restart().await;
        self.becomes_as_expected().await?;
        tokio::time::sleep(GRACE).await;
        prop_assert_eq!(self.host.root.links().await.unwrap(), before);
        Ok(())
    }

    async fn nothing_is_left(&mut self) -> Result<(), TestCaseError> {
        for port in 0..PORTS {
            self.unplug(port).await;
        }
        for network in self.networks.clone() {
            self.server.network_delete(network).await;
        }
        self.becomes_as_expected().await?;
        let interface = self.host.root.link(UPLINK).await.unwrap().unwrap();
        prop_assert_eq!(interface.master, None);
        self.stop().await;
        Ok(())
    }
}

/// To all, with this number.
fn frame(number: u8) -> Vec<u8> {
    let mut frame = [[0xff; 6], [0x02, 0, 0, 0, 0, number]].concat();
    frame.extend(MARK);
    frame.push(number);
    frame.resize(60, 0);
    frame
}

async fn lives_through(host: &mut Host, guests: (&Netlink, &Namespace), steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::new(host, guests).await;
    for step in steps {
        world.revive().await;
        world.take(step).await;
    }
    world.becomes_as_expected().await?;
    world.frames_go_where_they_should().await?;
    world.a_fresh_agent_changes_nothing().await?;
    world.frames_go_where_they_should().await?;
    world.nothing_is_left().await
}

#[test]
#[ignore = "needs VLAN devices: make test-vm"]
fn any_sequence_ends_as_a_fresh_agent_would_have_it() {
    let asked = std::env::var("ISOSPIN_SEQUENCES").ok().and_then(|text| text.parse().ok());
    let runtime = Runtime::new().unwrap();
    let mut host = runtime.block_on(async {
        let machine = Machine::new().await.unwrap();
        Host { name: "host-a", root: machine.netlink().unwrap(), machine, agent: None }
    });
    let namespace = host.machine.system.namespace_create("guests").unwrap();
    let guests = runtime.block_on(async { namespace.open().unwrap() });
    runtime.block_on(guests.link_create(&bridge(UNTAGGED))).unwrap();
    let host = std::cell::RefCell::new(&mut host);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(asked.unwrap_or(200)) };
    let (began, mut done) = (Instant::now(), std::cell::Cell::new(0));
    let result = TestRunner::new(config).run(&vec(step(), 0..40), |steps| {
        if asked.is_none() && began.elapsed() > ENOUGH {
            return Ok(());
        }
        done.set(done.get() + 1);
        runtime.block_on(lives_through(*host.borrow_mut(), (&guests, &namespace), steps))
    });
    println!("{} sequences in {:.0?}", done.get_mut(), began.elapsed());
    result.unwrap();
}
