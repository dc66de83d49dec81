//! Which HA routers this host serves: seen, acted on, and told to the server.

use std::{sync::Arc, time::Duration};

use kernel::file;
use oslo::{context::Context, messaging::CallError};
use types::RouterId;

use super::Agent;
use crate::{
    chain,
    l3::{
        desired::Wanted,
        ha::{
            handover,
            watch::{CALM, Watch, watch},
        },
    },
};

/// Delay before what failed is tried again; doubled by each further failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How long the answer to a question of the start is waited for.
const START_PATIENCE: Duration = Duration::from_secs(60);

impl Agent {
    /// Has it noticed whether this host serves an HA router, if it is not yet.
    pub(super) fn watch_serving(self: &Arc<Self>, wanted: &Wanted) {
        let Some(keepalived) = wanted.ha.clone() else { return };
        let (router, namespace) = (wanted.router, self.config.system.namespace(&wanted.namespace));
        let mut state = self.state.lock();
        let Some(place) = state.watch(router) else { return };
        if place.as_ref().is_some_and(|watched| watched.namespace == namespace.identity()) {
            return;
        }
        let (agent, watched) = (Arc::downgrade(self), namespace.clone());
        let (told, known) = tokio::sync::watch::channel(None);
        let task = self.watchers.lock().spawn(async move {
            let watching = watch(&watched, &keepalived, |serves| {
                told.send_replace(Some(serves));
                if let Some(agent) = agent.upgrade() {
                    agent.set_serves(router, serves);
                }
            });
            let handing_over = async {
                match &keepalived.handover {
                    Some(handover) => handover::keep(&watched, &keepalived.device, handover, known).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = watching => if let Err(error) = ended {
                    tracing::warn!(%router, error = chain(&error), "cannot see whether this host serves the router");
                },
                () = handing_over => {}
            }
        });
        *place = Some(Watch::new(&namespace, task));
    }

    fn set_serves(&self, router: RouterId, serves: bool) {
        if !self.state.lock().set_serves(router, serves) {
            return;
        }
        tracing::info!(%router, serves, "this host serves the router, or waits to");
        // Upstream's agent reads it when it takes over.
        let text = if serves { "primary" } else { "backup" };
        let directory = self.config.ha.directory(router);
        let noted =
            file::make_directory(&directory).and_then(|()| file::replace(&self.config.ha.state_file(router), text));
        if let Err(error) = noted {
            tracing::debug!(%router, error = chain(&error), "the state was not noted");
        }
        self.serving.changed(router, serves);
        self.wake.notify_one();
    }

    /// Tells the server for ever of what changed.
    pub(super) async fn tell_serving(self: Arc<Self>) {
        let mut delay = FIRST_RETRY;
        loop {
            self.serving.wake.notified().await;
            tokio::time::sleep(CALM).await;
            let states = self.serving.take();
            if states.is_empty() {
                continue;
            }
            let host = self.config.host.clone();
            match self.client.update_ha_routers_states(&Context::admin(), host, states.clone()).await {
                Ok(()) => delay = FIRST_RETRY,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "could not tell which routers are served, again in {delay:?}"
                    );
                    self.serving.put_back(states);
                    self.serving.wake.notify_one();
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// After a start of the machine, what the server thinks of the HA ports of this host is past: it is told so before
    /// anything else.
    pub(super) async fn reset_ha_ports(&self) {
        if self.driver.routers().await.is_ok_and(|routers| !routers.is_empty()) {
            return;
        }
        let client = self.client.clone().with_timeout(START_PATIENCE);
        let ctx = Context::admin();
        let mut delay = FIRST_RETRY;
        let count = loop {
            match client.get_host_ha_router_count(&ctx, self.config.host.clone()).await {
                Ok(count) => break count,
                Err(CallError::Remote(failure)) => {
                    tracing::debug!(error = %failure, "the server does not say how many HA routers are here");
                    return;
                }
                Err(error) => tracing::warn!(error = chain(&error), "the server does not answer, again in {delay:?}"),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LAST_RETRY);
        };
        if count > 0
            && let Err(error) = client.update_all_ha_network_port_statuses(&ctx, self.config.host.clone()).await
        {
            tracing::warn!(error = chain(&error), "could not tell that the HA ports of this host are down");
        }
    }
}
