//! The revision of the schema: what `neutron-db-manage` shows and changes.
//!
//! The schema is that of one release, whose two branches (expand, contract) end in the revisions below; upstream's
//! server and ours can take turns on it. An empty database gets the whole schema at once. A database at any other
//! revision is refused by name and left as it is: upstream's own migrations bring it here.

use std::fmt;

use crate::{Backend, Conn, Database, DbError, Value, schema::ddl, schema::tables};

/// One step of the schema's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// The branch it belongs to.
    pub branch: &'static str,
    /// Its id, as in the table `alembic_version`.
    pub id: &'static str,
    /// The revision before it on the branch; none: it starts from an empty database.
    pub down: Option<&'static str>,
    /// What it does.
    pub message: &'static str,
}

/// Where the branches end.
pub static HEADS: [Revision; 2] = [
    Revision { branch: "contract", id: "5c85685d616d", down: None, message: "the schema of 2026.2" },
    Revision { branch: "expand", id: "c7f8d9e0f1a2", down: None, message: "the schema of 2026.2" },
];

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

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Head => write!(f, "at revision {}", head_text()),
            Self::Other(revisions) if revisions.is_empty() => f.write_str("at no revision although it has tables"),
            Self::Other(revisions) => write!(f, "at revision {}", revisions.join(", ")),
        }
    }
}

/// The revisions the database is at; none for an empty one.
pub async fn current(database: &Database) -> Result<Vec<String>, DbError> {
    revisions(&mut database.reader().await?).await.map(Option::unwrap_or_default)
}

/// The steps from an empty database to the head, newest first.
pub fn history() -> impl Iterator<Item = &'static Revision> {
    HEADS.iter()
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
    let upgraded = match state_on(&mut tx).await? {
        State::Head => Ok(false),
        State::Empty => create(&mut tx).await.map(|()| true),
        other => Err(refusal(&other)),
    };
    unlock(&mut tx).await?;
    if upgraded? {
        tx.commit().await?;
        return Ok(true);
    }
    Ok(false)
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
    let rows = HEADS.iter().map(|head| vec![head.id.into()]).collect();
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
    if revisions.iter().eq(HEADS.iter().map(|head| head.id)) {
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

async fn unlock(conn: &mut Conn) -> Result<(), DbError> {
    match conn.backend() {
        Backend::Mysql => conn.sql("SELECT RELEASE_LOCK(CONCAT('isospin-', DATABASE()))", Vec::new()).await.map(drop),
        Backend::Sqlite | Backend::Postgres => Ok(()),
    }
}

fn refusal(state: &State) -> DbError {
    DbError::Revision(format!(
        "the database is {state}, but this program works with revision {}; nothing was changed. Bring it there with the \
         migrations of the release that made it, or name an empty database",
        head_text()
    ))
}

fn head_text() -> String {
    HEADS.map(|head| head.id).join(", ")
}
