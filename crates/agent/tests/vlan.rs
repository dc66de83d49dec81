//! The Linux bridge agent's VLAN networks: two hosts on one physical trunk, with a switch between them that has VLAN
//! devices of its own. Many kernels are built without 802.1Q, so it runs in Debian's: `make test-vm`. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, unreachable_pub, dead_code)]

#[path = "vlan/random.rs"]
mod random;
#[path = "linuxbridge/server.rs"]
mod server;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use isospin_agent::linuxbridge::{self, Config};
use kernel::{
    Address, Bridge, Kind, Link, LinkChange, Namespace, Netlink, NewKind, NewLink,
    process::run,
    testing::{Machine, ping},
};
use oslo::messaging::Bus;
use server::Server;
use tokio::{sync::oneshot, task::JoinHandle};
use types::{NetworkId, NetworkType, PortId, device};

/// The uplink of each host.
const UPLINK: &str = "eth1";
const PHYSICAL: &str = "physnet1";
/// Emulation is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// What ends an agent, and its task.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), linuxbridge::Error>>);

/// A host whose uplink is a port of the switch, and its agent while that runs.
struct Host {
    name: &'static str,
    machine: Machine,
    root: Netlink,
    agent: Option<Running>,
}

/// Two hosts, the switch that joins them, and the server of both.
struct Lab {
    hosts: [Host; 2],
    switch: Machine,
    server: Server,
}

