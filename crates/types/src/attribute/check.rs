//! What values must be, as the reference's validators have it, with their messages.

mod address_pair;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value};
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use super::{
    AttributeError, Check,
    convert::{Prefix, is_falsy, parse_mac, python_int},
    notation::{list_of, plain},
};

pub use address_pair::address_pairs_within;

/// Why a value is refused: a reason the attribute's name is put before, or a whole error.
enum Refusal {
    Reason(String),
    Fault(AttributeError),
}

impl From<AttributeError> for Refusal {
    fn from(error: AttributeError) -> Self {
        Self::Fault(error)
    }
}

type Verdict = Result<(), Refusal>;

fn refuse(reason: String) -> Verdict {
    Err(Refusal::Reason(reason))
}

fn bad_request(message: String) -> Verdict {
    Err(Refusal::Fault(AttributeError::BadRequest(message)))
}

impl Check {
    /// Checks the value of an attribute. Lists and objects whose members are converted are changed in place.
    pub fn apply(self, attribute: &str, value: &mut Value) -> Result<(), AttributeError> {
        self.verdict(value).map_err(|refusal| match refusal {
            Refusal::Reason(reason) => AttributeError::Invalid { attribute: attribute.to_owned(), reason },
            Refusal::Fault(error) => error,
        })
    }

    fn verdict(self, value: &mut Value) -> Verdict {
        match self {
            Self::Any => Ok(()),
            Self::AnyText(length) => any_text(value, length),
            Self::Uuid => uuid(value),
            Self::UuidOrNone => unless_null(value, uuid),
            Self::UuidList => list(value, uuid),
            Self::TargetProject => target_project(value),
            Self::String(length) => string(value, Some(length)),
            Self::StringOrNone(length) => unless_null(value, |v| string(v, length)),
            Self::Name(length) => name(value, length),
            Self::NameOrNone(length) => unless_null(value, |v| name(v, length)),
            Self::NotEmptyName(length) => not_empty_name(value, length),
            Self::NameNotDefault(length) => name_not_default(value, length),
            Self::Texts(words) => one_of(value, |v| v.as_str().is_some_and(|word| words.contains(&word))),
            Self::TextsOrNone(words) => {
                one_of(value, |v| v.is_null() || v.as_str().is_some_and(|word| words.contains(&word)))
            }
            Self::Ints(numbers) => one_of(value, |v| v.as_i64().is_some_and(|number| numbers.contains(&number))),
            Self::NonNegative => non_negative(value),
            Self::Mac => unless_null(value, mac),
            Self::SubnetOrNone => unless_null(value, subnet),
            Self::SubnetList => list(value, subnet),
            Self::SubnetPoolIdOrNone if value == "prefix_delegation" => Ok(()),
            Self::SubnetPoolIdOrNone => unless_null(value, uuid),
            Self::IpAddressOrNone => unless_null(value, ip_address),
            Self::IpPools => ip_pools(value),
            Self::NameServers => name_servers(value),
            Self::HostRoutes => host_routes(value),
            Self::SubnetServiceTypes => subnet_service_types(value),
            Self::FixedIps => fixed_ips(value),
            Self::DictOrNone => unless_null(value, |v| dict(v).map(|_| ())),
            Self::AddressPairs => address_pair::address_pairs(value),
            Self::ExtraDhcpOpts => extra_dhcp_opts(value),
            Self::NetworkSegments => network_segments(value),
            Self::AvailabilityZoneHints => availability_zone_hints(value),
            Self::GatewayInfo => gateway_info(value),
            Self::UniqueStrings(length) => list(value, |v| string(v, Some(length))),
        }
    }
}

fn unless_null(value: &Value, check: impl Fn(&Value) -> Verdict) -> Verdict {
    if value.is_null() { Ok(()) } else { check(value) }
}

fn one_of(value: &Value, holds: impl Fn(&Value) -> bool) -> Verdict {
    // The reference does not say which values those are.
    if holds(value) { Ok(()) } else { refuse(format!("{} is not in valid_values", plain(value))) }
}

/// Unlike other checks, the reference's refuses as an operation would.
fn target_project(value: &Value) -> Verdict {
    if value == "*" || uuid(value).is_ok() {
        return Ok(());
    }
    let reason = format!("'{}' is not a valid target project ID; expected a UUID or '*'", plain(value));
    Err(Refusal::Fault(AttributeError::input(reason)))
}

