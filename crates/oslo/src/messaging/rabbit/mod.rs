//! The transport by RabbitMQ, as oslo.messaging uses it.
//!
//! A process has two connections: one that sends and one that receives. They are apart since a broker that runs out of
//! memory stops reading from who sends, acknowledgements included; they are no more than two, where upstream has one for
//! each server object, since channels share a connection well. Each listener has a channel, the answers to calls have
//! one, and all senders share one. Connections are made when they are first needed and come back by themselves.

mod connection;
mod consumer;
mod duplicate;
mod listener;
mod publisher;
mod reply;
pub mod settings;
mod tls;
mod topology;
pub mod url;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use connection::Link;
pub use listener::Listener;
use publisher::{PublishError, Publisher, Route, Sent};
pub use reply::ReplyPath;
use reply::{Answers, Obsolete};
pub use settings::{RabbitSettings, SettingsError};
use tls::Tls;
use topology::{Exchange, Queue};

use super::{
    CallError, Incoming, Target,
    envelope::{self, Call, Request},
};

/// Pause before a call is sent again that no server could take.
const NO_SERVER: Duration = Duration::from_millis(250);
/// How long a transport that was closed may take to end.
const CLOSING: Duration = Duration::from_secs(5);
/// How long a call waits at most for the queues of this process to receive for the first time.
const BEGINNING: Duration = Duration::from_secs(5);

/// The transport.
#[derive(Debug, Clone)]
pub struct Rabbit(Arc<Shared>);

/// Why there is no transport.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RabbitError {
    /// TLS cannot be set up.
    #[error("TLS with the message broker: {0}")]
    Tls(String),
}

#[derive(Debug)]
struct Shared {
    settings: Arc<RabbitSettings>,
    receiving: Link,
    publisher: Publisher,
    answers: OnceLock<Answers>,
    obsolete: Obsolete,
    /// True once the transport is closed.
    stop: watch::Sender<bool>,
    /// What must end before the process does: subscriptions and answers on their way.
    tasks: Mutex<JoinSet<()>>,
    /// Whether what has not received yet does.
    beginning: Mutex<Vec<watch::Receiver<bool>>>,
    /// Where they run: answers may be given from any thread.
    runtime: Handle,
}

impl Shared {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.runtime);
    }

    fn is_closed(&self) -> bool {
        *self.stop.borrow()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.publisher.link().abandon();
        self.receiving.abandon();
    }
}

impl Rabbit {
    /// Checks the settings; connections come later, when they are needed. Must be called within a runtime.
    pub fn new(settings: RabbitSettings) -> Result<Self, RabbitError> {
        let settings = Arc::new(settings);
        let tls = settings.tls.as_ref().map(|files| Tls::read(files, settings.hosts.len() == 1)).transpose()?;
        let link = || Link::new(Arc::clone(&settings), tls.clone());
        Ok(Self(Arc::new(Shared {
            receiving: link(),
            publisher: Publisher::new(link()),
            settings,
            answers: OnceLock::new(),
            obsolete: Obsolete::default(),
            stop: watch::Sender::new(false),
            tasks: Mutex::default(),
            beginning: Mutex::default(),
            runtime: Handle::current(),
        })))
    }

    /// Whether both connections that are in use work, or why not.
    pub fn health(&self) -> Result<(), String> {
        for link in [self.0.publisher.link(), &self.0.receiving] {
            if let Some(problem) = link.problem() {
                return Err(problem.to_string());
            }
        }
        Ok(())
    }

    pub(super) async fn call(
        &self,
        target: &Target,
        incoming: Incoming,
        timeout: Duration,
    ) -> Result<Value, CallError> {
        let (topic, method) = (incoming.topic.clone(), incoming.method.clone());
        let until = Instant::now() + timeout;
        let answers = self.0.answers.get_or_init(|| Answers::start(&self.0));
        let late = || match self.0.receiving.problem() {
            Some(why) => CallError::Broker { topic: topic.clone(), why: why.to_string() },
            None => CallError::Timeout { topic: topic.clone(), method: method.clone() },
        };
        if timeout_at(until, answers.ready()).await.is_err() {
            return Err(late());
        }
        self.begun(until).await;
        let msg_id = Uuid::new_v4().simple().to_string();
        let mut waiting = answers.expect(msg_id.clone());
        let call = Call { msg_id, reply_queue: answers.queue.clone(), monitor_timeout: None };
        self.publish(target, incoming, Some((call, timeout)), until).await?;
        match timeout_at(until, waiting.answer()).await {
            Ok(Some(answer)) => answer.map_err(CallError::Remote),
            Ok(None) => Err(CallError::Unavailable { topic }),
            Err(_) => {
                answers.missed();
                Err(late())
            }
        }
    }

