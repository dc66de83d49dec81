//! Everything an instance could pretend to be: blocked, as a capture at another port shows, while the same frames pass
//! from a port without port security.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use types::Mac;

use crate::{
    frames::{BROADCAST, arp, icmp6, neighbour, udp},
    lab::{Instance, Lab, rules},
};

const OTHER_MAC: Mac = Mac([0xfa, 0x16, 0x3e, 0xba, 0xdb, 0xad]);
const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn v4(instance: &Instance) -> Ipv4Addr {
    match instance.v4() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!(),
    }
}

fn local(mac: Mac) -> Ipv6Addr {
    mac.eui64(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0))
}

/// Kinds of forgery, each with a frame as this instance would send it.
fn forgeries(from: &Instance) -> Vec<(&'static str, Vec<u8>)> {
    let (mac, own, all) = (from.mac, v4(from), Ipv4Addr::BROADCAST);
    let own6 = local(mac);
    let victim6: Ipv6Addr = "2001:db8::77".parse().unwrap();
    let solicited: Ipv6Addr = "ff02::1:ff00:77".parse().unwrap();
    let to_all = (IpAddr::V4(all), 9);
    let servers: IpAddr = ALL_NODES.into();
    let advert = [&[134, 0, 0, 0, 64, 0, 7, 8][..], &[0; 8]].concat();
    vec![
        ("another MAC", udp((OTHER_MAC, BROADCAST), (own.into(), 1000), to_all, b"spoof")),
        ("another IPv4 source", udp((mac, BROADCAST), (VICTIM.into(), 1000), to_all, b"spoof")),
        (
            "another IPv6 source",
            udp((mac, Mac([0x33, 0x33, 0, 0, 0, 1])), (victim6.into(), 1000), (servers, 9), b"spoof"),
        ),
        ("an ARP answer for another's address", arp(mac, (mac, VICTIM), 2, own)),
        ("an ARP question as another", arp(mac, (mac, VICTIM), 1, VICTIM)),
        ("ARP for its own address at another MAC", arp(mac, (OTHER_MAC, own), 2, own)),
        ("a neighbour advertisement for another's address", {
            icmp6(mac, (own6, ALL_NODES), &neighbour(136, victim6, Some(mac)))
        }),
        ("a neighbour advertisement as another", icmp6(mac, (victim6, ALL_NODES), &neighbour(136, victim6, Some(mac)))),
        ("the claim, by a probe, that another's address is its own", {
            icmp6(mac, (Ipv6Addr::UNSPECIFIED, solicited), &neighbour(135, victim6, None))
        }),
        ("a router advertisement", icmp6(mac, (own6, ALL_NODES), &advert)),
        ("a DHCP server's answer", udp((mac, BROADCAST), (own.into(), 67), (all.into(), 68), b"offer")),
        ("a DHCPv6 server's answer", {
            udp((mac, Mac([0x33, 0x33, 0, 0, 0, 1])), (own6.into(), 547), (servers, 546), b"advertise")
        }),
    ]
}

/// What it may do, one of each kind that could be mistaken for a forgery.
fn honest(from: &Instance) -> Vec<(&'static str, Vec<u8>)> {
    let (mac, own, all) = (from.mac, v4(from), Ipv4Addr::BROADCAST);
    let own6 = local(mac);
    let IpAddr::V6(global) = from.v6() else { unreachable!() };
    let to_all = (IpAddr::V4(all), 9);
    vec![
        ("IPv4 from its own address", udp((mac, BROADCAST), (own.into(), 1000), to_all, b"honest")),
        ("a DHCP question", udp((mac, BROADCAST), (Ipv4Addr::UNSPECIFIED.into(), 68), (all.into(), 67), b"discover")),
        ("ARP for its own address", arp(mac, (mac, own), 1, VICTIM)),
        ("a neighbour advertisement for its own address", {
            icmp6(mac, (global, ALL_NODES), &neighbour(136, global, Some(mac)))
        }),
        ("the probe for its own address", {
            icmp6(mac, (Ipv6Addr::UNSPECIFIED, ALL_NODES), &neighbour(135, global, None))
        }),
        ("a neighbour solicitation", icmp6(mac, (own6, ALL_NODES), &neighbour(135, ALL_NODES, Some(mac)))),
        ("a DHCPv6 question", {
            udp((mac, Mac([0x33, 0x33, 0, 0, 0, 1])), (own6.into(), 546), (ALL_NODES.into(), 547), b"solicit")
        }),
    ]
}

