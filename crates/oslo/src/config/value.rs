//! From the text of an option to its value: one parser for each [`Kind`], and the conversion into Rust types.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::option::Kind;

/// A value that its kind allows.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing is written and there is no default.
    Unset,
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`] and [`Kind::IntChoice`].
    Int(i64),
    /// Of [`Kind::Float`].
    Float(f64),
    /// Of the kinds of text.
    Text(String),
    /// Of [`Kind::List`] and [`Kind::Multi`].
    List(Vec<String>),
    /// Of [`Kind::Dict`], in the order written.
    Dict(Vec<(String, String)>),
}

const TRUE: [&str; 4] = ["true", "1", "on", "yes"];
const FALSE: [&str; 4] = ["false", "0", "off", "no"];

/// Reads the text of an option; the error says what is wrong with it.
pub(crate) fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Choice(_) => Err("no such choice".to_owned()),
        Kind::Bool => parse_bool(text),
        // An empty number is an unset one, as in the original.
        Kind::Int(..) | Kind::IntChoice(_) | Kind::Float(..) if text.trim().is_empty() => Ok(Value::Unset),
        Kind::Int(low, high) => match parse_int(text)? {
            number if number < low => Err("too small".to_owned()),
            number if number > high => Err("too large".to_owned()),
            number => Ok(Value::Int(number)),
        },
        Kind::IntChoice(numbers) => match parse_int(text)? {
            number if numbers.contains(&number) => Ok(Value::Int(number)),
            _ => Err("no such choice".to_owned()),
        },
        Kind::Float(low, high) => match text.trim().parse::<f64>() {
            Ok(number) if number < low => Err("too small".to_owned()),
            Ok(number) if number > high => Err("too large".to_owned()),
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err("not a number".to_owned()),
        },
        Kind::List => Ok(Value::List(split_list(text))),
        Kind::Multi => Ok(Value::List(vec![text.to_owned()])),
        Kind::Dict => parse_dict(text),
        Kind::Address => match text.parse::<IpAddr>() {
            Ok(_) => Ok(Value::Text(text.to_owned())),
            Err(_) => Err("not an IP address".to_owned()),
        },
        Kind::Host if is_host(text) => Ok(Value::Text(text.to_owned())),
        Kind::Host => Err("neither a host name nor an IP address".to_owned()),
    }
}

/// What a kind allows, to follow the word "allowed:".
pub fn allowed(kind: Kind) -> String {
    match kind {
        Kind::Text => "any text".to_owned(),
        Kind::Choice(words) => words.join(", "),
        Kind::Bool => "true, yes, on, 1, false, no, off, 0".to_owned(),
        Kind::Int(i64::MIN, i64::MAX) => "a whole number".to_owned(),
        Kind::Int(low, i64::MAX) => format!("a whole number of at least {low}"),
        Kind::Int(low, high) => format!("a whole number from {low} to {high}"),
        Kind::IntChoice(numbers) => numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        Kind::Float(low, f64::MAX) => format!("a number of at least {low}"),
        Kind::Float(low, high) => format!("a number from {low} to {high}"),
        Kind::List => "values separated by commas".to_owned(),
        Kind::Dict => "name:value pairs separated by commas, each name once".to_owned(),
        Kind::Multi => "any text, as often as needed".to_owned(),
        Kind::Address => "an IPv4 or IPv6 address".to_owned(),
        Kind::Host => "a host name or an IP address".to_owned(),
    }
}

fn parse_bool(text: &str) -> Result<Value, String> {
    let word = text.to_lowercase();
    if TRUE.contains(&word.as_str()) {
        Ok(Value::Bool(true))
    } else if FALSE.contains(&word.as_str()) {
        Ok(Value::Bool(false))
    } else {
        Err("neither true nor false".to_owned())
    }
}

fn parse_int(text: &str) -> Result<i64, String> {
    text.trim().parse::<i64>().map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow => "too large".to_owned(),
        std::num::IntErrorKind::NegOverflow => "too small".to_owned(),
        _ => "not a whole number".to_owned(),
    })
}

/// Splits at commas outside quotes. A quote counts only where a value starts, so that `it's` is plain text.
fn split_list(text: &str) -> Vec<String> {
    let text = text.trim().trim_end_matches(',');
    if text.is_empty() {
        return Vec::new();
    }
    let mut items = Vec::new();
    let mut rest = text;
    loop {
        let end = item_end(rest);
        items.push(super::ini::unquote(rest[..end].trim()).to_owned());
        match rest.get(end + 1..) {
            Some(next) => rest = next,
            None => return items,
        }
    }
}

