//! Rows of `routerl3agentbindings`: which L3 agent serves which router.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};
use types::{AgentId, RouterId};

use crate::{
    Conn, DbError, Row, Value,
    agent::{self, Agent},
    schema::tables::{AGENTS, ROUTERL3AGENTBINDINGS as BINDINGS},
};

/// A router that has too few agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    /// The router.
    pub router_id: RouterId,
    /// How many agents it has.
    pub agents: usize,
}

/// The agents that serve these routers, in the order in which they were given them.
pub async fn agents_of_routers(
    conn: &mut Conn,
    routers: &[RouterId],
) -> Result<HashMap<RouterId, Vec<Agent>>, DbError> {
    let mut served: HashMap<RouterId, Vec<Agent>> = HashMap::new();
    if routers.is_empty() {
        return Ok(served);
    }
    let mut select = joined();
    select.and_where(Expr::col((BINDINGS.name, "router_id")).is_in(routers.iter().map(ToString::to_string)));
    for row in conn.select(&select).await? {
        let (router, agent) = bound(&row)?;
        served.entry(router).or_default().push(agent);
    }
    Ok(served)
}

/// The agents that serve this router.
pub async fn agents_of_router(conn: &mut Conn, router: RouterId) -> Result<Vec<Agent>, DbError> {
    Ok(agents_of_routers(conn, &[router]).await?.remove(&router).unwrap_or_default())
}

/// The routers that an agent serves.
pub async fn routers_of_agent(conn: &mut Conn, agent: AgentId) -> Result<Vec<RouterId>, DbError> {
    let text = "SELECT router_id FROM routerl3agentbindings WHERE l3_agent_id = ? ORDER BY router_id";
    conn.sql(text, vec![agent.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// How many routers each agent serves.
pub async fn router_counts(conn: &mut Conn) -> Result<HashMap<AgentId, usize>, DbError> {
    let text = "SELECT l3_agent_id, COUNT(*) FROM routerl3agentbindings GROUP BY l3_agent_id";
    conn.sql(text, vec![]).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Every binding of a router that is not highly available to an agent whose last report is before `cutoff`.
pub async fn bindings_of_silent_agents(
    conn: &mut Conn,
    cutoff: NaiveDateTime,
) -> Result<Vec<(RouterId, Agent)>, DbError> {
    let mut select = joined();
    select.inner_join(
        "router_extra_attributes",
        Expr::col((BINDINGS.name, "router_id")).equals(("router_extra_attributes", "router_id")),
    );
    select.and_where(Expr::col(("router_extra_attributes", "ha")).eq(false));
    select.and_where(Expr::col((AGENTS.name, "admin_state_up")).eq(true));
    select.and_where(Expr::col((AGENTS.name, "heartbeat_timestamp")).lt(Value::from(cutoff)));
    conn.select(&select).await?.iter().map(bound).collect()
}

/// The routers, highly available or not, with fewer than `wanted` agents; the least served first.
pub async fn unserved_routers(conn: &mut Conn, ha: bool, wanted: usize) -> Result<Vec<Unserved>, DbError> {
    let text = "SELECT r.id, (SELECT COUNT(*) FROM routerl3agentbindings c WHERE c.router_id = r.id) AS agents \
                FROM routers r JOIN router_extra_attributes x ON x.router_id = r.id WHERE x.ha = ? \
                AND (SELECT COUNT(*) FROM routerl3agentbindings d WHERE d.router_id = r.id) < ? ORDER BY agents, r.id";
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    let rows = conn.sql(text, vec![ha.into(), wanted.into()]).await?;
    rows.iter().map(|row| Ok(Unserved { router_id: row.get(0)?, agents: row.get(1)? })).collect()
}

/// The indexes taken of a router, ascending.
pub async fn binding_indexes(conn: &mut Conn, router: RouterId) -> Result<Vec<i32>, DbError> {
    let text = "SELECT binding_index FROM routerl3agentbindings WHERE router_id = ? ORDER BY binding_index";
    conn.sql(text, vec![router.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Gives a router to an agent. That the index, or the pair, is taken is [`DbError::Duplicate`].
pub async fn binding_insert(
    conn: &mut Conn,
    router: RouterId,
    agent: AgentId,
    binding_index: i32,
) -> Result<(), DbError> {
    let row = vec![router.into(), agent.into(), binding_index.into()];
    conn.insert(&BINDINGS, &["router_id", "l3_agent_id", "binding_index"], vec![row]).await
}

/// Takes a router from an agent; false when it did not have it.
pub async fn binding_delete(conn: &mut Conn, router: RouterId, agent: AgentId) -> Result<bool, DbError> {
    let mut delete = Query::delete();
    delete
        .from_table(BINDINGS.name)
        .and_where(Expr::col("router_id").eq(router.to_string()))
        .and_where(Expr::col("l3_agent_id").eq(agent.to_string()));
    Ok(conn.delete(&delete).await? > 0)
}

/// Availability zones of the agents that serve each router.
pub async fn zones_of(conn: &mut Conn, ids: &[String]) -> Result<HashMap<RouterId, Vec<String>>, DbError> {
    let mut select = BINDINGS.select(&["router_id"]);
    select.expr(Expr::col((AGENTS.name, "availability_zone")));
    select.inner_join(AGENTS.name, Expr::col((BINDINGS.name, "l3_agent_id")).equals((AGENTS.name, "id")));
    select.and_where(Expr::col((BINDINGS.name, "router_id")).is_in(ids.iter().map(String::as_str)));
    let mut zones: HashMap<RouterId, Vec<String>> = HashMap::new();
    for row in conn.select(&select).await? {
        if let Some(zone) = row.get::<Option<String>>(1)? {
            zones.entry(row.get(0)?).or_default().push(zone);
        }
    }
    for list in zones.values_mut() {
        list.sort_unstable();
        list.dedup();
    }
    Ok(zones)
}

/// Bindings with their agents: the router's id, then the agent's columns.
fn joined() -> SelectStatement {
    let mut select = BINDINGS.select(&["router_id"]);
    select
        .exprs(agent::COLUMNS.iter().map(|column| Expr::col((AGENTS.name, *column))))
        .inner_join(AGENTS.name, Expr::col((AGENTS.name, "id")).equals((BINDINGS.name, "l3_agent_id")))
        .order_by((BINDINGS.name, "router_id"), Order::Asc)
        .order_by((BINDINGS.name, "binding_index"), Order::Asc);
    select
}

fn bound(row: &Row) -> Result<(RouterId, Agent), DbError> {
    Ok((row.get(0)?, agent::agent_from_columns(row, 1)?))
}
