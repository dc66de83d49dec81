//! Subnets.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;
use sea_query::{Expr, ExprTrait};
use types::{
    NetworkId, PortId, SegmentId, SubnetId,
    subnet::{AllocationPool, HostRoute, Ipv6Mode, Subnet},
};

use crate::{
    Backend, Conn, DbError, FromValue, Row, Value,
    list::{Listing, Scope, Source},
    network::{ACCESS_AS_EXTERNAL, ACCESS_AS_SHARED, shared_among},
    schema::{Table, tables},
    standard::{standard_from_row, tags_of},
};

const COLUMNS: [&str; 12] = [
    "id",
    "name",
    "project_id",
    "network_id",
    "ip_version",
    "cidr",
    "gateway_ip",
    "enable_dhcp",
    "ipv6_ra_mode",
    "ipv6_address_mode",
    "subnetpool_id",
    "segment_id",
];

/// How subnets are listed.
pub static LISTING: Listing = Listing {
    table: &tables::SUBNETS,
    columns: &COLUMNS,
    standard: true,
    scope: Scope::Granted {
        key: "network_id",
        table: &tables::NETWORKRBACS,
        actions: &[ACCESS_AS_SHARED, ACCESS_AS_EXTERNAL],
    },
    attributes: &[
        ("id", Source::Own("id")),
        ("name", Source::Own("name")),
        ("project_id", Source::Own("project_id")),
        ("network_id", Source::Own("network_id")),
        ("ip_version", Source::Own("ip_version")),
        ("cidr", Source::Own("cidr")),
        ("gateway_ip", Source::Own("gateway_ip")),
        ("enable_dhcp", Source::Own("enable_dhcp")),
        ("ipv6_ra_mode", Source::Own("ipv6_ra_mode")),
        ("ipv6_address_mode", Source::Own("ipv6_address_mode")),
        ("subnetpool_id", Source::Own("subnetpool_id")),
        ("segment_id", Source::Own("segment_id")),
        ("shared", Source::Granted { key: "network_id", table: &tables::NETWORKRBACS, action: ACCESS_AS_SHARED }),
        (
            "router:external",
            Source::ParentExists { key: "network_id", table: &tables::EXTERNALNETWORKS, link: "network_id", only: &[] },
        ),
    ],
};

/// Whole subnets from the rows [`LISTING`] selected, in their order, as the project sees them that asks.
pub async fn subnets_from_rows(
    conn: &mut Conn,
    rows: Vec<Row>,
    project_id: Option<&str>,
) -> Result<Vec<Subnet>, DbError> {
    let mut subnets = rows.iter().map(subnet_from_row).collect::<Result<Vec<_>, _>>()?;
    if subnets.is_empty() {
        return Ok(subnets);
    }
    let ids: Vec<String> = subnets.iter().map(|s| s.id.to_string()).collect();
    let networks: Vec<String> =
        subnets.iter().map(|s| s.network_id).collect::<HashSet<_>>().iter().map(NetworkId::to_string).collect();
    let standard_ids: Vec<i64> = subnets.iter().map(|s| s.standard.standard_attr_id).collect();
    let mut pools = children(conn, &tables::IPALLOCATIONPOOLS, &["first_ip", "last_ip"], &ids, |row| {
        Ok(AllocationPool { start: row.get(1)?, end: row.get(2)? })
    })
    .await?;
    let mut servers = children(conn, &tables::DNSNAMESERVERS, &["order", "address"], &ids, |row| {
        Ok((row.get::<i64>(1)?, row.get::<String>(2)?))
    })
    .await?;
    let mut routes = children(conn, &tables::SUBNETROUTES, &["destination", "nexthop"], &ids, |row| {
        Ok(HostRoute { destination: row.get(1)?, nexthop: row.get(2)? })
    })
    .await?;
    let mut owners =
        children(conn, &tables::SUBNET_SERVICE_TYPES, &["service_type"], &ids, |row| row.get::<String>(1)).await?;
    let shared = shared_among(conn, &networks, project_id).await?;
    let external = external_networks(conn, &networks).await?;
    let mut tags = tags_of(conn, &standard_ids).await?;
    for subnet in &mut subnets {
        subnet.allocation_pools = sorted(pools.remove(&subnet.id));
        subnet.dns_nameservers = sorted(servers.remove(&subnet.id)).into_iter().map(|(_, address)| address).collect();
        subnet.host_routes = sorted(routes.remove(&subnet.id));
        subnet.service_types = sorted(owners.remove(&subnet.id));
        subnet.shared = shared.contains(&subnet.network_id);
        subnet.router_external = external.contains(&subnet.network_id);
        subnet.standard.tags = tags.remove(&subnet.standard.standard_attr_id).unwrap_or_default();
    }
    Ok(subnets)
}

