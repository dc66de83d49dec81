//! Many rules of a group that differ only in who and which port, as one set of the kernel's: a packet is looked up once,
//! however many there are. A few stay rules, as upstream's agent has them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::super::{
    model::{Direction, Family, Group, Mode, Remote, Rule},
    policy::Policy,
};

/// From so many elements on rules become a set.
const MANY: usize = 16;
/// A range of more ports stays a rule: a set has an element for each.
const MOST_PORTS: u16 = 16;
const NAME: usize = 29;

/// What an element of a set is. The letter stands in the set's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A prefix, a protocol and a port.
    Service,
    /// A port of a protocol, from anywhere.
    Port(u8),
    /// A prefix, of one protocol or all.
    Prefix(Option<u8>),
}

/// Rules that are one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bundle {
    pub set: String,
    pub members: BTreeSet<String>,
    /// The rule that they are.
    pub rule: String,
}

/// The rules of one direction and family of a group.
#[derive(Debug, Default)]
pub(super) struct Bundled<'g> {
    pub bundles: Vec<Bundle>,
    pub rest: Vec<&'g Rule>,
}

/// Every group that a filtered port has; without bundles unless they are wanted.
pub(super) fn all(
    policy: &Policy,
    direction: Direction,
    family: Family,
    wanted: bool,
) -> BTreeMap<&String, Bundled<'_>> {
    let many = if wanted { MANY } else { usize::MAX };
    let filtered = policy.ports.values().filter(|port| port.mode == Mode::Filtered);
    let used: BTreeSet<&String> = filtered.flat_map(|port| &port.groups).collect();
    let known = used.into_iter().filter_map(|id| Some((id, policy.groups.get(id)?)));
    known.map(|(id, group)| (id, bundle((id, group), direction, family, many))).collect()
}

fn bundle<'g>((id, group): (&str, &'g Group), direction: Direction, family: Family, many: usize) -> Bundled<'g> {
    let mut found: BTreeMap<Kind, (BTreeSet<String>, Vec<&Rule>)> = BTreeMap::new();
    let mut bundled = Bundled::default();
    for rule in group.rules.iter().filter(|rule| rule.direction == direction && rule.family == family) {
        match elements(rule) {
            Some((kind, elements)) => {
                let (members, rules) = found.entry(kind).or_default();
                members.extend(elements);
                rules.push(rule);
            }
            None => bundled.rest.push(rule),
        }
    }
    for (kind, (members, rules)) in found {
        if members.len() < many {
            bundled.rest.extend(rules);
        } else {
            let set = name(id, kind, direction, family);
            let rule = text(&set, kind, direction);
            bundled.bundles.push(Bundle { set, members, rule });
        }
    }
    bundled.rest.sort();
    bundled
}

/// What a rule is in a set, as the kernel lists it; nothing if it fits in none.
fn elements(rule: &Rule) -> Option<(Kind, Vec<String>)> {
    if rule.icmp.is_some() || rule.source_ports.is_some() || rule.local.is_some() {
        return None;
    }
    let net = match &rule.remote {
        Remote::Any => None,
        // A set has no prefix of no length.
        Remote::Prefix(net) if net.prefix_len() > 0 => Some(prefix(net)),
        Remote::Prefix(_) | Remote::Group(_) => return None,
    };
    let ports = match rule.ports {
        Some((low, high)) if high.saturating_sub(low) < MOST_PORTS => Some(low..=high),
        Some(_) => return None,
        None => None,
    };
    match (net, ports) {
        (Some(net), Some(ports)) => {
            let protocol = service(rule.protocol?)?;
            Some((Kind::Service, ports.map(|port| format!("{net},{protocol}:{port}")).collect()))
        }
        (None, Some(ports)) => {
            let protocol = rule.protocol.filter(|protocol| service(*protocol).is_some())?;
            Some((Kind::Port(protocol), ports.map(|port| port.to_string()).collect()))
        }
        (Some(net), None) => Some((Kind::Prefix(rule.protocol), vec![net])),
        (None, None) => None,
    }
}

fn prefix(net: &IpNet) -> String {
    let net = net.trunc();
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// A protocol with ports by the name that sets list it by.
fn service(protocol: u8) -> Option<&'static str> {
    match protocol {
        6 => Some("tcp"),
        17 => Some("udp"),
        132 => Some("sctp"),
        136 => Some("udplite"),
        _ => None,
    }
}

