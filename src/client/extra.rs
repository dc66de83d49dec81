//! Options the client does not know, in the notation that reaches any attribute of the API.
//!
//! `--key value` sets text, `--key` alone is true, `--key a b` and `--key list=true a` make a list, `type=int`
//! (or `bool`, `dict`, `str`) before the value converts it, and `action=clear` sends null. An option may be
//! given once; `-` in a key is `_`.

use serde_json::{Map, Value};

use super::error::ClientError;

/// One unknown option with what followed it.
#[derive(Default)]
struct Group {
    name: String,
    inline: bool,
    values: Vec<String>,
    kind: Option<Kind>,
    list: bool,
    clear: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Dict,
    Int,
    Str,
}

/// Reads the words the command did not understand as attributes.
pub(super) fn attributes(words: &[String]) -> Result<Map<String, Value>, ClientError> {
    let words = if words.first().is_some_and(|word| word == "--") { &words[1..] } else { words };
    let invalid = || ClientError::Refused(format!("Invalid values_specs {}", words.join(" ")));
    let mut groups: Vec<Group> = Vec::new();
    for word in words {
        if let Some(option) = word.strip_prefix("--") {
            if option.starts_with('-') || option.is_empty() {
                return Err(invalid());
            }
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            if groups.iter().any(|group| group.name == name) {
                return Err(ClientError::Refused(format!("Duplicated options {}", words.join(" "))));
            }
            let inline = value.is_some();
            groups.push(Group {
                name: name.to_owned(),
                inline,
                values: value.into_iter().collect(),
                ..Group::default()
            });
            continue;
        }
        let Some(group) = groups.last_mut() else { return Err(invalid()) };
        if let Some(kind) = word.strip_prefix("type=").filter(|_| group.kind.is_none()) {
            group.kind = Some(kind_named(kind, words)?);
        } else if word == "list=true" {
            group.list = true;
        } else if word == "action=clear" {
            group.clear = true;
        } else if group.inline || (word.starts_with('-') && word.parse::<f64>().is_err()) {
            return Err(invalid());
        } else {
            group.values.push(word.clone());
        }
    }
    let mut attributes = Map::new();
    for group in groups {
        if group.values.is_empty() && (group.kind.is_some() || group.list) {
            return Err(invalid());
        }
        let (key, value) = attribute(group)?;
        attributes.insert(key, value);
    }
    Ok(attributes)
}

fn kind_named(name: &str, words: &[String]) -> Result<Kind, ClientError> {
    match name {
        "bool" => Ok(Kind::Bool),
        "dict" => Ok(Kind::Dict),
        "int" => Ok(Kind::Int),
        "str" => Ok(Kind::Str),
        _ => {
            Err(ClientError::Refused(format!("Invalid value_specs {}: type {name} is not supported", words.join(" "))))
        }
    }
}

fn attribute(group: Group) -> Result<(String, Value), ClientError> {
    let kind = group.kind.unwrap_or(Kind::Str);
    let values = group.values.iter().map(|text| convert(kind, &group.name, text)).collect::<Result<Vec<_>, _>>()?;
    let value = match values.len() {
        0 if group.clear => Value::Null,
        0 => Value::Bool(true),
        1 if !group.list => values.into_iter().next().unwrap_or_default(),
        _ => Value::Array(values),
    };
    Ok((group.name.replace('-', "_"), value))
}

fn convert(kind: Kind, name: &str, text: &str) -> Result<Value, ClientError> {
    match kind {
        Kind::Str => Ok(text.into()),
        Kind::Bool => Ok(text.eq_ignore_ascii_case("true").into()),
        Kind::Int => text
            .trim()
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| ClientError::Usage(format!("argument --{name}: invalid int value: '{text}'"))),
        Kind::Dict => object(text, &[], &[])
            .map(Value::Object)
            .map_err(|reason| ClientError::Usage(format!("argument --{name}: {reason}"))),
    }
}

