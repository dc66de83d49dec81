//! Agents. They are made by their own reports; operators may enable, describe and forget them.

use std::{sync::Arc, time::Duration};

use chrono::NaiveDateTime;
use db::{
    Conn, DbError, Row, Tx, Value as DbValue,
    agent::{self as rows, Agent as AgentRow},
    list::{Comparison, Filter, ListQuery, Listing},
    standard::now,
    tunnel,
};
use rpc::reports::{AgentState, Status};
use types::{
    AgentId, NetworkType, Standard,
    agent::kind,
    attribute::{Attributes, Convert, ResourceTable, table::AGENT},
};

use super::{Condition, Resource};
use crate::{
    Ctx, Error, Refusal, Result,
    event::{self, Event},
    schedule::choice::is_alive,
};

pub use types::agent::Agent;

impl Resource for Agent {
    const TABLE: &'static ResourceTable = &AGENT;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        None
    }

    /// `alive` is how old the last report is.
    fn refine(ctx: &Ctx, query: &mut ListQuery) -> Result<()> {
        let oldest = now() - ctx.config().agent_down_time;
        for filter in query.filters.iter_mut().filter(|filter| filter.attribute == "alive") {
            let mut alive = false;
            for value in &filter.values {
                alive |= match value {
                    DbValue::Text(text) => Convert::Boolean.apply(text.as_str().into())? == true,
                    value => *value == DbValue::Bool(true),
                };
            }
            let comparison = if alive { Comparison::AtLeast } else { Comparison::Below };
            *filter = Filter { attribute: "heartbeat_timestamp".to_owned(), values: vec![oldest.into()], comparison };
        }
        Ok(())
    }

    async fn load(ctx: &Ctx, _: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        let now = now();
        rows.iter().map(|row| Ok(shown(ctx, rows::agent_from_row(row)?, now))).collect()
    }

    async fn create(_: &Ctx, _: Vec<Attributes>) -> Result<Vec<Self>> {
        Err(Refusal::bad_request("BadRequest", "Agents are not created by requests but by their own reports.").into())
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, _: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let mut agent = by_id(&mut tx, id).await?;
        let was_up = agent.admin_state_up;
        if let Some(up) = given.bool("admin_state_up") {
            agent.admin_state_up = up;
        }
        if given.contains("description") {
            agent.description = given.text("description").map(str::to_owned);
        }
        rows::agent_update(&mut tx, &agent).await?;
        let switched = agent.admin_state_up != was_up;
        let agent = shown(ctx, agent, now());
        let updated = Event::AgentUpdated { agent: Arc::new(agent.clone()), switched };
        let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(agent)
    }

    async fn delete(ctx: &Ctx, id: &str, _: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let agent = by_id(&mut tx, id).await?;
        rows::agent_delete(&mut tx, agent.id).await?;
        let agent = Arc::new(shown(ctx, agent, now()));
        let mut events = tunnel_ends_deleted(&mut tx, &agent).await?;
        events.push(Event::AgentDeleted(agent));
        let recorded = event::record(ctx, &mut tx, events).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// Removes the agent's ends of overlays, so that nobody sends there any more. One that comes back makes them again.
async fn tunnel_ends_deleted(tx: &mut Tx, agent: &Agent) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let types = agent.configurations.get("tunnel_types").and_then(serde_json::Value::as_array);
    let types = types.into_iter().flatten().filter_map(|word| word.as_str()?.parse::<NetworkType>().ok());
    for overlay in types.filter(|overlay| overlay.is_tunnel()) {
        let ends = tunnel::endpoints(tx, overlay).await?;
        for end in ends.iter().filter(|end| end.host.as_deref() == Some(agent.host.as_str())) {
            tunnel::endpoint_delete(tx, overlay, &end.ip_address).await?;
            let address = end.ip_address.parse().ok();
            events.extend(address.map(|address| Event::TunnelEndDeleted { overlay, address }));
        }
    }
    Ok(events)
}

/// Takes an agent's report: adds the agent at its first, refreshes it at the others.
pub async fn report(ctx: &Ctx, state: &AgentState) -> Result<Status> {
    let status = match take_report(ctx, state).await {
        // Another server was told by the same agent at the same moment.
        Err(Error::Db(DbError::Duplicate { .. })) => take_report(ctx, state).await,
        result => result,
    }?;
    if state.resource_versions.is_some() {
        ctx.parts.takers.forget();
    }
    if status != Status::Alive && matches!(state.agent_type.as_str(), kind::LINUX_BRIDGE | kind::OPEN_VSWITCH) {
        bind_waiting_ports(ctx, &state.host).await?;
    }
    Ok(status)
}

/// Ports that could not be bound on a host while its agent was away are bound when it is back.
async fn bind_waiting_ports(ctx: &Ctx, host: &str) -> Result<()> {
    let mut conn = ctx.db().reader().await?;
    let waiting = db::device::unbound_ports_on_host(&mut conn, host).await?;
    drop(conn);
    for port in waiting {
        super::port::bind_again(ctx, port).await?;
    }
    Ok(())
}

