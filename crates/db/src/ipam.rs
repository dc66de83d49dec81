//! Rows behind address management: pools, allocations, and the addresses of ports.
//!
//! Two tables know of each address, as upstream keeps them: `ipamallocations` says that it is taken on its subnet, and
//! `ipallocations` says by which port. Both have unique keys on the address, which are what makes an allocation safe
//! with any number of servers. `ipamsubnets` gives each subnet a second id that the former table refers to.
//!
//! Every query here is a few index lookups, whatever the size of the network; only [`allocations`] reads all.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use types::{
    Mac, NetworkId, PortId, SegmentId, SubnetId,
    port::FixedIp,
    subnet::{AllocationPool, Ipv6Mode},
};
use uuid::Uuid;

use crate::{Backend, Conn, DbError, Race, Row, Statement, Value, schema::tables, whole::Child};

/// What of a subnet decides whether and how it serves a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: SubnetId,
    /// Its prefix.
    pub cidr: IpNet,
    /// DHCP serves it.
    pub enable_dhcp: bool,
    /// Hosts form their own addresses (SLAAC, stateless DHCPv6).
    pub auto_address: bool,
    /// Device owners it is reserved for; empty means all.
    pub service_types: Vec<String>,
    /// The segment it belongs to.
    pub segment_id: Option<SegmentId>,
}

/// The query behind [`candidates`].
pub fn candidates_query(network_id: NetworkId) -> Statement {
    const TEXT: &str = "SELECT s.id, s.cidr, s.enable_dhcp, s.ipv6_ra_mode, s.ipv6_address_mode, s.segment_id, \
         t.service_type FROM subnets s LEFT JOIN subnet_service_types t ON t.subnet_id = s.id \
         WHERE s.network_id = ? ORDER BY s.standard_attr_id, t.service_type";
    Statement::new(TEXT, vec![network_id.into()])
}

/// The subnets of a network, oldest first.
pub async fn candidates(conn: &mut Conn, network_id: NetworkId) -> Result<Vec<Candidate>, DbError> {
    let mut found: Vec<Candidate> = Vec::new();
    for row in conn.ask(candidates_query(network_id)).await? {
        let id = row.get(0)?;
        if found.last().is_none_or(|last| last.id != id) {
            let auto =
                |mode: Option<String>| mode.and_then(|m| Ipv6Mode::parse(&m)).is_some_and(Ipv6Mode::is_auto_address);
            found.push(Candidate {
                id,
                cidr: row.get(1)?,
                enable_dhcp: row.get::<Option<bool>>(2)?.unwrap_or_default(),
                auto_address: auto(row.get(3)?) || auto(row.get(4)?),
                service_types: Vec::new(),
                segment_id: row.get(5)?,
            });
        }
        if let (Some(subnet), Some(service_type)) = (found.last_mut(), row.get(6)?) {
            subnet.service_types.push(service_type);
        }
    }
    Ok(found)
}

