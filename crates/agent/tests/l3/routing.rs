//! Routers with packets: tenants that do not see each other, ways out and in, and back.

use rpc::l3::{Router, RouterPort};
use serde_json::json;
use types::{NetworkId, device};

use super::{
    lab::{Instance, Lab, until},
    server::{floating, ip, port, router, subnet},
};

const INTERFACE: &str = "network:router_interface";
const GATEWAY: &str = "network:router_gateway";

/// A tenant's network and router, and an external network with somebody on it.
pub struct Tenant {
    pub inside: NetworkId,
    pub router: Router,
}

/// The external network.
pub struct Outside {
    pub network: NetworkId,
    pub peer: Instance,
}

impl Outside {
    pub async fn new(lab: &Lab) -> Self {
        let network = NetworkId::random();
        Self { network, peer: lab.host.plug(network, "outside", &["203.0.113.1/24"], &[]).await }
    }

    pub fn gateway(&self, address: &str) -> RouterPort {
        port(self.network, GATEWAY, &[(address, subnet("203.0.113.0/24", Some("203.0.113.1"), json!({})))])
    }
}

impl Tenant {
    pub fn new(outside: Option<RouterPort>) -> Self {
        let inside = NetworkId::random();
        let prefix = subnet("10.0.0.0/24", Some("10.0.0.1"), json!({}));
        Self { inside, router: router(vec![port(inside, INTERFACE, &[("10.0.0.1", prefix)])], outside) }
    }