/// Where the first value of a list ends: at its comma, or at the end of the text.
fn item_end(text: &str) -> usize {
    let start = text.len() - text.trim_start().len();
    let comma_from = match text[start..].chars().next() {
        Some(quote @ ('"' | '\'')) => text[start + 1..].find(quote).map_or(start, |close| start + 1 + close),
        _ => start,
    };
    text[comma_from..].find(',').map_or(text.len(), |comma| comma_from + comma)
}

fn parse_dict(text: &str) -> Result<Value, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for item in split_list(text) {
        let Some((name, value)) = item.split_once(':') else {
            return Err(format!("`{item}` has no colon"));
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() {
            return Err(format!("`{item}` has no name before the colon"));
        }
        if pairs.iter().any(|(known, _)| known == name) {
            return Err(format!("`{name}` is there twice"));
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(Value::Dict(pairs))
}

fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.trim_end_matches('.').split('.').all(is_label))
}

/// A Rust type that an option's value can become.
pub trait FromValue: Sized {
    /// The value, or why this type cannot hold it.
    fn from_value(value: Value) -> Result<Self, String>;
}

/// The tables and the structs disagree about an option's kind; a test of each struct makes sure that none does.
fn mismatch<T>(value: &Value) -> Result<T, String> {
    Err(match value {
        Value::Unset => "a value is needed".to_owned(),
        other => format!("the option table gives {other:?}, which the program does not read here"),
    })
}

impl FromValue for bool {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Bool(flag) => Ok(flag),
            other => mismatch(&other),
        }
    }
}

macro_rules! from_int {
    ($($int:ty),*) => {$(
        impl FromValue for $int {
            fn from_value(value: Value) -> Result<Self, String> {
                match value {
                    Value::Int(number) => Self::try_from(number).map_err(|_| format!("{number} does not fit here")),
                    other => mismatch(&other),
                }
            }
        }
    )*};
}
from_int!(i64, i32, u8, u16, u32, u64, usize);

impl FromValue for f64 {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Float(number) => Ok(number),
            other => mismatch(&other),
        }
    }
}

/// Options that hold times hold seconds.
impl FromValue for Duration {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Int(seconds) => u64::try_from(seconds).map(Self::from_secs).map_err(|_| "too small".to_owned()),
            Value::Float(seconds) => Self::try_from_secs_f64(seconds).map_err(|_| "too large".to_owned()),
            other => mismatch(&other),
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Text(text) => Ok(text),
            other => mismatch(&other),
        }
    }
}

impl FromValue for PathBuf {
    fn from_value(value: Value) -> Result<Self, String> {
        String::from_value(value).map(Self::from)
    }
}

impl FromValue for IpAddr {
    fn from_value(value: Value) -> Result<Self, String> {
        String::from_value(value)?.parse().map_err(|_| "not an IP address".to_owned())
    }
}

/// Unset and empty are both nothing: an operator empties an option to switch it off.
impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Unset => Ok(None),
            Value::Text(text) if text.is_empty() => Ok(None),
            other => T::from_value(other).map(Some),
        }
    }
}

impl FromValue for Vec<String> {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::List(items) => Ok(items),
            Value::Unset => Ok(Self::new()),
            other => mismatch(&other),
        }
    }
}

impl FromValue for Vec<(String, String)> {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Dict(pairs) => Ok(pairs),
            other => mismatch(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        split_list(text)
    }

