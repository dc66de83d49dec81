//! Where the data is: a file, or a private one that goes when the last handle does.
//!
//! "In memory" is such a private file, not SQLite's own memory database: that one cannot have a writer and readers
//! side by side, and tests should meet the same rules as a real deployment.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::{DbError, sqlite::error::translate};

/// Statements kept prepared by each connection.
const STATEMENT_CACHE: usize = 256;
/// KiB of pages kept by the connection that writes; the operating system keeps the rest.
pub(super) const WRITER_CACHE: u32 = 1024;
/// KiB of pages kept by each of the others. There may be many, and they read what the operating system has.
pub(super) const READER_CACHE: u32 = 384;

/// A database file.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// Directory to remove at the end.
    private: Option<PathBuf>,
}

impl File {
    /// `sqlite:///relative`, `sqlite:////absolute`, `sqlite://` and `sqlite:///:memory:`, as SQLAlchemy reads them.
    pub(super) fn from_url(url: &str) -> Result<Self, DbError> {
        let rest = url.split_once("://").map(|(_, rest)| rest.split('?').next().unwrap_or_default());
        match rest {
            Some("" | "/" | "/:memory:") => Self::private(),
            Some(rest) if rest.starts_with('/') && rest.len() > 1 => {
                Ok(Self { path: PathBuf::from(&rest[1..]), private: None })
            }
            _ => Err(DbError::Url(format!(
                "'{url}' names no SQLite file; write sqlite:////var/lib/neutron/neutron.db (four slashes: an absolute path)"
            ))),
        }
    }

    fn private() -> Result<Self, DbError> {
        let shared_memory = Path::new("/dev/shm");
        let parent = if shared_memory.is_dir() { shared_memory.to_path_buf() } else { std::env::temp_dir() };
        let directory = parent.join(format!("isospin-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&directory).map_err(DbError::unavailable)?;
        Ok(Self { path: directory.join("neutron.db"), private: Some(directory) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a connection with the settings all of ours share, and a cache of so many KiB.
    pub(super) fn connect(&self, wait: Duration, cache: u32) -> Result<Connection, DbError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)
            .map_err(|e| DbError::unavailable(OpenError { path: self.path.clone(), source: e }))?;
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        let synchronous = if self.private.is_some() { "OFF" } else { "NORMAL" };
        // Only opening waits inside SQLite: changing to WAL and recovering it after a crash need a moment alone. A new
        // file is not worth a sync. Small pages, since a transaction writes one of nearly every index it touches.
        let pragmas = format!(
            "PRAGMA page_size = 2048; PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL; \
             PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 0; \
             PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{cache};"
        );
        // Without this, a statement is parsed anew when a value is bound that the planner has looked at, which it does in
        // each statement with a partial index or an outer join in reach.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(|e| translate("ENABLE_QPSG", e))?;
        connection.busy_timeout(wait).map_err(|e| translate("busy_timeout", e))?;
        connection.execute_batch(&pragmas).map_err(|e| translate(&pragmas, e))?;
        connection.busy_timeout(Duration::ZERO).map_err(|e| translate("busy_timeout", e))?;
        Ok(connection)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(directory) = &self.private
            && let Err(error) = std::fs::remove_dir_all(directory)
        {
            tracing::warn!(path = %directory.display(), %error, "a private database could not be removed");
        }
    }
}

/// A file that cannot be opened, with its name.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the database file {path}")]
struct OpenError {
    path: PathBuf,
    source: rusqlite::Error,
}
