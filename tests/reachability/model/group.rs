//! What security groups let through.

use std::net::IpAddr;

use ipnet::IpNet;

use super::state::{Group, Port, Remote, Rule, State};

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Carries {
    /// An echo request or its reply.
    Echo {
        reply: bool,
    },
    Tcp {
        from: u16,
        to: u16,
    },
    Udp {
        from: u16,
        to: u16,
    },
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) carries: Carries,
}

/// Whether a packet passes, and whether what answers it does without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Dropped,
    /// Passes, and nobody remembers it.
    Passes,
    /// Passes, and so does the answer.
    Remembered,
}

impl Packet {
    /// What answers it.
    pub(crate) fn answer(self) -> Self {
        let carries = match self.carries {
            Carries::Echo { reply } => Carries::Echo { reply: !reply },
            Carries::Tcp { from, to } => Carries::Tcp { from: to, to: from },
            Carries::Udp { from, to } => Carries::Udp { from: to, to: from },
        };
        Self { source: self.destination, destination: self.source, carries }
    }

    fn is_v6(self) -> bool {
        self.source.is_ipv6()
    }
}

/// Whether a port may send from an address with a MAC of its own: its fixed addresses and its address pairs.
pub(crate) fn may_use(port: &Port, address: IpAddr) -> bool {
    let is_pair = |(prefix, mac): &(IpNet, String)| prefix.contains(&address) && *mac == port.mac;
    is_free(port) || port.fixed.iter().any(|(_, fixed)| *fixed == address) || port.pairs.iter().any(is_pair)
}

/// Ports without security, and those of the cloud itself.
fn is_free(port: &Port) -> bool {
    !port.security || port.owner.starts_with("network:")
}

/// What becomes of a packet into a port (`ingress`) or out of it.
pub(crate) fn verdict(state: &State, port: &Port, ingress: bool, packet: Packet) -> Verdict {
    if is_free(port) {
        return Verdict::Remembered;
    }
    // As upstream has it, no rule is asked about ICMPv6 out of a port, and a port without memory forgets that too.
    if !ingress && packet.is_v6() && matches!(packet.carries, Carries::Echo { .. }) {
        let mut groups = port.groups.iter().filter_map(|group| state.groups.get(group));
        return if groups.any(|group| !group.stateful) { Verdict::Passes } else { Verdict::Remembered };
    }
    let groups = port.groups.iter().filter_map(|group| state.groups.get(group));
    let lets = |group: &&Group| group.rules.iter().any(|rule| matches(state, rule, ingress, packet));
    let letting: Vec<&Group> = groups.filter(lets).collect();
    match letting.iter().any(|group| group.stateful) {
        true => Verdict::Remembered,
        false if letting.is_empty() => Verdict::Dropped,
        false => Verdict::Passes,
    }
}

fn matches(state: &State, rule: &Rule, ingress: bool, packet: Packet) -> bool {
    let peer = if ingress { packet.source } else { packet.destination };
    rule.ingress == ingress
        && rule.v6 == packet.is_v6()
        && carries(rule, packet)
        && match &rule.remote {
            Remote::Anybody => true,
            Remote::Prefix(prefix) => prefix.contains(&peer),
            Remote::Group(group) => state.members(group).iter().any(|member| member.contains(&peer)),
            Remote::AddressGroup(group) => {
                state.address_groups.get(group).is_some_and(|group| group.iter().any(|member| member.contains(&peer)))
            }
        }
}

/// Whether protocol, ports, ICMP type and code are meant.
fn carries(rule: &Rule, packet: Packet) -> bool {
    let Some(protocol) = rule.protocol.as_deref() else { return true };
    let in_range = |port: u16| rule.ports.0.is_none_or(|low| low <= port) && rule.ports.1.is_none_or(|top| port <= top);
    // Of ICMP the first number is the type, the second the code.
    let is_kind = |kind: u16| rule.ports.0.is_none_or(|of| of == kind) && rule.ports.1.is_none_or(|code| code == 0);
    match (packet.carries, protocol) {
        (Carries::Tcp { to, .. }, "tcp" | "6") | (Carries::Udp { to, .. }, "udp" | "17") => in_range(to),
        (Carries::Echo { reply }, "icmp" | "1") if !packet.is_v6() => is_kind(if reply { 0 } else { 8 }),
        (Carries::Echo { reply }, "icmp" | "icmpv6" | "ipv6-icmp" | "58") if packet.is_v6() => {
            is_kind(if reply { 129 } else { 128 })
        }
        _ => false,
    }
}
