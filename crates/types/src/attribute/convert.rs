//! Bringing a value to its stored form, as the reference's converters do, with their errors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::{AttributeError, Convert, notation};
use crate::rbac_policy::ObjectType;

/// Protocols of security group rules that have a name, in the order in which messages list them.
pub const PROTOCOL_NAMES: [&str; 25] = [
    "ah",
    "dccp",
    "egp",
    "esp",
    "gre",
    "hopopt",
    "icmp",
    "igmp",
    "ip",
    "ipip",
    "ipv6-encap",
    "ipv6-frag",
    "ipv6-icmp",
    "icmpv6",
    "ipv6-nonxt",
    "ipv6-opts",
    "ipv6-route",
    "ospf",
    "pgm",
    "rsvp",
    "sctp",
    "tcp",
    "udp",
    "udplite",
    "vrrp",
];

const ETHERTYPES: [&str; 2] = ["IPv4", "IPv6"];

impl Convert {
    /// The stored form of a value from a body or a query string.
    pub fn apply(self, value: Value) -> Result<Value, AttributeError> {
        match self {
            Self::None => Ok(value),
            Self::Boolean => boolean(&value).map(Value::Bool),
            Self::BooleanIfNotNone if value.is_null() => Ok(value),
            Self::BooleanIfNotNone => boolean(&value).map(Value::Bool),
            Self::Int => int(&value).map(Value::from),
            Self::NoneToEmptyList if value.is_null() => Ok(Value::Array(Vec::new())),
            Self::NoneToEmptyList => Ok(value),
            Self::Mac => Ok(mac(value)),
            Self::Cidr => cidr(&value),
            Self::IpAddress => Ok(ip_address(value)),
            Self::AllocationPools => allocation_pools(value),
            Self::Protocol => protocol(value),
            Self::Ethertype => ethertype(&value),
            Self::PortValue => port_value(&value),
            Self::IpPrefix => ip_prefix(&value),
            Self::RbacObjectType => rbac_object_type(&value),
        }
    }
}

fn rbac_object_type(value: &Value) -> Result<Value, AttributeError> {
    let text = notation::plain(value);
    match ObjectType::named(&text.trim().to_lowercase()) {
        Some(kind) => Ok(kind.as_str().into()),
        None => Err(AttributeError::input(format!("'{text}' is not a valid RBAC object type"))),
    }
}

fn boolean(value: &Value) -> Result<bool, AttributeError> {
    let text = notation::plain(value).trim().to_lowercase();
    match text.as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Ok(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Ok(false),
        _ => Err(AttributeError::input(format!("'{}' cannot be converted to boolean", notation::plain(value)))),
    }
}

fn int(value: &Value) -> Result<i64, AttributeError> {
    python_int(value).ok_or_else(|| AttributeError::input(format!("'{}' is not an integer", notation::plain(value))))
}

/// What Python's `int()` makes of a value: numbers cut at the point, truth values, texts with blanks around.
pub(super) fn python_int(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(truth) => Some(i64::from(*truth)),
        #[expect(clippy::cast_possible_truncation, reason = "checked against the range first")]
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().filter(|f| f.abs() < 9_007_199_254_740_992.0).map(|f| f.trunc() as i64)),
        Value::String(text) => python_int_text(text),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn python_int_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let grouped = digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()));
    if grouped { text.replace('_', "").parse().ok() } else { None }
}

/// The usual form of an Ethernet address; what is none stays, for the check to refuse.
fn mac(value: Value) -> Value {
    let in_notation = value.as_str().and_then(parse_mac);
    let as_number =
        || python_int(&value).filter(|_| !value.is_f64()).and_then(|n| u64::try_from(n).ok()).filter(|n| *n < 1 << 48);
    let octets = in_notation.or_else(as_number);
    match octets {
        Some(octets) => {
            let [_, _, a, b, c, d, e, f] = octets.to_be_bytes();
            Value::String(crate::Mac([a, b, c, d, e, f]).to_string())
        }
        None => value,
    }
}

/// Reads an Ethernet address in any of the notations in use: six pairs, three or two groups, or bare digits.
pub(super) fn parse_mac(text: &str) -> Option<u64> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let hex = |group: &str| u64::from_str_radix(group, 16).ok().filter(|_| !group.starts_with('+'));
    if matches!(text.len(), 11 | 12) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return hex(text);
    }
    let separator = text.chars().find(|c| matches!(c, ':' | '-' | '.'))?;
    let groups: Vec<&str> = text.split(separator).collect();
    let (width, digits) = match (groups.len(), separator) {
        (6, ':' | '-') => (8, 1..=2),
        (3, _) => (16, 1..=4),
        (2, ':' | '-') => (24, 5..=6),
        _ => return None,
    };
    groups.iter().try_fold(0, |address, group| {
        digits.contains(&group.len()).then_some(())?;
        Some(address << width | hex(group)?)
    })
}

/// A prefix with its length, as far as the reference reads one: the length may be a mask, or absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) address: IpAddr,
    pub(super) length: u8,
}

impl Prefix {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width: u8 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => width,
            Some(length) => match python_int_text(length) {
                Some(length) => u8::try_from(length).ok().filter(|l| *l <= width)?,
                None => mask_length(length, width)?,
            },
        };
        Some(Self { address, length })
    }

    /// The address with its host bits cleared.
    pub(super) fn network(self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                Ipv4Addr::from(u32::from(address) & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                Ipv6Addr::from(u128::from(address) & mask).into()
            }
        }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", compact(self.address), self.length)
    }
}

