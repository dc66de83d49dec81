//! The thread that moves committed pages from the write-ahead log into the database file.
//!
//! Left to itself SQLite does this inside whichever commit comes by, which then pays for the disk. Here commits only
//! count; the thread wakes after enough of them, or a second after the last, and works beside readers and writers.
//! Only when the log has grown far (writers that never pause) does it take the writer's turn once to start it anew.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::Connection;

use crate::DbError;

/// Commits that wake the thread at once.
const COMMITS: u32 = 512;
/// Pages in the log from which it must be started anew: 64 MiB.
const LONG_LOG: i64 = 32_768;
/// Idle time after which a short log is folded too.
const IDLE: Duration = Duration::from_secs(1);

/// Handle to the thread; dropping it ends the thread.
pub(super) struct Checkpointer {
    commits: Arc<AtomicU32>,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Writer = Weak<tokio::sync::Mutex<Connection>>;

impl Checkpointer {
    pub(super) fn start(connection: Connection, writer: Writer) -> Result<Self, DbError> {
        let (wake, woken) = sync_channel(1);
        let commits = Arc::new(AtomicU32::new(0));
        let counter = commits.clone();
        let thread = std::thread::Builder::new()
            .name("db-checkpoint".to_owned())
            .spawn(move || serve(&connection, &writer, &counter, &woken))
            .map_err(DbError::unavailable)?;
        Ok(Self { commits, wake: Some(wake), thread: Some(thread) })
    }

    /// A transaction was committed.
    pub(super) fn committed(&self) {
        if self.commits.fetch_add(1, Ordering::Relaxed) + 1 == COMMITS
            && let Some(wake) = &self.wake
        {
            // Full means that it is awake already.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, writer: &Writer, commits: &AtomicU32, woken: &Receiver<()>) {
    loop {
        if let Err(RecvTimeoutError::Disconnected) = woken.recv_timeout(IDLE) {
            return;
        }
        if commits.swap(0, Ordering::Relaxed) == 0 {
            continue;
        }
        match checkpoint(connection, "PASSIVE") {
            Ok(pages) if pages > LONG_LOG => restart(connection, writer),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be checkpointed"),
        }
    }
}

/// Pages the log holds, after as many as possible were moved.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
}

/// Starts the log anew while no writer of this process can add to it; the file keeps its blocks, which spares the next
/// writers their allocation. Readers or other processes in the way: next time.
fn restart(connection: &Connection, writer: &Writer) {
    let Some(writer) = writer.upgrade() else { return };
    let _turn = writer.blocking_lock();
    if let Err(error) = checkpoint(connection, "RESTART") {
        tracing::debug!(%error, "the write-ahead log could not be started anew yet");
    }
}
