//! Floating IPs.

use std::collections::HashMap;

use sea_query::{Expr, ExprTrait};
use types::{
    FloatingIpId, NetworkId, PortId, RouterId, SubnetId,
    floatingip::{FloatingIp, PortDetails},
};

use crate::{
    Conn, DbError, Row,
    list::{Listing, Scope, Source},
    schema::tables,
    standard::{standard_from_row, tags_of},
};

const COLUMNS: [&str; 10] = [
    "id",
    "project_id",
    "floating_ip_address",
    "floating_network_id",
    "floating_port_id",
    "fixed_port_id",
    "fixed_ip_address",
    "router_id",
    "last_known_router_id",
    "status",
];

/// How floating IPs are listed.
pub static LISTING: Listing = Listing {
    table: &tables::FLOATINGIPS,
    columns: &COLUMNS,
    standard: true,
    scope: Scope::Owned,
    attributes: &[
        ("id", Source::Own("id")),
        ("project_id", Source::Own("project_id")),
        ("floating_ip_address", Source::Own("floating_ip_address")),
        ("floating_network_id", Source::Own("floating_network_id")),
        ("floating_port_id", Source::Own("floating_port_id")),
        ("port_id", Source::Own("fixed_port_id")),
        ("fixed_ip_address", Source::Own("fixed_ip_address")),
        ("router_id", Source::Own("router_id")),
        ("last_known_router_id", Source::Own("last_known_router_id")),
        ("status", Source::Own("status")),
    ],
};

