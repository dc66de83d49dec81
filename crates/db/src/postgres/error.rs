//! PostgreSQL's errors in our kinds.

use tokio_postgres::{Error, error::SqlState};

use crate::{DbError, schema};

/// A session ended by the server, or its work given up.
const LOST: [SqlState; 4] = [
    SqlState::ADMIN_SHUTDOWN,
    SqlState::CRASH_SHUTDOWN,
    SqlState::QUERY_CANCELED,
    SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
];
/// No work is taken now.
const UNAVAILABLE: [SqlState; 4] = [
    SqlState::CANNOT_CONNECT_NOW,
    SqlState::TOO_MANY_CONNECTIONS,
    SqlState::DISK_FULL,
    SqlState::READ_ONLY_SQL_TRANSACTION,
];
/// Another transaction won.
const CONFLICT: [SqlState; 3] =
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE];

/// The error of a statement inside a transaction.
pub(super) fn translate(statement: &str, error: Error) -> DbError {
    let Some(server) = error.as_db_error() else {
        let lost = error.is_closed() || std::error::Error::source(&error).is_some_and(|e| e.is::<std::io::Error>());
        return if lost { DbError::lost(error) } else { DbError::statement(statement, error) };
    };
    let code = server.code();
    if *code == SqlState::UNIQUE_VIOLATION {
        let table = server.table().unwrap_or_default();
        return duplicate(table, server.constraint().unwrap_or_default());
    }
    if *code == SqlState::FOREIGN_KEY_VIOLATION {
        DbError::ForeignKey { source: error.into() }
    } else if CONFLICT.contains(code) {
        DbError::Conflict { source: error.into() }
    } else if LOST.contains(code) || code.code().starts_with("08") {
        DbError::lost(error)
    } else if UNAVAILABLE.contains(code) {
        DbError::unavailable(error)
    } else {
        DbError::statement(statement, error)
    }
}

/// The error of a new connection. Whatever the server says, it is not to be had now.
pub(super) fn connecting(error: Error) -> DbError {
    DbError::unavailable(error)
}

/// The server names constraints without a name of their own after table and columns.
fn duplicate(table: &str, constraint: &str) -> DbError {
    let own = constraint.strip_prefix(table).and_then(|rest| rest.strip_prefix('_')).unwrap_or_default();
    let name = if own == "pkey" {
        "PRIMARY".to_owned()
    } else {
        let columns: Vec<&str> = own.strip_suffix("_key").into_iter().collect();
        schema::constraint_on(table, &columns).map_or_else(|| constraint.to_owned(), str::to_owned)
    };
    DbError::Duplicate { table: table.to_owned(), constraint: name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_schema() {
        let cases = [
            ("ports", "ports_pkey", "PRIMARY"),
            ("ports", "uniq_ports0network_id0mac_address", "uniq_ports0network_id0mac_address"),
            ("trunks", "trunks_port_id_key", "port_id"),
        ];
        for (table, constraint, expected) in cases {
            match duplicate(table, constraint) {
                DbError::Duplicate { constraint, .. } => assert_eq!(constraint, expected),
                other => panic!("{other:?}"),
            }
        }
    }
}
