//! Ports as L2 agents ask for them: by the beginning of their id, and by the segment they are bound to.

use std::collections::HashMap;

use sea_query::{Cond, Expr, ExprTrait};
use types::{PortId, SegmentId};

use crate::{
    Conn, DbError,
    schema::tables::{ML2_PORT_BINDING_LEVELS, PORTS},
};

/// Conditions in one statement at most.
const CHUNK: usize = 500;

/// The ports whose id begins with these texts, by text. Agents know only what fits a device name. A text with which
/// several ids begin stands for none of them.
pub async fn ports_by_prefix(conn: &mut Conn, prefixes: &[&str]) -> Result<HashMap<String, PortId>, DbError> {
    let mut found: HashMap<String, Option<PortId>> = HashMap::new();
    for chunk in prefixes.chunks(CHUNK) {
        let known = || chunk.iter().filter(|prefix| !prefix.is_empty());
        if known().next().is_none() {
            continue;
        }
        // No character of an id sorts behind `g`, so this is a range of the primary key.
        let range = |prefix: &&str| Expr::col("id").gte(*prefix).and(Expr::col("id").lt(format!("{prefix}g")));
        let mut select = PORTS.select(&["id"]);
        select.cond_where(known().fold(Cond::any(), |any, prefix| any.add(range(prefix))));
        for row in conn.select(&select).await? {
            let (text, id): (String, PortId) = (row.get(0)?, row.get(0)?);
            for prefix in known().filter(|prefix| text.starts_with(**prefix)) {
                let port = found.entry((*prefix).to_owned()).or_insert(Some(id));
                *port = port.filter(|port| *port == id);
            }
        }
    }
    Ok(found.into_iter().filter_map(|(prefix, port)| Some((prefix, port?))).collect())
}

/// The port with this MAC whose binding profile names this PCI slot.
pub async fn port_by_pci_slot(conn: &mut Conn, mac: &str, pci_slot: &str) -> Result<Option<PortId>, DbError> {
    let text = "SELECT p.id, b.profile FROM ports p JOIN ml2_port_bindings b ON b.port_id = p.id \
                WHERE p.mac_address = ? AND b.status = ?";
    for row in conn.sql(text, vec![mac.into(), "ACTIVE".into()]).await? {
        let profile: String = row.get(1)?;
        let profile: serde_json::Value = serde_json::from_str(&profile).unwrap_or_default();
        if profile["pci_slot"].as_str() == Some(pci_slot) {
            return row.get(0).map(Some);
        }
    }
    Ok(None)
}

/// The segment that each port is bound to on each host: the one of its highest level.
pub async fn bound_segments(
    conn: &mut Conn,
    ports: &[PortId],
) -> Result<HashMap<(PortId, String), SegmentId>, DbError> {
    let mut bound: HashMap<(PortId, String), SegmentId> = HashMap::new();
    for chunk in ports.chunks(CHUNK) {
        let mut select = ML2_PORT_BINDING_LEVELS.select(&["port_id", "host", "segment_id"]);
        select.and_where(Expr::col("port_id").is_in(chunk.iter().map(ToString::to_string)));
        select.order_by("level", sea_query::Order::Asc);
        for row in conn.select(&select).await? {
            if let Some(segment) = row.get::<Option<SegmentId>>(2)? {
                bound.insert((row.get(0)?, row.get(1)?), segment);
            }
        }
    }
    Ok(bound)
}

/// Whether the port has a binding on that host, active or not.
pub async fn is_bound_to_host(conn: &mut Conn, port: PortId, host: &str) -> Result<bool, DbError> {
    let text = "SELECT 1 FROM ml2_port_bindings WHERE port_id = ? AND host = ? AND vif_type NOT IN (?, ?)";
    let binds = vec![port.into(), host.into(), "unbound".into(), "binding_failed".into()];
    Ok(!conn.sql(text, binds).await?.is_empty())
}

/// The ports of a kind of NIC that are bound to a host.
pub async fn ports_on_host(conn: &mut Conn, vnic_type: &str, host: &str) -> Result<Vec<PortId>, DbError> {
    let text = "SELECT port_id FROM ml2_port_bindings WHERE vnic_type = ? AND host = ? AND status = ?";
    conn.sql(text, vec![vnic_type.into(), host.into(), "ACTIVE".into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// The ports with this host that no driver could bind there.
pub async fn unbound_ports_on_host(conn: &mut Conn, host: &str) -> Result<Vec<PortId>, DbError> {
    let text = "SELECT port_id FROM ml2_port_bindings WHERE host = ? AND vif_type = ? AND status = ?";
    let binds = vec![host.into(), "binding_failed".into(), "ACTIVE".into()];
    conn.sql(text, binds).await?.iter().map(|row| row.get(0)).collect()
}
