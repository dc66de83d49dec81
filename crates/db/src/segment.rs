//! Segments of networks, and the tables of VLAN ids, VNIs and keys that are taken.
//!
//! Upstream keeps one row for every id of the configured ranges. Ours keeps the same rows ([`allocations_sync`], in the
//! background after start), but does not need them: an id without a row is free.

use std::collections::HashMap;

use sea_query::{Expr, ExprTrait, Query};
use types::{NetworkId, NetworkType, Segment};

use crate::{Conn, DbError, Row, Value, schema::Table, schema::tables, whole::Child};

/// Loads the segments of many networks, each list by index.
pub async fn segments_of(conn: &mut Conn, networks: &[String]) -> Result<HashMap<NetworkId, Vec<Segment>>, DbError> {
    segments_read(&conn.select(&segments_child().query(networks)).await?)
}

/// The segments of networks, which [`segments_read`] reads.
pub(crate) fn segments_child() -> Child {
    let columns = ["id", "network_type", "physical_network", "segmentation_id", "segment_index"];
    let table = &tables::NETWORKSEGMENTS;
    Child::of(table, "network_id", &columns).only(Expr::col((table.name, "is_dynamic")).eq(false))
}

/// The segments that [`segments_child`] names.
pub(crate) fn segments_read(rows: &[Row]) -> Result<HashMap<NetworkId, Vec<Segment>>, DbError> {
    let mut segments: HashMap<NetworkId, Vec<Segment>> = HashMap::new();
    for row in rows {
        let network_type: String = row.get(2)?;
        let Ok(network_type) = network_type.parse() else { continue };
        let segment = Segment {
            id: row.get(1)?,
            network_id: row.get(0)?,
            network_type,
            physical_network: row.get(3)?,
            segmentation_id: row.get(4)?,
            segment_index: row.get(5)?,
        };
        segments.entry(segment.network_id).or_default().push(segment);
    }
    segments.values_mut().for_each(|list| list.sort_by_key(|s| s.segment_index));
    Ok(segments)
}

/// Adds a segment.
pub async fn segment_insert(conn: &mut Conn, segment: &Segment) -> Result<(), DbError> {
    let standard = crate::standard::standard_insert(conn, "networksegments", None, 0).await?;
    let columns = [
        "id",
        "network_id",
        "network_type",
        "physical_network",
        "segmentation_id",
        "is_dynamic",
        "segment_index",
        "standard_attr_id",
    ];
    let row = vec![
        segment.id.into(),
        segment.network_id.into(),
        segment.network_type.as_str().into(),
        segment.physical_network.clone().into(),
        segment.segmentation_id.into(),
        false.into(),
        segment.segment_index.into(),
        standard.standard_attr_id.into(),
    ];
    conn.insert(&tables::NETWORKSEGMENTS, &columns, vec![row]).await
}