fn uuid(value: &Value) -> Verdict {
    let hex = value.as_str().map(|text| text.replace("urn:", "").replace("uuid:", ""));
    let hex = hex.map(|text| text.trim_matches(['{', '}']).replace('-', ""));
    match hex {
        Some(hex) if hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(()),
        _ => refuse(format!("'{}' is not a valid UUID", plain(value))),
    }
}

/// A list without duplicates, each item of which passes.
fn list(value: &Value, check: impl Fn(&Value) -> Verdict) -> Verdict {
    let Some(items) = value.as_array() else { return refuse(format!("'{}' is not a list", plain(value))) };
    let mut twice: Vec<&Value> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if items.iter().take(index).any(|earlier| earlier == item) && !twice.contains(&item) {
            twice.push(item);
        }
    }
    if !twice.is_empty() {
        let twice: Vec<String> = twice.into_iter().map(plain).collect();
        return refuse(format!("Duplicate items in the list: '{}'", twice.join(", ")));
    }
    items.iter().try_for_each(check)
}

fn string(value: &Value, length: Option<usize>) -> Verdict {
    let Some(text) = value.as_str() else { return refuse(format!("'{}' is not a valid string", plain(value))) };
    match length {
        Some(length) if text.chars().count() > length => refuse(format!("'{text}' exceeds maximum length of {length}")),
        _ => Ok(()),
    }
}

fn any_text(value: &mut Value, length: usize) -> Verdict {
    if value.is_number() {
        *value = Value::String(plain(value));
    }
    unless_null(value, |v| string(v, Some(length)))
}

/// A string of printable characters that neither begins nor ends with a space.
fn name(value: &Value, length: usize) -> Verdict {
    string(value, Some(length))?;
    let text = value.as_str().unwrap_or_default();
    // The reference's expression lets one line end pass at the end of a line.
    let line = text.strip_suffix('\n').filter(|line| !line.is_empty()).unwrap_or(text);
    let inner = line.chars().all(|c| c == ' ' || is_printable(c) || is_space(c));
    let rim = [line.chars().next(), line.chars().next_back()].into_iter().flatten().all(|c| !is_space(c));
    if inner && rim { Ok(()) } else { refuse(format!("'{text}' is not a valid string")) }
}

fn not_empty_name(value: &Value, length: usize) -> Verdict {
    string(value, Some(length))?;
    let text = value.as_str().unwrap_or_default();
    if text.trim().is_empty() {
        return refuse(format!("'{text}' Blank strings are not permitted"));
    }
    name(value, length)
}

/// Neither a control character, nor unassigned, nor a separator; the reference knows the first plane only.
fn is_printable(c: char) -> bool {
    matches!(c, '!'..='~')
        || u32::from(c) < 0xffff
            && !matches!(c.general_category_group(), GeneralCategoryGroup::Other | GeneralCategoryGroup::Separator)
}

fn is_space(c: char) -> bool {
    c == ' ' || c.general_category() == GeneralCategory::SpaceSeparator
}

fn name_not_default(value: &Value, length: usize) -> Verdict {
    string(value, Some(length))?;
    if value.as_str().is_some_and(|name| name.to_lowercase() == "default") {
        return Err(Refusal::Fault(AttributeError::Fault {
            status: 409,
            kind: "SecurityGroupDefaultAlreadyExists",
            message: "Default security group already exists.".into(),
        }));
    }
    Ok(())
}

fn one_line(value: &Value, length: usize) -> Verdict {
    string(value, Some(length))?;
    let text = value.as_str().unwrap_or_default();
    if text.trim().is_empty() {
        return refuse(format!("'{text}' Blank strings are not permitted"));
    }
    let breaks = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let text_line = text.strip_suffix("\r\n").or_else(|| text.strip_suffix(breaks)).unwrap_or(text);
    if text_line.contains(breaks) { refuse(format!("Multi-line string is not allowed: '{text}'")) } else { Ok(()) }
}

