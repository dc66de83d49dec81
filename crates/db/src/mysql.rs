//! MySQL and MariaDB, alone or as a Galera cluster.
//!
//! Sessions run with autocommit off, so that a transaction begins with its first statement and costs no round trip of
//! its own. What ends without a commit is rolled back behind the back of whoever dropped it. The SQL mode is the one
//! upstream sets; isolation is the server's default, REPEATABLE READ.

mod error;

use std::fmt;

use mysql_async::{Opts, OptsBuilder, Params, PoolConstraints, PoolOpts, SslOpts, prelude::Queryable};

use crate::{DbError, Row, Settings, Value, conn::Outcome, url::Url};
use error::translate;

/// Statements kept prepared by all connections of a pool: a server allows 16,382 in all, and has several clients.
const STATEMENT_CACHE: usize = 5_000;
/// What each session is set to.
const SETUP: &str = "SET SESSION sql_mode = 'TRADITIONAL', autocommit = 0";

/// The connections to one server.
#[derive(Clone)]
pub(crate) struct Pool {
    pool: mysql_async::Pool,
    wait: std::time::Duration,
}

/// A connection in use, inside a transaction.
pub(crate) struct Session {
    connection: Option<mysql_async::Conn>,
    /// Something ran since the last commit.
    dirty: bool,
    /// A statement was sent whose answer has not been read: the connection is of no more use.
    cut: bool,
}

impl Pool {
    pub(crate) async fn open(settings: &Settings) -> Result<Self, DbError> {
        let pool = mysql_async::Pool::new(options(&Url::parse(&settings.url)?, settings.max_pool_size));
        let pool = Self { pool, wait: settings.wait };
        pool.session().await?;
        Ok(pool)
    }

    pub(crate) async fn session(&self) -> Result<Session, DbError> {
        let connection = tokio::time::timeout(self.wait, self.pool.get_conn())
            .await
            .map_err(|_| DbError::unavailable("no connection came free in time"))?
            .map_err(DbError::unavailable)?;
        Ok(Session { connection: Some(connection), dirty: false, cut: false })
    }
}

fn options(url: &Url, size: usize) -> Opts {
    let constraints = PoolConstraints::new(0, size.max(1)).unwrap_or_default();
    // Resetting a connection would also throw its prepared statements away.
    let pool = PoolOpts::default().with_constraints(constraints).with_reset_connection(false);
    let ssl = url.option("ssl_ca").map(|path| {
        let certificate = std::path::PathBuf::from(path);
        SslOpts::default().with_root_certs(vec![certificate.into()])
    });
    let mut builder = OptsBuilder::default()
        .ip_or_hostname(url.host.clone())
        .user(url.user.clone())
        .pass(url.password.clone())
        .db_name(Some(url.database.clone()))
        .socket(url.option("unix_socket"))
        .prefer_socket(Some(false))
        .stmt_cache_size(Some((STATEMENT_CACHE / size.max(1)).clamp(16, 200)))
        .client_found_rows(true)
        .ssl_opts(ssl)
        .setup(vec![SETUP])
        .pool_opts(pool);
    if let Some(port) = url.port {
        builder = builder.tcp_port(port);
    }
    builder.into()
}

impl Session {
    pub(crate) async fn run(&mut self, text: &str, binds: Vec<Value>) -> Result<Outcome, DbError> {
        (self.dirty, self.cut) = (true, true);
        let result = run(self.connection()?, text, binds).await;
        self.cut = false;
        result.map_err(|e| translate(text, e))
    }

    pub(crate) async fn batch(&mut self, text: &str) -> Result<(), DbError> {
        (self.dirty, self.cut) = (true, true);
        let result = self.connection()?.query_drop(text).await;
        self.cut = false;
        result.map_err(|e| translate(text, e))
    }

    pub(crate) async fn commit(mut self) -> Result<(), DbError> {
        self.batch("COMMIT").await?;
        self.dirty = false;
        Ok(())
    }

    fn connection(&mut self) -> Result<&mut mysql_async::Conn, DbError> {
        self.connection.as_mut().ok_or_else(|| DbError::unavailable("the connection was given back"))
    }
}

impl Drop for Session {
    /// Rolls back what was not committed. The connection returns to the pool only after that.
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if !self.dirty {
            return;
        }
        let cut = self.cut;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if cut || connection.query_drop("ROLLBACK").await.is_err() {
                    let _ = connection.disconnect().await;
                }
            });
        }
    }
}

async fn run(connection: &mut mysql_async::Conn, text: &str, binds: Vec<Value>) -> Result<Outcome, mysql_async::Error> {
    let params =
        if binds.is_empty() { Params::Empty } else { Params::Positional(binds.into_iter().map(bind).collect()) };
    let mut result = connection.exec_iter(text, params).await?;
    let affected = result.affected_rows();
    let last_id = result.last_insert_id().and_then(|id| i64::try_from(id).ok()).unwrap_or_default();
    let rows = result.map(|row| Row::new(row.unwrap().into_iter().map(read).collect())).await?;
    drop(result);
    Ok(Outcome { rows, affected, last_id })
}

fn bind(value: Value) -> mysql_async::Value {
    use chrono::{Datelike, Timelike};
    match value {
        Value::Null => mysql_async::Value::NULL,
        Value::Bool(b) => mysql_async::Value::Int(i64::from(b)),
        Value::Int(i) => mysql_async::Value::Int(i),
        Value::Text(t) => mysql_async::Value::Bytes(t.into_bytes()),
        Value::Timestamp(t) => mysql_async::Value::Date(
            u16::try_from(t.year()).unwrap_or_default(),
            small(t.month()),
            small(t.day()),
            small(t.hour()),
            small(t.minute()),
            small(t.second()),
            t.and_utc().timestamp_subsec_micros(),
        ),
    }
}

/// A part of a date; all are below 60.
fn small(part: u32) -> u8 {
    u8::try_from(part).unwrap_or_default()
}

fn read(value: mysql_async::Value) -> Value {
    match value {
        mysql_async::Value::NULL => Value::Null,
        mysql_async::Value::Int(i) => Value::Int(i),
        mysql_async::Value::UInt(u) => i64::try_from(u).map_or_else(|_| Value::Text(u.to_string()), Value::Int),
        mysql_async::Value::Float(f) => Value::Text(f.to_string()),
        mysql_async::Value::Double(d) => Value::Text(d.to_string()),
        mysql_async::Value::Bytes(b) => {
            Value::Text(String::from_utf8(b).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
        }
        mysql_async::Value::Date(year, month, day, hour, minute, second, micro) => {
            chrono::NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), u32::from(day))
                .and_then(|date| date.and_hms_micro_opt(u32::from(hour), u32::from(minute), u32::from(second), micro))
                .map_or(Value::Null, Value::Timestamp)
        }
        mysql_async::Value::Time(..) => Value::Null,
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool(mysql)")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(mysql)")
    }
}
