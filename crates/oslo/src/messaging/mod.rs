//! RPC as oslo.messaging 2.0 does it: what a message looks like, and a transport to carry it.
//!
//! [`envelope`] is the wire format as pure functions. [`Bus`] is the handle every caller and listener holds; which
//! transport stands behind it is an enum, so that code above cannot tell one from the other. The in-process transport
//! keeps RabbitMQ's rules (see [`in_process`]) and hands over values without encoding them.

pub mod envelope;
pub mod failure;
pub mod in_process;
pub mod notifier;
pub mod patience;
pub mod rabbit;

use std::time::Duration;

use serde_json::Value;
use tokio::sync::{oneshot, watch};

pub use failure::{CallError, Failure};
pub use rabbit::{RabbitError, RabbitSettings, SettingsError};

use crate::context::Context;

/// Where a message goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Name of the interface's queue.
    pub topic: String,
    /// One server of that topic, by its host name; none for any one of them.
    pub server: Option<String>,
    /// To all servers of the topic instead of one.
    pub fanout: bool,
    /// Which of the interfaces of the topic; none for the core ones.
    pub namespace: Option<String>,
}

impl Target {
    /// Any one server of a topic.
    pub fn topic(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), ..Self::default() }
    }

    /// One named server of a topic.
    pub fn server(topic: impl Into<String>, server: impl Into<String>) -> Self {
        Self { topic: topic.into(), server: Some(server.into()), ..Self::default() }
    }

    /// All servers of a topic.
    pub fn fanout(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), fanout: true, ..Self::default() }
    }

    /// The same for another interface of the topic.
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }
}

/// A request as its receiver sees it.
#[derive(Debug)]
pub struct Incoming {
    /// Who asks.
    pub ctx: Context,
    /// The topic it was sent to.
    pub topic: String,
    /// Interface version the sender needs, `X.Y`.
    pub version: String,
    /// Null in every core interface.
    pub namespace: Option<String>,
    /// Name of the method.
    pub method: String,
    /// Keyword arguments of the method.
    pub args: Value,
    /// It was sent to all of the topic, and not to one of them.
    pub fanout: bool,
    /// Where the answer goes; none for a cast.
    pub reply: Option<Reply>,
}

/// Receives requests; dropping it ends the subscription.
#[derive(Debug)]
pub enum Listener {
    /// From within this process.
    InProcess(in_process::Listener),
    /// From RabbitMQ.
    Rabbit(rabbit::Listener),
}

/// Tells a listener's owner when messages may have been missed; see [`Listener::gaps`].
#[derive(Debug)]
pub struct Gaps {
    ready: Option<watch::Receiver<bool>>,
    /// Whether it has received before.
    began: bool,
}

/// The way back to the caller. Dropped unused, it tells the caller that no answer will come.
#[derive(Debug)]
pub struct Reply(Path);

#[derive(Debug)]
enum Path {
    InProcess(oneshot::Sender<Result<Value, Failure>>),
    Rabbit(rabbit::ReplyPath),
}

/// A clonable handle on the message transport.
#[derive(Debug, Clone)]
pub enum Bus {
    /// Queues within this process.
    InProcess(in_process::Broker),
    /// RabbitMQ.
    Rabbit(rabbit::Rabbit),
}

impl Listener {
    /// The next request; none when the transport was closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Incoming> {
        match self {
            Self::InProcess(listener) => listener.next().await,
            Self::Rabbit(listener) => listener.next().await,
        }
    }

    /// Tells when messages may have been missed.
    pub fn gaps(&self) -> Gaps {
        match self {
            Self::InProcess(_) => Gaps { ready: None, began: false },
            Self::Rabbit(listener) => Gaps { ready: Some(listener.ready()), began: false },
        }
    }
}

impl Gaps {
    /// Waits until the listener receives again after a time in which it could not. What was sent meanwhile may be lost,
    /// so whatever the messages told of has to be asked for. Never returns where nothing can be missed. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) {
        let Some(ready) = &mut self.ready else { return std::future::pending().await };
        loop {
            if ready.changed().await.is_err() {
                return std::future::pending().await;
            }
            // The first time it receives, nothing has been missed: no call went out before.
            if *ready.borrow_and_update() && std::mem::replace(&mut self.began, true) {
                return;
            }
        }
    }
}

impl Reply {
    fn in_process(sender: oneshot::Sender<Result<Value, Failure>>) -> Self {
        Self(Path::InProcess(sender))
    }

    fn rabbit(path: rabbit::ReplyPath) -> Self {
        Self(Path::Rabbit(path))
    }

    /// Answers the call. The caller may have given up; then nothing happens.
    pub fn send(self, answer: Result<Value, Failure>) {
        match self.0 {
            Path::InProcess(sender) => {
                if sender.send(answer).is_err() {
                    tracing::debug!("an answer came after its caller gave up");
                }
            }
            Path::Rabbit(path) => path.send(answer),
        }
    }

