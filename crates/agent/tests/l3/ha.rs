//! Routers of two hosts: one serves, the other takes over.

use std::{sync::Arc, time::Instant};

use isospin_agent::l3::config::{Connections, Ha};
use kernel::{LinkChange, NewKind, NewLink, conntrack, process::Signal};
use oslo::messaging::Bus;
use rpc::l3::{HaState, Router};
use serde_json::json;
use types::{NetworkId, RouterId, device};

use super::{
    lab::{Instance, TestHost, until},
    server::{Server, floating, ip, port, router, subnet},
};

/// Two hosts with agents, and a machine between them on which everybody else is.
struct Pair {
    server: Arc<Server>,
    hosts: [TestHost; 2],
    hub: TestHost,
    router: Router,
    instance: Instance,
    peer: Instance,
}

const NAMES: [&str; 2] = ["host-a", "host-b"];

/// A link between a host and the hub for one network.
fn cable(host: usize, number: usize) -> String {
    format!("cable{host}-{number}")
}

impl Pair {
    async fn new(options: impl Fn(&mut Ha)) -> Self {
        let bus = Bus::in_process();
        let server = Server::start(bus.clone());
        let hub = TestHost::new("hub", bus.clone()).await;
        let mut hosts = [TestHost::new(NAMES[0], bus.clone()).await, TestHost::new(NAMES[1], bus).await];
        let [inside, outside, among] = [(); 3].map(|()| NetworkId::random());
        for (index, host) in hosts.iter_mut().enumerate() {
            for (number, network) in [inside, outside, among].into_iter().enumerate() {
                let name = cable(index, number);
                let far = LinkChange::up().in_namespace(&host.system().root());
                let kind = NewKind::Veth { peer: name.clone(), settings: Box::new(far) };
                let link = NewLink { name: name.clone(), kind, settings: LinkChange::up() };
                hub.machine.netlink().unwrap().link_create(&link).await.unwrap();
                hub.wire(network, &name).await;
                host.wire(network, &name).await;
            }
            let mut config = host.config();
            config.ha.vrrp_advert_int = 1;
            options(&mut config.ha);
            host.start_with(config);
        }
        let peer = hub.plug(outside, "outside", &["203.0.113.1/24"], &[]).await;
        let instance = hub.plug(inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
        let v4 = subnet("10.0.0.0/24", Some("10.0.0.1"), json!({}));
        let v6 = subnet("2001:db8:1::/64", Some("2001:db8:1::1"), json!({"ipv6_ra_mode": "slaac"}));
        let owner = "network:ha_router_replicated_interface";
        let gateway = subnet("203.0.113.0/24", Some("203.0.113.1"), json!({}));
        let mut told = router(
            vec![port(inside, owner, &[("10.0.0.1", v4), ("2001:db8:1::1", v6)])],
            Some(port(outside, "network:router_gateway", &[("203.0.113.10", gateway)])),
        );
        (told.ha, told.ha_vr_id) = (true, 7);
        told.floating_ips = vec![floating("203.0.113.31", "10.0.0.5")];
        let this = Self { server, hosts, hub, router: told, instance, peer };
        this.give(among).await;
        this
    }

    /// Gives the router to both hosts, each with a port of its own among them.
    async fn give(&self, among: NetworkId) {
        let range = subnet("169.254.192.0/18", None, json!({}));
        let ha_ports = ["169.254.192.11", "169.254.192.12"].map(|address| {
            let mut port = port(among, "network:router_ha_interface", &[(address, range.clone())]);
            port.status = "DOWN".to_owned();
            port
        });
        self.server.inner(|inner| {
            for (host, port) in NAMES.into_iter().zip(ha_ports.clone()) {
                inner.ha_ports.insert((host.to_owned(), self.router.id), port);
            }
        });
        self.server.add(&self.router, &NAMES).await;
        for (host, port) in self.hosts.iter().zip(ha_ports) {
            host.wire_router(&Router { ha_interface: Some(port), ..self.router.clone() }).await;
        }
        // The layer 2 agents have wired them; the L3 agents are not told.
        self.server.inner(|inner| inner.ha_ports.values_mut().for_each(|port| port.status = "ACTIVE".to_owned()));
    }

    fn id(&self) -> RouterId {
        self.router.id
    }

    fn states(&self) -> [Option<HaState>; 2] {
        NAMES.map(|host| self.server.inner(|inner| inner.ha_states.get(&(host.to_owned(), self.id())).copied()))
    }

    /// Waits until exactly one host serves and the server knows; which one.
    async fn until_one_serves(&self) -> usize {
        until("one serves and one waits", async || {
            let mut states = self.states();
            states.sort_by_key(|state| *state != Some(HaState::Active));
            states == [Some(HaState::Active), Some(HaState::Standby)]
        })
        .await;
        self.states().iter().position(|state| *state == Some(HaState::Active)).unwrap()
    }

    /// Cuts a host off, or connects it again.
    async fn connect(&self, host: usize, up: bool) {
        let hub = self.hub.machine.netlink().unwrap();
        for number in 0..3 {
            let change = LinkChange { up: Some(up), ..LinkChange::default() };
            hub.link_set(&cable(host, number), &change).await.unwrap();
        }
    }

    /// How many established connections a host knows.
    fn known(&self, host: usize) -> usize {
        let all = conntrack::list(&self.hosts[host].namespace(self.id()), 4).unwrap();
        all.iter().filter(|connection| connection.tcp_state == Some(3)).count()
    }

    async fn inside_addresses(&self, host: usize) -> Vec<String> {
        self.hosts[host].addresses(self.id(), &device::router_interface(self.router.interfaces[0].id)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_host_takes_over_and_a_healed_partition_has_one_server() {
    let pair = Pair::new(|_| ()).await;
    let _echoes = [pair.peer.echo(), pair.instance.echo()];
    let first = pair.until_one_serves().await;
    let second = 1 - first;
    pair.instance.until_pings("203.0.113.1").await;
    assert_eq!(pair.instance.seen_as("203.0.113.1").await, Some(ip("203.0.113.31")));
    assert_eq!(pair.peer.seen_as("203.0.113.31").await, Some(ip("203.0.113.1")));
    // Who waits has no address, does not advertise, and forwards no IPv6.
    assert_eq!(pair.inside_addresses(first).await, ["10.0.0.1/24", "2001:db8:1::1/64"]);
    assert_eq!(pair.inside_addresses(second).await, Vec::<String>::new());
    until("only one advertises", async || {
        pair.hosts[first].radvd(pair.id()).is_some() && pair.hosts[second].radvd(pair.id()).is_none()
    })
    .await;
    let forwards = |host: usize| {
        kernel::sysctl::read(&pair.hosts[host].namespace(pair.id()), "net/ipv6/conf/all/forwarding").unwrap()
    };
    assert_eq!((forwards(first).as_str(), forwards(second).as_str()), ("1", "0"));
    until("the floating IP is told of", async || {
        pair.server.status(pair.router.floating_ips[0].id).as_deref() == Some("ACTIVE")
    })
    .await;

    // The serving host is gone.
    let flow = pair.instance.flow("203.0.113.1").await;
    let began = Instant::now();
    pair.connect(first, false).await;
    pair.instance.until_pings("203.0.113.1").await;
    eprintln!("taken over after {:?}", began.elapsed());
    // Three intervals of a second and the time that VRRP adds; the rest is the load of the machine that tests.
    assert!(began.elapsed().as_secs() < 20);
    // Nobody told the other of the connection.
    assert!(!flow.goes_on().await && flow.end().await.broke);
    until("the other tells", async || pair.states()[second] == Some(HaState::Active)).await;
    assert_eq!(pair.peer.seen_as("203.0.113.31").await, Some(ip("203.0.113.1")));
    until("the other advertises", async || pair.hosts[second].radvd(pair.id()).is_some()).await;

    // It comes back: one of them serves, and no more.
    pair.connect(first, true).await;
    let serving = pair.until_one_serves().await;
    until("one has the addresses", async || {
        pair.inside_addresses(serving).await.len() == 2 && pair.inside_addresses(1 - serving).await.is_empty()
    })
    .await;
    pair.instance.until_pings("203.0.113.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_outlive_the_host_that_serves_when_all_hosts_know_them() {
    let group = "225.0.0.50:3780".parse().unwrap();
    let pair = Pair::new(|ha| ha.connections = Some(Connections { group, most: 1000 })).await;
    let _echoes = [pair.peer.echo(), pair.instance.echo()];
    let hidden = pair.hub.plug(pair.router.interfaces[0].network_id, "two", &["10.0.0.6/24"], &["10.0.0.1"]).await;
    let mut serving = pair.until_one_serves().await;
    hidden.until_pings("203.0.113.1").await;
    pair.peer.until_pings("203.0.113.31").await;
    // By SNAT, and by the floating IP from inside and from outside.
    let flows = [
        hidden.flow("203.0.113.1").await,
        pair.instance.flow("203.0.113.1").await,
        pair.peer.flow("203.0.113.31").await,
    ];
    // There and back: who takes over tells in its turn.
    for _ in 0..2 {
        until("who waits knows the connections", async || pair.known(1 - serving) == 3).await;
        pair.connect(serving, false).await;
        for flow in &flows {
            assert!(flow.goes_on().await);
        }
        until("the other tells", async || pair.states()[1 - serving] == Some(HaState::Active)).await;
        for flow in &flows {
            assert!(flow.goes_on().await);
        }
        pair.connect(serving, true).await;
        serving = pair.until_one_serves().await;
    }
    for flow in flows {
        assert!(flow.goes_on().await);
        assert!(!flow.end().await.broke);
    }
    // That they ended is known too.
    until("no host knows them", async || pair.known(0) + pair.known(1) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keepalived_survives_the_agent_and_changes_without_a_failover() {
    let mut pair = Pair::new(|_| ()).await;
    let _echo = pair.peer.echo();
    let first = pair.until_one_serves().await;
    pair.instance.until_pings("203.0.113.1").await;
    let pid = |pair: &Pair, host: usize| {
        let [file, _] = pair.hosts[host].config().ha.pid_files(pair.id());
        kernel::process::Process::find(&file, &pair.id().to_string()).unwrap().map(|process| process.pid())
    };
    let before = pid(&pair, first).unwrap();
    // A restarted agent finds its router serving, and tells so.
    let flow = pair.instance.flow("203.0.113.1").await;
    pair.hosts[first].kill().await;
    pair.server.inner(|inner| inner.ha_states.clear());
    let mut config = pair.hosts[first].config();
    config.ha.vrrp_advert_int = 1;
    pair.hosts[first].start_with(config);
    until("it tells", async || pair.states()[first] == Some(HaState::Active)).await;
    // A floating IP comes: keepalived sets it, and nobody else takes over.
    let more = floating("203.0.113.32", "10.0.0.6");
    pair.server.change(pair.id(), |router| router.floating_ips.push(more.clone())).await;
    let neighbour = pair.hub.plug(pair.router.interfaces[0].network_id, "two", &["10.0.0.6/24"], &["10.0.0.1"]).await;
    pair.peer.until_pings("203.0.113.32").await;
    until("it is told of", async || pair.server.status(more.id).as_deref() == Some("ACTIVE")).await;
    neighbour.until_pings("203.0.113.1").await;
    let went = flow.end().await;
    assert!(!went.broke && went.exchanges > 2, "{went:?}");
    assert_eq!(pid(&pair, first), Some(before));
    assert_eq!(pair.states()[first], Some(HaState::Active));
    // Killed, keepalived is back, and one host serves.
    let [file, _] = pair.hosts[first].config().ha.pid_files(pair.id());
    let process = kernel::process::Process::find(&file, &pair.id().to_string()).unwrap().unwrap();
    process.signal(Signal::SIGKILL).unwrap();
    until("keepalived is back", async || pid(&pair, first).is_some_and(|pid| pid != before)).await;
    pair.until_one_serves().await;
    pair.instance.until_pings("203.0.113.1").await;
    // Deleted, the router leaves nothing on either host.
    pair.server.delete(pair.id()).await;
    for host in &pair.hosts {
        until("its namespace is gone", async || host.namespace(pair.router.id).identity().is_none()).await;
        let left = host.inventory().await;
        assert!(!left.iter().any(|it| it.starts_with("file") || it.contains("link tap")), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_gateway_does_not_answer_gives_the_router_up() {
    let pair = Pair::new(|ha| ha.vrrp_health_check_interval = 1).await;
    let first = pair.until_one_serves().await;
    let second = 1 - first;
    pair.instance.until_pings("203.0.113.1").await;
    // A change that keepalived has to read is none of who serves.
    let more = floating("203.0.113.32", "10.0.0.6");
    pair.server.change(pair.id(), |router| router.floating_ips.push(more.clone())).await;
    let neighbour = pair.hub.plug(pair.router.interfaces[0].network_id, "two", &["10.0.0.6/24"], &["10.0.0.1"]).await;
    pair.peer.until_pings("203.0.113.32").await;
    neighbour.until_pings("203.0.113.1").await;
    assert_eq!(pair.states(), {
        let mut states = [Some(HaState::Standby); 2];
        states[first] = Some(HaState::Active);
        states
    });

    // Its hosts hear each other as before; only the network outside is gone for the one that serves.
    let outside = async |up: bool| {
        let change = LinkChange { up: Some(up), ..LinkChange::default() };
        pair.hub.machine.netlink().unwrap().link_set(&cable(first, 1), &change).await.unwrap();
    };
    outside(false).await;
    pair.instance.until_pings("203.0.113.1").await;
    assert_eq!(pair.until_one_serves().await, second);
    until("the former one has no address", async || pair.inside_addresses(first).await.is_empty()).await;
    // It is well again, and takes the router back when the other one is not.
    outside(true).await;
    let change = LinkChange { up: Some(false), ..LinkChange::default() };
    pair.hub.machine.netlink().unwrap().link_set(&cable(second, 1), &change).await.unwrap();
    pair.instance.until_pings("203.0.113.1").await;
    assert_eq!(pair.until_one_serves().await, first);
}
