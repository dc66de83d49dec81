//! What of the server's answer is shown, and in which words.

use serde_json::{Map, Value};

use super::api::Api;
use super::args::Parsed;
use super::catalog;
use super::error::ClientError;
use super::format::{Fields, Rows};
use super::python;
use super::spec::{Action, Command};

/// Adds to a list what is not in it: CIDRs of subnets, names of groups, and faces of agents.
pub(super) async fn extend(
    command: &Command,
    api: &Api,
    parsed: &Parsed,
    entries: &mut [Value],
) -> Result<(), ClientError> {
    match command.resource.name {
        "network" => extend_networks(api, entries).await?,
        "security_group_rule" => extend_rules(api, parsed, entries).await?,
        "agent" => {
            for agent in entries {
                if let Some(alive) = agent.get_mut("alive") {
                    *alive = if alive == &Value::Bool(true) { ":-)" } else { "xxx" }.into();
                }
            }
        }
        _ => {}
    }
    Ok(())
}

async fn extend_networks(api: &Api, networks: &mut [Value]) -> Result<(), ClientError> {
    let ids: Vec<String> = networks
        .iter()
        .filter_map(|network| network["subnets"].as_array())
        .flatten()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    let subnets = api.list_by_id(&catalog::SUBNET, &ids, &["id", "cidr"]).await?;
    for network in networks {
        for id in network.get_mut("subnets").and_then(Value::as_array_mut).into_iter().flatten() {
            let known = subnets.iter().find(|subnet| subnet["id"] == *id);
            *id = known.cloned().unwrap_or_else(|| serde_json::json!({"id": id}));
        }
    }
    Ok(())
}

async fn extend_rules(api: &Api, parsed: &Parsed, rules: &mut [Value]) -> Result<(), ClientError> {
    const GROUP_KEYS: [&str; 2] = ["security_group_id", "remote_group_id"];
    let mut groups = Vec::new();
    if !parsed.has("--no-nameconv") {
        let mut ids: Vec<String> = rules
            .iter()
            .flat_map(|rule| GROUP_KEYS.map(|key| rule[key].as_str().map(str::to_owned)))
            .flatten()
            .collect();
        ids.sort_unstable();
        ids.dedup();
        groups = api.list_by_id(&catalog::SECURITY_GROUP, &ids, &["id", "name"]).await?;
    }
    for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
        for key in GROUP_KEYS {
            let name = groups.iter().find(|group| rule.get(key) == Some(&group["id"])).map(|group| &group["name"]);
            if let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) {
                rule.insert(key.to_owned(), name.into());
            }
        }
        let any = |text: Option<String>| Value::from(text.unwrap_or_else(|| "any".to_owned()));
        if ["remote_ip_prefix", "remote_group_id"].iter().all(|key| rule.contains_key(*key)) {
            rule.insert("remote".to_owned(), any(remote(rule)));
        }
        if ["protocol", "port_range_min", "port_range_max"].iter().all(|key| rule.contains_key(*key)) {
            let protocol = any(protocol_and_ports(rule));
            rule.insert("port/protocol".to_owned(), protocol.clone());
            rule.insert("protocol/port".to_owned(), protocol);
        }
    }
    Ok(())
}

fn given<'a>(rule: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    rule.get(key).filter(|value| !value.is_null() && *value != "")
}

fn remote(rule: &Map<String, Value>) -> Option<String> {
    let prefix = given(rule, "remote_ip_prefix").map(|prefix| format!("{} (CIDR)", python::text(prefix)));
    prefix.or_else(|| given(rule, "remote_group_id").map(|group| format!("{} (group)", python::text(group))))
}

