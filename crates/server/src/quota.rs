//! How many of each resource a project may have.
//!
//! [`check`] runs inside the transaction that adds the resources, so that two requests cannot both take the last place.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use db::{Conn, Statement, quota as rows};
use serde_json::{Map, Value};
use types::attribute::Attributes;

use crate::{Ctx, Error, Refusal, Result};

/// As long as so many places are left, others need not be kept out while we count.
const HEADROOM: i64 = 128;
/// Everything that has a limit, and the limit where that is not `default_quota`. Those that are not served yet are shown
/// and kept for the day they are.
const LIMITED: [(&str, Option<i64>); 11] = [
    ("network", None),
    ("subnet", None),
    ("subnetpool", None),
    ("port", None),
    ("router_route", Some(30)),
    ("router", None),
    ("floatingip", None),
    ("rbac_policy", Some(10)),
    ("security_group", None),
    ("security_group_rule", None),
    ("trunk", None),
];
/// The largest limit the column holds.
const LARGEST: i64 = i32::MAX as i64;

/// What [`check`] is going to ask first.
pub fn ahead(conn: &Conn, resource: &str, given: &[Attributes]) -> Vec<Statement> {
    let projects: BTreeSet<&str> = given.iter().map(|given| given.text("project_id").unwrap_or_default()).collect();
    projects.into_iter().map(|project| rows::limit_query(conn, project, resource)).collect()
}

/// Refuses (409 `OverQuota`) when the owners of these new resources cannot have so many more.
pub async fn check(ctx: &Ctx, conn: &mut Conn, resource: &str, given: &[Attributes]) -> Result<()> {
    let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
    for given in given {
        *wanted.entry(given.text("project_id").unwrap_or_default()).or_default() += 1;
    }
    for (project_id, more) in wanted {
        check_one(ctx, conn, project_id, resource, more).await?;
    }
    Ok(())
}

/// The same for `more` of one owner.
pub async fn check_one(ctx: &Ctx, conn: &mut Conn, project_id: &str, resource: &str, more: i64) -> Result<()> {
    let limit = match rows::limit_of(conn, project_id, resource).await? {
        Some(limit) => limit,
        None => default_limit(ctx, resource),
    };
    if limit < 0 {
        return Ok(());
    }
    let mut used = rows::used(conn, project_id, resource).await?;
    if used.saturating_add(more).saturating_add(HEADROOM) > limit {
        used = rows::used_locked(conn, project_id, resource).await?;
    }
    if used.saturating_add(more) > limit {
        return Err(Refusal::conflict("OverQuota", format!("Quota exceeded for resources: ['{resource}'].")).into());
    }
    Ok(())
}

/// The limit of a project that has none of its own.
fn default_limit(ctx: &Ctx, resource: &str) -> i64 {
    let quotas = &ctx.config().quotas;
    let built_in = LIMITED.iter().find(|(name, _)| *name == resource).and_then(|(_, limit)| *limit);
    quotas.limits.get(resource).copied().or(built_in).unwrap_or(quotas.default).max(-1)
}

/// The limits of a project that has none of its own.
pub fn defaults(ctx: &Ctx) -> Map<String, Value> {
    LIMITED.iter().map(|(resource, _)| ((*resource).to_owned(), default_limit(ctx, resource).into())).collect()
}

/// The limits that apply to a project.
pub async fn show(ctx: &Ctx, project_id: &str) -> Result<Map<String, Value>> {
    let mut conn = ctx.db().reader().await?;
    let mut limits = defaults(ctx);
    limits.extend(rows::limits_of(&mut conn, project_id).await?.into_iter().map(|(name, limit)| (name, limit.into())));
    Ok(limits)
}

/// Limits, use and reservations of a project.
pub async fn details(ctx: &Ctx, project_id: &str) -> Result<Map<String, Value>> {
    let limits = show(ctx, project_id).await?;
    let mut conn = ctx.db().reader().await?;
    let mut out = Map::new();
    for (resource, limit) in limits {
        let used = rows::used(&mut conn, project_id, &resource).await?;
        out.insert(resource, serde_json::json!({"limit": limit, "used": used, "reserved": 0}));
    }
    Ok(out)
}

/// The limits of every project that has some of its own.
pub async fn list(ctx: &Ctx) -> Result<Vec<Map<String, Value>>> {
    let mut conn = ctx.db().reader().await?;
    let mut projects: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (project_id, resource, limit) in rows::limits(&mut conn).await? {
        let limits = projects.entry(project_id).or_insert_with_key(|project_id| {
            let mut limits = defaults(ctx);
            limits.insert("project_id".to_owned(), project_id.as_str().into());
            limits.insert("tenant_id".to_owned(), project_id.as_str().into());
            limits
        });
        limits.insert(resource, limit.into());
    }
    Ok(projects.into_values().collect())
}

/// Sets limits of a project, from the members of a `quota` body, and returns all that apply to it then.
pub async fn update(ctx: &Ctx, project_id: &str, mut given: Map<String, Value>) -> Result<Map<String, Value>> {
    let force = given.remove("force").is_some_and(|v| v == Value::Bool(true));
    given.remove("check_limit");
    let known = defaults(ctx);
    let unknown: Vec<&str> = given.keys().filter(|k| !known.contains_key(*k)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(Refusal::malformed(format!("Unrecognized attribute(s) '{}'", unknown.join(", "))).into());
    }
    let limits = given.iter().map(|(name, value)| Ok((name, limit(name, value)?))).collect::<Result<Vec<_>>>()?;
    let mut tx = ctx.db().begin().await?;
    for (resource, limit) in limits {
        let used = if force || limit < 0 { 0 } else { rows::used(&mut tx, project_id, resource).await? };
        if used > limit && limit >= 0 {
            let message =
                format!("Quota limit {limit} for {resource} must be greater than or equal to already used {used}");
            return Err(Refusal::malformed(message).into());
        }
        rows::limit_set(&mut tx, project_id, resource, limit).await?;
    }
    tx.commit().await?;
    show(ctx, project_id).await
}

/// A limit as JSON gives it: a number, or a text that is one.
fn limit(name: &str, value: &Value) -> Result<i64> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let Some(number) = number else {
        let plain = match value {
            Value::Null => "None".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        return Err(Refusal::invalid_input(format!("'{plain}' is not an integer")).into());
    };
    let reason = match number {
        ..-1 => format!("'{number}' is too small - must be at least '-1'"),
        n if n > LARGEST => format!("'{number}' is too large - must be no larger than '{LARGEST}'"),
        _ => return Ok(number),
    };
    Err(Refusal::malformed(format!("Invalid input for {name}. Reason: {reason}.")).into())
}

/// Back to the defaults; 404 when the project has no limits of its own.
pub async fn delete(ctx: &Ctx, project_id: &str) -> Result<()> {
    let mut tx = ctx.db().begin().await?;
    if !rows::limits_delete(&mut tx, project_id).await? {
        let message = format!("Quota for project {project_id} could not be found.");
        return Err(Error::Refused(Refusal::new(StatusCode::NOT_FOUND, "TenantQuotaNotFound", message)));
    }
    tx.commit().await?;
    Ok(())
}