/// Waits until something is so.
macro_rules! eventually {
    ($what:expr, $done:expr) => {
        let started = Instant::now();
        while !$done {
            assert!(started.elapsed() < PATIENCE, "still not: {}", $what);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
}

fn bridge(name: &str) -> NewLink {
    NewLink { name: name.into(), kind: NewKind::Bridge(Bridge::default()), settings: LinkChange::up() }
}

async fn address(inside: &Netlink, link: &str, net: &str) {
    let link = inside.link(link).await.unwrap().unwrap().index;
    inside.address_set(&Address::new(link, net.parse().unwrap())).await.unwrap();
}

async fn pings(from: &Namespace, to: &str, count: u32) -> bool {
    let (from, to): (_, IpAddr) = (from.clone(), to.parse().unwrap());
    tokio::task::spawn_blocking(move || ping(&from, to, count)).await.unwrap()
}

/// Whether an IPv4 packet of this many bytes arrives, which nobody on the way may cut.
async fn carries(from: &Namespace, to: &str, bytes: u32) -> bool {
    let command = ["ping", "-n", "-q", "-M", "do", "-c", "1", "-W", "5", "-s", &(bytes - 28).to_string(), to];
    run(Some(from), &command.map(str::to_owned), PATIENCE).await.is_ok()
}

impl Host {
    fn start(&mut self, bus: &Bus) {
        self.start_with(bus, |_| {});
    }

    fn start_with(&mut self, bus: &Bus, change: impl FnOnce(&mut Config)) {
        let mut config = Config::new(self.name);
        config.system = self.machine.system.clone();
        config.physical_interface_mappings = [(PHYSICAL.to_owned(), UPLINK.to_owned())].into();
        change(&mut config);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(linuxbridge::run(config, bus.clone(), async { drop(stopped.await) }));
        self.agent = Some((stop, task));
    }

    async fn stop(&mut self) {
        let (stop, task) = self.agent.take().unwrap();
        drop(stop);
        task.await.unwrap().unwrap();
    }

    async fn plug(&self, port: PortId, net: &str) -> Namespace {
        let instance = self.machine.plug(&format!("vm-{port}"), &device::tap(port)).await.unwrap();
        address(&instance.open().unwrap(), "eth0", net).await;
        instance
    }

    async fn names(&self) -> BTreeSet<String> {
        self.root.links().await.unwrap().into_iter().map(|link| link.name).collect()
    }

    async fn master_of(&self, name: &str) -> Option<String> {
        let links = self.root.links().await.unwrap();
        let master = links.iter().find(|link| link.name == name)?.master?;
        links.iter().find(|link| link.index == master).map(|link| link.name.clone())
    }

    async fn mtu_of(&self, name: &str) -> Option<u32> {
        self.root.link(name).await.unwrap().map(|link| link.mtu)
    }
}

impl Lab {
    async fn new() -> Self {
        let switch = Machine::new().await.unwrap();
        switch.netlink().unwrap().link_create(&bridge("trunk")).await.unwrap();
        let hosts = [Self::host("host-a", &switch).await, Self::host("host-b", &switch).await];
        Self { hosts, switch, server: Server::start() }
    }

    async fn host(name: &'static str, switch: &Machine) -> Host {
        let machine = Machine::new().await.unwrap();
        let trunk = switch.netlink().unwrap().link("trunk").await.unwrap().unwrap().index;
        let settings = Box::new(LinkChange::up().in_namespace(&machine.system.root()));
        let kind = NewKind::Veth { peer: UPLINK.to_owned(), settings };
        let cable = NewLink { name: name.into(), kind, settings: LinkChange::up().with_master(trunk) };
        switch.netlink().unwrap().link_create(&cable).await.unwrap();
        Host { name, root: machine.netlink().unwrap(), machine, agent: None }
    }

    /// Somebody with an address in a VLAN, behind the switch.
    async fn router(&self, vlan: u16, net: &str) {
        let switch = self.switch.netlink().unwrap();
        let parent = switch.link("trunk").await.unwrap().unwrap().index;
        let router = self.switch.system.namespace_create(&format!("router-{vlan}")).unwrap();
        let settings = LinkChange::up().in_namespace(&router);
        let link = NewLink { name: "eth0".into(), kind: NewKind::Vlan { parent, id: vlan }, settings };
        switch.link_create(&link).await.unwrap();
        address(&router.open().unwrap(), "eth0", net).await;
    }

    fn start(&mut self) {
        for host in &mut self.hosts {
            host.start(&self.server.bus);
        }
    }

    async fn stop(&mut self) {
        for host in &mut self.hosts {
            host.stop().await;
        }
    }

    /// A port of the network with this VLAN id, or of an untagged one.
    fn port(&self, network: NetworkId, vlan: Option<u32>, mtu: u32) -> PortId {
        let kind = if vlan.is_some() { NetworkType::Vlan } else { NetworkType::Flat };
        let port = self.server.port(network, kind, Some(PHYSICAL));
        self.server.change(port, |details| {
            details.segmentation_id = vlan;
            details.mtu = Some(mtu);
        });
        port
    }

    /// A port on each host, with addresses `<net>.1` and `.2`, once both are up.
    async fn pair(&self, network: NetworkId, vlan: Option<u32>, mtu: u32, net: &str) -> [(PortId, Namespace); 2] {
        let [a, b] = [self.port(network, vlan, mtu), self.port(network, vlan, mtu)];
        let inside_a = self.hosts[0].plug(a, &format!("{net}.1/24")).await;
        let inside_b = self.hosts[1].plug(b, &format!("{net}.2/24")).await;
        eventually!("both ports are up", self.server.are_up(&[a, b]));
        [(a, inside_a), (b, inside_b)]
    }
}

#[tokio::test]
#[ignore = "needs VLAN devices: make test-vm"]
async fn networks_on_one_trunk_are_apart_and_reach_the_other_host() {
    let mut lab = Lab::new().await;
    let before = [lab.hosts[0].names().await, lab.hosts[1].names().await];
    lab.router(101, "10.0.0.254/24").await;
    lab.router(102, "10.0.0.253/24").await;
    lab.start();
    // Two tenants with the same addresses, and the untagged network below them.
    let (blue, red, flat) = (NetworkId::random(), NetworkId::random(), NetworkId::random());
    let [(blue_a, in_blue), (blue_b, _)] = lab.pair(blue, Some(101), 1500, "10.0.0").await;
    let [(red_a, in_red), (red_b, _)] = lab.pair(red, Some(102), 1400, "10.0.0").await;
    let [(flat_a, in_flat), (flat_b, _)] = lab.pair(flat, None, 1500, "10.0.1").await;
    for host in &lab.hosts {
        assert_eq!(host.master_of("eth1.101").await, Some(device::bridge(blue)));
        assert_eq!(host.master_of("eth1.102").await, Some(device::bridge(red)));
        assert_eq!(host.master_of(UPLINK).await, Some(device::bridge(flat)));
        assert_eq!(host.mtu_of(&device::bridge(blue)).await, Some(1500));
        assert_eq!(host.mtu_of(&device::bridge(red)).await, Some(1400));
    }
    // The routers are VLAN devices of the switch: what they hear was tagged.
    for (inside, router, other) in [(&in_blue, "10.0.0.254", "10.0.0.253"), (&in_red, "10.0.0.253", "10.0.0.254")] {
        assert!(pings(inside, "10.0.0.2", 3).await, "the other host");
        assert!(pings(inside, router, 3).await, "the router of the VLAN");
        assert!(!pings(inside, other, 1).await, "the router of the other VLAN");
    }
    assert!(pings(&in_flat, "10.0.1.2", 3).await);
    assert!(carries(&in_blue, "10.0.0.2", 1500).await);
    assert!(carries(&in_red, "10.0.0.2", 1400).await);

    // Both agents are replaced while packets flow.
    let index = lab.hosts[0].root.link("eth1.101").await.unwrap().unwrap().index;
    let traffic = tokio::spawn(async move { pings(&in_blue, "10.0.0.2", 300).await });
    lab.stop().await;
    lab.server.forget();
    lab.start();
    let ports = [blue_a, blue_b, red_a, red_b, flat_a, flat_b];
    eventually!("all ports are up again", lab.server.are_up(&ports));
    assert!(traffic.await.unwrap(), "packets were lost");
    assert_eq!(lab.hosts[0].root.link("eth1.101").await.unwrap().unwrap().index, index);

    // One goes; its neighbours stay.
    for (host, port) in lab.hosts.iter().zip([red_a, red_b]) {
        host.root.link_delete(&device::tap(port)).await.unwrap();
    }
    eventually!("the ports are down", lab.server.are_down(&[red_a, red_b]));
    lab.server.network_delete(red).await;
    for host in &lab.hosts {
        eventually!("the VLAN device is gone", host.mtu_of("eth1.102").await.is_none());
        assert!(host.mtu_of("eth1.101").await.is_some());
    }
    assert!(pings(&in_flat, "10.0.1.2", 3).await);
    for (host, ports) in lab.hosts.iter().zip([[blue_a, flat_a], [blue_b, flat_b]]) {
        for port in ports {
            host.root.link_delete(&device::tap(port)).await.unwrap();
        }
    }
    eventually!("all ports are down", lab.server.are_down(&ports));
    lab.server.network_delete(blue).await;
    lab.server.network_delete(flat).await;
    for (host, before) in lab.hosts.iter().zip(&before) {
        eventually!("only what was there is left", host.names().await == *before);
        assert_eq!(host.master_of(UPLINK).await, None);
    }
    lab.stop().await;
}

#[tokio::test]
#[ignore = "needs VLAN devices: make test-vm"]
async fn a_vlan_device_that_drifts_is_repaired_and_anothers_is_left_alone() {
    let mut lab = Lab::new().await;
    // Somebody's own VLAN device, on the same uplink.
    let host = &lab.hosts[0];
    let parent = host.root.link(UPLINK).await.unwrap().unwrap().index;
    let others =
        NewLink { name: "eth1.200".into(), kind: NewKind::Vlan { parent, id: 200 }, settings: LinkChange::up() };
    host.root.link_create(&others).await.unwrap();
    lab.start();
    let network = NetworkId::random();
    let [(port, inside), _] = lab.pair(network, Some(101), 1500, "10.0.0").await;
    assert!(pings(&inside, "10.0.0.2", 3).await);
    let (host, bridge) = (&lab.hosts[0], device::bridge(network));
    host.root.link_set("eth1.101", &LinkChange { master: Some(None), ..LinkChange::default() }).await.unwrap();
    eventually!("it is back in the bridge", host.master_of("eth1.101").await.as_ref() == Some(&bridge));
    host.root.link_delete("eth1.101").await.unwrap();
    eventually!("it is made anew", host.master_of("eth1.101").await.as_ref() == Some(&bridge));
    eventually!("packets flow", pings(&inside, "10.0.0.2", 1).await);
    host.root.link_delete(&device::tap(port)).await.unwrap();
    eventually!("the port is down", lab.server.are_down(&[port]));
    lab.server.network_delete(network).await;
    eventually!("ours is gone", host.mtu_of("eth1.101").await.is_none());
    assert_eq!((host.master_of("eth1.200").await, host.mtu_of("eth1.200").await), (None, Some(1500)));
    lab.stop().await;
}

#[tokio::test]
#[ignore = "needs VLAN devices: make test-vm"]
async fn a_name_or_a_tag_that_another_device_has_stays_with_it_and_holds_up_no_other_network() {
    let mut lab = Lab::new().await;
    let host = &lab.hosts[0];
    let parent = host.root.link(UPLINK).await.unwrap().unwrap().index;
    let others = [("eth1.101", 201), ("office", 102)];
    for (name, id) in others {
        let link = NewLink { name: name.into(), kind: NewKind::Vlan { parent, id }, settings: LinkChange::up() };
        host.root.link_create(&link).await.unwrap();
    }
    lab.start();
    let networks = [101, 102, 103].map(|id| (NetworkId::random(), id));
    let ports = networks.map(|(network, id)| lab.port(network, Some(id), 1500));
    let host = &lab.hosts[0];
    for port in ports {
        host.plug(port, "10.0.0.1/24").await;
    }
    eventually!("the third is up", lab.server.are_up(&ports[2..]));
    for (place, (name, id)) in others.into_iter().enumerate() {
        let link = host.root.link(name).await.unwrap().unwrap();
        assert_eq!((link.master, link.kind), (None, Kind::Vlan(id)));
        assert!(!lab.server.are_up(&[ports[place]]));
        host.root.link_delete(name).await.unwrap();
        eventually!("it is up without the other", lab.server.are_up(&[ports[place]]));
    }
    lab.stop().await;
}
