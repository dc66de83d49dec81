//! What the server says of ports and groups, as rules that are checked and typed, whatever the firewall is made of.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rpc::{
    l2::PortDetails,
    security_group::{self, Member, SecuredDevice},
};
use types::Mac;

/// IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

/// As seen by the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

/// Who the other side may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Remote {
    Any,
    Prefix(IpNet),
    /// The members of a group, or of an address group.
    Group(String),
}

/// What passes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    pub direction: Direction,
    pub family: Family,
    pub protocol: Option<u8>,
    pub source_ports: Option<(u16, u16)>,
    pub ports: Option<(u16, u16)>,
    /// Type, and code where one is given.
    pub icmp: Option<(u8, Option<u8>)>,
    pub remote: Remote,
    /// Only to this address, of the rules that every port has.
    pub local: Option<IpNet>,
}

/// A group's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub stateless: bool,
    pub rules: BTreeSet<Rule>,
}

/// What is done with a port's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Groups and anti-spoofing apply.
    Filtered,
    /// Its port security is off.
    Open,
    /// A port of the system, such as a router's.
    Trusted,
    /// Nothing passes: its rules could not be put in force.
    Closed,
}

/// A port as a firewall sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    /// The bridge of its network.
    pub bridge: String,
    pub mode: Mode,
    pub mac: Mac,
    pub addresses: BTreeSet<IpAddr>,
    /// Senders it may be: MAC and addresses. Its own first.
    pub senders: Vec<(Mac, IpNet)>,
    pub groups: Vec<String>,
    /// What reaches every port, such as answers of DHCP servers.
    pub provider: Vec<Rule>,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(super) fn of_net(net: &IpNet) -> Self {
        Self::of(net.addr())
    }

    fn from_ethertype(ethertype: &str) -> Option<Self> {
        match ethertype {
            "IPv4" => Some(Self::V4),
            "IPv6" => Some(Self::V6),
            _ => None,
        }
    }

    /// As the server and the names of sets have it.
    pub(super) fn ethertype(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The protocol number of its ICMP.
    pub(super) fn icmp(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 58,
        }
    }
}

/// Protocols that have ports.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// The number of a protocol by the names that the API knows.
fn protocol_number(name: &str, family: Family) -> Option<u8> {
    let number = match name.to_ascii_lowercase().as_str() {
        "ah" => 51,
        "dccp" => 33,
        "egp" => 8,
        "esp" => 50,
        "gre" => 47,
        "icmp" | "icmpv6" | "ipv6-icmp" => family.icmp(),
        "igmp" => 2,
        "ipip" => 4,
        "ipv6-encap" => 41,
        "ipv6-frag" => 44,
        "ipv6-nonxt" => 59,
        "ipv6-opts" => 60,
        "ipv6-route" => 43,
        "ospf" => 89,
        "pgm" => 113,
        "rsvp" => 46,
        "sctp" => 132,
        "tcp" => 6,
        "udp" => 17,
        "udplite" => 136,
        "vrrp" => 112,
        number => number.parse().ok()?,
    };
    // The number of the other family's ICMP has always meant this family's.
    Some(if family == Family::V6 && number == 1 { 58 } else { number })
}

impl Rule {
    /// None when it is of another Ethernet type, or says something that this firewall does not understand; then nothing
    /// passes by it.
    pub(super) fn read(rule: &security_group::Rule) -> Option<Self> {
        let direction = match rule.direction.as_str() {
            "ingress" => Direction::Ingress,
            "egress" => Direction::Egress,
            _ => return None,
        };
        let family = Family::from_ethertype(&rule.ethertype)?;
        let protocol = match rule.protocol.as_deref() {
            None | Some("any" | "0" | "") => None,
            Some(name) => Some(protocol_number(name, family)?),
        };
        let (remote, local) = match direction {
            Direction::Ingress => (&rule.source_ip_prefix, &rule.dest_ip_prefix),
            Direction::Egress => (&rule.dest_ip_prefix, &rule.source_ip_prefix),
        };
        let group = rule.remote_group_id.as_ref().or(rule.remote_address_group_id.as_ref());
        let remote = match (group, prefix(remote, family)?) {
            (Some(group), _) => Remote::Group(group.clone()),
            (None, Some(net)) => Remote::Prefix(net),
            (None, None) => Remote::Any,
        };
        let range = |min: Option<i32>, max: Option<i32>| -> Option<Option<(u16, u16)>> {
            let Some(min) = min.or(max) else { return Some(None) };
            Some(Some((u16::try_from(min).ok()?, u16::try_from(max.unwrap_or(min)).ok()?)))
        };
        let mut read = Self {
            direction,
            family,
            protocol,
            source_ports: None,
            ports: None,
            icmp: None,
            remote,
            local: prefix(local, family)?,
        };
        if protocol == Some(family.icmp()) {
            // The rules of every port have the type where others have the source port.
            let (kind, code) = match rule.source_port_range_min {
                Some(kind) => (Some(kind), rule.source_port_range_max),
                None => (rule.port_range_min, rule.port_range_max),
            };
            if let Some(kind) = kind {
                let code = code.map(u8::try_from).transpose().ok()?;
                read.icmp = Some((u8::try_from(kind).ok()?, code));
            }
        } else if protocol.is_some_and(has_ports) {
            read.source_ports = range(rule.source_port_range_min, rule.source_port_range_max)?;
            read.ports = range(rule.port_range_min, rule.port_range_max)?;
        }
        Some(read)
    }

