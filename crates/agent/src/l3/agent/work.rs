//! What is done for one router: set up, watch, tell, and take away.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use kernel::process::Process;
use rpc::l3::floating_ip_status::{ACTIVE, ERROR};
use types::{FloatingIpId, RouterId, device};

use super::Agent;
use crate::{
    chain,
    l3::{
        desired::{self, Wanted},
        driver::{DriverError, Outcome},
        ha::keepalived,
        radvd,
        state::{Update, Work},
    },
    metadata::{Scope, proxy::ProxyError},
};

/// Delay after a router's first failure; doubled by each further one.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How soon the server is asked about a router that waits for its HA port.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Why a router could not be set up or taken away.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Metadata(#[from] ProxyError),
    #[error("the server gives no port by which the hosts of the router reach each other")]
    NoHaPort,
}

impl Agent {
    /// Does what waits for a router. What fails is noted to be tried again.
    pub(super) async fn work(self: &Arc<Self>, router: RouterId, work: Work) {
        let began = Instant::now();
        let told = self.state.lock().router(router).filter(|told| desired::is_served(told, &self.config));
        let result = match told.filter(|_| !work.remove) {
            Some(told) if told.ha && told.ha_interface.is_none() => Err((WorkError::NoHaPort, Update::Check)),
            Some(told) => {
                let serves = self.state.lock().serves(router).unwrap_or(false);
                self.serve(&Wanted::new(&told, &self.config, serves), serves || !told.ha).await
            }
            None => self.remove(router).await.map_err(|error| (error, Update::Remove)),
        };
        if let Err((WorkError::NoHaPort, _)) = &result {
            self.ask_again(router);
        }
        match result {
            Ok(()) => {
                self.state.lock().failures(router, false);
                crate::metrics::worked("l3", began.elapsed());
            }
            Err((error, again)) => self.failed(router, again, &error),
        }
    }

    /// Sets a router up. Its floating IPs are told of whatever happens: those of a router that is not whole are in
    /// error.
    async fn serve(self: &Arc<Self>, wanted: &Wanted, serves: bool) -> Result<(), (WorkError, Update)> {
        // Some may be wired before the last of them is made.
        let taps = wanted.devices.iter().map(|device| device.tap.clone()).collect();
        self.state.lock().set_taps(wanted.router, taps);
        let reconciled = self.driver.reconcile(wanted).await;
        if serves {
            // Of several hosts, the one that serves knows.
            let news = self.state.lock().set_statuses(wanted.router, statuses(wanted, reconciled.as_ref().ok()));
            self.statuses.add(wanted.router, news);
        }
        let retry = |error: DriverError| (WorkError::from(error), Update::Check);
        let outcome = reconciled.map_err(retry)?;
        self.watch_programs(wanted).map_err(retry)?;
        self.watch_serving(wanted);
        if wanted.ha.as_ref().is_some_and(|keepalived| !keepalived.ready) {
            self.ask_again(wanted.router);
        }
        self.serve_metadata(wanted).await;
        outcome.error.map_or(Ok(()), |error| Err(retry(error)))
    }

    /// Asks the server about a router in a while, whose port among its hosts is not wired yet: not every server tells when
    /// it is.
    fn ask_again(self: &Arc<Self>, router: RouterId) {
        let agent = Arc::downgrade(self);
        self.watchers.lock().spawn(async move {
            tokio::time::sleep(ASK_AGAIN).await;
            if let Some(agent) = agent.upgrade() {
                agent.state.lock().hint([router]);
                agent.ask.notify_one();
            }
        });
    }

    /// A router routes even where it does not lead to metadata.
    async fn serve_metadata(&self, wanted: &Wanted) {
        let namespace = self.config.system.namespace(&wanted.namespace);
        let served = self.metadata.set(&scope(wanted.router), &namespace, wanted.metadata.as_ref()).await;
        let mut state = self.state.lock();
        let failures = state.metadata_failures(wanted.router, served.is_err());
        if let Err(error) = served {
            let text = chain(&error);
            match failures {
                1 => tracing::warn!(router = %wanted.router, error = text, "cannot serve metadata; trying again"),
                _ => tracing::debug!(router = %wanted.router, error = text, failures, "cannot serve metadata again"),
            }
            state.queue.retry(wanted.router, Update::Check, delay(failures));
        }
    }

    /// Takes away what a router has here.
    async fn remove(&self, router: RouterId) -> Result<(), WorkError> {
        let was_served = self.state.lock().forget(router);
        if !was_served && !self.driver.has(router).await? {
            return Ok(());
        }
        let namespace = self.config.system.namespace(&device::router_namespace(router));
        self.metadata.set(&scope(router), &namespace, None).await?;
        self.driver.tear_down(router).await?;
        tracing::info!(%router, "no longer serving the router");
        Ok(())
    }

    /// Takes away every router; what is left is said.
    pub(super) async fn clean_up(&self) {
        let routers = self.state.lock().routers();
        for router in routers {
            if let Err(error) = self.remove(router).await {
                tracing::warn!(%router, error = chain(&error), "a router was not taken away");
            }
        }
    }

    /// Has the end of a router's programs noticed.
    fn watch_programs(self: &Arc<Self>, wanted: &Wanted) -> Result<(), DriverError> {
        if wanted.radvd.is_some() {
            self.watch_program(wanted.router, radvd::PROGRAM, self.driver.radvd(wanted.router)?);
        }
        if wanted.ha.as_ref().is_some_and(|keepalived| keepalived.ready) {
            self.watch_program(wanted.router, keepalived::PROGRAM, self.driver.keepalived(wanted.router)?);
        }
        Ok(())
    }

    fn watch_program(self: &Arc<Self>, router: RouterId, program: &'static str, process: Option<Process>) {
        let Some(process) = process else {
            // It ended between its start and now. One delay applies to all that die young.
            let mut state = self.state.lock();
            state.watch_program(router, program, 0);
            state.program_died(router, program, 0);
            return;
        };
        if self.state.lock().watch_program(router, program, process.pid()) {
            let agent = Arc::downgrade(self);
            let mut watchers = self.watchers.lock();
            while watchers.try_join_next().is_some() {}
            watchers.spawn(async move {
                process.exited().await;
                if let Some(agent) = agent.upgrade() {
                    agent.state.lock().program_died(router, program, process.pid());
                    agent.wake.notify_one();
                }
            });
        }
    }

    fn failed(&self, router: RouterId, again: Update, error: &WorkError) {
        let mut state = self.state.lock();
        let failures = state.failures(router, true);
        let text = chain(error);
        match failures {
            1 => tracing::warn!(%router, error = text, "could not set up or take away a router; trying again"),
            _ => tracing::debug!(%router, error = text, failures, "could not set up or take away a router again"),
        }
        state.queue.retry(router, again, delay(failures));
    }
}

/// Whose proxy that of a router is.
fn scope(router: RouterId) -> Scope {
    Scope::Router(router.to_string())
}

fn statuses(wanted: &Wanted, outcome: Option<&Outcome>) -> BTreeMap<FloatingIpId, &'static str> {
    let works = |address: &IpAddr| outcome.is_some_and(|outcome| !outcome.without.contains(address));
    let status = |ip: &desired::FloatingIp| (ip.id, if works(&ip.address) { ACTIVE } else { ERROR });
    wanted.floating_ips.iter().map(status).collect()
}

fn delay(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_RETRY.saturating_mul(1 << doublings).min(LAST_RETRY)
}
