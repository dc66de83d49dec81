//! What became of floating IPs, on its way to the server.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use oslo::{context::Context, messaging::CallError};
use parking_lot::Mutex;
use tokio::sync::Notify;
use types::{FloatingIpId, RouterId};

use super::Agent;
use crate::chain;

/// Delay before a failed call is tried again; doubled by each further failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

type Of = BTreeMap<FloatingIpId, String>;

/// Statuses to tell the server of.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    waiting: Mutex<BTreeMap<RouterId, Of>>,
    wake: Notify,
}

impl Statuses {
    pub(super) fn add(&self, router: RouterId, statuses: Of) {
        if !statuses.is_empty() {
            self.waiting.lock().entry(router).or_default().extend(statuses);
            self.wake.notify_one();
        }
    }

    fn take(&self) -> Option<(RouterId, Of)> {
        self.waiting.lock().pop_first()
    }

    /// Puts back what was not told; what came meanwhile is newer.
    fn put_back(&self, router: RouterId, statuses: Of) {
        let mut waiting = self.waiting.lock();
        let newer = waiting.entry(router).or_default();
        for (id, status) in statuses {
            newer.entry(id).or_insert(status);
        }
    }
}

impl Agent {
    /// Tells the server for ever, one router after the other.
    pub(super) async fn tell_statuses(self: Arc<Self>) {
        let mut delay = FIRST_RETRY;
        loop {
            let Some((router, statuses)) = self.statuses.take() else {
                self.statuses.wake.notified().await;
                continue;
            };
            match self.client.update_floatingip_statuses(&Context::admin(), router, statuses.clone()).await {
                Ok(()) => delay = FIRST_RETRY,
                Err(CallError::Remote(failure)) => {
                    // The server has an opinion; asking again would not change it.
                    tracing::warn!(%router, error = %failure, "the server did not take the states of floating IPs");
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "could not tell of floating IPs, again in {delay:?}");
                    self.statuses.put_back(router, statuses);
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(LAST_RETRY);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_newer_is_told() {
        let (statuses, router) = (Statuses::default(), RouterId::random());
        let (one, two) = (FloatingIpId::random(), FloatingIpId::random());
        let of = |pairs: &[(FloatingIpId, &str)]| pairs.iter().map(|(id, s)| (*id, (*s).to_owned())).collect::<Of>();
        statuses.add(router, of(&[]));
        assert_eq!(statuses.take(), None);
        statuses.add(router, of(&[(one, "ACTIVE"), (two, "ACTIVE")]));
        let (_, failed) = statuses.take().unwrap();
        statuses.add(router, of(&[(one, "DOWN")]));
        statuses.put_back(router, failed);
        assert_eq!(statuses.take(), Some((router, of(&[(one, "DOWN"), (two, "ACTIVE")]))));
    }
}
