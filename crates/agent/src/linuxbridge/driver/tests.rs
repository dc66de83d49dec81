//! The driver on the fake kernel: what it plans, in which order, and what happens when the kernel refuses.

use kernel::{Address, Errno, Host, Route, fake::FakeHost};
use reconcile::{Desired, Reconciler, Settings, testing::settles};
use types::NetworkType;

use super::*;
use crate::linuxbridge::{
    config::Overlay,
    desired::{carrier, network_objects, tap, tests::port},
};

fn config() -> Config {
    let mut config = Config::new("host-a");
    config.physical_interface_mappings = [("physnet1".to_owned(), "eth1".to_owned())].into();
    config.vxlan = Some(Overlay::new("10.0.0.11".parse().unwrap()));
    config
}

/// A host with `eth1`, which has an address and a default route, and the tap of the port.
async fn host() -> FakeHost {
    let host = FakeHost::new();
    let eth1 = host.plug("eth1", Kind::Hardware);
    host.plug("tap11111111-22", Kind::Tun);
    let kernel = host.kernel();
    kernel.address_set(&Address::new(eth1, "10.0.0.11/24".parse().unwrap())).await.unwrap();
    kernel.route_replace(&Route::default_via("10.0.0.1".parse().unwrap(), eth1)).await.unwrap();
    host.take_changes();
    host
}

fn desired(network_type: NetworkType, id: Option<u32>, physical: Option<&str>) -> Desired<Key, Wanted> {
    let port = port(network_type, id, physical);
    let carrier = carrier(&config(), &port).unwrap();
    let mut objects = network_objects(port.network_id, &carrier);
    objects.insert(Key::Tap(port.device.clone()), tap(&carrier, &port));
    objects.into_iter().collect()
}

#[tokio::test]
async fn every_kind_of_network_settles_in_one_pass_and_is_then_left_alone() {
    for (network_type, id, physical) in [
        (NetworkType::Local, None, None),
        (NetworkType::Flat, None, Some("physnet1")),
        (NetworkType::Vlan, Some(7), Some("physnet1")),
        (NetworkType::Vxlan, Some(565), None),
    ] {
        let host = host().await;
        let desired = desired(network_type, id, physical);
        let settled = settles(Wiring::new(host.kernel(), &config()), desired.clone()).await;
        settled.unwrap_or_else(|left| panic!("{network_type}: {left}"));
        host.take_changes();
        settles(Wiring::new(host.kernel(), &config()), desired).await.unwrap();
        assert_eq!(host.take_changes(), Vec::<String>::new(), "{network_type}: a new agent changes nothing");
    }
}

#[tokio::test]
async fn nothing_wanted_leaves_the_host_as_it_was() {
    for (network_type, id, physical) in [
        (NetworkType::Local, None, None),
        (NetworkType::Flat, None, Some("physnet1")),
        (NetworkType::Vlan, Some(7), Some("physnet1")),
        (NetworkType::Vxlan, Some(565), None),
    ] {
        let host = host().await;
        let (kernel, before) = (host.kernel(), host.kernel().links().await.unwrap());
        let driver = Wiring::new(host.kernel(), &config());
        let driver = settles(driver, desired(network_type, id, physical)).await.unwrap();
        let tapless = Desired::from_iter([]);
        let actual = driver.read().await.unwrap();
        let plan = reconcile::plan(&driver, &tapless, &actual);
        assert!(plan.is_empty(), "{network_type}: a bridge with a tap in it stays: {plan:?}");
        kernel.link_delete("tap11111111-22").await.unwrap();
        let driver = settles(driver, tapless).await.unwrap();
        let names = |links: &[Link]| links.iter().map(|link| (link.name.clone(), link.master)).collect::<Vec<_>>();
        let after = driver.kernel.links().await.unwrap();
        assert_eq!(names(&after), names(&before[..2]), "{network_type}");
        let eth1 = after[1].index;
        assert_eq!(kernel.addresses().await.unwrap()[0].link, eth1);
        assert!(kernel.routes().await.unwrap()[0].uses(eth1));
    }
}

#[tokio::test]
async fn addresses_and_routes_are_on_the_bridge_before_they_leave_the_interface() {
    let host = host().await;
    settles(Wiring::new(host.kernel(), &config()), desired(NetworkType::Flat, None, Some("physnet1"))).await.unwrap();
    let changes = host.take_changes();
    let expected = [
        "create link brqaaaaaaaa-bb",
        "change link brqaaaaaaaa-bb",
        "change link brqaaaaaaaa-bb",
        "set address 10.0.0.11/24",
        "change link eth1",
        "set route to 0.0.0.0/0",
        "delete address 10.0.0.11/24",
        "change link tap11111111-22",
    ];
    assert_eq!(changes, expected);
}

