//! Values as the texts that rules compare: those that Python's `str` gives.

use serde_json::Value;

use super::Target;

/// A value as Python writes it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => quoted(other),
    }
}

/// The same inside a list or an object, where texts are quoted.
fn quoted(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{text}'"),
        Value::Array(items) => format!("[{}]", items.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("'{name}': {}", quoted(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
    }
}

/// Whether Python takes the two for equal, to which `True` is 1.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Number(number) => number.as_f64(),
        _ => None,
    };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => (one - other).abs() < f64::EPSILON,
        _ => one == other,
    }
}

/// A text with places for attributes of the target: `%(project_id)s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Attribute(String),
}

impl Template {
    /// Reads a template; the error is what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                plain.push('%');
                rest = after;
                continue;
            }
            let place = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
            let Some((name, after)) = place.and_then(|(name, after)| Some((name, after.strip_prefix('s')?))) else {
                return Err(format!("`%` in `{text}` must begin `%(<attribute>)s`, or be doubled"));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Attribute(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The whole text, when it has no places.
    pub(super) fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The name of the attribute, when the text is one place and nothing else.
    pub(super) fn attribute(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Attribute(name)] => Some(name),
            _ => None,
        }
    }

    /// The text with the target's attributes put in; `None` when it lacks one.
    pub(super) fn fill<T: Target>(&self, target: &T) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Attribute(name) => out.push_str(&plain(target.attribute(name)?)),
            }
        }
        Some(out)
    }
}
