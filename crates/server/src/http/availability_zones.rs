//! `/v2.0/availability_zones`: the zones that agents say they serve.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use types::agent::kind;

use super::{Answer, Request, query};
use crate::{Ctx, Refusal, Result};

/// What a zone can be filtered by.
const FILTERS: [&str; 3] = ["state", "resource", "name"];

/// Answers any request of the collection.
pub(super) async fn answer(ctx: &Ctx, request: &Request, rest: &[&str]) -> Result<Answer> {
    match (rest, &request.method) {
        ([], &Method::GET) => list(ctx, request).await,
        ([], _) => Err(Refusal::method_not_allowed().into()),
        _ => Err(Refusal::no_such_path().into()),
    }
}

async fn list(ctx: &Ctx, request: &Request) -> Result<Answer> {
    let wanted = query::plain_filters(&FILTERS, request)?;
    let fields = query::fields(&request.query);
    if ctx.guard().is_some_and(|guard| guard.known("get_availability_zone") == Some(false)) {
        return Answer::json(StatusCode::OK, &json!({ "availability_zones": [] }));
    }
    let zones = zones(ctx).await?.into_iter().map(|((name, resource), available)| {
        let state = if available { "available" } else { "unavailable" };
        json!({"state": state, "resource": resource, "name": name})
    });
    let shown: Vec<Value> = zones
        .filter(|zone| wanted.iter().all(|(name, texts)| texts.iter().any(|text| zone[*name] == **text)))
        .map(|mut zone| {
            if let Some(zone) = zone.as_object_mut().filter(|_| !fields.is_empty()) {
                zone.retain(|name, _| fields.contains(name));
            }
            zone
        })
        .collect();
    Answer::json(StatusCode::OK, &json!({ "availability_zones": shown }))
}

/// Zone and kind of resource, and whether one of its agents takes work.
async fn zones(ctx: &Ctx) -> Result<BTreeMap<(String, &'static str), bool>> {
    let mut conn = ctx.db().reader().await?;
    let mut zones: BTreeMap<(String, &'static str), bool> = BTreeMap::new();
    for agent in db::agent::agents(&mut conn, None, None).await? {
        let resource = match agent.agent_type.as_str() {
            kind::DHCP => "network",
            kind::L3 => "router",
            _ => continue,
        };
        if let Some(zone) = agent.availability_zone {
            *zones.entry((zone, resource)).or_default() |= agent.admin_state_up;
        }
    }
    Ok(zones)
}
