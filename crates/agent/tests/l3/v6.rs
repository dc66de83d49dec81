//! IPv6: hosts find their router and their addresses by what radvd advertises.

use kernel::process::Signal;
use serde_json::json;
use types::NetworkId;

use super::{
    lab::{Instance, Lab, until},
    server::{port, router, subnet},
};

async fn global_addresses(instance: &Instance) -> Vec<String> {
    let all = instance.inside.addresses().await.unwrap();
    let v6 = all.iter().filter(|address| address.is_global() && address.net.addr().is_ipv6());
    v6.filter(|address| !address.net.addr().is_loopback()).map(|address| address.net.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_finds_addresses_and_the_way_out() {
    let lab = Lab::new().await;
    let (inside, outside) = (NetworkId::random(), NetworkId::random());
    let peer = lab.host.plug(outside, "peer", &["2001:db8:ffff::1/64"], &[]).await;
    peer.add_route("2001:db8:1::/64", "2001:db8:ffff::10").await;
    let external = subnet("2001:db8:ffff::/64", Some("2001:db8:ffff::1"), json!({}));
    let prefix = subnet("2001:db8:1::/64", Some("2001:db8:1::1"), json!({"ipv6_ra_mode": "slaac"}));
    let told = router(
        vec![port(inside, "network:router_interface", &[("2001:db8:1::1", prefix)])],
        Some(port(outside, "network:router_gateway", &[("2001:db8:ffff::10", external)])),
    );
    lab.serve(&told).await;
    let host = lab.host.plug(inside, "host", &[], &[]).await;
    until("the host has an address", async || {
        global_addresses(&host).await.iter().any(|net| net.starts_with("2001:db8:1:") && net.ends_with("/64"))
    })
    .await;
    host.until_pings("2001:db8:ffff::1").await;
    let before = lab.host.radvd(told.id).unwrap().pid();

    // Killed, it is back.
    lab.host.radvd(told.id).unwrap().signal(Signal::SIGKILL).unwrap();
    until("radvd is back", async || lab.host.radvd(told.id).is_some_and(|process| process.pid() != before)).await;
    let before = lab.host.radvd(told.id).unwrap().pid();

    // Another prefix beside the first is advertised by the same process.
    let second = subnet("2001:db8:2::/64", Some("2001:db8:2::1"), json!({"ipv6_ra_mode": "dhcpv6-stateless"}));
    let more = port(inside, "network:router_interface", &[("2001:db8:2::1", second)]);
    lab.server
        .change(told.id, |router| {
            let interface = &mut router.interfaces[0];
            interface.fixed_ips.extend(&more.fixed_ips);
            interface.subnets.extend(more.subnets.clone());
        })
        .await;
    until("the host has both", async || global_addresses(&host).await.iter().any(|net| net.starts_with("2001:db8:2:")))
        .await;
    assert_eq!(lab.host.radvd(told.id).unwrap().pid(), before);

    // A restarted agent takes radvd over.
    let mut lab = lab;
    lab.host.stop().await;
    lab.host.start();
    until("it is in sync", async || lab.server.calls_of("sync_routers") > 2).await;
    lab.server.change(told.id, |router| router.name = "renamed".to_owned()).await;
    assert_eq!(lab.host.radvd(told.id).unwrap().pid(), before);

    // Nothing to advertise, no radvd.
    let quiet = |router: &mut rpc::l3::Router| {
        router.interfaces[0].subnets.iter_mut().for_each(|subnet| subnet.ipv6_ra_mode = None);
    };
    lab.server.change(told.id, quiet).await;
    until("radvd is gone", async || lab.host.radvd(told.id).is_none()).await;
    until("so is its file", async || !lab.host.config().radvd_file(told.id).exists()).await;
    // Its last word was that it is no router any more.
    until("the host has no way out", async || !host.pings("2001:db8:ffff::1").await).await;
}
