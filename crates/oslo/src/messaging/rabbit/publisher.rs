//! Sends messages, each confirmed by the broker.
//!
//! One channel serves all senders. What fails with its channel or connection is sent again, with the same bytes, until
//! its time is over; receivers know a repeat by its `_unique_id`. What is refused is sent again likewise, on another
//! channel. A confirmation that does not come within [`CONFIRMATION`] means that the connection is dead, unless the broker
//! has told that it takes nothing for now.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::FieldTable,
};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::{
    connection::{Closed, Link, Live, chain},
    topology::{Exchange, LongName, Queue, short},
};

/// How long the broker may take to confirm.
const CONFIRMATION: Duration = Duration::from_secs(15);
/// The pause before a failed message is sent again.
const PAUSE: Duration = Duration::from_millis(100);
const PERSISTENT: u8 = 2;

/// Sends on one connection.
#[derive(Debug)]
pub(super) struct Publisher {
    link: Link,
    open: tokio::sync::Mutex<Option<Arc<Open>>>,
    /// An exchange of ours was declared otherwise before us; as upstream, we then do without its survival.
    not_durable: AtomicBool,
}

/// A channel and what was declared on it.
#[derive(Debug)]
struct Open {
    live: Live,
    channel: Channel,
    declared: Mutex<HashSet<String>>,
}

/// Where a message goes.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) exchange: Exchange,
    pub(super) key: String,
    /// A queue that is made when it is missing, so that messages wait for their first reader.
    pub(super) queue: Option<Queue>,
    /// Whether to be told that no queue takes it.
    pub(super) mandatory: bool,
    /// How long it may wait in a queue.
    pub(super) expiration: Option<Duration>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Confirmed,
    /// No queue takes it; told only when it is mandatory.
    Returned,
}

