//! Rows of `networkdhcpagentbindings`: which DHCP agent serves which network.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};
use types::{AgentId, NetworkId};

use crate::{
    Conn, DbError, Row, Value,
    agent::{self, Agent},
    schema::tables::{AGENTS, NETWORKDHCPAGENTBINDINGS as BINDINGS, NETWORKS},
    standard,
};

/// Values in one `IN` list at most.
const CHUNK: usize = 1000;

/// Which networks lack agents, with what is needed to choose some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    /// The network.
    pub network_id: NetworkId,
    /// How many agents it has.
    pub agents: usize,
}

/// The agents that serve these networks, in the order in which they were given them.
pub async fn agents_of_networks(
    conn: &mut Conn,
    networks: &[NetworkId],
) -> Result<HashMap<NetworkId, Vec<Agent>>, DbError> {
    let mut served: HashMap<NetworkId, Vec<Agent>> = HashMap::new();
    for chunk in networks.chunks(CHUNK) {
        let mut select = joined();
        select.and_where(Expr::col((BINDINGS.name, "network_id")).is_in(chunk.iter().map(ToString::to_string)));
        for row in conn.select(&select).await? {
            let (network, agent) = bound(&row)?;
            served.entry(network).or_default().push(agent);
        }
    }
    Ok(served)
}

/// The agents that serve this network.
pub async fn agents_of_network(conn: &mut Conn, network: NetworkId) -> Result<Vec<Agent>, DbError> {
    Ok(agents_of_networks(conn, &[network]).await?.remove(&network).unwrap_or_default())
}

/// The networks that an agent serves; with `enabled`, only those that are administratively up.
pub async fn networks_of_agent(conn: &mut Conn, agent: AgentId, enabled: bool) -> Result<Vec<NetworkId>, DbError> {
    let mut text = "SELECT b.network_id FROM networkdhcpagentbindings b JOIN networks n ON n.id = b.network_id \
                    WHERE b.dhcp_agent_id = ?"
        .to_owned();
    let mut binds = vec![agent.into()];
    if enabled {
        text.push_str(" AND n.admin_state_up = ?");
        binds.push(true.into());
    }
    text.push_str(" ORDER BY b.network_id");
    conn.sql(&text, binds).await?.iter().map(|row| row.get(0)).collect()
}

/// How many networks each agent serves.
pub async fn network_counts(conn: &mut Conn) -> Result<HashMap<AgentId, usize>, DbError> {
    let text = "SELECT dhcp_agent_id, COUNT(*) FROM networkdhcpagentbindings GROUP BY dhcp_agent_id";
    conn.sql(text, vec![]).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Every binding to an agent whose last report is before `cutoff`.
pub async fn bindings_of_silent_agents(
    conn: &mut Conn,
    cutoff: NaiveDateTime,
) -> Result<Vec<(NetworkId, Agent)>, DbError> {
    let mut select = joined();
    select.and_where(Expr::col((AGENTS.name, "heartbeat_timestamp")).lt(Value::from(cutoff)));
    conn.select(&select).await?.iter().map(bound).collect()
}

/// Networks with a DHCP-enabled subnet and fewer than `wanted` agents, `agent` not among them; the least served first.
pub async fn unserved_networks(conn: &mut Conn, agent: AgentId, wanted: usize) -> Result<Vec<Unserved>, DbError> {
    let text = "SELECT n.id, (SELECT COUNT(*) FROM networkdhcpagentbindings c WHERE c.network_id = n.id) AS agents \
                FROM networks n \
                WHERE EXISTS (SELECT 1 FROM subnets s WHERE s.network_id = n.id AND s.enable_dhcp = ?) \
                AND NOT EXISTS (SELECT 1 FROM networkdhcpagentbindings b WHERE b.network_id = n.id \
                AND b.dhcp_agent_id = ?) \
                AND (SELECT COUNT(*) FROM networkdhcpagentbindings d WHERE d.network_id = n.id) < ? \
                ORDER BY agents, n.id";
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    let rows = conn.sql(text, vec![true.into(), agent.into(), wanted.into()]).await?;
    rows.iter().map(|row| Ok(Unserved { network_id: row.get(0)?, agents: row.get(1)? })).collect()
}

/// The indexes taken of a network, ascending.
pub async fn binding_indexes(conn: &mut Conn, network: NetworkId) -> Result<Vec<i32>, DbError> {
    let text = "SELECT binding_index FROM networkdhcpagentbindings WHERE network_id = ? ORDER BY binding_index";
    conn.sql(text, vec![network.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Gives a network to an agent. That the index, or the pair, is taken is [`DbError::Duplicate`].
pub async fn binding_insert(
    conn: &mut Conn,
    network: NetworkId,
    agent: AgentId,
    binding_index: i32,
) -> Result<(), DbError> {
    let row = vec![network.into(), agent.into(), binding_index.into()];
    conn.insert(&BINDINGS, &["network_id", "dhcp_agent_id", "binding_index"], vec![row]).await
}

/// Takes a network from an agent; false when it did not have it.
pub async fn binding_delete(conn: &mut Conn, network: NetworkId, agent: AgentId) -> Result<bool, DbError> {
    let mut delete = Query::delete();
    delete
        .from_table(BINDINGS.name)
        .and_where(Expr::col("network_id").eq(network.to_string()))
        .and_where(Expr::col("dhcp_agent_id").eq(agent.to_string()));
    Ok(conn.delete(&delete).await? > 0)
}

/// The zones that a network's services should run in, as its `availability_zone_hints` column holds them.
pub async fn zone_hints(conn: &mut Conn, networks: &[NetworkId]) -> Result<HashMap<NetworkId, Vec<String>>, DbError> {
    let mut hints = HashMap::new();
    for chunk in networks.chunks(CHUNK) {
        let mut select = NETWORKS.select(&["id", "availability_zone_hints"]);
        select.and_where(Expr::col("id").is_in(chunk.iter().map(ToString::to_string)));
        for row in conn.select(&select).await? {
            let text: Option<String> = row.get(1)?;
            hints.insert(row.get(0)?, text.and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default());
        }
    }
    Ok(hints)
}

/// Gives the DHCP port of an agent on a network another identity, so that it outlives the agent.
pub async fn dhcp_port_rename(conn: &mut Conn, device_id: &str, new_device_id: &str) -> Result<(), DbError> {
    let touch = "UPDATE standardattributes SET revision_number = revision_number + 1, updated_at = ? \
                 WHERE id IN (SELECT standard_attr_id FROM ports WHERE device_id = ?)";
    conn.execute(touch, vec![standard::now().into(), device_id.into()]).await?;
    let rename = "UPDATE ports SET device_id = ? WHERE device_id = ?";
    conn.execute(rename, vec![new_device_id.into(), device_id.into()]).await?;
    Ok(())
}

/// Bindings with their agents: the network's id, then the agent's columns.
fn joined() -> SelectStatement {
    let mut select = BINDINGS.select(&["network_id"]);
    select
        .exprs(agent::COLUMNS.iter().map(|column| Expr::col((AGENTS.name, *column))))
        .inner_join(AGENTS.name, Expr::col((AGENTS.name, "id")).equals((BINDINGS.name, "dhcp_agent_id")))
        .order_by((BINDINGS.name, "network_id"), Order::Asc)
        .order_by((BINDINGS.name, "binding_index"), Order::Asc);
    select
}

fn bound(row: &Row) -> Result<(NetworkId, Agent), DbError> {
    Ok((row.get(0)?, agent::agent_from_columns(row, 1)?))
}
