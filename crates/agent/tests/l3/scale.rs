//! Fifty routers at once.

use std::time::Instant;

use rpc::l3::Router;
use serde_json::json;
use types::{NetworkId, device};

use super::{
    lab::{Lab, until},
    server::{floating, port, router, subnet},
};

const ROUTERS: usize = 50;

/// A router with two networks inside, a way out and a floating IP.
fn one(outside: NetworkId, number: usize) -> Router {
    let inside = |net: &str| {
        let prefix = subnet(&format!("{net}.0/24"), Some(&format!("{net}.1")), json!({}));
        port(NetworkId::random(), "network:router_interface", &[(&format!("{net}.1"), prefix)])
    };
    let external = subnet("203.0.112.0/22", Some("203.0.112.1"), json!({}));
    let address = |high: usize| format!("203.0.{high}.{}", number + 10);
    let gateway = port(outside, "network:router_gateway", &[(&address(113), external)]);
    let mut told = router(vec![inside("10.0.0"), inside("10.0.1")], Some(gateway));
    told.floating_ips = vec![floating(&address(114), "10.0.0.5")];
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_fifty_routers_is_short_and_not_noticed() {
    let mut lab = Lab::new().await;
    let outside = NetworkId::random();
    let peer = lab.host.plug(outside, "outside", &["203.0.112.1/22"], &[]).await;
    let _echo = peer.echo();
    let routers: Vec<Router> = (0..ROUTERS).map(|number| one(outside, number)).collect();
    let began = Instant::now();
    for told in &routers {
        lab.server.add(told, &[&lab.host.name]).await;
    }
    for told in &routers {
        lab.host.wire_router(told).await;
    }
    let active = async || {
        let all = routers.iter().map(|told| told.floating_ips[0].id);
        all.filter(|id| lab.server.status(*id).as_deref() == Some("ACTIVE")).count()
    };
    until("all are set up", async || active().await == ROUTERS).await;
    eprintln!("{ROUTERS} routers set up after {:?}", began.elapsed());

    let last = routers.last().unwrap();
    let instance = lab.host.plug(last.interfaces[0].network_id, "one", &["10.0.0.5/24"], &["10.0.0.1"]).await;
    instance.until_pings("203.0.112.1").await;
    let flow = instance.flow("203.0.112.1").await;
    // The last thing that a restart does is to take away what went: a router that is not ours.
    let gone = types::RouterId::random();
    let stray = device::router_namespace(gone);
    lab.host.kill().await;
    lab.host.system().namespace_create(&stray).unwrap();
    std::fs::write(lab.host.config().mark(gone), "").unwrap();
    lab.server.inner(|inner| inner.statuses.clear());
    let began = Instant::now();
    lab.host.start();
    until("it is in sync", async || active().await == ROUTERS && !lab.host.system().namespace_exists(&stray)).await;
    let took = began.elapsed();
    eprintln!("in sync {took:?} after a restart");
    let went = flow.end().await;
    assert!(went.lost_nothing(), "{went:?}");
}
