//! Namespaces, links, addresses, routes and sysctl on the real kernel. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use isospin_kernel::{
    Address, Bridge, Kind, LinkChange, NewKind, NewLink, Route, Vxlan, sysctl,
    testing::{Machine, ping},
};

fn bridge(name: &str) -> NewLink {
    NewLink { name: name.into(), kind: NewKind::Bridge(Bridge::default()), settings: LinkChange::up() }
}

#[tokio::test]
async fn a_namespace_is_created_listed_entered_and_deleted() {
    let machine = Machine::new().await.unwrap();
    let system = &machine.system;
    assert_eq!(system.namespaces().unwrap(), Vec::<String>::new());
    let made = system.namespace_create("qdhcp-1").unwrap();
    assert_eq!(system.namespaces().unwrap(), ["qdhcp-1"]);
    assert!(system.namespace_exists("qdhcp-1"));
    assert_eq!(made.name(), Some("qdhcp-1"));
    let links = made.open().unwrap().links().await.unwrap();
    assert_eq!(links.iter().map(|l| (l.name.as_str(), l.up)).collect::<Vec<_>>(), [("lo", false)]);
    assert!(system.namespace_create("qdhcp-1").unwrap_err().is_existing());
    system.namespace_delete("qdhcp-1").unwrap();
    system.namespace_delete("qdhcp-1").unwrap();
    assert!(!system.namespace_exists("qdhcp-1"));
    assert!(made.run(|| ()).unwrap_err().is_missing());
}

#[tokio::test]
async fn a_veth_pair_joins_two_namespaces_with_addresses_and_a_default_route() {
    let machine = Machine::new().await.unwrap();
    let root = machine.netlink().unwrap();
    let inside = machine.system.namespace_create("qdhcp-1").unwrap();
    let mac = "fa:16:3e:05:82:ac".parse().unwrap();
    let settings = LinkChange::up().with_mac(mac).with_mtu(1450).in_namespace(&inside);
    let kind = NewKind::Veth { peer: "ns-1".into(), settings: Box::new(settings) };
    let pair = NewLink { name: "tap1".into(), kind, settings: LinkChange::up().with_mtu(1450) };
    root.link_create(&pair).await.unwrap();
    assert!(root.link_create(&pair).await.unwrap_err().is_existing());

    let handle = inside.open().unwrap();
    handle.link_set("lo", &LinkChange::up()).await.unwrap();
    let end = handle.link("ns-1").await.unwrap().unwrap();
    assert_eq!((end.mac, end.mtu, end.up, &end.kind), (Some(mac), 1450, true, &Kind::Veth));
    let tap = root.link("tap1").await.unwrap().unwrap();
    assert_eq!(end.parent, Some(tap.index));

    handle.address_set(&Address::new(end.index, "10.9.0.2/24".parse().unwrap())).await.unwrap();
    handle.address_set(&Address::new(end.index, "2001:db8::2/64".parse().unwrap())).await.unwrap();
    handle.route_replace(&Route::default_via("10.9.0.1".parse().unwrap(), end.index)).await.unwrap();
    handle.route_replace(&Route::default_via("2001:db8::1".parse().unwrap(), end.index)).await.unwrap();
    root.address_set(&Address::new(tap.index, "10.9.0.1/24".parse().unwrap())).await.unwrap();
    root.address_set(&Address::new(tap.index, "2001:db8::1/64".parse().unwrap())).await.unwrap();

    let addresses = handle.addresses().await.unwrap();
    let global: Vec<_> = addresses.iter().filter(|a| a.is_global()).map(|a| a.net.to_string()).collect();
    assert_eq!(global, ["10.9.0.2/24", "2001:db8::2/64"]);
    let routes = handle.routes().await.unwrap();
    let gateways: Vec<_> = routes.iter().filter_map(|r| Some((r.destination()?.to_string(), r.gateway()?))).collect();
    let expected =
        [("0.0.0.0/0".to_owned(), "10.9.0.1".parse().unwrap()), ("::/0".to_owned(), "2001:db8::1".parse().unwrap())];
    assert_eq!(gateways, expected);
    assert!(ping(&inside, "10.9.0.1".parse().unwrap(), 3));

    for address in addresses.iter().filter(|a| a.is_global()) {
        handle.address_delete(address).await.unwrap();
    }
    assert!(!handle.addresses().await.unwrap().iter().any(|a| a.is_global() && a.link == end.index));
    root.link_delete("tap1").await.unwrap();
    assert_eq!(handle.link("ns-1").await.unwrap(), None);
    assert!(root.link_delete("tap1").await.unwrap_err().is_missing());
}

