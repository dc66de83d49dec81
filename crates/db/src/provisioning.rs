//! Rows of `provisioningblocks`: what a port still waits for before it is active.

use types::{NetworkId, PortId};

use crate::{Conn, DbError, schema::tables::PROVISIONINGBLOCKS};

/// Adds a block; one that is there stays.
pub async fn block_add(conn: &mut Conn, standard_attr_id: i64, entity: &str) -> Result<(), DbError> {
    if blocks(conn, standard_attr_id).await?.iter().any(|block| block == entity) {
        return Ok(());
    }
    let row = vec![standard_attr_id.into(), entity.into()];
    conn.insert_behind(&PROVISIONINGBLOCKS, &["standard_attr_id", "entity"], vec![row]).await
}

/// Removes a block; false when there was none.
pub async fn block_remove(conn: &mut Conn, standard_attr_id: i64, entity: &str) -> Result<bool, DbError> {
    let text = "DELETE FROM provisioningblocks WHERE standard_attr_id = ? AND entity = ?";
    Ok(conn.execute(text, vec![standard_attr_id.into(), entity.into()]).await? > 0)
}

/// What is still waited for.
pub async fn blocks(conn: &mut Conn, standard_attr_id: i64) -> Result<Vec<String>, DbError> {
    let text = "SELECT entity FROM provisioningblocks WHERE standard_attr_id = ?";
    conn.sql(text, vec![standard_attr_id.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Ports of a network that wait for something.
pub async fn ports_blocked(conn: &mut Conn, network: NetworkId, entity: &str) -> Result<Vec<PortId>, DbError> {
    let text = "SELECT p.id FROM ports p JOIN provisioningblocks b ON b.standard_attr_id = p.standard_attr_id \
                WHERE p.network_id = ? AND b.entity = ?";
    conn.sql(text, vec![network.into(), entity.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Sets the status of a port.
pub async fn port_status_set(conn: &mut Conn, port: PortId, status: &str) -> Result<(), DbError> {
    conn.execute("UPDATE ports SET status = ? WHERE id = ?", vec![status.into(), port.into()]).await.map(|_| ())
}

/// Whether an address of the port is on a subnet with DHCP, and an agent serves DHCP on its network.
pub async fn is_dhcp_served(conn: &mut Conn, port: PortId, network: NetworkId) -> Result<bool, DbError> {
    let text = "SELECT 1 FROM ipallocations a JOIN subnets s ON s.id = a.subnet_id \
                WHERE a.port_id = ? AND s.enable_dhcp = ? \
                AND EXISTS (SELECT 1 FROM networkdhcpagentbindings b WHERE b.network_id = ?) LIMIT 1";
    let binds = vec![port.into(), true.into(), network.into()];
    Ok(!conn.sql(text, binds).await?.is_empty())
}
