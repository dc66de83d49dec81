//! A connection inside a transaction, the same on every backend.

use std::{
    fmt::Write as _,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use sea_query::{
    DeleteStatement, MysqlQueryBuilder, PostgresQueryBuilder, QueryStatementWriter, SelectStatement,
    SqliteQueryBuilder, UpdateStatement,
};

use crate::{
    Backend, DbError, Row, Value,
    flight::{Behind, Failed, Later, Outcome, Race, Statement},
    mysql, postgres,
    schema::Table,
    sqlite,
};

/// Parameters bound in one statement at most; both servers allow 65,535.
const MAX_BINDS: usize = 32_000;
/// So many bytes are written behind before they are sent: each connection keeps room for the longest text it has sent.
const MAX_BEHIND: usize = 32 << 10;

/// A connection. It is inside a read snapshot, or inside the write transaction of the [`Tx`] that holds it.
///
/// After an error only dropping it is portable: PostgreSQL refuses all further statements of a failed transaction.
#[derive(Debug)]
pub struct Conn {
    inner: Inner,
    /// Sent with the next flight.
    behind: Vec<Behind>,
    /// Answers to what is going to be asked.
    ahead: Vec<(Statement, Vec<Row>)>,
}

#[derive(Debug)]
pub(crate) enum Inner {
    Sqlite(sqlite::Session),
    Mysql(mysql::Session),
    Postgres(postgres::Session),
}

/// A write transaction; dropped without [`Tx::commit`], it is rolled back.
#[derive(Debug)]
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Tx {
    conn: Conn,
}

impl Conn {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner, behind: Vec::new(), ahead: Vec::new() }
    }

    /// Which kind of database this is a connection to.
    pub fn backend(&self) -> Backend {
        match &self.inner {
            Inner::Sqlite(_) => Backend::Sqlite,
            Inner::Mysql(_) => Backend::Mysql,
            Inner::Postgres(_) => Backend::Postgres,
        }
    }

    /// The rows of a query.
    pub async fn select(&mut self, statement: &SelectStatement) -> Result<Vec<Row>, DbError> {
        let statement = self.statement(statement);
        self.ask(statement).await
    }

    /// The rows of several queries that do not need each other's answers, in one flight.
    pub async fn select_all<const N: usize>(
        &mut self,
        queries: [&SelectStatement; N],
    ) -> Result<[Vec<Row>; N], DbError> {
        let mut answers = [const { None }; N];
        let mut open = Vec::with_capacity(N);
        for (answer, query) in answers.iter_mut().zip(queries) {
            let statement = self.statement(query);
            *answer = self.answered(&statement);
            if answer.is_none() {
                open.push(statement);
            }
        }
        let mut outcomes = if open.is_empty() { Vec::new() } else { self.flight(&open).await? }.into_iter();
        Ok(answers.map(|answer| answer.unwrap_or_else(|| outcomes.next().unwrap_or_default().rows)))
    }

    /// Asks in one flight what this transaction is going to ask one by one.
    pub async fn ahead(&mut self, mut statements: Vec<Statement>) -> Result<(), DbError> {
        if self.backend() == Backend::Sqlite || statements.len() < 2 {
            return Ok(());
        }
        let outcomes = self.flight(&statements).await?;
        self.ahead.extend(statements.drain(..).zip(outcomes.into_iter().map(|outcome| outcome.rows)));
        Ok(())
    }

    /// A query, to be asked [`Conn::ahead`].
    pub fn statement(&self, query: &impl QueryStatementWriter) -> Statement {
        let (text, values) = match self.backend() {
            Backend::Sqlite => query.build(SqliteQueryBuilder),
            Backend::Mysql => query.build(MysqlQueryBuilder),
            Backend::Postgres => query.build(PostgresQueryBuilder),
        };
        Statement::new(text, values.into_iter().map(Value::from_query).collect())
    }

    /// Inserts rows, all with the same columns.
    pub async fn insert(
        &mut self,
        table: &'static Table,
        columns: &[&str],
        rows: Vec<Vec<Value>>,
    ) -> Result<(), DbError> {
        for statement in self.inserts(table, columns, rows) {
            self.write(Behind { statement, table: Some(table), race: None, number: None }).await?;
        }
        Ok(())
    }

    /// Inserts rows, at the latest with the commit: errors show there, or in any statement before.
    pub async fn insert_behind(
        &mut self,
        table: &'static Table,
        columns: &[&str],
        rows: Vec<Vec<Value>>,
    ) -> Result<(), DbError> {
        for statement in self.inserts(table, columns, rows) {
            self.write_behind(Behind { statement, table: Some(table), race: None, number: None }).await?;
        }
        Ok(())
    }

    /// The same for rows that are only missing because another transaction has not been faster. If one was, the error is
    /// a conflict: the whole operation can be run again.
    pub async fn insert_raced(
        &mut self,
        table: &'static Table,
        columns: &[&str],
        rows: Vec<Vec<Value>>,
        race: Race,
    ) -> Result<(), DbError> {
        for statement in self.inserts(table, columns, rows) {
            self.write_behind(Behind { statement, table: Some(table), race: Some(race.clone()), number: None }).await?;
        }
        Ok(())
    }

    /// Inserts one row into a table whose `id` is a sequence, and tells the number it got.
    pub async fn insert_id(
        &mut self,
        table: &'static Table,
        columns: &[&str],
        row: Vec<Value>,
    ) -> Result<i64, DbError> {
        let number = self.insert_id_behind(table, columns, row).await?;
        self.number(&number).await
    }

    /// The same behind, at the latest with the commit.
    pub async fn insert_id_behind(
        &mut self,
        table: &'static Table,
        columns: &[&str],
        row: Vec<Value>,
    ) -> Result<Later, DbError> {
        let mut text = self.insert_text(table, columns, 1);
        if self.backend() == Backend::Postgres {
            text.push_str(" RETURNING id");
        }
        let number = Later::default();
        let statement = Statement::new(text, row);
        self.write_behind(Behind { statement, table: Some(table), race: None, number: Some(number.clone()) }).await?;
        Ok(number)
    }

    /// The number of a row written behind, which is sent if it still is.
    pub async fn number(&mut self, later: &Later) -> Result<i64, DbError> {
        if later.get().is_err() {
            self.flush().await?;
        }
        later.get()
    }

    /// Updates rows and tells how many matched.
    pub async fn update(&mut self, statement: &UpdateStatement) -> Result<u64, DbError> {
        let statement = self.statement(statement);
        self.change(statement).await
    }

    /// Deletes rows and tells how many.
    pub async fn delete(&mut self, statement: &DeleteStatement) -> Result<u64, DbError> {
        let statement = self.statement(statement);
        self.change(statement).await
    }

    /// The rows of a statement given as text, with `?` for each bound value. For hot statements of a fixed shape.
    pub async fn sql(&mut self, text: &str, binds: Vec<Value>) -> Result<Vec<Row>, DbError> {
        self.ask(Statement::new(text, binds)).await
    }

    /// Like [`Conn::sql`], for statements that give no rows; tells how many rows it touched.
    pub async fn execute(&mut self, text: &str, binds: Vec<Value>) -> Result<u64, DbError> {
        self.change(Statement::new(text, binds)).await
    }

    /// The same, at the latest with the commit, for those who need not know how many.
    pub async fn execute_behind(&mut self, text: &str, binds: Vec<Value>) -> Result<(), DbError> {
        let statement = Statement::new(text, binds);
        self.write_behind(Behind { statement, table: None, race: None, number: None }).await
    }

    /// The answer that came ahead, or one asked for now.
    pub(crate) async fn ask(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        if let Some(rows) = self.answered(&statement) {
            return Ok(rows);
        }
        if !statement.text.starts_with("SELECT") {
            self.ahead.clear();
        }
        Ok(self.run(statement).await?.rows)
    }

    /// What was asked ahead.
    fn answered(&mut self, statement: &Statement) -> Option<Vec<Row>> {
        let at = self.ahead.iter().position(|(asked, _)| asked == statement)?;
        Some(self.ahead.swap_remove(at).1)
    }

    async fn change(&mut self, statement: Statement) -> Result<u64, DbError> {
        self.ahead.clear();
        Ok(self.run(statement).await?.affected)
    }

    /// A statement now, with what is behind before it.
    async fn run(&mut self, statement: Statement) -> Result<Outcome, DbError> {
        match &mut self.inner {
            Inner::Sqlite(session) => session.run(&statement.text, &statement.binds).await,
            _ => Ok(self.flight(&[statement]).await?.pop().unwrap_or_default()),
        }
    }

    async fn write(&mut self, behind: Behind) -> Result<(), DbError> {
        self.write_behind(behind).await?;
        self.flush().await
    }

    async fn write_behind(&mut self, behind: Behind) -> Result<(), DbError> {
        if let Inner::Sqlite(session) = &mut self.inner {
            let done = session.run(&behind.statement.text, &behind.statement.binds).await;
            let outcome = done.map_err(|error| behind.explained(error))?;
            return behind.done(&outcome);
        }
        // The answers that it may make untrue.
        self.ahead.retain(|(asked, _)| behind.table.is_some_and(|table| !asked.text.contains(table.name)));
        self.behind.push(behind);
        let size: usize = self.behind.iter().map(|behind| behind.statement.size()).sum();
        if size > MAX_BEHIND { self.flush().await } else { Ok(()) }
    }

    /// Sends what is behind.
    async fn flush(&mut self) -> Result<(), DbError> {
        if self.behind.is_empty() { Ok(()) } else { self.flight(&[]).await.map(drop) }
    }

    /// Sends what is behind, then these, and tells what these did. Boxed, since every operation holds what this holds.
    fn flight<'a>(&'a mut self, statements: &'a [Statement]) -> BoxFuture<'a, Result<Vec<Outcome>, DbError>> {
        Box::pin(async move {
            let behind = std::mem::take(&mut self.behind);
            let all: Vec<&Statement> = behind.iter().map(|behind| &behind.statement).chain(statements).collect();
            let sent = match &mut self.inner {
                Inner::Sqlite(session) => session.flight(&all).await,
                Inner::Mysql(session) => session.flight(&all).await,
                Inner::Postgres(session) => session.flight(&all).await,
            };
            landed(behind, sent)
        })
    }

    /// Several statements without parameters, parted by semicolons.
    pub(crate) async fn batch(&mut self, text: &str) -> Result<(), DbError> {
        self.flush().await?;
        match &mut self.inner {
            Inner::Sqlite(session) => session.batch(text),
            Inner::Mysql(session) => session.batch(text).await,
            Inner::Postgres(session) => session.batch(text).await,
        }
    }

    fn inserts(&self, table: &'static Table, columns: &[&str], rows: Vec<Vec<Value>>) -> Vec<Statement> {
        if self.backend() == Backend::Sqlite {
            // One prepared statement run for each row beats a long one made anew for each number of rows.
            let text: Arc<str> = self.insert_text(table, columns, 1).into();
            return rows.into_iter().map(|row| Statement::new(Arc::clone(&text), row)).collect();
        }
        let per_statement = (MAX_BINDS / columns.len().max(1)).max(1);
        let (mut rows, mut statements) = (rows.into_iter(), Vec::new());
        loop {
            let binds: Vec<Value> = rows.by_ref().take(per_statement).flatten().collect();
            if binds.is_empty() {
                return statements;
            }
            let text = self.insert_text(table, columns, binds.len() / columns.len());
            statements.push(Statement::new(text, binds));
        }
    }

    fn insert_text(&self, table: &Table, columns: &[&str], rows: usize) -> String {
        let quote = if self.backend() == Backend::Mysql { '`' } else { '"' };
        let mut text = String::with_capacity(64 + 16 * columns.len() + 4 * rows * columns.len());
        let _ = write!(text, "INSERT INTO {quote}{}{quote} (", table.name);
        for (i, column) in columns.iter().enumerate() {
            let _ = write!(text, "{}{quote}{column}{quote}", if i > 0 { ", " } else { "" });
        }
        text.push_str(") VALUES ");
        for row in 0..rows {
            text.push_str(if row > 0 { ", (" } else { "(" });
            for column in 0..columns.len() {
                if column > 0 {
                    text.push_str(", ");
                }
                text.push('?');
            }
            text.push(')');
        }
        text
    }
}

