//! Policies that a server could say, for the tests of what puts them in force.

use std::{collections::BTreeMap, net::IpAddr, ops::Range};

use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*, sample::select};
use types::Mac;

use super::{
    model::{Direction, Family, Group, Mode, Port, Remote, Rule, has_ports},
    policy::Policy,
};

/// Groups of a policy.
const GROUPS: Range<u8> = 0..3;

fn group_id(number: u8) -> String {
    format!("00000000-0000-4000-8000-00000000000{number}")
}

fn family() -> impl Strategy<Value = Family> {
    select(Family::BOTH.to_vec())
}

/// A prefix of any length but 0, whose bits behind it are 0.
fn net(family: Family) -> impl Strategy<Value = IpNet> {
    let text = match family {
        Family::V4 => ["10.0.0.0/8", "192.0.2.0/24", "192.0.2.7/32", "198.51.100.128/25"],
        Family::V6 => ["2001:db8::/32", "2001:db8:1::/64", "2001:db8::7/128", "fe80::/10"],
    };
    select(text.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn range() -> impl Strategy<Value = (u16, u16)> {
    prop_oneof![
        any::<u16>().prop_map(|port| (port, port)),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b))),
        Just((0, u16::MAX)),
        Just((1, u16::MAX)),
    ]
}

fn remote(family: Family) -> impl Strategy<Value = Remote> {
    prop_oneof![
        Just(Remote::Any),
        net(family).prop_map(Remote::Prefix),
        GROUPS.prop_map(|number| Remote::Group(group_id(number))),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let of = |family: Family| {
        let direction = select(vec![Direction::Ingress, Direction::Egress]);
        let protocol = option::weighted(0.8, select(vec![6, 17, 132, family.icmp(), 47, 112, 99, 255]));
        let icmp = option::of((any::<u8>(), option::of(any::<u8>())));
        (direction, protocol, option::of(range()), icmp, remote(family)).prop_map(
            move |(direction, protocol, ports, icmp, remote)| Rule {
                direction,
                family,
                protocol,
                source_ports: None,
                ports: ports.filter(|_| protocol.is_some_and(has_ports)),
                icmp: icmp.filter(|_| protocol == Some(family.icmp())),
                remote,
                local: None,
            },
        )
    };
    family().prop_flat_map(of)
}

/// What the server has said of every port: who asks for an address and who answers.
fn provider() -> Vec<Rule> {
    let rule = |family: Family, protocol, source, port, icmp| Rule {
        direction: Direction::Ingress,
        family,
        protocol: Some(protocol),
        source_ports: source,
        ports: port,
        icmp,
        remote: Remote::Any,
        local: None,
    };
    let dhcp = rule(Family::V4, 17, Some((67, 67)), Some((68, 68)), None);
    let to_its_address = Rule { local: Some("192.0.2.9/32".parse().unwrap()), ..dhcp.clone() };
    let advertised = rule(Family::V6, 58, None, None, Some((134, None)));
    vec![to_its_address, dhcp, advertised]
}

fn port(number: u8) -> impl Strategy<Value = Port> {
    let mode = prop_oneof![
        6 => Just(Mode::Filtered),
        1 => Just(Mode::Open),
        1 => Just(Mode::Trusted),
        1 => Just(Mode::Closed),
    ];
    let mac = any::<u8>().prop_map(|last| Mac([0xfa, 0x16, 0x3e, 0, 0, last]));
    let sender = (family().prop_flat_map(net), mac);
    let groups = proptest::sample::subsequence(GROUPS.collect::<Vec<_>>(), 0..=usize::from(GROUPS.end));
    (mode, 0..2u8, vec(sender, 0..4), groups).prop_map(move |(mode, bridge, pairs, groups)| {
        let mac = Mac([0xfa, 0x16, 0x3e, 1, 1, number]);
        let addresses = [format!("192.0.2.{}", 10 + number), format!("2001:db8::{}", 10 + number)];
        let addresses = addresses.map(|address| address.parse().unwrap());
        let mut senders: Vec<(Mac, IpNet)> = addresses.map(|address| (mac, IpNet::from(address))).to_vec();
        for (net, mac) in pairs {
            if !senders.contains(&(mac, net)) {
                senders.push((mac, net));
            }
        }
        let groups = groups.into_iter().map(group_id).collect();
        let (bridge, addresses) = (format!("brq0000000{bridge}"), addresses.into());
        Port { bridge, mode, mac, addresses, senders, groups, provider: provider() }
    })
}

/// As many rules as may become one set, of each kind.
fn many() -> Vec<Rule> {
    let each = (1..=20u16).flat_map(|number| {
        let net = |net: &str| Remote::Prefix(format!("{net}{number}").parse::<IpAddr>().map(IpNet::from).unwrap());
        let rule = |direction, family, protocol: Option<u8>, remote| {
            let ports = protocol.map(|_| (number, number));
            Rule { direction, family, protocol, source_ports: None, ports, icmp: None, remote, local: None }
        };
        [
            rule(Direction::Ingress, Family::V4, Some(6), net("198.51.100.")),
            rule(Direction::Ingress, Family::V6, Some(17), net("2001:db8:1::")),
            rule(Direction::Egress, Family::V4, Some(132), Remote::Any),
            rule(Direction::Egress, Family::V6, None, net("2001:db8:2::")),
        ]
    });
    each.collect()
}

fn group() -> impl Strategy<Value = Group> {
    let of = |(stateless, large)| {
        let many = if large { many() } else { Vec::new() };
        let rules = vec(rule(), 0..6).prop_map(move |rules| rules.into_iter().chain(many.clone()).collect());
        rules.prop_map(move |rules| Group { stateless, rules })
    };
    (prop::bool::weighted(0.2), prop::bool::weighted(0.3)).prop_flat_map(of)
}

/// A policy of up to four ports in two bridges.
pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let ports = proptest::sample::subsequence((0..4u8).collect::<Vec<_>>(), 0..=4).prop_flat_map(|numbers| {
        numbers
            .into_iter()
            .map(|number| port(number).prop_map(move |port| (format!("tap0000000{number}-aa"), port)))
            .collect::<Vec<_>>()
    });
    let groups = GROUPS.map(|_| group()).collect::<Vec<_>>();
    let members = GROUPS
        .flat_map(|number| Family::BOTH.map(|family| (number, family)))
        .map(|(number, family)| vec(net(family), 0..3).prop_map(move |nets| ((group_id(number), family), nets)))
        .collect::<Vec<_>>();
    (ports, groups, members).prop_map(|(ports, groups, members)| {
        let mut policy = Policy {
            ports: ports.into_iter().collect::<BTreeMap<_, _>>(),
            groups: GROUPS.map(group_id).zip(groups).collect(),
            members: members.into_iter().map(|(key, nets)| (key, nets.into_iter().collect())).collect(),
        };
        policy.tidy();
        policy
    })
}
