//! Routers, their routes and which ports are theirs.

use std::collections::{HashMap, HashSet};

use sea_query::{Expr, ExprTrait};
use types::{
    NetworkId, PortId, RouterId, SubnetId,
    port::FixedIp,
    router::{Gateway, Router},
    subnet::HostRoute,
};

use crate::{
    Conn, DbError, Row, Value,
    list::{Listing, Scope, Source},
    lock,
    schema::tables,
    standard::{standard_delete, standard_from_row, tags_of},
};

const COLUMNS: [&str; 8] =
    ["id", "name", "project_id", "status", "admin_state_up", "gw_port_id", "enable_snat", "flavor_id"];

/// How routers are listed.
pub static LISTING: Listing = Listing {
    table: &tables::ROUTERS,
    columns: &COLUMNS,
    standard: true,
    scope: Scope::Owned,
    attributes: &[
        ("id", Source::Own("id")),
        ("name", Source::Own("name")),
        ("project_id", Source::Own("project_id")),
        ("status", Source::Own("status")),
        ("admin_state_up", Source::Own("admin_state_up")),
        ("flavor_id", Source::Own("flavor_id")),
        ("gw_port_id", Source::Own("gw_port_id")),
        ("ha", Source::Child { table: &tables::ROUTER_EXTRA_ATTRIBUTES, link: "router_id", column: "ha" }),
    ],
};

/// A port of a router, as `routerports` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterPort {
    /// The router.
    pub router_id: RouterId,
    /// The port.
    pub port_id: PortId,
    /// Its network.
    pub network_id: NetworkId,
    /// What the port is of the router: its device owner, as when it was added.
    pub port_type: String,
    /// Its addresses.
    pub fixed_ips: Vec<FixedIp>,
}