/// What follows the family is no digit of an id, so that it is never the name of a group's members.
fn name(id: &str, kind: Kind, direction: Direction, family: Family) -> String {
    let direction = if direction == Direction::Ingress { 'i' } else { 'o' };
    let kind = match kind {
        Kind::Service => "s".to_owned(),
        Kind::Port(protocol) => format!("p{protocol:02x}"),
        Kind::Prefix(Some(protocol)) => format!("n{protocol:02x}"),
        Kind::Prefix(None) => "n".to_owned(),
    };
    format!("N{}{direction}{kind}-{id}", family.ethertype()).chars().take(NAME).collect()
}

/// How a set is made, by its name.
pub(super) fn settings(set: &str) -> String {
    let family = if set.starts_with("NIPv6") { "inet6" } else { "inet" };
    let kind = match set.get(5..7) {
        Some("is" | "os") => "hash:net,port",
        Some("ip" | "op") => return "bitmap:port range 0-65535".to_owned(),
        _ => "hash:net",
    };
    format!("{kind} family {family}")
}

fn text(set: &str, kind: Kind, direction: Direction) -> String {
    let far = if direction == Direction::Ingress { "src" } else { "dst" };
    let by = |protocol: u8| format!("-p {} ", super::render::protocol_name(protocol));
    match kind {
        Kind::Service => format!("-m set --match-set {set} {far},dst -j RETURN"),
        Kind::Port(protocol) => format!("{}-m set --match-set {set} dst -j RETURN", by(protocol)),
        Kind::Prefix(protocol) => {
            format!("{}-m set --match-set {set} {far} -j RETURN", protocol.map(by).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(protocol: Option<u8>, ports: Option<(u16, u16)>, remote: &str) -> Rule {
        let remote = if remote.is_empty() { Remote::Any } else { Remote::Prefix(remote.parse().unwrap()) };
        let (direction, family, source_ports, icmp, local) = (Direction::Ingress, Family::V4, None, None, None);
        Rule { direction, family, protocol, source_ports, ports, icmp, remote, local }
    }

    fn bundled(rules: Vec<Rule>) -> (Vec<(String, usize, String)>, usize) {
        let group = Group { stateless: false, rules: rules.into_iter().collect() };
        let all = bundle(("0123abcd-0000-4000-8000-000000000000", &group), Direction::Ingress, Family::V4, MANY);
        (all.bundles.into_iter().map(|it| (it.set, it.members.len(), it.rule)).collect(), all.rest.len())
    }

    #[test]
    fn many_rules_are_one_and_a_few_stay() {
        let net = |number: u16| format!("10.{}.{}.0/24", number / 250, number % 250);
        let few = (0..15).map(|number| rule(Some(6), Some((80, 80)), &net(number)));
        let (bundles, rest) = bundled(few.clone().collect());
        assert_eq!((bundles.len(), rest), (0, 15));
        let rules = few.chain([
            rule(Some(17), Some((10, 12)), "10.0.0.7/32"),
            rule(Some(6), Some((1, 60_000)), "10.0.0.7/32"),
            rule(Some(6), Some((80, 80)), "0.0.0.0/0"),
            rule(Some(47), None, "10.0.0.0/8"),
            rule(None, None, ""),
        ]);
        let rules = rules.chain((100..120).map(|port| rule(Some(6), Some((port, port)), "")));
        let (bundles, rest) = bundled(rules.collect());
        let set = "NIPv4is-0123abcd-0000-4000-80";
        let ports = "NIPv4ip06-0123abcd-0000-4000-";
        assert_eq!(
            bundles,
            [
                (set.to_owned(), 18, format!("-m set --match-set {set} src,dst -j RETURN")),
                (ports.to_owned(), 20, format!("-p tcp -m set --match-set {ports} dst -j RETURN")),
            ]
        );
        assert_eq!(rest, 4);
        assert_eq!(settings(set), "hash:net,port family inet");
        assert_eq!(settings(ports), "bitmap:port range 0-65535");
        assert_eq!(settings("NIPv60123abcd"), "hash:net family inet6");
    }
}
