//! The loop of the L3 agent: takes messages, asks the server, works on routers, reports.
//!
//! One task owns the loop, one asks the server; each router that has something to do is worked on by a task of its own,
//! and only by one (see [`crate::queue`]). What the agent remembers of a router is what the server said last. That is
//! never the truth about this host, which is read anew each time.

mod fetch;
mod serving;
mod status;
mod work;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kernel::{Event, Events, Kernel, System};
use oslo::messaging::{Bus, Incoming};
use parking_lot::Mutex;
use rpc::{l2_agent::NETWORK_UPDATE, l3::Client, l3_agent, reports::AgentState};
use serde_json::{Map, Value, json};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{interval, sleep_until},
};
use tracing::Instrument;
use types::{RouterId, agent::kind, device};

use super::{
    config::Config,
    desired::{self, Wanted},
    driver::{Driver, DriverError},
    ha::watch::Serving,
    notification::{self, Hint},
    state::{State, Update},
};
use crate::{metadata::proxy::Proxies, queue::PRIORITY_LOWEST, report::Heartbeat};
use status::Statuses;

/// How many routers are worked on at once. Much of that time is spent waiting for the kernel or for programs.
const WORKERS: usize = 16;
/// How often everything is compared with the kernel although nothing happened.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// How long work in progress may take to end when the agent ends. Whatever is cut short, the next agent finishes.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Something of this host is missing or forbidden.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The transport is closed.
    #[error("the message transport was closed")]
    Closed,
}

/// What all tasks of the agent share.
struct Agent {
    config: Arc<Config>,
    client: Client,
    driver: Driver<System>,
    metadata: Proxies,
    state: Mutex<State>,
    statuses: Statuses,
    serving: Serving,
    /// Something was put into the queue.
    wake: Notify,
    /// There is something to ask the server.
    ask: Notify,
    /// All routers are to be fetched again.
    resync: AtomicBool,
    /// They were fetched once.
    fetched: AtomicBool,
    /// Tasks that wait for the end of a program each, or for a router to be served here or elsewhere.
    watchers: Mutex<JoinSet<()>>,
}

/// Runs the agent until `shutdown` completes. What it set up keeps working; the next agent takes it over.
pub async fn run(config: Config, bus: Bus, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    let mut began = Some(Instant::now());
    let config = Arc::new(absolute(config));
    if config.enable_metadata_proxy {
        // A listening socket for each router.
        kernel::socket::allow_many().map_err(DriverError::from)?;
    }
    let driver = Driver::new(Arc::clone(&config), config.system.clone())?;
    // Without rules nothing could be served.
    config.system.root().open().map_err(DriverError::from)?.nft_tables().await.map_err(DriverError::from)?;
    let events = Events::open(&config.system.root()).map_err(DriverError::from)?;
    let mut listener = bus.listen_all(&[l3_agent::TOPIC, NETWORK_UPDATE], &config.host);
    let mut gaps = listener.gaps();
    let agent = Arc::new(Agent {
        client: Client::new(bus.clone()),
        driver,
        metadata: Proxies::new(config.metadata_proxy.clone()),
        state: Mutex::default(),
        statuses: Statuses::default(),
        serving: Serving::default(),
        wake: Notify::new(),
        ask: Notify::new(),
        resync: AtomicBool::new(true),
        fetched: AtomicBool::new(false),
        watchers: Mutex::default(),
        config,
    });
    let mut helpers = JoinSet::new();
    helpers.spawn(Arc::clone(&agent).report(bus));
    helpers.spawn(Arc::clone(&agent).tell_statuses());
    helpers.spawn(Arc::clone(&agent).tell_serving());
    helpers.spawn(Arc::clone(&agent).check());
    helpers.spawn(Arc::clone(&agent).mend(events));

    let mut workers = JoinSet::new();
    tokio::pin!(shutdown);
    let ended = loop {
        let wake_at = agent.start_workers(&mut workers);
        if let Some(began) = began.take_if(|_| agent.is_settled()) {
            crate::metrics::settled("l3", began.elapsed());
        }
        tokio::select! {
            () = &mut shutdown => break Ok(()),
            incoming = listener.next() => match incoming {
                Some(incoming) => agent.handle(incoming).await,
                None => break Err(AgentError::Closed),
            },
            () = gaps.next() => {
                tracing::info!("the message broker was away; fetching everything again");
                agent.resync();
            }
            Some(worked) = workers.join_next() => if let Ok(router) = worked {
                agent.state.lock().queue.done(router);
            },
            () = agent.wake.notified() => {}
            () = sleep_until(wake_at.into()) => {}
        }
    };
    drop(helpers);
    let drained = async { while workers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN_LIMIT, drained).await;
    if ended.is_ok() && agent.config.cleanup_on_shutdown {
        agent.clean_up().await;
    }
    ended
}

/// Paths are arguments of programs, by which they are known again whatever their directory.
fn absolute(mut config: Config) -> Config {
    for path in [&mut config.routers, &mut config.ra_confs, &mut config.external_pids, &mut config.ha.confs] {
        if let Ok(absolute) = std::path::absolute(&*path) {
            *path = absolute;
        }
    }
    config
}

