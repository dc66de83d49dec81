//! What the compute service hears: events of its instances' ports, in batches.
//!
//! Which events these are is in [`events`], how they are sent in [`client`]. The first event is sent at once; those that
//! happen within `send_events_interval` after it go together. What the compute service or Keystone cannot take now is
//! sent later, with growing pauses; as each event is stored until it was taken, a restart loses none.

mod client;
mod events;

use std::{sync::Arc, time::Duration};

use oslo::config::{Config, ConfigError};
use tokio::sync::{Mutex, mpsc};

pub use client::Client;
pub use events::ServerEvent;

use crate::{
    Ctx,
    event::{Event, outbox::Receipt},
};
use client::Outcome;

/// Events that may wait in memory; what is stored beyond them is read again later.
const WAITING: usize = 10_000;
/// Events in one request at most.
const BATCH: usize = 1_000;
/// First and longest pause before a batch is sent again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What the compute service is told, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `notify_nova_on_port_status_changes`
    pub status_changes: bool,
    /// `notify_nova_on_port_data_changes`
    pub data_changes: bool,
    /// `send_events_interval`
    pub interval: Duration,
    /// `live_migration_events`: of an instance that migrates, only the wiring of its port is told.
    pub live_migration_events: bool,
}

/// The way to the compute service.
#[derive(Debug)]
pub struct Notifier {
    settings: Settings,
    client: Client,
    sender: mpsc::Sender<Queued>,
    receiver: Mutex<mpsc::Receiver<Queued>>,
}

#[derive(Debug)]
struct Queued {
    event: ServerEvent,
    receipt: Option<Arc<Receipt>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { status_changes: true, data_changes: true, interval: Duration::from_secs(2), live_migration_events: true }
    }
}

impl Notifier {
    /// What `[nova]` asks for: nothing where it does not say how to authenticate.
    pub fn from_oslo(options: &Config) -> Result<Option<Self>, ConfigError> {
        const SECTION: &str = "nova";
        let settings = Settings {
            status_changes: options.get("DEFAULT", "notify_nova_on_port_status_changes")?,
            data_changes: options.get("DEFAULT", "notify_nova_on_port_data_changes")?,
            interval: options.get("DEFAULT", "send_events_interval")?,
            live_migration_events: options.get(SECTION, "live_migration_events")?,
        };
        let region = options.get::<Option<String>>(SECTION, "region_name")?;
        let interface: String = options.get(SECTION, "endpoint_type")?;
        if !settings.status_changes && !settings.data_changes {
            return Ok(None);
        }
        let Some(keystone) = oslo::keystone::Settings::read(options, SECTION)? else {
            tracing::info!("[nova] says nothing of how to authenticate: the compute service is not told of ports");
            return Ok(None);
        };
        let session = keystone.session(options, SECTION)?;
        Ok(Some(Self::new(settings, Client::new(session, &interface, region))))
    }

    /// Tells the compute service behind `client`.
    pub fn new(settings: Settings, client: Client) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { settings, client, sender, receiver: Mutex::new(receiver) }
    }

    /// What the compute service has to hear of these events.
    pub(crate) fn events_of(&self, ctx: &Ctx, events: &[Event]) -> Vec<ServerEvent> {
        events.iter().flat_map(|event| events::of(&self.settings, ctx.announced.as_ref(), event)).collect()
    }

    /// Puts an event on its way. What finds no room stays in the database for later.
    pub(crate) fn push(&self, event: ServerEvent, receipt: Option<Arc<Receipt>>) {
        if let Err(error) = self.sender.try_send(Queued { event, receipt }) {
            match error.into_inner() {
                Queued { receipt: Some(receipt), .. } => receipt.leave(),
                Queued { event, .. } => tracing::error!("the compute service is not told of {event:?}: too many wait"),
            }
        }
    }

    /// Sends events until it is dropped.
    pub(crate) async fn run(&self) {
        let mut receiver = self.receiver.lock().await;
        while let Some(first) = receiver.recv().await {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = receiver.try_recv()
            {
                batch.push(next);
            }
            self.deliver(batch.iter().map(|queued| &queued.event).collect()).await;
            drop(batch);
            tokio::time::sleep(self.settings.interval).await;
        }
    }

    /// Sends a batch until it is taken or refused.
    async fn deliver(&self, batch: Vec<&ServerEvent>) {
        let mut pause = BACKOFF.0;
        loop {
            match self.client.send(&batch).await {
                Outcome::Done => return,
                Outcome::Refused(why) => {
                    return tracing::error!("the compute service refused {} events: {why}", batch.len());
                }
                Outcome::Later(why) => {
                    tracing::warn!("{} events wait for the compute service: {why}", batch.len());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