/// Keys in `standardattributes` of a network's segments.
pub async fn segment_standard_ids(conn: &mut Conn, network: &str) -> Result<Vec<i64>, DbError> {
    let rows =
        conn.sql("SELECT standard_attr_id FROM networksegments WHERE network_id = ?", vec![network.into()]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Writes the id of a segment.
pub async fn segment_renumber(conn: &mut Conn, segment: &Segment) -> Result<(), DbError> {
    let text = "UPDATE networksegments SET segmentation_id = ? WHERE id = ?";
    let id = segment.segmentation_id.map(i64::from);
    conn.execute(text, vec![id.into(), segment.id.to_string().as_str().into()]).await.map(|_| ())
}

/// Whether the network has ports that are bound in another way than these.
pub async fn has_ports_bound_otherwise(
    conn: &mut Conn,
    network: NetworkId,
    vif_types: &[&str],
) -> Result<bool, DbError> {
    let marks = vec!["?"; vif_types.len()].join(", ");
    let text = format!(
        "SELECT 1 FROM ports p JOIN ml2_port_bindings b ON b.port_id = p.id \
         WHERE p.network_id = ? AND b.vif_type NOT IN ({marks}) LIMIT 1"
    );
    let binds = std::iter::once(network.into()).chain(vif_types.iter().map(|word| (*word).into())).collect();
    Ok(!conn.sql(&text, binds).await?.is_empty())
}

/// The table that says which ids of a type are taken.
#[derive(Debug, Clone, Copy)]
struct Allocations {
    table: &'static Table,
    id: &'static str,
}

fn allocations(network_type: NetworkType) -> Option<Allocations> {
    let (table, id) = match network_type {
        NetworkType::Vlan => (&tables::ML2_VLAN_ALLOCATIONS, "vlan_id"),
        NetworkType::Vxlan => (&tables::ML2_VXLAN_ALLOCATIONS, "vxlan_vni"),
        NetworkType::Gre => (&tables::ML2_GRE_ALLOCATIONS, "gre_id"),
        NetworkType::Geneve => (&tables::ML2_GENEVE_ALLOCATIONS, "geneve_vni"),
        NetworkType::Flat | NetworkType::Local => return None,
    };
    Some(Allocations { table, id })
}

impl Allocations {
    fn of(self, physical_network: Option<&str>) -> sea_query::Condition {
        match physical_network {
            Some(name) => sea_query::Cond::all().add(Expr::col("physical_network").eq(name)),
            None => sea_query::Cond::all(),
        }
    }

    fn columns(self, physical_network: Option<&str>) -> Vec<&'static str> {
        if physical_network.is_some() {
            vec!["physical_network", self.id, "allocated"]
        } else {
            vec![self.id, "allocated"]
        }
    }

    fn row(self, physical_network: Option<&str>, id: u32, allocated: bool) -> Vec<Value> {
        let mut row: Vec<Value> = physical_network.map(Value::from).into_iter().collect();
        row.extend([id.into(), allocated.into()]);
        row
    }
}

/// Takes a given id; false when it is taken already.
pub async fn allocation_claim(
    conn: &mut Conn,
    network_type: NetworkType,
    physical_network: Option<&str>,
    id: u32,
) -> Result<bool, DbError> {
    let Some(allocations) = allocations(network_type) else { return Ok(true) };
    let mut claim = Query::update();
    claim.table(allocations.table.name).value("allocated", true);
    claim.cond_where(allocations.of(physical_network)).and_where(Expr::col(allocations.id).eq(id));
    claim.and_where(Expr::col("allocated").eq(false));
    if conn.update(&claim).await? > 0 {
        return Ok(true);
    }
    let mut present = allocations.table.select(&[allocations.id]);
    present.cond_where(allocations.of(physical_network)).and_where(Expr::col(allocations.id).eq(id));
    if !conn.select(&present).await?.is_empty() {
        return Ok(false);
    }
    let row = allocations.row(physical_network, id, true);
    conn.insert(allocations.table, &allocations.columns(physical_network), vec![row]).await?;
    Ok(true)
}

/// Every id that is taken.
pub async fn allocations_taken(
    conn: &mut Conn,
    network_type: NetworkType,
    physical_network: Option<&str>,
) -> Result<Vec<u32>, DbError> {
    let Some(allocations) = allocations(network_type) else { return Ok(Vec::new()) };
    let mut select = allocations.table.select(&[allocations.id]);
    select.cond_where(allocations.of(physical_network)).and_where(Expr::col("allocated").eq(true));
    conn.select(&select).await?.iter().map(|row| row.get(0)).collect()
}

/// Gives an id back. Ids of a configured range keep their row, others lose it.
pub async fn allocation_release(conn: &mut Conn, segment: &Segment, in_range: bool) -> Result<(), DbError> {
    if segment.network_type == NetworkType::Flat {
        let name = segment.physical_network.clone().unwrap_or_default();
        conn.sql("DELETE FROM ml2_flat_allocations WHERE physical_network = ?", vec![name.into()]).await?;
        return Ok(());
    }
    let (Some(allocations), Some(id)) = (allocations(segment.network_type), segment.segmentation_id) else {
        return Ok(());
    };
    let of = allocations.of(segment.physical_network.as_deref().filter(|_| segment.network_type == NetworkType::Vlan));
    if in_range {
        let mut release = Query::update();
        release.table(allocations.table.name).value("allocated", false);
        release.cond_where(of).and_where(Expr::col(allocations.id).eq(id));
        conn.update(&release).await?;
    } else {
        let mut release = Query::delete();
        release.from_table(allocations.table.name).cond_where(of).and_where(Expr::col(allocations.id).eq(id));
        conn.delete(&release).await?;
    }
    Ok(())
}

/// Takes a physical network for a flat network; false when another network has it.
pub async fn flat_claim(conn: &mut Conn, physical_network: &str) -> Result<bool, DbError> {
    let sql = "SELECT physical_network FROM ml2_flat_allocations WHERE physical_network = ?";
    if !conn.sql(sql, vec![physical_network.into()]).await?.is_empty() {
        return Ok(false);
    }
    conn.insert(&tables::ML2_FLAT_ALLOCATIONS, &["physical_network"], vec![vec![physical_network.into()]]).await?;
    Ok(true)
}

/// Brings the rows of one type (and physical network) to what upstream keeps: one for every id of `ranges`, and none
/// for a free id outside them. Works on at most `batch` ids at a time, from `from` on; returns where to go on.
pub async fn allocations_sync(
    conn: &mut Conn,
    network_type: NetworkType,
    physical_network: Option<&str>,
    range: (u32, u32),
    batch: u32,
) -> Result<Option<u32>, DbError> {
    let Some(allocations) = allocations(network_type) else { return Ok(None) };
    let (first, last) = range;
    let end = Ord::min(last, first.saturating_add(batch.saturating_sub(1)));
    let mut select = allocations.table.select(&[allocations.id]);
    select.cond_where(allocations.of(physical_network)).and_where(Expr::col(allocations.id).between(first, end));
    let present: std::collections::HashSet<u32> =
        conn.select(&select).await?.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
    let missing = (first..=end).filter(|id| !present.contains(id));
    let rows: Vec<_> = missing.map(|id| allocations.row(physical_network, id, false)).collect();
    if !rows.is_empty() {
        conn.insert(allocations.table, &allocations.columns(physical_network), rows).await?;
    }
    Ok((end < last).then(|| end + 1))
}

/// Removes rows of free ids outside every range.
pub async fn allocations_prune(
    conn: &mut Conn,
    network_type: NetworkType,
    physical_network: Option<&str>,
    ranges: &[(u32, u32)],
) -> Result<u64, DbError> {
    let Some(allocations) = allocations(network_type) else { return Ok(0) };
    let mut prune = Query::delete();
    prune.from_table(allocations.table.name).cond_where(allocations.of(physical_network));
    prune.and_where(Expr::col("allocated").eq(false));
    for (first, last) in ranges {
        prune.and_where(Expr::col(allocations.id).not_between(*first, *last));
    }
    conn.delete(&prune).await
}
