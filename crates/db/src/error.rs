//! What can go wrong in the database, in kinds a caller acts on differently.

use crate::Value;

/// The driver's own account of a failure.
pub type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A failure of the database layer.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A row with this key exists. `constraint` is the unique constraint's name in the schema, or `PRIMARY`.
    #[error("duplicate entry in '{table}' for '{constraint}'")]
    Duplicate {
        /// The table, or empty when the server does not say.
        table: String,
        /// The name of the unique constraint.
        constraint: String,
    },
    /// A row refers to one that does not exist, or is referred to by one that does.
    #[error("foreign key constraint failed")]
    ForeignKey {
        /// The driver's message, which names the constraint where the server tells.
        source: Source,
    },
    /// Another transaction won, or a Galera node was not ready for this one. The whole operation can be run again.
    #[error("the database did not take the transaction")]
    Conflict {
        /// The driver's message.
        source: Source,
    },
    /// The database stayed locked for as long as we were ready to wait.
    #[error("the database stayed locked for {seconds} s")]
    Busy {
        /// How long we waited.
        seconds: u64,
    },
    /// The database cannot be reached, or takes no work now.
    #[error("the database is not available")]
    Unavailable {
        /// The driver's message.
        source: Source,
    },
    /// The connection was lost, or the server gave the transaction up, before it was committed: nothing was changed. The
    /// whole operation can be run again.
    #[error("the connection to the database was lost")]
    Lost {
        /// The driver's message.
        source: Source,
    },
    /// The connection was lost while a commit was on its way. Whether it arrived is not known, so nothing may be run
    /// again: what it would do may have been done.
    #[error("the connection to the database was lost during a commit, which may or may not have happened")]
    CommitLost {
        /// The driver's message.
        source: Source,
    },
    /// A statement failed in a way that no caller can cure.
    #[error("a statement failed: {statement}")]
    Statement {
        /// The text, without the values bound to it.
        statement: String,
        /// The driver's message.
        source: Source,
    },
    /// A column holds what its Rust type cannot.
    #[error("column {index} holds {value:?}, which is not a {wanted}")]
    Decode {
        /// Position in the select list.
        index: usize,
        /// What is stored.
        value: Value,
        /// The Rust type asked for.
        wanted: &'static str,
    },
    /// The select list is shorter than the reader thinks.
    #[error("column {index} was asked of a row of {columns}")]
    NoSuchColumn {
        /// Position asked for.
        index: usize,
        /// Number of columns there are.
        columns: usize,
    },
    /// The connection text is wrong; the text says how.
    #[error("{0}")]
    Url(String),
    /// The schema of the database is not the one this program works with; the text says which it is.
    #[error("{0}")]
    Revision(String),
}

impl DbError {
    /// Running the whole operation again may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Lost { .. })
    }

    /// The error of a commit: what was lost then may have happened.
    pub(crate) fn of_commit(self) -> Self {
        match self {
            Self::Lost { source } => Self::CommitLost { source },
            other => other,
        }
    }

    /// A row with this unique constraint's name (or any, if `constraints` is empty) exists already.
    pub fn is_duplicate(&self, constraints: &[&str]) -> bool {
        match self {
            Self::Duplicate { constraint, .. } => constraints.is_empty() || constraints.contains(&constraint.as_str()),
            _ => false,
        }
    }

    pub(crate) fn lost(source: impl Into<Source>) -> Self {
        Self::Lost { source: source.into() }
    }

    pub(crate) fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable { source: source.into() }
    }

    pub(crate) fn statement(text: &str, source: impl Into<Source>) -> Self {
        /// Enough to find the statement; a bulk insert's text can be huge.
        const SHOWN: usize = 300;
        Self::Statement { statement: text.chars().take(SHOWN).collect(), source: source.into() }
    }
}
