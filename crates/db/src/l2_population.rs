//! Who is active where on a network, as forwarding entries of overlays need it.
//!
//! Ports of highly available routers are on each host that has an instance of the router, whichever they are bound to,
//! and those of distributed routers have a row for each host; they count on all of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use sea_query::{Expr, ExprTrait};
use types::{Mac, NetworkId, PortId};

use crate::{Conn, DbError, Row, Value, agent::Agent, schema::tables::AGENTS};

/// Owner of interfaces of highly available routers.
pub const HA_INTERFACE: &str = "network:ha_router_replicated_interface";
/// Owner of ports by which distributed routers translate addresses; highly available ones if their router is.
pub const CENTRAL_SNAT: &str = "network:router_centralized_snat";
/// Owner of interfaces of distributed routers.
pub const DISTRIBUTED_INTERFACE: &str = "network:router_interface_distributed";

const ACTIVE: &str = "ACTIVE";
/// Hosts in one statement at most.
const CHUNK: usize = 500;

/// A port that is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivePort {
    /// The port.
    pub id: PortId,
    /// Its network.
    pub network_id: NetworkId,
    /// The host it is bound to.
    pub host: String,
    /// Its MAC.
    pub mac_address: Mac,
    /// What it is for.
    pub device_owner: String,
    /// Whose it is.
    pub device_id: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The active ports of a network.
pub async fn active_ports(conn: &mut Conn, network: NetworkId) -> Result<Vec<ActivePort>, DbError> {
    active(conn, "p.network_id = ?", network.into()).await
}

/// The active ports that are bound to a host.
pub async fn active_ports_on_host(conn: &mut Conn, host: &str) -> Result<Vec<ActivePort>, DbError> {
    active(conn, "b.host = ?", host.into()).await
}

async fn active(conn: &mut Conn, which: &str, value: Value) -> Result<Vec<ActivePort>, DbError> {
    let ports = format!(
        "FROM ports p JOIN ml2_port_bindings b ON b.port_id = p.id WHERE {which} AND p.status = ? AND b.status = ? AND b.host <> ''"
    );
    let binds = vec![value, ACTIVE.into(), ACTIVE.into()];
    let columns = "p.id, p.network_id, b.host, p.mac_address, p.device_owner, p.device_id";
    let rows = conn.sql(&format!("SELECT {columns} {ports}"), binds.clone()).await?;
    let found = conn
        .sql(
            &format!(
                "SELECT i.port_id, i.ip_address FROM ipallocations i WHERE i.port_id IN (SELECT p.id {ports}) \
                 ORDER BY i.ip_address"
            ),
            binds,
        )
        .await?;
    let mut addresses: HashMap<PortId, Vec<IpAddr>> = HashMap::new();
    for row in found {
        if let Ok(address) = row.get::<String>(1)?.parse() {
            addresses.entry(row.get(0)?).or_default().push(address);
        }
    }
    let port = |row: &Row| {
        let id = row.get(0)?;
        Ok(ActivePort {
            id,
            network_id: row.get(1)?,
            host: row.get(2)?,
            mac_address: row.get(3)?,
            device_owner: row.get(4)?,
            device_id: row.get(5)?,
            addresses: addresses.remove(&id).unwrap_or_default(),
        })
    };
    rows.iter().map(port).collect()
}