fn protocol_and_ports(rule: &Map<String, Value>) -> Option<String> {
    let protocol = python::text(given(rule, "protocol")?);
    let (from, to) = (given(rule, "port_range_min"), given(rule, "port_range_max"));
    let text = match (protocol.as_str(), from, to) {
        ("tcp" | "udp", Some(from), Some(to)) if from == to && from != &Value::from(0) => format!("{from}/{protocol}"),
        ("tcp" | "udp", Some(from), Some(to)) if from != &Value::from(0) => format!("{from}-{to}/{protocol}"),
        ("icmp", None, None) => protocol,
        ("icmp", kind, code) => {
            let kind = kind.map(|kind| format!("type:{kind}"));
            let code = code.map(|code| format!("code:{code}"));
            format!("icmp ({})", kind.into_iter().chain(code).collect::<Vec<_>>().join(", "))
        }
        _ => protocol,
    };
    Some(text)
}

/// The columns and cells of a list.
pub(super) fn rows(
    command: &Command,
    parsed: &Parsed,
    format: &str,
    entries: &[Value],
    is_admin: bool,
) -> Result<Rows, ClientError> {
    let Some(first) = entries.first().and_then(Value::as_object) else {
        return match parsed.values("--column") {
            columns if columns.is_empty() || entries.is_empty() => Ok(Rows { columns: Vec::new(), rows: Vec::new() }),
            columns => Err(unknown_columns(&columns, &[])),
        };
    };
    let mut available: Vec<&str> = first.keys().map(String::as_str).collect();
    available.sort_unstable();
    let wanted: Vec<&str> = parsed.values("--column").into_iter().map(api_name).collect();
    let keys: Vec<&str> = if !wanted.is_empty() {
        let keys: Vec<&str> = wanted.iter().copied().filter(|name| available.contains(name)).collect();
        if keys.is_empty() {
            return Err(unknown_columns(&parsed.values("--column"), &[]));
        }
        keys
    } else if command.columns.is_empty() {
        available
    } else {
        default_columns(command, &available, is_admin)
    };
    let rows =
        entries.iter().map(|entry| keys.iter().map(|key| value_of(command, format, entry, key)).collect()).collect();
    let mut rows = Rows { columns: keys.iter().map(|key| shown_name(command, parsed, key)).collect(), rows };
    sort(parsed, &mut rows);
    Ok(rows)
}

/// Columns that are shown under another name than they have in the API.
const RENAMED: [(&str, &str); 2] = [("security_group_id", "security_group"), ("remote_group_id", "remote_group")];

fn api_name(shown: &str) -> &str {
    RENAMED.iter().find(|(_, name)| *name == shown).map_or(shown, |(name, _)| name)
}

fn shown_name(command: &Command, parsed: &Parsed, key: &str) -> String {
    let converts = command.resource.name == "security_group_rule" && !parsed.has("--no-nameconv");
    let renamed = RENAMED.iter().find(|(name, _)| converts && *name == key);
    renamed.map_or(key, |(_, shown)| shown).to_owned()
}