    /// Whether the caller is known to wait no more.
    fn is_given_up(&self) -> bool {
        matches!(&self.0, Path::InProcess(sender) if sender.is_closed())
    }
}

impl Bus {
    /// A new transport within this process.
    pub fn in_process() -> Self {
        Self::InProcess(in_process::Broker::default())
    }

    /// The transport by RabbitMQ. It connects when it is first used, and again whenever it must: a broker that is away is
    /// no error here.
    #[allow(clippy::unused_async, reason = "it needs a runtime around it")]
    pub async fn rabbit(settings: RabbitSettings) -> Result<Self, RabbitError> {
        rabbit::Rabbit::new(settings).map(Self::Rabbit)
    }

    /// Sends a request and waits for its answer, at most `timeout`.
    pub async fn call(
        &self,
        ctx: &Context,
        target: &Target,
        version: &str,
        method: &str,
        args: Value,
        timeout: Duration,
    ) -> Result<Value, CallError> {
        let incoming = incoming(ctx, target, version, method, args);
        match self {
            Self::InProcess(broker) => broker.call(target, incoming, timeout).await,
            Self::Rabbit(rabbit) => rabbit.call(target, incoming, timeout).await,
        }
    }

    /// Sends a request that has no answer. What cannot be delivered is dropped, as upstream does with casts.
    pub async fn cast(&self, ctx: &Context, target: &Target, version: &str, method: &str, args: Value) {
        if let Err(error) = self.deliver(ctx, target, version, method, args).await {
            tracing::error!("the cast '{method}' was dropped: {error}");
        }
    }

    /// [`Bus::cast`], for what must arrive: returns when the transport has taken charge of the message, or tells why it
    /// has not, so that the sender can send it again.
    pub async fn deliver(
        &self,
        ctx: &Context,
        target: &Target,
        version: &str,
        method: &str,
        args: Value,
    ) -> Result<(), CallError> {
        let incoming = incoming(ctx, target, version, method, args);
        match self {
            Self::InProcess(broker) => {
                broker.cast(target, incoming);
                Ok(())
            }
            Self::Rabbit(rabbit) => rabbit.cast(target, incoming).await,
        }
    }

    /// Starts to receive what is sent to a topic, to this server of it, and to all its servers.
    pub fn listen(&self, topic: &str, server: &str) -> Listener {
        self.listen_all(&[topic], server)
    }

    /// Receives several topics through one listener, so that the order of one sender's messages is kept across them.
    pub fn listen_all(&self, topics: &[&str], server: &str) -> Listener {
        match self {
            Self::InProcess(broker) => Listener::InProcess(broker.listen(topics, server)),
            Self::Rabbit(rabbit) => Listener::Rabbit(rabbit.listen(topics, server)),
        }
    }

    /// Ends every listener and refuses further messages.
    pub fn close(&self) {
        match self {
            Self::InProcess(broker) => broker.close(),
            Self::Rabbit(rabbit) => rabbit.close(),
        }
    }

    /// Closes, and waits a few seconds at most until answers that are owed are sent and nothing is left at the broker.
    pub async fn shut_down(&self) {
        self.close();
        if let Self::Rabbit(rabbit) = self {
            rabbit.closed().await;
        }
    }

    /// Why nothing can be sent or received just now, if something is known to be wrong.
    pub fn health(&self) -> Result<(), String> {
        match self {
            Self::InProcess(_) => Ok(()),
            Self::Rabbit(rabbit) => rabbit.health(),
        }
    }
}

fn incoming(ctx: &Context, target: &Target, version: &str, method: &str, args: Value) -> Incoming {
    Incoming {
        ctx: ctx.clone(),
        topic: target.topic.clone(),
        version: version.to_owned(),
        namespace: target.namespace.clone(),
        method: method.to_owned(),
        args,
        fanout: target.fanout,
        reply: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn told(gaps: &mut Gaps) -> bool {
        tokio::time::timeout(Duration::from_millis(20), gaps.next()).await.is_ok()
    }

    #[tokio::test]
    async fn only_a_return_is_a_gap() {
        let (sender, ready) = watch::channel(false);
        let mut gaps = Gaps { ready: Some(ready), began: false };
        assert!(!told(&mut gaps).await);
        sender.send_replace(true);
        assert!(!told(&mut gaps).await, "the beginning is none");
        sender.send_replace(false);
        assert!(!told(&mut gaps).await, "nothing can be asked while the broker is away");
        sender.send_replace(true);
        assert!(told(&mut gaps).await);
        assert!(!told(&mut gaps).await, "each is told once");
        assert!(!told(&mut Bus::in_process().listen("topic", "server").gaps()).await);
    }
}
