//! `/v2.0/agents/{id}/dhcp-networks` and `/v2.0/networks/{id}/dhcp-agents`: which DHCP agent serves which network.

use axum::http::{Method, StatusCode};
use db::list::ListQuery;
use types::{AgentId, NetworkId, agent::Agent, network::Network};

use super::{Answer, Request, query, stream};
use crate::{
    Ctx, Refusal, Result,
    resource::{self, Resource},
    retry::retrying,
    schedule::dhcp,
};

/// The networks of an agent.
pub(super) async fn networks(ctx: &Ctx, request: &Request, agent: &str, rest: &[&str]) -> Result<Answer> {
    let agent: AgentId = agent.parse().map_err(|_| Refusal::not_found("Agent", agent))?;
    match (rest, &request.method) {
        ([], &Method::GET) => {
            let ids = dhcp::networks_of_agent(ctx, agent).await?;
            collection::<Network>(ctx, request, ids.iter().map(Into::into).collect()).await
        }
        ([], &Method::POST) => {
            let body = request.object()?;
            let given = body.get("network_id").and_then(|id| id.as_str()).unwrap_or_default();
            let network = network_id(given)?;
            retrying(|| dhcp::add(ctx, agent, network)).await?;
            Ok(Answer::bytes(StatusCode::CREATED, b"null".to_vec()))
        }
        ([network], &Method::DELETE) => {
            let network = network_id(network)?;
            retrying(|| dhcp::remove(ctx, agent, network)).await?;
            Ok(Answer::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Refusal::method_not_allowed().into()),
    }
}

/// The agents of a network.
pub(super) async fn agents(ctx: &Ctx, request: &Request, network: &str) -> Result<Answer> {
    if request.method != Method::GET {
        return Err(Refusal::method_not_allowed().into());
    }
    let ids = match network.parse() {
        Ok(network) => dhcp::agents_of_network(ctx, network).await?,
        Err(_) => Vec::new(),
    };
    collection::<Agent>(ctx, request, ids.iter().map(Into::into).collect()).await
}

fn network_id(text: &str) -> Result<NetworkId> {
    text.parse().map_err(|_| Refusal::not_found("Network", text).into())
}

async fn collection<R: Resource>(ctx: &Ctx, request: &Request, ids: Vec<db::Value>) -> Result<Answer> {
    let mut items = Vec::new();
    if !ids.is_empty() {
        let mut conn = ctx.db().reader().await?;
        items = resource::find_all::<R>(ctx, &mut conn, &ListQuery::default().matching_any("id", ids)).await?;
    }
    let mut out = format!("{{\"{}\":[", R::TABLE.plural).into_bytes();
    stream::write_items(&mut out, &items, &query::fields(&request.query))?;
    out.extend_from_slice(b"]}");
    Ok(Answer::bytes(StatusCode::OK, out))
}
