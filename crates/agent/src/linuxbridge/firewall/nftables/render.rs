//! Ports and groups as chains, maps and sets of nftables.
//!
//! A rule costs nothing by the number of its kind: rules of a group that differ in ports or prefixes only become one
//! look-up in a set.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use types::Mac;

use super::super::{
    connections::ENDED,
    model::{Direction, Family, Mode, Port, Remote, Rule, has_ports},
    policy::Policy,
};

/// The map from bridges to the zones of their connections.
pub(super) const ZONES: &str = "zones";
const FROM: &str = "from";
const TO: &str = "to";

const ZONE_HOOK: &str = "type filter hook prerouting priority -300; policy accept;";
const FROM_HOOK: &str = "type filter hook prerouting priority -150; policy accept;";
const TO_HOOK: &str = "type filter hook forward priority -150; policy accept;";

/// What there shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rendered {
    pub chains: BTreeMap<String, Chain>,
    pub sets: BTreeMap<String, Set>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub hook: Option<&'static str>,
    pub rules: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set {
    pub is_map: bool,
    pub definition: &'static str,
    pub elements: BTreeSet<String>,
}

impl Set {
    pub(super) fn object(&self) -> &'static str {
        if self.is_map { "map" } else { "set" }
    }
}

/// The whole table.
pub(super) fn render<'z>(policy: &Policy, zones: impl Iterator<Item = (&'z String, u16)>, tracking: bool) -> Rendered {
    let mut rendered = Rendered::default();
    let map = |definition| Set { is_map: true, definition, elements: BTreeSet::new() };
    let (mut from, mut to) = (map("type ifname : verdict;"), map("type ifname : verdict;"));
    let mut base = |name: &str, hook, rule: String| {
        rendered.chains.insert(name.to_owned(), Chain { hook: Some(hook), rules: vec![rule] });
    };
    base("from-ports", FROM_HOOK, format!("iifname vmap @{FROM}"));
    base("to-ports", TO_HOOK, format!("oifname vmap @{TO}"));
    if tracking {
        base("zones", ZONE_HOOK, format!("ct zone set meta ibrname map @{ZONES}"));
        let elements = zones.map(|(bridge, zone)| format!("\"{bridge}\" : {zone}")).collect();
        let definition = "typeof meta ibrname : ct zone;";
        rendered.sets.insert(ZONES.to_owned(), Set { is_map: true, definition, elements });
    }
    for (device, port) in policy.ports.iter().filter(|(_, port)| matches!(port.mode, Mode::Filtered | Mode::Closed)) {
        let [egress, ingress] = ["o", "i"].map(|letter| format!("{letter}-{device}"));
        from.elements.insert(format!("\"{device}\" : jump {egress}"));
        to.elements.insert(format!("\"{device}\" : jump {ingress}"));
        let stateful = tracking && !policy.is_stateless(port);
        rendered.chains.insert(egress, Chain { hook: None, rules: egress_rules(port, stateful) });
        rendered.chains.insert(ingress, Chain { hook: None, rules: ingress_rules(port, stateful) });
    }
    rendered.sets.insert(FROM.to_owned(), from);
    rendered.sets.insert(TO.to_owned(), to);
    for key in policy.used_sets() {
        member_sets(&mut rendered, policy, &key);
    }
    for (id, group) in &policy.groups {
        for direction in [Direction::Ingress, Direction::Egress] {
            let mut rules: Vec<String> = Vec::new();
            for family in Family::BOTH {
                let of_kind = group.rules.iter().filter(|rule| rule.direction == direction && rule.family == family);
                rules.extend(merged(policy, of_kind));
            }
            rules.push("return".to_owned());
            rendered.chains.insert(group_chain(id, direction), Chain { hook: None, rules });
        }
    }
    rendered
}

fn group_chain(id: &str, direction: Direction) -> String {
    let letter = if direction == Direction::Ingress { 'i' } else { 'o' };
    format!("g-{id}-{letter}")
}

/// The name of the set of a group's single addresses, and that of its prefixes.
fn set_names((id, family): &(String, Family)) -> [String; 2] {
    let version = if *family == Family::V4 { 4 } else { 6 };
    [format!("g{version}-{id}"), format!("n{version}-{id}")]
}

