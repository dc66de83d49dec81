//! `/v2.0/agents/{id}/dhcp-networks` and `/v2.0/networks/{id}/dhcp-agents`: which DHCP agent serves which network.

use axum::http::{Method, StatusCode};
use db::list::ListQuery;
use serde_json::{Map, Value};
use types::{AgentId, NetworkId, agent::Agent, network::Network};

use super::{Answer, Request, query, stream};
use crate::{
    Ctx, Error, Refusal, Result,
    resource::{self, Resource},
    retry::retrying,
    schedule::dhcp,
};

/// The networks of an agent.
pub(super) async fn networks(ctx: &Ctx, request: &Request, agent: &str, rest: &[&str]) -> Result<Answer> {
    require(
        ctx,
        match request.method {
            Method::POST => "create_dhcp-network",
            Method::DELETE => "delete_dhcp-network",
            _ => "get_dhcp-networks",
        },
    )?;
    let agent: AgentId = agent.parse().map_err(|_| Refusal::not_found("Agent", agent))?;
    match (rest, &request.method) {
        ([], &Method::GET) => {
            let ids = dhcp::networks_of_agent(ctx, agent).await?;
            collection::<Network>(ctx, request, ids.iter().map(Into::into).collect(), |network, shown| {
                shown.insert("standard_attr_id".to_owned(), network.standard.standard_attr_id.into());
                shown.insert("vlan_transparent".to_owned(), Value::Null);
                shown.insert("qinq".to_owned(), Value::Null);
            })
            .await
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
    require(ctx, "get_dhcp-agents")?;
    let ids = match network.parse() {
        Ok(network) => dhcp::agents_of_network(ctx, network).await?,
        Err(_) => Vec::new(),
    };
    collection::<Agent>(ctx, request, ids.iter().map(Into::into).collect(), |_, shown| {
        shown.insert("resource_versions".to_owned(), Value::Object(Map::new()));
        shown.insert("ha_chassis_priority".to_owned(), Value::Null);
    })
    .await
}

fn require(ctx: &Ctx, rule: &str) -> Result<()> {
    ctx.guard().map_or(Ok(()), |guard| guard.require(rule))
}

fn network_id(text: &str) -> Result<NetworkId> {
    text.parse().map_err(|_| Refusal::not_found("Network", text).into())
}

/// These lists show more than a resource does by itself: what `more` adds.
pub(super) async fn collection<R: Resource>(
    ctx: &Ctx,
    request: &Request,
    ids: Vec<db::Value>,
    more: impl Fn(&R, &mut Map<String, Value>),
) -> Result<Answer> {
    let mut items = Vec::new();
    if !ids.is_empty() {
        let mut conn = ctx.db().reader().await?;
        items = resource::find_all::<R>(ctx, &mut conn, &ListQuery::default().matching_any("id", ids)).await?;
    }
    let shown = |item: &R| {
        let mut value = serde_json::to_value(item)
            .map_err(|error| Error::Internal(format!("an answer cannot be written as JSON: {error}")))?;
        if let Value::Object(members) = &mut value {
            more(item, members);
        }
        Ok(value)
    };
    let items: Vec<Value> = items.iter().map(shown).collect::<Result<_>>()?;
    let mut out = format!("{{\"{}\":[", R::TABLE.plural).into_bytes();
    stream::write_items(&mut out, &items, &query::fields(&request.query))?;
    out.extend_from_slice(b"]}");
    Ok(Answer::bytes(StatusCode::OK, out))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use crate::{Ctx, testing};

    async fn ask(ctx: &Ctx, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = axum::http::Request::builder().method(method).uri(path).body(body).unwrap();
        let response = super::super::dispatch::answer(Arc::clone(&ctx.parts), request).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    #[tokio::test]
    async fn an_operator_moves_a_network_by_requests() {
        let ctx = testing::server(|_| {}).await;
        testing::host(&ctx, "a").await;
        let network = testing::network(&ctx).await;
        let (_, found) = ask(&ctx, "GET", "/v2.0/agents?agent_type=DHCP%20agent&alive=True", Value::Null).await;
        let agent = found["agents"][0]["id"].as_str().unwrap().to_owned();
        let networks = format!("/v2.0/agents/{agent}/dhcp-networks");
        let agents = format!("/v2.0/networks/{}/dhcp-agents", network.id);
        assert_eq!(ask(&ctx, "GET", &networks, Value::Null).await, (200, json!({"networks": []})));
        let given = json!({"network_id": network.id});
        assert_eq!(ask(&ctx, "POST", &networks, given.clone()).await, (201, Value::Null));
        let (status, refused) = ask(&ctx, "POST", &networks, given).await;
        assert_eq!((status, &refused["NeutronError"]["type"]), (409, &json!("NetworkHostedByDHCPAgent")));
        let (_, shown) = ask(&ctx, "GET", &networks, Value::Null).await;
        assert_eq!(shown["networks"][0]["id"], json!(network.id));
        let (_, shown) = ask(&ctx, "GET", &format!("{agents}?fields=host"), Value::Null).await;
        assert_eq!(shown, json!({"agents": [{"host": "a"}]}));
        let one = format!("{networks}/{}", network.id);
        assert_eq!(ask(&ctx, "DELETE", &one, Value::Null).await, (204, Value::Null));
        assert_eq!(ask(&ctx, "DELETE", &one, Value::Null).await.0, 409);
        let nobody = format!("/v2.0/agents/{}/dhcp-networks", network.id);
        assert_eq!(ask(&ctx, "GET", &nobody, Value::Null).await.0, 404);
    }
}
