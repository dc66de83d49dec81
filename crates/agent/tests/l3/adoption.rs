//! What an agent of the other kind left is taken over under running connections.

use kernel::{Address, LinkChange, NewKind, NewLink, Route, process, sysctl};
use rpc::l3::Router;
use types::device;

use super::{
    lab::{PATIENCE, TestHost, until},
    routing::{Outside, Tenant},
    server::{floating, ip},
};
use crate::lab::Lab;

/// The rules of upstream's agent for a router with one floating IP.
fn iptables(gateway: &str) -> String {
    format!(
        "*nat\n\
         :neutron-l3-agent-PREROUTING - [0:0]\n:neutron-l3-agent-POSTROUTING - [0:0]\n\
         :neutron-l3-agent-OUTPUT - [0:0]\n:neutron-l3-agent-snat - [0:0]\n:neutron-l3-agent-float-snat - [0:0]\n\
         :neutron-postrouting-bottom - [0:0]\n\
         -A PREROUTING -j neutron-l3-agent-PREROUTING\n-A OUTPUT -j neutron-l3-agent-OUTPUT\n\
         -A POSTROUTING -j neutron-l3-agent-POSTROUTING\n-A POSTROUTING -j neutron-postrouting-bottom\n\
         -A neutron-postrouting-bottom -j neutron-l3-agent-snat\n\
         -A neutron-l3-agent-PREROUTING -d 203.0.113.31/32 -j DNAT --to-destination 10.0.0.5\n\
         -A neutron-l3-agent-OUTPUT -d 203.0.113.31/32 -j DNAT --to-destination 10.0.0.5\n\
         -A neutron-l3-agent-float-snat -s 10.0.0.5/32 -j SNAT --to-source 203.0.113.31 --random-fully\n\
         -A neutron-l3-agent-POSTROUTING ! -o {gateway} -m conntrack ! --ctstate DNAT -j ACCEPT\n\
         -A neutron-l3-agent-snat -j neutron-l3-agent-float-snat\n\
         -A neutron-l3-agent-snat -o {gateway} -j SNAT --to-source 203.0.113.10 --random-fully\n\
         COMMIT\n\
         *mangle\n:neutron-l3-agent-PREROUTING - [0:0]\n:neutron-l3-agent-mark - [0:0]\n\
         -A PREROUTING -j neutron-l3-agent-PREROUTING\n-A neutron-l3-agent-PREROUTING -j neutron-l3-agent-mark\n\
         -A neutron-l3-agent-mark -i {gateway} -j MARK --set-xmark 0x2/0xffff\nCOMMIT\n\
         *filter\n:neutron-l3-agent-INPUT - [0:0]\n-A INPUT -j neutron-l3-agent-INPUT\n\
         -A neutron-l3-agent-INPUT -m mark --mark 0x1/0xffff -j ACCEPT\n\
         -A neutron-l3-agent-INPUT -p tcp -m tcp --dport 9697 -j DROP\nCOMMIT\n"
    )
}

/// A router as upstream's agent makes it.
async fn leave(host: &TestHost, router: &Router) {
    let namespace = host.system().namespace_create(&device::router_namespace(router.id)).unwrap();
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        sysctl::write(&namespace, key, "1").unwrap();
    }
    let inside = namespace.open().unwrap();
    inside.link_set("lo", &LinkChange::up()).await.unwrap();
    let gateway = router.gw_port.as_ref().unwrap();
    let (outer, inner) = (device::router_gateway(gateway.id), device::router_interface(router.interfaces[0].id));
    for (port, name) in [(gateway, &outer), (&router.interfaces[0], &inner)] {
        let peer = LinkChange::up().with_mac(port.mac_address).with_mtu(1450).in_namespace(&namespace);
        let kind = NewKind::Veth { peer: name.clone(), settings: Box::new(peer) };
        let pair = NewLink { name: device::tap(port.id), kind, settings: LinkChange::up().with_mtu(1450) };
        host.machine.netlink().unwrap().link_create(&pair).await.unwrap();
        host.wire(port.network_id, &device::tap(port.id)).await;
    }
    let index = async |name: &str| inside.link(name).await.unwrap().unwrap().index;
    let (outer_index, inner_index) = (index(&outer).await, index(&inner).await);
    for (link, net) in
        [(outer_index, "203.0.113.10/24"), (outer_index, "203.0.113.31/32"), (inner_index, "10.0.0.1/24")]
    {
        inside.address_set(&Address::new(link, net.parse().unwrap())).await.unwrap();
    }
    inside.route_replace(&Route::default_via(ip("203.0.113.1"), outer_index)).await.unwrap();
    // A route that the server has forgotten since.
    let stale = Route::new("172.20.0.0/16".parse().unwrap(), Some(ip("10.0.0.77")), inner_index);
    inside.route_replace(&stale).await.unwrap();
    let command = ["iptables-restore", "--wait"].map(str::to_owned);
    process::run_with_input(Some(&namespace), &command, &iptables(&outer), PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_of_upstreams_agent_is_taken_over_without_a_lost_packet() {
    let mut lab = Lab::new().await;
    lab.host.stop().await;
    let outside = Outside::new(&lab).await;
    let mut tenant = Tenant::new(Some(outside.gateway("203.0.113.10")));
    tenant.router.floating_ips.push(floating("203.0.113.31", "10.0.0.5"));
    let router = &tenant.router;
    leave(&lab.host, router).await;
    let one = lab.host.plug(tenant.inside, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    let two = lab.host.plug(tenant.inside, "two", &["10.0.0.6/24"], &["10.0.0.1"]).await;
    let _echoes = [outside.peer.echo(), one.echo()];
    two.until_pings("203.0.113.1").await;
    outside.peer.until_pings("203.0.113.31").await;
    let flows = [two.flow("203.0.113.1").await, outside.peer.flow("203.0.113.31").await, one.flow("203.0.113.1").await];
    let links = async || lab.host.namespace(router.id).open().unwrap().links().await.unwrap();
    let before = links().await;

    lab.server.put(router, &[&lab.host.name]);
    let mut host = lab.host;
    host.start();
    host.until_rules(router.id, "fixed_of").await;
    until("the other rules are gone", async || !host.rules(router.id).await.contains("neutron-l3-agent")).await;
    assert_eq!(two.seen_as("203.0.113.1").await, Some(ip("203.0.113.10")));
    assert_eq!(one.seen_as("203.0.113.1").await, Some(ip("203.0.113.31")));
    assert_eq!(outside.peer.seen_as("203.0.113.31").await, Some(ip("203.0.113.1")));
    for flow in flows {
        let went = flow.end().await;
        assert!(went.lost_nothing(), "{went:?}");
    }
    let inside = host.namespace(router.id).open().unwrap();
    let indices = |links: &[kernel::Link]| links.iter().map(|link| (link.index, link.name.clone())).collect::<Vec<_>>();
    assert_eq!(indices(&inside.links().await.unwrap()), indices(&before));
    until("the stale route is gone", async || {
        let routes = inside.routes().await.unwrap();
        !routes.iter().any(|route| route.destination() == "172.20.0.0/16".parse().ok())
    })
    .await;
}
