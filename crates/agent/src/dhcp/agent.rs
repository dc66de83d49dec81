//! The loop of the DHCP agent: takes messages, works on networks, reports.
//!
//! One task owns the loop; each network that has something to do is worked on by a task of its own, and only by one
//! (see [`queue`](super::queue)). What the agent remembers of a network is what the server said last. That is never
//! the truth about this host, which is read anew each time; it is what lets a port be added without asking the server
//! for all the others.

mod ready;
mod state;
mod work;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kernel::{Event, Events};
use oslo::{
    context::Context,
    messaging::{Bus, CallError, Failure, Incoming},
};
use rpc::{
    dhcp::Client,
    dhcp_agent::{
        self, AgentUpdated, NetworkCreated, NetworkDeleted, NetworkUpdated, Payload, PortChanged, PortDeleted,
    },
    reports::AgentState,
};
use serde_json::{Map, Value, json};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{interval, sleep_until},
};
use tracing::Instrument;
use types::{NetworkId, agent::kind, device};

use super::{
    Config,
    dnsmasq::{self, Dialect},
    driver::{Driver, DriverError},
    queue::{PRIORITY_LOWEST, Update},
};
use crate::{chain, metadata::proxy::Proxies, report::Heartbeat};
use parking_lot::Mutex;
use ready::Ready;
use state::State;

/// How many networks are worked on at once. Most of that time is spent waiting for the server or for dnsmasq.
const WORKERS: usize = 32;
/// How often everything is compared with the kernel although nothing happened.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// How long work in progress may take to end when the agent ends. Whatever is cut short, the next agent finishes.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// How long `dnsmasq --test` may take.
const TEST_LIMIT: Duration = Duration::from_secs(10);

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
    driver: Driver,
    metadata: Proxies,
    state: Mutex<State>,
    ready: Ready,
    /// Something was put into the queue.
    wake: Notify,
    /// All networks are to be fetched again.
    resync: Notify,
    /// They were fetched once.
    fetched: AtomicBool,
    /// Tasks that wait for the end of a dnsmasq each.
    watchers: Mutex<JoinSet<()>>,
}

/// Runs the agent until `shutdown` completes. What it set up keeps serving; the next agent takes it over.
pub async fn run(config: Config, bus: Bus, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    let mut began = Some(Instant::now());
    let config = Arc::new(prepare(config).await?);
    if config.enable_isolated_metadata || config.force_metadata {
        // Two listening sockets for each network.
        kernel::socket::allow_many().map_err(DriverError::from)?;
    }
    let driver = Driver::new(Arc::clone(&config))?;
    let events = Events::open(&config.system.root()).map_err(DriverError::from)?;
    let mut listener = bus.listen(dhcp_agent::TOPIC, &config.host);
    let mut gaps = listener.gaps();
    let agent = Arc::new(Agent {
        client: Client::new(bus.clone()),
        driver,
        metadata: Proxies::new(config.metadata_proxy.clone()),
        state: Mutex::default(),
        ready: Ready::default(),
        wake: Notify::new(),
        resync: Notify::new(),
        fetched: AtomicBool::new(false),
        watchers: Mutex::default(),
        config,
    });
    let mut helpers = JoinSet::new();
    helpers.spawn(Arc::clone(&agent).report(bus));
    helpers.spawn(Arc::clone(&agent).tell_ready());
    helpers.spawn(Arc::clone(&agent).check());
    helpers.spawn(Arc::clone(&agent).mend(events));

    let mut workers = JoinSet::new();
    tokio::pin!(shutdown);
    let ended = loop {
        let wake_at = agent.start_workers(&mut workers);
        if let Some(began) = began.take_if(|_| agent.is_settled()) {
            crate::metrics::settled("dhcp", began.elapsed());
        }
        tokio::select! {
            () = &mut shutdown => break Ok(()),
            incoming = listener.next() => match incoming {
                Some(incoming) => agent.handle(incoming).await,
                None => break Err(AgentError::Closed),
            },
            () = gaps.next() => {
                tracing::info!("the message broker was away; fetching everything again");
                agent.resync.notify_one();
            }
            Some(worked) = workers.join_next() => if let Ok(network) = worked {
                agent.state.lock().queue.done(network);
            },
            () = agent.wake.notified() => {}
            () = sleep_until(wake_at.into()) => {}
        }
    };
    drop(helpers);
    let drained = async { while workers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN_LIMIT, drained).await;
    ended
}