impl Tx {
    pub(crate) fn new(conn: Conn) -> Self {
        Self { conn }
    }

    /// Makes it durable and visible to others.
    pub async fn commit(self) -> Result<(), DbError> {
        let mut conn = self.conn;
        let behind = std::mem::take(&mut conn.behind);
        let last: Vec<&Statement> = behind.iter().map(|behind| &behind.statement).collect();
        let sent = match conn.inner {
            Inner::Sqlite(session) => session.commit().await.map(|()| Vec::new()).map_err(Failed::at_once),
            Inner::Mysql(session) => Box::pin(session.commit(&last)).await,
            Inner::Postgres(session) => Box::pin(session.commit(&last)).await,
        };
        landed(behind, sent).map(drop)
    }
}

impl Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

/// What a flight did beyond what was behind, or its error with all that is known of it.
fn landed(behind: Vec<Behind>, sent: Result<Vec<Outcome>, Failed>) -> Result<Vec<Outcome>, DbError> {
    let mut outcomes = match sent {
        Ok(outcomes) => outcomes.into_iter(),
        Err(Failed { at, error }) => {
            return Err(match behind.get(at) {
                Some(behind) => behind.explained(error),
                None => error,
            });
        }
    };
    for behind in behind {
        behind.done(&outcomes.next().unwrap_or_default())?;
    }
    Ok(outcomes.collect())
}
