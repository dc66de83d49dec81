//! MySQL's errors in our kinds.

use mysql_async::{DriverError, Error, ServerError};

use crate::DbError;

/// Deadlock (also a failed Galera certification), lock wait timeout, row changed since the snapshot, node not ready.
const CONFLICT: [u16; 4] = [1213, 1205, 1020, 1047];
/// A parent is missing, or has children; with and without the constraint's name.
const FOREIGN_KEY: [u16; 4] = [1451, 1452, 1216, 1217];
/// A key is taken; with and without the key's name.
const DUPLICATE: [u16; 3] = [1062, 1586, 1557];
/// Shutdown, interrupted, connection killed, gone away, lost.
const LOST: [u16; 5] = [1053, 1317, 1927, 2006, 2013];
/// Too many connections, access denied, unknown database, read only.
const UNAVAILABLE: [u16; 6] = [1040, 1044, 1045, 1049, 1290, 1836];
/// The state of a link that failed, which Galera gives for a node that is not ready.
const LINK_FAILED: &str = "08S01";

/// The error of a statement inside a transaction.
pub(super) fn translate(statement: &str, error: Error) -> DbError {
    match &error {
        Error::Server(server) if DUPLICATE.contains(&server.code) => duplicate(server),
        Error::Server(server) if FOREIGN_KEY.contains(&server.code) => DbError::ForeignKey { source: error.into() },
        Error::Server(server) if LOST.contains(&server.code) => DbError::lost(error),
        Error::Server(server) if CONFLICT.contains(&server.code) || server.state == LINK_FAILED => {
            DbError::Conflict { source: error.into() }
        }
        Error::Server(server) if UNAVAILABLE.contains(&server.code) => DbError::unavailable(error),
        Error::Io(_)
        | Error::Driver(
            DriverError::ConnectionClosed | DriverError::PoolDisconnected | DriverError::PacketOutOfOrder,
        ) => DbError::lost(error),
        _ => DbError::statement(statement, error),
    }
}

/// The error of a new connection. Whatever the server says, it is not to be had now.
pub(super) fn connecting(error: Error) -> DbError {
    DbError::unavailable(error)
}

/// The message ends in the key's name, which MySQL 8 puts after that of the table:
/// `Duplicate entry 'x' for key 'ports.uniq_…'`.
fn duplicate(error: &ServerError) -> DbError {
    let key = error.message.trim_end_matches('\'').rsplit('\'').next().unwrap_or_default();
    let (table, constraint) = key.split_once('.').unwrap_or(("", key));
    DbError::Duplicate { table: table.to_owned(), constraint: constraint.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> Error {
        Error::Server(ServerError { code, message: message.to_owned(), state: "23000".to_owned() })
    }

    #[test]
    fn the_key_of_a_duplicate_is_named() {
        let cases = [
            ("Duplicate entry 'a-b' for key 'uniq_x0a0b'", "", "uniq_x0a0b"),
            ("Duplicate entry 'a'b' for key 'PRIMARY'", "", "PRIMARY"),
            ("Duplicate entry 'a' for key 'ports.uniq_p'", "ports", "uniq_p"),
        ];
        for (message, table, constraint) in cases {
            match translate("", server(1062, message)) {
                DbError::Duplicate { table: t, constraint: c } => {
                    assert_eq!((t.as_str(), c.as_str()), (table, constraint))
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_changed_nothing_can_be_run_again_unless_it_was_a_commit() {
        for code in [1213, 1047] {
            assert!(translate("", server(code, "a commit that the server refused")).of_commit().is_retryable());
        }
        assert!(translate("", server(1927, "Connection was killed")).is_retryable());
        assert!(matches!(translate("", server(1927, "")).of_commit(), DbError::CommitLost { .. }));
        assert!(!translate("", server(1045, "Access denied")).is_retryable());
    }
}
