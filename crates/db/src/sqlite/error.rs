//! SQLite's errors in our kinds.

use rusqlite::{Error, ErrorCode, ffi};

use crate::{DbError, schema};

pub(super) fn translate(statement: &str, error: Error) -> DbError {
    let Error::SqliteFailure(code, message) = &error else {
        return DbError::statement(statement, error);
    };
    match (code.code, code.extended_code) {
        (_, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID) => {
            duplicate(message.as_deref().unwrap_or_default())
        }
        (_, ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => DbError::ForeignKey { source: error.into() },
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => DbError::Conflict { source: error.into() },
        (
            ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::ReadOnly
            | ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt,
            _,
        ) => DbError::unavailable(error),
        _ => DbError::statement(statement, error),
    }
}

/// SQLite names the columns (`UNIQUE constraint failed: ports.network_id, ports.mac_address`); the schema knows which
/// constraint that is.
fn duplicate(message: &str) -> DbError {
    let list = message.rsplit(": ").next().unwrap_or_default();
    let mut table = "";
    let mut columns = Vec::new();
    for part in list.split(", ") {
        if let Some((t, column)) = part.split_once('.') {
            table = t;
            columns.push(column);
        }
    }
    let constraint = schema::constraint_on(table, &columns).unwrap_or(list).to_owned();
    DbError::Duplicate { table: table.to_owned(), constraint }
}