    #[test]
    fn booleans_in_any_case() {
        for text in ["true", "True", "YES", "on", "1"] {
            assert_eq!(parse(Kind::Bool, text), Ok(Value::Bool(true)));
        }
        for text in ["False", "no", "OFF", "0"] {
            assert_eq!(parse(Kind::Bool, text), Ok(Value::Bool(false)));
        }
        for text in ["", "t", "enabled", "2"] {
            assert_eq!(parse(Kind::Bool, text), Err("neither true nor false".into()));
        }
    }

    #[test]
    fn numbers_and_their_bounds() {
        let kind = Kind::Int(-1, 10);
        assert_eq!(parse(kind, " -1 "), Ok(Value::Int(-1)));
        assert_eq!(parse(kind, "+7"), Ok(Value::Int(7)));
        assert_eq!(parse(kind, ""), Ok(Value::Unset));
        assert_eq!(parse(kind, "-2"), Err("too small".into()));
        assert_eq!(parse(kind, "11"), Err("too large".into()));
        assert_eq!(parse(kind, "99999999999999999999"), Err("too large".into()));
        assert_eq!(parse(kind, "0x1"), Err("not a whole number".into()));
        assert_eq!(parse(kind, "1.5"), Err("not a whole number".into()));
        assert_eq!(parse(Kind::IntChoice(&[4, 6]), "5"), Err("no such choice".into()));
        assert_eq!(parse(Kind::Float(0.0, 4.5), "1.5"), Ok(Value::Float(1.5)));
        assert_eq!(parse(Kind::Float(0.0, 4.5), "5"), Err("too large".into()));
        assert_eq!(parse(Kind::Float(0.0, f64::MAX), "nan"), Err("not a number".into()));
    }

    #[test]
    fn lists_split_at_commas_outside_quotes() {
        assert_eq!(list("a, b ,c"), ["a", "b", "c"]);
        assert_eq!(list("a,\"b,c\", 'd, e' ,f"), ["a", "b,c", "d, e", "f"]);
        assert_eq!(list("a,,b,"), ["a", "", "b"]);
        assert_eq!(list("x,\ny"), ["x", "y"]);
        assert_eq!(list("it's,ok"), ["it's", "ok"]);
        assert_eq!(list("\"open,end"), ["\"open", "end"]);
        assert!(list("").is_empty() && list(" ").is_empty() && list(",").is_empty());
    }

    #[test]
    fn dictionaries_split_at_the_first_colon() {
        let pairs = |pairs: &[(&str, &str)]| {
            Ok(Value::Dict(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()))
        };
        assert_eq!(parse(Kind::Dict, "a:b, c : d:e"), pairs(&[("a", "b"), ("c", "d:e")]));
        assert_eq!(parse(Kind::Dict, ""), pairs(&[]));
        assert_eq!(parse(Kind::Dict, "a:b,c"), Err("`c` has no colon".into()));
        assert_eq!(parse(Kind::Dict, ":b"), Err("`:b` has no name before the colon".into()));
        assert_eq!(parse(Kind::Dict, "a:b,a:c"), Err("`a` is there twice".into()));
    }

    #[test]
    fn hosts_and_addresses() {
        for text in ["node1", "linux-node1.example.com", "10.0.0.1", "fd00::1", "a_b"] {
            assert!(parse(Kind::Host, text).is_ok(), "{text}");
        }
        for text in ["", "a b", "-a", "a..b", "x:y:z"] {
            assert!(parse(Kind::Host, text).is_err(), "{text}");
        }
        assert!(parse(Kind::Address, "10.0.0").is_err());
    }

    #[test]
    fn empty_text_is_no_value() {
        assert_eq!(Option::<String>::from_value(Value::Text(String::new())), Ok(None));
        assert_eq!(Option::<u16>::from_value(Value::Unset), Ok(None));
        assert_eq!(u16::from_value(Value::Int(70000)), Err("70000 does not fit here".into()));
        assert_eq!(Duration::from_value(Value::Float(0.5)), Ok(Duration::from_millis(500)));
    }
}
