//! PostgreSQL.
//!
//! The `BEGIN` travels with the first statement, so a transaction costs no round trip of its own at the start. Readers
//! see one snapshot (REPEATABLE READ, READ ONLY); writers run at the server's default, READ COMMITTED, as upstream's
//! do. The server tells the type of each parameter and column, and [`value`] converts by it; no statement needs a
//! cast for an enumeration, a narrow number or a timestamp.

mod error;
mod tls;
mod value;

use std::{fmt, future::Future, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, RecyclingMethod, Runtime, Timeouts};
use futures_util::future;
use tokio_postgres::types::ToSql;

use crate::{DbError, Row, Settings, Value, conn::Outcome, url::Url};
use error::translate;

/// Statements kept prepared by each connection.
const STATEMENT_CACHE: usize = 256;
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const WRITE: &str = "BEGIN";

/// The connections to one server.
#[derive(Clone)]
pub(crate) struct Pool(deadpool_postgres::Pool);

/// A connection in use, inside a transaction.
pub(crate) struct Session {
    connection: Option<Object>,
    /// The statement that begins the transaction, until it has been sent.
    begin: Option<&'static str>,
    /// A statement was sent whose answer has not been read: the next one would wait for it.
    cut: bool,
}

impl Pool {
    pub(crate) async fn open(settings: &Settings) -> Result<Self, DbError> {
        let url = Url::parse(&settings.url)?;
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match tls::connector(&url)? {
            Some(tls) => Manager::from_config(config(&url), tls, manager_config),
            None => Manager::from_config(config(&url), tokio_postgres::NoTls, manager_config),
        };
        let wait = Some(settings.wait);
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(settings.max_pool_size.max(1))
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait, create: wait, recycle: wait })
            .build()
            .map_err(DbError::unavailable)?;
        let pool = Self(pool);
        pool.reader().await?;
        Ok(pool)
    }

    pub(crate) async fn reader(&self) -> Result<Session, DbError> {
        self.session(READ).await
    }

    pub(crate) async fn writer(&self) -> Result<Session, DbError> {
        self.session(WRITE).await
    }

    async fn session(&self, begin: &'static str) -> Result<Session, DbError> {
        let connection = self.0.get().await.map_err(DbError::unavailable)?;
        Ok(Session { connection: Some(connection), begin: Some(begin), cut: false })
    }
}

fn config(url: &Url) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host(url.option("host").unwrap_or(&url.host)).dbname(&url.database).application_name("isospin");
    config.connect_timeout(Duration::from_secs(10));
    if let Some(user) = &url.user {
        config.user(user);
    }
    if let Some(password) = &url.password {
        config.password(password);
    }
    if let Some(port) = url.port {
        config.port(port);
    }
    if tls::is_wanted(url) {
        config.ssl_mode(tokio_postgres::config::SslMode::Require);
    } else {
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
    }
    config
}

impl Session {
    pub(crate) async fn run(&mut self, text: &str, binds: &[Value]) -> Result<Outcome, DbError> {
        let connection = self.connection.as_ref().ok_or_else(given_back)?;
        self.cut = true;
        let result = begun(connection, &mut self.begin, run(connection, text, binds)).await;
        self.cut = false;
        result.map_err(|e| translate(text, e))
    }

    pub(crate) async fn batch(&mut self, text: &str) -> Result<(), DbError> {
        let connection = self.connection.as_ref().ok_or_else(given_back)?;
        self.cut = true;
        let result = begun(connection, &mut self.begin, connection.batch_execute(text)).await;
        self.cut = false;
        result.map_err(|e| translate(text, e))
    }

    pub(crate) async fn commit(mut self) -> Result<(), DbError> {
        if self.begin.is_some() {
            return Ok(());
        }
        self.batch("COMMIT").await?;
        // Nothing is left to roll back.
        self.begin = Some(WRITE);
        Ok(())
    }
}

impl Drop for Session {
    /// Rolls back what was not committed. The connection returns to the pool only after that; one with an answer still
    /// to come is closed instead.
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.cut {
            drop(Object::take(connection));
        } else if self.begin.is_none()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if connection.batch_execute("ROLLBACK").await.is_err() {
                    drop(Object::take(connection));
                }
            });
        }
    }
}

/// Sends `BEGIN` right before the first statement, without waiting for its answer in between.
async fn begun<T>(
    connection: &Object,
    begin: &mut Option<&'static str>,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, tokio_postgres::Error> {
    match begin.take() {
        None => work.await,
        Some(begin) => {
            let (begun, done) = future::join(connection.batch_execute(begin), work).await;
            begun?;
            done
        }
    }
}

async fn run(connection: &Object, text: &str, binds: &[Value]) -> Result<Outcome, tokio_postgres::Error> {
    if connection.statement_cache.size() >= STATEMENT_CACHE {
        // It has no order of age; texts of hot statements are back soon.
        connection.statement_cache.clear();
    }
    let statement = connection.prepare_cached(text).await?;
    let params: Vec<&(dyn ToSql + Sync)> = binds.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    if statement.columns().is_empty() {
        let affected = connection.execute(&statement, &params).await?;
        return Ok(Outcome { rows: Vec::new(), affected, last_id: 0 });
    }
    let mut rows = Vec::new();
    for row in connection.query(&statement, &params).await? {
        rows.push(Row::new((0..row.len()).map(|i| row.try_get(i)).collect::<Result<_, _>>()?));
    }
    let affected = rows.len() as u64;
    Ok(Outcome { rows, affected, last_id: 0 })
}

fn given_back() -> DbError {
    DbError::unavailable("the connection was given back")
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool(postgres)")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(postgres)")
    }
}
