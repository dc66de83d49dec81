//! Rows of `agents`.

use chrono::NaiveDateTime;
use sea_query::{Expr, ExprTrait, Query};
use types::AgentId;

use crate::{
    Conn, DbError, Row, Value,
    list::{Listing, Scope, Source},
    schema::tables::AGENTS,
};

/// The columns of a row, in the order [`agent_from_row`] reads them.
pub const COLUMNS: &[&str] = &[
    "id",
    "agent_type",
    "binary",
    "topic",
    "host",
    "admin_state_up",
    "created_at",
    "started_at",
    "heartbeat_timestamp",
    "description",
    "configurations",
    "load",
    "availability_zone",
    "resource_versions",
    "resources_synced",
];

/// How agents are listed.
pub static LISTING: Listing = Listing {
    table: &AGENTS,
    columns: COLUMNS,
    standard: false,
    scope: Scope::Everything,
    attributes: &[
        ("id", Source::Own("id")),
        ("agent_type", Source::Own("agent_type")),
        ("binary", Source::Own("binary")),
        ("topic", Source::Own("topic")),
        ("host", Source::Own("host")),
        ("admin_state_up", Source::Own("admin_state_up")),
        ("created_at", Source::Own("created_at")),
        ("started_at", Source::Own("started_at")),
        ("heartbeat_timestamp", Source::Own("heartbeat_timestamp")),
        ("description", Source::Own("description")),
        ("availability_zone", Source::Own("availability_zone")),
        ("resources_synced", Source::Own("resources_synced")),
    ],
};

/// An agent as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Given by the server at the first report.
    pub id: AgentId,
    /// One of [`types::agent::kind`]; with `host` unique.
    pub agent_type: String,
    /// Upstream name of its program.
    pub binary: String,
    /// Topic it listens on.
    pub topic: String,
    /// Host it runs on.
    pub host: String,
    /// Whether it is given work.
    pub admin_state_up: bool,
    /// First report.
    pub created_at: NaiveDateTime,
    /// Last start.
    pub started_at: NaiveDateTime,
    /// Last report.
    pub heartbeat_timestamp: NaiveDateTime,
    /// Free text.
    pub description: Option<String>,
    /// What it reports of itself, as JSON.
    pub configurations: String,
    /// How much it serves, in units of its kind.
    pub load: i32,
    /// Zone it serves.
    pub availability_zone: Option<String>,
    /// Versions of the objects it takes by push, as JSON.
    pub resource_versions: Option<String>,
    /// Whether its resources stand in Placement.
    pub resources_synced: Option<bool>,
}

/// Reads [`COLUMNS`].
pub fn agent_from_row(row: &Row) -> Result<Agent, DbError> {
    agent_from_columns(row, 0)
}

/// Reads [`COLUMNS`] from position `start` on.
pub(crate) fn agent_from_columns(row: &Row, start: usize) -> Result<Agent, DbError> {
    Ok(Agent {
        id: row.get(start)?,
        agent_type: row.get(start + 1)?,
        binary: row.get(start + 2)?,
        topic: row.get(start + 3)?,
        host: row.get(start + 4)?,
        admin_state_up: row.get(start + 5)?,
        created_at: row.get(start + 6)?,
        started_at: row.get(start + 7)?,
        heartbeat_timestamp: row.get(start + 8)?,
        description: row.get(start + 9)?,
        configurations: row.get(start + 10)?,
        load: row.get(start + 11)?,
        availability_zone: row.get(start + 12)?,
        resource_versions: row.get(start + 13)?,
        resources_synced: row.get(start + 14)?,
    })
}

fn values(agent: &Agent) -> Vec<Value> {
    vec![
        agent.id.into(),
        agent.agent_type.as_str().into(),
        agent.binary.as_str().into(),
        agent.topic.as_str().into(),
        agent.host.as_str().into(),
        agent.admin_state_up.into(),
        agent.created_at.into(),
        agent.started_at.into(),
        agent.heartbeat_timestamp.into(),
        agent.description.as_deref().into(),
        agent.configurations.as_str().into(),
        agent.load.into(),
        agent.availability_zone.as_deref().into(),
        agent.resource_versions.as_deref().into(),
        agent.resources_synced.into(),
    ]
}

/// The agents that match all given.
pub async fn agents(conn: &mut Conn, agent_type: Option<&str>, host: Option<&str>) -> Result<Vec<Agent>, DbError> {
    let mut select = AGENTS.select(COLUMNS);
    if let Some(agent_type) = agent_type {
        select.and_where(Expr::col("agent_type").eq(agent_type));
    }
    if let Some(host) = host {
        select.and_where(Expr::col("host").eq(host));
    }
    select.order_by("id", sea_query::Order::Asc);
    conn.select(&select).await?.iter().map(agent_from_row).collect()
}

/// The agent with this id.
pub async fn agent_by_id(conn: &mut Conn, id: AgentId) -> Result<Option<Agent>, DbError> {
    let mut select = AGENTS.select(COLUMNS);
    select.and_where(Expr::col("id").eq(id.to_string()));
    conn.select(&select).await?.first().map(agent_from_row).transpose()
}

/// The agent of this kind on this host.
pub async fn agent_on_host(conn: &mut Conn, agent_type: &str, host: &str) -> Result<Option<Agent>, DbError> {
    Ok(agents(conn, Some(agent_type), Some(host)).await?.into_iter().next())
}

/// Adds an agent. Another process may have added the same one; that is [`DbError::Duplicate`].
pub async fn agent_insert(conn: &mut Conn, agent: &Agent) -> Result<(), DbError> {
    conn.insert(&AGENTS, COLUMNS, vec![values(agent)]).await
}

/// Writes every column but the id.
pub async fn agent_update(conn: &mut Conn, agent: &Agent) -> Result<(), DbError> {
    let mut update = Query::update();
    update.table(AGENTS.name).and_where(Expr::col("id").eq(agent.id.to_string()));
    for (column, value) in COLUMNS.iter().zip(values(agent)).skip(1) {
        update.value(*column, sea_query::Value::from(value));
    }
    conn.update(&update).await.map(|_| ())
}

/// Removes an agent and what it was given to serve; false when there was none.
pub async fn agent_delete(conn: &mut Conn, id: AgentId) -> Result<bool, DbError> {
    let mut delete = Query::delete();
    delete.from_table(AGENTS.name).and_where(Expr::col("id").eq(id.to_string()));
    Ok(conn.delete(&delete).await? > 0)
}
