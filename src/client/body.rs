//! From a command line to the body (or query) of a request.

use serde_json::{Map, Value};

use super::api::{Api, Query};
use super::args::Parsed;
use super::catalog;
use super::error::ClientError;
use super::extra;
use super::python;
use super::spec::{Action, Command, Effect, Finish};

/// The attributes a create or update command sends.
pub(super) async fn attributes(
    command: &Command,
    api: &Api,
    parsed: &Parsed,
) -> Result<Map<String, Value>, ClientError> {
    let mut body = Map::new();
    for (positional, values) in command.positionals.iter().zip(&parsed.positionals) {
        for value in values {
            apply(&mut body, api, positional.metavar, positional.effect, Some(value)).await?;
        }
    }
    for (opt, value) in &parsed.options {
        apply(&mut body, api, opt.name(), opt.effect, value.as_deref()).await?;
    }
    let (finish, creates) = match command.action {
        Action::Create(finish) => (finish, true),
        Action::Update(finish) => (finish, false),
        _ => (Finish::Plain, false),
    };
    complete(&mut body, api, parsed, finish, creates).await?;
    for (key, value) in extra::attributes(&parsed.extra)? {
        match (body.get_mut(&key), value) {
            (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
            (_, value) => {
                body.insert(key, value);
            }
        }
    }
    Ok(body)
}

/// The filters of a list command.
pub(super) async fn filters(command: &Command, api: &Api, parsed: &Parsed) -> Result<Query, ClientError> {
    let mut filters = Map::new();
    for (opt, value) in &parsed.options {
        apply(&mut filters, api, opt.name(), opt.effect, value.as_deref()).await?;
    }
    filters.extend(extra::attributes(&parsed.extra)?);
    let mut query = Query::new();
    query.extend(fields_asked(command, parsed).into_iter().map(|field| ("fields".to_owned(), field)));
    if parsed.has("--show-details") {
        query.push(("verbose".to_owned(), "True".to_owned()));
    }
    for (key, value) in filters {
        match value {
            Value::Array(values) => query.extend(values.iter().map(|value| (key.clone(), python::text(value)))),
            value => query.push((key, python::text(&value))),
        }
    }
    if let Some(size) = parsed.value("--page-size") {
        size.parse::<u32>()
            .map_err(|_| ClientError::Usage(format!("argument -P/--page-size: invalid int value: '{size}'")))?;
        query.push(("limit".to_owned(), size.to_owned()));
    }
    let directions = parsed.values("--sort-dir");
    for (at, key) in parsed.values("--sort-key").into_iter().enumerate() {
        query.push(("sort_key".to_owned(), key.to_owned()));
        query.push(("sort_dir".to_owned(), directions.get(at).copied().unwrap_or("asc").to_owned()));
    }
    if command.name == "net-external-list" {
        query.push(("router:external".to_owned(), "True".to_owned()));
    }
    Ok(query)
}

/// The fields to ask the server for: of a digest, what it is made of.
pub(super) fn fields_asked(command: &Command, parsed: &Parsed) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for field in parsed.values("--field") {
        let needed: &[&str] = match (command.resource.name, field) {
            ("security_group_rule", "remote") => &["remote_ip_prefix", "remote_group_id"],
            ("security_group_rule", "port/protocol" | "protocol/port") => {
                &["protocol", "port_range_min", "port_range_max"]
            }
            ("security_group_rule", "security_group") => &["security_group_id"],
            ("security_group_rule", "remote_group") => &["remote_group_id"],
            _ => &[],
        };
        if needed.is_empty() {
            fields.push(field.to_owned());
        }
        fields.extend(needed.iter().map(|name| (*name).to_owned()));
    }
    fields
}