/// Why a message was not sent.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum PublishError {
    #[error(transparent)]
    Closed(#[from] Closed),
    #[error(transparent)]
    Name(#[from] LongName),
    #[error("{0}")]
    Late(String),
}

/// How one attempt failed.
enum Attempt {
    Amqp(lapin::Error),
    Unconfirmed,
    Lost,
    Refused,
    Closed(Closed),
}

impl From<lapin::Error> for Attempt {
    fn from(error: lapin::Error) -> Self {
        Self::Amqp(error)
    }
}

impl Publisher {
    pub(super) fn new(link: Link) -> Self {
        Self { link, open: tokio::sync::Mutex::new(None), not_durable: AtomicBool::new(false) }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Sends a message, again and again until the broker has confirmed it or the time is over.
    pub(super) async fn publish(&self, route: &Route, body: &[u8], until: Instant) -> Result<Sent, PublishError> {
        short(&route.exchange.name)?;
        short(&route.key)?;
        let mut why = None;
        loop {
            let attempt = match timeout_at(until, self.attempt(route, body)).await {
                Ok(attempt) => attempt,
                Err(_) => return Err(PublishError::Late(self.why(why))),
            };
            why = Some(match attempt {
                Ok(sent) => return Ok(sent),
                Err(Attempt::Closed(closed)) => return Err(closed.into()),
                Err(Attempt::Unconfirmed) => "the message broker does not confirm".to_owned(),
                Err(Attempt::Lost) => "the connection to the message broker is lost".to_owned(),
                Err(Attempt::Refused) => "the message broker refused the message".to_owned(),
                Err(Attempt::Amqp(error)) => chain(&error),
            });
            if timeout_at(until, tokio::time::sleep(PAUSE)).await.is_err() {
                return Err(PublishError::Late(self.why(why)));
            }
        }
    }

    fn why(&self, last: Option<String>) -> String {
        let problem = self.link.problem().map(|problem| problem.to_string());
        problem.or(last).unwrap_or_else(|| "no connection to the message broker in time".to_owned())
    }

    async fn attempt(&self, route: &Route, body: &[u8]) -> Result<Sent, Attempt> {
        let open = self.open().await?;
        let sent = self.send(&open, route, body).await;
        if let Err(attempt) = &sent {
            self.failed(&open, attempt).await;
        }
        sent
    }

    async fn send(&self, open: &Open, route: &Route, body: &[u8]) -> Result<Sent, Attempt> {
        let sending = async {
            self.declare(open, route).await?;
            let options = BasicPublishOptions { mandatory: route.mandatory, ..BasicPublishOptions::default() };
            let (exchange, key) = (route.exchange.name.as_str().into(), route.key.as_str().into());
            open.channel.basic_publish(exchange, key, options, body, properties(route)).await?.await
        };
        let sent = tokio::select! {
            sent = tokio::time::timeout(CONFIRMATION, sending) => sent,
            () = open.live.ended() => return Err(Attempt::Lost),
        };
        match sent {
            Err(_) => Err(Attempt::Unconfirmed),
            Ok(Ok(Confirmation::Ack(None) | Confirmation::NotRequested)) => Ok(Sent::Confirmed),
            Ok(Ok(Confirmation::Ack(Some(_)))) => Ok(Sent::Returned),
            Ok(Ok(Confirmation::Nack(_))) => Err(Attempt::Refused),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    /// Declares what the route needs, once for each channel.
    async fn declare(&self, open: &Open, route: &Route) -> lapin::Result<()> {
        let new = |name: &str| !name.is_empty() && !open.declared.lock().contains(name);
        let (exchange_is_new, queue) = (new(&route.exchange.name), route.queue.as_ref().filter(|q| new(&q.name)));
        if !exchange_is_new && queue.is_none() {
            return Ok(());
        }
        let not_durable = self.not_durable.load(Ordering::Relaxed);
        let mut exchange = route.exchange.clone();
        exchange.durable &= !not_durable;
        exchange.declare(&open.channel).await?;
        open.declared.lock().insert(exchange.name);
        if let Some(queue) = queue {
            let queue = if not_durable { queue.clone().not_durable() } else { queue.clone() };
            queue.declare(&open.channel).await?;
            open.declared.lock().insert(queue.name);
        }
        Ok(())
    }

    /// The channel, opened when there is none that works.
    async fn open(&self) -> Result<Arc<Open>, Attempt> {
        let mut slot = self.open.lock().await;
        if let Some(open) = slot.as_ref().filter(|open| open.channel.status().connected()) {
            return Ok(Arc::clone(open));
        }
        *slot = None;
        let live = self.link.get().await.map_err(Attempt::Closed)?;
        tracing::debug!("opening a channel to send on");
        let opened = async {
            let channel = live.connection().create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>(channel)
        };
        let opened = tokio::select! {
            opened = tokio::time::timeout(CONFIRMATION, opened) => opened,
            () = live.ended() => return Err(Attempt::Lost),
        };
        let channel = match opened {
            Ok(channel) => channel.inspect_err(|_| self.link.suspect())?,
            Err(_) => {
                live.abandon();
                return Err(Attempt::Unconfirmed);
            }
        };
        tracing::debug!("messages can be sent");
        let open = Arc::new(Open { live, channel, declared: Mutex::default() });
        *slot = Some(Arc::clone(&open));
        Ok(open)
    }

    async fn failed(&self, open: &Arc<Open>, attempt: &Attempt) {
        match attempt {
            Attempt::Amqp(error) if is_durability(error) => self.not_durable.store(true, Ordering::Relaxed),
            Attempt::Unconfirmed if !open.live.connection().status().blocked() => open.live.abandon(),
            _ => {}
        }
        // A channel that was opened while a quorum queue had lost its leader refuses for ever what is for it: it goes on
        // asking for the node that is gone. So one that refuses is replaced as well.
        let mut slot = self.open.lock().await;
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, open)) {
            *slot = None;
        }
        if !matches!(attempt, Attempt::Refused) {
            self.link.suspect();
        }
    }
}

fn properties(route: &Route) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_headers(FieldTable::default())
        .with_delivery_mode(PERSISTENT)
        .with_priority(0);
    match route.expiration {
        Some(expiration) => properties.with_expiration(expiration.as_millis().to_string().into()),
        None => properties,
    }
}

/// Whether what was asked for does not exist.
pub(super) fn is_missing(error: &lapin::Error) -> bool {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => {
            matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
        }
        _ => false,
    }
}

/// Whether a declaration failed since it was made before with another answer to surviving the broker.
pub(super) fn is_durability(error: &lapin::Error) -> bool {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => {
            matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
                && error.get_message().as_str().contains("inequivalent arg 'durable'")
        }
        _ => false,
    }
}
