//! Forwarding entries and neighbours, on the real kernel and on the one in memory, which must agree. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use isospin_kernel::{
    Forwarding, Kernel, LinkChange, Neighbour, NewKind, NewLink, Vxlan, fake::FakeHost, neighbour::FLOOD,
    testing::Machine,
};
use types::Mac;

const VNI: u32 = 565;

fn mac(last: u8) -> Mac {
    Mac([0xfa, 0x16, 0x3e, 0, 0, last])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A VXLAN device that starts at this address, and its index.
async fn vxlan(kernel: &impl Kernel, local: &str) -> u32 {
    let vxlan = Vxlan { vni: VNI, local: Some(ip(local)), port: 8472, proxy: true, ..Vxlan::default() };
    let link = NewLink { name: "vxlan-565".into(), kind: NewKind::Vxlan(vxlan), settings: LinkChange::up() };
    kernel.link_create(&link).await.unwrap();
    kernel.link("vxlan-565").await.unwrap().unwrap().index
}

async fn forwardings(kernel: &impl Kernel) -> Vec<Forwarding> {
    let mut found = kernel.forwardings().await.unwrap();
    found.sort();
    found
}

async fn forwarding_entries(kernel: &impl Kernel, local: &str, [a, b, c]: [IpAddr; 3]) {
    let link = vxlan(kernel, local).await;
    assert_eq!(forwardings(kernel).await, []);
    let entry = |mac, remote| Forwarding { link, mac, remote };
    // Broadcasts go to any number of hosts; that an entry stands already is no error.
    for remote in [a, b, b] {
        kernel.forwarding_set(&entry(FLOOD, remote)).await.unwrap();
    }
    kernel.forwarding_set(&entry(mac(1), a)).await.unwrap();
    assert_eq!(forwardings(kernel).await, [entry(FLOOD, a), entry(FLOOD, b), entry(mac(1), a)]);
    // A MAC moves, at one stroke.
    kernel.forwarding_set(&entry(mac(1), c)).await.unwrap();
    assert_eq!(forwardings(kernel).await, [entry(FLOOD, a), entry(FLOOD, b), entry(mac(1), c)]);
    // What leads there is not what is to go.
    kernel.forwarding_delete(&entry(mac(1), a)).await.unwrap();
    kernel.forwarding_delete(&entry(FLOOD, a)).await.unwrap();
    assert_eq!(forwardings(kernel).await, [entry(FLOOD, b), entry(mac(1), c)]);
    kernel.forwarding_delete(&entry(FLOOD, b)).await.unwrap();
    let error = kernel.forwarding_delete(&entry(FLOOD, b)).await.unwrap_err();
    assert!(error.is_missing(), "{error}");
    assert_eq!(error.to_string(), format!("cannot stop forwarding 00:00:00:00:00:00 to {b}"));
    kernel.forwarding_set(&entry(FLOOD, b)).await.unwrap();
    kernel.link_delete("vxlan-565").await.unwrap();
    assert_eq!(forwardings(kernel).await, []);
}

async fn neighbour_entries(kernel: &impl Kernel) {
    let link = vxlan(kernel, "127.0.0.1").await;
    let neighbour = |address, last| Neighbour { link, address: ip(address), mac: mac(last) };
    for entry in [neighbour("10.0.0.5", 1), neighbour("2001:db8::5", 1), neighbour("10.0.0.5", 2)] {
        kernel.neighbour_set(&entry).await.unwrap();
    }
    let mut found = kernel.neighbours().await.unwrap();
    found.retain(|entry| entry.link == link);
    found.sort();
    assert_eq!(found, [neighbour("10.0.0.5", 2), neighbour("2001:db8::5", 1)]);
    kernel.neighbour_delete(&neighbour("10.0.0.5", 2)).await.unwrap();
    assert!(kernel.neighbour_delete(&neighbour("10.0.0.5", 2)).await.unwrap_err().is_missing());
    kernel.link_delete("vxlan-565").await.unwrap();
    assert!(!kernel.neighbours().await.unwrap().iter().any(|entry| entry.link == link));
}

#[tokio::test]
async fn forwarding_entries_lead_to_hosts_and_move() {
    let v4 = [ip("10.0.0.2"), ip("10.0.0.3"), ip("10.0.0.4")];
    let v6 = [ip("2001:db8::2"), ip("2001:db8::3"), ip("2001:db8::4")];
    let machine = Machine::new().await.unwrap();
    let root = machine.netlink().unwrap();
    forwarding_entries(&FakeHost::new().kernel(), "127.0.0.1", v4).await;
    forwarding_entries(&root, "127.0.0.1", v4).await;
    forwarding_entries(&root, "::1", v6).await;
}

#[tokio::test]
async fn neighbours_are_set_changed_and_removed() {
    let machine = Machine::new().await.unwrap();
    neighbour_entries(&FakeHost::new().kernel()).await;
    neighbour_entries(&machine.netlink().unwrap()).await;
}
