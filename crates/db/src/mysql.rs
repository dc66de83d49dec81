//! MySQL and MariaDB, alone or as a Galera cluster.
//!
//! What begins a transaction travels with its first statement, so it costs no round trip of its own. A statement alone is
//! a prepared one; several that travel together are one text ([`text`]). What ends without a commit is rolled back behind
//! the back of whoever dropped it. The SQL mode is the one upstream sets; isolation is the server's default, REPEATABLE
//! READ.
//!
//! At a node of Galera each statement of a transaction that writes travels alone. The node may have to give up the
//! transaction for another node's, and says so in the answer to what was sent; between two statements of one text it rolls
//! back and goes on with the second, outside any transaction, and a commit that follows says that all is well.

mod error;
mod options;
mod text;
mod tls;

use std::{fmt, time::Duration};

use mysql_async::{Params, prelude::Queryable};
use parking_lot::Mutex;

use crate::{
    DbError, Row, Settings, Usage, Value,
    flight::{Failed, Outcome, Statement},
    pool::{self, Lease},
};
use error::{connecting, translate};
use options::Options;

const READ: &str = "START TRANSACTION READ ONLY";
const WRITE: &str = "START TRANSACTION";
const IS_NODE: &str = "SHOW SESSION VARIABLES LIKE 'wsrep_on'";

/// The connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    connections: pool::Pool<Server>,
    /// How long a statement may take.
    limit: Option<Duration>,
}

/// Makes connections.
#[derive(Debug)]
struct Server(Mutex<mysql_async::Opts>);

/// A connection, and what is at its other end.
pub(crate) struct Connection {
    driver: mysql_async::Conn,
    /// A node of Galera.
    is_node: bool,
}

/// A connection in use, inside a transaction.
pub(crate) struct Session {
    lease: Option<Lease<Server>>,
    limit: Option<Duration>,
    /// The transaction is one that writes.
    writes: bool,
    /// The statement that begins the transaction, until it has been sent.
    begin: Option<&'static str>,
    /// The first statement stands for itself, before the transaction begins.
    glance: bool,
    /// The connection is of no more use: it broke, or a statement was sent whose answer has not been read.
    cut: bool,
}

impl pool::Connector for Server {
    type Connection = Connection;

    async fn connect(&self) -> Result<Connection, DbError> {
        let options = self.0.lock().clone();
        let made = match mysql_async::Conn::new(options.clone()).await {
            Err(refused) => match tls::with_presented_name(&options, &refused) {
                Some(named) => {
                    self.0.lock().clone_from(&named);
                    mysql_async::Conn::new(named).await
                }
                None => Err(refused),
            },
            made => made,
        };
        let mut driver = made.map_err(connecting)?;
        // A server that knows nothing of clusters has no such variable.
        let on: Option<(String, String)> = driver.query_first(IS_NODE).await.map_err(connecting)?;
        Ok(Connection { driver, is_node: on.is_some_and(|(_, value)| value == "ON") })
    }
}

impl Pool {
    pub(crate) async fn open(settings: &Settings) -> Result<Self, DbError> {
        let Options { driver, connect, statement } = Options::new(settings)?;
        let pool =
            Self { connections: pool::Pool::new(Server(Mutex::new(driver)), settings, connect), limit: statement };
        pool.reader().await?;
        Ok(pool)
    }

    pub(crate) fn usage(&self) -> Usage {
        self.connections.usage()
    }

    pub(crate) async fn reader(&self) -> Result<Session, DbError> {
        self.session(READ).await
    }

    /// Its first statement stands for itself.
    pub(crate) async fn glance(&self) -> Result<Session, DbError> {
        let mut session = self.session(READ).await?;
        session.glance = true;
        Ok(session)
    }

    pub(crate) async fn writer(&self) -> Result<Session, DbError> {
        self.session(WRITE).await
    }

    async fn session(&self, begin: &'static str) -> Result<Session, DbError> {
        let lease = Some(self.connections.get().await?);
        let writes = begin == WRITE;
        Ok(Session { lease, limit: self.limit, writes, begin: Some(begin), glance: false, cut: false })
    }
}