fn non_negative(value: &Value) -> Verdict {
    match python_int(value) {
        None => refuse(format!("'{}' is not an integer", plain(value))),
        Some(number) if number < 0 => refuse(format!("'{number}' should be non-negative")),
        Some(_) => Ok(()),
    }
}

fn mac(value: &Value) -> Verdict {
    let octets = value.as_str().filter(|text| !text.contains(char::is_whitespace)).and_then(parse_mac);
    match octets {
        Some(octets) if octets != 0 && octets != 0xffff_ffff_ffff => Ok(()),
        _ => refuse(format!("'{}' is not a valid MAC address", plain(value))),
    }
}

fn ip_address(value: &Value) -> Verdict {
    let invalid = || refuse(format!("'{}' is not a valid IP address", plain(value)));
    let Some(text) = value.as_str() else { return invalid() };
    match (text.parse::<IpAddr>(), zero_filled(text)) {
        (Ok(_), _) => Ok(()),
        // Leading zeros could be meant as octal, so they are refused, with advice.
        (Err(_), Some(address)) => {
            refuse(format!("'{text}' is not an accepted IP address, '{address}' is recommended"))
        }
        (Err(_), None) => invalid(),
    }
}

/// The address meant by dotted digits with leading zeros.
fn zero_filled(text: &str) -> Option<Ipv4Addr> {
    let octets: Vec<u8> = text
        .split('.')
        .map(|part| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?)
        .collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

/// Prefix of a text without blanks that has a length; the IPv4 form must be the usual one.
fn prefix(value: &Value) -> Option<Prefix> {
    let text = value.as_str().filter(|text| text.contains('/') && !text.contains(char::is_whitespace))?;
    Prefix::parse(text)
}

fn subnet(value: &Value) -> Verdict {
    let usual = |prefix: &Prefix| prefix.address.is_ipv6() || value.as_str() == Some(&prefix.to_string());
    match prefix(value).filter(usual) {
        Some(_) => Ok(()),
        None => refuse(format!("'{}' is not a valid IP subnet", plain(value))),
    }
}

fn route_destination(value: &Value) -> Verdict {
    match prefix(value) {
        Some(prefix) if prefix.network() != prefix.address => refuse(format!("'{}' is not a valid CIDR", plain(value))),
        Some(prefix) if is_loopback(prefix) => refuse(format!("'{}' is not a routable CIDR", plain(value))),
        Some(_) => Ok(()),
        None => refuse(format!("'{}' is not a valid CIDR", plain(value))),
    }
}

fn is_loopback(prefix: Prefix) -> bool {
    match prefix.address {
        IpAddr::V4(address) => address.is_loopback() && prefix.length >= 8,
        IpAddr::V6(address) => address.is_loopback() && prefix.length == 128,
    }
}

fn dict(value: &Value) -> Result<&Map<String, Value>, Refusal> {
    value.as_object().ok_or_else(|| Refusal::Reason(format!("'{}' is not a dictionary", plain(value))))
}

/// An object with just these members.
fn dict_of<'a>(value: &'a Value, keys: &[&str]) -> Result<&'a Map<String, Value>, Refusal> {
    let Some(members) = value.as_object() else {
        let keys = list_of(keys.iter().copied());
        return Err(Refusal::Reason(format!(
            "Invalid input. '{}' must be a dictionary with keys: {keys}",
            plain(value)
        )));
    };
    if members.len() == keys.len() && keys.iter().all(|key| members.contains_key(*key)) {
        return Ok(members);
    }
    let set = |keys: &mut dyn Iterator<Item = &str>| match list_of(keys) {
        empty if empty == "[]" => "set()".to_owned(),
        list => format!("{{{}}}", list.trim_matches(['[', ']'])),
    };
    Err(Refusal::Reason(format!(
        "Validation of dictionary's keys failed. Expected keys: {} Provided keys: {}",
        set(&mut keys.iter().copied()),
        set(&mut members.keys().map(String::as_str))
    )))
}

fn ip_pools(value: &Value) -> Verdict {
    let Some(pools) = value.as_array() else {
        return refuse(format!("Invalid data format for IP pool: '{}'", plain(value)));
    };
    for pool in pools {
        let ends = dict_of(pool, &["start", "end"])?;
        ["start", "end"].into_iter().filter_map(|end| ends.get(end)).try_for_each(ip_address)?;
    }
    Ok(())
}