/// Reads `key=value,key=value`. A comma without `=` behind it belongs to the value before it.
/// The error is the end of a sentence that names the option.
pub(super) fn object(text: &str, required: &[&str], optional: &[&str]) -> Result<Map<String, Value>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        match (part.split_once('='), pairs.last_mut()) {
            (Some((key, value)), _) => pairs.push((key.to_owned(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(part);
            }
            (None, None) => return Err(format!("missing value for key '{part}'")),
        }
    }
    let mut valid: Vec<&str> = required.iter().chain(optional).copied().collect();
    valid.sort_unstable();
    if !valid.is_empty() {
        let mut unknown: Vec<&str> =
            pairs.iter().map(|(key, _)| key.as_str()).filter(|key| !valid.contains(key)).collect();
        unknown.sort_unstable();
        if !unknown.is_empty() {
            return Err(format!(
                "Invalid key(s) '{}' specified. Valid key(s): '{}'.",
                unknown.join(", "),
                valid.join(", ")
            ));
        }
    }
    let missing: Vec<&str> =
        required.iter().copied().filter(|key| !pairs.iter().any(|(given, _)| given == key)).collect();
    if !missing.is_empty() {
        return Err(format!("Required key(s) '{}' not specified.", missing.join(", ")));
    }
    Ok(pairs.into_iter().map(|(key, value)| (key, value.into())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(line: &str) -> Result<Value, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        attributes(&words).map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn every_notation_gives_its_type() {
        assert_eq!(read("--router:external"), Ok(json!({"router:external": true})));
        assert_eq!(read("--mtu type=int 1400 --a=b"), Ok(json!({"mtu": 1400, "a": "b"})));
        assert_eq!(read("--dns-nameservers list=true 1.1.1.1"), Ok(json!({"dns_nameservers": ["1.1.1.1"]})));
        assert_eq!(read("--id a b"), Ok(json!({"id": ["a", "b"]})));
        assert_eq!(read("-- --gateway-ip action=clear"), Ok(json!({"gateway_ip": null})));
        assert_eq!(
            read("--pools type=dict list=true start=1,end=2 start=3,end=4"),
            Ok(json!({"pools": [{"start": "1", "end": "2"}, {"start": "3", "end": "4"}]}))
        );
        assert_eq!(read("--x type=bool True"), Ok(json!({"x": true})));
        assert_eq!(read("--x -1"), Ok(json!({"x": "-1"})));
    }

    #[test]
    fn malformed_words_are_named() {
        assert_eq!(read("stray"), Err("Invalid values_specs stray".into()));
        assert_eq!(read("--a 1 --a 2"), Err("Duplicated options --a 1 --a 2".into()));
        assert_eq!(read("--a type=int"), Err("Invalid values_specs --a type=int".into()));
        assert_eq!(
            read("--a type=float 1"),
            Err("Invalid value_specs --a type=float 1: type float is not supported".into())
        );
        assert_eq!(read("--a=1 2"), Err("Invalid values_specs --a=1 2".into()));
        assert_eq!(read("--a type=int x"), Err("argument --a: invalid int value: 'x'".into()));
        assert_eq!(read("--a -x"), Err("Invalid values_specs --a -x".into()));
    }

    #[test]
    fn objects_say_what_is_missing_or_unknown() {
        assert_eq!(object("a", &[], &[]).unwrap_err(), "missing value for key 'a'");
        assert_eq!(
            object("begin=1", &["start", "end"], &[]).unwrap_err(),
            "Invalid key(s) 'begin' specified. Valid key(s): 'end, start'."
        );
        assert_eq!(object("start=1", &["start", "end"], &[]).unwrap_err(), "Required key(s) 'end' not specified.");
        assert_eq!(Value::Object(object("a=1,2,b=3", &[], &[]).unwrap()), json!({"a": "1,2", "b": "3"}));
    }
}