fn subnet_from_row(row: &Row) -> Result<Subnet, DbError> {
    let project_id: String = row.get::<Option<String>>(2)?.unwrap_or_default();
    let mode = |index| Ok::<_, DbError>(row.get::<Option<String>>(index)?.and_then(|text| Ipv6Mode::parse(&text)));
    Ok(Subnet {
        id: row.get(0)?,
        name: row.get::<Option<String>>(1)?.unwrap_or_default(),
        tenant_id: project_id.clone(),
        project_id,
        network_id: row.get(3)?,
        ip_version: row.get(4)?,
        cidr: row.get(5)?,
        gateway_ip: row.get(6)?,
        enable_dhcp: row.get::<Option<bool>>(7)?.unwrap_or_default(),
        ipv6_ra_mode: mode(8)?,
        ipv6_address_mode: mode(9)?,
        subnetpool_id: row.get(10)?,
        segment_id: row.get(11)?,
        allocation_pools: Vec::new(),
        dns_nameservers: Vec::new(),
        host_routes: Vec::new(),
        service_types: Vec::new(),
        router_external: false,
        shared: false,
        standard: standard_from_row(row, COLUMNS.len())?,
    })
}

fn sorted<T: Ord>(list: Option<Vec<T>>) -> Vec<T> {
    let mut list = list.unwrap_or_default();
    list.sort_unstable();
    list
}