impl Session {
    /// Does several statements in one round trip, in order up to the first that fails. The first flight on a connection
    /// that broke while it was idle is repeated on a new one.
    pub(crate) async fn flight(&mut self, statements: &[&Statement]) -> Result<Vec<Outcome>, Failed> {
        let (begin, glance) = (self.begin, self.glance);
        let fresh = begin.is_some() && self.lease.as_ref().is_some_and(Lease::is_reused);
        match self.attempt(statements).await {
            Err(Failed { error: DbError::Lost { .. }, .. }) if fresh => {
                self.lease.as_mut().ok_or_else(gone)?.replace().await.map_err(Failed::at_once)?;
                (self.begin, self.glance) = (begin, glance);
                self.attempt(statements).await
            }
            result => result,
        }
    }

    async fn attempt(&mut self, statements: &[&Statement]) -> Result<Vec<Outcome>, Failed> {
        if !self.is_apart() {
            return self.together(statements).await;
        }
        let mut outcomes = Vec::with_capacity(statements.len());
        for (at, statement) in statements.iter().enumerate() {
            let done = self.together(&[statement]).await.map_err(|failed| Failed { at, ..failed })?;
            outcomes.extend(done);
        }
        Ok(outcomes)
    }

    /// No two statements may travel in one text.
    fn is_apart(&mut self) -> bool {
        self.writes && self.lease.as_mut().is_some_and(|lease| lease.connection().is_node)
    }

    async fn together(&mut self, statements: &[&Statement]) -> Result<Vec<Outcome>, Failed> {
        let glance = std::mem::take(&mut self.glance);
        // One alone is prepared: the server need not parse it again.
        if let [one] = statements
            && (glance || self.begin.is_none())
        {
            return self.prepared(one).await.map(|outcome| vec![outcome]).map_err(Failed::at_once);
        }
        let text = text::together(statements).map_err(Failed::at_once)?;
        let mut outcomes = Vec::with_capacity(statements.len());
        let failure = self.send(text, statements.len(), &mut outcomes).await;
        self.told(failure, statements, outcomes.len())?;
        Ok(outcomes)
    }

    async fn prepared(&mut self, statement: &Statement) -> Result<Outcome, DbError> {
        let limit = self.limit;
        self.cut = true;
        let result = limited(limit, run(self.connection()?, &statement.text, &statement.binds)).await;
        self.done(result.map_err(|e| translate(&statement.text, e)))
    }

    /// Sends a text of so many statements, after what begins the transaction, and collects what they did.
    async fn send(
        &mut self,
        text: String,
        count: usize,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), mysql_async::Error> {
        let (limit, begin) = (self.limit, self.begin.take());
        self.cut = true;
        let connection = self.connection().map_err(|error| mysql_async::Error::Other(error.into()))?;
        let Some(begin) = begin else {
            return limited(limit, text::run(connection, &text, count, outcomes)).await;
        };
        let text = format!("{begin};\n{text}");
        let result = limited(limit, text::run(connection, &text, count + 1, outcomes)).await;
        // Nobody asks what the beginning did.
        outcomes.drain(..1.min(outcomes.len()));
        result
    }

    /// The error of a flight, of which so many statements had been done.
    fn told(
        &mut self,
        result: Result<(), mysql_async::Error>,
        statements: &[&Statement],
        done: usize,
    ) -> Result<(), Failed> {
        let at = done.min(statements.len().saturating_sub(1));
        let text = statements.get(at).map_or("COMMIT", |statement| &*statement.text);
        self.done(result.map_err(|e| translate(text, e))).map_err(|error| Failed { at: done, error })
    }

    pub(crate) async fn batch(&mut self, text: &str) -> Result<(), DbError> {
        let (limit, begin) = (self.limit, self.begin.take());
        let text = begin.map_or_else(|| text.to_owned(), |begin| format!("{begin};\n{text}"));
        self.cut = true;
        let result = limited(limit, self.connection()?.query_drop(&text)).await;
        self.done(result.map_err(|e| translate(&text, e)))
    }

