//! Query parameters of a list: filters, `fields`, sorting, paging.

use db::{
    Value,
    list::{Comparison, Filter, ListQuery},
};
use types::attribute::{Attribute, Check, ResourceTable};

use super::Request;
use crate::{Refusal, Result};

/// Parameters that are not attributes.
const CONTROLS: [&str; 6] = ["fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"];

/// What a list request asks for.
#[derive(Debug, Default)]
pub(super) struct ListRequest {
    /// Which resources, in which order.
    pub(super) query: ListQuery,
    /// Attributes to show; empty means all.
    pub(super) fields: Vec<String>,
    /// Id of the resource the page begins after.
    pub(super) marker: Option<String>,
}

/// Parses the parameters of a list of `table`. At most `max_limit` items make a page, when that is above zero.
pub(super) fn parse(table: &ResourceTable, request: &Request, max_limit: u64) -> Result<ListRequest> {
    let parameters = &request.query;
    let mut query = ListQuery { sort: sort(table, parameters)?, ..ListQuery::default() };
    filters(table, parameters, &mut query)?;
    query.limit = limit(parameters, max_limit)?;
    let marker = if query.limit.is_some() { last(parameters, "marker").map(str::to_owned) } else { None };
    query.reverse =
        query.limit.is_some() && last(parameters, "page_reverse").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    Ok(ListRequest { query, fields: fields(parameters), marker })
}

/// The `fields` parameters, which a show request takes too.
pub(super) fn fields(parameters: &[(String, String)]) -> Vec<String> {
    let mut fields: Vec<String> = all(parameters, "fields").filter(|f| !f.is_empty()).map(str::to_owned).collect();
    // Both names of the owner are shown together, as upstream fills in the one from the other.
    for (name, twin) in [("project_id", "tenant_id"), ("tenant_id", "project_id")] {
        if fields.iter().any(|f| f == name) && !fields.iter().any(|f| f == twin) {
            fields.push(twin.to_owned());
        }
    }
    fields
}

fn all<'a>(parameters: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    parameters.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn last<'a>(parameters: &'a [(String, String)], name: &'a str) -> Option<&'a str> {
    all(parameters, name).last()
}

/// Texts as the API's messages list them: `['a', 'b']`.
fn listed(texts: &[&str]) -> String {
    let quoted: Vec<String> = texts.iter().map(|t| format!("'{t}'")).collect();
    format!("[{}]", quoted.join(", "))
}

fn limit(parameters: &[(String, String)], max_limit: u64) -> Result<Option<u64>> {
    let limit = match last(parameters, "limit") {
        None => 0,
        Some(text) => text.trim().parse::<u64>().map_err(|_| {
            let message = format!("Bad limit request: Limit must be an integer 0 or greater and not '{text}'.");
            Refusal::bad_request("BadRequest", message)
        })?,
    };
    let bounded = match (limit, max_limit) {
        (limit, 0) => limit,
        (0, max) => max,
        (limit, max) => limit.min(max),
    };
    Ok((bounded > 0).then_some(bounded))
}

fn sort(table: &ResourceTable, parameters: &[(String, String)]) -> Result<Vec<(String, bool)>> {
    let keys: Vec<&str> = all(parameters, "sort_key").collect();
    let directions: Vec<&str> = all(parameters, "sort_dir").collect();
    if keys.len() != directions.len() {
        return Err(Refusal::malformed("The number of sort_keys and sort_dirs must be same").into());
    }
    let absent: Vec<&str> = keys.iter().filter(|k| !table.attribute(k).is_some_and(|a| a.sort)).copied().collect();
    if !absent.is_empty() {
        return Err(Refusal::malformed(format!("{} is invalid attribute for sort_keys", listed(&absent))).into());
    }
    let wrong: Vec<&str> = directions.iter().filter(|d| !matches!(**d, "asc" | "desc")).copied().collect();
    if !wrong.is_empty() {
        let wrong = listed(&wrong);
        let message = format!("{wrong} is invalid value for sort_dirs, valid value is 'asc' and 'desc'");
        return Err(Refusal::malformed(message).into());
    }
    Ok(keys.iter().zip(directions).map(|(key, direction)| ((*key).to_owned(), direction == "asc")).collect())
}

