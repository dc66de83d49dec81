//! Link and address events of the real kernel, and the fake kernel beside it. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use isospin_kernel::{
    Address, Bridge, Event, Events, Kernel, LinkChange, NewKind, NewLink, fake::FakeHost, testing::Machine,
};

/// The next event that `wanted` takes, within a time that a busy machine needs.
async fn until<T>(events: &mut Events, wanted: impl Fn(Event) -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = wanted(events.next().await) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), search).await.expect("the event does not come")
}

/// The life of a tap, told by events alone.
async fn a_tap_lives(kernel: impl Kernel) {
    let mut events = kernel.events().unwrap();
    let bridge = NewLink { name: "brq1".into(), kind: NewKind::Bridge(Bridge::default()), settings: LinkChange::up() };
    kernel.link_create(&bridge).await.unwrap();
    let peer = NewKind::Veth { peer: "vm1".into(), settings: Box::default() };
    let pair = NewLink { name: "tap1".into(), kind: peer, settings: LinkChange::default() };
    let master = kernel.link("brq1").await.unwrap().unwrap().index;

    let tap = |event| match event {
        Event::Link(link) if link.name == "tap1" => Some(link),
        _ => None,
    };
    kernel.link_create(&pair).await.unwrap();
    let first = until(&mut events, tap).await;
    assert_eq!((first.master, first.up), (None, false));

    kernel.link_set("tap1", &LinkChange::up().with_master(master)).await.unwrap();
    until(&mut events, |event| tap(event).filter(|link| link.master == Some(master) && link.up)).await;

    let address = Address::new(master, "10.0.0.1/24".parse().unwrap());
    kernel.address_set(&address).await.unwrap();
    assert!(kernel.addresses().await.unwrap().iter().any(|a| a.net == address.net));

    kernel.link_set("tap1", &LinkChange { master: Some(None), ..LinkChange::default() }).await.unwrap();
    until(&mut events, |event| match event {
        Event::LinkGone(link) if link.name == "tap1" => panic!("leaving a bridge is not going"),
        other => tap(other).filter(|link| link.master.is_none()),
    })
    .await;

    kernel.link_delete("tap1").await.unwrap();
    until(&mut events, |event| matches!(event, Event::LinkGone(link) if link.name == "tap1").then_some(())).await;
    kernel.link_create(&pair).await.unwrap();
    assert_ne!(until(&mut events, tap).await.index, first.index, "a link made again is another one");
}

#[tokio::test]
async fn the_real_kernel_tells_what_happens() {
    let machine = Machine::new().await.unwrap();
    a_tap_lives(machine.netlink().unwrap()).await;
}

#[tokio::test]
async fn the_fake_kernel_tells_the_same() {
    a_tap_lives(FakeHost::new().kernel()).await;
}

#[tokio::test]
async fn an_address_is_told() {
    let machine = Machine::new().await.unwrap();
    let kernel = machine.netlink().unwrap();
    let mut events = Kernel::events(&kernel).unwrap();
    let lo = kernel.link("lo").await.unwrap().unwrap().index;
    let address = Address::new(lo, "10.1.1.1/32".parse().unwrap());
    kernel.address_set(&address).await.unwrap();
    until(&mut events, |event| matches!(event, Event::Address(a) if a.net == address.net).then_some(())).await;
    kernel.address_delete(&address).await.unwrap();
    until(&mut events, |event| matches!(event, Event::AddressGone(a) if a.net == address.net).then_some(())).await;
}
