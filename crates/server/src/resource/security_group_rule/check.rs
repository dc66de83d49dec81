//! What a rule may say.

use types::{SecurityGroupId, SecurityGroupRuleId, Standard, attribute::Attributes};

use super::SecurityGroupRule;
use crate::{Refusal, Result};

/// Names of protocols a rule may use, with their numbers (IANA).
const PROTOCOLS: [(&str, u8); 25] = [
    ("ah", 51),
    ("dccp", 33),
    ("egp", 8),
    ("esp", 50),
    ("gre", 47),
    ("hopopt", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ip", 0),
    ("ipip", 4),
    ("ipv6-encap", 41),
    ("ipv6-frag", 44),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ipv6-route", 43),
    ("ospf", 89),
    ("pgm", 113),
    ("rsvp", 46),
    ("sctp", 132),
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
    ("vrrp", 112),
];
/// What IPv6 has its own ICMP for, by its older names.
const OLD_ICMPV6: [&str; 2] = ["icmp", "icmpv6"];
/// All ports, which is the same as none in particular.
const ALL_PORTS: (Option<i32>, Option<i32>) = (Some(1), Some(65535));
/// Protocols whose rules may name ports.
const WITH_PORTS: [u8; 5] = [33, 132, 6, 17, 136];
const ICMP: [u8; 2] = [1, 58];
/// Protocols that exist in IPv6 only.
const IPV6_ONLY: [u8; 6] = [41, 44, 58, 59, 60, 43];

/// The conditions of a rule as a request describes them, checked and brought to their usual form. Whose rule it is, and the
/// groups it names, are the caller's business.
pub(in super::super) fn conditions(given: &Attributes) -> Result<SecurityGroupRule> {
    let project_id = given.text("project_id").unwrap_or_default().to_owned();
    let number = |name: &str| given.int(name).and_then(|n| i32::try_from(n).ok());
    let text = |name: &str| given.text(name).map(str::to_owned);
    let remote_ip_prefix = text("remote_ip_prefix");
    let mut rule = SecurityGroupRule {
        id: SecurityGroupRuleId::random(),
        tenant_id: project_id.clone(),
        project_id,
        security_group_id: SecurityGroupId::random(),
        direction: text("direction").unwrap_or_default(),
        ethertype: text("ethertype").unwrap_or_else(|| "IPv4".to_owned()),
        protocol: text("protocol"),
        port_range_min: number("port_range_min"),
        port_range_max: number("port_range_max"),
        normalized_cidr: remote_ip_prefix.as_deref().and_then(db::security_group::normalized),
        remote_ip_prefix,
        remote_group_id: None,
        remote_address_group_id: None,
        belongs_to_default_sg: Some(false),
        standard: Standard::default(),
    };
    settle(&mut rule);
    check_ports(&rule)?;
    check_prefix(&rule)?;
    check_protocol(&rule)?;
    let remotes = ["remote_ip_prefix", "remote_group_id", "remote_address_group_id"];
    if remotes.iter().filter(|name| given.text(name).is_some()).count() > 1 {
        let message = "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.";
        return Err(Refusal::bad_request("SecurityGroupMultipleRemoteEntites", message).into());
    }
    Ok(rule)
}

/// IPv6 has an ICMP of its own, whatever a rule calls it; all ports are no ports in particular.
fn settle(rule: &mut SecurityGroupRule) {
    if rule.ethertype == "IPv6" {
        match rule.protocol.as_deref() {
            Some(name) if OLD_ICMPV6.contains(&name) => rule.protocol = Some("ipv6-icmp".to_owned()),
            Some("1") => rule.protocol = Some("58".to_owned()),
            _ => {}
        }
    }
    if (rule.port_range_min, rule.port_range_max) == ALL_PORTS {
        (rule.port_range_min, rule.port_range_max) = (None, None);
    }
}

/// A protocol as duplicates are told by: by its name where it has one. Of two names for a number the later one counts.
pub(in super::super) fn protocol_key(protocol: &str) -> String {
    let known = PROTOCOLS.iter().rev().find(|(name, number)| *name == protocol || number.to_string() == protocol);
    match PROTOCOLS.iter().any(|(name, _)| *name == protocol) {
        true => protocol.to_owned(),
        false => known.map_or(protocol, |(name, _)| name).to_owned(),
    }
}

/// A prefix as duplicates are told by: all addresses are the same as no prefix.
pub(in super::super) fn remote_prefix_key(prefix: Option<&str>) -> Option<&str> {
    prefix.filter(|prefix| !["0.0.0.0/0", "::/0"].contains(prefix))
}

fn protocol_number(protocol: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(name, _)| *name == protocol).map(|(_, number)| *number).or_else(|| protocol.parse().ok())
}

