//! The database: which one it is, and how connections to it are had.

use std::{fmt, time::Duration};

use crate::{Conn, DbError, Tx, conn::Inner, mysql, postgres, sqlite};

/// Which server (or library) keeps the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The embedded library, in a file or in memory.
    Sqlite,
    /// MySQL or MariaDB, with Galera or without.
    Mysql,
    /// PostgreSQL.
    Postgres,
}

/// How to connect: the `[database]` options that matter here.
#[derive(Clone)]
pub struct Settings {
    /// `sqlite:///path`, `sqlite://` (in memory, private), `mysql+pymysql://…` or `postgresql://…`.
    pub url: String,
    /// Connections kept open when idle; 0 sets no limit, here and to the number open.
    pub max_pool_size: usize,
    /// Connections that may be open beyond that; `None` sets no limit.
    pub max_overflow: Option<usize>,
    /// How long to wait for a free connection, or for another process' write lock on SQLite.
    pub wait: Duration,
    /// Age from which a connection is replaced.
    pub max_age: Option<Duration>,
    /// What a lost connection is worth; see [`Reconnect`].
    pub reconnect: Reconnect,
    /// `sql_mode` of MySQL's sessions; `None` leaves the server's.
    pub mysql_sql_mode: Option<String>,
    /// `wsrep_sync_wait` of MySQL's sessions; `None` leaves the server's.
    pub mysql_wsrep_sync_wait: Option<i64>,
}

/// How often a connection is tried anew before it counts as not to be had.
#[derive(Debug, Clone, Copy)]
pub struct Reconnect {
    /// Further attempts; `None` for ever, 0 for none.
    pub attempts: Option<u32>,
    /// The first pause between them.
    pub pause: Duration,
    /// The longest pause; each is twice the one before, up to this.
    pub longest: Duration,
}

/// How the connections to a database are used at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In use.
    pub in_use: usize,
    /// Open and waiting for their next use.
    pub idle: usize,
    /// Requests that wait for one; on SQLite, for the only one that writes.
    pub waiting: usize,
}

/// A handle to one database; clones share its connections.
#[derive(Debug, Clone)]
pub struct Database {
    pool: Pool,
}

#[derive(Debug, Clone)]
enum Pool {
    Sqlite(sqlite::Pool),
    Mysql(mysql::Pool),
    Postgres(postgres::Pool),
}

impl Settings {
    /// The defaults for the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_pool_size: 5,
            max_overflow: Some(50),
            wait: Duration::from_secs(30),
            max_age: Some(Duration::from_secs(3600)),
            reconnect: Reconnect { attempts: Some(0), pause: Duration::from_secs(1), longest: Duration::from_secs(10) },
            mysql_sql_mode: Some("TRADITIONAL".to_owned()),
            mysql_wsrep_sync_wait: None,
        }
    }

    /// The connections that may be open at once; `None` for any number.
    pub(crate) fn max_open(&self) -> Option<usize> {
        self.max_overflow.filter(|_| self.max_pool_size > 0).map(|overflow| self.max_pool_size + overflow)
    }
}

impl fmt::Debug for Settings {
    /// Without the URL, which holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("max_open", &self.max_open()).finish_non_exhaustive()
    }
}

impl Database {
    /// Connects, so that a wrong URL, a missing server or a refused password shows here.
    pub async fn connect(settings: &Settings) -> Result<Self, DbError> {
        let scheme = settings.url.split(':').next().unwrap_or_default();
        let pool = match scheme.split('+').next().unwrap_or_default() {
            "sqlite" => Pool::Sqlite(sqlite::Pool::open(settings)?),
            "mysql" | "mariadb" => Pool::Mysql(mysql::Pool::open(settings).await?),
            "postgresql" | "postgres" => Pool::Postgres(postgres::Pool::open(settings).await?),
            _ => {
                return Err(DbError::Url(format!(
                    "'{scheme}' is not a database this program knows; use sqlite://, mysql+pymysql:// or postgresql://"
                )));
            }
        };
        Ok(Self { pool })
    }

    /// Which kind it is.
    pub fn backend(&self) -> Backend {
        match &self.pool {
            Pool::Sqlite(_) => Backend::Sqlite,
            Pool::Mysql(_) => Backend::Mysql,
            Pool::Postgres(_) => Backend::Postgres,
        }
    }

    /// How its connections are used now.
    pub fn usage(&self) -> Usage {
        match &self.pool {
            Pool::Sqlite(pool) => pool.usage(),
            Pool::Mysql(pool) => pool.usage(),
            Pool::Postgres(pool) => pool.usage(),
        }
    }

    /// Whether it answers: one statement on a connection that requests use too.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.reader().await?.sql("SELECT 1", Vec::new()).await.map(drop)
    }

    /// A connection whose selects all see one snapshot.
    pub async fn reader(&self) -> Result<Conn, DbError> {
        match &self.pool {
            Pool::Sqlite(pool) => Ok(Conn::new(Inner::Sqlite(pool.reader()?))),
            Pool::Mysql(pool) => Ok(Conn::new(Inner::Mysql(pool.reader().await?))),
            Pool::Postgres(pool) => Ok(Conn::new(Inner::Postgres(pool.reader().await?))),
        }
    }

    /// A connection whose first statement stands for itself, and whose further ones see one snapshot that begins with the
    /// second. For what one statement tells as a rule.
    pub async fn glance(&self) -> Result<Conn, DbError> {
        match &self.pool {
            Pool::Sqlite(pool) => Ok(Conn::new(Inner::Sqlite(pool.glance()?))),
            Pool::Mysql(pool) => Ok(Conn::new(Inner::Mysql(pool.glance().await?))),
            Pool::Postgres(pool) => Ok(Conn::new(Inner::Postgres(pool.glance().await?))),
        }
    }

    /// A write transaction. On SQLite there is one at a time; waiting for it is fair and blocks no thread.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        match &self.pool {
            Pool::Sqlite(pool) => Ok(Tx::new(Conn::new(Inner::Sqlite(pool.writer().await?)))),
            Pool::Mysql(pool) => Ok(Tx::new(Conn::new(Inner::Mysql(pool.writer().await?)))),
            Pool::Postgres(pool) => Ok(Tx::new(Conn::new(Inner::Postgres(pool.writer().await?)))),
        }
    }
}
