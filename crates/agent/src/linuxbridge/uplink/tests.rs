use kernel::Kind;
use types::Mac;

use super::*;

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind: Kind::Hardware,
        mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        mtu: 1500,
        up: true,
        master: None,
        parent: None,
        alias: None,
        group: 0,
    }
}

fn address(net: &str) -> Address {
    Address::new(1, net.parse().unwrap())
}

#[test]
fn attributes_move_and_names_in_labels_are_exchanged() {
    let (from, to) = (link(1, "eth0"), link(2, "brqaaaaaaaa-bb"));
    let plain = Address { label: Some("eth0".to_owned()), metric: Some(7), ..address("10.0.0.1/24") };
    let leased = Address { lifetime: Some((100, 200)), label: Some("eth0:1".to_owned()), ..address("10.0.0.2/24") };
    let long = Address { label: Some("eth0:verylong".to_owned()), ..address("10.0.0.3/24") };
    let moved = transfer(&from, &to, &[plain, leased, long], &[]);
    let seen: Vec<_> = moved.addresses.iter().map(|a| (a.link, a.label.as_deref(), a.metric, a.lifetime)).collect();
    // Sixteen characters would not fit.
    assert_eq!(seen, [(2, None, Some(7), None), (2, None, None, Some((100, 200))), (2, None, None, None)]);
    let short = transfer(
        &from,
        &link(2, "br0"),
        &[Address { label: Some("eth0:1".to_owned()), ..address("10.0.0.2/24") }],
        &[],
    );
    assert_eq!(short.addresses[0].label.as_deref(), Some("br0:1"));
}

#[test]
fn only_what_the_kernel_does_not_make_by_itself_moves() {
    let (from, to) = (link(1, "eth0"), link(2, "br0"));
    let local = Address { scope: kernel::addr::AddressScope::Link, ..address("169.254.0.1/16") };
    let elsewhere = Address { link: 9, ..address("10.9.0.1/24") };
    let addresses = [address("10.0.0.1/24"), local, elsewhere];
    let other = Route::new("10.9.9.0/24".parse().unwrap(), None, 9);
    let default = Route::default_via("10.0.0.254".parse().unwrap(), 1);
    let host = Route::new("10.0.1.1/32".parse().unwrap(), None, 1);
    let moved = transfer(&from, &to, &addresses, &[other, default.clone(), host.clone()]);
    assert_eq!(moved.old, [addresses[0].clone()]);
    // The route to the gateway stands before the one that needs it.
    assert_eq!(moved.routes, [host.moved(1, 2), default.moved(1, 2)]);
    assert!(is_addressed(1, &addresses, &[]));
    assert!(!is_addressed(2, &addresses, &[]));
}

#[test]
fn there_and_back_is_as_before() {
    let (from, to) = (link(1, "eth0"), link(2, "br0"));
    let addresses = [address("10.0.0.1/24"), address("2001:db8::1/64")];
    let routes = [Route::default_via("10.0.0.254".parse().unwrap(), 1).with_metric(50)];
    let there = transfer(&from, &to, &addresses, &routes);
    let back = transfer(&to, &from, &there.addresses, &there.routes);
    assert_eq!((back.addresses.as_slice(), back.routes.as_slice()), (addresses.as_slice(), routes.as_slice()));
}