/// The table's own columns, with the owner beside the name for an administrator.
fn default_columns<'a>(command: &'a Command, available: &[&'a str], is_admin: bool) -> Vec<&'a str> {
    let mut columns: Vec<&str> = command.columns.iter().copied().filter(|name| available.contains(name)).collect();
    if is_admin && available.contains(&"tenant_id") {
        let place = |name| columns.iter().position(|column| *column == name).unwrap_or(0);
        let at = (place("id").max(place("name")) + 1).min(columns.len());
        columns.insert(at, "tenant_id");
    }
    columns
}

fn unknown_columns(asked: &[&str], known: &[&str]) -> ClientError {
    let list =
        |names: &[&str]| python::repr(&Value::from(names.iter().map(|name| Value::from(*name)).collect::<Vec<_>>()));
    ClientError::Refused(format!(
        "No recognized column names in {}. Recognized columns are {}.",
        list(asked),
        list(known)
    ))
}

/// A value of a list: lists and objects in words when it is a table, untouched otherwise.
fn value_of(command: &Command, format: &str, entry: &Value, key: &str) -> Value {
    let value = entry.get(key).unwrap_or(&Value::Null);
    if format == "table" {
        let lines = |each: &dyn Fn(&Value) -> String| -> Value {
            let lines: Vec<String> = value.as_array().into_iter().flatten().map(each).collect();
            lines.join("\n").into()
        };
        match (command.resource.name, key) {
            ("network", "subnets") => {
                return lines(&|subnet| match subnet["cidr"].as_str() {
                    Some(cidr) => format!("{} {cidr}", python::text(&subnet["id"])),
                    None => format!("{} ", python::text(&subnet["id"])),
                });
            }
            ("subnet", "allocation_pools" | "dns_nameservers" | "host_routes") | ("port", "fixed_ips") => {
                return lines(&|item| python::json(item, None));
            }
            ("subnetpool", "prefixes") => return lines(&python::text),
            ("security_group", "security_group_rules") => {
                let rules = value.as_array().into_iter().flatten().filter_map(Value::as_object);
                let mut rules: Vec<String> = rules.map(rule_in_words).collect();
                rules.sort_unstable();
                return rules.join("\n").into();
            }
            ("router", "external_gateway_info") if !value.is_null() => return python::json(value, None).into(),
            ("agent", "heartbeat_timestamp") => {
                return value.as_str().map(|text| text.split('.').next().unwrap_or(text)).into();
            }
            _ => {}
        }
    }
    if value.is_null() { "".into() } else { value.clone() }
}

fn rule_in_words(rule: &Map<String, Value>) -> String {
    let text = |key: &str| given(rule, key).map(python::text);
    let parts = [
        text("direction"),
        text("ethertype"),
        protocol_and_ports(rule),
        text("remote_ip_prefix").map(|prefix| format!("remote_ip_prefix: {prefix}")),
        text("remote_group_id").map(|group| format!("remote_group_id: {group}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Sorts the rows received, as `--sort-column` asks.
fn sort(parsed: &Parsed, rows: &mut Rows) {
    for column in parsed.values("--sort-column").into_iter().rev() {
        let Some(at) = rows.columns.iter().position(|name| normal(name) == normal(column)) else { continue };
        rows.rows.sort_by(|one, other| compare(&one[at], &other[at]));
        if parsed.has("--sort-descending") {
            rows.rows.reverse();
        }
    }
}

fn compare(one: &Value, other: &Value) -> std::cmp::Ordering {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        _ => python::text(one).cmp(&python::text(other)),
    }
}

fn normal(name: &str) -> String {
    name.trim().to_lowercase().replace(' ', "_")
}

/// The fields of one thing in order, in words when it is a table.
pub(super) fn fields(command: &Command, parsed: &Parsed, format: &str, body: Value) -> Result<Fields, ClientError> {
    let Value::Object(entries) = body else { return Ok(vec![(String::new(), "".into())]) };
    let mut fields: Fields = entries.into_iter().collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    if format == "table" {
        // Only `show` spreads objects over lines.
        let indent = command.resource.indent.filter(|_| matches!(command.action, Action::Show));
        for (_, value) in &mut fields {
            *value = in_words(value, indent);
        }
    }
    let wanted: Vec<String> = parsed.values("--column").into_iter().map(normal).collect();
    if wanted.is_empty() {
        return Ok(fields);
    }
    let names: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
    fields.retain(|(name, _)| wanted.contains(&normal(name)));
    if fields.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return Err(unknown_columns(&parsed.values("--column"), &names));
    }
    Ok(fields)
}

fn in_words(value: &Value, indent: Option<usize>) -> Value {
    match value {
        Value::Null => "".into(),
        Value::Object(_) => python::json(value, indent).into(),
        Value::Array(items) => {
            let line = |item: &Value| if item.is_object() { python::json(item, indent) } else { python::text(item) };
            items.iter().map(line).collect::<Vec<_>>().join("\n").into()
        }
        other => other.clone(),
    }
}
