//! What watchers hear of requests.

use axum::body::Body;
use serde_json::{Value, json};
use testing::server_of;

use super::*;
use crate::testing;

type Watched = mpsc::UnboundedReceiver<(String, Notice)>;

async fn server() -> (Ctx, Watched) {
    let (sender, watched) = mpsc::unbounded_channel();
    let ctx = server_of(|parts| parts.with_notifier(Notifier::new("h", Driver::Channel(sender)))).await;
    tokio::spawn(crate::event::follow(Arc::clone(&ctx.parts)));
    (ctx, watched)
}

async fn ask(ctx: &Ctx, method: &str, path: &str, body: Value) -> Value {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = axum::http::Request::builder().method(method).uri(path).body(body).unwrap();
    let response = crate::http::answer_request(Arc::clone(&ctx.parts), request).await;
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

async fn next(watched: &mut Watched) -> (String, Value) {
    let limit = std::time::Duration::from_secs(20);
    let (publisher, notice) = tokio::time::timeout(limit, watched.recv()).await.unwrap().unwrap();
    assert_eq!(publisher, "network.h");
    (notice.event_type, notice.payload)
}

#[tokio::test]
async fn a_request_is_told_when_it_begins_and_when_it_has_ended() {
    let (ctx, mut watched) = server().await;
    let made = ask(&ctx, "POST", "/v2.0/networks", json!({"network": {"name": "n"}})).await;
    let id = made["network"]["id"].as_str().unwrap();
    let start = json!({"network": {"name": "n", "project_id": "fake_project_id"}});
    assert_eq!(next(&mut watched).await, ("network.create.start".into(), start));
    assert_eq!(next(&mut watched).await, ("network.create.end".into(), made.clone()));

    let path = format!("/v2.0/networks/{id}");
    let changed = ask(&ctx, "PUT", &path, json!({"network": {"name": "m"}})).await;
    let start = json!({"network": {"name": "m"}, "id": id});
    assert_eq!(next(&mut watched).await, ("network.update.start".into(), start));
    assert_eq!(next(&mut watched).await, ("network.update.end".into(), changed.clone()));

    ask(&ctx, "PUT", &format!("{path}/tags/red"), Value::Null).await;
    let tagged = json!({"obj_resource": "networks", "obj_resource_id": id, "tags": ["red"]});
    assert_eq!(next(&mut watched).await, ("tag.create.start".into(), tagged.clone()));
    assert_eq!(next(&mut watched).await, ("tag.create.end".into(), tagged));

    ask(&ctx, "DELETE", &path, Value::Null).await;
    assert_eq!(next(&mut watched).await, ("network.delete.start".into(), json!({"network_id": id})));
    let (event_type, payload) = next(&mut watched).await;
    assert_eq!((event_type.as_str(), &payload["network_id"]), ("network.delete.end", &json!(id)));
    assert_eq!(payload["network"]["name"], "m");
}

#[tokio::test]
async fn several_are_told_together_and_what_failed_does_not_end() {
    let (ctx, mut watched) = server().await;
    let made = ask(&ctx, "POST", "/v2.0/networks", json!({"networks": [{"name": "a"}, {"name": "b"}]})).await;
    let (_, start) = next(&mut watched).await;
    assert_eq!(start["networks"][1], json!({"name": "b", "project_id": "fake_project_id"}));
    assert_eq!(next(&mut watched).await, ("network.create.end".into(), made));
    ask(&ctx, "DELETE", "/v2.0/networks/none", Value::Null).await;
    ask(&ctx, "POST", "/v2.0/security-groups", json!({"security_group": {"name": "g"}})).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(next(&mut watched).await.0);
    }
    assert_eq!(told, ["network.delete.start", "security_group.create.start", "security_group.create.end"]);
}

#[tokio::test]
async fn an_operator_moves_a_network_between_agents() {
    let (ctx, mut watched) = server().await;
    testing::host(&ctx, "a").await;
    let network = testing::network(&ctx).await;
    let agent = ask(&ctx, "GET", "/v2.0/agents?agent_type=DHCP%20agent", Value::Null).await["agents"][0]["id"].clone();
    let path = format!("/v2.0/agents/{}/dhcp-networks", agent.as_str().unwrap());
    ask(&ctx, "POST", &path, json!({"network_id": network.id})).await;
    let told = json!({"agent": {"id": agent, "network_id": network.id}});
    assert_eq!(next(&mut watched).await, ("dhcp_agent.network.add".into(), told.clone()));
    ask(&ctx, "DELETE", &format!("{path}/{}", network.id), Value::Null).await;
    assert_eq!(next(&mut watched).await, ("dhcp_agent.network.remove".into(), told));
}
