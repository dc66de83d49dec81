//! Segments as a resource of their own.

use types::{NetworkId, PortId, SegmentId, SubnetId, network_segment::NetworkSegment};

use crate::{
    Conn, DbError, Row,
    list::{Listing, Scope, Source},
    schema::tables,
    standard::{standard_delete, standard_from_row},
};

const COLUMNS: [&str; 7] =
    ["id", "network_id", "name", "physical_network", "network_type", "segmentation_id", "segment_index"];

/// How segments are listed; policy leaves them to administrators.
pub static LISTING: Listing = Listing {
    table: &tables::NETWORKSEGMENTS,
    columns: &COLUMNS,
    standard: true,
    scope: Scope::Everything,
    attributes: &[
        ("id", Source::Own("id")),
        ("network_id", Source::Own("network_id")),
        ("name", Source::Own("name")),
        ("physical_network", Source::Own("physical_network")),
        ("network_type", Source::Own("network_type")),
        ("segmentation_id", Source::Own("segmentation_id")),
    ],
};

/// Segments from the rows [`LISTING`] selected, in their order. One of a type that nobody knows is left out.
pub fn network_segments_from_rows(rows: &[Row]) -> Result<Vec<NetworkSegment>, DbError> {
    let mut segments = Vec::with_capacity(rows.len());
    for row in rows {
        let network_type: String = row.get(4)?;
        let Ok(network_type) = network_type.parse() else { continue };
        segments.push(NetworkSegment {
            id: row.get(0)?,
            network_id: row.get(1)?,
            name: row.get(2)?,
            physical_network: row.get(3)?,
            network_type,
            segmentation_id: row.get(5)?,
            segment_index: row.get(6)?,
            standard: standard_from_row(row, COLUMNS.len())?,
        });
    }
    Ok(segments)
}

/// The place behind the last segment of a network.
pub async fn next_index(conn: &mut Conn, network: NetworkId) -> Result<u32, DbError> {
    let sql = "SELECT segment_index FROM networksegments WHERE network_id = ? ORDER BY segment_index DESC LIMIT 1";
    let rows = conn.sql(sql, vec![network.into()]).await?;
    rows.first().map_or(Ok(0), |row| Ok(row.get::<u32>(0)?.saturating_add(1)))
}

/// Writes the name of a segment.
pub async fn network_segment_rename(conn: &mut Conn, segment: &NetworkSegment) -> Result<(), DbError> {
    let binds = vec![segment.name.clone().into(), segment.id.into()];
    conn.execute("UPDATE networksegments SET name = ? WHERE id = ?", binds).await.map(|_| ())
}

/// Removes a segment.
pub async fn network_segment_delete(conn: &mut Conn, segment: &NetworkSegment) -> Result<(), DbError> {
    conn.execute("DELETE FROM networksegments WHERE id = ?", vec![segment.id.into()]).await?;
    standard_delete(conn, &[segment.standard.standard_attr_id]).await
}

/// The subnets that belong to a segment.
pub async fn subnets_of(conn: &mut Conn, segment: SegmentId) -> Result<Vec<SubnetId>, DbError> {
    let rows = conn.sql("SELECT id FROM subnets WHERE segment_id = ?", vec![segment.into()]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// The ports that are bound to a segment.
pub async fn ports_of(conn: &mut Conn, segment: SegmentId) -> Result<Vec<PortId>, DbError> {
    let sql = "SELECT DISTINCT port_id FROM ml2_port_binding_levels WHERE segment_id = ?";
    conn.sql(sql, vec![segment.into()]).await?.iter().map(|row| row.get(0)).collect()
}
