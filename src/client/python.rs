//! Values as the old command wrote them: Python's `str`, `repr` and `json.dumps`.
//!
//! Scripts cut these texts up, so `True`, `None`, `['a']` and `{"a": 1}` are part of the interface.

use std::fmt::Write as _;

use serde_json::Value;

/// A value as text: strings bare, all else as in [`repr`].
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| repr(value), str::to_owned)
}

/// A value as a Python literal.
pub(super) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", quoted(key), repr(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other if other == quote => {
                quoted.push('\\');
                quoted.push(other);
            }
            other => quoted.push(other),
        }
    }
    quoted.push(quote);
    quoted
}

/// A value as JSON in ASCII, on one line with blanks or spread over lines by `indent`.
pub(super) fn json(value: &Value, indent: Option<usize>) -> String {
    let mut out = String::new();
    write_json(&mut out, value, indent, 0);
    out
}

fn write_json(out: &mut String, value: &Value, indent: Option<usize>, depth: usize) {
    match value {
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            let parts = items.iter().map(|item| (None, item));
            write_parts(out, ('[', ']'), parts, indent, depth);
        }
        Value::Object(entries) => {
            let parts = entries.iter().map(|(key, value)| (Some(key.as_str()), value));
            write_parts(out, ('{', '}'), parts, indent, depth);
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_parts<'a>(
    out: &mut String,
    brackets: (char, char),
    parts: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    indent: Option<usize>,
    depth: usize,
) {
    let new_line = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    out.push(brackets.0);
    let mut empty = true;
    for (key, value) in parts {
        if !empty {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        empty = false;
        new_line(out, depth + 1);
        if let Some(key) = key {
            write_text(out, key);
            out.push_str(": ");
        }
        write_json(out, value, indent, depth + 1);
    }
    if !empty {
        new_line(out, depth);
    }
    out.push(brackets.1);
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn literals_are_pythons() {
        assert_eq!(text(&json!("it's")), "it's");
        assert_eq!(repr(&json!(["a", true, null, 1, "it's"])), "['a', True, None, 1, \"it's\"]");
        assert_eq!(repr(&json!({"a": {"b": []}})), "{'a': {'b': []}}");
    }

    #[test]
    fn json_is_pythons() {
        assert_eq!(json(&json!({"a": [1, "ü"], "b": {}}), None), r#"{"a": [1, "\u00fc"], "b": {}}"#);
        assert_eq!(json(&json!({"a": [1]}), Some(2)), "{\n  \"a\": [\n    1\n  ]\n}");
    }
}