/// The reference takes anything it can iterate over: letters of a text, keys of an object.
fn name_servers(value: &Value) -> Verdict {
    let hosts: Vec<Value> = match value {
        Value::Array(hosts) => hosts.clone(),
        Value::String(text) => text.chars().map(|c| c.to_string().into()).collect(),
        Value::Object(members) => members.keys().map(|key| key.as_str().into()).collect(),
        _ => return refuse(format!("Invalid data format for nameserver: '{}'", plain(value))),
    };
    for (index, host) in hosts.iter().enumerate() {
        if let Err(Refusal::Reason(reason)) = ip_address(host) {
            return refuse(format!("'{}' is not a valid nameserver. {reason}", plain(host)));
        }
        if hosts.iter().take(index).any(|earlier| earlier == host) {
            return refuse(format!("Duplicate nameserver '{}'", plain(host)));
        }
    }
    Ok(())
}

fn host_routes(value: &Value) -> Verdict {
    let Some(routes) = value.as_array() else {
        return refuse(format!("Invalid data format for hostroute: '{}'", plain(value)));
    };
    for (index, route) in routes.iter().enumerate() {
        let members = dict_of(route, &["destination", "nexthop"])?;
        members.get("destination").map_or(Ok(()), route_destination)?;
        members.get("nexthop").map_or(Ok(()), ip_address)?;
        if routes.iter().take(index).any(|earlier| earlier == route) {
            return refuse(format!("Duplicate hostroute '{}'", plain(route)));
        }
    }
    Ok(())
}

fn subnet_service_types(value: &Value) -> Verdict {
    if is_falsy(value) {
        return Ok(());
    }
    let Some(types) = value.as_array() else { return bad_request("Subnet service types must be a list.".into()) };
    for service_type in types {
        let Some(text) = service_type.as_str() else {
            return Err(Refusal::Fault(AttributeError::fault(
                "InvalidInputSubnetServiceType",
                format!("Subnet service type {} is not a string.", plain(service_type)),
            )));
        };
        // Meant is the prefix `compute:`, but the reference takes any of its letters, and clients rely on it.
        if !(text.starts_with("network:")
            || text.starts_with("neutron:")
            || text.starts_with(|c| "compute:".contains(c)))
        {
            return Err(Refusal::Fault(AttributeError::fault(
                "InvalidSubnetServiceType",
                format!("Subnet service type {text} does not correspond to a valid device owner."),
            )));
        }
    }
    Ok(())
}

fn fixed_ips(value: &Value) -> Verdict {
    let invalid = |value: &Value| refuse(format!("Invalid data format for fixed IP: '{}'", plain(value)));
    let Some(fixed_ips) = value.as_array() else { return invalid(value) };
    let mut addresses: Vec<&Value> = Vec::new();
    for fixed_ip in fixed_ips {
        let Some(members) = fixed_ip.as_object() else { return invalid(fixed_ip) };
        if let Some(address) = members.get("ip_address") {
            if addresses.contains(&address) {
                return refuse(format!("Duplicate IP address '{}'", plain(address)));
            }
            ip_address(address)?;
            addresses.push(address);
        }
        members.get("subnet_id").map_or(Ok(()), uuid)?;
    }
    Ok(())
}

/// Some reasons stand as a message of their own, without the attribute's name.
fn plainly(verdict: Verdict) -> Verdict {
    verdict.map_err(|refusal| match refusal {
        Refusal::Reason(reason) => Refusal::Fault(AttributeError::BadRequest(reason)),
        fault @ Refusal::Fault(_) => fault,
    })
}

/// Each option has a name and a value, one of which may be null or blank only for options that a route list makes.
fn extra_dhcp_opts(value: &mut Value) -> Verdict {
    if value.is_null() {
        return Ok(());
    }
    let as_input = |refusal| match refusal {
        Refusal::Reason(reason) => Refusal::Fault(AttributeError::input(reason)),
        fault @ Refusal::Fault(_) => fault,
    };
    list(value, |_| Ok(())).map_err(as_input)?;
    for option in value.as_array_mut().into_iter().flatten() {
        if let Some(version) = option.as_object_mut().and_then(|members| members.get_mut("ip_version")) {
            *version = super::Convert::Int.apply(version.take())?;
        }
        if !is_dhcp_option(option) {
            return Err(as_input(Refusal::Reason(format!("No valid key specs matched for: {}", plain(option)))));
        }
    }
    Ok(())
}