/// Whole routers from the rows [`LISTING`] selected, in their order.
pub async fn routers_from_rows(conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Router>, DbError> {
    let mut routers = rows.iter().map(router_from_row).collect::<Result<Vec<_>, _>>()?;
    if routers.is_empty() {
        return Ok(routers);
    }
    let ids: Vec<String> = routers.iter().map(|r| r.id.to_string()).collect();
    let gateways: Vec<PortId> = routers.iter().filter_map(|r| r.gw_port_id).collect();
    let standard_ids: Vec<i64> = routers.iter().map(|r| r.standard.standard_attr_id).collect();
    let networks = networks_of(conn, &gateways).await?;
    let mut addresses = crate::ipam::fixed_ips_of(conn, &gateways).await?;
    let mut routes = routes_of(conn, &ids).await?;
    let mut zones = crate::l3_binding::zones_of(conn, &ids).await?;
    let mut tags = tags_of(conn, &standard_ids).await?;
    let extras = extras_of(conn, &ids).await?;
    for router in &mut routers {
        router.routes = routes.remove(&router.id).unwrap_or_default();
        router.availability_zones = zones.remove(&router.id).unwrap_or_default();
        router.standard.tags = tags.remove(&router.standard.standard_attr_id).unwrap_or_default();
        if let Some(extra) = extras.get(&router.id) {
            (router.ha, router.distributed, router.ha_vr_id) = (extra.ha, extra.distributed, extra.ha_vr_id);
            router.availability_zone_hints.clone_from(&extra.hints);
        }
        let Some(port) = router.gw_port_id else { continue };
        router.external_gateway_info = networks.get(&port).map(|network_id| Gateway {
            network_id: *network_id,
            external_fixed_ips: addresses.remove(&port).unwrap_or_default(),
            enable_snat: router.enable_snat,
        });
    }
    Ok(routers)
}

fn router_from_row(row: &Row) -> Result<Router, DbError> {
    let project_id: String = row.get::<Option<String>>(2)?.unwrap_or_default();
    Ok(Router {
        id: row.get(0)?,
        name: row.get::<Option<String>>(1)?.unwrap_or_default(),
        tenant_id: project_id.clone(),
        project_id,
        status: row.get::<Option<String>>(3)?.unwrap_or_default(),
        admin_state_up: row.get::<Option<bool>>(4)?.unwrap_or(true),
        gw_port_id: row.get(5)?,
        enable_snat: row.get(6)?,
        flavor_id: row.get(7)?,
        external_gateway_info: None,
        routes: Vec::new(),
        ha: false,
        distributed: false,
        ha_vr_id: None,
        availability_zone_hints: Vec::new(),
        availability_zones: Vec::new(),
        standard: standard_from_row(row, COLUMNS.len())?,
    })
}

async fn networks_of(conn: &mut Conn, ports: &[PortId]) -> Result<HashMap<PortId, NetworkId>, DbError> {
    if ports.is_empty() {
        return Ok(HashMap::new());
    }
    let mut select = tables::PORTS.select(&["id", "network_id"]);
    select.and_where(Expr::col("id").is_in(ports.iter().map(ToString::to_string)));
    conn.select(&select).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

async fn routes_of(conn: &mut Conn, ids: &[String]) -> Result<HashMap<RouterId, Vec<HostRoute>>, DbError> {
    let mut select = tables::ROUTERROUTES.select(&["router_id", "destination", "nexthop"]);
    select.and_where(Expr::col("router_id").is_in(ids.iter().map(String::as_str)));
    let mut routes: HashMap<RouterId, Vec<HostRoute>> = HashMap::new();
    for row in conn.select(&select).await? {
        let route = HostRoute { destination: row.get(1)?, nexthop: row.get(2)? };
        routes.entry(row.get(0)?).or_default().push(route);
    }
    routes.values_mut().for_each(|list| list.sort_unstable());
    Ok(routes)
}

struct Extra {
    ha: bool,
    distributed: bool,
    ha_vr_id: Option<u8>,
    hints: Vec<String>,
}

async fn extras_of(conn: &mut Conn, ids: &[String]) -> Result<HashMap<RouterId, Extra>, DbError> {
    let columns = ["router_id", "ha", "distributed", "ha_vr_id", "availability_zone_hints"];
    let mut select = tables::ROUTER_EXTRA_ATTRIBUTES.select(&columns);
    select.and_where(Expr::col("router_id").is_in(ids.iter().map(String::as_str)));
    let extra = |row: &Row| {
        let hints: Option<String> = row.get(4)?;
        let extra = Extra {
            ha: row.get(1)?,
            distributed: row.get(2)?,
            ha_vr_id: row.get(3)?,
            hints: hints.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        };
        Ok((row.get(0)?, extra))
    };
    conn.select(&select).await?.iter().map(extra).collect()
}

// ===== writing =====

/// Writes the rows of a new router, which has neither gateway nor routes yet. Its standard attributes have their row.
pub async fn router_insert(conn: &mut Conn, router: &Router) -> Result<(), DbError> {
    let columns = ["id", "name", "project_id", "status", "admin_state_up", "enable_snat", "standard_attr_id"];
    let row = vec![
        router.id.into(),
        (&router.name).into(),
        (&router.project_id).into(),
        (&router.status).into(),
        router.admin_state_up.into(),
        router.enable_snat.into(),
        router.standard.standard_attr_id.into(),
    ];
    conn.insert(&tables::ROUTERS, &columns, vec![row]).await?;
    let hints = serde_json::to_string(&router.availability_zone_hints).unwrap_or_default();
    let columns = [
        "router_id",
        "distributed",
        "service_router",
        "ha",
        "ha_vr_id",
        "availability_zone_hints",
        "enable_default_route_ecmp",
        "enable_default_route_bfd",
    ];
    let row = vec![
        router.id.into(),
        false.into(),
        false.into(),
        router.ha.into(),
        router.ha_vr_id.map(i64::from).into(),
        hints.into(),
        false.into(),
        false.into(),
    ];
    conn.insert(&tables::ROUTER_EXTRA_ATTRIBUTES, &columns, vec![row]).await?;
    provider_insert(conn, router).await
}

/// Says which of upstream's drivers the router would be of; upstream does not change a router of which nothing is said.
async fn provider_insert(conn: &mut Conn, router: &Router) -> Result<(), DbError> {
    let driver = if router.ha { "ha" } else { "single_node" };
    let row: Vec<Value> = vec![driver.into(), router.id.into()];
    conn.insert(&tables::PROVIDERRESOURCEASSOCIATIONS, &["provider_name", "resource_id"], vec![row]).await
}

async fn provider_delete(conn: &mut Conn, router: &Router) -> Result<(), DbError> {
    let sql = "DELETE FROM providerresourceassociations WHERE resource_id = ?";
    conn.execute(sql, vec![router.id.into()]).await.map(|_| ())
}

/// The same for a router that was just made highly available, or no longer so.
pub async fn provider_replace(conn: &mut Conn, router: &Router) -> Result<(), DbError> {
    provider_delete(conn, router).await?;
    provider_insert(conn, router).await
}

/// Writes what can be changed of a router's own rows; its routes and standard attributes are not touched.
pub async fn router_update(conn: &mut Conn, router: &Router) -> Result<(), DbError> {
    let sql =
        "UPDATE routers SET name = ?, status = ?, admin_state_up = ?, gw_port_id = ?, enable_snat = ? WHERE id = ?";
    let binds = vec![
        (&router.name).into(),
        (&router.status).into(),
        router.admin_state_up.into(),
        router.gw_port_id.into(),
        router.enable_snat.into(),
        router.id.into(),
    ];
    conn.execute(sql, binds).await?;
    let sql = "UPDATE router_extra_attributes SET ha = ?, ha_vr_id = ? WHERE router_id = ?";
    let binds = vec![router.ha.into(), router.ha_vr_id.map(i64::from).into(), router.id.into()];
    conn.execute(sql, binds).await.map(|_| ())
}

/// Writes the difference between a router's routes as they were and as they shall be.
pub async fn routes_update(
    conn: &mut Conn,
    router: RouterId,
    before: &[HostRoute],
    after: &[HostRoute],
) -> Result<(), DbError> {
    for gone in before.iter().filter(|route| !after.contains(route)) {
        let sql = "DELETE FROM routerroutes WHERE router_id = ? AND destination = ? AND nexthop = ?";
        conn.execute(sql, vec![router.into(), gone.destination.into(), gone.nexthop.into()]).await?;
    }
    let new = after.iter().filter(|route| !before.contains(route));
    let rows = new.map(|route| vec![router.into(), route.destination.into(), route.nexthop.into()]).collect();
    conn.insert(&tables::ROUTERROUTES, &["router_id", "destination", "nexthop"], rows).await
}

/// Keeps others from changing the router, its ports and its floating IPs until this transaction ends; its standard
/// attribute key, or nothing when it is gone.
pub async fn router_lock(conn: &mut Conn, router: RouterId) -> Result<Option<i64>, DbError> {
    let suffix = if conn.backend() == crate::Backend::Sqlite { "" } else { " FOR UPDATE" };
    let sql = format!("SELECT standard_attr_id FROM routers WHERE id = ?{suffix}");
    let key = conn.sql(&sql, vec![router.into()]).await?.first().map(|row| row.get(0)).transpose()?;
    if key.is_some() {
        lock::between_nodes(conn, &router.to_string()).await?;
    }
    Ok(key)
}

/// Removes a router's own rows, what hangs on them by cascade, and its standard attributes. Its ports go before.
pub async fn router_delete(conn: &mut Conn, router: &Router) -> Result<(), DbError> {
    provider_delete(conn, router).await?;
    conn.execute("DELETE FROM routers WHERE id = ?", vec![router.id.into()]).await?;
    lock::forget(conn, &router.id.to_string()).await?;
    standard_delete(conn, &[router.standard.standard_attr_id]).await
}

/// Whether there is such a router.
pub async fn router_exists(conn: &mut Conn, router: &str) -> Result<bool, DbError> {
    Ok(!conn.sql("SELECT id FROM routers WHERE id = ?", vec![router.into()]).await?.is_empty())
}

/// The keys in `standardattributes` of these routers.
pub async fn router_standard_ids(conn: &mut Conn, routers: &[RouterId]) -> Result<HashMap<RouterId, i64>, DbError> {
    if routers.is_empty() {
        return Ok(HashMap::new());
    }
    let mut select = tables::ROUTERS.select(&["id", "standard_attr_id"]);
    select.and_where(Expr::col("id").is_in(routers.iter().map(ToString::to_string)));
    conn.select(&select).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

// ===== ports of routers =====

/// Makes a port one of a router's.
pub async fn router_port_insert(
    conn: &mut Conn,
    router: RouterId,
    port: PortId,
    port_type: &str,
) -> Result<(), DbError> {
    let row: Vec<Value> = vec![router.into(), port.into(), port_type.into()];
    conn.insert(&tables::ROUTERPORTS, &["router_id", "port_id", "port_type"], vec![row]).await
}

/// Changes what the ports of a router are, where they are `from`.
pub async fn router_port_types_set(conn: &mut Conn, router: RouterId, from: &str, to: &str) -> Result<(), DbError> {
    let sql = "UPDATE routerports SET port_type = ? WHERE router_id = ? AND port_type = ?";
    conn.execute(sql, vec![to.into(), router.into(), from.into()]).await.map(|_| ())
}

/// The ports of these routers, by router and port.
pub async fn router_ports(conn: &mut Conn, routers: &[RouterId]) -> Result<Vec<RouterPort>, DbError> {
    if routers.is_empty() {
        return Ok(Vec::new());
    }
    let mut select = tables::ROUTERPORTS.select(&["router_id", "port_id", "port_type"]);
    select.expr(Expr::col(("ports", "network_id")));
    select.inner_join("ports", Expr::col(("routerports", "port_id")).equals(("ports", "id")));
    select.and_where(Expr::col(("routerports", "router_id")).is_in(routers.iter().map(ToString::to_string)));
    let port = |row: &Row| {
        Ok(RouterPort {
            router_id: row.get(0)?,
            port_id: row.get(1)?,
            port_type: row.get::<Option<String>>(2)?.unwrap_or_default(),
            network_id: row.get(3)?,
            fixed_ips: Vec::new(),
        })
    };
    let mut ports: Vec<RouterPort> = conn.select(&select).await?.iter().map(port).collect::<Result<_, DbError>>()?;
    ports.sort_by_key(|port| (port.router_id, port.port_id));
    let ids: Vec<PortId> = ports.iter().map(|port| port.port_id).collect();
    let mut addresses = crate::ipam::fixed_ips_of(conn, &ids).await?;
    for port in &mut ports {
        port.fixed_ips = addresses.remove(&port.port_id).unwrap_or_default();
    }
    Ok(ports)
}

/// The routers with a port of one of these owners that has an address of the subnet.
pub async fn routers_on_subnet(
    conn: &mut Conn,
    subnet: SubnetId,
    owners: &[&str],
) -> Result<HashSet<RouterId>, DbError> {
    let mut select = tables::ROUTERPORTS.select(&["router_id"]);
    select.inner_join("ipallocations", Expr::col(("routerports", "port_id")).equals(("ipallocations", "port_id")));
    select.and_where(Expr::col(("ipallocations", "subnet_id")).eq(subnet.to_string()));
    select.and_where(Expr::col(("routerports", "port_type")).is_in(owners.iter().copied()));
    conn.select(&select).await?.iter().map(|row| row.get(0)).collect()
}

/// The routers whose gateway is on the network.
pub async fn routers_with_gateway_on(conn: &mut Conn, network: NetworkId) -> Result<Vec<RouterId>, DbError> {
    let sql = "SELECT r.id FROM routers r JOIN ports p ON p.id = r.gw_port_id WHERE p.network_id = ? ORDER BY r.id";
    conn.sql(sql, vec![network.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Whether any port on the network is a router's gateway.
pub async fn has_gateway_ports(conn: &mut Conn, network: NetworkId) -> Result<bool, DbError> {
    let sql = "SELECT id FROM ports WHERE network_id = ? AND device_owner = 'network:router_gateway' LIMIT 1";
    Ok(!conn.sql(sql, vec![network.into()]).await?.is_empty())
}

/// What a router with an interface on a subnet and a gateway on an external network is found by.
const BETWEEN: &str = "FROM routerports rp JOIN ipallocations ip ON ip.port_id = rp.port_id AND ip.subnet_id = ? \
    JOIN routers r ON r.id = rp.router_id JOIN ports gw ON gw.id = r.gw_port_id AND gw.network_id = ? \
    WHERE rp.port_type IN ('network:router_interface', 'network:router_interface_distributed', \
    'network:ha_router_replicated_interface')";

/// The routers with an interface on the subnet and a gateway on the external network, with the interface's address.
pub async fn routers_between(
    conn: &mut Conn,
    subnet: SubnetId,
    external: NetworkId,
) -> Result<Vec<(RouterId, std::net::IpAddr)>, DbError> {
    let sql = format!("SELECT rp.router_id, ip.ip_address {BETWEEN} ORDER BY rp.router_id, ip.ip_address");
    let rows = conn.sql(&sql, vec![subnet.into(), external.into()]).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Whether a router that is locked is one of them now, past what this transaction has seen before.
pub async fn is_between(
    conn: &mut Conn,
    router: RouterId,
    subnet: SubnetId,
    external: NetworkId,
) -> Result<bool, DbError> {
    let suffix = if conn.backend() == crate::Backend::Mysql { " LOCK IN SHARE MODE" } else { "" };
    let sql = format!("SELECT rp.router_id {BETWEEN} AND rp.router_id = ?{suffix}");
    Ok(!conn.sql(&sql, vec![subnet.into(), external.into(), router.into()]).await?.is_empty())
}