async fn apply(
    body: &mut Map<String, Value>,
    api: &Api,
    name: &str,
    effect: Effect,
    value: Option<&str>,
) -> Result<(), ClientError> {
    let given = value.unwrap_or_default();
    let misused = |reason: String| ClientError::Usage(format!("argument {name}: {reason}"));
    let (key, value) = match effect {
        Effect::Local => return Ok(()),
        Effect::Text(key) => (key, given.into()),
        Effect::Lower(key) => (key, given.to_lowercase().into()),
        Effect::Upper(key) => (key, given.to_uppercase().into()),
        Effect::Number(key) => {
            let number: i64 = given.trim().parse().map_err(|_| misused(format!("invalid int value: '{given}'")))?;
            (key, number.into())
        }
        Effect::Bool(key, value) => (key, value.into()),
        Effect::Null(key) => (key, Value::Null),
        Effect::Blank(key) => (key, "".into()),
        Effect::Empty(key) => (key, Value::Array(Vec::new())),
        Effect::Id(key, resource) if given == "None" && resource.name == "subnetpool" => (key, Value::Null),
        Effect::Id(key, resource) => (key, api.find(resource, given).await?.into()),
        Effect::Json(key) => {
            (key, serde_json::from_str(given).map_err(|error| misused(format!("invalid JSON: {error}")))?)
        }
        Effect::Append(key) => {
            append(body, key, given.into());
            return Ok(());
        }
        Effect::AppendId(key, resource) => {
            let id = api.find(resource, given).await?;
            append(body, key, id.into());
            return Ok(());
        }
        Effect::Object(key, required, optional) => {
            let object = extra::object(given, required, optional).map_err(misused)?;
            append(body, key, Value::Object(object));
            return Ok(());
        }
    };
    body.insert(key.to_owned(), value);
    Ok(())
}

fn append(body: &mut Map<String, Value>, key: &str, value: Value) {
    match body.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(values) => values.push(value),
        other => *other = Value::Array(vec![value]),
    }
}

async fn complete(
    body: &mut Map<String, Value>,
    api: &Api,
    parsed: &Parsed,
    finish: Finish,
    creates: bool,
) -> Result<(), ClientError> {
    match finish {
        Finish::Plain => {}
        Finish::AdminState => default(body, "admin_state_up", true),
        Finish::Port => {
            if creates {
                default(body, "admin_state_up", true);
            }
            complete_port(body, api).await?;
        }
        Finish::Subnet => complete_subnet(body, api, parsed, creates).await?,
        Finish::Rule => {
            default(body, "direction", "ingress");
            let ipv6 = body.get("protocol").is_some_and(|protocol| protocol == "icmpv6");
            default(body, "ethertype", if ipv6 { "IPv6" } else { "IPv4" });
        }
    }
    Ok(())
}

fn default(body: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    body.entry(key).or_insert_with(|| value.into());
}

async fn complete_port(body: &mut Map<String, Value>, api: &Api) -> Result<(), ClientError> {
    for address in body.get_mut("fixed_ips").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(subnet) = address["subnet_id"].as_str() {
            address["subnet_id"] = api.find(&catalog::SUBNET, subnet).await?.into();
        } else if let Some(address) = address.as_object_mut() {
            address.remove("subnet_id");
        }
    }
    for option in body.get_mut("extra_dhcp_opts").and_then(Value::as_array_mut).into_iter().flatten() {
        if option.get("opt_value").is_none() && option.get("ip_version").is_none() {
            return Err(ClientError::Refused(
                "Invalid --extra-dhcp-opt option, can only be: opt_name=<dhcp_option_name>,opt_value=<value>,\
                 ip_version={4,6}. You can repeat this option."
                    .into(),
            ));
        }
        if option["opt_value"] == "null" {
            option["opt_value"] = Value::Null;
        }
    }
    Ok(())
}

async fn complete_subnet(
    body: &mut Map<String, Value>,
    api: &Api,
    parsed: &Parsed,
    creates: bool,
) -> Result<(), ClientError> {
    if parsed.has("--disable-dhcp") && parsed.has("--enable-dhcp") {
        return Err(ClientError::Refused("You cannot enable and disable DHCP at the same time.".into()));
    }
    if !creates {
        return Ok(());
    }
    if let Some(pool) = body.get("subnetpool_id").and_then(Value::as_str) {
        // The pool decides the version.
        let pools = api.list_by_id(&catalog::SUBNETPOOL, &[pool.to_owned()], &["ip_version"]).await?;
        if let Some(version) = pools.first().map(|pool| pool["ip_version"].clone()) {
            body.insert("ip_version".to_owned(), version);
        }
    }
    default(body, "ip_version", 4);
    if body["ip_version"] == 4 {
        for (key, option) in [("ipv6_ra_mode", "--ipv6-ra-mode"), ("ipv6_address_mode", "--ipv6-address-mode")] {
            if body.contains_key(key) {
                return Err(ClientError::Refused(format!("{option} is invalid when --ip-version is 4")));
            }
        }
    }
    Ok(())
}