    /// Does the last statements and commits, in one round trip where that is safe.
    pub(crate) async fn commit(mut self, last: &[&Statement]) -> Result<Vec<Outcome>, Failed> {
        if self.begin.is_some() && last.is_empty() {
            return Ok(Vec::new());
        }
        if !self.is_apart() {
            return self.end(last).await;
        }
        let mut outcomes = self.attempt(last).await?;
        outcomes.extend(self.end(&[]).await.map_err(|failed| Failed { at: last.len(), ..failed })?);
        Ok(outcomes)
    }

    async fn end(&mut self, last: &[&Statement]) -> Result<Vec<Outcome>, Failed> {
        let mut text = text::together(last).map_err(Failed::at_once)?;
        text.push_str(if last.is_empty() { "COMMIT" } else { ";\nCOMMIT" });
        let mut outcomes = Vec::with_capacity(last.len() + 1);
        let result = self.send(text, last.len() + 1, &mut outcomes).await;
        // What the server itself says of an earlier statement says that it has not come to the commit.
        let reached = outcomes.len() >= last.len() || !matches!(result, Err(mysql_async::Error::Server(_)));
        self.told(result, last, outcomes.len()).map_err(|failed| match reached {
            true => Failed { error: failed.error.of_commit(), ..failed },
            false => failed,
        })?;
        // Nothing is left to roll back.
        self.begin = Some(WRITE);
        Ok(outcomes)
    }

    /// The answer has been read, unless there was none.
    fn done<T>(&mut self, result: Result<T, DbError>) -> Result<T, DbError> {
        self.cut = matches!(result, Err(DbError::Lost { .. }));
        if self.cut
            && let Some(lease) = &self.lease
        {
            lease.broke();
        }
        result
    }

    fn connection(&mut self) -> Result<&mut mysql_async::Conn, DbError> {
        self.lease.as_mut().map(|lease| &mut lease.connection().driver).ok_or_else(given_back)
    }
}

impl Drop for Session {
    /// Rolls back what was not committed. The connection returns to the pool only after that.
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else { return };
        // Closing it in good order would wait for an answer that may never come.
        if self.cut {
            return;
        }
        if self.begin.is_some() {
            return lease.give_back();
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if lease.connection().driver.query_drop("ROLLBACK").await.is_ok() {
                    lease.give_back();
                }
            });
        }
    }
}

fn given_back() -> DbError {
    DbError::unavailable("the connection was given back")
}

fn gone() -> Failed {
    Failed::at_once(given_back())
}

/// The answer, unless it takes too long.
async fn limited<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, mysql_async::Error> {
    match limit {
        None => answer.await,
        Some(limit) => tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
            let error = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer within read_timeout");
            Err(mysql_async::Error::Io(error.into()))
        }),
    }
}

async fn run(connection: &mut mysql_async::Conn, text: &str, binds: &[Value]) -> Result<Outcome, mysql_async::Error> {
    let params = if binds.is_empty() { Params::Empty } else { Params::Positional(binds.iter().map(bind).collect()) };
    let mut result = connection.exec_iter(text, params).await?;
    let affected = result.affected_rows();
    let last_id = result.last_insert_id().and_then(|id| i64::try_from(id).ok()).unwrap_or_default();
    let rows = result.map(|row| Row::new(row.unwrap().into_iter().map(read).collect())).await?;
    drop(result);
    Ok(Outcome { rows, affected, last_id })
}

fn bind(value: &Value) -> mysql_async::Value {
    use chrono::{Datelike, Timelike};
    match value {
        Value::Null => mysql_async::Value::NULL,
        Value::Bool(b) => mysql_async::Value::Int(i64::from(*b)),
        Value::Int(i) => mysql_async::Value::Int(*i),
        Value::Text(t) => mysql_async::Value::Bytes(t.as_bytes().to_vec()),
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

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(mysql)")
    }
}
