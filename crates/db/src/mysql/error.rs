//! MySQL's errors in our kinds.

use mysql_async::{DriverError, Error, ServerError};

use crate::DbError;

/// Deadlock (also a failed Galera certification), lock wait timeout, row changed since the snapshot.
const CONFLICT: [u16; 3] = [1213, 1205, 1020];
/// A parent is missing, or has children; with and without the constraint's name.
const FOREIGN_KEY: [u16; 4] = [1451, 1452, 1216, 1217];
/// A key is taken; with and without the key's name.
const DUPLICATE: [u16; 3] = [1062, 1586, 1557];
/// Too many connections, access denied, unknown database, not yet in the cluster, shutdown, read only, interrupted,
/// connection killed, gone away, lost.
const UNAVAILABLE: [u16; 12] = [1040, 1044, 1045, 1049, 1047, 1053, 1290, 1317, 1927, 1836, 2006, 2013];

pub(super) fn translate(statement: &str, error: Error) -> DbError {
    match &error {
        Error::Server(server) if DUPLICATE.contains(&server.code) => duplicate(server),
        Error::Server(server) if FOREIGN_KEY.contains(&server.code) => DbError::ForeignKey { source: error.into() },
        Error::Server(server) if CONFLICT.contains(&server.code) => DbError::Conflict { source: error.into() },
        Error::Server(server) if UNAVAILABLE.contains(&server.code) => DbError::unavailable(error),
        Error::Io(_)
        | Error::Driver(
            DriverError::ConnectionClosed | DriverError::PoolDisconnected | DriverError::PacketOutOfOrder,
        ) => DbError::unavailable(error),
        _ => DbError::statement(statement, error),
    }
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
    fn deadlocks_are_retryable_and_lost_connections_are_not() {
        assert!(translate("", server(1213, "Deadlock found")).is_retryable());
        assert!(matches!(translate("", server(1927, "Connection was killed")), DbError::Unavailable { .. }));
    }
}