/// The rows of a child table for many subnets, read as `T`; the subnet's id stands at position 0.
async fn children<T>(
    conn: &mut Conn,
    table: &'static Table,
    columns: &[&'static str],
    ids: &[String],
    read: impl Fn(&Row) -> Result<T, DbError>,
) -> Result<HashMap<SubnetId, Vec<T>>, DbError> {
    let mut wanted = vec!["subnet_id"];
    wanted.extend_from_slice(columns);
    let mut select = table.select(&wanted);
    select.and_where(Expr::col("subnet_id").is_in(ids.iter().map(String::as_str)));
    let mut found: HashMap<SubnetId, Vec<T>> = HashMap::new();
    for row in conn.select(&select).await? {
        found.entry(row.get(0)?).or_default().push(read(&row)?);
    }
    Ok(found)
}

async fn external_networks(conn: &mut Conn, ids: &[String]) -> Result<HashSet<NetworkId>, DbError> {
    let mut select = tables::EXTERNALNETWORKS.select(&["network_id"]);
    select.and_where(Expr::col("network_id").is_in(ids.iter().map(String::as_str)));
    first_column(conn.select(&select).await?)
}

fn first_column<T: FromValue, C: FromIterator<T>>(rows: Vec<Row>) -> Result<C, DbError> {
    rows.iter().map(|row| row.get(0)).collect()
}

/// Writes the rows of a new subnet, except its pools. Its standard attributes have their row already.
pub async fn subnet_insert(conn: &mut Conn, subnet: &Subnet) -> Result<(), DbError> {
    let mode = |mode: Option<Ipv6Mode>| Value::from(mode.map(Ipv6Mode::as_str));
    let mut columns = COLUMNS.to_vec();
    columns.push("standard_attr_id");
    let row = vec![
        subnet.id.into(),
        (&subnet.name).into(),
        (&subnet.project_id).into(),
        subnet.network_id.into(),
        subnet.ip_version.into(),
        subnet.cidr.into(),
        subnet.gateway_ip.into(),
        subnet.enable_dhcp.into(),
        mode(subnet.ipv6_ra_mode),
        mode(subnet.ipv6_address_mode),
        subnet.subnetpool_id.into(),
        subnet.segment_id.into(),
        subnet.standard.standard_attr_id.into(),
    ];
    conn.insert(&tables::SUBNETS, &columns, vec![row]).await?;
    nameservers_insert(conn, subnet).await?;
    routes_insert(conn, subnet).await?;
    service_types_insert(conn, subnet).await
}

async fn nameservers_insert(conn: &mut Conn, subnet: &Subnet) -> Result<(), DbError> {
    let row = |(order, address): (i64, &String)| vec![address.into(), subnet.id.into(), order.into()];
    let rows = (0..).zip(&subnet.dns_nameservers).map(row).collect();
    conn.insert(&tables::DNSNAMESERVERS, &["address", "subnet_id", "order"], rows).await
}

async fn routes_insert(conn: &mut Conn, subnet: &Subnet) -> Result<(), DbError> {
    let row = |r: &HostRoute| vec![r.destination.into(), r.nexthop.into(), subnet.id.into()];
    let rows = subnet.host_routes.iter().map(row).collect();
    conn.insert(&tables::SUBNETROUTES, &["destination", "nexthop", "subnet_id"], rows).await
}

async fn service_types_insert(conn: &mut Conn, subnet: &Subnet) -> Result<(), DbError> {
    let row = |owner: &String| vec![subnet.id.into(), owner.into()];
    let rows = subnet.service_types.iter().map(row).collect();
    conn.insert(&tables::SUBNET_SERVICE_TYPES, &["subnet_id", "service_type"], rows).await
}

/// Writes what can be changed of a subnet, except its pools and standard attributes.
pub async fn subnet_update(conn: &mut Conn, before: &Subnet, after: &Subnet) -> Result<(), DbError> {
    let sql = "UPDATE subnets SET name = ?, gateway_ip = ?, enable_dhcp = ?, segment_id = ? WHERE id = ?";
    let binds = vec![
        (&after.name).into(),
        after.gateway_ip.into(),
        after.enable_dhcp.into(),
        after.segment_id.into(),
        after.id.into(),
    ];
    conn.execute(sql, binds).await?;
    if before.dns_nameservers != after.dns_nameservers {
        conn.execute("DELETE FROM dnsnameservers WHERE subnet_id = ?", vec![after.id.into()]).await?;
        nameservers_insert(conn, after).await?;
    }
    if before.host_routes != after.host_routes {
        conn.execute("DELETE FROM subnetroutes WHERE subnet_id = ?", vec![after.id.into()]).await?;
        routes_insert(conn, after).await?;
    }
    if before.service_types != after.service_types {
        conn.execute("DELETE FROM subnet_service_types WHERE subnet_id = ?", vec![after.id.into()]).await?;
        service_types_insert(conn, after).await?;
    }
    Ok(())
}

/// The prefixes on a network.
pub async fn cidrs_on(conn: &mut Conn, network_id: NetworkId) -> Result<Vec<IpNet>, DbError> {
    let rows = conn.sql("SELECT cidr FROM subnets WHERE network_id = ?", vec![network_id.into()]).await?;
    first_column(rows)
}

/// Lets one server at a time add a subnet to a network: the row is written by each, so the second waits for the first or
/// loses against it.
pub async fn network_lock(conn: &mut Conn, network_id: NetworkId, subnet_id: SubnetId) -> Result<(), DbError> {
    let update = "UPDATE network_subnet_lock SET subnet_id = ? WHERE network_id = ?";
    if conn.execute(update, vec![subnet_id.into(), network_id.into()]).await? == 0 {
        let row = vec![network_id.into(), subnet_id.into()];
        let added = conn.insert(&tables::NETWORK_SUBNET_LOCK, &["network_id", "subnet_id"], vec![row]).await;
        return match added {
            Err(e) if e.is_duplicate(&[]) => Err(DbError::Conflict { source: Box::new(e) }),
            other => other,
        };
    }
    Ok(())
}

/// Keeps others from adding addresses to the subnet until this transaction ends; SQLite's one writer does so already.
pub async fn subnet_lock(conn: &mut Conn, subnet_id: SubnetId) -> Result<(), DbError> {
    if conn.backend() != Backend::Sqlite {
        conn.sql("SELECT id FROM subnets WHERE id = ? FOR UPDATE", vec![subnet_id.into()]).await?;
    }
    Ok(())
}

/// The segment of every subnet on a network.
pub async fn segments_on(conn: &mut Conn, network_id: NetworkId) -> Result<Vec<Option<SegmentId>>, DbError> {
    first_column(conn.sql("SELECT segment_id FROM subnets WHERE network_id = ?", vec![network_id.into()]).await?)
}

/// The network a segment belongs to, and whether the segment comes and goes with port bindings.
pub async fn segment_network(conn: &mut Conn, segment_id: SegmentId) -> Result<Option<(NetworkId, bool)>, DbError> {
    let rows =
        conn.sql("SELECT network_id, is_dynamic FROM networksegments WHERE id = ?", vec![segment_id.into()]).await?;
    rows.first().map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
}

/// Notes that something beside the row itself was changed: the time moves, the revision does not.
pub async fn subnet_changed(conn: &mut Conn, subnet: &mut Subnet) -> Result<(), DbError> {
    let now = crate::standard::now();
    let binds = vec![now.into(), subnet.standard.standard_attr_id.into()];
    conn.execute("UPDATE standardattributes SET updated_at = ? WHERE id = ?", binds).await?;
    subnet.standard.updated_at = crate::standard::format_time(now);
    Ok(())
}

/// The key of a network's standard attributes.
pub async fn network_standard_id(conn: &mut Conn, network_id: NetworkId) -> Result<Option<i64>, DbError> {
    let rows = conn.sql("SELECT standard_attr_id FROM networks WHERE id = ?", vec![network_id.into()]).await?;
    rows.first().map(|row| row.get(0)).transpose()
}

/// A port with an address on the subnet whose owner is among `owners`, or is not.
pub async fn port_on(
    conn: &mut Conn,
    subnet_id: SubnetId,
    owners: &[&str],
    among: bool,
) -> Result<Option<PortId>, DbError> {
    let mut select = tables::PORTS.select(&["id"]);
    let owner = Expr::col(("ports", "device_owner"));
    let owners = owners.iter().copied();
    select
        .inner_join("ipallocations", Expr::col(("ipallocations", "port_id")).equals(("ports", "id")))
        .and_where(Expr::col(("ipallocations", "subnet_id")).eq(subnet_id.to_string()))
        .and_where(if among { owner.is_in(owners) } else { owner.is_not_in(owners) })
        .limit(1)
        .lock_shared();
    conn.select(&select).await?.first().map(|row| row.get(0)).transpose()
}

/// The port of a router that has this address on the subnet.
pub async fn router_port_with(
    conn: &mut Conn,
    subnet_id: SubnetId,
    address: IpAddr,
) -> Result<Option<PortId>, DbError> {
    let sql = "SELECT a.port_id FROM ipallocations a JOIN routerports r ON r.port_id = a.port_id \
         WHERE a.ip_address = ? AND a.subnet_id = ?";
    conn.sql(sql, vec![address.into(), subnet_id.into()]).await?.first().map(|row| row.get(0)).transpose()
}

/// The standard attributes of ports with an address on the subnet: port and key.
pub async fn ports_on(conn: &mut Conn, subnet_id: SubnetId) -> Result<Vec<(PortId, i64)>, DbError> {
    let sql = "SELECT DISTINCT p.id, p.standard_attr_id FROM ipallocations a JOIN ports p ON p.id = a.port_id \
         WHERE a.subnet_id = ?";
    let rows = conn.sql(sql, vec![subnet_id.into()]).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Removes a subnet with everything that hangs on it, and its standard attributes.
pub async fn subnet_delete(conn: &mut Conn, subnet: &Subnet) -> Result<(), DbError> {
    conn.execute("DELETE FROM ipallocations WHERE subnet_id = ?", vec![subnet.id.into()]).await?;
    conn.execute("DELETE FROM subnets WHERE id = ?", vec![subnet.id.into()]).await?;
    crate::standard::standard_delete(conn, &[subnet.standard.standard_attr_id]).await
}

/// The address scopes of subnets of these networks, by way of their pools.
pub async fn address_scopes_on(conn: &mut Conn, networks: &[NetworkId]) -> Result<HashMap<SubnetId, String>, DbError> {
    if networks.is_empty() {
        return Ok(HashMap::new());
    }
    let mut select = tables::SUBNETS.select(&["id"]);
    select.expr(Expr::col(("subnetpools", "address_scope_id")));
    select.inner_join("subnetpools", Expr::col(("subnets", "subnetpool_id")).equals(("subnetpools", "id")));
    select.and_where(Expr::col(("subnets", "network_id")).is_in(networks.iter().map(ToString::to_string)));
    select.and_where(Expr::col(("subnetpools", "address_scope_id")).is_not_null());
    conn.select(&select).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}
