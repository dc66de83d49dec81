//! PostgreSQL.
//!
//! The `BEGIN` travels with the first statement, so a transaction costs no round trip of its own at the start. Readers
//! see one snapshot (REPEATABLE READ, READ ONLY); writers run at the server's default, READ COMMITTED, as upstream's
//! do. The server tells the type of each parameter and column, and [`value`] converts by it; no statement needs a
//! cast for an enumeration, a narrow number or a timestamp.

mod client;
mod error;
mod options;
mod tls;
mod value;

use std::fmt;

use crate::{
    DbError, Settings, Usage,
    flight::{Failed, Outcome, Statement},
    pool::{self, Lease},
};
use client::Connection;
use error::{connecting, translate};
use options::Options;

const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const WRITE: &str = "BEGIN";

/// The connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Pool(pool::Pool<Server>);

/// Makes connections.
struct Server {
    config: tokio_postgres::Config,
    tls: Option<tokio_postgres_rustls::MakeRustlsConnect>,
}

/// A connection in use, inside a transaction.
pub(crate) struct Session {
    lease: Option<Lease<Server>>,
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
        match &self.tls {
            Some(tls) => driven(self.config.connect(tls.clone()).await.map_err(connecting)?),
            None => driven(self.config.connect(tokio_postgres::NoTls).await.map_err(connecting)?),
        }
    }
}

/// The connection's own task reads and writes until the client is dropped.
fn driven<S, T>(
    (client, connection): (tokio_postgres::Client, tokio_postgres::Connection<S, T>),
) -> Result<Connection, DbError>
where
    tokio_postgres::Connection<S, T>: Future + Send + 'static,
    <tokio_postgres::Connection<S, T> as Future>::Output: Send + 'static,
{
    tokio::spawn(connection);
    Ok(Connection::new(client))
}

impl Pool {
    pub(crate) async fn open(settings: &Settings) -> Result<Self, DbError> {
        let Options { driver: config, tls, connect } = Options::new(settings)?;
        let pool = Self(pool::Pool::new(Server { config, tls }, settings, connect));
        pool.reader().await?;
        Ok(pool)
    }

    pub(crate) fn usage(&self) -> Usage {
        self.0.usage()
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
        Ok(Session { lease: Some(self.0.get().await?), begin: Some(begin), glance: false, cut: false })
    }
}

impl Session {
    /// Does several statements in one round trip, in order up to the first that fails. The first flight on a connection
    /// that broke while it was idle is repeated on a new one.
    pub(crate) async fn flight(&mut self, statements: &[&Statement]) -> Result<Vec<Outcome>, Failed> {
        let (begin, glance) = (self.begin, self.glance);
        let fresh = begin.is_some() && self.lease.as_ref().is_some_and(Lease::is_reused);
        match self.attempt(statements, None).await {
            Err(Failed { error: DbError::Lost { .. }, .. }) if fresh => {
                self.lease.as_mut().ok_or_else(gone)?.replace().await.map_err(Failed::at_once)?;
                (self.begin, self.glance) = (begin, glance);
                self.attempt(statements, None).await
            }
            result => result,
        }
    }

    async fn attempt(&mut self, statements: &[&Statement], end: Option<&str>) -> Result<Vec<Outcome>, Failed> {
        let glance = std::mem::take(&mut self.glance) && statements.len() == 1;
        let begin = if glance { None } else { self.begin.take() };
        let connection = self.lease.as_mut().ok_or_else(gone)?.connection();
        self.cut = true;
        let result = connection.fly(begin, statements, end).await;
        let text = |at: usize| statements.get(at).map_or(end.unwrap_or_default(), |statement| &*statement.text);
        match result {
            Ok(outcomes) => {
                self.cut = false;
                Ok(outcomes)
            }
            Err((at, error)) => self
                .done::<()>(Err(translate(text(at), error)))
                .map_err(|error| Failed { at, error })
                .map(|()| Vec::new()),
        }
    }

    pub(crate) async fn batch(&mut self, text: &str) -> Result<(), DbError> {
        let connection = self.lease.as_mut().ok_or_else(given_back)?.connection();
        self.cut = true;
        let result = match self.begin.take() {
            None => connection.client.batch_execute(text).await,
            Some(begin) => connection.client.batch_execute(&format!("{begin}; {text}")).await,
        };
        self.done(result.map_err(|e| translate(text, e)))
    }

    /// Does the last statements and commits, in one round trip.
    pub(crate) async fn commit(mut self, last: &[&Statement]) -> Result<Vec<Outcome>, Failed> {
        if self.begin.is_some() && last.is_empty() {
            return Ok(Vec::new());
        }
        // A statement that failed leaves a transaction whose commit rolls it back.
        let outcomes = self
            .attempt(last, Some("COMMIT"))
            .await
            .map_err(|failed| Failed { error: failed.error.of_commit(), ..failed })?;
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
}

impl Drop for Session {
    /// Rolls back what was not committed. The connection returns to the pool only after that; one with an answer still
    /// to come is closed instead.
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else { return };
        if self.cut {
            return;
        }
        if self.begin.is_some() {
            return lease.give_back();
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if lease.connection().client.batch_execute("ROLLBACK").await.is_ok() {
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

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(postgres)")
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}
