//! Which packets a router tracks the connections of: those that it may translate, and no others.

use kernel::conntrack::{self, Connection};
use rpc::l3::Router;
use serde_json::json;
use types::NetworkId;

use super::{
    lab::{Instance, Lab, until},
    routing::{Outside, Tenant},
    server::{floating, ip, port, subnet},
};

const INTERFACE: &str = "network:router_interface";
const TCP: u8 = 6;

/// A tenant with a second network, and an instance on each that answers.
struct Two {
    lab: Lab,
    outside: Outside,
    router: Router,
    one: Instance,
    two: Instance,
}

impl Two {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let outside = Outside::new(&lab).await;
        let mut tenant = Tenant::new(Some(outside.gateway("203.0.113.10")));
        let second = NetworkId::random();
        let subnets = [subnet("10.0.1.0/24", Some("10.0.1.1"), json!({})), subnet("2001:db8:1::/64", None, json!({}))];
        let [v4, v6] = subnets;
        tenant.router.interfaces.push(port(second, INTERFACE, &[("10.0.1.1", v4), ("2001:db8:1::1", v6)]));
        let v6 = port(tenant.inside, INTERFACE, &[("2001:db8::1", subnet("2001:db8::/64", None, json!({})))]);
        tenant.router.interfaces[0].fixed_ips.extend(v6.fixed_ips);
        tenant.router.interfaces[0].subnets.extend(v6.subnets);
        lab.serve(&tenant.router).await;
        let one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24", "2001:db8::5/64"], &["10.0.0.1", "2001:db8::1"]);
        let one = one.await;
        let two = lab.host.plug(second, "two", &["10.0.1.5/24", "2001:db8:1::5/64"], &["10.0.1.1", "2001:db8:1::1"]);
        let two = two.await;
        for to in ["10.0.1.5", "2001:db8:1::5", "203.0.113.1"] {
            one.until_pings(to).await;
        }
        Self { lab, outside, router: tenant.router, one, two }
    }

    /// The connections by TCP that the router knows.
    fn connections(&self) -> Vec<Connection> {
        let namespace = self.lab.host.namespace(self.router.id);
        let both = [4, 6].map(|version| conntrack::list(&namespace, version).unwrap());
        both.into_iter().flatten().filter(|connection| connection.original.protocol == TCP).collect()
    }

    /// From where to where these are.
    fn tracked(&self) -> Vec<(String, String)> {
        let ends = |it: &Connection| (it.original.source.to_string(), it.original.destination.to_string());
        self.connections().iter().map(ends).collect()
    }

    async fn give(&self, outside: &str, inside: &str) {
        self.lab.server.change(self.router.id, |router| router.floating_ips.push(floating(outside, inside))).await;
        self.outside.peer.until_pings(outside).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_between_networks_is_not_tracked_and_what_is_translated_is() {
    let it = Two::new().await;
    let _echoes = [it.one.echo(), it.two.echo(), it.outside.peer.echo()];
    assert_eq!(it.one.seen_as("10.0.1.5").await, Some(ip("10.0.0.5")));
    assert_eq!(it.one.seen_as("2001:db8:1::5").await, Some(ip("2001:db8::5")));
    // The router itself answers too.
    assert!(it.one.pings("10.0.1.1").await && it.one.pings("10.0.0.1").await);
    assert_eq!(it.tracked(), []);

    // Out, in, and from both networks by way of a floating IP.
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(it.two.seen_as("203.0.113.1").await, Some(ip("203.0.113.10")));
    it.give("203.0.113.31", "10.0.0.5").await;
    assert_eq!(it.outside.peer.seen_as("203.0.113.31").await, Some(ip("203.0.113.1")));
    assert_eq!(it.two.seen_as("203.0.113.31").await, Some(ip("203.0.113.10")));
    assert!(it.one.seen_as("203.0.113.31").await.is_some());
    // Both ends have one, and each is seen by it.
    it.give("203.0.113.32", "10.0.1.5").await;
    assert_eq!(it.two.seen_as("203.0.113.31").await, Some(ip("203.0.113.32")));
    let tracked = it.tracked();
    for expected in [
        pair("10.0.1.5", "203.0.113.1"),
        pair("203.0.113.1", "203.0.113.31"),
        pair("10.0.1.5", "203.0.113.31"),
        pair("10.0.0.5", "203.0.113.31"),
    ] {
        assert!(tracked.contains(&expected), "{expected:?} is not in {tracked:?}");
    }
    // Each still reaches the other by its own address, untranslated and untracked.
    assert_eq!(it.two.seen_as("10.0.0.5").await, Some(ip("10.0.1.5")));
    assert!(!it.tracked().contains(&pair("10.0.1.5", "10.0.0.5")));
}

#[tokio::test(flavor = "multi_thread")]
async fn floating_ips_come_and_go_while_connections_inside_go_on() {
    let it = Two::new().await;
    let _echoes = [it.one.echo(), it.two.echo()];
    let flows = [it.two.flow("10.0.0.5").await, it.one.flow("2001:db8:1::5").await];
    it.give("203.0.113.31", "10.0.0.5").await;
    let by_floating = it.two.flow("203.0.113.31").await;
    assert!(by_floating.goes_on().await);
    let translated = || it.connections().iter().any(|connection| connection.reply.source == ip("10.0.0.5"));
    assert!(translated());
    it.lab.server.change(it.router.id, |router| router.floating_ips.clear()).await;
    until("what was sent to it ends", async || !translated()).await;
    drop(by_floating);
    for flow in flows {
        assert!(flow.goes_on().await);
        assert!(!flow.end().await.broke);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_network_that_a_route_leads_out_of_is_translated() {
    let it = Two::new().await;
    let _echo = it.outside.peer.echo();
    let route = json!({"destination": "10.0.1.128/25", "nexthop": "203.0.113.1"});
    it.lab.server.change(it.router.id, |router| router.routes = vec![serde_json::from_value(route).unwrap()]).await;
    let address = kernel::Address::new(1, "10.0.1.200/32".parse().unwrap());
    it.outside.peer.inside.address_set(&address).await.unwrap();
    it.one.until_pings("10.0.1.200").await;
    assert_eq!(it.one.seen_as("10.0.1.200").await, Some(ip("203.0.113.10")));
}
