//! Requests, as a listener of the bus receives them.

use std::sync::Arc;

use lapin::message::Delivery;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::{
    Shared,
    consumer::{Sink, Subscription},
    duplicate::Duplicates,
    reply::ReplyPath,
    topology::{Exchange, Queue, unique_name},
};
use crate::messaging::{
    Incoming, Reply,
    envelope::{self, Request},
};

/// The method that listeners answer themselves where `rpc_ping_enabled` is set.
const PING: &str = "oslo_rpc_server_ping";

/// Receives requests; dropping it ends the subscription.
#[derive(Debug)]
pub struct Listener {
    incoming: mpsc::Receiver<Incoming>,
    /// A permit for each message that may be acknowledged: what was not asked for stays the broker's.
    demand: Arc<Semaphore>,
    /// Whether a permit was given for which nothing has come.
    asked: bool,
    /// Whether the queues are read now.
    ready: watch::Receiver<bool>,
}

/// Makes requests of messages.
struct Requests {
    shared: Arc<Shared>,
    topics: Vec<String>,
    server: String,
    incoming: mpsc::Sender<Incoming>,
    demand: Arc<Semaphore>,
    /// For the next message. It is kept when that turns out to be nothing for the listener, or cannot be acknowledged.
    permit: Option<OwnedSemaphorePermit>,
    duplicates: Duplicates,
}

impl Listener {
    /// Declares the queues of the topics, and takes from them, as soon as there is a broker.
    pub(super) fn start(shared: &Arc<Shared>, topics: &[&str], server: &str) -> Self {
        let (sender, incoming) = mpsc::channel(1);
        let demand = Arc::new(Semaphore::new(0));
        let subscription = Subscription {
            link: shared.receiving.clone(),
            settings: Arc::clone(&shared.settings),
            name: topics.join(", "),
            queues: topics.iter().flat_map(|topic| queues(shared, topic, server)).collect(),
            ready: watch::Sender::new(false),
            missed: Arc::default(),
        };
        let ready = subscription.ready.subscribe();
        let requests = Requests {
            shared: Arc::clone(shared),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            server: server.to_owned(),
            incoming: sender.clone(),
            demand: Arc::clone(&demand),
            permit: None,
            duplicates: Duplicates::default(),
        };
        let mut closed = shared.stop.subscribe();
        shared.spawn(async move {
            let (stop, stopped) = watch::channel(false);
            let ending = async {
                tokio::select! {
                    _ = closed.wait_for(|closed| *closed) => {}
                    () = sender.closed() => {}
                }
                stop.send_replace(true);
                drop(sender);
            };
            tokio::join!(subscription.run(requests, stopped), ending);
        });
        Self { incoming, demand, asked: false, ready }
    }

    /// Whether its queues are read now, as it changes.
    pub(in crate::messaging) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// The next request; none when the transport was closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Incoming> {
        if !self.asked {
            self.demand.add_permits(1);
            self.asked = true;
        }
        let incoming = self.incoming.recv().await;
        self.asked = false;
        incoming
    }
}

fn queues(shared: &Shared, topic: &str, server: &str) -> [Queue; 3] {
    let settings = &shared.settings.queues;
    let exchange = Exchange::main(&shared.settings.exchange, settings);
    [
        Queue::topic(&exchange, topic.to_owned(), settings),
        Queue::topic(&exchange, format!("{topic}.{server}"), settings),
        Queue::fanout(topic, &unique_name(settings), settings),
    ]
}

impl Sink for Requests {
    async fn room(&mut self) -> bool {
        if self.permit.is_none() {
            let asked = Arc::clone(&self.demand).acquire_owned();
            self.permit = tokio::select! {
                permit = asked => permit.ok(),
                () = self.incoming.closed() => None,
            };
        }
        self.permit.is_some()
    }

    fn take(&mut self, delivery: Delivery) {
        let Some(incoming) = self.read(&delivery) else { return };
        if let Some(permit) = self.permit.take() {
            permit.forget();
        }
        // There is room for the one that was asked for; a listener that is gone wants none.
        let _ = self.incoming.try_send(incoming);
    }
}

impl Requests {
    /// The request in a body, if it is one that somebody has to see.
    fn read(&mut self, delivery: &Delivery) -> Option<Incoming> {
        let request = match envelope::unwrap(&delivery.data).and_then(Request::decode) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!("a message of {} was dropped: {error}", self.topics.join(", "));
                return None;
            }
        };
        if self.duplicates.is_repeat(&request.unique_id) {
            tracing::warn!("'{}' came twice and was dropped once", request.method);
            return None;
        }
        let reply = request.call.map(|call| Reply::rabbit(ReplyPath::new(&self.shared, call)));
        if self.shared.settings.ping && request.method == PING {
            if let Some(reply) = reply {
                reply.send(Ok(Value::from("pong")));
            }
            return None;
        }
        Some(Incoming {
            ctx: request.ctx,
            topic: self.topic_of(delivery),
            version: request.version,
            namespace: request.namespace,
            method: request.method,
            args: request.args,
            fanout: delivery.routing_key.as_str().is_empty(),
            reply,
        })
    }

    fn topic_of(&self, delivery: &Delivery) -> String {
        let (exchange, key) = (delivery.exchange.as_str(), delivery.routing_key.as_str());
        let is_to = |topic: &&String| {
            let of_server = |rest: &str| rest.is_empty() || rest.strip_prefix('.') == Some(&self.server);
            exchange.strip_prefix(topic.as_str()) == Some("_fanout")
                || key.strip_prefix(topic.as_str()).is_some_and(of_server)
        };
        self.topics.iter().find(is_to).cloned().unwrap_or_else(|| key.to_owned())
    }
}