/// Length of a prefix given as a mask of network bits or, as access lists do, of host bits.
fn mask_length(text: &str, width: u8) -> Option<u8> {
    let bits = match text.parse().ok()? {
        IpAddr::V4(mask) if width == 32 => u128::from(u32::from(mask)) << 96 | u128::MAX >> 32,
        IpAddr::V6(mask) if width == 128 => u128::from(mask),
        _ => return None,
    };
    // Below an IPv4 mask all bits are set; a network mask must have them clear, a host mask set.
    let network = if width == 32 { bits & u128::MAX << 96 } else { bits };
    let length = if network.leading_ones() == network.count_ones() {
        network.leading_ones()
    } else if bits.leading_zeros() + bits.count_ones() == 128 {
        bits.leading_zeros()
    } else {
        return None;
    };
    u8::try_from(length).ok()
}

/// The shortest form of an address as the C library writes it: low IPv6 addresses end in dotted digits.
fn compact(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if u128::from(v6) >> 32 == 0 && u128::from(v6) >> 16 != 0 => match v6.octets() {
            [.., a, b, c, d] => format!("::{a}.{b}.{c}.{d}"),
        },
        other => other.to_string(),
    }
}

fn cidr(value: &Value) -> Result<Value, AttributeError> {
    let prefix = value.as_str().and_then(Prefix::parse);
    prefix
        .map(|prefix| Value::String(prefix.to_string()))
        .ok_or_else(|| AttributeError::input(format!("{} is not in a CIDR format", notation::plain(value))))
}

/// IPv6 addresses in their shortest form; all else stays, for the check to judge.
fn ip_address(value: Value) -> Value {
    match value.as_str().map(str::parse) {
        Some(Ok(IpAddr::V6(address))) => Value::String(compact(address.into())),
        _ => value,
    }
}

fn allocation_pools(value: Value) -> Result<Value, AttributeError> {
    let refused = || AttributeError::input("Invalid data format for allocation pools".into());
    let pool = |pool: Value| match pool {
        Value::Object(ends) => Ok(Value::Object(ends.into_iter().map(|(k, v)| (k, ip_address(v))).collect())),
        _ => Err(refused()),
    };
    match value {
        Value::Null => Ok(Value::Array(Vec::new())),
        Value::Array(pools) => pools.into_iter().map(pool).collect::<Result<_, _>>().map(Value::Array),
        Value::Object(members) if members.is_empty() => Ok(Value::Array(Vec::new())),
        Value::String(text) if text.is_empty() => Ok(Value::Array(Vec::new())),
        _ => Err(refused()),
    }
}

fn protocol(value: Value) -> Result<Value, AttributeError> {
    let refused = |value: &Value| {
        let names = PROTOCOL_NAMES.map(|name| format!("'{name}'")).join(", ");
        AttributeError::fault(
            "SecurityGroupRuleInvalidProtocol",
            format!(
                "Security group rule protocol {} not supported. Only protocol values (None, 'any', {names}) and \
                 integer representations [0 to 255] are supported.",
                notation::plain(value)
            ),
        )
    };
    if value.is_null() || value == "any" {
        return Ok(Value::Null);
    }
    // The reference also stores `True` and `6.5`, by accident.
    if let Some(number) = python_int(&value).filter(|_| !value.is_boolean() && !value.is_f64()) {
        return if (0..=255).contains(&number) {
            Ok(Value::String(notation::plain(&value)))
        } else {
            Err(refused(&value))
        };
    }
    let name = value.as_str().map(str::to_lowercase).unwrap_or_default();
    if name == "any" || PROTOCOL_NAMES.contains(&name.as_str()) {
        Ok(Value::String(name))
    } else {
        Err(refused(&value))
    }
}

fn ethertype(value: &Value) -> Result<Value, AttributeError> {
    let text = value.as_str().unwrap_or_default();
    match ETHERTYPES.into_iter().find(|known| known.eq_ignore_ascii_case(text)) {
        Some(known) => Ok(known.into()),
        None => Err(AttributeError::fault(
            "SecurityGroupRuleInvalidEtherType",
            format!(
                "Security group rule for ethertype '{}' not supported. Allowed values are {}.",
                notation::plain(value),
                notation::list_of(ETHERTYPES)
            ),
        )),
    }
}

fn port_value(value: &Value) -> Result<Value, AttributeError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    match python_int(value).filter(|port| (0..=65535).contains(port)) {
        Some(port) => Ok(Value::from(port)),
        None => Err(AttributeError::fault(
            "SecurityGroupInvalidPortValue",
            format!("Invalid value for port {}", notation::plain(value)),
        )),
    }
}

fn ip_prefix(value: &Value) -> Result<Value, AttributeError> {
    if is_falsy(value) {
        return Ok(Value::Null);
    }
    let refused =
        || AttributeError::fault("InvalidCIDR", format!("Invalid CIDR {} given as IP prefix.", notation::plain(value)));
    let prefix = value.as_str().and_then(Prefix::parse).ok_or_else(refused)?;
    Ok(Value::String(prefix.to_string()))
}

/// What Python takes for false.
pub(super) fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// Values of a list filter in the form `key=value`, gathered by key: `fixed_ips=subnet_id=…&fixed_ips=ip_address=…`.
pub fn key_values(values: &[String]) -> Result<Vec<(String, Vec<String>)>, AttributeError> {
    let mut gathered: Vec<(String, Vec<String>)> = Vec::new();
    if values == ["True"] {
        return Ok(gathered);
    }
    for pair in values {
        let (key, value) = pair
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| AttributeError::input(format!("'{pair}' is not of the form <key>=[value]")))?;
        match gathered.iter_mut().find(|(known, _)| known == key) {
            Some((_, values)) if values.iter().any(|v| v == value) => {}
            Some((_, values)) => values.push(value.to_owned()),
            None => gathered.push((key.to_owned(), vec![value.to_owned()])),
        }
    }
    Ok(gathered)
}