/// Adds the filters among the parameters to `query`, and refuses what is none.
pub(super) fn filters(table: &ResourceTable, parameters: &[(String, String)], query: &mut ListQuery) -> Result<()> {
    let mut unknown = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in parameters {
        if !CONTROLS.contains(&name.as_str()) && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    for name in names {
        let values: Vec<&str> = all(parameters, name).collect();
        match (name, table.attribute(name)) {
            ("tags", Some(_)) => query.tags.all = tags(&values),
            ("tags-any", _) => query.tags.any = tags(&values),
            ("not-tags", _) => query.tags.not_all = tags(&values),
            ("not-tags-any", _) => query.tags.not_any = tags(&values),
            (_, Some(attribute)) if attribute.check == Check::FixedIps => fixed_ips(&values, query)?,
            (_, Some(attribute)) if attribute.filter => {
                let values = values.iter().map(|value| convert(attribute, value)).collect::<Result<_>>()?;
                let name = if name == "tenant_id" { "project_id" } else { name };
                query.filters.push(Filter { attribute: name.to_owned(), values, comparison: Comparison::Equal });
            }
            _ => unknown.push(name),
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refusal::malformed(format!("{} is invalid attribute for filtering", listed(&unknown))).into())
}

/// The filters of a collection without an attribute table: the values asked for, by name.
pub(super) fn plain_filters<'a>(known: &[&'a str], request: &'a Request) -> Result<Vec<(&'a str, Vec<&'a str>)>> {
    let named = request.query.iter().filter(|(name, _)| !CONTROLS.contains(&name.as_str()));
    let unknown: Vec<&str> = named.map(|(name, _)| name.as_str()).filter(|name| !known.contains(name)).collect();
    if !unknown.is_empty() {
        return Err(Refusal::malformed(format!("{} is invalid attribute for filtering", listed(&unknown))).into());
    }
    let asked = known.iter().map(|name| (*name, all(&request.query, name).collect::<Vec<_>>()));
    Ok(asked.filter(|(_, texts)| !texts.is_empty()).collect())
}

fn tags(values: &[&str]) -> Vec<String> {
    values.iter().flat_map(|value| value.split(',')).filter(|t| !t.is_empty()).map(str::to_owned).collect()
}

/// `fixed_ips=ip_address=…`, `=subnet_id=…`, `=ip_address_substr=…`. Other keys are ignored, as upstream ignores them.
fn fixed_ips(values: &[&str], query: &mut ListQuery) -> Result<()> {
    for (key, attribute, comparison) in [
        ("ip_address", "fixed_ips.ip_address", Comparison::Equal),
        ("subnet_id", "fixed_ips.subnet_id", Comparison::Equal),
        ("ip_address_substr", "fixed_ips.ip_address", Comparison::Contains),
    ] {
        let mut found = Vec::new();
        for value in values {
            let Some((name, text)) = value.split_once('=') else {
                return Err(Refusal::invalid_input(format!("'{value}' is not of the form <key>=[value]")).into());
            };
            if name == key {
                found.push(Value::from(text));
            }
        }
        if !found.is_empty() {
            query.filters.push(Filter { attribute: attribute.to_owned(), values: found, comparison });
        }
    }
    Ok(())
}

/// A filter's text as the attribute's own kind of value.
fn convert(attribute: &Attribute, text: &str) -> Result<Value> {
    use serde_json::Value as Json;
    Ok(match attribute.convert.apply(Json::from(text))? {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => number.as_i64().map_or(Value::Null, Value::Int),
        Json::String(text) => text.into(),
        Json::Array(_) | Json::Object(_) => text.into(),
    })
}