fn check_ports(rule: &SecurityGroupRule) -> Result<()> {
    let (min, max) = (rule.port_range_min, rule.port_range_max);
    if min.is_none() && max.is_none() {
        return Ok(());
    }
    let refuse = |kind: &str, message: String| Err(Refusal::bad_request(kind, message).into());
    let Some(protocol) = rule.protocol.as_deref() else {
        let message = "Must also specify protocol if port range is given.";
        return refuse("SecurityGroupProtocolRequiredWithPorts", message.to_owned());
    };
    match protocol_number(protocol) {
        Some(number) if WITH_PORTS.contains(&number) => match (min, max) {
            (Some(0), _) | (_, Some(0)) => {
                refuse("SecurityGroupInvalidPortValue", "Invalid value for port 0".to_owned())
            }
            (Some(min), Some(max)) if min <= max => Ok(()),
            _ => refuse(
                "SecurityGroupInvalidPortRange",
                "For TCP/UDP protocols, port_range_min must be <= port_range_max".to_owned(),
            ),
        },
        Some(number) if ICMP.contains(&number) => {
            for (name, field, value) in [("port_range_min", "type", min), ("port_range_max", "code", max)] {
                if let Some(value) = value.filter(|value| !(0..=255).contains(value)) {
                    let message = format!("Invalid value for ICMP {field} ({name}) {value}. It must be 0 to 255.");
                    return refuse("SecurityGroupInvalidIcmpValue", message);
                }
            }
            match (min, max) {
                (None, Some(code)) => refuse(
                    "SecurityGroupMissingIcmpType",
                    format!("ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing."),
                ),
                _ => Ok(()),
            }
        }
        number => {
            let shown = number.map_or_else(|| protocol.to_owned(), |n| n.to_string());
            let message = format!(
                "Ports cannot be specified for protocol {shown}. Ports are only supported for DCCP, SCTP, TCP, UDP, \
                 UDPLITE."
            );
            refuse("SecurityGroupInvalidProtocolForPort", message)
        }
    }
}

fn check_protocol(rule: &SecurityGroupRule) -> Result<()> {
    let Some(protocol) = rule.protocol.as_deref() else { return Ok(()) };
    if rule.ethertype == "IPv4" && protocol_number(protocol).is_some_and(|n| IPV6_ONLY.contains(&n)) {
        let message = format!("Invalid ethertype {} for protocol {protocol}.", rule.ethertype);
        return Err(Refusal::bad_request("SecurityGroupEthertypeConflictWithProtocol", message).into());
    }
    Ok(())
}

fn check_prefix(rule: &SecurityGroupRule) -> Result<()> {
    let (Some(prefix), Some(network)) = (&rule.remote_ip_prefix, &rule.normalized_cidr) else { return Ok(()) };
    let version = if network.contains(':') { "IPv6" } else { "IPv4" };
    if rule.ethertype == version {
        return Ok(());
    }
    let message = format!("Conflicting value ethertype {} for CIDR {prefix}", rule.ethertype);
    Err(Refusal::bad_request("SecurityGroupRuleParameterConflict", message).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: serde_json::Value) -> String {
        let given = Attributes(body.as_object().unwrap().clone());
        match conditions(&given) {
            Err(error) => error.into_refusal().kind,
            Ok(_) => "accepted".to_owned(),
        }
    }

    #[test]
    fn ports_need_a_protocol_that_has_them() {
        let of = |protocol: serde_json::Value, min: serde_json::Value, max: serde_json::Value| {
            refused(json!({"direction": "ingress", "ethertype": "IPv4", "protocol": protocol,
                           "port_range_min": min, "port_range_max": max}))
        };
        assert_eq!(of(json!(null), json!(1), json!(2)), "SecurityGroupProtocolRequiredWithPorts");
        assert_eq!(of(json!("tcp"), json!(0), json!(2)), "SecurityGroupInvalidPortValue");
        assert_eq!(of(json!("17"), json!(3), json!(2)), "SecurityGroupInvalidPortRange");
        assert_eq!(of(json!("icmp"), json!(300), json!(null)), "SecurityGroupInvalidIcmpValue");
        assert_eq!(of(json!("icmp"), json!(null), json!(3)), "SecurityGroupMissingIcmpType");
        assert_eq!(of(json!("ah"), json!(1), json!(2)), "SecurityGroupInvalidProtocolForPort");
        assert_eq!(of(json!("udp"), json!(1), json!(65535)), "accepted");
    }

    #[test]
    fn ethertype_must_fit_protocol_and_prefix() {
        let ipv6 = json!({"direction": "ingress", "ethertype": "IPv4", "protocol": "ipv6-icmp"});
        assert_eq!(refused(ipv6), "SecurityGroupEthertypeConflictWithProtocol");
        let prefix = json!({"direction": "ingress", "ethertype": "IPv6", "remote_ip_prefix": "10.0.0.0/8"});
        assert_eq!(refused(prefix), "SecurityGroupRuleParameterConflict");
    }

    fn settled(body: serde_json::Value) -> (Option<String>, Option<i32>, Option<i32>) {
        let rule = conditions(&Attributes(body.as_object().unwrap().clone())).unwrap();
        (rule.protocol, rule.port_range_min, rule.port_range_max)
    }

    #[test]
    fn what_means_the_same_is_written_the_same() {
        for (given, wanted) in [("icmp", "ipv6-icmp"), ("icmpv6", "ipv6-icmp"), ("1", "58"), ("58", "58")] {
            let body = json!({"direction": "ingress", "ethertype": "IPv6", "protocol": given, "port_range_min": 128});
            assert_eq!(settled(body), (Some(wanted.to_owned()), Some(128), None));
        }
        let all = json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 1, "port_range_max": 65535});
        assert_eq!(settled(all), (Some("tcp".to_owned()), None, None));
        let most = json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 2, "port_range_max": 65535});
        assert_eq!(settled(most), (Some("tcp".to_owned()), Some(2), Some(65535)));
    }

    #[test]
    fn names_and_numbers_are_the_same_protocol() {
        for (one, other) in [("tcp", "6"), ("ipip", "4"), ("ip", "0"), ("ipv6-icmp", "58"), ("94", "94")] {
            assert_eq!(protocol_key(one), protocol_key(other));
        }
        assert_ne!(protocol_key("hopopt"), protocol_key("0"));
        assert_eq!(remote_prefix_key(Some("0.0.0.0/0")), remote_prefix_key(None));
    }
}
