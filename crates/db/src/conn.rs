//! A connection inside a transaction, the same on every backend.

use std::{
    borrow::Cow,
    fmt::Write as _,
    ops::{Deref, DerefMut},
};

use sea_query::{
    DeleteStatement, MysqlQueryBuilder, PostgresQueryBuilder, QueryStatementWriter, SelectStatement,
    SqliteQueryBuilder, UpdateStatement,
};

use crate::{Backend, DbError, Row, Value, mysql, postgres, schema::Table, sqlite};

/// Parameters bound in one statement at most; both servers allow 65,535.
const MAX_BINDS: usize = 32_000;

/// A connection. It is inside a read snapshot, or inside the write transaction of the [`Tx`] that holds it.
///
/// After an error only dropping it is portable: PostgreSQL refuses all further statements of a failed transaction.
#[derive(Debug)]
pub struct Conn {
    inner: Inner,
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

/// What a statement did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    pub(crate) affected: u64,
    /// The last number a sequence gave, on the backends that report it beside the rows.
    pub(crate) last_id: i64,
}

impl Conn {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner }
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
        let (text, binds) = self.render(statement);
        Ok(self.run(&text, binds).await?.rows)
    }

    /// Inserts rows, all with the same columns.
    pub async fn insert(
        &mut self,
        table: &'static Table,
        columns: &[&str],
        rows: Vec<Vec<Value>>,
    ) -> Result<(), DbError> {
        if self.backend() == Backend::Sqlite {
            // One prepared statement run for each row beats a long one made anew for each number of rows.
            let text = self.insert_text(table, columns, 1);
            for row in rows {
                self.run(&text, row).await.map_err(|e| named(e, table))?;
            }
            return Ok(());
        }
        let per_statement = (MAX_BINDS / columns.len().max(1)).max(1);
        let mut rows = rows.into_iter();
        loop {
            let binds: Vec<Value> = rows.by_ref().take(per_statement).flatten().collect();
            if binds.is_empty() {
                return Ok(());
            }
            let text = self.insert_text(table, columns, binds.len() / columns.len());
            self.run(&text, binds).await.map_err(|e| named(e, table))?;
        }
    }

    /// Inserts one row into a table whose `id` is a sequence, and tells the number it got.
    pub async fn insert_id(
        &mut self,
        table: &'static Table,
        columns: &[&str],
        row: Vec<Value>,
    ) -> Result<i64, DbError> {
        let mut text = self.insert_text(table, columns, 1);
        if self.backend() == Backend::Postgres {
            text.push_str(" RETURNING id");
        }
        let outcome = self.run(&text, row).await.map_err(|e| named(e, table))?;
        outcome.rows.first().map_or(Ok(outcome.last_id), |row| row.get(0))
    }

    /// Updates rows and tells how many matched.
    pub async fn update(&mut self, statement: &UpdateStatement) -> Result<u64, DbError> {
        let (text, binds) = self.render(statement);
        Ok(self.run(&text, binds).await?.affected)
    }

    /// Deletes rows and tells how many.
    pub async fn delete(&mut self, statement: &DeleteStatement) -> Result<u64, DbError> {
        let (text, binds) = self.render(statement);
        Ok(self.run(&text, binds).await?.affected)
    }

    /// The rows of a statement given as text, with `?` for each bound value. For hot statements of a fixed shape.
    pub async fn sql(&mut self, text: &str, binds: Vec<Value>) -> Result<Vec<Row>, DbError> {
        let text = self.placeholders(text);
        Ok(self.run(&text, binds).await?.rows)
    }

    /// Like [`Conn::sql`], for statements that give no rows; tells how many rows it touched.
    pub async fn execute(&mut self, text: &str, binds: Vec<Value>) -> Result<u64, DbError> {
        let text = self.placeholders(text);
        Ok(self.run(&text, binds).await?.affected)
    }

    async fn run(&mut self, text: &str, binds: Vec<Value>) -> Result<Outcome, DbError> {
        match &mut self.inner {
            Inner::Sqlite(session) => session.run(text, &binds).await,
            Inner::Mysql(session) => session.run(text, binds).await,
            Inner::Postgres(session) => session.run(text, &binds).await,
        }
    }

    /// Several statements without parameters, parted by semicolons.
    pub(crate) async fn batch(&mut self, text: &str) -> Result<(), DbError> {
        match &mut self.inner {
            Inner::Sqlite(session) => session.batch(text),
            Inner::Mysql(session) => session.batch(text).await,
            Inner::Postgres(session) => session.batch(text).await,
        }
    }

    fn render(&self, statement: &impl QueryStatementWriter) -> (String, Vec<Value>) {
        let (text, values) = match self.backend() {
            Backend::Sqlite => statement.build(SqliteQueryBuilder),
            Backend::Mysql => statement.build(MysqlQueryBuilder),
            Backend::Postgres => statement.build(PostgresQueryBuilder),
        };
        (text, values.into_iter().map(Value::from_query).collect())
    }

    fn placeholders<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.backend() == Backend::Postgres { Cow::Owned(numbered(text)) } else { Cow::Borrowed(text) }
    }

    fn insert_text(&self, table: &Table, columns: &[&str], rows: usize) -> String {
        let quote = if self.backend() == Backend::Mysql { '`' } else { '"' };
        let mut text = String::with_capacity(64 + 16 * columns.len() + 4 * rows * columns.len());
        let _ = write!(text, "INSERT INTO {quote}{}{quote} (", table.name);
        for (i, column) in columns.iter().enumerate() {
            let _ = write!(text, "{}{quote}{column}{quote}", if i > 0 { ", " } else { "" });
        }
        text.push_str(") VALUES ");
        let mut number = 0;
        for row in 0..rows {
            text.push_str(if row > 0 { ", (" } else { "(" });
            for column in 0..columns.len() {
                if column > 0 {
                    text.push_str(", ");
                }
                number += 1;
                match self.backend() {
                    Backend::Postgres => drop(write!(text, "${number}")),
                    _ => text.push('?'),
                }
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
        match self.conn.inner {
            Inner::Sqlite(session) => session.commit().await,
            Inner::Mysql(session) => session.commit().await,
            Inner::Postgres(session) => session.commit().await,
        }
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

/// MariaDB does not tell the table of a duplicate; we know it.
fn named(error: DbError, table: &Table) -> DbError {
    match error {
        DbError::Duplicate { table: t, constraint } if t.is_empty() => {
            DbError::Duplicate { table: table.name.to_owned(), constraint }
        }
        other => other,
    }
}

/// `?` outside quotes becomes `$1`, `$2` …
fn numbered(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut number = 0;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, '?') => {
                number += 1;
                let _ = write!(out, "${number}");
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_outside_quotes() {
        assert_eq!(
            numbered("SELECT '?' FROM \"a?\" WHERE x = ? AND y = ?"),
            "SELECT '?' FROM \"a?\" WHERE x = $1 AND y = $2"
        );
    }
}