/// 404 `AvailabilityZoneNotFound` when no agent of the kind that serves this resource is in one of the zones.
pub async fn check_zones(tx: &mut Tx, resource: &str, zones: &[String]) -> Result<()> {
    let kind = match resource {
        "network" => kind::DHCP,
        "router" => kind::L3,
        _ => return Ok(()),
    };
    if zones.is_empty() {
        return Ok(());
    }
    let agents = rows::agents(tx, Some(kind), None).await?;
    let served = |zone: &String| agents.iter().any(|agent| agent.availability_zone.as_ref() == Some(zone));
    match zones.iter().find(|zone| !served(zone)) {
        Some(zone) => Err(no_zone(zone).into()),
        None => Ok(()),
    }
}

fn no_zone(zone: &str) -> Refusal {
    let message = format!("AvailabilityZone {zone} could not be found.");
    Refusal::new(axum::http::StatusCode::NOT_FOUND, "AvailabilityZoneNotFound", message)
}

async fn by_id(tx: &mut Tx, id: &str) -> Result<AgentRow> {
    let found = match id.parse::<AgentId>() {
        Ok(id) => rows::agent_by_id(tx, id).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| Refusal::not_found("Agent", id).into())
}

async fn take_report(ctx: &Ctx, state: &AgentState) -> Result<Status> {
    let now = now();
    let mut tx = ctx.db().begin().await?;
    let status = match rows::agent_on_host(&mut tx, &state.agent_type, &state.host).await? {
        None => {
            let mut agent = unreported(state, now, ctx.config().enable_new_agents);
            refresh(ctx, &mut agent, state, now);
            rows::agent_insert(&mut tx, &agent).await?;
            Status::New
        }
        Some(mut agent) => {
            let alive = is_alive(agent.heartbeat_timestamp, now, ctx.config().agent_down_time);
            refresh(ctx, &mut agent, state, now);
            rows::agent_update(&mut tx, &agent).await?;
            if alive { Status::Alive } else { Status::Revived }
        }
    };
    tx.commit().await?;
    if status != Status::Alive {
        tracing::info!("the {} on {} is {status:?}", state.agent_type, state.host);
    }
    Ok(status)
}

/// An agent as it is before its first report is taken over.
fn unreported(state: &AgentState, now: NaiveDateTime, enabled: bool) -> AgentRow {
    AgentRow {
        id: AgentId::random(),
        agent_type: state.agent_type.clone(),
        binary: String::new(),
        topic: String::new(),
        host: state.host.clone(),
        admin_state_up: enabled,
        created_at: now,
        started_at: now,
        heartbeat_timestamp: now,
        description: None,
        configurations: String::new(),
        load: 0,
        availability_zone: None,
        resource_versions: None,
        resources_synced: None,
    }
}

/// Takes over what a report says; what it does not say stays.
fn refresh(ctx: &Ctx, agent: &mut AgentRow, state: &AgentState, now: NaiveDateTime) {
    state.binary.clone_into(&mut agent.binary);
    state.topic.clone_into(&mut agent.topic);
    agent.heartbeat_timestamp = now;
    if state.start_flag {
        agent.started_at = now;
    }
    agent.configurations = serde_json::to_string(&state.configurations).unwrap_or_default();
    if state.availability_zone.is_some() {
        agent.availability_zone.clone_from(&state.availability_zone);
    }
    if let Some(versions) = state.resource_versions.as_ref().filter(|versions| !versions.is_empty()) {
        agent.resource_versions = serde_json::to_string(versions).ok();
    }
    agent.load = match agent.agent_type.as_str() {
        kind::DHCP => load(state, &ctx.config().dhcp_load_type),
        _ => 0,
    };
}

/// How much a DHCP agent serves, in the unit that the configuration names.
fn load(state: &AgentState, unit: &str) -> i32 {
    state.configurations.get(unit).and_then(serde_json::Value::as_i64).and_then(|n| n.try_into().ok()).unwrap_or(0)
}

fn shown(ctx: &Ctx, agent: AgentRow, now: NaiveDateTime) -> Agent {
    let down_time: Duration = ctx.config().agent_down_time;
    let time = |time: NaiveDateTime| time.format("%Y-%m-%d %H:%M:%S").to_string();
    Agent {
        alive: is_alive(agent.heartbeat_timestamp, now, down_time),
        id: agent.id,
        agent_type: agent.agent_type,
        binary: agent.binary,
        topic: agent.topic,
        host: agent.host,
        admin_state_up: agent.admin_state_up,
        created_at: time(agent.created_at),
        started_at: time(agent.started_at),
        heartbeat_timestamp: time(agent.heartbeat_timestamp),
        description: agent.description,
        configurations: serde_json::from_str(&agent.configurations).unwrap_or_default(),
        availability_zone: agent.availability_zone,
        resources_synced: agent.resources_synced,
    }
}
