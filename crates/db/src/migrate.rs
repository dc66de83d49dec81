//! The revision of the schema: what `neutron-db-manage` shows and changes.
//!
//! The schema is that of one release, whose two branches (expand, contract) end in the revisions below; upstream's
//! server and ours can take turns on it. An empty database gets the whole schema at once. A database at any other
//! revision is refused by name and left as it is: upstream's own migrations bring it here.

mod history;

use std::fmt;

use crate::{Backend, Conn, Database, DbError, Value, schema::ddl, schema::tables};

/// One step of the schema's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// The branch it belongs to; empty before there were two.
    pub branch: &'static str,
    /// Its id, as in the table `alembic_version`.
    pub id: &'static str,
    /// The revision before it; empty for the first.
    pub down: &'static str,
    /// A revision of the other branch that it needs, or empty.
    pub depends: &'static str,
    /// The release that brought it.
    pub release: &'static str,
    /// What it does.
    pub message: &'static str,
}

/// Where the branches end: contract, then expand.
pub const HEADS: [&str; 2] = ["5c85685d616d", "c7f8d9e0f1a2"];

impl Revision {
    /// A branch ends in it.
    pub fn is_head(&self) -> bool {
        HEADS.contains(&self.id)
    }

    /// The revisions that come right after it on the branches; two where they part.
    pub fn followers(&self) -> impl Iterator<Item = &'static Self> {
        history().iter().filter(move |other| other.down == self.id)
    }
}

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Empty,
    /// The schema this program works with.
    Head,
    /// Something else: the revisions it is at, or none but tables all the same.
    Other(Vec<String>),
}

/// What [`stamp`] writes.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// All heads.
    Heads,
    /// None.
    Base,
    /// One revision.
    Revision(&'static Revision),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Head => write!(f, "at revision {}", head_text()),
            Self::Other(revisions) if revisions.is_empty() => f.write_str("at no revision although it has tables"),
            Self::Other(revisions) => write!(f, "at revision {}", with_release(revisions)),
        }
    }
}

/// The revisions the database is at; none for an empty one.
pub async fn current(database: &Database) -> Result<Vec<String>, DbError> {
    revisions(&mut database.reader().await?).await.map(Option::unwrap_or_default)
}

/// The steps from an empty database to the head, newest first.
pub fn history() -> &'static [Revision] {
    &history::REVISIONS
}

/// The revision of an id, or of an abbreviation that fits no other.
pub fn revision(id: &str) -> Option<&'static Revision> {
    let exact = history().iter().find(|revision| revision.id == id);
    exact.or_else(|| {
        let mut found = history().iter().filter(|revision| id.len() >= 4 && revision.id.starts_with(id));
        found.next().filter(|_| found.next().is_none())
    })
}

/// What the database holds.
pub async fn state(database: &Database) -> Result<State, DbError> {
    state_on(&mut database.reader().await?).await
}

/// An error that names both revisions, unless the database is at the head.
pub async fn check(database: &Database) -> Result<(), DbError> {
    match state(database).await? {
        State::Head => Ok(()),
        State::Empty => Err(DbError::Revision(format!(
            "the database is empty, but this program works with revision {}; create the schema with: isospin db upgrade head",
            head_text()
        ))),
        other => Err(refusal(&other)),
    }
}

/// Brings an empty database to the head; true if it did. One that is there already stays as it is. Programs that do
/// this at the same time wait for each other.
pub async fn upgrade(database: &Database) -> Result<bool, DbError> {
    let mut tx = database.begin().await?;
    lock(&mut tx).await?;
    let upgraded = upgrade_on(&mut tx).await;
    // What others see when the lock is free must be all of it.
    let committed = match upgraded {
        Ok(true) => commit_locked(&mut tx).await,
        _ => Ok(()),
    };
    unlock(&mut tx).await?;
    tx.commit().await?;
    committed?;
    upgraded
}

async fn upgrade_on(conn: &mut Conn) -> Result<bool, DbError> {
    match state_on(conn).await? {
        State::Head => Ok(false),
        State::Empty => create(conn).await.map(|()| true),
        other => Err(refusal(&other)),
    }
}

