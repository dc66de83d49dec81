//! Checks and conversions against what the reference made of the same values (`scripts/record-attribute-vectors`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use isospin_types::attribute::{AttributeError, table};
use serde_json::{Map, Value, json};

/// What the reference lets pass by accident and we refuse.
fn is_refused_by_us_alone(place: &str, value: &Value) -> bool {
    match place {
        // Without a validator anything passes, to fail in the database.
        "ports.binding:host_id" => !value.is_string() || value.as_str().is_some_and(|host| host.chars().count() > 255),
        // Taken for an empty list.
        "networks.segments" => value == "" || *value == json!({}),
        // Numbers beyond 32 bits are taken for an IPv6 address.
        "subnets.gateway_ip" => value.is_number(),
        // Taken for the number 0, and refused with another message.
        "ports.mac_address" => value == "0.0.0.0",
        // Stored as the text `True` or `6.5`.
        "security_group_rules.protocol" => value.is_boolean() || value.is_f64(),
        _ => false,
    }
}

fn attempt(place: &str, value: &Value) -> Result<Value, AttributeError> {
    let (plural, name) = place.split_once('.').unwrap();
    let table = table::ALL.iter().find(|t| t.plural == plural).unwrap();
    let attribute = table.attribute(name).unwrap_or_else(|| panic!("{place} is not in our table"));
    let mut value = attribute.convert.apply(value.clone())?;
    attribute.check.apply(name, &mut value)?;
    Ok(value)
}

/// Python prints sets and the members of objects in an order that is not ours, so only the letters are compared.
fn letters(text: &str) -> Vec<char> {
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters
}

/// `Invalid` stands for the usual words around a reason.
fn says(error: &AttributeError, kind: &str, text: &Value) -> bool {
    let text = text.as_str().unwrap_or_default();
    match error {
        AttributeError::Invalid { reason, .. } => kind == "Invalid" && letters(text) == letters(reason),
        error => kind == error.kind() && letters(text) == letters(&error.to_string()),
    }
}

fn differs(place: &str, value: &Value, expected: &Value) -> Option<String> {
    let outcome = attempt(place, value);
    let agrees = match (expected, &outcome) {
        // The database makes a text of a number.
        (Value::String(word), Ok(Value::String(text))) if word == "same" && value.is_number() => {
            let shown = value.to_string();
            *text == shown
        }
        (Value::String(word), Ok(stored)) if word == "same" => stored == value,
        // The reference answers 500; a refusal is right.
        (Value::String(word), Err(_)) if word == "crash" => true,
        (_, Err(_)) if is_refused_by_us_alone(place, value) => true,
        (Value::Object(row), Ok(stored)) => row.get("stored") == Some(stored),
        (Value::Object(row), Err(error)) => row.iter().all(|(kind, text)| says(error, kind, text)),
        _ => false,
    };
    (!agrees).then(|| format!("{place} = {value}\n  reference: {expected}\n  ours: {outcome:?}"))
}

#[test]
fn every_value_fares_as_in_the_reference() {
    let rows: Vec<(Value, Map<String, Value>)> =
        serde_json::from_str(include_str!("data/attribute-vectors.json")).unwrap();
    let mut cases = 0;
    let mut differing = Vec::new();
    for (value, row) in &rows {
        for (place, expected) in row {
            cases += 1;
            differing.extend(differs(place, value, expected));
        }
    }
    assert!(cases > 5_000, "only {cases} cases");
    assert!(differing.is_empty(), "{} of {cases} differ:\n{}", differing.len(), differing.join("\n"));
}