/// Finds out what the installed dnsmasq understands, and fails if there is none.
async fn prepare(mut config: Config) -> Result<Config, DriverError> {
    if let Ok(absolute) = std::path::absolute(&config.dhcp_confs) {
        config.dhcp_confs = absolute;
    }
    let test = [dnsmasq::PROGRAM, "--test", "--dhcp-host=tag:foo"].map(str::to_owned);
    let host_tags = match kernel::process::run(None, &test, TEST_LIMIT).await {
        Ok(()) => true,
        Err(kernel::process::ProcessError::Failed { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    kernel::file::make_directory(&config.dhcp_confs)?;
    config.dialect = Dialect { host_tags, keep_root: !kernel::file::is_open_to_all(&config.dhcp_confs) };
    Ok(config)
}

fn identity(config: &Config) -> AgentState {
    AgentState {
        binary: "neutron-dhcp-agent".to_owned(),
        host: config.host.clone(),
        topic: dhcp_agent::TOPIC.to_owned(),
        agent_type: kind::DHCP.to_owned(),
        availability_zone: Some(config.availability_zone.clone()),
        ..AgentState::default()
    }
}

impl Agent {
    /// Starts work on the networks that are next. Returns when to look again.
    fn start_workers(self: &Arc<Self>, workers: &mut JoinSet<NetworkId>) -> Instant {
        let mut state = self.state.lock();
        let wake_at = state.queue.start(workers, WORKERS, |network, work| {
            let agent = Arc::clone(self);
            async move { agent.work(network, work).await }
        });
        wake_at.unwrap_or_else(|| Instant::now() + CHECK_INTERVAL)
    }

    /// Everything was fetched and nothing is left to do.
    fn is_settled(&self) -> bool {
        self.fetched.load(Ordering::Relaxed) && self.state.lock().queue.is_idle()
    }

    async fn handle(&self, incoming: Incoming) {
        let dealt = async {
            let answer = dhcp_agent::dispatch(self, &incoming.ctx, &incoming.method, &incoming.args).await;
            if let Err(failure) = &answer {
                tracing::warn!(method = incoming.method, error = %failure, "a message is not understood");
            }
            answer
        };
        let answer = dealt.instrument(crate::received(&incoming)).await;
        if let Some(reply) = incoming.reply {
            reply.send(answer);
        }
    }

    fn push(&self, network: NetworkId, priority: u8, update: Update) {
        self.state.lock().push(network, priority, update);
        self.wake.notify_one();
    }

    /// Keeps the heartbeat's figures and listens to what it hears. The first report comes before the first question, as
    /// the server gives networks only to agents that it knows.
    async fn report(self: Arc<Self>, bus: Bus) {
        let mut state = identity(&self.config);
        state.configurations = self.configurations();
        let heartbeat = Heartbeat::start(bus, state, self.config.report_interval);
        heartbeat.reported().await;
        heartbeat.started();
        let mut sync = JoinSet::new();
        sync.spawn(Arc::clone(&self).keep_synced());
        heartbeat.follow(|| self.configurations(), || self.resync.notify_one()).await;
    }

    /// Fetches everything once, and again whenever that is asked for.
    async fn keep_synced(self: Arc<Self>) {
        let mut delay = self.config.resync_throttle;
        loop {
            match self.sync().await {
                Ok(()) => {
                    delay = self.config.resync_throttle;
                    self.resync.notified().await;
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "could not fetch the networks, trying again in {delay:?}");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).clamp(self.config.resync_throttle, self.config.resync_interval);
                    continue;
                }
            }
            tokio::time::sleep(self.config.resync_throttle).await;
        }
    }

    async fn sync(&self) -> Result<(), CallError> {
        let began = Instant::now();
        self.state.lock().begin_sync();
        let host = self.config.host.clone();
        let networks = self.client.get_active_networks_info(&Context::admin(), host, Some(false)).await?;
        crate::metrics::synced("dhcp", began.elapsed());
        tracing::info!(networks = networks.len(), "fetched the networks to serve");
        let present = self.driver.networks().unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "cannot see which networks have files here");
            Vec::new()
        });
        if self.state.lock().finish_sync(networks, present) {
            self.resync.notify_one();
        }
        self.fetched.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        Ok(())
    }

    /// Compares every network with the kernel from time to time, in case somebody undid what stood.
    async fn check(self: Arc<Self>) {
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.check_all();
        }
    }

    /// Puts tap ends right as soon as they go.
    async fn mend(self: Arc<Self>, mut events: Events) {
        loop {
            match events.next().await {
                Event::LinkGone(link) if link.name.starts_with(device::TAP_PREFIX) => {
                    let network = self.state.lock().network_of_tap(&link.name);
                    if let Some(network) = network {
                        self.push(network, PRIORITY_LOWEST, Update::Check);
                    }
                }
                Event::Missed => self.check_all(),
                _ => {}
            }
        }
    }

    fn check_all(&self) {
        let networks = self.state.lock().networks();
        for network in networks {
            self.push(network, PRIORITY_LOWEST, Update::Check);
        }
    }

    fn configurations(&self) -> Map<String, Value> {
        let (networks, subnets, ports) = self.state.lock().counts();
        crate::metrics::serves("dhcp", networks);
        let configurations = json!({
            "dhcp_driver": self.config.dhcp_driver,
            "dhcp_lease_duration": self.config.dhcp_lease_duration,
            "log_agent_heartbeats": self.config.log_agent_heartbeats,
            "networks": networks,
            "subnets": subnets,
            "ports": ports,
        });
        match configurations {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

type Told = Result<(), Failure>;

impl dhcp_agent::Callee for Agent {
    type Error = Failure;

    async fn network_create_end(&self, _: &Context, told: Payload<NetworkCreated>) -> Told {
        self.push(told.body.network.id, told.priority, Update::Fetch);
        Ok(())
    }

    async fn network_update_end(&self, _: &Context, told: Payload<NetworkUpdated>) -> Told {
        let network = told.body.network;
        let update = if network.admin_state_up { Update::Fetch } else { Update::Disable };
        self.push(network.id, told.priority, update);
        Ok(())
    }

    async fn network_delete_end(&self, _: &Context, told: Payload<NetworkDeleted>) -> Told {
        self.push(told.body.network_id, told.priority, Update::Disable);
        Ok(())
    }

    async fn subnet_create_end(&self, ctx: &Context, told: Payload<dhcp_agent::SubnetChanged>) -> Told {
        self.subnet_update_end(ctx, told).await
    }

    async fn subnet_update_end(&self, _: &Context, told: Payload<dhcp_agent::SubnetChanged>) -> Told {
        self.push(told.body.subnet.resource.network_id, told.priority, Update::Fetch);
        Ok(())
    }

    async fn subnet_delete_end(&self, _: &Context, told: Payload<dhcp_agent::SubnetDeleted>) -> Told {
        // It is not told that a network is ours, only that one of ours changed.
        if self.state.lock().network(told.body.network_id).is_some() {
            self.push(told.body.network_id, told.priority, Update::Fetch);
        }
        Ok(())
    }

    async fn port_create_end(&self, ctx: &Context, told: Payload<PortChanged>) -> Told {
        self.port_update_end(ctx, told).await
    }

    async fn port_update_end(&self, _: &Context, told: Payload<PortChanged>) -> Told {
        let port = told.body.port.resource;
        self.push(port.network_id, told.priority, Update::Port(Box::new(port)));
        Ok(())
    }

    async fn port_delete_end(&self, _: &Context, told: Payload<PortDeleted>) -> Told {
        self.push(told.body.network_id, told.priority, Update::PortGone(told.body.port_id));
        Ok(())
    }

    async fn agent_updated(&self, _: &Context, _: AgentUpdated) -> Told {
        self.resync.notify_one();
        Ok(())
    }
}
