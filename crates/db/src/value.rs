//! One value type for every backend: what is bound to a statement and what a row holds.
//!
//! The kinds are those of the schema, no more. Each backend converts at its own border, so nothing above knows that a
//! boolean is `0`/`1` here and `true` there, or that SQLite keeps a timestamp as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chrono::NaiveDateTime;
use types::{
    AddressGroupId, AddressScopeId, AgentId, DefaultSecurityGroupRuleId, DefaultStatefulnessId, FloatingIpId, Mac,
    NetworkId, PortId, RbacPolicyId, RouterId, SecurityGroupId, SecurityGroupRuleId, SegmentId, SubnetId, SubnetPoolId,
};
use uuid::Uuid;

/// A value of a column or of a bound parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// Any whole number; columns are at most 64 bits wide.
    Int(i64),
    /// Text, including values of enumerations.
    Text(String),
    /// A point in time in UTC.
    Timestamp(NaiveDateTime),
}

/// A Rust type that a column's value can be read as.
pub trait FromValue: Sized {
    /// The value as this type, or `None` when it is not one.
    fn from_value(value: &Value) -> Option<Self>;
}

impl From<Value> for sea_query::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::String(None),
            Value::Bool(b) => Self::Bool(Some(b)),
            Value::Int(i) => Self::BigInt(Some(i)),
            Value::Text(t) => Self::String(Some(t)),
            Value::Timestamp(t) => Self::ChronoDateTime(Some(t)),
        }
    }
}

impl Value {
    /// The value a query builder bound. Kinds no column has (floats, blobs) become text, as a comparison with them can
    /// only be false.
    pub(crate) fn from_query(value: sea_query::Value) -> Self {
        use sea_query::Value as Q;
        match value {
            Q::Bool(v) => v.into(),
            Q::TinyInt(v) => v.map(i64::from).into(),
            Q::SmallInt(v) => v.map(i64::from).into(),
            Q::Int(v) => v.map(i64::from).into(),
            Q::BigInt(v) => v.into(),
            Q::TinyUnsigned(v) => v.map(i64::from).into(),
            Q::SmallUnsigned(v) => v.map(i64::from).into(),
            Q::Unsigned(v) => v.map(i64::from).into(),
            Q::BigUnsigned(v) => v.map(|v| i64::try_from(v).unwrap_or(i64::MAX)).into(),
            Q::Float(v) => v.map(|v| v.to_string()).into(),
            Q::Double(v) => v.map(|v| v.to_string()).into(),
            Q::String(v) => v.into(),
            Q::Char(v) => v.map(String::from).into(),
            Q::Bytes(v) => v.map(|v| String::from_utf8_lossy(&v).into_owned()).into(),
            Q::ChronoDateTime(v) => v.into(),
            Q::ChronoDateTimeUtc(v) => v.map(|v| v.naive_utc()).into(),
            _ => Self::Null,
        }
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

macro_rules! ints {
    ($($int:ty),*) => {$(
        impl From<$int> for Value {
            fn from(value: $int) -> Self {
                Self::Int(i64::from(value))
            }
        }
    )*};
}
ints!(i64, i32, u32, i16, u16, u8);

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<NaiveDateTime> for Value {
    fn from(value: NaiveDateTime) -> Self {
        Self::Timestamp(value)
    }
}

impl FromValue for Value {
    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(*b),
            Value::Int(i) => Some(*i != 0),
            _ => None,
        }
    }
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int(i) => Some(*i),
            Value::Bool(b) => Some(i64::from(*b)),
            // MariaDB gives sums as decimal text.
            Value::Text(t) => t.parse().ok(),
            _ => None,
        }
    }
}

macro_rules! narrow {
    ($($int:ty),*) => {$(
        impl FromValue for $int {
            fn from_value(value: &Value) -> Option<Self> {
                i64::from_value(value).and_then(|i| i.try_into().ok())
            }
        }
    )*};
}
narrow!(i32, u64, u32, i16, u16, u8, usize);

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(t) => Some(t.clone()),
            _ => None,
        }
    }
}

impl FromValue for NaiveDateTime {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Timestamp(t) => Some(*t),
            Value::Text(t) => crate::timestamp::parse(t),
            _ => None,
        }
    }
}

/// Types whose column holds their text.
macro_rules! text {
    ($($name:ty),* $(,)?) => {$(
        impl From<$name> for Value {
            fn from(value: $name) -> Self {
                Self::Text(value.to_string())
            }
        }

        impl From<&$name> for Value {
            fn from(value: &$name) -> Self {
                Self::Text(value.to_string())
            }
        }

        impl FromValue for $name {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Text(t) => t.parse().ok(),
                    _ => None,
                }
            }
        }
    )*};
}
text!(
    AgentId,
    FloatingIpId,
    NetworkId,
    AddressGroupId,
    AddressScopeId,
    DefaultSecurityGroupRuleId,
    DefaultStatefulnessId,
    PortId,
    RbacPolicyId,
    RouterId,
    SecurityGroupId,
    SecurityGroupRuleId,
    SegmentId,
    SubnetId,
    SubnetPoolId,
    Uuid,
    Mac,
    IpAddr,
    Ipv4Addr,
    Ipv6Addr,
    ipnet::IpNet,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_the_query_builder() {
        let now = NaiveDateTime::parse_from_str("2026-11-22 10:11:12.5", "%Y-%m-%d %H:%M:%S%.f").unwrap();
        for value in [Value::Null, true.into(), 7.into(), "x".into(), now.into()] {
            assert_eq!(Value::from_query(value.clone().into()), value);
        }
    }

    #[test]
    fn null_is_only_an_option() {
        assert_eq!(String::from_value(&Value::Null), None);
        assert_eq!(Option::<String>::from_value(&Value::Null), Some(None));
        assert_eq!(Option::<PortId>::from_value(&"junk".into()), None);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(u32::from_value(&Value::Int(-1)), None);
        assert_eq!(i32::from_value(&Value::Int(1 << 40)), None);
        assert_eq!(bool::from_value(&Value::Int(1)), Some(true));
    }
}
