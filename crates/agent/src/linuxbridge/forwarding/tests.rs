//! The driver on the fake kernel.

use kernel::{Errno, LinkChange, NewKind, NewLink, Vxlan, fake::FakeHost};
use reconcile::{Desired, Reconciler, Settings, testing::settles};

use super::*;

const DEVICE: &str = "vxlan-5";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mac(last: u8) -> Mac {
    Mac([0xfa, 0x16, 0x3e, 0, 0, last])
}

async fn host() -> (FakeHost, u32) {
    let host = FakeHost::new();
    let vxlan = Vxlan { vni: 5, port: 8472, ..Vxlan::default() };
    let link = NewLink { name: DEVICE.to_owned(), kind: NewKind::Vxlan(vxlan), settings: LinkChange::up() };
    host.kernel().link_create(&link).await.unwrap();
    let index = host.kernel().link(DEVICE).await.unwrap().unwrap().index;
    host.take_changes();
    (host, index)
}

fn wanted() -> Entries {
    Entries {
        forwardings: [(FLOOD, ip("10.0.0.2")), (FLOOD, ip("10.0.0.3")), (mac(1), ip("10.0.0.2"))].into(),
        neighbours: [(ip("10.9.0.1"), mac(1)), (ip("2001:db8::1"), mac(1))].into(),
        others: Others::Go,
    }
}

fn desired(entries: Entries) -> Desired<String, Entries> {
    [(DEVICE.to_owned(), entries)].into_iter().collect()
}

#[tokio::test]
async fn entries_settle_in_one_pass_and_are_then_left_alone() {
    let (host, _) = host().await;
    settles(Forwarder::new(host.kernel()), desired(wanted())).await.unwrap();
    assert_eq!(host.take_changes().len(), 5);
    settles(Forwarder::new(host.kernel()), desired(wanted())).await.unwrap();
    assert_eq!(host.take_changes(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_predecessor_left_is_adopted_and_goes_only_when_everything_is_known() {
    let (host, link) = host().await;
    let kernel = host.kernel();
    let stale = Forwarding { link, mac: mac(9), remote: ip("10.0.0.9") };
    let gone = Forwarding { link, mac: FLOOD, remote: ip("10.0.0.8") };
    for entry in [stale, gone, Forwarding { link, mac: mac(1), remote: ip("10.0.0.2") }] {
        kernel.forwarding_set(&entry).await.unwrap();
    }
    kernel.neighbour_set(&Neighbour { link, address: ip("10.9.0.9"), mac: mac(9) }).await.unwrap();
    host.take_changes();
    let others = Others::Stay { forwardings: [(FLOOD, ip("10.0.0.8"))].into(), neighbours: BTreeSet::new() };
    settles(Forwarder::new(host.kernel()), desired(Entries { others, ..wanted() })).await.unwrap();
    let changes = host.take_changes();
    assert!(changes.contains(&"stop forwarding 00:00:00:00:00:00 to 10.0.0.8".to_owned()), "{changes:?}");
    assert!(!changes.iter().any(|change| change == "forward fa:16:3e:00:00:01 to 10.0.0.2"), "adopted: {changes:?}");
    assert!(kernel.forwardings().await.unwrap().contains(&stale));
    settles(Forwarder::new(host.kernel()), desired(wanted())).await.unwrap();
    assert!(!kernel.forwardings().await.unwrap().contains(&stale));
    assert_eq!(kernel.neighbours().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_mac_moves_at_one_stroke() {
    let (host, link) = host().await;
    settles(Forwarder::new(host.kernel()), desired(wanted())).await.unwrap();
    host.take_changes();
    let mut moved = wanted();
    moved.forwardings.remove(&(mac(1), ip("10.0.0.2")));
    moved.forwardings.insert((mac(1), ip("10.0.0.3")));
    settles(Forwarder::new(host.kernel()), desired(moved)).await.unwrap();
    assert_eq!(host.take_changes(), ["forward fa:16:3e:00:00:01 to 10.0.0.3"]);
    let entry = Forwarding { link, mac: mac(1), remote: ip("10.0.0.3") };
    assert!(host.kernel().forwardings().await.unwrap().contains(&entry));
}

#[tokio::test]
async fn an_entry_the_kernel_refuses_holds_up_no_other() {
    let (host, _) = host().await;
    host.fail("forward 00:00:00:00:00:00 to 10.0.0.2", Errno::ENOMEM, 1);
    let mut reconciler = Reconciler::new(Forwarder::new(host.kernel()), Settings::default());
    reconciler.set(DEVICE.to_owned(), wanted());
    let pass = reconciler.pass().await.unwrap();
    assert_eq!(pass.failed.len(), 1);
    assert_eq!(host.kernel().forwardings().await.unwrap().len(), 2);
    assert_eq!(host.kernel().neighbours().await.unwrap().len(), 2);
    reconciler.hint(DEVICE.to_owned());
    assert_eq!(reconciler.pass().await.unwrap().updated, [DEVICE]);
}

#[tokio::test]
async fn addresses_of_the_second_family_need_it_on_the_device() {
    let (host, _) = host().await;
    let kernel = host.kernel();
    kernel.sysctl_set("net/ipv6/conf/vxlan-5/disable_ipv6", "1").unwrap();
    settles(Forwarder::new(host.kernel()), desired(wanted())).await.unwrap();
    let set = |parameter: &str| kernel.sysctl(&format!("net/ipv6/conf/vxlan-5/{parameter}")).unwrap();
    assert_eq!(["disable_ipv6", "addr_gen_mode", "accept_ra"].map(set), ["0", "1", "0"]);
}

#[tokio::test]
async fn without_its_device_it_waits() {
    let host = FakeHost::new();
    let left = settles(Forwarder::new(host.kernel()), desired(wanted())).await.err().unwrap();
    assert!(left.contains("there is no VXLAN device named vxlan-5"), "{left}");
}