#[tokio::test]
async fn a_refusal_anywhere_is_made_good_by_the_next_passes() {
    for request in
        ["create link", "change link brq", "change link eth1", "change link tap", "set address", "set route", "delete"]
    {
        let host = host().await;
        host.fail(request, Errno::EBUSY, 1);
        let wanted = desired(NetworkType::Flat, None, Some("physnet1"));
        let mut reconciler = Reconciler::new(Wiring::new(host.kernel(), &config()), Settings::default());
        for (key, wanted) in wanted.objects() {
            reconciler.set(key.clone(), wanted.clone());
        }
        reconciler.complete();
        let pass = reconciler.pass().await.unwrap();
        assert!(!pass.failed.is_empty(), "{request}");
        assert!(pass.failed[0].1.contains("EBUSY"), "the errno is kept: {:?}", pass.failed);
        settles(reconciler.into_driver(), wanted).await.unwrap_or_else(|left| panic!("{request}: {left}"));
    }
}

#[tokio::test]
async fn a_predecessors_bridge_is_adopted_with_its_ports() {
    let host = host().await;
    let kernel = host.kernel();
    let stp = Bridge { stp: true, forward_delay: 1500, ageing: 100 };
    let bridge = NewLink { name: "brqaaaaaaaa-bb".to_owned(), kind: NewKind::Bridge(stp), settings: LinkChange::up() };
    kernel.link_create(&bridge).await.unwrap();
    let index = kernel.link("brqaaaaaaaa-bb").await.unwrap().unwrap().index;
    kernel.link_set("tap11111111-22", &LinkChange::default().with_master(index)).await.unwrap();
    host.take_changes();
    settles(Wiring::new(host.kernel(), &config()), desired(NetworkType::Local, None, None)).await.unwrap();
    assert_eq!(host.take_changes(), ["change link brqaaaaaaaa-bb", "change link tap11111111-22"]);
    let adopted = kernel.link("brqaaaaaaaa-bb").await.unwrap().unwrap();
    assert_eq!(adopted.kind, Kind::Bridge(Bridge { stp: false, forward_delay: 0, ageing: 100 }));
    assert_eq!(adopted.index, index);
}

#[tokio::test]
async fn a_bridge_without_our_mark_is_never_removed() {
    let host = host().await;
    let kernel = host.root().unwrap();
    for (name, alias) in [
        ("brqaaaaaaaa-bb", None),
        ("brqcccccccc-dd", Some("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")),
        ("virbr0", Some("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")),
    ] {
        let settings = LinkChange { alias: alias.map(str::to_owned), ..LinkChange::default() };
        let link = NewLink { name: name.to_owned(), kind: NewKind::Bridge(Bridge::default()), settings };
        kernel.link_create(&link).await.unwrap();
    }
    host.take_changes();
    settles(Wiring::new(host.kernel(), &config()), Desired::from_iter([])).await.unwrap();
    assert_eq!(host.take_changes(), Vec::<String>::new());
}

#[tokio::test]
async fn something_else_under_a_bridges_name_is_refused_in_words() {
    let host = host().await;
    host.plug("brqaaaaaaaa-bb", Kind::Tun);
    let left = settles(Wiring::new(host.kernel(), &config()), desired(NetworkType::Local, None, None)).await;
    let text = left.map(drop).unwrap_err();
    assert!(text.contains("a link named brqaaaaaaaa-bb exists and is no bridge; rename or remove it"), "{text}");
}

#[tokio::test]
async fn a_name_or_a_tag_that_another_link_has_is_not_taken_from_it() {
    for (name, id) in [("eth1.7", 8), ("office", 7)] {
        let host = host().await;
        let kernel = host.kernel();
        let parent = kernel.link("eth1").await.unwrap().unwrap().index;
        let others = NewLink { name: name.to_owned(), kind: NewKind::Vlan { parent, id }, settings: LinkChange::up() };
        kernel.link_create(&others).await.unwrap();
        let wanted = desired(NetworkType::Vlan, Some(7), Some("physnet1"));
        let text = settles(Wiring::new(host.kernel(), &config()), wanted).await.map(drop).unwrap_err();
        assert!(text.contains("eth1.7 cannot be made: another link has this name, or is VLAN 7"), "{text}");
        assert_eq!(kernel.link(name).await.unwrap().unwrap().master, None);
    }
}