/// The segments an agent on this host reaches.
pub async fn segments_of_host(conn: &mut Conn, host: &str) -> Result<Vec<SegmentId>, DbError> {
    let rows = conn.sql("SELECT segment_id FROM segmenthostmappings WHERE host = ?", vec![host.into()]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Is there a subnet with this id?
pub async fn subnet_exists(conn: &mut Conn, subnet_id: SubnetId) -> Result<bool, DbError> {
    Ok(!conn.sql("SELECT 1 FROM subnets WHERE id = ?", vec![subnet_id.into()]).await?.is_empty())
}

/// The id under which `ipamallocations` knows a subnet.
///
/// Ours is the subnet's own id, found by the primary key. For a subnet that upstream made, its table has no index to
/// find it by; callers remember the answer, which never changes.
pub async fn ipam_subnet(conn: &mut Conn, subnet_id: SubnetId) -> Result<Option<String>, DbError> {
    for text in [
        "SELECT id FROM ipamsubnets WHERE id = ? AND neutron_subnet_id = id",
        "SELECT id FROM ipamsubnets WHERE neutron_subnet_id = ?",
    ] {
        if let Some(row) = conn.sql(text, vec![subnet_id.into()]).await?.first() {
            return row.get(0).map(Some);
        }
    }
    Ok(None)
}

/// Adds a subnet with its pools.
pub async fn ipam_subnet_insert(conn: &mut Conn, subnet_id: SubnetId, pools: &[AllocationPool]) -> Result<(), DbError> {
    let row = vec![subnet_id.into(), subnet_id.into()];
    conn.insert(&tables::IPAMSUBNETS, &["id", "neutron_subnet_id"], vec![row]).await?;
    pools_insert(conn, subnet_id, &subnet_id.to_string(), pools).await
}

/// Makes `pools` the pools of a subnet. What is allocated stays so.
pub async fn pools_replace(
    conn: &mut Conn,
    subnet_id: SubnetId,
    ipam_subnet: &str,
    pools: &[AllocationPool],
) -> Result<(), DbError> {
    conn.execute("DELETE FROM ipallocationpools WHERE subnet_id = ?", vec![subnet_id.into()]).await?;
    conn.execute("DELETE FROM ipamallocationpools WHERE ipam_subnet_id = ?", vec![ipam_subnet.into()]).await?;
    pools_insert(conn, subnet_id, ipam_subnet, pools).await
}

async fn pools_insert(
    conn: &mut Conn,
    subnet_id: SubnetId,
    ipam_subnet: &str,
    pools: &[AllocationPool],
) -> Result<(), DbError> {
    let rows = |owner: Value| -> Vec<Vec<Value>> {
        let row = |p: &AllocationPool| vec![Uuid::new_v4().into(), owner.clone(), p.start.into(), p.end.into()];
        pools.iter().map(row).collect()
    };
    let columns = ["id", "subnet_id", "first_ip", "last_ip"];
    conn.insert(&tables::IPALLOCATIONPOOLS, &columns, rows(subnet_id.into())).await?;
    let columns = ["id", "ipam_subnet_id", "first_ip", "last_ip"];
    conn.insert(&tables::IPAMALLOCATIONPOOLS, &columns, rows(ipam_subnet.into())).await
}

/// Removes what only address management knows of a subnet; the rest goes with the subnet's own row.
pub async fn ipam_subnet_delete(conn: &mut Conn, ipam_subnet: &str) -> Result<(), DbError> {
    conn.execute("DELETE FROM ipamsubnets WHERE id = ?", vec![ipam_subnet.into()]).await.map(|_| ())
}

/// The query behind [`pools`].
pub fn pools_query(ipam_subnet: &str) -> Statement {
    let text = "SELECT first_ip, last_ip FROM ipamallocationpools WHERE ipam_subnet_id = ?";
    Statement::new(text, vec![ipam_subnet.into()])
}

/// The pools addresses are handed out from.
pub async fn pools(conn: &mut Conn, ipam_subnet: &str) -> Result<Vec<AllocationPool>, DbError> {
    let rows = conn.ask(pools_query(ipam_subnet)).await?;
    rows.iter().map(|row| Ok(AllocationPool { start: row.get(0)?, end: row.get(1)? })).collect()
}

/// Which of these addresses are taken on a subnet.
pub async fn taken(conn: &mut Conn, ipam_subnet: &str, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, DbError> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let text = keyed(conn, "ipamallocations", "ip_address", "ipam_subnet_id", addresses.len());
    conn.sql(&text, key_binds(addresses, ipam_subnet)).await?.iter().map(|row| row.get(0)).collect()
}

/// Everything taken on a subnet, in no order.
pub async fn allocations(conn: &mut Conn, ipam_subnet: &str) -> Result<Vec<IpAddr>, DbError> {
    let text = "SELECT ip_address FROM ipamallocations WHERE ipam_subnet_id = ?";
    conn.sql(text, vec![ipam_subnet.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Takes addresses, given with the subnets they are on, at the latest with the commit. A conflict means that somebody
/// else has one of them, or that a subnet is gone.
pub async fn allocations_insert(conn: &mut Conn, taken: &[(&str, IpAddr)], race: Race) -> Result<(), DbError> {
    let row = |(subnet, address): &(&str, IpAddr)| vec![(*address).into(), "ALLOCATED".into(), (*subnet).into()];
    let columns = ["ip_address", "status", "ipam_subnet_id"];
    conn.insert_raced(&tables::IPAMALLOCATIONS, &columns, taken.iter().map(row).collect(), race).await
}

/// Frees addresses of one subnet.
pub async fn allocations_delete(conn: &mut Conn, ipam_subnet: &str, addresses: &[IpAddr]) -> Result<(), DbError> {
    if addresses.is_empty() {
        return Ok(());
    }
    let text = keyed_delete(conn, "ipamallocations", "ip_address", "ipam_subnet_id", addresses.len());
    conn.execute(&text, key_binds(addresses, ipam_subnet)).await.map(|_| ())
}

/// Gives addresses to ports, whose rows must exist, at the latest with the commit. A conflict means that somebody else has
/// one of them, or that a subnet is gone.
pub async fn fixed_ips_insert(
    conn: &mut Conn,
    network_id: NetworkId,
    given: &[(PortId, FixedIp)],
) -> Result<(), DbError> {
    let row = |(port, ip): &(PortId, FixedIp)| {
        vec![(*port).into(), ip.ip_address.into(), ip.subnet_id.into(), network_id.into()]
    };
    let columns = ["port_id", "ip_address", "subnet_id", "network_id"];
    conn.insert_raced(&tables::IPALLOCATIONS, &columns, given.iter().map(row).collect(), Race::new(|| ())).await
}

/// Takes addresses away from a port.
pub async fn fixed_ips_delete(
    conn: &mut Conn,
    network_id: NetworkId,
    port_id: PortId,
    ips: &[FixedIp],
) -> Result<(), DbError> {
    const TEXT: &str =
        "DELETE FROM ipallocations WHERE ip_address = ? AND subnet_id = ? AND network_id = ? AND port_id = ?";
    for ip in ips {
        let binds = vec![ip.ip_address.into(), ip.subnet_id.into(), network_id.into(), port_id.into()];
        conn.execute(TEXT, binds).await?;
    }
    Ok(())
}

/// The addresses of ports, in the order of [`fixed_ips_read`].
pub async fn fixed_ips_of(conn: &mut Conn, ports: &[PortId]) -> Result<HashMap<PortId, Vec<FixedIp>>, DbError> {
    if ports.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<String> = ports.iter().map(ToString::to_string).collect();
    fixed_ips_read(&conn.select(&fixed_ips_child().query(&ids)).await?)
}

/// The addresses of ports, which [`fixed_ips_read`] reads.
pub(crate) fn fixed_ips_child() -> Child {
    Child::of(&tables::IPALLOCATIONS, "port_id", &["ip_address", "subnet_id"])
}

/// The addresses of ports, each port's in the order the API shows them: by the text of the address, then of the subnet.
pub(crate) fn fixed_ips_read(rows: &[Row]) -> Result<HashMap<PortId, Vec<FixedIp>>, DbError> {
    let mut found: HashMap<PortId, Vec<FixedIp>> = HashMap::with_capacity(rows.len());
    for row in rows {
        let ip = FixedIp { ip_address: row.get(1)?, subnet_id: row.get(2)? };
        found.entry(row.get(0)?).or_default().push(ip);
    }
    for ips in found.values_mut().filter(|ips| ips.len() > 1) {
        ips.sort_by_cached_key(|ip| (ip.ip_address.to_string(), ip.subnet_id));
    }
    Ok(found)
}

/// Which of these MACs ports of a network have.
pub async fn macs_taken(conn: &mut Conn, network_id: NetworkId, macs: &[Mac]) -> Result<Vec<Mac>, DbError> {
    if macs.is_empty() {
        return Ok(Vec::new());
    }
    let text = keyed(conn, "ports", "mac_address", "network_id", macs.len());
    conn.sql(&text, key_binds(macs, network_id)).await?.iter().map(|row| row.get(0)).collect()
}

/// What of a port decides whether it gets an address that its host forms itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortParty {
    /// Its id.
    pub id: PortId,
    /// Its MAC.
    pub mac: Mac,
    /// Which service owns its device.
    pub device_owner: String,
}

/// All ports of a network.
pub async fn parties(conn: &mut Conn, network_id: NetworkId) -> Result<Vec<PortParty>, DbError> {
    let text = "SELECT id, mac_address, device_owner FROM ports WHERE network_id = ?";
    let rows = conn.sql(text, vec![network_id.into()]).await?;
    rows.iter().map(|row| Ok(PortParty { id: row.get(0)?, mac: row.get(1)?, device_owner: row.get(2)? })).collect()
}

/// The rows of `table` that have one of `count` values in `many` and the value bound last in `one`: a lookup in the
/// unique index on both for each.
///
/// PostgreSQL would rather read all rows with `one` as long as it has no statistics of a table that grows fast; a
/// subquery it must not dissolve leaves it no choice.
fn keyed(conn: &Conn, table: &str, many: &str, one: &str, count: usize) -> String {
    match conn.backend() {
        Backend::Postgres if count > 1 => looked_up(many, table, many, one, count),
        _ => format!("SELECT {many} FROM {table} WHERE {many} IN ({}) AND {one} = ?", listed("?", count)),
    }
}

/// The same rows, to be deleted.
fn keyed_delete(conn: &Conn, table: &str, many: &str, one: &str, count: usize) -> String {
    match conn.backend() {
        Backend::Postgres if count > 1 => {
            format!("DELETE FROM {table} WHERE ctid = ANY (ARRAY({}))", looked_up("ctid", table, many, one, count))
        }
        _ => format!("DELETE FROM {table} WHERE {many} IN ({}) AND {one} = ?", listed("?", count)),
    }
}

fn looked_up(column: &str, table: &str, many: &str, one: &str, count: usize) -> String {
    format!(
        "SELECT found.{column} FROM (VALUES {}) AS wanted(v), \
         LATERAL (SELECT t.{column} FROM {table} t WHERE t.{many} = wanted.v AND t.{one} = ? OFFSET 0) AS found",
        listed("(?)", count)
    )
}

fn key_binds<T: Copy + Into<Value>>(many: &[T], one: impl Into<Value>) -> Vec<Value> {
    many.iter().map(|m| (*m).into()).chain([one.into()]).collect()
}

fn listed(item: &str, count: usize) -> String {
    vec![item; count].join(",")
}
