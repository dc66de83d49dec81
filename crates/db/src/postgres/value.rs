//! Values on PostgreSQL's wire, by the type the server says a parameter or column has.

use std::error::Error;

use chrono::{DateTime, NaiveDateTime, Utc};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

use crate::{FromValue, Value};

type Boxed = Box<dyn Error + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        if *self == Self::Null {
            return Ok(IsNull::Yes);
        }
        let unfit = || -> Boxed { format!("{self:?} does not fit a parameter of type {ty}").into() };
        match *ty {
            Type::BOOL => bool::from_value(self).ok_or_else(unfit)?.to_sql(ty, out),
            Type::INT2 => i16::from_value(self).ok_or_else(unfit)?.to_sql(ty, out),
            Type::INT4 => i32::from_value(self).ok_or_else(unfit)?.to_sql(ty, out),
            Type::INT8 => i64::from_value(self).ok_or_else(unfit)?.to_sql(ty, out),
            Type::TIMESTAMP => NaiveDateTime::from_value(self).ok_or_else(unfit)?.to_sql(ty, out),
            Type::TIMESTAMPTZ => NaiveDateTime::from_value(self).ok_or_else(unfit)?.and_utc().to_sql(ty, out),
            // Text, names and enumerations all travel as the text itself.
            _ => match self {
                Self::Text(text) => write(text, out),
                Self::Int(number) => write(&number.to_string(), out),
                Self::Bool(value) => write(&value.to_string(), out),
                Self::Timestamp(_) | Self::Null => Err(unfit()),
            },
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn write(text: &str, out: &mut BytesMut) -> Result<IsNull, Boxed> {
    out.extend_from_slice(text.as_bytes());
    Ok(IsNull::No)
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        Ok(match *ty {
            Type::BOOL => Self::Bool(bool::from_sql(ty, raw)?),
            Type::INT2 => Self::Int(i64::from(i16::from_sql(ty, raw)?)),
            Type::INT4 => Self::Int(i64::from(i32::from_sql(ty, raw)?)),
            Type::INT8 => Self::Int(i64::from_sql(ty, raw)?),
            Type::TIMESTAMP => Self::Timestamp(NaiveDateTime::from_sql(ty, raw)?),
            Type::TIMESTAMPTZ => Self::Timestamp(DateTime::<Utc>::from_sql(ty, raw)?.naive_utc()),
            Type::NUMERIC => Self::Int(whole(raw).ok_or("a number that is not whole, or beyond 64 bits")?),
            _ => Self::Text(std::str::from_utf8(raw)?.to_owned()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Boxed> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Sums come as NUMERIC: a count of base-10000 digits, the first one's weight, sign and scale, then the digits.
fn whole(raw: &[u8]) -> Option<i64> {
    let mut words = raw.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]]));
    let (count, weight, sign, _scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if count > weight + 1 {
        return None;
    }
    let mut number: i64 = 0;
    for _ in 0..=weight {
        number = number.checked_mul(10_000)?.checked_add(i64::from(words.next().unwrap_or(0)))?;
    }
    match sign {
        0 => Some(number),
        0x4000 => Some(-number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numerics() {
        let numeric = |words: &[i16]| whole(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
        assert_eq!(numeric(&[0, 0, 0, 0]), Some(0));
        assert_eq!(numeric(&[2, 1, 0, 0, 3, 42]), Some(30_042));
        assert_eq!(numeric(&[1, 1, 0x4000, 0, 3]), Some(-30_000));
        assert_eq!(numeric(&[1, -1, 0, 1, 5000]), None);
    }
}