/// Whole floating IPs from the rows [`LISTING`] selected, in their order.
pub async fn floatingips_from_rows(conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<FloatingIp>, DbError> {
    let mut floatingips = rows.iter().map(floatingip_from_row).collect::<Result<Vec<_>, _>>()?;
    if floatingips.is_empty() {
        return Ok(floatingips);
    }
    let ports: Vec<PortId> = floatingips.iter().filter_map(|f| f.port_id).collect();
    let standard_ids: Vec<i64> = floatingips.iter().map(|f| f.standard.standard_attr_id).collect();
    let details = details_of(conn, &ports).await?;
    let mut tags = tags_of(conn, &standard_ids).await?;
    for floatingip in &mut floatingips {
        floatingip.port_details = floatingip.port_id.and_then(|port| details.get(&port).cloned());
        floatingip.standard.tags = tags.remove(&floatingip.standard.standard_attr_id).unwrap_or_default();
    }
    Ok(floatingips)
}

fn floatingip_from_row(row: &Row) -> Result<FloatingIp, DbError> {
    let project_id: String = row.get::<Option<String>>(1)?.unwrap_or_default();
    Ok(FloatingIp {
        id: row.get(0)?,
        tenant_id: project_id.clone(),
        project_id,
        floating_ip_address: row.get(2)?,
        floating_network_id: row.get(3)?,
        floating_port_id: row.get(4)?,
        port_id: row.get(5)?,
        fixed_ip_address: row.get(6)?,
        router_id: row.get(7)?,
        last_known_router_id: row.get(8)?,
        status: row.get::<Option<String>>(9)?.unwrap_or_default(),
        port_details: None,
        standard: standard_from_row(row, COLUMNS.len())?,
    })
}

/// What is told of these ports.
pub async fn details_of(conn: &mut Conn, ports: &[PortId]) -> Result<HashMap<PortId, PortDetails>, DbError> {
    if ports.is_empty() {
        return Ok(HashMap::new());
    }
    let columns = ["id", "name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner"];
    let mut select = tables::PORTS.select(&columns);
    select.and_where(Expr::col("id").is_in(ports.iter().map(ToString::to_string)));
    let details = |row: &Row| {
        let details = PortDetails {
            name: row.get::<Option<String>>(1)?.unwrap_or_default(),
            network_id: row.get(2)?,
            mac_address: row.get(3)?,
            admin_state_up: row.get(4)?,
            status: row.get(5)?,
            device_id: row.get(6)?,
            device_owner: row.get(7)?,
        };
        Ok((row.get(0)?, details))
    };
    conn.select(&select).await?.iter().map(details).collect()
}

/// Writes the row of a new floating IP. Its standard attributes and its port have theirs already.
pub async fn floatingip_insert(conn: &mut Conn, floatingip: &FloatingIp) -> Result<(), DbError> {
    let columns = COLUMNS.iter().copied().chain(["standard_attr_id"]).collect::<Vec<_>>();
    let row = vec![
        floatingip.id.into(),
        (&floatingip.project_id).into(),
        floatingip.floating_ip_address.into(),
        floatingip.floating_network_id.into(),
        floatingip.floating_port_id.into(),
        floatingip.port_id.into(),
        floatingip.fixed_ip_address.into(),
        floatingip.router_id.into(),
        floatingip.last_known_router_id.into(),
        (&floatingip.status).into(),
        floatingip.standard.standard_attr_id.into(),
    ];
    conn.insert(&tables::FLOATINGIPS, &columns, vec![row]).await
}

/// Writes what a floating IP stands for.
pub async fn floatingip_update(conn: &mut Conn, floatingip: &FloatingIp) -> Result<(), DbError> {
    let sql = "UPDATE floatingips SET fixed_port_id = ?, fixed_ip_address = ?, router_id = ?, \
               last_known_router_id = ?, status = ? WHERE id = ?";
    let binds = vec![
        floatingip.port_id.into(),
        floatingip.fixed_ip_address.into(),
        floatingip.router_id.into(),
        floatingip.last_known_router_id.into(),
        (&floatingip.status).into(),
        floatingip.id.into(),
    ];
    conn.execute(sql, binds).await.map(|_| ())
}

/// Writes the status of a floating IP; false when it is gone.
pub async fn floatingip_status_set(conn: &mut Conn, id: FloatingIpId, status: &str) -> Result<bool, DbError> {
    let sql = "UPDATE floatingips SET status = ? WHERE id = ?";
    Ok(conn.execute(sql, vec![status.into(), id.into()]).await? > 0)
}

/// Whether there is such a floating IP.
pub async fn floatingip_exists(conn: &mut Conn, id: &str) -> Result<bool, DbError> {
    Ok(!conn.sql("SELECT id FROM floatingips WHERE id = ?", vec![id.into()]).await?.is_empty())
}

/// Whether a router carries floating IPs.
pub async fn router_has_floatingips(conn: &mut Conn, router: RouterId) -> Result<bool, DbError> {
    let sql = "SELECT id FROM floatingips WHERE router_id = ? LIMIT 1";
    Ok(!conn.sql(sql, vec![router.into()]).await?.is_empty())
}

/// Whether a router carries floating IPs that stand for addresses of the subnet.
pub async fn router_has_floatingips_on(conn: &mut Conn, router: RouterId, subnet: SubnetId) -> Result<bool, DbError> {
    let sql = "SELECT f.id FROM floatingips f JOIN ipallocations ip ON ip.port_id = f.fixed_port_id \
               AND ip.ip_address = f.fixed_ip_address WHERE f.router_id = ? AND ip.subnet_id = ? LIMIT 1";
    Ok(!conn.sql(sql, vec![router.into(), subnet.into()]).await?.is_empty())
}

/// Whether another floating IP of the network stands for this address of the port.
pub async fn is_associated(
    conn: &mut Conn,
    network: NetworkId,
    port: PortId,
    address: std::net::IpAddr,
    other_than: FloatingIpId,
) -> Result<bool, DbError> {
    let sql = "SELECT id FROM floatingips WHERE floating_network_id = ? AND fixed_port_id = ? \
               AND fixed_ip_address = ? AND id <> ?";
    let binds = vec![network.into(), port.into(), address.into(), other_than.into()];
    Ok(!conn.sql(sql, binds).await?.is_empty())
}

/// The addresses of a port that floating IPs stand for.
pub async fn addresses_of_port(conn: &mut Conn, port: PortId) -> Result<Vec<std::net::IpAddr>, DbError> {
    let sql = "SELECT fixed_ip_address FROM floatingips WHERE fixed_port_id = ? AND fixed_ip_address IS NOT NULL";
    conn.sql(sql, vec![port.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Writes the status of the floating IPs that this router carried last and that none carries now.
pub async fn carried_last_set(conn: &mut Conn, router: RouterId, status: &str) -> Result<(), DbError> {
    let sql = "UPDATE floatingips SET status = ? WHERE last_known_router_id = ? AND router_id IS NULL";
    conn.execute(sql, vec![status.into(), router.into()]).await.map(|_| ())
}

/// The IPv4 subnets of external networks: id, name, network, prefix.
pub async fn pools(
    conn: &mut Conn,
    networks: &[String],
) -> Result<Vec<(SubnetId, String, NetworkId, String)>, DbError> {
    if networks.is_empty() {
        return Ok(Vec::new());
    }
    let mut select = tables::SUBNETS.select(&["id", "name", "network_id", "cidr"]);
    select.and_where(Expr::col("ip_version").eq(4));
    select.and_where(Expr::col("network_id").is_in(networks.iter().map(String::as_str)));
    select.order_by("id", sea_query::Order::Asc);
    let pool =
        |row: &Row| Ok((row.get(0)?, row.get::<Option<String>>(1)?.unwrap_or_default(), row.get(2)?, row.get(3)?));
    conn.select(&select).await?.iter().map(pool).collect()
}
