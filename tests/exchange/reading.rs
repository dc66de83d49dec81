//! All that can be read, and how two readings differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use testkit::http::{Client, text};

/// Status and body by path.
pub(crate) type Reading = BTreeMap<String, (u16, Value)>;

/// Differences that are no fault, each with its reason. A path's numbers stand as `*`.
const ALLOWED: [(&str, &str, &str); 0] = [];

/// Answers every GET of the list.
pub(crate) fn read(client: &Client) -> Reading {
    let paths: Vec<String> = serde_saphyr::from_str(include_str!("reads.yaml")).unwrap();
    let mut reading = Reading::new();
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in paths {
        if let Some((collection, rest)) = path.split_once("/$id") {
            for id in ids.get(collection).cloned().unwrap_or_default() {
                let path = format!("{collection}/{id}{rest}");
                let answer = ask(client, &path);
                reading.insert(path, answer);
            }
            continue;
        }
        let answer = ask(client, &path);
        if let Some(items) = answer.1.as_object().and_then(|body| body.values().find_map(Value::as_array)) {
            ids.entry(path.clone()).or_insert_with(|| items.iter().map(|item| text(item, "id")).collect());
        }
        reading.insert(path, answer);
    }
    reading
}

fn ask(client: &Client, path: &str) -> (u16, Value) {
    let answer = client.send("GET", &format!("/v2.0/{path}"), &[], None).unwrap();
    let mut body = answer.json();
    if !path.contains("sort_key") {
        unordered(&mut body);
    }
    inner(&mut body);
    (answer.status, body)
}

/// The resources of a list come in an order only if one is asked for.
fn unordered(body: &mut Value) {
    for list in body.as_object_mut().into_iter().flat_map(|body| body.values_mut()).filter_map(Value::as_array_mut) {
        list.sort_by_key(|item| text(item, "id") + &item.to_string());
    }
}

/// Lists within a resource that are sets; the port of a link is that of the server that was asked.
fn inner(value: &mut Value) {
    const SETS: [&str; 12] = [
        "allocation_pools",
        "subnets",
        "tags",
        "security_groups",
        "security_group_rules",
        "fixed_ips",
        "allowed_address_pairs",
        "extra_dhcp_opts",
        "host_routes",
        "service_types",
        "routes",
        "external_fixed_ips",
    ];
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                inner(member);
                if let Value::Array(items) = member
                    && SETS.contains(&name.as_str())
                {
                    items.sort_by_key(ToString::to_string);
                }
                if let Value::String(text) = member
                    && name == "href"
                    && let Some((_, path)) = text.split_once("/v2.0/")
                {
                    *text = path.to_owned();
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(inner),
        _ => {}
    }
}

/// What differs, as paths in the JSON, most frequent first; each kind once, with an example.
pub(crate) fn differences(upstream: &Reading, ours: &Reading) -> Vec<String> {
    let mut found: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let paths: BTreeSet<&String> = upstream.keys().chain(ours.keys()).collect();
    for path in paths {
        let mut note = |at: &str, one: String, other: String| {
            let kind = format!("{}{at}", general(path));
            if ALLOWED.iter().any(|(read, json, _)| general(path).starts_with(read) && at == *json) {
                return;
            }
            let example = format!("GET {path} {at}: upstream {one}, ours {other}");
            found.entry(kind).or_insert((0, example)).0 += 1;
        };
        match (upstream.get(path), ours.get(path)) {
            (Some((status, body)), Some((our_status, our_body))) => {
                if status != our_status {
                    note("status", status.to_string(), format!("{our_status} {our_body}"));
                } else {
                    walk("", body, our_body, &mut note);
                }
            }
            (one, other) => note("existence", one.is_some().to_string(), other.is_some().to_string()),
        }
    }
    let mut kinds: Vec<(usize, String)> = found.into_values().collect();
    kinds.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    kinds.into_iter().map(|(count, example)| format!("{count:4} × {example}")).collect()
}

/// A path without the ids in it.
fn general(path: &str) -> String {
    let is_id = |part: &&str| part.len() == 36 && part.matches('-').count() == 4;
    path.split('/').map(|part| if is_id(&part) { "*" } else { part }).collect::<Vec<_>>().join("/")
}

fn walk(at: &str, one: &Value, other: &Value, note: &mut impl FnMut(&str, String, String)) {
    let short = |value: &Value| value.to_string().chars().take(160).collect::<String>();
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let at = format!("{at}/{name}");
                match (one.get(name), other.get(name)) {
                    (Some(one), Some(other)) => walk(&at, one, other, note),
                    (one, other) => {
                        let told = |value: Option<&Value>| value.map_or("nothing".to_owned(), short);
                        note(&at, told(one), told(other));
                    }
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (one, other) in one.iter().zip(other) {
                walk(&format!("{at}/*"), one, other, note);
            }
        }
        _ if one == other => {}
        _ => note(at, short(one), short(other)),
    }
}
