//! Highly available routers: the network of each project that their instances talk on, the numbers they have there, and
//! the port and state of each instance.

use sea_query::{Expr, ExprTrait};
use types::{AgentId, NetworkId, PortId, RouterId};

use crate::{
    Conn, DbError, Row, Value, lock,
    schema::tables::{HA_ROUTER_AGENT_PORT_BINDINGS as BINDINGS, HA_ROUTER_NETWORKS, HA_ROUTER_VRID_ALLOCATIONS},
};

/// An instance of an HA router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The router.
    pub router_id: RouterId,
    /// Its port on the HA network.
    pub port_id: PortId,
    /// Its agent.
    pub agent_id: Option<AgentId>,
    /// The agent's host.
    pub host: Option<String>,
    /// `active`, `standby` or `unknown`.
    pub state: String,
}

/// The HA network of a project.
pub async fn network_of_project(conn: &mut Conn, project_id: &str) -> Result<Option<NetworkId>, DbError> {
    let sql = "SELECT network_id FROM ha_router_networks WHERE project_id = ?";
    conn.sql(sql, vec![project_id.into()]).await?.first().map(|row| row.get(0)).transpose()
}

/// Makes a network the project's HA network. That it has one is [`DbError::Duplicate`].
pub async fn network_insert(conn: &mut Conn, project_id: &str, network: NetworkId) -> Result<(), DbError> {
    let row: Vec<Value> = vec![project_id.into(), network.into()];
    conn.insert(&HA_ROUTER_NETWORKS, &["project_id", "network_id"], vec![row]).await
}

/// Keeps others from giving the network to a router, or from removing it, until this transaction ends; false when it is
/// gone.
pub async fn network_lock(conn: &mut Conn, network: NetworkId) -> Result<bool, DbError> {
    let suffix = if conn.backend() == crate::Backend::Sqlite { "" } else { " FOR UPDATE" };
    let sql = format!("SELECT network_id FROM ha_router_networks WHERE network_id = ?{suffix}");
    let there = !conn.sql(&sql, vec![network.into()]).await?.is_empty();
    if there {
        lock::between_nodes(conn, &network.to_string()).await?;
    }
    Ok(there)
}

/// The same of the network of a router's project, if it has one. To be asked before all that is read of it: on MariaDB a
/// transaction goes on seeing what was there when it first looked, except by locks.
pub async fn network_lock_of(conn: &mut Conn, router: RouterId) -> Result<(), DbError> {
    let suffix = if conn.backend() == crate::Backend::Sqlite { "" } else { " FOR UPDATE" };
    let sql = format!(
        "SELECT n.network_id FROM ha_router_networks n JOIN routers r ON r.project_id = n.project_id \
         WHERE r.id = ?{suffix}"
    );
    let rows = conn.sql(&sql, vec![router.into()]).await?;
    let network: Option<String> = rows.first().map(|row| row.get(0)).transpose()?;
    match network {
        Some(network) => lock::between_nodes(conn, &network).await,
        None => Ok(()),
    }
}

/// An HA network is about to be removed: nobody will lock it again.
pub async fn network_forget(conn: &mut Conn, network: NetworkId) -> Result<(), DbError> {
    lock::forget(conn, &network.to_string()).await
}

/// The numbers taken on an HA network.
pub async fn vr_ids(conn: &mut Conn, network: NetworkId) -> Result<Vec<u8>, DbError> {
    let sql = "SELECT vr_id FROM ha_router_vrid_allocations WHERE network_id = ?";
    conn.sql(sql, vec![network.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Takes a number. That it is taken is [`DbError::Duplicate`].
pub async fn vr_id_insert(conn: &mut Conn, network: NetworkId, vr_id: u8) -> Result<(), DbError> {
    let row: Vec<Value> = vec![network.into(), vr_id.into()];
    conn.insert(&HA_ROUTER_VRID_ALLOCATIONS, &["network_id", "vr_id"], vec![row]).await
}

/// Gives a number back.
pub async fn vr_id_delete(conn: &mut Conn, network: NetworkId, vr_id: u8) -> Result<(), DbError> {
    let sql = "DELETE FROM ha_router_vrid_allocations WHERE network_id = ? AND vr_id = ?";
    conn.execute(sql, vec![network.into(), vr_id.into()]).await.map(|_| ())
}

/// Adds an instance. That the agent has one of this router is [`DbError::Duplicate`].
pub async fn instance_insert(conn: &mut Conn, router: RouterId, agent: AgentId, port: PortId) -> Result<(), DbError> {
    let row: Vec<Value> = vec![port.into(), router.into(), agent.into(), "standby".into()];
    conn.insert(&BINDINGS, &["port_id", "router_id", "l3_agent_id", "state"], vec![row]).await
}

/// The instances of these routers.
pub async fn instances(conn: &mut Conn, routers: &[RouterId]) -> Result<Vec<Instance>, DbError> {
    if routers.is_empty() {
        return Ok(Vec::new());
    }
    let mut select = BINDINGS.select(&["router_id", "port_id", "l3_agent_id", "state"]);
    select.expr(Expr::col(("agents", "host")));
    select.left_join("agents", Expr::col((BINDINGS.name, "l3_agent_id")).equals(("agents", "id")));
    select.and_where(Expr::col((BINDINGS.name, "router_id")).is_in(routers.iter().map(ToString::to_string)));
    let instance = |row: &Row| {
        Ok(Instance {
            router_id: row.get(0)?,
            port_id: row.get(1)?,
            agent_id: row.get(2)?,
            state: row.get::<Option<String>>(3)?.unwrap_or_else(|| "standby".to_owned()),
            host: row.get(4)?,
        })
    };
    conn.select(&select).await?.iter().map(instance).collect()
}

/// Writes the state of an instance; false when it is gone.
pub async fn state_set(conn: &mut Conn, router: RouterId, agent: AgentId, state: &str) -> Result<bool, DbError> {
    let sql = "UPDATE ha_router_agent_port_bindings SET state = ? WHERE router_id = ? AND l3_agent_id = ?";
    Ok(conn.execute(sql, vec![state.into(), router.into(), agent.into()]).await? > 0)
}

/// The ports on HA networks, bound to a host, that are `ACTIVE`.
pub async fn active_ports_on_host(conn: &mut Conn, host: &str) -> Result<Vec<PortId>, DbError> {
    let sql = "SELECT p.id FROM ports p JOIN ml2_port_bindings b ON b.port_id = p.id AND b.status = 'ACTIVE' \
               WHERE p.device_owner = 'network:router_ha_interface' AND p.status = 'ACTIVE' AND b.host = ? ORDER BY p.id";
    conn.sql(sql, vec![host.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Whether the project has an HA router other than this one.
pub async fn has_other_routers(conn: &mut Conn, project_id: &str, router: RouterId) -> Result<bool, DbError> {
    let sql = "SELECT r.id FROM routers r JOIN router_extra_attributes x ON x.router_id = r.id \
               WHERE r.project_id = ? AND x.ha = ? AND r.id <> ? LIMIT 1";
    Ok(!conn.sql(sql, vec![project_id.into(), true.into(), router.into()]).await?.is_empty())
}
