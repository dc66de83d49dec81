//! Ports and groups as chains with the names and the places that upstream's agent gives them, so that each takes over
//! what the other left.
//!
//! Where this says more than upstream: a port that has addresses of one family only may send nothing of the other but
//! from its link-local address; a neighbour advertisement, or the probe for an address, must be for an address of the
//! port's own; ARP must name the MAC that goes with the
//! address; connections that ended are dropped by their mark. A port without state keeps no state by its own rules
//! alone, so that others on the host still know their connections with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use ipnet::IpNet;

use super::{
    super::{
        connections::ENDED,
        model::{Direction, Family, Mode, Port, Remote, Rule, has_ports},
        policy::{Policy, SetKey},
        zones::Zones,
    },
    bundles::{self, Bundled},
    tables::{Jump, Wanted},
};

/// What upstream's names begin with: the first 16 characters of the agent's program.
pub(super) const WRAP: &str = "neutron-linuxbri";
const NAME: usize = 11;
const SET_NAME: usize = 29;
/// ICMPv6 that reaches every port: queries for listeners, neighbour solicitations and advertisements.
const SIX_INGRESS: [u8; 3] = [130, 135, 136];
/// ICMPv6 that may come from the unspecified address: reports of listeners and, for duplicates, solicitations.
const SIX_LISTENERS: [u8; 2] = [131, 143];
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ROUTER: u8 = 134;

/// How groups of addresses are matched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sets {
    /// By a set of the kernel's, as are many rules that differ in addresses and ports only.
    Bundled,
    /// By a set of the kernel's.
    Ipset,
    /// By a rule for each address.
    Expanded,
}

/// The groups of one family, as both their directions are matched.
struct Groups<'p> {
    policy: &'p Policy,
    family: Family,
    sets: Sets,
    ingress: BTreeMap<&'p String, Bundled<'p>>,
    egress: BTreeMap<&'p String, Bundled<'p>>,
}

impl<'p> Groups<'p> {
    fn new(policy: &'p Policy, family: Family, sets: Sets) -> Self {
        let all = |direction| bundles::all(policy, direction, family, sets == Sets::Bundled);
        Self { policy, family, sets, ingress: all(Direction::Ingress), egress: all(Direction::Egress) }
    }