#[tokio::test]
async fn sysctl_is_the_namespaces_own() {
    let machine = Machine::new().await.unwrap();
    let inside = machine.system.namespace_create("a").unwrap();
    let key = "net/ipv4/ip_forward";
    sysctl::write(&inside, key, "1").unwrap();
    assert_eq!(sysctl::read(&inside, key).unwrap(), "1");
    assert_eq!(sysctl::read(&machine.system.root(), key).unwrap(), "0");
    let error = sysctl::write(&inside, "net/ipv4/no_such", "1").unwrap_err();
    assert_eq!(error.to_string(), "cannot write sysctl net/ipv4/no_such");
    assert!(error.is_missing());
}

#[tokio::test]
async fn a_bridge_forwards_between_its_ports_at_once() {
    let machine = Machine::new().await.unwrap();
    let root = machine.netlink().unwrap();
    root.link_create(&bridge("brq1")).await.unwrap();
    let made = root.link("brq1").await.unwrap().unwrap();
    assert_eq!(made.kind, Kind::Bridge(Bridge { stp: false, forward_delay: 0, ageing: 30_000 }));
    for (number, tap) in ["tap1", "tap2"].into_iter().enumerate() {
        let instance = machine.plug(&format!("vm{number}"), tap).await.unwrap();
        root.link_set(tap, &LinkChange::up().with_master(made.index)).await.unwrap();
        let inside = instance.open().unwrap();
        let eth0 = inside.link("eth0").await.unwrap().unwrap().index;
        let net = format!("10.0.0.{}/24", number + 1).parse().unwrap();
        inside.address_set(&Address::new(eth0, net)).await.unwrap();
    }
    assert!(ping(&machine.system.namespace("vm0"), "10.0.0.2".parse().unwrap(), 5));
    root.link_set("tap1", &LinkChange { master: Some(None), ..LinkChange::default() }).await.unwrap();
    assert_eq!(root.link("tap1").await.unwrap().unwrap().master, None);
}

#[tokio::test]
async fn vlan_and_vxlan_devices_read_back_as_made() {
    let machine = Machine::new().await.unwrap();
    let root = machine.netlink().unwrap();
    machine.plug("switch", "eth1").await.unwrap();
    let parent = root.link("eth1").await.unwrap().unwrap().index;
    let vxlan = Vxlan {
        vni: 565,
        device: Some(parent),
        group: Some("224.0.0.1".parse().unwrap()),
        local: Some("10.0.0.11".parse().unwrap()),
        port: 8472,
        source_ports: (4000, 5000),
        ttl: 3,
        tos: 0,
        proxy: true,
    };
    for (name, kind, read) in [
        ("eth1.7", NewKind::Vlan { parent, id: 7 }, Kind::Vlan(7)),
        ("vxlan-565", NewKind::Vxlan(vxlan.clone()), Kind::Vxlan(vxlan)),
    ] {
        let settings = LinkChange { alias: Some("ours".into()), ..LinkChange::up() };
        let link = NewLink { name: name.into(), kind, settings };
        match root.link_create(&link).await {
            // Some kernels are built without the module.
            Err(error) if error.errno() == nix::errno::Errno::EOPNOTSUPP => continue,
            made => made.unwrap(),
        }
        let link = root.link(name).await.unwrap().unwrap();
        assert_eq!((link.kind, link.alias.as_deref(), link.up), (read, Some("ours"), true));
    }
}

#[tokio::test]
async fn refusals_name_the_object_and_keep_the_errno() {
    let machine = Machine::new().await.unwrap();
    let root = machine.netlink().unwrap();
    let error = root.link_set("brq-none", &LinkChange::up()).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.errno()), ("cannot change link brq-none", nix::errno::Errno::ENODEV));
    root.link_create(&bridge("brq1")).await.unwrap();
    let error = root.link_set("brq1", &LinkChange::default().with_mtu(1)).await.unwrap_err();
    assert_eq!(error.errno(), nix::errno::Errno::EINVAL);
}
