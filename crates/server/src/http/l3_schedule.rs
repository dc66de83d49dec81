//! `/v2.0/agents/{id}/l3-routers` and `/v2.0/routers/{id}/l3-agents`: which L3 agent serves which router.

use axum::http::{Method, StatusCode};
use db::{ha_router, list::ListQuery};
use serde_json::{Map, Value};
use types::{AgentId, RouterId, agent::Agent, router::Router};

use super::{Answer, Request, dhcp_schedule::collection, query, stream};
use crate::{
    Ctx, Error, Refusal, Result,
    resource::{self, router::ha},
    retry::retrying,
    schedule::l3,
};

/// The routers of an agent.
pub(super) async fn routers(ctx: &Ctx, request: &Request, agent: &str, rest: &[&str]) -> Result<Answer> {
    require(
        ctx,
        match request.method {
            Method::POST => "create_l3-router",
            Method::DELETE => "delete_l3-router",
            _ => "get_l3-routers",
        },
    )?;
    let agent: AgentId = agent.parse().map_err(|_| Refusal::not_found("Agent", agent))?;
    match (rest, &request.method) {
        ([], &Method::GET) => {
            let ids = l3::routers_of_agent(ctx, agent).await?;
            collection::<Router>(ctx, request, ids.iter().map(Into::into).collect(), |router, shown| {
                shown.insert("enable_snat".to_owned(), router.enable_snat.into());
                shown.insert("gw_port_id".to_owned(), router.gw_port_id.map(|port| port.to_string()).into());
                shown.insert("ha_vr_id".to_owned(), router.ha_vr_id.into());
                shown.insert("enable_default_route_bfd".to_owned(), false.into());
                shown.insert("enable_default_route_ecmp".to_owned(), false.into());
            })
            .await
        }
        ([], &Method::POST) => {
            let body = request.object()?;
            let router = router_id(body.get("router_id").and_then(Value::as_str).unwrap_or_default())?;
            retrying(|| l3::add(ctx, agent, router)).await?;
            Ok(Answer::bytes(StatusCode::CREATED, b"null".to_vec()))
        }
        ([router], &Method::DELETE) => {
            let router = router_id(router)?;
            retrying(|| l3::remove(ctx, agent, router)).await?;
            Ok(Answer::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Refusal::method_not_allowed().into()),
    }
}

/// The agents of a router; of an HA router with the state of each instance.
pub(super) async fn agents(ctx: &Ctx, request: &Request, router: &str) -> Result<Answer> {
    if request.method != Method::GET {
        return Err(Refusal::method_not_allowed().into());
    }
    require(ctx, "get_l3-agents")?;
    let hosting = hosting(ctx, router_id(router)?).await?;
    let mut out = b"{\"agents\":[".to_vec();
    stream::write_items(&mut out, &hosting, &query::fields(&request.query))?;
    out.extend_from_slice(b"]}");
    Ok(Answer::bytes(StatusCode::OK, out))
}

async fn hosting(ctx: &Ctx, router: RouterId) -> Result<Vec<Value>> {
    let mut conn = ctx.db().reader().await?;
    let router: Router = resource::find_any(ctx, &mut conn, &router.to_string()).await?;
    if router.ha {
        drop(conn);
        retrying(|| correct_states(ctx, router.id)).await?;
        conn = ctx.db().reader().await?;
    }
    let bound = db::l3_binding::agents_of_router(&mut conn, router.id).await?;
    let instances = ha_router::instances(&mut conn, &[router.id]).await?;
    let ids: Vec<db::Value> = bound.iter().map(|agent| agent.id.into()).collect();
    let agents: Vec<Agent> = match ids.is_empty() {
        true => Vec::new(),
        false => resource::find_all(ctx, &mut conn, &ListQuery::default().matching_any("id", ids)).await?,
    };
    let shown = |agent: &Agent| {
        let mut value = serde_json::to_value(agent)
            .map_err(|error| Error::Internal(format!("an answer cannot be written as JSON: {error}")))?;
        if let Value::Object(members) = &mut value {
            let own = instances.iter().find(|instance| instance.agent_id == Some(agent.id));
            let state = own.filter(|_| router.ha).map(|instance| instance.state.clone());
            members.insert("ha_state".to_owned(), state.into());
            members.insert("resource_versions".to_owned(), Value::Object(Map::new()));
            members.insert("ha_chassis_priority".to_owned(), Value::Null);
        }
        Ok(value)
    };
    agents.iter().map(shown).collect()
}

/// What dead agents said last is not told on.
async fn correct_states(ctx: &Ctx, router: RouterId) -> Result<()> {
    let mut tx = ctx.db().begin().await?;
    ha::active_host(ctx, &mut tx, router).await?;
    Ok(tx.commit().await?)
}

fn require(ctx: &Ctx, rule: &str) -> Result<()> {
    ctx.guard().map_or(Ok(()), |guard| guard.require(rule))
}

fn router_id(text: &str) -> Result<RouterId> {
    text.parse().map_err(|_| Refusal::not_found("Router", text).into())
}
