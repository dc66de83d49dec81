//! Rows of `isospin_events`, a table of our own: what a committed transaction still has to tell others.
//!
//! A row is written in the transaction that causes it and removed when it has been told. The server that wrote it owns
//! it and renews its claim while it works on it; a row whose claim is older than a lease has lost its owner and may be
//! [claimed](claim) by another server. Upstream does not know the table and is not disturbed by it. Ids are never used
//! twice, and every change names the owner, so that a server that was only slow cannot remove what another has taken.

use std::collections::BTreeMap;

use crate::{Backend, Conn, Database, DbError, Later, Value, schema::Table};

/// Name of the table.
pub const TABLE: &str = "isospin_events";

/// Keys in one statement at most.
const CHUNK: usize = 200;

/// The table as inserts need it; [`ensure`] creates it.
static EVENTS: Table =
    Table { name: TABLE, columns: &[], primary_key: &["id"], uniques: &[], foreign_keys: &[], indexes: &[] };

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who is told.
    pub audience: String,
    /// Who caused it, as JSON.
    pub context: String,
    /// What happened, as JSON.
    pub body: String,
}

/// A row whose owner may be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// Its key; lower ones were written before.
    pub id: i64,
    /// Who owned it.
    pub owner: String,
    /// When that owner last said so, in milliseconds since 1970.
    pub taken_at: i64,
}

/// Creates the table where it is missing, as it is in a database that upstream made.
pub async fn ensure(database: &Database) -> Result<(), DbError> {
    let exists = match database.backend() {
        Backend::Sqlite => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
        Backend::Mysql => "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
        Backend::Postgres => "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = ?",
    };
    if !database.reader().await?.sql(exists, vec![TABLE.into()]).await?.is_empty() {
        return Ok(());
    }
    let (id, text, engine) = match database.backend() {
        Backend::Sqlite => ("INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", "TEXT", ""),
        Backend::Mysql => ("BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY", "MEDIUMTEXT", " ENGINE=InnoDB"),
        Backend::Postgres => ("BIGSERIAL NOT NULL PRIMARY KEY", "TEXT", ""),
    };
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {TABLE} (id {id}, owner VARCHAR(36) NOT NULL, audience VARCHAR(16) NOT NULL, \
         taken_at BIGINT NOT NULL, context {text} NOT NULL, body {text} NOT NULL){engine}"
    );
    let mut tx = database.begin().await?;
    tx.batch(&create).await?;
    tx.commit().await
}

/// Adds a message of this owner, at the latest with the commit, and tells its id then.
pub async fn insert(conn: &mut Conn, owner: &str, taken_at: i64, message: &Message) -> Result<Later, DbError> {
    let columns = ["owner", "taken_at", "audience", "context", "body"];
    let Message { audience, context, body } = message;
    let row = vec![owner.into(), taken_at.into(), audience.into(), context.into(), body.into()];
    conn.insert_id_behind(&EVENTS, &columns, row).await
}

/// Removes what has been told, as far as it is still this owner's.
pub async fn remove(conn: &mut Conn, owner: &str, ids: &[i64]) -> Result<(), DbError> {
    for ids in ids.chunks(CHUNK) {
        let text = format!("DELETE FROM {TABLE} WHERE id IN ({}) AND owner = ?", placeholders(ids.len()));
        conn.execute_behind(&text, binds(ids, owner)).await?;
    }
    Ok(())
}

/// Renews the owner's claim.
pub async fn renew(conn: &mut Conn, owner: &str, ids: &[i64], taken_at: i64) -> Result<(), DbError> {
    for ids in ids.chunks(CHUNK) {
        let keys = placeholders(ids.len());
        let text = format!("UPDATE {TABLE} SET taken_at = ? WHERE id IN ({keys}) AND owner = ?");
        let binds = std::iter::once(taken_at.into()).chain(binds(ids, owner)).collect();
        conn.execute(&text, binds).await?;
    }
    Ok(())
}

/// Dates the owner's claims back, so that others need not wait for them to grow old.
pub async fn release(conn: &mut Conn, owner: &str, taken_at: i64) -> Result<(), DbError> {
    let text = format!("UPDATE {TABLE} SET taken_at = ? WHERE owner = ?");
    conn.execute(&text, vec![taken_at.into(), owner.into()]).await.map(drop)
}