    fn of(&self, direction: Direction) -> &BTreeMap<&'p String, Bundled<'p>> {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A chain's whole name.
fn chain(name: &str) -> String {
    format!("{WRAP}-{}", name.chars().take(NAME).collect::<String>())
}

/// The chain of a port: `i` for ingress, `o` for egress, `s` for its senders.
fn port_chain(letter: char, device: &str) -> String {
    chain(&format!("{letter}{}", &device[device.len().min(3)..]))
}

/// The name of a set.
pub(super) fn set_name((group, family): &SetKey) -> String {
    format!("N{}{group}", family.ethertype()).chars().take(SET_NAME).collect()
}

/// The chains of one family.
pub(super) fn render(policy: &Policy, zones: &Zones, family: Family, sets: Sets) -> Wanted {
    let mut wanted = Wanted::default();
    let tables = &mut wanted.chains;
    if policy.ports.is_empty() {
        tables.0.extend(["filter", "raw", "nat"].map(|table| (table.to_owned(), BTreeMap::new())));
        return wanted;
    }
    wanted.jumps = jumps();
    for name in ["INPUT", "OUTPUT", "FORWARD", "local", "sg-chain"] {
        tables.chain("filter", &chain(name));
    }
    tables.chain("filter", &chain("sg-fallback")).push("-j DROP".to_owned());
    for name in ["PREROUTING", "OUTPUT"] {
        tables.chain("raw", &chain(name));
    }
    tables.chain("nat", &chain("PREROUTING"));
    let groups = Groups::new(policy, family, sets);
    tables.chain("raw", &chain("PREROUTING")).extend(tracking(policy, zones));
    if policy.ports.values().any(|port| is_filtered(port) && !policy.is_stateless(port)) {
        tables.chain("filter", &chain("sg-chain")).push(format!("-m connmark --mark {ENDED:#x} -j DROP"));
    }
    for (device, _) in policy.ports.iter().rev().filter(|(_, port)| is_filtered(port)) {
        let forward = tables.chain("filter", &chain("FORWARD"));
        forward.extend(["in", "out"].map(|end| bridged(end, device, &chain("sg-chain"))));
    }
    for (device, port) in &policy.ports {
        if !is_filtered(port) {
            let forward = tables.chain("filter", &chain("FORWARD"));
            forward.extend(["out", "in"].map(|end| bridged(end, device, "ACCEPT")));
            if port.mode == Mode::Open {
                tables.chain("filter", &chain("INPUT")).push(bridged("in", device, "ACCEPT"));
            }
        } else {
            let [ingress, egress] = ['i', 'o'].map(|letter| port_chain(letter, device));
            let jumps = [bridged("out", device, &ingress), bridged("in", device, &egress)];
            tables.chain("filter", &chain("sg-chain")).extend(jumps);
            tables.chain("filter", &chain("INPUT")).push(bridged("in", device, &egress));
            *tables.chain("filter", &ingress) = ingress_rules(&groups, port);
            *tables.chain("filter", &egress) = egress_rules(&groups, (device, port));
            if port.mode == Mode::Filtered {
                *tables.chain("filter", &port_chain('s', device)) = sender_rules(port, family);
            }
        }
        let nat = tables.chain("nat", &chain("PREROUTING"));
        nat.extend(["out", "in"].map(|end| bridged(end, device, "ACCEPT")));
    }
    tables.chain("filter", &chain("sg-chain")).push("-j ACCEPT".to_owned());
    wanted
}

fn is_filtered(port: &Port) -> bool {
    matches!(port.mode, Mode::Filtered | Mode::Closed)
}

/// The way from the kernel's chains to ours. Each is put first, so that the last of them comes to stand at the top.
fn jumps() -> Vec<Jump> {
    let to = |table, from: &'static str| Jump { table, chain: from, rule: format!("-j {}", chain(from)), top: true };
    let top = |from| Jump { table: "filter", chain: from, rule: "-j neutron-filter-top".to_owned(), top: true };
    let local =
        Jump { table: "filter", chain: "neutron-filter-top", rule: format!("-j {}", chain("local")), top: true };
    let ours = [("filter", "INPUT"), ("filter", "OUTPUT"), ("filter", "FORWARD")].map(|(table, from)| to(table, from));
    let others = [to("raw", "PREROUTING"), to("raw", "OUTPUT"), to("nat", "PREROUTING")];
    ours.into_iter().chain(others).chain([local, top("FORWARD"), top("OUTPUT")]).collect()
}

fn bridged(end: &str, device: &str, target: &str) -> String {
    format!("-m physdev --physdev-{end} {device} --physdev-is-bridged -j {target}")
}

/// In which zone connections are tracked, or that they are not: only where no port of the network wants it. What
/// crosses a bridge is seen here as coming in by the bridge, so one rule is enough for all its ports, where upstream has
/// three for each. The other tells upstream's agent, should it come back, which zone that is: it reads only such.
fn tracking(policy: &Policy, zones: &Zones) -> Vec<String> {
    let filtered = || policy.ports.iter().filter(|(_, port)| is_filtered(port));
    let wants = |port: &Port| port.mode == Mode::Filtered && !policy.is_stateless(port);
    let tracked: BTreeSet<&String> = filtered().filter(|(_, port)| wants(port)).map(|(_, port)| &port.bridge).collect();
    let in_zone = tracked.iter().filter_map(|bridge| Some((bridge, zones.of(bridge)?)));
    let in_zone = in_zone.flat_map(|(bridge, zone)| {
        let matches = [format!("-m physdev --physdev-in {bridge}"), format!("-i {bridge}")];
        matches.map(|what| format!("{what} -j CT --zone {zone}"))
    });
    let untracked = filtered().filter(|(_, port)| !tracked.contains(&port.bridge)).map(|(device, _)| {
        let short: String = device.chars().skip(4).collect();
        format!("-m physdev --physdev-in {device} -m comment --comment \"Make {short} stateless\" -j CT --notrack")
    });
    in_zone.chain(untracked).collect()
}

fn icmp6(kind: u8) -> String {
    format!("-p ipv6-icmp -m icmp6 --icmpv6-type {kind}")
}

fn udp(from: u16, to: u16) -> String {
    format!("-p udp {} {}", ports("sport", (from, from)), ports("dport", (to, to)))
}

fn ingress_rules(groups: &Groups<'_>, port: &Port) -> Vec<String> {
    if port.mode == Mode::Closed {
        return vec!["-j DROP".to_owned()];
    }
    let mut rules = Vec::new();
    if groups.family == Family::V6 {
        rules.extend(SIX_INGRESS.map(|kind| format!("{} -j RETURN", icmp6(kind))));
    }
    rules.extend(group_rules(groups, port, Direction::Ingress));
    rules
}

fn egress_rules(groups: &Groups<'_>, (device, port): (&str, &Port)) -> Vec<String> {
    if port.mode == Mode::Closed {
        return vec!["-j DROP".to_owned()];
    }
    let senders = format!("-j {}", port_chain('s', device));
    let mut rules = Vec::new();
    match groups.family {
        Family::V4 => {
            rules.push(format!("-s 0.0.0.0/32 -d 255.255.255.255/32 {} -j RETURN", udp(68, 67)));
            rules.push(senders);
            rules.push(format!("{} -j RETURN", udp(68, 67)));
            rules.push(format!("{} -j DROP", udp(67, 68)));
        }
        Family::V6 => {
            let unspecified = |what: String| format!("-s ::/128 -d ff02::/16 {what} -j RETURN");
            rules.extend(SIX_LISTENERS.map(|kind| unspecified(icmp6(kind))));
            rules.extend(targets(port, SOLICITATION).map(unspecified));
            rules.push(senders);
            rules.push(format!("{} -j DROP", icmp6(ROUTER)));
            rules.extend(targets(port, ADVERTISEMENT).map(|what| format!("{what} -j RETURN")));
            rules.push(format!("{} -j DROP", icmp6(ADVERTISEMENT)));
            rules.push("-p ipv6-icmp -j RETURN".to_owned());
            rules.push(format!("{} -j RETURN", udp(546, 547)));
            rules.push(format!("{} -j DROP", udp(547, 546)));
        }
    }
    rules.extend(group_rules(groups, port, Direction::Egress));
    rules
}

/// Neighbour discovery for an address of the port's own.
fn targets(port: &Port, kind: u8) -> impl Iterator<Item = String> {
    let unbound = port.senders.is_empty();
    let mut targets: BTreeSet<String> = BTreeSet::new();
    for (_, net) in own_or_local(port, Family::V6) {
        let IpNet::V6(net) = net else { continue };
        targets.insert(match net.prefix_len() {
            0 => icmp6(kind),
            length => format!("{} -m u32 --u32 \"{}\"", icmp6(kind), target_test(net.network(), length)),
        });
    }
    if unbound {
        targets.insert(icmp6(kind));
    }
    targets.into_iter()
}

/// The target address stands 8 bytes into the message, which follows the 40 bytes of the header.
fn target_test(address: Ipv6Addr, length: u8) -> String {
    let bits = u128::from(address);
    let mask = u128::MAX << (128 - u32::from(length));
    let word = |value: u128, place: u32| (value >> (96 - 32 * place)) as u32;
    let tests = (0..4).filter(|place| word(mask, *place) != 0).map(|place| {
        let offset = 48 + 4 * place;
        match word(mask, place) {
            u32::MAX => format!("{offset:#x}={:#x}", word(bits, place)),
            mask => format!("{offset:#x}&{mask:#x}={:#x}", word(bits, place)),
        }
    });
    tests.collect::<Vec<_>>().join("&&")
}

/// The senders of a family; of IPv6 always the link-local address.
fn own_or_local(port: &Port, family: Family) -> Vec<(types::Mac, IpNet)> {
    let mut senders = port.senders_of(family);
    if family == Family::V6 && !port.senders.is_empty() {
        let local = port.mac.eui64(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0));
        let local = (port.mac, IpNet::from(std::net::IpAddr::V6(local)));
        if !senders.contains(&local) {
            senders.push(local);
        }
    }
    senders
}

fn sender_rules(port: &Port, family: Family) -> Vec<String> {
    let mac = |mac: types::Mac| format!("-m mac --mac-source {}", mac.to_string().to_ascii_uppercase());
    let mut rules: Vec<String> = own_or_local(port, family)
        .into_iter()
        .map(|(own, net)| match net.prefix_len() {
            0 => format!("{} -j RETURN", mac(own)),
            _ => format!("-s {net} {} -j RETURN", mac(own)),
        })
        .collect();
    if port.senders.is_empty() {
        rules.push(format!("{} -j RETURN", mac(port.mac)));
    }
    rules.push("-j DROP".to_owned());
    rules
}

fn group_rules(groups: &Groups<'_>, port: &Port, direction: Direction) -> Vec<String> {
    let stateless = groups.policy.is_stateless(port);
    let mut rules = Vec::new();
    if !stateless {
        rules.push("-m state --state RELATED,ESTABLISHED -j RETURN".to_owned());
    }
    let all = groups.of(direction);
    let own: Vec<&Bundled> = port.groups.iter().filter_map(|id| all.get(id)).collect();
    let provider = port.provider.iter().filter(|rule| rule.direction == direction && rule.family == groups.family);
    let single = provider.chain(own.iter().flat_map(|group| group.rest.iter().copied()));
    let single = single.flat_map(|rule| rule_texts(groups.policy, port, rule, groups.sets));
    let bundles = own.iter().flat_map(|group| group.bundles.iter().map(|bundle| bundle.rule.clone()));
    let mut seen = BTreeSet::new();
    rules.extend(single.chain(bundles).filter(|text| seen.insert(text.clone())));
    if !stateless {
        rules.push("-m state --state INVALID -j DROP".to_owned());
    }
    rules.push(format!("-j {}", chain("sg-fallback")));
    rules
}

fn rule_texts(policy: &Policy, port: &Port, rule: &Rule, sets: Sets) -> Vec<String> {
    let (far, near, side) = match rule.direction {
        Direction::Ingress => ("-s", "-d", "src"),
        Direction::Egress => ("-d", "-s", "dst"),
    };
    let what = what(rule);
    let text = |words: &[&str]| words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
    let local = rule.local.map(|net| format!("{near} {net}")).unwrap_or_default();
    match &rule.remote {
        Remote::Any => vec![text(&[&local, &what, "-j RETURN"])],
        Remote::Prefix(net) => {
            let remote = format!("{far} {net}");
            let [first, second] = if far == "-s" { [&remote, &local] } else { [&local, &remote] };
            vec![text(&[first, second, &what, "-j RETURN"])]
        }
        Remote::Group(group) => {
            let key = (group.clone(), rule.family);
            if sets != Sets::Expanded {
                let set = format!("-m set --match-set {} {side}", set_name(&key));
                return vec![text(&[&local, &what, &set, "-j RETURN"])];
            }
            let members = policy.members.get(&key).into_iter().flatten();
            let others = members.filter(|net| !port.addresses.iter().any(|own| IpNet::from(*own) == **net));
            others.map(|net| text(&[&format!("{far} {net}"), &local, &what, "-j RETURN"])).collect()
        }
    }
}

/// The name that a protocol is told and listed by.
pub(super) fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        33 => "dccp".to_owned(),
        50 => "esp".to_owned(),
        51 => "ah".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        132 => "sctp".to_owned(),
        136 => "udplite".to_owned(),
        number => number.to_string(),
    }
}

