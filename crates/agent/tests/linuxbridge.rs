//! The Linux bridge agent on the real kernel, each test on a machine of its own, with a scripted server. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, unreachable_pub)]

#[allow(dead_code)]
#[path = "linuxbridge/server.rs"]
mod server;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use isospin_agent::linuxbridge::{self, Config};
use kernel::{
    Address, Kind, Link, LinkChange, Namespace, Netlink, NewKind, NewLink, Route,
    testing::{Machine, ping, unanswered},
};
use server::Server;
use tokio::{sync::oneshot, task::JoinHandle};
use types::{NetworkId, NetworkType, PortId, device};

/// A machine, a server and, while it runs, an agent.
struct Bench {
    machine: Machine,
    root: Netlink,
    server: Server,
}

struct Agent {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), linuxbridge::Error>>,
}

impl Agent {
    /// As SIGTERM and kill -9 alike: the agent does nothing on its way out.
    async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
    }
}

impl Bench {
    async fn new() -> Self {
        let machine = Machine::new().await.unwrap();
        let root = machine.netlink().unwrap();
        Self { machine, root, server: Server::start() }
    }

    fn config(&self) -> Config {
        let mut config = Config::new("host-a");
        config.system = self.machine.system.clone();
        config
    }

    fn agent_with(&self, config: Config) -> Agent {
        let (stop, stopped) = oneshot::channel::<()>();
        let run = linuxbridge::run(config, self.server.bus.clone(), async { drop(stopped.await) });
        Agent { stop, task: tokio::spawn(run) }
    }

    fn agent(&self) -> Agent {
        self.agent_with(self.config())
    }

    /// A port the server knows, and its tap with an instance at the far end.
    async fn plug(&self, network: NetworkId, address: &str) -> (PortId, Namespace) {
        let port = self.server.port(network, NetworkType::Local, None);
        (port, self.plug_port(port, address).await)
    }

    async fn plug_port(&self, port: PortId, address: &str) -> Namespace {
        let instance = self.machine.plug(&format!("vm-{port}"), &device::tap(port)).await.unwrap();
        let inside = instance.open().unwrap();
        let eth0 = inside.link("eth0").await.unwrap().unwrap().index;
        inside.address_set(&Address::new(eth0, address.parse().unwrap())).await.unwrap();
        instance
    }

    async fn link(&self, name: &str) -> Option<Link> {
        self.root.link(name).await.unwrap()
    }

    async fn names(&self) -> BTreeSet<String> {
        self.root.links().await.unwrap().into_iter().map(|link| link.name).collect()
    }

    async fn master_of(&self, name: &str) -> Option<String> {
        let links = self.root.links().await.unwrap();
        let master = links.iter().find(|link| link.name == name)?.master?;
        links.iter().find(|link| link.index == master).map(|link| link.name.clone())
    }
}

