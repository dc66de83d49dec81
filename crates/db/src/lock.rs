//! Locks that hold between the nodes of a Galera cluster too.
//!
//! `SELECT … FOR UPDATE` keeps out who asks at the same node, and nobody else. But of two transactions that wrote to the
//! same row at different nodes, the second comes to nothing, and is run again. So who locks something writes to a row as
//! well, which stands for it: one of `quotausages`, a table that upstream no longer reads.

use crate::{Backend, Conn, DbError};

/// What such a row is about, where others name a resource.
const LOCK: &str = "lock";

/// Writes to the row of something that this transaction has locked; makes it if there is none.
pub(crate) async fn between_nodes(conn: &mut Conn, locked: &str) -> Result<(), DbError> {
    if conn.backend() != Backend::Mysql {
        return Ok(());
    }
    // What changes nothing would be no write.
    let text = "INSERT INTO quotausages (project_id, resource, dirty, in_use, reserved) VALUES (?, ?, 1, 0, 0) \
                ON DUPLICATE KEY UPDATE in_use = 1 - in_use";
    conn.execute_behind(text, vec![locked.into(), LOCK.into()]).await
}

/// Removes the row of something that goes.
pub(crate) async fn forget(conn: &mut Conn, locked: &str) -> Result<(), DbError> {
    if conn.backend() != Backend::Mysql {
        return Ok(());
    }
    let text = "DELETE FROM quotausages WHERE project_id = ? AND resource = ?";
    conn.execute_behind(text, vec![locked.into(), LOCK.into()]).await
}