async fn create(conn: &mut Conn) -> Result<(), DbError> {
    let statements = ddl::statements(conn.backend());
    if conn.backend() == Backend::Mysql {
        for statement in statements {
            conn.batch(&statement).await?;
        }
    } else {
        conn.batch(&statements.join(";\n")).await?;
    }
    seed_default_rules(conn).await?;
    let rows = HEADS.iter().map(|head| vec![(*head).into()]).collect();
    conn.insert(&tables::ALEMBIC_VERSION, &["version_num"], rows).await
}

/// The rules that new security groups start with until an administrator changes them.
async fn seed_default_rules(conn: &mut Conn) -> Result<(), DbError> {
    let table = &tables::SECURITYGROUPDEFAULTRULES;
    let mut rows = Vec::new();
    for (direction, remote_group) in [("egress", None), ("ingress", Some("PARENT"))] {
        for ethertype in ["IPv4", "IPv6"] {
            let description = format!("Legacy default SG rule for {direction} traffic");
            let row = vec![table.name.into(), description.into()];
            let columns = ["resource_type", "description"];
            let standard = conn.insert_id(&tables::STANDARDATTRIBUTES, &columns, row).await?;
            let id = uuid::Uuid::new_v4();
            let used_in_non_default: Value = (direction == "egress").into();
            rows.push(vec![
                id.into(),
                standard.into(),
                direction.into(),
                ethertype.into(),
                remote_group.into(),
                true.into(),
                used_in_non_default,
            ]);
        }
    }
    let columns = [
        "id",
        "standard_attr_id",
        "direction",
        "ethertype",
        "remote_group_id",
        "used_in_default_sg",
        "used_in_non_default_sg",
    ];
    conn.insert(table, &columns, rows).await
}

async fn state_on(conn: &mut Conn) -> Result<State, DbError> {
    let mut revisions = revisions(conn).await?.unwrap_or_default();
    revisions.sort();
    if revisions.iter().eq(HEADS) {
        return Ok(State::Head);
    }
    let foreign = has_table(conn, tables::NETWORKS.name).await? || has_table(conn, tables::AGENTS.name).await?;
    Ok(if revisions.is_empty() && !foreign { State::Empty } else { State::Other(revisions) })
}

async fn revisions(conn: &mut Conn) -> Result<Option<Vec<String>>, DbError> {
    if !has_table(conn, tables::ALEMBIC_VERSION.name).await? {
        return Ok(None);
    }
    let rows = conn.sql("SELECT version_num FROM alembic_version ORDER BY version_num", Vec::new()).await?;
    rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>().map(Some)
}

async fn has_table(conn: &mut Conn, name: &str) -> Result<bool, DbError> {
    let text = match conn.backend() {
        Backend::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ?",
        Backend::Mysql => {
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?"
        }
        Backend::Postgres => {
            "SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = ?"
        }
    };
    Ok(!conn.sql(text, vec![name.into()]).await?.is_empty())
}

/// Keeps other programs from creating the schema meanwhile. SQLite's write transaction does that by itself.
async fn lock(conn: &mut Conn) -> Result<(), DbError> {
    match conn.backend() {
        Backend::Sqlite => Ok(()),
        Backend::Mysql => {
            let rows = conn.sql("SELECT GET_LOCK(CONCAT('isospin-', DATABASE()), 120)", Vec::new()).await?;
            match rows.first().map(|row| row.get::<Option<i64>>(0)).transpose()? {
                Some(Some(1)) => Ok(()),
                _ => Err(DbError::Busy { seconds: 120 }),
            }
        }
        // Ends with the transaction.
        Backend::Postgres => conn.sql("SELECT pg_advisory_xact_lock(7089, 2026)::text", Vec::new()).await.map(drop),
    }
}

/// Commits where the lock is the session's; elsewhere it ends with the transaction.
async fn commit_locked(conn: &mut Conn) -> Result<(), DbError> {
    match conn.backend() {
        Backend::Mysql => conn.batch("COMMIT").await,
        Backend::Sqlite | Backend::Postgres => Ok(()),
    }
}

async fn unlock(conn: &mut Conn) -> Result<(), DbError> {
    match conn.backend() {
        Backend::Mysql => conn.sql("SELECT RELEASE_LOCK(CONCAT('isospin-', DATABASE()))", Vec::new()).await.map(drop),
        Backend::Sqlite | Backend::Postgres => Ok(()),
    }
}