    pub fn gateway_device(&self) -> String {
        device::router_gateway(self.router.gw_port.as_ref().unwrap().id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_with_the_same_addresses_are_apart_and_get_out() {
    let lab = Lab::new().await;
    let outside = Outside::new(&lab).await;
    let _echo = outside.peer.echo();
    let (blue, red) =
        (Tenant::new(Some(outside.gateway("203.0.113.10"))), Tenant::new(Some(outside.gateway("203.0.113.20"))));
    for tenant in [&blue, &red] {
        lab.serve(&tenant.router).await;
    }
    let one = lab.host.plug(blue.inside, "blue", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    let two = lab.host.plug(red.inside, "red", &["10.0.0.6/24"], &["10.0.0.1"]).await;
    one.until_pings("203.0.113.1").await;
    two.until_pings("203.0.113.1").await;
    assert_eq!(one.seen_as("203.0.113.1").await, Some(ip("203.0.113.10")));
    assert_eq!(two.seen_as("203.0.113.1").await, Some(ip("203.0.113.20")));
    assert!(!one.pings("10.0.0.6").await);
    // What is inside is not reached from outside but by translated addresses, whatever the route.
    outside.peer.add_route("10.0.0.0/24", "203.0.113.10").await;
    assert!(outside.peer.pings("203.0.113.10").await);
    // SNAT off: the fixed address is seen.
    lab.server.change(blue.router.id, |router| router.enable_snat = false).await;
    until("the fixed address is seen", async || one.seen_as("203.0.113.1").await == Some(ip("10.0.0.5"))).await;
    // And on again.
    lab.server.change(blue.router.id, |router| router.enable_snat = true).await;
    until("the gateway is seen", async || one.seen_as("203.0.113.1").await == Some(ip("203.0.113.10"))).await;
    // The reports have the figures.
    let first = lab.server.inner(|inner| inner.reports[0].clone());
    assert_eq!((first.agent_type.as_str(), first.topic.as_str()), ("L3 agent", "l3_agent"));
    let figures = |state: &rpc::reports::AgentState| {
        ["routers", "ex_gw_ports", "interfaces", "floating_ips"].map(|key| state.configurations[key].as_u64().unwrap())
    };
    assert_eq!(figures(&first), [0; 4]);
    until("the figures are told", async || {
        lab.server.inner(|inner| inner.reports.last().map(figures)) == Some([2, 2, 2, 0])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floating_ip_works_both_ways_moves_and_goes() {
    let lab = Lab::new().await;
    let outside = Outside::new(&lab).await;
    let tenant = Tenant::new(Some(outside.gateway("203.0.113.10")));
    let id = tenant.router.id;
    lab.serve(&tenant.router).await;
    let one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    let two = lab.host.plug(tenant.inside, "two", &["10.0.0.6/24"], &["10.0.0.1"]).await;
    let _echoes = [outside.peer.echo(), one.echo(), two.echo()];
    one.until_pings("203.0.113.1").await;

    let ip_of_one = floating("203.0.113.31", "10.0.0.5");
    lab.server.change(id, |router| router.floating_ips.push(ip_of_one.clone())).await;
    until("it is active", async || lab.server.status(ip_of_one.id).as_deref() == Some("ACTIVE")).await;
    outside.peer.until_pings("203.0.113.31").await;
    // In: the instance sees who it is. Out: it is seen as its floating IP.
    assert_eq!(outside.peer.seen_as("203.0.113.31").await, Some(ip("203.0.113.1")));
    assert_eq!(one.seen_as("203.0.113.1").await, Some(ip("203.0.113.31")));
    assert_eq!(two.seen_as("203.0.113.1").await, Some(ip("203.0.113.10")));
    // From inside to the floating IP of a neighbour, and to one's own.
    assert_eq!(two.seen_as("203.0.113.31").await, Some(ip("203.0.113.10")));
    assert!(one.seen_as("203.0.113.31").await.is_some());

    // A second one to another instance disturbs no connection of the first.
    let flow = outside.peer.flow("203.0.113.31").await;
    let ip_of_two = floating("203.0.113.32", "10.0.0.6");
    lab.server.change(id, |router| router.floating_ips.push(ip_of_two.clone())).await;
    outside.peer.until_pings("203.0.113.32").await;
    let went = flow.end().await;
    assert!(went.lost_nothing(), "{went:?}");

    // Moved to the other instance, the connections to the former one end.
    let flow = outside.peer.flow("203.0.113.31").await;
    let moved = |router: &mut Router| {
        router.floating_ips.retain(|ip| ip.id == ip_of_one.id);
        router.floating_ips[0].fixed_ip_address = Some(ip("10.0.0.6"));
    };
    lab.server.change(id, moved).await;
    until("it is down", async || lab.server.status(ip_of_two.id).as_deref() == Some("DOWN")).await;
    until("the other instance has it", async || two.seen_as("203.0.113.1").await == Some(ip("203.0.113.31"))).await;
    assert_eq!(one.seen_as("203.0.113.1").await, Some(ip("203.0.113.10")));
    let went = flow.end().await;
    assert!(went.broke, "{went:?}");

    // Gone, so is its address.
    let flow = outside.peer.flow("203.0.113.31").await;
    lab.server.change(id, |router| router.floating_ips.clear()).await;
    until("the address is gone", async || {
        lab.host.addresses(id, &tenant.gateway_device()).await == ["203.0.113.10/24"]
    })
    .await;
    assert!(!outside.peer.pings("203.0.113.31").await);
    assert!(flow.end().await.broke);
    until("it is down", async || lab.server.status(ip_of_one.id).as_deref() == Some("DOWN")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_hear_at_once_that_an_address_moved() {
    let lab = Lab::new().await;
    let outside = Outside::new(&lab).await;
    let tenant = Tenant::new(Some(outside.gateway("203.0.113.10")));
    lab.serve(&tenant.router).await;
    // Somebody else had the address, and the peer knows where.
    let former = lab.host.plug(outside.network, "former", &["203.0.113.31/24"], &[]).await;
    outside.peer.until_pings("203.0.113.31").await;
    former.inside.link_set("eth0", &kernel::LinkChange { up: Some(false), ..Default::default() }).await.unwrap();
    let _one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    lab.server.change(tenant.router.id, |router| router.floating_ips.push(floating("203.0.113.31", "10.0.0.5"))).await;
    let began = std::time::Instant::now();
    outside.peer.until_pings("203.0.113.31").await;
    // Without the announcement the peer would believe in the former owner for half a minute at least.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_hear_of_addresses_whose_device_is_wired_late() {
    let lab = Lab::new().await;
    let outside = Outside::new(&lab).await;
    let mut tenant = Tenant::new(Some(outside.gateway("203.0.113.10")));
    tenant.router.floating_ips.push(floating("203.0.113.31", "10.0.0.5"));
    let (inside, gateway) = (&tenant.router.interfaces[0], tenant.router.gw_port.as_ref().unwrap());
    lab.server.add(&tenant.router, &[&lab.host.name]).await;
    lab.host.wire(inside.network_id, &device::tap(inside.id)).await;
    until("the address is there", async || {
        lab.host.addresses(tenant.router.id, &tenant.gateway_device()).await.contains(&"203.0.113.31/32".to_owned())
    })
    .await;
    let said = std::time::Instant::now();
    let _one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    // The router was on another host before, and the peer knows where.
    let former = lab.host.plug(outside.network, "former", &["203.0.113.31/24"], &[]).await;
    // What is said when an address is set is over.
    until("it was said for the last time", async || said.elapsed().as_secs() >= 3).await;
    outside.peer.until_pings("203.0.113.31").await;
    former.inside.link_set("eth0", &kernel::LinkChange { up: Some(false), ..Default::default() }).await.unwrap();
    let began = std::time::Instant::now();
    lab.host.wire(gateway.network_id, &device::tap(gateway.id)).await;
    outside.peer.until_pings("203.0.113.31").await;
    assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_that_were_asked_before_a_device_was_wired_are_asked_again() {
    let lab = Lab::new().await;
    let outside = Outside::new(&lab).await;
    let tenant = Tenant::new(Some(outside.gateway("203.0.113.10")));
    let (inside, gateway) = (&tenant.router.interfaces[0], tenant.router.gw_port.as_ref().unwrap());
    lab.server.add(&tenant.router, &[&lab.host.name]).await;
    lab.host.wire(inside.network_id, &device::tap(inside.id)).await;
    let one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    one.until_pings("10.0.0.1").await;
    let router = lab.host.namespace(tenant.router.id).open().unwrap();
    let device = tenant.gateway_device();
    let index = router.link(&device).await.unwrap().unwrap().index;
    let unanswered = async || !router.unanswered(index).await.unwrap().is_empty();
    // One packet, and nobody sends another; the kernel asks three times whose way it is, and gives up.
    assert!(!one.pings("203.0.113.1").await);
    until("the peer was asked for", unanswered).await;
    let asked = std::time::Instant::now();
    until("nobody asks any more", async || asked.elapsed().as_secs() >= 4).await;
    lab.host.wire(gateway.network_id, &device::tap(gateway.id)).await;
    until("the peer answers", async || lab.host.knows(tenant.router.id, &device, "203.0.113.1").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_networks_extra_routes_and_gateways() {
    let lab = Lab::new().await;
    let outside = Outside::new(&lab).await;
    let mut tenant = Tenant::new(Some(outside.gateway("203.0.113.10")));
    let second = NetworkId::random();
    let prefix = subnet("10.0.1.0/24", Some("10.0.1.1"), json!({}));
    let interface = port(second, INTERFACE, &[("10.0.1.1", prefix)]);
    let id = tenant.router.id;
    lab.serve(&tenant.router).await;
    let one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    let two = lab.host.plug(second, "two", &["10.0.1.5/24", "172.16.0.1/32"], &["10.0.1.1"]).await;
    let _echo = two.echo();
    // A new interface while a connection goes on.
    let _outside_echo = outside.peer.echo();
    one.until_pings("203.0.113.1").await;
    let flow = one.flow("203.0.113.1").await;
    tenant.router.interfaces.push(interface);
    lab.server.change(id, |router| router.interfaces = tenant.router.interfaces.clone()).await;
    lab.host.wire_router(&tenant.router).await;
    one.until_pings("10.0.1.5").await;
    // Between networks of a router nothing is translated.
    assert_eq!(one.seen_as("10.0.1.5").await, Some(ip("10.0.0.5")));
    let went = flow.end().await;
    assert!(went.lost_nothing(), "{went:?}");
    // An extra route comes and goes.
    assert!(!one.pings("172.16.0.1").await);
    let route = serde_json::from_value(json!({"destination": "172.16.0.0/16", "nexthop": "10.0.1.5"})).unwrap();
    lab.server.change(id, |router| router.routes = vec![route]).await;
    one.until_pings("172.16.0.1").await;
    lab.server.change(id, |router| router.routes.clear()).await;
    until("the route is gone", async || !one.pings("172.16.0.1").await).await;
    // The gateway goes, and with it the way out but not the way across.
    lab.server.change(id, |router| router.gw_port = None).await;
    until("no way out", async || !one.pings("203.0.113.1").await).await;
    assert!(one.pings("10.0.1.5").await);
    // The administrator takes the router down, and up again.
    lab.server.change(id, |router| router.admin_state_up = false).await;
    until("no way across", async || !one.pings("10.0.1.5").await).await;
    let namespaces = async || lab.host.system().namespaces().unwrap().len();
    until("its namespace is gone", async || namespaces().await == 3).await;
    lab.server.change(id, |router| router.admin_state_up = true).await;
    tenant.router.gw_port = None;
    lab.host.wire_router(&tenant.router).await;
    one.until_pings("10.0.1.5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_outside_its_subnet_and_other_subnets_outside() {
    let lab = Lab::new().await;
    let network = NetworkId::random();
    let peer = lab.host.plug(network, "peer", &["198.51.100.1/24", "203.0.113.1/24", "192.0.2.1/32"], &[]).await;
    peer.add_route("203.0.113.0/24", "198.51.100.1").await;
    let mut gateway =
        port(network, GATEWAY, &[("203.0.113.10", subnet("203.0.113.0/24", Some("198.51.100.1"), json!({})))]);
    gateway.extra_subnets = vec![serde_json::from_value(subnet("198.18.0.0/24", None, json!({}))).unwrap()];
    let tenant = Tenant::new(Some(gateway));
    lab.serve(&tenant.router).await;
    let one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    one.until_pings("192.0.2.1").await;
    // Another subnet of the network is reached without the gateway.
    let other = lab.host.plug(network, "other", &["198.18.0.7/24"], &[]).await;
    other
        .inside
        .route_replace(&kernel::Route::new("203.0.113.0/24".parse().unwrap(), None, other_link(&other).await))
        .await
        .unwrap();
    one.until_pings("198.18.0.7").await;
}

async fn other_link(instance: &Instance) -> u32 {
    instance.inside.link("eth0").await.unwrap().unwrap().index
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_is_not_noticed_and_what_went_meanwhile_goes() {
    let mut lab = Lab::new().await;
    let empty = lab.host.inventory().await;
    let outside = Outside::new(&lab).await;
    let (tenant, other) = (Tenant::new(Some(outside.gateway("203.0.113.10"))), Tenant::new(None));
    let ip_of_one = floating("203.0.113.31", "10.0.0.5");
    let mut told = tenant.router.clone();
    told.floating_ips.push(ip_of_one);
    lab.serve(&told).await;
    lab.serve(&other.router).await;
    let one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    let _echoes = [outside.peer.echo(), one.echo()];
    one.until_pings("203.0.113.1").await;
    outside.peer.until_pings("203.0.113.31").await;
    let flows = [one.flow("203.0.113.1").await, outside.peer.flow("203.0.113.31").await];
    let before = lab.host.rules(told.id).await;
    lab.host.kill().await;
    lab.server.inner(|inner| inner.routers.remove(&other.router.id));
    lab.server.inner(|inner| inner.hosts.remove(&other.router.id));
    // While the server does not answer, nothing is taken away.
    lab.server.inner(|inner| inner.failing.insert("sync_routers".to_owned()));
    lab.host.start();
    until("it is asked", async || lab.server.calls_of("sync_routers") > 2).await;
    assert!(lab.host.namespace(other.router.id).identity().is_some());
    lab.server.inner(|inner| inner.failing.clear());
    until("what is not ours goes", async || lab.host.namespace(other.router.id).identity().is_none()).await;
    until("the floating IP is told of", async || lab.server.calls_of("update_floatingip_statuses") > 1).await;
    for flow in flows {
        let went = flow.end().await;
        assert!(went.lost_nothing(), "{went:?}");
    }
    assert_eq!(lab.host.rules(told.id).await, before);
    // Deleted, it leaves nothing.
    lab.server.delete(told.id).await;
    let rest = async || {
        let mut found = lab.host.inventory().await;
        found.retain(|it| {
            !it.contains("brq") && !["tapone", "tapoutside", "one", "outside"].iter().any(|name| it.ends_with(name))
        });
        found
    };
    until("nothing is left", async || rest().await == empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_router_that_fails_holds_up_no_other() {
    let lab = Lab::new().await;
    let outside = Outside::new(&lab).await;
    // Somebody's device has the name of a tap end, and cannot be made twice.
    let mut broken = Tenant::new(None);
    broken.router.interfaces[0].mtu = Some(1 << 24);
    lab.server.add(&broken.router, &[&lab.host.name]).await;
    let tenant = Tenant::new(Some(outside.gateway("203.0.113.10")));
    lab.serve(&tenant.router).await;
    let one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    one.until_pings("203.0.113.1").await;
    // Put right, it works too.
    lab.server.change(broken.router.id, |router| router.interfaces[0].mtu = Some(1450)).await;
    lab.host.wire_router(&broken.router).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_undid_is_put_right() {
    let lab = Lab::new().await;
    let outside = Outside::new(&lab).await;
    let tenant = Tenant::new(Some(outside.gateway("203.0.113.10")));
    lab.serve(&tenant.router).await;
    let one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    one.until_pings("203.0.113.1").await;
    let tap = device::tap(tenant.router.interfaces[0].id);
    let netlink = lab.host.machine.netlink().unwrap();
    netlink.link_delete(&tap).await.unwrap();
    lab.host.wire_router(&tenant.router).await;
    one.until_pings("203.0.113.1").await;
    // A router that is given to another agent leaves nothing here.
    lab.server.take_from(tenant.router.id, &lab.host.name).await;
    until("the namespace is gone", async || lab.host.namespace(tenant.router.id).identity().is_none()).await;
    assert!(netlink.link(&tap).await.unwrap().is_none());
}
