//! Allowed address pairs: further addresses a port may send from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::{Refusal, Verdict, bad_request, dict, ip_address, mac, plainly, prefix, refuse, subnet};
use crate::attribute::{
    AttributeError,
    convert::{Prefix, parse_mac},
    notation::plain,
};

pub(super) fn address_pairs(value: &Value) -> Verdict {
    let Some(pairs) = value.as_array() else { return bad_request("Allowed address pairs must be a list.".into()) };
    let mut known: Vec<(Option<&Value>, &Value)> = Vec::new();
    for pair in pairs {
        let members = dict(pair)?;
        let sender = members.get("mac_address");
        sender.map_or(Ok(()), |sender| plainly(mac(sender)))?;
        let Some(address) = members.get("ip_address") else {
            return Err(Refusal::Fault(AttributeError::fault(
                "AllowedAddressPairsMissingIP",
                "AllowedAddressPair must contain ip_address".into(),
            )));
        };
        if known.contains(&(sender, address)) {
            return Err(Refusal::Fault(duplicate_pair(sender, address)));
        }
        known.push((sender, address));
        let unknown: Vec<&str> =
            members.keys().map(String::as_str).filter(|key| !matches!(*key, "mac_address" | "ip_address")).collect();
        if !unknown.is_empty() {
            return bad_request(format!("Unrecognized attribute(s) '{}'", unknown.join(", ")));
        }
        plainly(pair_address(address))?;
        sender.map_or(Ok(()), |sender| plainly(unicast_mac(sender)))?;
    }
    Ok(())
}

/// Refuses more address pairs than `max_allowed_address_pair` of the configuration allows.
pub fn address_pairs_within(limit: usize, pairs: &[Value]) -> Result<(), AttributeError> {
    if pairs.len() <= limit {
        return Ok(());
    }
    Err(AttributeError::fault(
        "AllowedAddressPairExhausted",
        format!("The number of allowed address pair exceeds the maximum {limit}."),
    ))
}

fn duplicate_pair(sender: Option<&Value>, address: &Value) -> AttributeError {
    let sender = plain(sender.unwrap_or(&Value::Null));
    let address = plain(address);
    AttributeError::fault(
        "DuplicateAddressPairInRequest",
        format!("Request contains duplicate address pair: mac_address {sender} ip_address {address}."),
    )
}

/// An address or a prefix, not multicast.
fn pair_address(value: &Value) -> Verdict {
    if value.as_str().is_some_and(|text| text.contains('/')) {
        subnet(value)?;
        match prefix(value) {
            Some(prefix) if overlaps_multicast(prefix) => {
                let range = if prefix.address.is_ipv4() { "224.0.0.0/4" } else { "ff00::/8" };
                refuse(format!("Subnet {prefix} overlaps with multicast range {range}, which is not supported."))
            }
            _ => Ok(()),
        }
    } else {
        ip_address(value)?;
        match value.as_str().map(str::parse::<IpAddr>) {
            Some(Ok(address)) if address.is_multicast() => {
                refuse(format!("IP {address} is a multicast address, which is not supported."))
            }
            _ => Ok(()),
        }
    }
}

/// One of prefix and multicast range contains the other; 0.0.0.0/0 means any address and is let pass.
fn overlaps_multicast(prefix: Prefix) -> bool {
    let (range, range_length): (IpAddr, u8) = match prefix.address {
        IpAddr::V4(_) => (Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        IpAddr::V6(_) => (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    };
    let any_ipv4 = prefix.length == 0 && prefix.address == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let length = prefix.length.min(range_length);
    !any_ipv4 && Prefix { length, ..prefix }.network() == Prefix { address: range, length }.network()
}

fn unicast_mac(value: &Value) -> Verdict {
    match value.as_str().and_then(parse_mac) {
        Some(octets) if octets >> 40 & 1 == 1 => {
            refuse(format!("MAC address {} is a multicast address, which is not supported.", plain(value)))
        }
        _ => Ok(()),
    }
}
