//! The heartbeat of every agent: regular reports of its state, on a task of their own, so that a long piece of work
//! never makes the agent look dead.

use std::time::Duration;

use oslo::{context::Context, messaging::Bus};
use rpc::reports::{AgentState, Client, Report, Status};
use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, interval, sleep_until},
};

/// How fresh the figures in a report are.
const FIGURES_INTERVAL: Duration = Duration::from_secs(1);
/// How long the first report is waited for before it is sent again.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How reports are sent once the server has answered one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    /// As a call, whose answer says whether the server had lost sight of the agent.
    Call,
    /// As a cast: nobody waits, and nothing is heard.
    Cast,
}

/// A running heartbeat. It ends when this is dropped.
pub struct Heartbeat {
    state: watch::Sender<AgentState>,
    news: mpsc::Receiver<Status>,
    reported: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Heartbeat {
    /// Reports `state` at once and then every `interval`, with the start flag until [`Self::started`] is called.
    pub fn start(bus: Bus, state: AgentState, interval: Duration) -> Self {
        Self::start_with(bus, state, interval, Later::Call)
    }

    /// [`Self::start`], with reports after the first answered one sent as `later` says.
    pub fn start_with(bus: Bus, mut state: AgentState, interval: Duration, later: Later) -> Self {
        state.start_flag = true;
        state.uuid.get_or_insert_with(|| uuid::Uuid::new_v4().to_string());
        let (sender, receiver) = watch::channel(state);
        let (news, heard) = mpsc::channel(4);
        let (known, reported) = watch::channel(false);
        let client = Client::new(bus).with_timeout(interval.max(FIRST_RETRY));
        let task = tokio::spawn(beat(client, receiver, (news, known), interval, later));
        Self { state: sender, news: heard, reported, task }
    }

    /// Sets a key of `configurations` for the reports to come.
    pub fn set(&self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        self.state.send_if_modified(|state| {
            let changed = state.configurations.get(key) != Some(&value);
            state.configurations.insert(key.to_owned(), value);
            changed
        });
    }

    /// Sets all of `configurations` for the reports to come.
    fn set_all(&self, configurations: Map<String, Value>) {
        self.state.send_modify(|state| state.configurations = configurations);
    }

    /// The first work is done: the next reports carry no start flag.
    pub fn started(&self) {
        self.state.send_modify(|state| state.start_flag = false);
    }

    /// Waits for the answer to the first report. The server gives work only to agents that it knows.
    pub async fn reported(&self) {
        if self.reported.clone().wait_for(|known| *known).await.is_err() {
            std::future::pending().await
        }
    }

    /// Keeps `configurations` fresh, and has the agent fetch everything again whenever the server had lost sight of it.
    pub async fn follow(mut self, configurations: impl Fn() -> Map<String, Value>, resync: impl Fn()) {
        let mut ticks = interval(FIGURES_INTERVAL);
        let mut at_start = true;
        loop {
            tokio::select! {
                status = self.news() => {
                    // That a new agent is new is no reason to ask twice.
                    if !std::mem::take(&mut at_start) || status == Status::Revived {
                        tracing::info!("the server had lost sight of this agent; fetching everything again");
                        resync();
                    }
                }
                _ = ticks.tick() => self.set_all(configurations()),
            }
        }
    }

    /// The next time the server did not simply find the agent alive: it is new, or was taken for dead. Either way the
    /// agent must fetch everything again. Dropping the future loses nothing.
    pub async fn news(&mut self) -> Status {
        match self.news.recv().await {
            Some(status) => status,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn beat(
    client: Client,
    state: watch::Receiver<AgentState>,
    (news, known): (mpsc::Sender<Status>, watch::Sender<bool>),
    interval: Duration,
    later: Later,
) {
    let ctx = Context::admin();
    let mut heard = false;
    loop {
        let began = Instant::now();
        let mut agent_state = state.borrow().clone();
        if heard {
            // Of interest once; the server remembers them.
            agent_state.resource_versions = None;
        }
        let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
        if heard && later == Later::Cast {
            if let Err(error) = client.cast_state(&ctx, Report { agent_state }, time).await {
                tracing::warn!("the state report could not be sent: {error}");
            }
            sleep_until(began + interval).await;
            continue;
        }
        match client.report_state(&ctx, Report { agent_state }, time).await {
            Ok(status) => {
                if let Some(status @ (Status::New | Status::Revived)) = status
                    && news.send(status).await.is_err()
                {
                    return;
                }
                heard = true;
                known.send_replace(true);
            }
            Err(error) => tracing::warn!("the server did not take the state report: {}", crate::chain(&error)),
        }
        sleep_until(began + if heard { interval } else { FIRST_RETRY.min(interval) }).await;
    }
}