/// Rows for these audiences that no owner has claimed since `before`, and all of `owner` itself, the oldest first.
pub async fn abandoned(
    conn: &mut Conn,
    owner: &str,
    audiences: &[&str],
    before: i64,
    limit: usize,
) -> Result<Vec<Abandoned>, DbError> {
    let text = format!(
        "SELECT id, owner, taken_at FROM {TABLE} WHERE (taken_at < ? OR owner = ?) AND audience IN ({}) \
         ORDER BY id LIMIT {limit}",
        placeholders(audiences.len())
    );
    let mut binds: Vec<Value> = vec![before.into(), owner.into()];
    binds.extend(audiences.iter().map(|audience| Value::from(*audience)));
    let rows = conn.sql(&text, binds).await?;
    rows.iter().map(|row| Ok(Abandoned { id: row.get(0)?, owner: row.get(1)?, taken_at: row.get(2)? })).collect()
}

/// Makes the row this owner's; false when another was faster.
pub async fn claim(conn: &mut Conn, row: &Abandoned, owner: &str, taken_at: i64) -> Result<bool, DbError> {
    let text = format!("UPDATE {TABLE} SET owner = ?, taken_at = ? WHERE id = ? AND owner = ? AND taken_at = ?");
    let binds = vec![owner.into(), taken_at.into(), row.id.into(), row.owner.as_str().into(), row.taken_at.into()];
    Ok(conn.execute(&text, binds).await? > 0)
}

/// What these rows say, by id.
pub async fn messages(conn: &mut Conn, ids: &[i64]) -> Result<BTreeMap<i64, Message>, DbError> {
    let mut found = BTreeMap::new();
    for ids in ids.chunks(CHUNK) {
        let keys = placeholders(ids.len());
        let text = format!("SELECT id, audience, context, body FROM {TABLE} WHERE id IN ({keys})");
        for row in conn.sql(&text, ids.iter().map(|id| (*id).into()).collect()).await? {
            found.insert(row.get(0)?, Message { audience: row.get(1)?, context: row.get(2)?, body: row.get(3)? });
        }
    }
    Ok(found)
}

/// Removes what nobody has claimed since `before`; tells how many.
pub async fn purge(conn: &mut Conn, before: i64) -> Result<u64, DbError> {
    conn.execute(&format!("DELETE FROM {TABLE} WHERE taken_at < ?"), vec![before.into()]).await
}

/// How many messages wait.
pub async fn count(conn: &mut Conn) -> Result<i64, DbError> {
    let rows = conn.sql(&format!("SELECT COUNT(*) FROM {TABLE}"), Vec::new()).await?;
    rows.first().map_or(Ok(0), |row| row.get(0))
}

fn placeholders(count: usize) -> String {
    vec!["?"; count].join(",")
}

fn binds(ids: &[i64], owner: &str) -> Vec<Value> {
    ids.iter().map(|id| (*id).into()).chain([owner.into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn message(body: &str) -> Message {
        Message { audience: "agents".to_owned(), context: "{}".to_owned(), body: body.to_owned() }
    }

    #[tokio::test]
    async fn a_row_has_one_owner_and_its_id_is_never_used_again() {
        let database = Database::connect(&Settings::new("sqlite://")).await.unwrap();
        ensure(&database).await.unwrap();
        ensure(&database).await.unwrap();
        let mut tx = database.begin().await.unwrap();
        let first = insert(&mut tx, "a", 1_000, &message("1")).await.unwrap().get().unwrap();
        let found = abandoned(&mut tx, "b", &["agents"], 1_001, 10).await.unwrap();
        assert_eq!(found, [Abandoned { id: first, owner: "a".to_owned(), taken_at: 1_000 }]);
        assert!(abandoned(&mut tx, "b", &["agents"], 1_000, 10).await.unwrap().is_empty());
        assert!(abandoned(&mut tx, "b", &["nova"], 2_000, 10).await.unwrap().is_empty());
        assert!(claim(&mut tx, &found[0], "b", 2_000).await.unwrap());
        assert!(!claim(&mut tx, &found[0], "c", 2_000).await.unwrap());
        // The slow former owner neither removes nor renews it.
        remove(&mut tx, "a", &[first]).await.unwrap();
        renew(&mut tx, "a", &[first], 9_000).await.unwrap();
        assert_eq!(abandoned(&mut tx, "x", &["agents"], 2_001, 10).await.unwrap().len(), 1);
        assert_eq!(messages(&mut tx, &[first]).await.unwrap()[&first], message("1"));
        renew(&mut tx, "b", &[first], 3_000).await.unwrap();
        assert_eq!(purge(&mut tx, 3_000).await.unwrap(), 0);
        remove(&mut tx, "b", &[first]).await.unwrap();
        assert_eq!(count(&mut tx).await.unwrap(), 0);
        assert!(insert(&mut tx, "a", 1, &message("2")).await.unwrap().get().unwrap() > first);
        tx.commit().await.unwrap();
    }
}