fn is_dhcp_option(option: &Value) -> bool {
    let Some(members) = option.as_object() else { return false };
    let known = members.keys().all(|key| matches!(key.as_str(), "opt_name" | "opt_value" | "ip_version"));
    let version = members.get("ip_version").is_none_or(|v| matches!(v.as_i64(), Some(4 | 6)));
    let (Some(name), Some(value)) = (members.get("opt_name"), members.get("opt_value")) else { return false };
    let route = matches!(name.as_str(), Some("router" | "classless-static-route"))
        && unless_null(value, |v| string(v, Some(255))).is_ok();
    let any = one_line(name, 64).is_ok() && unless_null(value, |v| one_line(v, 255)).is_ok();
    known && version && (route || any)
}

/// Null or empty for no gateway, else a network and what is asked of it.
fn gateway_info(value: &mut Value) -> Verdict {
    const KEYS: [&str; 4] = ["network_id", "external_fixed_ips", "enable_snat", "qos_policy_id"];
    if is_falsy(value) {
        return Ok(());
    }
    let members = dict(value)?;
    if !members.contains_key(KEYS[0]) {
        let provided = list_of(members.keys().map(String::as_str));
        return refuse(format!(
            "Validation of dictionary's keys failed. Expected keys: {{'network_id'}} Provided keys: {{{}}}",
            provided.trim_matches(['[', ']'])
        ));
    }
    let unexpected: Vec<&str> = members.keys().map(String::as_str).filter(|key| !KEYS.contains(key)).collect();
    if !unexpected.is_empty() {
        return refuse(format!("Unexpected keys supplied: {}", unexpected.join(", ")));
    }
    members.get(KEYS[0]).map_or(Ok(()), uuid)?;
    members.get(KEYS[1]).map_or(Ok(()), fixed_ips)?;
    members.get(KEYS[3]).map_or(Ok(()), |policy| unless_null(policy, uuid))?;
    if let Some(snat) = value.as_object_mut().and_then(|members| members.get_mut(KEYS[2])) {
        *snat = super::Convert::Boolean.apply(snat.take())?;
    }
    Ok(())
}

/// Each segment has at most the three provider attributes; what is left out or zero is chosen by the operation.
fn network_segments(value: &mut Value) -> Verdict {
    const KEYS: [&str; 3] = ["provider:network_type", "provider:physical_network", "provider:segmentation_id"];
    // The reference fails with a 500 on what is not a list of objects.
    let Value::Array(segments) = value else { return refuse(format!("'{}' is not a list", plain(value))) };
    for segment in segments {
        dict(segment)?;
        let Value::Object(members) = segment else { continue };
        if let Some(id) = members.remove(KEYS[2])
            && !is_falsy(&id)
        {
            members.insert(KEYS[2].into(), super::Convert::Int.apply(id)?);
        }
        let unknown: Vec<&str> = members.keys().map(String::as_str).filter(|key| !KEYS.contains(key)).collect();
        if !unknown.is_empty() {
            return bad_request(format!("Unrecognized attribute(s) '{}'", unknown.join(", ")));
        }
    }
    Ok(())
}

fn availability_zone_hints(value: &Value) -> Verdict {
    // As the text the database keeps them in: a JSON list with a blank after each comma, ASCII only.
    const COLUMN: usize = 255;
    list(value, |v| string(v, None))?;
    let hints: Vec<usize> = value.as_array().into_iter().flatten().filter_map(Value::as_str).map(json_length).collect();
    let length = hints.iter().sum::<usize>() + 2 * hints.len().max(1);
    if length > COLUMN {
        return Err(Refusal::Fault(AttributeError::input("Too many availability_zone_hints specified".into())));
    }
    Ok(())
}

/// Length of a text as a JSON string of ASCII characters.
fn json_length(text: &str) -> usize {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        ' '..='~' => 1,
        c => 6 * c.len_utf16(),
    });
    escaped.sum::<usize>() + 2
}