    /// Returns when the broker has the message.
    pub(super) async fn cast(&self, target: &Target, incoming: Incoming) -> Result<(), CallError> {
        let until = Instant::now() + self.0.settings.response_timeout;
        self.publish(target, incoming, None, until).await
    }

    pub(super) fn listen(&self, topics: &[&str], server: &str) -> Listener {
        let listener = Listener::start(&self.0, topics, server);
        self.0.beginning.lock().push(listener.ready());
        listener
    }

    /// Waits until what was listened for before receives for the first time. A call asks how things are, and what is told
    /// of them from the answer on must be heard. A queue that the broker refuses does not keep calls for ever.
    async fn begun(&self, until: Instant) {
        let beginning = self.0.beginning.lock().clone();
        if beginning.is_empty() {
            return;
        }
        let until = until.min(Instant::now() + BEGINNING);
        for mut ready in beginning {
            if timeout_at(until, ready.wait_for(|ready| *ready)).await.is_err() {
                tracing::warn!("calls are sent before all queues of this process receive");
                self.0.beginning.lock().clear();
                return;
            }
        }
        self.0.beginning.lock().retain(|ready| !*ready.borrow() && ready.has_changed().is_ok());
    }

    /// Ends listeners and refuses further messages. Answers that are owed are still sent.
    pub(super) fn close(&self) {
        self.0.stop.send_replace(true);
        if let Some(answers) = self.0.answers.get() {
            answers.give_up();
        }
    }

    /// Waits until queues are removed and answers sent, then closes the connections.
    pub(super) async fn closed(&self) {
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSING, ended).await.is_err() {
            tracing::warn!("the message transport did not end in time");
        }
        self.0.publisher.link().close().await;
        self.0.receiving.close().await;
    }

    async fn publish(
        &self,
        target: &Target,
        incoming: Incoming,
        call: Option<(Call, Duration)>,
        until: Instant,
    ) -> Result<(), CallError> {
        let Incoming { ctx, topic, version, namespace, method, args, .. } = incoming;
        if self.0.is_closed() {
            return Err(CallError::Unavailable { topic });
        }
        let (call, timeout) = call.unzip();
        let unique_id = Uuid::new_v4().simple().to_string();
        let request = Request { method, args, version, namespace, call, unique_id, ctx };
        let body = envelope::wrap(&request.encode());
        let route = self.route(target, timeout);
        loop {
            match self.0.publisher.publish(&route, body.as_bytes(), until).await {
                Ok(Sent::Confirmed) => return Ok(()),
                // After the broker was away, callers may be back before the servers whose queue it is.
                Ok(Sent::Returned) if timeout_at(until, tokio::time::sleep(NO_SERVER)).await.is_ok() => {}
                Ok(Sent::Returned) => {
                    return Err(CallError::Broker { topic, why: format!("nobody reads the queue '{}'", route.key) });
                }
                Err(PublishError::Closed(_)) => return Err(CallError::Unavailable { topic }),
                Err(error) => return Err(CallError::Broker { topic, why: error.to_string() }),
            }
        }
    }

    fn route(&self, target: &Target, expiration: Option<Duration>) -> Route {
        let Shared { settings, .. } = &*self.0;
        let (exchange, key) = match (&target.server, target.fanout) {
            (_, true) => (Exchange::fanout(&target.topic, &settings.queues), String::new()),
            (None, false) => (Exchange::main(&settings.exchange, &settings.queues), target.topic.clone()),
            (Some(server), false) => {
                (Exchange::main(&settings.exchange, &settings.queues), format!("{}.{server}", target.topic))
            }
        };
        // Who waits for an answer is to know that nobody got the question.
        let mandatory = expiration.is_some();
        Route { exchange, key, queue: None, mandatory, expiration }
    }

    /// Sends a notification to the queue of its topic, which waits there for its first reader.
    pub(super) async fn notify(&self, topic: &str, body: &[u8]) -> Result<(), String> {
        let settings = &self.0.settings;
        let exchange = Exchange::main(&settings.exchange, &settings.queues);
        let queue = Queue::topic(&exchange, topic.to_owned(), &settings.queues);
        let route = Route { exchange, key: topic.to_owned(), queue: Some(queue), mandatory: false, expiration: None };
        let until = Instant::now() + settings.response_timeout;
        match self.0.publisher.publish(&route, body, until).await {
            Ok(Sent::Confirmed | Sent::Returned) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