/// Protocol, ports and types.
fn what(rule: &Rule) -> String {
    let Some(protocol) = rule.protocol else { return String::new() };
    let mut text = format!("-p {}", protocol_name(protocol));
    if let Some((kind, code)) = rule.icmp {
        let (module, option) = if protocol == 1 { ("icmp", "icmp") } else { ("icmp6", "icmpv6") };
        let code = code.map(|code| format!("/{code}")).unwrap_or_default();
        return format!("{text} -m {module} --{option}-type {kind}{code}");
    }
    if !has_ports(protocol) || (rule.ports.is_none() && rule.source_ports.is_none()) {
        return text;
    }
    for (option, range) in [("sport", rule.source_ports), ("dport", rule.ports)] {
        text.extend(range.map(|range| format!(" {}", ports(option, range))));
    }
    text
}

/// Always by the match that takes several ports: for others the tool asks the system what a port's number means, and with
/// each question for all addresses of the host.
fn ports(option: &str, (low, high): (u16, u16)) -> String {
    let range = if low == high { low.to_string() } else { format!("{low}:{high}") };
    format!("-m multiport --{option}s {range}")
}

/// What upstream's agent keeps in ebtables: from which MACs a port may send, and as whom it may speak ARP.
pub(super) fn render_frames(policy: &Policy) -> Wanted {
    let mut wanted = Wanted::default();
    let chains = wanted.chains.0.entry("nat".to_owned()).or_default();
    for (device, port) in policy.ports.iter().filter(|(_, port)| port.mode == Mode::Filtered) {
        let mac_chain = format!("neutronMAC-{device}");
        // What iptables would not see: rules of addresses and groups are not asked about tagged frames.
        let tagged = format!("-p 802_1Q -i {device} -j DROP");
        // One by one: where upstream's agent finds a list (--among-src) as it comes back, it empties the chain before it
        // lets the port send again, and the port's packets are lost. To rules like these it adds its own.
        let own = port.macs().into_iter().map(|mac| format!("-s {mac} -i {device} -j RETURN"));
        let rules = [tagged].into_iter().chain(own).chain(["-j DROP".to_owned()]);
        chains.insert(mac_chain.clone(), rules.collect());
        let rule = format!("-i {device} -j {mac_chain}");
        wanted.jumps.push(Jump { table: "nat", chain: "PREROUTING", rule, top: true });
        let senders = port.senders_of(Family::V4);
        if port.senders.is_empty() || senders.iter().any(|(_, net)| net.prefix_len() == 0) {
            continue;
        }
        let arp_chain = format!("neutronARP-{device}");
        let claim = |(mac, net): &(types::Mac, IpNet)| {
            let address = if net.prefix_len() == 32 { net.addr().to_string() } else { net.to_string() };
            format!("-p ARP --arp-ip-src {address} --arp-mac-src {mac} -j ACCEPT")
        };
        let rules: Vec<String> = senders.iter().map(claim).chain(["-j DROP".to_owned()]).collect();
        chains.insert(arp_chain.clone(), rules);
        let rule = format!("-p ARP -i {device} -j {arp_chain}");
        wanted.jumps.push(Jump { table: "nat", chain: "PREROUTING", rule, top: false });
    }
    wanted
}
