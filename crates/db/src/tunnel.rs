//! Rows of `ml2_vxlan_endpoints`, `ml2_gre_endpoints` and `ml2_geneve_endpoints`: the hosts' ends of overlays.

use types::NetworkType;

use crate::{
    Conn, DbError,
    schema::{
        Table,
        tables::{ML2_GENEVE_ENDPOINTS, ML2_GRE_ENDPOINTS, ML2_VXLAN_ENDPOINTS},
    },
};

/// A host's end of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub ip_address: String,
    /// Its UDP port, of VXLAN.
    pub udp_port: Option<u16>,
    /// The host; none for ends written by very old agents.
    pub host: Option<String>,
}

fn table(overlay: NetworkType) -> Option<&'static Table> {
    match overlay {
        NetworkType::Vxlan => Some(&ML2_VXLAN_ENDPOINTS),
        NetworkType::Gre => Some(&ML2_GRE_ENDPOINTS),
        NetworkType::Geneve => Some(&ML2_GENEVE_ENDPOINTS),
        NetworkType::Local | NetworkType::Flat | NetworkType::Vlan => None,
    }
}

/// All ends of an overlay.
pub async fn endpoints(conn: &mut Conn, overlay: NetworkType) -> Result<Vec<Endpoint>, DbError> {
    let Some(table) = table(overlay) else { return Ok(Vec::new()) };
    let udp = table.column("udp_port").is_some();
    let columns: &[&str] = if udp { &["ip_address", "host", "udp_port"] } else { &["ip_address", "host"] };
    let mut select = table.select(columns);
    select.order_by("ip_address", sea_query::Order::Asc);
    let read = |row: &crate::Row| {
        let udp_port = if udp { row.get(2)? } else { None };
        Ok(Endpoint { ip_address: row.get(0)?, host: row.get(1)?, udp_port })
    };
    conn.select(&select).await?.iter().map(read).collect()
}

/// Adds an end.
pub async fn endpoint_insert(
    conn: &mut Conn,
    overlay: NetworkType,
    ip_address: &str,
    host: &str,
    udp_port: u16,
) -> Result<(), DbError> {
    let Some(table) = table(overlay) else { return Ok(()) };
    match table.column("udp_port") {
        Some(_) => {
            let row = vec![ip_address.into(), host.into(), udp_port.into()];
            conn.insert(table, &["ip_address", "host", "udp_port"], vec![row]).await
        }
        None => conn.insert(table, &["ip_address", "host"], vec![vec![ip_address.into(), host.into()]]).await,
    }
}

/// Removes the end with that address.
pub async fn endpoint_delete(conn: &mut Conn, overlay: NetworkType, ip_address: &str) -> Result<(), DbError> {
    let Some(table) = table(overlay) else { return Ok(()) };
    let text = format!("DELETE FROM {} WHERE ip_address = ?", table.name);
    conn.execute(&text, vec![ip_address.into()]).await.map(|_| ())
}