/// How many ports of a network are active on a host.
pub async fn active_count(conn: &mut Conn, network: NetworkId, host: &str) -> Result<i64, DbError> {
    let text = "SELECT (SELECT COUNT(*) FROM ports p JOIN ml2_port_bindings b ON b.port_id = p.id \
                WHERE p.network_id = ? AND p.status = ? AND b.host = ? AND b.status = ? AND p.device_owner <> ? AND NOT \
                (p.device_owner IN (?, ?) AND EXISTS (SELECT 1 FROM ha_router_agent_port_bindings h \
                WHERE h.router_id = p.device_id))) + \
                (SELECT COUNT(*) FROM ports p JOIN ha_router_agent_port_bindings h ON h.router_id = p.device_id \
                JOIN agents a ON a.id = h.l3_agent_id \
                WHERE p.network_id = ? AND p.status = ? AND p.device_owner IN (?, ?) AND a.host = ?) + \
                (SELECT COUNT(*) FROM ports p JOIN ml2_distributed_port_bindings d ON d.port_id = p.id \
                WHERE p.network_id = ? AND p.device_owner = ? AND d.status = ? AND d.host = ?)";
    let binds: Vec<Value> = vec![
        network.into(),
        ACTIVE.into(),
        host.into(),
        ACTIVE.into(),
        DISTRIBUTED_INTERFACE.into(),
        HA_INTERFACE.into(),
        CENTRAL_SNAT.into(),
        network.into(),
        ACTIVE.into(),
        HA_INTERFACE.into(),
        CENTRAL_SNAT.into(),
        host.into(),
        network.into(),
        DISTRIBUTED_INTERFACE.into(),
        ACTIVE.into(),
        host.into(),
    ];
    conn.sql(text, binds).await?.first().map_or(Ok(0), |row| row.get(0))
}

/// The hosts of the highly available routers that have a port on the network, by router.
pub async fn ha_hosts(conn: &mut Conn, network: NetworkId) -> Result<BTreeMap<String, BTreeSet<String>>, DbError> {
    let text = "SELECT h.router_id, a.host FROM ports p JOIN ha_router_agent_port_bindings h ON h.router_id = p.device_id \
                JOIN agents a ON a.id = h.l3_agent_id WHERE p.network_id = ? AND p.device_owner IN (?, ?)";
    by_router(conn, text, vec![network.into(), HA_INTERFACE.into(), CENTRAL_SNAT.into()]).await
}

/// The hosts of a router, if it is a highly available one.
pub async fn ha_hosts_of_router(conn: &mut Conn, router: &str) -> Result<BTreeSet<String>, DbError> {
    let text = "SELECT h.router_id, a.host FROM ha_router_agent_port_bindings h JOIN agents a ON a.id = h.l3_agent_id \
                WHERE h.router_id = ?";
    Ok(by_router(conn, text, vec![router.into()]).await?.remove(router).unwrap_or_default())
}

async fn by_router(
    conn: &mut Conn,
    text: &str,
    binds: Vec<Value>,
) -> Result<BTreeMap<String, BTreeSet<String>>, DbError> {
    let mut hosts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in conn.sql(text, binds).await? {
        hosts.entry(row.get(0)?).or_default().insert(row.get(1)?);
    }
    Ok(hosts)
}

/// The hosts on which a distributed router has an active interface on the network.
pub async fn distributed_hosts(conn: &mut Conn, network: NetworkId) -> Result<BTreeSet<String>, DbError> {
    let text = "SELECT d.host FROM ports p JOIN ml2_distributed_port_bindings d ON d.port_id = p.id \
                WHERE p.network_id = ? AND p.status = ? AND p.device_owner = ?";
    let rows = conn.sql(text, vec![network.into(), ACTIVE.into(), DISTRIBUTED_INTERFACE.into()]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// All agents of these hosts.
pub async fn agents_of_hosts(conn: &mut Conn, hosts: &BTreeSet<String>) -> Result<Vec<Agent>, DbError> {
    let mut agents = Vec::new();
    for chunk in hosts.iter().collect::<Vec<_>>().chunks(CHUNK) {
        let mut select = AGENTS.select(crate::agent::COLUMNS);
        select.and_where(Expr::col("host").is_in(chunk.iter().map(|host| host.as_str())));
        select.order_by("id", sea_query::Order::Asc);
        for row in conn.select(&select).await? {
            agents.push(crate::agent::agent_from_row(&row)?);
        }
    }
    Ok(agents)
}