/// Prefixes have a set of their own: a set without any is hashed, and one more element costs the same in a large one.
fn member_sets(rendered: &mut Rendered, policy: &Policy, key: &(String, Family)) {
    let (single, prefixes) = split(policy, key);
    let [singles, nets] = set_names(key);
    let definitions = match key.1 {
        Family::V4 => ["type ipv4_addr;", "type ipv4_addr; flags interval;"],
        Family::V6 => ["type ipv6_addr;", "type ipv6_addr; flags interval;"],
    };
    rendered.sets.insert(singles, Set { is_map: false, definition: definitions[0], elements: single });
    if !prefixes.is_empty() {
        rendered.sets.insert(nets, Set { is_map: false, definition: definitions[1], elements: prefixes });
    }
}

fn split(policy: &Policy, key: &(String, Family)) -> (BTreeSet<String>, BTreeSet<String>) {
    let members = policy.members.get(key).into_iter().flatten();
    let (single, nets): (Vec<IpNet>, Vec<IpNet>) = members.partition(|net| net.prefix_len() == net.max_prefix_len());
    let single = single.iter().map(|net| net.addr().to_string()).collect();
    (single, IpNet::aggregate(&nets).iter().map(ToString::to_string).collect())
}

fn ether(family: Family) -> &'static str {
    match family {
        Family::V4 => "ether type ip",
        Family::V6 => "ether type ip6",
    }
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// `{ a, b }`
fn braces<T: ToString>(elements: impl IntoIterator<Item = T>) -> String {
    format!("{{ {} }}", elements.into_iter().map(|it| it.to_string()).collect::<Vec<_>>().join(", "))
}

fn tracked(stateful: bool) -> Vec<String> {
    if !stateful {
        return Vec::new();
    }
    let states = ["ct state established,related accept", "ct state invalid drop"].map(str::to_owned);
    [format!("ct mark {ENDED:#x} drop")].into_iter().chain(states).collect()
}

fn ingress_rules(port: &Port, stateful: bool) -> Vec<String> {
    if port.mode == Mode::Closed {
        return vec!["drop".to_owned()];
    }
    let mut rules = vec!["icmpv6 type { 130, 135, 136 } accept".to_owned()];
    rules.extend(tracked(stateful));
    rules.extend(port.provider.iter().map(|rule| format!("{} accept", single(rule))));
    rules.extend(port.groups.iter().map(|id| format!("jump {}", group_chain(id, Direction::Ingress))));
    rules.push("ether type { ip, ip6 } drop".to_owned());
    rules
}

fn egress_rules(port: &Port, stateful: bool) -> Vec<String> {
    if port.mode == Mode::Closed {
        return vec!["drop".to_owned()];
    }
    // Tagged frames first: no rule below sees what is in them.
    let mut rules = vec!["ether type { 8021q, 8021ad } drop".to_owned()];
    rules.push(format!("ether saddr != {} drop", braces(port.macs())));
    rules.extend(arp_rules(port));
    rules.push("ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept".to_owned());
    rules.extend(sender_rules(port, Family::V4));
    rules.push("ether type ip udp sport 68 udp dport 67 accept".to_owned());
    rules.push("ether type ip udp sport 67 udp dport 68 drop".to_owned());
    rules.push("ip6 saddr :: ip6 daddr ff02::/16 icmpv6 type { 131, 143 } accept".to_owned());
    rules
        .extend(targets(port).map(|target| format!("ip6 saddr :: ip6 daddr ff02::/16 icmpv6 type 135{target} accept")));
    rules.extend(sender_rules(port, Family::V6));
    rules.push("icmpv6 type 134 drop".to_owned());
    rules.extend(targets(port).map(|target| format!("icmpv6 type 136{target} accept")));
    rules.push("icmpv6 type 136 drop".to_owned());
    rules.push("ether type ip6 meta l4proto 58 accept".to_owned());
    rules.push("ether type ip6 udp sport 546 udp dport 547 accept".to_owned());
    rules.push("ether type ip6 udp sport 547 udp dport 546 drop".to_owned());
    rules.extend(tracked(stateful));
    rules.extend(port.groups.iter().map(|id| format!("jump {}", group_chain(id, Direction::Egress))));
    rules.push("ether type { ip, ip6 } drop".to_owned());
    rules
}

/// Senders of a family. Of IPv6 always the link-local address, unless the port may be anybody.
fn senders(port: &Port, family: Family) -> BTreeSet<(Mac, IpNet)> {
    let mut senders: BTreeSet<(Mac, IpNet)> = port.senders_of(family).into_iter().collect();
    if family == Family::V6 && !port.senders.is_empty() {
        let local = port.mac.eui64([0xfe80, 0, 0, 0, 0, 0, 0, 0].into());
        senders.insert((port.mac, IpNet::from(std::net::IpAddr::V6(local))));
    }
    // Of prefixes that contain one another only the widest: a set holds no two that overlap.
    let all = senders.clone();
    senders.retain(|(mac, net)| !all.iter().any(|(other, wider)| other == mac && wider != net && wider.contains(net)));
    senders
}

