//! Statements that travel together: what is asked ahead, and what is written behind.
//!
//! A server at the other end of a wire answers each statement after a round trip, which often takes longer than the
//! statement itself. Several that do not need each other's answers go in one *flight*: they are done in order up to the
//! first that fails, and nothing behind that one is done, not even the commit that may travel last.
//!
//! An operation stays a function that asks and writes one thing after the other. It may name at its start what its steps
//! are going to ask ([`crate::Conn::ahead`]), and each step finds its answer there. What was not named is asked when its
//! turn comes, so a name too few or too many costs time and nothing else; a write puts aside the answers it may have made
//! untrue. What the same transaction does not read again may be written behind ([`crate::Conn::insert_behind`]): it
//! travels with the next flight, at the latest with the commit, and what is wrong with it shows there.
//!
//! SQLite has no wire: nothing is asked ahead of its turn or written behind it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{DbError, Row, Value, schema::Table};

/// A statement and what is bound to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub(crate) text: Arc<str>,
    pub(crate) binds: Vec<Value>,
}

/// What a statement did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    pub(crate) affected: u64,
    /// The last number a sequence gave, on the backends that report it beside the rows.
    pub(crate) last_id: i64,
}

/// Which statement of a flight failed, and how.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) at: usize,
    pub(crate) error: DbError,
}

/// The number that a sequence gives to a row written behind, known when it has been written.
#[derive(Debug, Clone, Default)]
pub struct Later(Arc<OnceLock<i64>>);

/// What to do when another transaction was faster.
#[derive(Clone)]
pub struct Race(Arc<dyn Fn() + Send + Sync>);

/// A statement to be sent with others.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) statement: Statement,
    pub(crate) table: Option<&'static Table>,
    /// A key that is taken, or a parent that is gone, means that another transaction was faster.
    pub(crate) race: Option<Race>,
    pub(crate) number: Option<Later>,
}

impl Statement {
    /// A statement given as text, with `?` for each bound value.
    pub fn new(text: impl Into<Arc<str>>, binds: Vec<Value>) -> Self {
        Self { text: text.into(), binds }
    }

    /// About how many bytes it has on the wire.
    pub(crate) fn size(&self) -> usize {
        let size = |value: &Value| if let Value::Text(text) = value { text.len() + 2 } else { 8 };
        self.text.len() + self.binds.iter().map(size).sum::<usize>()
    }
}

impl Outcome {
    /// The number a sequence gave to the row that was written.
    pub(crate) fn number(&self) -> Result<i64, DbError> {
        self.rows.first().map_or(Ok(self.last_id), |row| row.get(0))
    }
}

impl Failed {
    /// Before anything was sent.
    pub(crate) fn at_once(error: DbError) -> Self {
        Self { at: 0, error }
    }
}

impl Later {
    /// The number; an error as long as the row is not written.
    pub fn get(&self) -> Result<i64, DbError> {
        self.0.get().copied().ok_or_else(|| DbError::unavailable("a row that gives a number is not written yet"))
    }
}

impl Race {
    /// `lost` is called when another transaction was faster.
    pub fn new(lost: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(lost))
    }
}

impl fmt::Debug for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Race")
    }
}

impl Behind {
    /// It has been done.
    pub(crate) fn done(self, outcome: &Outcome) -> Result<(), DbError> {
        if let Some(Later(number)) = self.number {
            let _ = number.set(outcome.number()?);
        }
        Ok(())
    }

    /// Its error, with what the server does not know.
    pub(crate) fn explained(&self, error: DbError) -> DbError {
        match (error, &self.race) {
            (error @ (DbError::Duplicate { .. } | DbError::ForeignKey { .. }), Some(Race(lost))) => {
                lost();
                DbError::Conflict { source: error.into() }
            }
            // MariaDB does not tell the table of a duplicate; we know it.
            (DbError::Duplicate { table, constraint }, _) if table.is_empty() => {
                let table = self.table.map_or(table, |table| table.name.to_owned());
                DbError::Duplicate { table, constraint }
            }
            (other, _) => other,
        }
    }
}
