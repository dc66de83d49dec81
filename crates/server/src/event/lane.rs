//! The way from emitted events to agents.
//!
//! Within the process there is one lane: telling takes no time. To agents elsewhere there are several, because each
//! message waits for its broker; what concerns one resource goes by one lane and so keeps its order. What cannot be sent
//! is tried again until it can; a resource's later events wait behind it. A lane that is full takes no more: what is
//! stored then stays in the database and is told later, what is not makes requests wait.

use std::{sync::Arc, time::Duration};

use db::DbError;
use futures_util::future::join_all;
use tokio::sync::{Mutex, mpsc};

use super::{outbox::Receipt, tell::Telling};
use crate::{Ctx, Error, Result, error::chain};

/// Events that may wait in a lane.
const WAITING: usize = 16_384;
/// Lanes to agents in other processes.
const LANES: usize = 8;
/// First and longest pause before something is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often something is tried that fails for a reason that does not pass by itself.
const ATTEMPTS: u32 = 5;

/// One event on its way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) ctx: Ctx,
    pub(super) telling: Telling,
    pub(super) receipt: Option<Arc<Receipt>>,
}

#[derive(Debug)]
struct Lane {
    sender: mpsc::Sender<Item>,
    receiver: Mutex<mpsc::Receiver<Item>>,
}

/// Events on their way to agents.
#[derive(Debug)]
pub struct Queue {
    lanes: Vec<Lane>,
}

impl Queue {
    /// The way to agents in this process, or in others.
    pub fn new(elsewhere: bool) -> Self {
        let lane = || {
            let (sender, receiver) = mpsc::channel(WAITING);
            Lane { sender, receiver: Mutex::new(receiver) }
        };
        Self { lanes: (0..if elsewhere { LANES } else { 1 }).map(|_| lane()).collect() }
    }

    /// Events that wait to be told.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.sender.max_capacity() - lane.sender.capacity()).sum()
    }

    pub(super) async fn push(&self, item: Item) {
        let lane = match self.lanes.as_slice() {
            [only] => only,
            lanes => &lanes[item.telling.key() % lanes.len()],
        };
        if item.receipt.is_none() {
            if lane.sender.send(item).await.is_err() {
                tracing::error!("an event was lost: nobody follows events any more");
            }
        } else if let Err(error) = lane.sender.try_send(item)
            && let Some(receipt) = error.into_inner().receipt
        {
            receipt.leave();
        }
    }

    pub(super) async fn follow(&self) {
        join_all(self.lanes.iter().map(Lane::follow)).await;
    }

    /// Tells what waits now, unless somebody follows it anyway.
    #[cfg(test)]
    pub(super) async fn settle(&self) {
        for lane in &self.lanes {
            let Ok(mut receiver) = lane.receiver.try_lock() else { continue };
            while let Ok(item) = receiver.try_recv() {
                item.tell().await;
            }
        }
    }
}

impl Lane {
    async fn follow(&self) {
        let mut receiver = self.receiver.lock().await;
        while let Some(item) = receiver.recv().await {
            let span = oslo::log::request_span(&item.ctx.caller);
            tracing::Instrument::instrument(item.tell(), span).await;
        }
    }
}

impl Item {
    /// Tells agents of it, however long that takes where it must not be lost.
    async fn tell(self) {
        let mut pause = BACKOFF.0;
        let mut attempt = 1;
        while let Err(error) = self.told().await {
            let passes = is_passing(&error);
            if self.receipt.is_none() || (!passes && attempt >= ATTEMPTS) {
                tracing::error!("agents were not told of a change: {}", chain(&error));
                return;
            }
            if attempt == 1 {
                tracing::warn!("agents are told of a change later: {}", chain(&error));
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn told(&self) -> Result<()> {
        self.telling.tell_boxed(&self.ctx).await
    }
}

/// The broker or the database is away, and will be back.
fn is_passing(error: &Error) -> bool {
    error.is_retryable()
        || matches!(error, Error::Bus(_) | Error::Db(DbError::Unavailable { .. } | DbError::Busy { .. }))
}
