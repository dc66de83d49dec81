//! RPC as oslo.messaging 2.0 does it: what a message looks like, and a transport to carry it.
//!
//! [`envelope`] is the wire format as pure functions. [`Bus`] is the handle every caller and listener holds; which
//! transport stands behind it is an enum, so that code above cannot tell one from the other. The in-process transport
//! keeps RabbitMQ's rules (see [`in_process`]) and hands over values without encoding them.

pub mod envelope;
pub mod failure;
pub mod in_process;

use std::time::Duration;

use serde_json::Value;

pub use failure::{CallError, Failure};
pub use in_process::{Listener, Reply};

use crate::context::Context;

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the interface's queue.
    pub topic: String,
    /// One server of that topic, by its host name; none for any one of them.
    pub server: Option<String>,
    /// To all servers of the topic instead of one.
    pub fanout: bool,
}

impl Target {
    /// Any one server of a topic.
    pub fn topic(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), server: None, fanout: false }
    }

    /// One named server of a topic.
    pub fn server(topic: impl Into<String>, server: impl Into<String>) -> Self {
        Self { topic: topic.into(), server: Some(server.into()), fanout: false }
    }

    /// All servers of a topic.
    pub fn fanout(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), server: None, fanout: true }
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
    /// Where the answer goes; none for a cast.
    pub reply: Option<Reply>,
}

/// A clonable handle on the message transport.
#[derive(Debug, Clone)]
pub enum Bus {
    /// Queues within this process.
    InProcess(in_process::Broker),
}

impl Bus {
    /// A new transport within this process.
    pub fn in_process() -> Self {
        Self::InProcess(in_process::Broker::default())
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
        }
    }

    /// Sends a request that has no answer. What cannot be delivered is dropped, as upstream does with casts.
    pub async fn cast(&self, ctx: &Context, target: &Target, version: &str, method: &str, args: Value) {
        let incoming = incoming(ctx, target, version, method, args);
        match self {
            Self::InProcess(broker) => broker.cast(target, incoming),
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
            Self::InProcess(broker) => broker.cast(target, incoming),
        }
        Ok(())
    }

    /// Starts to receive what is sent to a topic, to this server of it, and to all its servers.
    pub fn listen(&self, topic: &str, server: &str) -> Listener {
        self.listen_all(&[topic], server)
    }

    /// Receives several topics through one listener, so that the order of one sender's messages is kept across them.
    pub fn listen_all(&self, topics: &[&str], server: &str) -> Listener {
        match self {
            Self::InProcess(broker) => broker.listen(topics, server),
        }
    }

    /// Ends every listener and refuses further messages.
    pub fn close(&self) {
        match self {
            Self::InProcess(broker) => broker.close(),
        }
    }
}

fn incoming(ctx: &Context, target: &Target, version: &str, method: &str, args: Value) -> Incoming {
    Incoming {
        ctx: ctx.clone(),
        topic: target.topic.clone(),
        version: version.to_owned(),
        namespace: None,
        method: method.to_owned(),
        args,
        reply: None,
    }
}
