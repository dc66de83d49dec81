//! A server without HTTP on a fresh in-memory database, for unit tests.

use std::sync::Arc;

use db::{Database, Settings};
use oslo::messaging::Bus;
use rpc::reports::{AgentState, Report, Status};
use serde_json::{Map, Value, json};
use types::{
    agent::kind,
    attribute::{Attributes, ResourceTable},
    network::Network,
    port::Port,
    subnet::Subnet,
};

use crate::{Ctx, Parts, config::Config, event, resource::Resource};

/// A caller's view of a fresh server, changed by `adjust`.
pub(crate) async fn server(adjust: impl FnOnce(&mut Config)) -> Ctx {
    let mut config = Config::default();
    adjust(&mut config);
    Ctx::system(Arc::new(Parts::new(database().await, Bus::in_process(), config)))
}

/// A caller's view of a fresh server whose parts were changed by `adjust`.
pub(crate) async fn server_of(adjust: impl FnOnce(Parts) -> Parts) -> Ctx {
    let parts = adjust(Parts::new(database().await, Bus::in_process(), Config::default()));
    parts.prepare().await.unwrap();
    Ctx::system(Arc::new(parts))
}

async fn database() -> Database {
    let db = Database::connect(&Settings::new("sqlite://")).await.unwrap();
    db::migrate::upgrade(&db).await.unwrap();
    db
}

/// The same server, serving agents in the background.
pub(crate) async fn serving(adjust: impl FnOnce(&mut Config)) -> Ctx {
    let ctx = server(adjust).await;
    let parts = Arc::clone(&ctx.parts);
    tokio::spawn(async move { crate::rpc::serve(parts, "server").await });
    // The endpoints listen once this task has yielded.
    tokio::task::yield_now().await;
    ctx
}

fn attributes(table: &ResourceTable, body: Value) -> Attributes {
    let Value::Object(mut body) = body else { panic!("a body is an object") };
    body.entry("project_id").or_insert_with(|| json!("p"));
    Attributes::for_create(table, body).unwrap()
}

/// Makes a resource as a request would, with all that follows.
pub(crate) async fn create<R: Resource>(ctx: &Ctx, body: Value) -> R {
    let made = R::create(ctx, vec![attributes(R::TABLE, body)]).await.unwrap().pop().unwrap();
    event::settle(ctx).await;
    made
}

/// A network.
pub(crate) async fn network(ctx: &Ctx) -> Network {
    create(ctx, json!({"name": "n"})).await
}

/// A subnet with DHCP.
pub(crate) async fn subnet(ctx: &Ctx, network: &Network, cidr: &str) -> Subnet {
    create(ctx, json!({"network_id": network.id, "cidr": cidr, "ip_version": 4})).await
}

/// A port of an instance on a host.
pub(crate) async fn instance_port(ctx: &Ctx, network: &Network, host: &str) -> Port {
    let owner = "compute:nova";
    let body = json!({"network_id": network.id, "device_owner": owner, "device_id": "vm", "binding:host_id": host});
    create(ctx, body).await
}

/// The state a Linux bridge agent reports.
pub(crate) fn linux_bridge(host: &str) -> AgentState {
    state(kind::LINUX_BRIDGE, "N/A", host)
}

/// The state a DHCP agent reports.
pub(crate) fn dhcp(host: &str) -> AgentState {
    AgentState { availability_zone: Some("nova".into()), ..state(kind::DHCP, "dhcp_agent", host) }
}

/// The state an L3 agent reports.
pub(crate) fn l3(host: &str) -> AgentState {
    AgentState { availability_zone: Some("nova".into()), ..state(kind::L3, "l3_agent", host) }
}

fn state(agent_type: &str, topic: &str, host: &str) -> AgentState {
    AgentState {
        binary: "b".into(),
        host: host.into(),
        topic: topic.into(),
        agent_type: agent_type.into(),
        configurations: Map::new(),
        start_flag: true,
        ..AgentState::default()
    }
}

/// Reports an agent's state without the bus.
pub(crate) async fn report(ctx: &Ctx, state: AgentState) -> Status {
    let report = Report { agent_state: state };
    crate::resource::agent::report(ctx, &report.agent_state).await.unwrap()
}

/// Both agents of an ordinary host.
pub(crate) async fn host(ctx: &Ctx, host: &str) {
    report(ctx, linux_bridge(host)).await;
    report(ctx, dhcp(host)).await;
}

/// Makes the agents of a host look as if they had been silent, and started, that long ago.
pub(crate) async fn silence(ctx: &Ctx, host: &str, seconds: i64) {
    let mut tx = ctx.db().begin().await.unwrap();
    for mut agent in db::agent::agents(&mut tx, None, Some(host)).await.unwrap() {
        let past = db::standard::now() - chrono::Duration::seconds(seconds);
        agent.heartbeat_timestamp = past;
        agent.started_at = past;
        db::agent::agent_update(&mut tx, &agent).await.unwrap();
    }
    tx.commit().await.unwrap();
}