    /// Whether a flow may begin by this rule. `is_member` says whether an address is a member of a group.
    pub(super) fn allows(&self, flow: &Flow, is_member: impl Fn(&str, IpAddr) -> bool) -> bool {
        let (remote, local) = match self.direction {
            Direction::Ingress => (flow.source, flow.destination),
            Direction::Egress => (flow.destination, flow.source),
        };
        let within =
            |range: Option<(u16, u16)>, port: u16| range.is_none_or(|(low, high)| (low..=high).contains(&port));
        let icmp = self.icmp.is_none_or(|(kind, code)| {
            flow.icmp.is_some_and(|(is, is_code)| is == kind && code.is_none_or(|code| code == is_code))
        });
        let remote_matches = match &self.remote {
            Remote::Any => true,
            Remote::Prefix(net) => net.contains(&remote),
            Remote::Group(group) => is_member(group, remote),
        };
        Family::of(flow.source) == self.family
            && self.protocol.is_none_or(|protocol| protocol == flow.protocol)
            && icmp
            && within(self.source_ports, flow.source_port)
            && within(self.ports, flow.destination_port)
            && self.local.is_none_or(|net| net.contains(&local))
            && remote_matches
    }
}

/// The first packet of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flow {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
    pub icmp: Option<(u8, u8)>,
}

/// `Some(None)` is every address: also said as a prefix of length 0.
fn prefix(text: &Option<String>, family: Family) -> Option<Option<IpNet>> {
    let Some(text) = text else { return Some(None) };
    let net = net(text).filter(|net| Family::of_net(net) == family)?;
    Some(Some(net).filter(|net| net.prefix_len() > 0))
}

/// An address or a prefix.
pub(super) fn net(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(net.trunc())
}

/// The addresses of a member list that are of a family. Every address is said as two halves, which is what sets can hold.
pub(super) fn members(list: &[Member], family: Family) -> BTreeSet<IpNet> {
    let mut found = BTreeSet::new();
    for member in list {
        let (Member::Pair(address, _) | Member::Address(address)) = member;
        let Some(net) = net(address).filter(|net| Family::of_net(net) == family) else { continue };
        match net {
            IpNet::V4(net) if net.prefix_len() == 0 => {
                let half = |high: u8| Ipv4Net::new(Ipv4Addr::new(high, 0, 0, 0), 1).map(IpNet::from);
                found.extend([half(0), half(128)].into_iter().flatten());
            }
            IpNet::V6(net) if net.prefix_len() == 0 => {
                let half = |high: u16| Ipv6Net::new(Ipv6Addr::new(high, 0, 0, 0, 0, 0, 0, 0), 1).map(IpNet::from);
                found.extend([half(0), half(0x8000)].into_iter().flatten());
            }
            net => drop(found.insert(net)),
        }
    }
    found
}

impl Port {
    /// A port in a bridge. The server leaves ports of the system out of `secured`.
    pub(super) fn new(bridge: &str, details: &PortDetails, secured: Option<&SecuredDevice>) -> Self {
        let addresses: BTreeSet<IpAddr> = details.fixed_ips.iter().map(|fixed| fixed.ip_address).collect();
        let own = addresses.iter().map(|address| (details.mac_address, IpNet::from(*address)));
        let pairs = details.allowed_address_pairs.iter();
        let pairs = pairs.filter_map(|pair| Some((pair.mac_address, net(&pair.ip_address)?)));
        let mut senders: Vec<(Mac, IpNet)> = own.collect();
        for pair in pairs {
            if !senders.contains(&pair) {
                senders.push(pair);
            }
        }
        let mode = match secured {
            None => Mode::Trusted,
            Some(secured) if secured.port_security_enabled => Mode::Filtered,
            Some(_) => Mode::Open,
        };
        Self {
            bridge: bridge.to_owned(),
            mode,
            mac: details.mac_address,
            addresses,
            senders,
            groups: secured.map(|secured| secured.security_groups.clone()).unwrap_or_default(),
            provider: secured.iter().flat_map(|it| &it.security_group_rules).filter_map(Rule::read).collect(),
        }
    }

    /// The senders of a family, with the link-local addresses that follow from their MACs.
    pub(super) fn senders_of(&self, family: Family) -> Vec<(Mac, IpNet)> {
        let mut senders: Vec<(Mac, IpNet)> = Vec::new();
        let mut add = |sender| {
            if !senders.contains(&sender) {
                senders.push(sender);
            }
        };
        for (mac, net) in self.senders.iter().filter(|(_, net)| Family::of_net(net) == family) {
            add((*mac, *net));
            if family == Family::V6 {
                let local = mac.eui64(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0));
                add((*mac, IpNet::from(IpAddr::V6(local))));
            }
        }
        senders
    }

    /// The MACs it may send from.
    pub(super) fn macs(&self) -> BTreeSet<Mac> {
        self.senders.iter().map(|(mac, _)| *mac).chain([self.mac]).collect()
    }
}