/// Waits, as long as a busy machine may need, until `done` says yes.
macro_rules! eventually {
    ($what:expr, $done:expr) => {
        let started = Instant::now();
        while !$done {
            assert!(started.elapsed() < Duration::from_secs(60), "still not: {}", $what);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

async fn pings(from: &Namespace, to: &str, count: u32) -> bool {
    let (from, to) = (from.clone(), ip(to));
    tokio::task::spawn_blocking(move || ping(&from, to, count)).await.unwrap()
}

#[tokio::test]
async fn two_instances_on_a_network_reach_each_other_and_no_third() {
    let bench = Bench::new().await;
    let before = bench.names().await;
    let agent = bench.agent();
    let (blue, red) = (NetworkId::random(), NetworkId::random());
    let (a, a_inside) = bench.plug(blue, "10.0.0.1/24").await;
    let (b, _) = bench.plug(blue, "10.0.0.2/24").await;
    let (c, _) = bench.plug(red, "10.0.0.3/24").await;
    eventually!("all ports are up", bench.server.are_up(&[a, b, c]));
    assert_eq!(bench.master_of(&device::tap(a)).await, Some(device::bridge(blue)));
    assert_eq!(bench.master_of(&device::tap(c)).await, Some(device::bridge(red)));
    let bridge = bench.link(&device::bridge(blue)).await.unwrap();
    assert!(matches!(bridge.kind, Kind::Bridge(b) if !b.stp && b.forward_delay == 0));
    assert_eq!((bridge.mtu, bridge.up), (1450, true));
    assert_eq!(bench.link(&device::tap(a)).await.unwrap().mtu, 1450);
    assert!(pings(&a_inside, "10.0.0.2", 3).await);
    assert!(!pings(&a_inside, "10.0.0.3", 1).await, "networks are apart");

    for port in [a, b, c] {
        bench.root.link_delete(&device::tap(port)).await.unwrap();
    }
    eventually!("the ports are down", bench.server.are_down(&[a, b, c]));
    bench.server.network_delete(blue).await;
    bench.server.network_delete(red).await;
    eventually!("the bridges are gone", bench.names().await == before);
    agent.stop().await;
}

#[tokio::test]
async fn a_restart_loses_no_packet_and_asks_for_everything_again() {
    let bench = Bench::new().await;
    let agent = bench.agent();
    let network = NetworkId::random();
    let (a, inside) = bench.plug(network, "10.0.0.1/24").await;
    let (b, _) = bench.plug(network, "10.0.0.2/24").await;
    eventually!("both ports are up", bench.server.are_up(&[a, b]));
    let index = bench.link(&device::bridge(network)).await.unwrap().index;

    let traffic = tokio::spawn(async move { pings(&inside, "10.0.0.2", 150).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    agent.stop().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    bench.server.forget();
    let agent = bench.agent();
    eventually!("both ports are up again", bench.server.are_up(&[a, b]));
    assert!(traffic.await.unwrap(), "packets were lost");
    assert_eq!(bench.link(&device::bridge(network)).await.unwrap().index, index);
    agent.stop().await;
}

#[tokio::test]
async fn a_tap_that_is_replaced_or_was_there_first_is_news() {
    let bench = Bench::new().await;
    let network = NetworkId::random();
    let early = bench.server.port_id_to_come();
    bench.plug_port(early, "10.0.0.1/24").await;
    let agent = bench.agent();
    eventually!("the unknown tap was asked for", bench.server.was_asked(early));
    assert_eq!(bench.master_of(&device::tap(early)).await, None);
    bench.server.bind(early, network);
    bench.server.port_update(early).await;
    eventually!("the port is up", bench.server.are_up(&[early]));

    bench.root.link_delete(&device::tap(early)).await.unwrap();
    bench.plug_port(early, "10.0.0.1/24").await;
    eventually!("the replaced tap is wired", bench.master_of(&device::tap(early)).await.is_some());
    eventually!("and reported again", bench.server.times_up(early) >= 2);
    agent.stop().await;
}

#[tokio::test]
async fn drift_is_repaired() {
    let bench = Bench::new().await;
    let agent = bench.agent();
    let network = NetworkId::random();
    let (port, _) = bench.plug(network, "10.0.0.1/24").await;
    eventually!("the port is up", bench.server.are_up(&[port]));
    let (tap, bridge) = (device::tap(port), device::bridge(network));
    let out = LinkChange { master: Some(None), ..LinkChange::default() };
    bench.root.link_set(&tap, &out).await.unwrap();
    eventually!("the tap is back", bench.master_of(&tap).await.as_ref() == Some(&bridge));
    bench.root.link_delete(&bridge).await.unwrap();
    eventually!("the bridge is back with its tap", bench.master_of(&tap).await.as_ref() == Some(&bridge));
    bench.root.link_set(&tap, &LinkChange { up: Some(false), mtu: Some(900), ..LinkChange::default() }).await.unwrap();
    eventually!("the tap is up", bench.link(&tap).await.is_some_and(|link| link.up && link.mtu == 1450));
    agent.stop().await;
}

#[tokio::test]
async fn admin_state_mtu_and_bindings_are_followed() {
    let bench = Bench::new().await;
    let agent = bench.agent();
    let network = NetworkId::random();
    let (port, _) = bench.plug(network, "10.0.0.1/24").await;
    let tap = device::tap(port);
    eventually!("the port is up", bench.server.are_up(&[port]));
    bench.server.change(port, |details| details.admin_state_up = false);
    bench.server.port_update(port).await;
    eventually!("the tap is down", bench.link(&tap).await.is_some_and(|link| !link.up));
    eventually!("the port is down", bench.server.are_down(&[port]));
    bench.server.change(port, |details| details.admin_state_up = true);
    bench.server.port_update(port).await;
    eventually!("the tap is up", bench.link(&tap).await.is_some_and(|link| link.up));

    bench.server.change(port, |details| details.mtu = Some(1300));
    bench.server.network_update(network).await;
    eventually!("the MTU follows", bench.link(&tap).await.is_some_and(|link| link.mtu == 1300));
    eventually!("also the bridge's", bench.link(&device::bridge(network)).await.is_some_and(|link| link.mtu == 1300));

    bench.server.binding_deactivate(port, "elsewhere", network).await;
    bench.server.binding_deactivate(port, "host-a", network).await;
    eventually!("the tap is out", bench.master_of(&tap).await.is_none());
    bench.server.binding_activate(port, "host-a").await;
    eventually!("the tap is in", bench.master_of(&tap).await == Some(device::bridge(network)));
    agent.stop().await;
}

#[tokio::test]
async fn what_is_not_ours_stays() {
    let bench = Bench::new().await;
    let bridge = |name: &str| NewLink {
        name: name.into(),
        kind: NewKind::Bridge(kernel::Bridge::default()),
        settings: LinkChange::up(),
    };
    for name in ["virbr0", "brqfeedfeed-fe", "brq0"] {
        bench.root.link_create(&bridge(name)).await.unwrap();
    }
    bench.machine.plug("other", "tap0").await.unwrap();
    bench.machine.plug("unknown", "tap01234567-89").await.unwrap();
    let before = bench.names().await;
    let mut config = bench.config();
    config.empty_bridge_grace = Duration::ZERO;
    let agent = bench.agent_with(config);
    let (port, _) = bench.plug(NetworkId::random(), "10.0.0.1/24").await;
    eventually!("the port is up", bench.server.are_up(&[port]));
    bench.root.link_delete(&device::tap(port)).await.unwrap();
    eventually!("only what was there is left", bench.names().await == before);
    assert!(!bench.server.was_asked_by_name("tap0"));
    assert_eq!(bench.master_of("tap01234567-89").await, None);
    agent.stop().await;
}

#[tokio::test]
async fn bridges_left_by_an_earlier_agent_go_when_their_network_did() {
    let bench = Bench::new().await;
    let before = bench.names().await;
    let (kept, gone) = (NetworkId::random(), NetworkId::random());
    let agent = bench.agent();
    let (a, _) = bench.plug(kept, "10.0.0.1/24").await;
    let (b, _) = bench.plug(gone, "10.0.0.2/24").await;
    eventually!("both are up", bench.server.are_up(&[a, b]));
    agent.stop().await;
    bench.root.link_delete(&device::tap(a)).await.unwrap();
    bench.root.link_delete(&device::tap(b)).await.unwrap();
    bench.server.forget_network(gone);
    let agent = bench.agent();
    eventually!("the bridge of the deleted network is gone", bench.link(&device::bridge(gone)).await.is_none());
    assert!(bench.link(&device::bridge(kept)).await.is_some());
    agent.stop().await;
    let mut config = bench.config();
    config.empty_bridge_grace = Duration::from_millis(100);
    let agent = bench.agent_with(config);
    eventually!("the other after its time", bench.names().await == before);
    agent.stop().await;
}

/// A flat network on an interface that holds the host's own addresses and routes: all move to the bridge, nobody
/// notices, and all come back.
#[tokio::test]
async fn an_interface_with_addresses_and_routes_becomes_an_uplink_and_an_interface_again() {
    let bench = Bench::new().await;
    let router = bench.machine.plug("router", "eth1").await.unwrap();
    let inside = router.open().unwrap();
    let far = inside.link("eth0").await.unwrap().unwrap().index;
    let near = bench.link("eth1").await.unwrap();
    for address in ["192.0.2.1/24", "2001:db8::1/64", "198.51.100.1/32"] {
        inside.address_set(&Address::new(far, address.parse().unwrap())).await.unwrap();
    }
    for address in ["192.0.2.10/24", "192.0.2.11/24", "203.0.113.7/32", "2001:db8::10/64"] {
        bench.root.address_set(&Address::new(near.index, address.parse().unwrap())).await.unwrap();
    }
    let default = Route::default_via(ip("192.0.2.1"), near.index).with_metric(50).with_source(ip("203.0.113.7"));
    let host = Route::new("198.51.100.1/32".parse().unwrap(), None, near.index);
    let six = Route::default_via(ip("2001:db8::1"), near.index);
    for route in [&default, &host, &six] {
        bench.root.route_add(route).await.unwrap();
    }
    let of = |link: u32, addresses: Vec<Address>| -> BTreeSet<String> {
        addresses.into_iter().filter(|a| a.link == link && a.is_global()).map(|a| a.net.to_string()).collect()
    };
    let routes_of = |link: u32, routes: Vec<Route>| -> BTreeSet<String> {
        let text = |r: &Route| {
            format!("{:?} via {:?} src {:?} metric {:?}", r.destination(), r.gateway(), r.source(), r.metric())
        };
        routes
            .iter()
            .filter(|r| r.uses(link) && !r.destination().is_some_and(|d| d.to_string().starts_with('f')))
            .map(text)
            .collect()
    };
    let addresses = of(near.index, bench.root.addresses().await.unwrap());
    let routes = routes_of(near.index, bench.root.routes().await.unwrap());
    assert!(pings(&bench.machine.system.root(), "198.51.100.1", 2).await);

    let mut config = bench.config();
    config.physical_interface_mappings = [("public".to_owned(), "eth1".to_owned())].into();
    let before = bench.names().await;
    let agent = bench.agent_with(config.clone());
    let (to_host, root) = (router.clone(), bench.machine.system.root());
    let traffic = tokio::task::spawn_blocking(move || unanswered(&to_host, ip("192.0.2.10"), 100));
    let outward = tokio::task::spawn_blocking(move || unanswered(&root, ip("198.51.100.1"), 100));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let network = NetworkId::random();
    let port = bench.server.port(network, NetworkType::Flat, Some("public"));
    let instance = bench.plug_port(port, "192.0.2.20/24").await;
    eventually!("the port is up", bench.server.are_up(&[port]));
    let bridge = bench.link(&device::bridge(network)).await.unwrap();
    assert_eq!(bench.master_of("eth1").await, Some(bridge.name.clone()));
    assert_eq!(of(bridge.index, bench.root.addresses().await.unwrap()), addresses);
    assert_eq!(routes_of(bridge.index, bench.root.routes().await.unwrap()), routes);
    assert!(of(near.index, bench.root.addresses().await.unwrap()).is_empty());
    assert_eq!(bridge.mac, near.mac);
    assert!(pings(&instance, "192.0.2.1", 3).await, "the instance reaches the router");
    assert!(pings(&instance, "192.0.2.10", 3).await, "and the host");

    agent.stop().await;
    let agent = bench.agent_with(config);
    bench.root.link_delete(&device::tap(port)).await.unwrap();
    bench.server.network_delete(network).await;
    eventually!("the bridge is gone", bench.names().await == before);
    assert_eq!(of(near.index, bench.root.addresses().await.unwrap()), addresses);
    assert_eq!(routes_of(near.index, bench.root.routes().await.unwrap()), routes);
    // Each time the interface changes sides the kernel itself drops what arrives between its taking the frames of a
    // new port and its forwarding them, and the other way round: well under a millisecond, one request in a ping.
    let (lost_inward, lost_outward) = (traffic.await.unwrap(), outward.await.unwrap());
    assert!(lost_inward <= 2, "{lost_inward} packets to the host were lost");
    assert!(lost_outward <= 2, "{lost_outward} packets of the host were lost");
    agent.stop().await;
}

#[tokio::test]
async fn a_wrong_mapping_stops_the_agent_and_is_named() {
    let bench = Bench::new().await;
    let mut config = bench.config();
    config.source = Some("/etc/neutron/plugins/ml2/linuxbridge_agent.ini".to_owned());
    config.physical_interface_mappings = [("public".to_owned(), "eth7".to_owned())].into();
    let error = linuxbridge::run(config, bench.server.bus.clone(), std::future::pending()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "physical_interface_mappings in /etc/neutron/plugins/ml2/linuxbridge_agent.ini maps physical network 'public' to \
         interface 'eth7', which does not exist on this host"
    );
}

#[tokio::test]
async fn one_port_that_cannot_be_wired_holds_up_no_other() {
    let bench = Bench::new().await;
    let agent = bench.agent();
    let bad = bench.server.port(NetworkId::random(), NetworkType::Flat, Some("nowhere"));
    bench.plug_port(bad, "10.0.0.1/24").await;
    let (good, _) = bench.plug(NetworkId::random(), "10.0.0.2/24").await;
    eventually!("the good port is up", bench.server.are_up(&[good]));
    assert!(!bench.server.are_up(&[bad]));
    assert_eq!(bench.master_of(&device::tap(bad)).await, None);
    agent.stop().await;
}

#[tokio::test]
async fn a_silent_server_only_delays() {
    let bench = Bench::new().await;
    bench.server.fail(3);
    let agent = bench.agent();
    let (port, _) = bench.plug(NetworkId::random(), "10.0.0.1/24").await;
    eventually!("the port is up", bench.server.are_up(&[port]));
    agent.stop().await;
}

#[tokio::test]
async fn the_report_has_upstreams_keys() {
    let bench = Bench::new().await;
    let agent = bench.agent();
    eventually!("it reports", bench.server.report().is_some());
    let report = bench.server.report().unwrap();
    assert_eq!((report.binary.as_str(), report.topic.as_str()), ("neutron-linuxbridge-agent", "N/A"));
    assert_eq!(report.agent_type, "Linux bridge agent");
    assert!(report.start_flag);
    let expected = serde_json::json!({"extensions": [], "bridge_mappings": {}, "interface_mappings": {}, "devices": 0});
    assert_eq!(serde_json::Value::from(report.configurations), expected);
    agent.stop().await;
}

/// From the moment the tap exists to the moment the server knows: the median of 100, and 100 at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taps_are_wired_fast() {
    let bench = Bench::new().await;
    let agent = bench.agent();
    let network = NetworkId::random();
    let tap = |port: PortId| {
        let peer = NewKind::Veth { peer: format!("p{}", &device::tap(port)[3..]), settings: Box::default() };
        NewLink { name: device::tap(port), kind: peer, settings: LinkChange::up() }
    };
    let mut times = Vec::new();
    for _ in 0..100 {
        let port = bench.server.port(network, NetworkType::Local, None);
        bench.root.link_create(&tap(port)).await.unwrap();
        let started = Instant::now();
        eventually!("the port is up", bench.server.are_up(&[port]));
        times.push(started.elapsed());
    }
    times.sort();
    let ports: Vec<PortId> = (0..100).map(|_| bench.server.port(network, NetworkType::Local, None)).collect();
    let started = Instant::now();
    for port in &ports {
        bench.root.link_create(&tap(*port)).await.unwrap();
    }
    let plugged = started.elapsed();
    eventually!("all ports are up", bench.server.are_up(&ports));
    let all = started.elapsed();
    println!("one tap: median {:?}, worst {:?}; 100 taps: plugged in {plugged:?}, up in {all:?}", times[50], times[99]);
    // A debug build on a busy machine is not what the promises are about.
    let (one, many) = if cfg!(debug_assertions) { (2000, 30) } else { (100, 1) };
    assert!(times[50] < Duration::from_millis(one), "median {:?}", times[50]);
    assert!(all < plugged + Duration::from_secs(many), "100 taps took {all:?}");
    agent.stop().await;
}