fn arp_rules(port: &Port) -> Vec<String> {
    let senders = senders(port, Family::V4);
    if port.senders.is_empty() {
        return Vec::new();
    }
    let (any, bound): (Vec<_>, Vec<_>) = senders.into_iter().partition(|(_, net)| net.prefix_len() == 0);
    let mut rules = Vec::new();
    if !any.is_empty() {
        rules.push(format!("ether type arp arp saddr ether {} accept", braces(any.iter().map(|(mac, _)| mac))));
    }
    if !bound.is_empty() {
        let claims = bound.iter().map(|(mac, net)| format!("{mac} . {}", element(net)));
        rules.push(format!("arp saddr ether . arp saddr ip {} accept", braces(claims)));
    }
    rules.push("ether type arp drop".to_owned());
    rules
}

fn sender_rules(port: &Port, family: Family) -> Vec<String> {
    if port.senders.is_empty() {
        return Vec::new();
    }
    let senders = senders(port, family);
    let free: BTreeSet<Mac> = senders.iter().filter(|(_, net)| net.prefix_len() == 0).map(|(mac, _)| *mac).collect();
    let mut guard = String::new();
    if !free.is_empty() {
        guard = format!("ether saddr != {} ", braces(&free));
    }
    let bound: Vec<String> = senders
        .iter()
        .filter(|(_, net)| net.prefix_len() > 0)
        .map(|(mac, net)| format!("{mac} . {}", element(net)))
        .collect();
    vec![match bound.is_empty() {
        true => format!("{guard}{} drop", ether(family)),
        false => format!("{guard}ether saddr . {} saddr != {} drop", ip(family), braces(bound)),
    }]
}

/// A single address without its length.
fn element(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// Tests that the target of a neighbour discovery message is an address of the port's own.
fn targets(port: &Port) -> impl Iterator<Item = String> {
    let test = |net: IpNet| match (net.addr(), u32::from(net.prefix_len())) {
        (std::net::IpAddr::V6(address), length @ 1..) => {
            Some(format!(" @th,64,{length} {:#x}", u128::from(address) >> (128 - length)))
        }
        _ => Some(String::new()),
    };
    let mut tests: BTreeSet<String> = senders(port, Family::V6).into_iter().filter_map(|(_, net)| test(net)).collect();
    if port.senders.is_empty() {
        tests.insert(String::new());
    }
    tests.into_iter()
}

/// A rule on its own.
fn single(rule: &Rule) -> String {
    let mut words = vec![];
    let ends = match rule.direction {
        Direction::Ingress => ["saddr", "daddr"],
        Direction::Egress => ["daddr", "saddr"],
    };
    if let Remote::Prefix(net) = &rule.remote {
        words.push(format!("{} {} {}", ip(rule.family), ends[0], element(net)));
    }
    if let Some(net) = &rule.local {
        words.push(format!("{} {} {}", ip(rule.family), ends[1], element(net)));
    }
    if words.is_empty() {
        words.push(ether(rule.family).to_owned());
    }
    words.extend(service(&Service::of(rule)).into_iter().filter(|word| !word.is_empty()));
    words.join(" ")
}

/// Everything of a rule but its remote and its port ranges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Service {
    family: Family,
    protocol: Option<u8>,
    icmp: Option<(u8, Option<u8>)>,
    source_ports: Option<(u16, u16)>,
    ports: BTreeSet<(u16, u16)>,
}

impl Service {
    fn of(rule: &Rule) -> Self {
        Self {
            family: rule.family,
            protocol: rule.protocol,
            icmp: rule.icmp,
            source_ports: rule.source_ports,
            ports: rule.ports.into_iter().collect(),
        }
    }
}

/// Port ranges, both ends included.
type Ports = BTreeSet<(u16, u16)>;

/// Who may be the other side of rules that are otherwise the same: anybody, prefixes, groups.
type Remotes<'r> = (bool, BTreeSet<IpNet>, BTreeSet<&'r String>);

fn range((low, high): &(u16, u16)) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

fn service(service: &Service) -> Option<String> {
    let protocol = service.protocol?;
    if let Some((kind, code)) = service.icmp {
        let name = if service.family == Family::V4 { "icmp" } else { "icmpv6" };
        let code = code.map(|code| format!(" {name} code {code}")).unwrap_or_default();
        return Some(format!("{name} type {kind}{code}"));
    }
    let mut text = format!("meta l4proto {protocol}");
    if has_ports(protocol) {
        if let Some(ports) = &service.source_ports {
            text.push_str(&format!(" th sport {}", range(ports)));
        }
        if !service.ports.is_empty() {
            text.push_str(&format!(" th dport {}", braces(service.ports.iter().map(range))));
        }
    }
    Some(text)
}

