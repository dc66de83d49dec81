//! Limits of projects, and what they have.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{Backend, Conn, DbError, Statement, schema::tables};

/// Resources that are counted, each with its table.
pub const COUNTED: [(&str, &str); 9] = [
    ("network", "networks"),
    ("subnet", "subnets"),
    ("subnetpool", "subnetpools"),
    ("port", "ports"),
    ("router", "routers"),
    ("floatingip", "floatingips"),
    ("security_group", "securitygroups"),
    ("security_group_rule", "securitygrouprules"),
    (
        "rbac_policy",
        "(SELECT project_id FROM networkrbacs UNION ALL SELECT project_id FROM securitygrouprbacs \
          UNION ALL SELECT project_id FROM addressgrouprbacs UNION ALL SELECT project_id FROM addressscoperbacs \
          UNION ALL SELECT project_id FROM subnetpoolrbacs) AS rbacs",
    ),
];

/// The limits set for one project, by resource.
pub async fn limits_of(conn: &mut Conn, project_id: &str) -> Result<BTreeMap<String, i64>, DbError> {
    let quoted = limit_column(conn);
    let text = format!("SELECT resource, {quoted} FROM quotas WHERE project_id = ?");
    let rows = conn.sql(&text, vec![project_id.into()]).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// The query behind [`limit_of`].
pub fn limit_query(conn: &Conn, project_id: &str, resource: &str) -> Statement {
    let quoted = limit_column(conn);
    let text = format!("SELECT {quoted} FROM quotas WHERE project_id = ? AND resource = ?");
    Statement::new(text, vec![project_id.into(), resource.into()])
}

/// The limit set for a project and resource.
pub async fn limit_of(conn: &mut Conn, project_id: &str, resource: &str) -> Result<Option<i64>, DbError> {
    let rows = conn.ask(limit_query(conn, project_id, resource)).await?;
    rows.first().map(|row| row.get(0)).transpose()
}

/// The limits set for every project that has some: project, resource, limit.
pub async fn limits(conn: &mut Conn) -> Result<Vec<(String, String, i64)>, DbError> {
    let quoted = limit_column(conn);
    let text = format!("SELECT project_id, resource, {quoted} FROM quotas ORDER BY project_id, resource");
    let rows = conn.sql(&text, Vec::new()).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
}

/// Sets the limit of a project for a resource.
pub async fn limit_set(conn: &mut Conn, project_id: &str, resource: &str, limit: i64) -> Result<(), DbError> {
    if limit_of(conn, project_id, resource).await?.is_some() {
        let quoted = limit_column(conn);
        let text = format!("UPDATE quotas SET {quoted} = ? WHERE project_id = ? AND resource = ?");
        return conn.execute(&text, vec![limit.into(), project_id.into(), resource.into()]).await.map(|_| ());
    }
    let row = vec![Uuid::new_v4().into(), project_id.into(), resource.into(), limit.into()];
    conn.insert(&tables::QUOTAS, &["id", "project_id", "resource", "limit"], vec![row]).await
}

/// Removes a project's limits; false when it had none.
pub async fn limits_delete(conn: &mut Conn, project_id: &str) -> Result<bool, DbError> {
    Ok(conn.execute("DELETE FROM quotas WHERE project_id = ?", vec![project_id.into()]).await? > 0)
}

/// How many a project has, as this transaction sees it.
pub async fn used(conn: &mut Conn, project_id: &str, resource: &str) -> Result<i64, DbError> {
    count(conn, project_id, resource, "").await
}

/// How many a project has now, others being kept from adding to it until this transaction ends.
///
/// SQLite has one writer, so that holds already. Elsewhere a row of `quotausages` is the lock, and the count looks past
/// the snapshot. That row says it is out of date, so that upstream counts anew should it ever read it. With MySQL it is
/// written to: the nodes of a Galera cluster know nothing of each other's locks, but one of two that wrote to a row loses.
pub async fn used_locked(conn: &mut Conn, project_id: &str, resource: &str) -> Result<i64, DbError> {
    let look = match conn.backend() {
        Backend::Sqlite => return used(conn, project_id, resource).await,
        Backend::Mysql => " LOCK IN SHARE MODE",
        Backend::Postgres => "",
    };
    if !lock(conn, project_id, resource).await? {
        let add = match conn.backend() {
            Backend::Postgres => {
                "INSERT INTO quotausages (project_id, resource, dirty, in_use, reserved) VALUES (?, ?, true, 0, 0) \
                 ON CONFLICT DO NOTHING"
            }
            _ => {
                "INSERT IGNORE INTO quotausages (project_id, resource, dirty, in_use, reserved) VALUES (?, ?, 1, 0, 0)"
            }
        };
        conn.execute(add, vec![project_id.into(), resource.into()]).await?;
        lock(conn, project_id, resource).await?;
    }
    count(conn, project_id, resource, look).await
}

/// Takes the lock; false when there is no row for it.
async fn lock(conn: &mut Conn, project_id: &str, resource: &str) -> Result<bool, DbError> {
    const OWN: &str = "WHERE project_id = ? AND resource = ?";
    let binds = vec![project_id.into(), resource.into()];
    if conn.backend() == Backend::Mysql {
        // What is not changed by it would be no write.
        let write = format!("UPDATE quotausages SET in_use = 1 - in_use, dirty = 1 {OWN}");
        return Ok(conn.execute(&write, binds).await? > 0);
    }
    Ok(!conn.sql(&format!("SELECT in_use FROM quotausages {OWN} FOR UPDATE"), binds).await?.is_empty())
}

async fn count(conn: &mut Conn, project_id: &str, resource: &str, suffix: &str) -> Result<i64, DbError> {
    let Some((_, table)) = COUNTED.iter().find(|(name, _)| *name == resource) else { return Ok(0) };
    let text = format!("SELECT COUNT(*) FROM {table} WHERE project_id = ?{suffix}");
    conn.sql(&text, vec![project_id.into()]).await?.first().map_or(Ok(0), |row| row.get(0))
}

/// `limit` is a word of the language.
fn limit_column(conn: &Conn) -> &'static str {
    if conn.backend() == Backend::Mysql { "`limit`" } else { "\"limit\"" }
}
