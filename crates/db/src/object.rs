//! What versioned objects tell beside the resources: every binding of a port, the rows of segments, ids of child rows.

use std::collections::HashMap;

use sea_query::{Expr, ExprTrait};
use types::{NetworkId, PortId, SegmentId, SubnetId};

use crate::{
    Conn, DbError, Row,
    schema::{Table, tables},
    standard::{self, standard_from_row},
};

/// Resources asked for by one statement.
const CHUNK: usize = 500;

/// A binding as it is stored; empty texts stand for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBinding {
    /// The host.
    pub host: String,
    /// JSON.
    pub profile: String,
    /// What the driver made of it.
    pub vif_type: String,
    /// JSON.
    pub vif_details: String,
    /// What was asked for.
    pub vnic_type: String,
    /// `ACTIVE` or `INACTIVE`.
    pub status: String,
}

/// By which driver a port is bound to which segment on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLevel {
    /// The host.
    pub host: String,
    /// 0 is the topmost.
    pub level: i64,
    /// Name of the driver.
    pub driver: Option<String>,
    /// The segment.
    pub segment_id: Option<SegmentId>,
}

/// A DHCP option with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOption {
    /// Id of the row.
    pub id: String,
    /// Name or number.
    pub name: String,
    /// Its value.
    pub value: String,
    /// 4 or 6.
    pub ip_version: i64,
}

/// A segment with its description and revision.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSegment {
    /// Its id.
    pub id: SegmentId,
    /// Its network.
    pub network_id: NetworkId,
    /// Its encapsulation.
    pub network_type: String,
    /// The physical network it is on.
    pub physical_network: Option<String>,
    /// VLAN id, VNI or key.
    pub segmentation_id: Option<i64>,
    /// Whether it comes and goes with bindings.
    pub is_dynamic: bool,
    /// Position among the network's.
    pub segment_index: i64,
    /// Revision and timestamps.
    pub standard: types::Standard,
}

/// A pool of addresses with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPool {
    /// Id of the row.
    pub id: String,
    /// Its first address.
    pub start: String,
    /// Its last.
    pub end: String,
}

/// Child rows of many resources, by the resource's id, which stands at position 0.
async fn children<K, T>(
    conn: &mut Conn,
    table: &'static Table,
    columns: &[&'static str],
    ids: &[String],
    read: impl Fn(&Row) -> Result<T, DbError>,
) -> Result<HashMap<K, Vec<T>>, DbError>
where
    K: crate::FromValue + Eq + std::hash::Hash,
{
    let mut found: HashMap<K, Vec<T>> = HashMap::new();
    for chunk in ids.chunks(CHUNK) {
        let mut select = table.select(columns);
        select.and_where(Expr::col(columns[0]).is_in(chunk.iter().map(String::as_str)));
        for row in conn.select(&select).await? {
            found.entry(row.get(0)?).or_default().push(read(&row)?);
        }
    }
    Ok(found)
}

/// All bindings of these ports.
pub async fn bindings_of(conn: &mut Conn, ports: &[String]) -> Result<HashMap<PortId, Vec<StoredBinding>>, DbError> {
    let columns = ["port_id", "host", "profile", "vif_type", "vif_details", "vnic_type", "status"];
    children(conn, &tables::ML2_PORT_BINDINGS, &columns, ports, |row| {
        Ok(StoredBinding {
            host: row.get(1)?,
            profile: row.get(2)?,
            vif_type: row.get(3)?,
            vif_details: row.get(4)?,
            vnic_type: row.get(5)?,
            status: row.get(6)?,
        })
    })
    .await
}

/// All levels of the bindings of these ports.
pub async fn levels_of(conn: &mut Conn, ports: &[String]) -> Result<HashMap<PortId, Vec<StoredLevel>>, DbError> {
    let columns = ["port_id", "host", "level", "driver", "segment_id"];
    children(conn, &tables::ML2_PORT_BINDING_LEVELS, &columns, ports, |row| {
        Ok(StoredLevel { host: row.get(1)?, level: row.get(2)?, driver: row.get(3)?, segment_id: row.get(4)? })
    })
    .await
}

/// The DHCP options of these ports.
pub async fn options_of(conn: &mut Conn, ports: &[String]) -> Result<HashMap<PortId, Vec<StoredOption>>, DbError> {
    let columns = ["port_id", "id", "opt_name", "opt_value", "ip_version"];
    children(conn, &tables::EXTRADHCPOPTS, &columns, ports, |row| {
        Ok(StoredOption { id: row.get(1)?, name: row.get(2)?, value: row.get(3)?, ip_version: row.get(4)? })
    })
    .await
}

/// The pools of these subnets.
pub async fn pools_of(conn: &mut Conn, subnets: &[String]) -> Result<HashMap<SubnetId, Vec<StoredPool>>, DbError> {
    let columns = ["subnet_id", "id", "first_ip", "last_ip"];
    children(conn, &tables::IPALLOCATIONPOOLS, &columns, subnets, |row| {
        Ok(StoredPool { id: row.get(1)?, start: row.get(2)?, end: row.get(3)? })
    })
    .await
}

/// The segments with these ids, or of the networks with these ids.
pub async fn segments_by(conn: &mut Conn, column: &'static str, ids: &[String]) -> Result<Vec<StoredSegment>, DbError> {
    const OWN: [&str; 7] =
        ["id", "network_id", "network_type", "physical_network", "segmentation_id", "is_dynamic", "segment_index"];
    let mut segments = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        let table = &tables::NETWORKSEGMENTS;
        let mut select = sea_query::Query::select();
        select.from(table.name);
        select.exprs(OWN.iter().map(|column| Expr::col((table.name, *column))));
        select.exprs(standard::COLUMNS.iter().map(|column| Expr::col((standard::TABLE, *column))));
        let key = Expr::col((table.name, "standard_attr_id")).equals((standard::TABLE, "id"));
        select.inner_join(standard::TABLE, key);
        select.and_where(Expr::col((table.name, column)).is_in(chunk.iter().map(String::as_str)));
        select.order_by((table.name, "segment_index"), sea_query::Order::Asc);
        for row in conn.select(&select).await? {
            segments.push(StoredSegment {
                id: row.get(0)?,
                network_id: row.get(1)?,
                network_type: row.get(2)?,
                physical_network: row.get(3)?,
                segmentation_id: row.get(4)?,
                is_dynamic: row.get(5)?,
                segment_index: row.get(6)?,
                standard: standard_from_row(&row, OWN.len())?,
            });
        }
    }
    Ok(segments)
}

/// The default security groups among these.
pub async fn default_groups_among(
    conn: &mut Conn,
    groups: &[String],
) -> Result<std::collections::HashSet<types::SecurityGroupId>, DbError> {
    let mut select = tables::DEFAULT_SECURITY_GROUP.select(&["security_group_id"]);
    select.and_where(Expr::col("security_group_id").is_in(groups.iter().map(String::as_str)));
    conn.select(&select).await?.iter().map(|row| row.get(0)).collect()
}