/// Sends a frame, then one that always passes: whether the first was seen before the second.
fn passes(from: &Instance, at: &kernel::testing::Wire, frame: &[u8], marker: u32) -> bool {
    let wire = from.wire();
    wire.send(frame).unwrap();
    let mark = marker.to_be_bytes();
    let question = [&b"marker"[..], &mark[..]].concat();
    let unspecified = (IpAddr::from(Ipv4Addr::UNSPECIFIED), 68);
    let all = (IpAddr::from(Ipv4Addr::BROADCAST), 67);
    wire.send(&udp((from.mac, BROADCAST), unspecified, all, &question)).unwrap();
    let mut seen = false;
    let marked = at.receive(Duration::from_secs(30), |found| {
        seen |= found == frame;
        found.ends_with(&question)
    });
    assert!(marked.is_some(), "the marker was not seen");
    seen
}

async fn blocked_and_seen(lab: Lab) {
    let agent = lab.agent();
    let group = lab.group(&rules(&[]));
    let forger = lab.instance(&["10.0.0.5", "2001:db8::5"], &[group]).await;
    let free = lab.instance(&["10.0.0.6", "2001:db8::6"], &[]).await;
    let witness = lab.instance(&["10.0.0.7", "2001:db8::7"], &[]).await;
    let wire = witness.wire();
    let check = tokio::task::spawn_blocking(move || {
        let mut marker = 0;
        let mut passes = |from: &Instance, frame: &[u8]| {
            marker += 1;
            passes(from, &wire, frame, marker)
        };
        for (what, frame) in forgeries(&free) {
            assert!(passes(&free, &frame), "{what} is not even seen from a port without port security");
        }
        for (what, frame) in honest(&forger) {
            assert!(passes(&forger, &frame), "{what} was blocked");
        }
        let seen: Vec<&str> =
            forgeries(&forger).into_iter().filter(|(_, frame)| passes(&forger, frame)).map(|(what, _)| what).collect();
        assert!(seen.is_empty(), "passed: {seen:?}");
        assert!(forgeries(&forger).len() >= 10);
    });
    check.await.unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgeries_of_every_kind_are_blocked() {
    blocked_and_seen(Lab::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgeries_of_every_kind_are_blocked_by_nftables() {
    blocked_and_seen(Lab::untracked().await).await;
}

async fn pairs(lab: Lab) {
    let agent = lab.agent();
    let group = lab.group(&rules(&[]));
    let sender = lab.instance(&["10.0.0.5", "2001:db8::5"], &[group]).await;
    let witness = lab.instance(&["10.0.0.7", "2001:db8::7"], &[]).await;
    for (mac, address) in [(sender.mac, "10.0.1.0/24"), (OTHER_MAC, "10.0.0.200"), (sender.mac, "2001:db8:1::/48")] {
        lab.pair(&sender, mac, address);
    }
    let times = lab.server.times_up(sender.port);
    lab.server.port_update(sender.port).await;
    crate::lab::eventually!("the port is up again", lab.server.times_up(sender.port) > times);
    let wire = witness.wire();
    let check = tokio::task::spawn_blocking(move || {
        let mac = sender.mac;
        let from = |mac: Mac, source: &str| {
            let source: IpAddr = source.parse().unwrap();
            let (to_mac, to): (Mac, IpAddr) = match source {
                IpAddr::V4(_) => (BROADCAST, Ipv4Addr::BROADCAST.into()),
                IpAddr::V6(_) => (Mac([0x33, 0x33, 0, 0, 0, 1]), ALL_NODES.into()),
            };
            udp((mac, to_mac), (source, 1000), (to, 9), b"pair")
        };
        let claim = |mac: Mac, address: &str| arp(mac, (mac, address.parse().unwrap()), 2, VICTIM);
        let far: Ipv6Addr = "2001:db8:1:2::3".parse().unwrap();
        let own6 = local(mac);
        let cases = [
            (true, from(mac, "10.0.1.9")),
            (true, from(OTHER_MAC, "10.0.0.200")),
            (true, from(mac, "2001:db8:1:2::3")),
            (true, claim(mac, "10.0.1.9")),
            (true, claim(OTHER_MAC, "10.0.0.200")),
            (true, icmp6(mac, (own6, ALL_NODES), &neighbour(136, far, Some(mac)))),
            (false, from(mac, "10.0.2.9")),
            (false, from(mac, "10.0.0.200")),
            (false, from(OTHER_MAC, "10.0.1.9")),
            (false, from(mac, "2001:db8:2::3")),
            (false, claim(mac, "10.0.0.200")),
            (false, claim(mac, "10.0.2.9")),
        ];
        for (marker, (expected, frame)) in cases.iter().enumerate() {
            assert_eq!(passes(&sender, &wire, frame, marker as u32), *expected, "case {marker}");
        }
    });
    check.await.unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allowed_address_pairs_may_be_used_and_no_others() {
    pairs(Lab::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allowed_address_pairs_may_be_used_and_no_others_with_nftables() {
    pairs(Lab::untracked().await).await;
}
