//! What is asked of the server: everything at the start and when the server had lost sight of the agent, and what was
//! hinted at in between. One question at a time, for many routers each.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use oslo::{context::Context, messaging::CallError};
use rpc::l3::{SYNC_CHUNK, SYNC_CHUNK_LEAST};
use types::RouterId;

use super::Agent;
use crate::chain;

/// Delay before a failed call is tried again; doubled by each further failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How much a question grows after an answer in time.
const GROWTH: usize = 32;

impl Agent {
    /// Has everything fetched again.
    pub(super) fn resync(&self) {
        self.resync.store(true, Ordering::Relaxed);
        self.ask.notify_one();
    }

    /// Asks for ever.
    pub(super) async fn keep_fetched(self: Arc<Self>) {
        let (mut delay, mut chunk) = (FIRST_RETRY, SYNC_CHUNK);
        loop {
            let asked = match self.resync.swap(false, Ordering::Relaxed) {
                true => {
                    let synced = self.sync(&mut chunk).await;
                    if synced.is_err() {
                        self.resync.store(true, Ordering::Relaxed);
                    }
                    synced.map(|()| true)
                }
                false => self.fetch(&mut chunk).await,
            };
            match asked {
                Ok(true) => delay = FIRST_RETRY,
                Ok(false) => self.ask.notified().await,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "could not fetch routers, trying again in {delay:?}");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// Fetches some of what was hinted at; false when there is nothing.
    async fn fetch(&self, chunk: &mut usize) -> Result<bool, CallError> {
        let asked = self.state.lock().begin_fetch(*chunk);
        if asked.is_empty() {
            return Ok(false);
        }
        match self.ask_for(asked.clone(), chunk).await {
            Ok(routers) => {
                self.state.lock().fetched(&asked, routers);
                self.wake.notify_one();
                Ok(true)
            }
            Err(error) => {
                self.state.lock().fetch_failed(asked);
                Err(error)
            }
        }
    }

    /// Fetches everything. What is not ours goes, but only after all was told.
    async fn sync(&self, chunk: &mut usize) -> Result<(), CallError> {
        let began = Instant::now();
        self.state.lock().begin_sync();
        let ids = self.client.get_router_ids(&Context::admin(), self.config.host.clone()).await?;
        let mut rest = &ids[..];
        let mut ours: HashSet<RouterId> = HashSet::new();
        while !rest.is_empty() {
            let (next, later) = rest.split_at((*chunk).min(rest.len()));
            match self.ask_for(next.to_vec(), chunk).await {
                Ok(routers) => {
                    rest = later;
                    ours.extend(routers.iter().map(|router| router.id));
                    self.state.lock().synced_some(routers);
                    self.wake.notify_one();
                }
                // A smaller question may be answered in time.
                Err(CallError::Timeout { .. }) if next.len() > *chunk => {}
                Err(error) => return Err(error),
            }
        }
        let present = self.driver.routers().await.unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "cannot see which routers have something here");
            BTreeSet::new()
        });
        self.state.lock().finish_sync(&ours, present);
        self.fetched.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        crate::metrics::synced("l3", began.elapsed());
        tracing::info!(routers = ours.len(), "fetched the routers to serve");
        Ok(())
    }

    /// Asks for these. How many are asked for at once follows how fast the server answers.
    async fn ask_for(&self, routers: Vec<RouterId>, chunk: &mut usize) -> Result<Vec<rpc::l3::Router>, CallError> {
        let answer = self.client.sync_routers(&Context::admin(), self.config.host.clone(), Some(routers)).await;
        match &answer {
            Ok(_) => *chunk = (*chunk + GROWTH).min(SYNC_CHUNK),
            Err(CallError::Timeout { .. }) => *chunk = (*chunk / 2).max(SYNC_CHUNK_LEAST),
            Err(_) => {}
        }
        answer
    }
}