/// Ranges that neither overlap nor touch.
fn joined(ports: BTreeSet<(u16, u16)>) -> BTreeSet<(u16, u16)> {
    let mut all: Vec<(u16, u16)> = Vec::new();
    for (low, high) in ports {
        match all.last_mut() {
            Some((_, last)) if u32::from(low) <= u32::from(*last) + 1 => *last = (*last).max(high),
            _ => all.push((low, high)),
        }
    }
    all.into_iter().collect()
}

/// A group's rules of one direction and family, as few as they can be.
fn merged<'r>(policy: &Policy, rules: impl Iterator<Item = &'r Rule>) -> Vec<String> {
    // First the ports that one remote may use, then the prefixes that may use the same ports.
    let mut by_remote: BTreeMap<(&Remote, Service, Direction), Ports> = BTreeMap::new();
    for rule in rules {
        let service = Service { ports: BTreeSet::new(), ..Service::of(rule) };
        let whole = (u16::MIN, u16::MAX);
        by_remote.entry((&rule.remote, service, rule.direction)).or_default().insert(rule.ports.unwrap_or(whole));
    }
    let mut classes: BTreeMap<(Service, Direction), Remotes<'_>> = BTreeMap::new();
    for ((remote, service, direction), ports) in by_remote {
        let mut ports = joined(ports);
        ports.remove(&(u16::MIN, u16::MAX));
        let class = classes.entry((Service { ports, ..service }, direction)).or_default();
        match remote {
            Remote::Any => class.0 = true,
            Remote::Prefix(net) => drop(class.1.insert(*net)),
            Remote::Group(id) => drop(class.2.insert(id)),
        }
    }
    let mut texts = Vec::new();
    let mut pairs: BTreeMap<(Family, u8, Direction), BTreeSet<String>> = BTreeMap::new();
    let mut used: BTreeMap<(Family, u8, Direction), BTreeSet<(u16, u16)>> = BTreeMap::new();
    for ((what, direction), (any, nets, groups)) in classes {
        let end = if direction == Direction::Ingress { "saddr" } else { "daddr" };
        let (name, test) = (ip(what.family), service(&what).map(|test| format!(" {test}")).unwrap_or_default());
        if any {
            texts.push(format!("{}{test} accept", ether(what.family)));
        }
        let nets = IpNet::aggregate(&nets.into_iter().collect::<Vec<_>>());
        let key = what.protocol.filter(|p| has_ports(*p) && what.source_ports.is_none() && !what.ports.is_empty());
        let key = key.map(|protocol| (what.family, protocol, direction));
        match key {
            // Of many single classes one look-up for the pair of prefix and port, as far as the ports do not overlap.
            Some(key) if !nets.is_empty() && disjoint(used.entry(key).or_default(), &what.ports) => {
                let elements = nets
                    .iter()
                    .flat_map(|net| what.ports.iter().map(move |ports| format!("{} . {}", element(net), range(ports))));
                pairs.entry(key).or_default().extend(elements);
            }
            _ if !nets.is_empty() => {
                texts.push(format!("{name} {end} {}{test} accept", braces(nets.iter().map(element))));
            }
            _ => {}
        }
        for id in groups {
            let set_key = (id.clone(), what.family);
            let [singles, prefixes] = set_names(&set_key);
            texts.push(format!("{name} {end} @{singles}{test} accept"));
            if !split(policy, &set_key).1.is_empty() {
                texts.push(format!("{name} {end} @{prefixes}{test} accept"));
            }
        }
    }
    for ((family, protocol, direction), elements) in pairs {
        let end = if direction == Direction::Ingress { "saddr" } else { "daddr" };
        let name = ip(family);
        texts.push(format!("meta l4proto {protocol} {name} {end} . th dport {} accept", braces(elements)));
    }
    texts
}

/// Adds ranges if they overlap none of those that are there.
fn disjoint(used: &mut BTreeSet<(u16, u16)>, new: &BTreeSet<(u16, u16)>) -> bool {
    let overlaps = |(low, high): &(u16, u16)| {
        let before = used.range(..=(*high, u16::MAX)).next_back();
        before.is_some_and(|(_, end)| end >= low)
    };
    if new.iter().any(overlaps) {
        return false;
    }
    used.extend(new);
    true
}