fn refusal(state: &State) -> DbError {
    DbError::Revision(format!(
        "the database is {state}, but this program works with revision {}; nothing was changed. Upstream's \
         neutron-db-manage of 2026.2 brings a database there; or name an empty one",
        head_text()
    ))
}

fn head_text() -> String {
    format!("{} (2026.2)", HEADS.join(", "))
}

/// The revisions with the releases that they are of.
fn with_release(ids: &[String]) -> String {
    let release =
        |id: &String| revision(id).filter(|found| found.id == id).map_or("no release known here", |r| r.release);
    // A branch may rest for years: the newest of the releases is that of the whole.
    let newest =
        history().iter().filter(|revision| ids.iter().any(|id| id == revision.id)).map(|r| r.release).max_by_key(age);
    match ids {
        [id] => format!("{id} ({})", release(id)),
        ids => format!("{} ({})", ids.join(", "), newest.unwrap_or("no release known here")),
    }
}

/// Releases had names before they had years.
fn age(release: &&str) -> (bool, String) {
    (release.starts_with(|c: char| c.is_ascii_digit()), (*release).to_owned())
}

/// Writes down that the database is at these revisions and changes nothing else. A single revision replaces what is
/// older or newer on its branch and leaves the other branch's.
pub async fn stamp(database: &Database, target: Target) -> Result<(), DbError> {
    let mut tx = database.begin().await?;
    lock(&mut tx).await?;
    let known = revisions(&mut tx).await?;
    if known.is_none() {
        let statement = ddl::create_table(tx.backend(), &tables::ALEMBIC_VERSION);
        tx.batch(&statement).await?;
    }
    let before = known.unwrap_or_default();
    let after: Vec<String> = match target {
        Target::Heads => HEADS.map(str::to_owned).to_vec(),
        Target::Base => Vec::new(),
        Target::Revision(revision) => {
            let line = |id: &str| id == revision.id || is_before(id, revision.id) || is_before(revision.id, id);
            let mut kept: Vec<String> = before.iter().filter(|id| !line(id)).cloned().collect();
            kept.push(revision.id.to_owned());
            kept
        }
    };
    tx.execute("DELETE FROM alembic_version", Vec::new()).await?;
    let rows = after.into_iter().map(|id| vec![id.into()]).collect();
    tx.insert(&tables::ALEMBIC_VERSION, &["version_num"], rows).await?;
    commit_locked(&mut tx).await?;
    unlock(&mut tx).await?;
    tx.commit().await
}

/// The first is on the way to the second.
fn is_before(first: &str, second: &str) -> bool {
    let mut at = revision(second);
    while let Some(here) = at {
        if here.down == first {
            return true;
        }
        at = history().iter().find(|revision| revision.id == here.down);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_whole() {
        for revision in history() {
            let known = |id: &str| id.is_empty() || history().iter().any(|other| other.id == id);
            assert!(known(revision.down) && known(revision.depends), "{revision:?}");
            assert_eq!(revision.is_head(), revision.followers().next().is_none(), "{revision:?}");
        }
        assert_eq!(history().iter().filter(|revision| revision.down.is_empty()).count(), 1);
        assert_eq!(
            history().iter().filter(|revision| revision.followers().count() == 2).count(),
            1,
            "one branch point"
        );
        assert!(HEADS.iter().all(|head| is_before("kilo", head)));
        assert!(!is_before(HEADS[0], HEADS[1]));
    }

    #[test]
    fn revisions_are_told_with_their_release() {
        let text = |ids: &[&str]| with_release(&ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        assert_eq!(text(&["5c85685d616d", "b1bca967e19d"]), "5c85685d616d, b1bca967e19d (2026.1)");
        assert_eq!(text(&["5c85685d616d", "34cf8b009713"]), "5c85685d616d, 34cf8b009713 (yoga)");
        assert_eq!(text(&["deadbeef0001"]), "deadbeef0001 (no release known here)");
        assert_eq!(revision("b1bca967").map(|found| found.release), Some("2026.1"));
        assert!(revision("b1bc0000").is_none() && revision("c").is_none());
    }
}