fn identity(config: &Config) -> AgentState {
    AgentState {
        binary: "neutron-l3-agent".to_owned(),
        host: config.host.clone(),
        topic: l3_agent::TOPIC.to_owned(),
        agent_type: kind::L3.to_owned(),
        availability_zone: Some(config.availability_zone.clone()),
        ..AgentState::default()
    }
}

impl Agent {
    /// Starts work on the routers that are next. Returns when to look again.
    fn start_workers(self: &Arc<Self>, workers: &mut JoinSet<RouterId>) -> Instant {
        let mut state = self.state.lock();
        let wake_at = state.queue.start(workers, WORKERS, |router, work| {
            let agent = Arc::clone(self);
            async move { agent.work(router, work).await }
        });
        wake_at.unwrap_or_else(|| Instant::now() + CHECK_INTERVAL)
    }

    /// Everything was fetched and nothing is left to do.
    fn is_settled(&self) -> bool {
        self.fetched.load(Ordering::Relaxed) && self.state.lock().queue.is_idle()
    }

    async fn handle(&self, incoming: Incoming) {
        let dealt = async {
            let hint = notification::hint(&incoming.ctx, &incoming.method, &incoming.args).await;
            if let Err(failure) = &hint {
                tracing::warn!(method = incoming.method, error = %failure, "a message is not understood");
            }
            hint.map(|hint| {
                hint.into_iter().for_each(|hint| self.take(hint));
                Value::Null
            })
        };
        let answer = dealt.instrument(crate::received(&incoming)).await;
        if let Some(reply) = incoming.reply {
            reply.send(answer);
        }
    }

    fn take(&self, hint: Hint) {
        match hint {
            Hint::Routers(routers) => self.state.lock().hint(routers),
            Hint::Network(network) => self.state.lock().hint_network(network),
            Hint::Removed(router) => {
                self.state.lock().remove(router);
                self.wake.notify_one();
            }
            Hint::All => return self.resync(),
        }
        self.ask.notify_one();
    }

    /// Keeps the heartbeat's figures and listens to what it hears. The first report comes before the first question, as
    /// the server gives routers only to agents that it knows.
    async fn report(self: Arc<Self>, bus: Bus) {
        self.reset_ha_ports().await;
        let mut state = identity(&self.config);
        state.configurations = self.configurations();
        let heartbeat = Heartbeat::start(bus, state, self.config.report_interval);
        heartbeat.reported().await;
        heartbeat.started();
        let mut asking = JoinSet::new();
        asking.spawn(Arc::clone(&self).keep_fetched());
        heartbeat.follow(|| self.configurations(), || self.resync()).await;
    }

    /// Compares every router with the kernel from time to time, in case somebody undid what stood.
    async fn check(self: Arc<Self>) {
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.check_all();
        }
    }

    /// Puts tap ends right as soon as they go, and tells the neighbours of those that are wired.
    async fn mend(self: Arc<Self>, mut events: Events) {
        loop {
            match events.next().await {
                Event::Link(link) if link.name.starts_with(device::TAP_PREFIX) => {
                    let wired = self.state.lock().wired(&link.name, link.master);
                    wired.into_iter().for_each(|router| self.announce(router, &link.name));
                }
                Event::LinkGone(link) if link.name.starts_with(device::TAP_PREFIX) => {
                    self.state.lock().wired(&link.name, None);
                    self.gone(&link.name);
                }
                Event::Missed => self.check_all(),
                _ => {}
            }
        }
    }

    fn gone(&self, tap: &str) {
        let mut state = self.state.lock();
        if let Some(router) = state.router_of_tap(tap) {
            state.queue.push(router, PRIORITY_LOWEST, Update::Check);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// What was said of a device's addresses before it was wired, nobody heard: bridges of other hosts would go on
    /// sending to where it was. Of an HA router, keepalived has the say.
    fn announce(&self, router: RouterId, tap: &str) {
        let told = self.state.lock().router(router).filter(|told| desired::is_served(told, &self.config) && !told.ha);
        if let Some(told) = told {
            self.driver.announce_device(&Wanted::new(&told, &self.config, true), tap);
        }
    }

    fn check_all(&self) {
        self.state.lock().check_all();
        self.wake.notify_one();
    }

    fn configurations(&self) -> Map<String, Value> {
        let [routers, gateways, interfaces, floating_ips] = self.state.lock().counts();
        crate::metrics::serves("l3", routers);
        let configurations = json!({
            "agent_mode": "legacy",
            "handle_internal_only_routers": self.config.handle_internal_only_routers,
            "interface_driver": "linuxbridge",
            "log_agent_heartbeats": self.config.log_agent_heartbeats,
            "extensions": [],
            "routers": routers,
            "ex_gw_ports": gateways,
            "interfaces": interfaces,
            "floating_ips": floating_ips,
        });
        match configurations {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}
