//! The rules, one by one, and an update against a model.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn subnet(n: u128, cidr: &str) -> Candidate {
    Candidate {
        id: SubnetId(Uuid::from_u128(n)),
        cidr: cidr.parse().unwrap(),
        enable_dhcp: true,
        auto_address: false,
        service_types: Vec::new(),
        segment_id: None,
    }
}

fn auto(n: u128, cidr: &str) -> Candidate {
    Candidate { auto_address: true, ..subnet(n, cidr) }
}

fn serving(n: u128, cidr: &str, owner: &str) -> Candidate {
    Candidate { service_types: vec![owner.to_owned()], ..subnet(n, cidr) }
}

fn on_segment(n: u128, cidr: &str, segment: u128) -> Candidate {
    Candidate { segment_id: Some(SegmentId(Uuid::from_u128(segment))), ..subnet(n, cidr) }
}

fn party<'a>(device_owner: &'a str, host: &'a str) -> Party<'a> {
    Party { network_id: NetworkId(Uuid::nil()), device_owner, mac: Mac([0xfa, 0x16, 0x3e, 1, 2, 3]), host }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(address: &str) -> FixedIpRequest {
    FixedIpRequest { ip_address: Some(ip(address)), ..FixedIpRequest::default() }
}

fn on(subnet: &Candidate) -> FixedIpRequest {
    FixedIpRequest { subnet_id: Some(subnet.id), ..FixedIpRequest::default() }
}

fn wanted(subnets: &[Candidate], owner: &str, fixed: Option<&[FixedIpRequest]>) -> Result<Vec<Wanted>, String> {
    let party = party(owner, "");
    match eligible(subnets, &party, &[], fixed).map_err(|e| e.to_string())? {
        Eligible::Subnets(subnets) => for_new_port(&subnets, &party, fixed).map_err(|e| e.to_string()),
        Eligible::Deferred => Err("deferred".to_owned()),
    }
}

fn any_of(subnets: &[&Candidate]) -> Wanted {
    Wanted::Any { subnets: subnets.iter().map(|s| s.id).collect(), lowest: false }
}

fn exactly(subnet: &Candidate, address: &str) -> Wanted {
    Wanted::Address { subnet_id: subnet.id, address: ip(address) }
}

const EUI64: &str = "2001:db8:1::f816:3eff:fe01:203";

#[test]
fn a_port_gets_one_address_of_each_version_and_every_automatic_one() {
    let all = [
        subnet(1, "10.0.0.0/24"),
        subnet(2, "10.0.1.0/24"),
        subnet(3, "2001:db8::/64"),
        auto(4, "2001:db8:1::/64"),
        auto(5, "2001:db8:2::/64"),
    ];
    let got = wanted(&all, "compute:nova", None).unwrap();
    let second = "2001:db8:2::f816:3eff:fe01:203";
    let expected = [exactly(&all[3], EUI64), exactly(&all[4], second), any_of(&[&all[0], &all[1]]), any_of(&[&all[2]])];
    assert_eq!(got, expected);
    assert_eq!(wanted(&[], "", None).unwrap(), []);
}

#[test]
fn routers_choose_their_own_addresses() {
    let all = [subnet(1, "10.0.0.0/24"), auto(4, "2001:db8:1::/64")];
    for owner in [owner::ROUTER_INTERFACE, owner::ROUTER_SNAT] {
        assert_eq!(wanted(&all, owner, None).unwrap(), [any_of(&[&all[0]])], "{owner}");
    }
    let gateway = [at("2001:db8:1::1")];
    assert_eq!(wanted(&all, owner::ROUTER_INTERFACE, Some(&gateway)).unwrap(), [exactly(&all[1], "2001:db8:1::1")]);
    let asked = [on(&all[1])];
    assert_eq!(wanted(&all, owner::ROUTER_INTERFACE, Some(&asked)).unwrap(), [any_of(&[&all[1]])]);
    let anycast = [at("2001:db8:1::")];
    assert_eq!(wanted(&all, owner::ROUTER_INTERFACE, Some(&anycast)).unwrap(), [exactly(&all[1], "2001:db8:1::")]);
}

#[test]
fn dhcp_gets_the_lowest_address_on_any_subnet_it_serves() {
    let mut all = [serving(1, "10.0.0.0/24", "compute:nova")];
    let lowest = Wanted::Any { subnets: vec![all[0].id], lowest: true };
    assert_eq!(wanted(&all, owner::DHCP, None).unwrap(), [lowest]);
    all[0].enable_dhcp = false;
    let refused = wanted(&all, owner::DHCP, None).unwrap_err();
    assert!(refused.starts_with("No valid service subnet for the given device owner"), "{refused}");
}

#[test]
fn service_subnets_come_first_and_serve_only_their_owners() {
    let all = [subnet(1, "10.0.0.0/24"), serving(2, "10.0.1.0/24", "compute:nova")];
    assert_eq!(wanted(&all, "compute:nova", None).unwrap(), [any_of(&[&all[1], &all[0]])]);
    assert_eq!(wanted(&all, "", None).unwrap(), [any_of(&[&all[0]])]);
    assert_eq!(
        wanted(&all, "", Some(&[on(&all[1])])).unwrap_err(),
        format!(
            "Invalid input for operation: Failed to create port on network {}, because fixed_ips included invalid subnet {}.",
            Uuid::nil(),
            all[1].id
        )
    );
    assert_eq!(
        wanted(&all[1..], "baremetal:none", None).unwrap_err(),
        format!(
            "No valid service subnet for the given device owner, network {}, service type baremetal:none.",
            Uuid::nil()
        )
    );
}

#[test]
fn requests_are_checked() {
    let all = [subnet(1, "10.0.0.0/24"), auto(4, "2001:db8:1::/64"), subnet(6, "2001:db8:9::/64")];
    let refused = |request: FixedIpRequest| wanted(&all, "compute:nova", Some(&[request])).unwrap_err();
    let with = |subnet: &Candidate, address| FixedIpRequest { subnet_id: Some(subnet.id), ..at(address) };
    for outside in ["10.0.0.0", "10.0.0.255", "10.0.1.1", "2001:db8:9::"] {
        let text = format!("IP address {outside} is not a valid IP for any of the subnets on the specified network.");
        assert_eq!(refused(at(outside)), text);
    }
    assert_eq!(
        refused(with(&all[0], "10.0.0.255")),
        "IP address 10.0.0.255 is not a valid IP for the specified subnet."
    );
    assert_eq!(
        refused(at("2001:db8:1::5")),
        format!(
            "IPv6 address 2001:db8:1::5 cannot be directly assigned to a port on subnet {} as the subnet is configured for \
             automatic addresses",
            all[1].id
        )
    );
    assert_eq!(
        refused(FixedIpRequest::default()),
        "Invalid input for operation: IP allocation requires subnet_id or ip_address."
    );
    assert_eq!(
        wanted(&[], "", Some(&[at("10.0.0.1")])).unwrap_err(),
        "Invalid input for operation: IP allocation requires subnets for network."
    );
}

#[test]
fn what_is_requested_is_not_taken_twice() {
    let all = [subnet(1, "10.0.0.0/24"), auto(4, "2001:db8:1::/64")];
    let asked = [on(&all[0]), at(EUI64), at("10.0.0.9"), on(&all[1])];
    let got = wanted(&all, "", Some(&asked)).unwrap();
    assert_eq!(got, [exactly(&all[1], EUI64), exactly(&all[0], "10.0.0.9"), any_of(&[&all[0]])]);
    assert_eq!(wanted(&all, "", Some(&[])).unwrap(), [exactly(&all[1], EUI64)]);
}

#[test]
fn small_ipv4_prefixes_have_no_broadcast() {
    let valid = |cidr: &str, address| is_valid_on(cidr.parse().unwrap(), ip(address), "");
    assert!(valid("10.0.0.0/31", "10.0.0.1"));
    assert!(!valid("10.0.0.0/30", "10.0.0.3"));
    assert!(!valid("10.0.0.0/24", "2001:db8::1"));
}

#[test]
fn a_routed_network_waits_for_the_host() {
    let all = [on_segment(1, "10.0.0.0/24", 7), on_segment(2, "10.0.1.0/24", 8)];
    let with_host = |host, segments: &[u128]| {
        let segments: Vec<_> = segments.iter().map(|s| SegmentId(Uuid::from_u128(*s))).collect();
        match eligible(&all, &party("", host), &segments, None) {
            Ok(Eligible::Subnets(subnets)) => {
                format!("{:?}", subnets.iter().map(|s| s.id.0.as_u128()).collect::<Vec<_>>())
            }
            Ok(Eligible::Deferred) => "deferred".to_owned(),
            Err(e) => e.to_string(),
        }
    };
    assert_eq!(with_host("", &[]), "deferred");
    assert_eq!(with_host("a", &[8]), "[2]");
    assert!(with_host("a", &[]).starts_with("Host a is not connected to any segments"));
    let across = [at("10.0.0.5"), at("10.0.1.5")];
    let refused = eligible(&all, &party("", ""), &[], Some(&across)).unwrap_err();
    assert_eq!(refused.to_string(), "Cannot allocate addresses from different segments.");
    let one = [at("10.0.1.5")];
    assert_eq!(eligible(&all, &party("", ""), &[], Some(&one)).unwrap(), Eligible::Subnets(vec![&all[1]]));
}

fn fixed(subnet: u128, address: &str) -> FixedIp {
    FixedIp { subnet_id: SubnetId(Uuid::from_u128(subnet)), ip_address: ip(address) }
}

#[test]
fn an_update_keeps_what_it_names() {
    let current = [fixed(1, "10.0.0.5"), fixed(1, "10.0.0.6"), fixed(4, EUI64)];
    let on = |n| FixedIpRequest { subnet_id: Some(SubnetId(Uuid::from_u128(n))), ..FixedIpRequest::default() };
    let is_auto = |id: SubnetId| id.0.as_u128() == 4;
    let change = |requested: &[FixedIpRequest]| reassignment(&current, requested, "compute:nova", is_auto);

    let by_address = change(&[at("10.0.0.6"), at("10.0.0.9")]);
    assert_eq!(by_address.keep, [current[1], current[2]]);
    assert_eq!(by_address.remove, [current[0]]);
    assert_eq!(by_address.add, [at("10.0.0.9")]);

    let by_subnet = change(&[on(1)]);
    assert_eq!(by_subnet.keep.len(), 2, "one address on the subnet, and the automatic one: {by_subnet:?}");
    assert_eq!(by_subnet.remove.len(), 1);
    assert_eq!(by_subnet.add, []);

    assert_eq!(change(&[]).keep, [current[2]]);
    let away = change(&[FixedIpRequest { delete_subnet: true, ..on(4) }]);
    assert_eq!((away.keep.len(), away.remove.len()), (0, 3));
    let router = reassignment(&current, &[], owner::ROUTER_INTERFACE, is_auto);
    assert_eq!(router.remove.len(), 3);
}

#[test]
fn a_new_mac_changes_the_addresses_formed_from_it() {
    let current = [fixed(1, "10.0.0.5"), fixed(4, EUI64)];
    let requests = with_new_mac(&current, None).unwrap();
    let change = reassignment(&current, &requests, "", |id| id.0.as_u128() == 4);
    assert_eq!((change.keep, change.remove, change.add), (vec![current[0]], vec![current[1]], vec![]));
    assert_eq!(with_new_mac(&[], None), None);
    assert_eq!(with_new_mac(&[], Some(&[at("10.0.0.1")])), Some(vec![at("10.0.0.1")]));
}

proptest! {
    /// Every address a port has is kept or removed, once; every request is met by what is kept or added.
    #[test]
    fn a_reassignment_loses_nothing(current in prop::collection::btree_set((1_u128..4, 1_u8..9), 0..8),
                                    asked in prop::collection::vec((1_u128..5, prop::option::of(1_u8..12)), 0..8)) {
        let address = |subnet: u128, last: u8| format!("10.0.{subnet}.{last}");
        let current: Vec<FixedIp> = current.iter().map(|(s, a)| fixed(*s, &address(*s, *a))).collect();
        let requests: Vec<FixedIpRequest> = asked
            .iter()
            .map(|(s, a)| FixedIpRequest {
                subnet_id: Some(SubnetId(Uuid::from_u128(*s))),
                ip_address: a.map(|a| ip(&address(*s, a))),
                delete_subnet: false,
            })
            .collect();
        let change = reassignment(&current, &requests, "", |_| false);
        let mut accounted: Vec<FixedIp> = change.keep.iter().chain(&change.remove).copied().collect();
        accounted.sort_unstable();
        let mut expected = current.clone();
        expected.sort_unstable();
        prop_assert_eq!(accounted, expected);
        prop_assert_eq!(change.keep.len() + change.add.len(), requests.len());
        for kept in &change.keep {
            prop_assert!(requests.iter().any(|r| r.subnet_id == Some(kept.subnet_id) && r.ip_address.is_none_or(|a| a == kept.ip_address)));
        }
    }
}
