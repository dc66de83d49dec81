//! The transport within one process, by RabbitMQ's rules.
//!
//! - A topic has a queue shared by its servers, which take turns, a queue for each server by name, and a copy for each
//!   of them of what is sent to all.
//! - A queue is made by its first listener and outlives it: what arrives while nobody listens waits, at most
//!   [`BACKLOG`] messages, the oldest being dropped first. What is sent to a queue that never had a listener is
//!   dropped, except a call, which waits for one until its timeout. Agents lose nothing by a drop: they fetch the
//!   whole state when they start.
//! - A request is handed over once and never again (RPC is acknowledged before the method runs). What a listener has
//!   not yet taken when it ends goes back to its queue; copies of fanouts end with it.
//! - A call that its caller has given up is never seen by a server.
//! - One sender's messages to one listener keep their order, over all kinds of addressing.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{CallError, Incoming, Target};

/// How many messages wait in a queue, or for a listener, before the oldest is dropped.
pub const BACKLOG: usize = 10_000;

/// The queues.
#[derive(Debug, Clone, Default)]
pub struct Broker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    topics: HashMap<String, Topic>,
    mailboxes: Vec<Arc<Mailbox>>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Topic {
    shared: Queue,
    servers: HashMap<String, Queue>,
    fanout: Vec<Arc<Mailbox>>,
}

/// What several consumers take turns at.
#[derive(Debug, Default)]
struct Queue {
    declared: bool,
    consumers: Vec<Arc<Mailbox>>,
    turn: usize,
    waiting: VecDeque<Delivery>,
}

/// What one listener has been given and not yet taken.
#[derive(Debug, Default)]
struct Mailbox {
    state: Mutex<Inbox>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inbox {
    deliveries: VecDeque<Delivery>,
    closed: bool,
}

#[derive(Debug)]
struct Delivery {
    incoming: Incoming,
    target: Target,
    /// When its caller gives up; none for casts.
    expires: Option<Instant>,
}

/// Receives requests; dropping it ends the subscription.
#[derive(Debug)]
pub struct Listener {
    broker: Broker,
    topics: Vec<String>,
    server: String,
    mailbox: Arc<Mailbox>,
}

impl Broker {
    pub(super) async fn call(
        &self,
        target: &Target,
        mut incoming: Incoming,
        timeout: Duration,
    ) -> Result<Value, CallError> {
        let (topic, method) = (incoming.topic.clone(), incoming.method.clone());
        let (reply, answer) = oneshot::channel();
        incoming.reply = Some(super::Reply::in_process(reply));
        self.send(Delivery { incoming, target: target.clone(), expires: Some(Instant::now() + timeout) });
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => answer.map_err(CallError::Remote),
            Ok(Err(_)) => Err(CallError::Unavailable { topic }),
            Err(_) => Err(CallError::Timeout { topic, method }),
        }
    }

    pub(super) fn cast(&self, target: &Target, incoming: Incoming) {
        self.send(Delivery { incoming, target: target.clone(), expires: None });
    }

    pub(super) fn listen(&self, topics: &[&str], server: &str) -> Listener {
        let mailbox = Arc::new(Mailbox::default());
        let mut state = self.0.lock();
        mailbox.state.lock().closed = state.closed;
        for topic in topics {
            let topic = state.topics.entry((*topic).to_owned()).or_default();
            topic.shared.add(&mailbox);
            topic.servers.entry(server.to_owned()).or_default().add(&mailbox);
            topic.fanout.push(Arc::clone(&mailbox));
        }
        state.mailboxes.push(Arc::clone(&mailbox));
        Listener {
            broker: self.clone(),
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            server: server.to_owned(),
            mailbox,
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.topics.clear();
        for mailbox in state.mailboxes.drain(..) {
            let mut inbox = mailbox.state.lock();
            inbox.closed = true;
            inbox.deliveries.clear();
            mailbox.wake.notify_one();
        }
    }

    fn send(&self, delivery: Delivery) {
        let mut state = self.0.lock();
        if !state.closed {
            state.route(delivery);
        }
    }
}

impl State {
    fn route(&mut self, delivery: Delivery) {
        if delivery.target.fanout {
            let Some(topic) = self.topics.get(&delivery.target.topic) else { return };
            for mailbox in &topic.fanout {
                mailbox.put(delivery.copy());
            }
            return;
        }
        let is_call = delivery.expires.is_some();
        if is_call {
            self.topics.entry(delivery.target.topic.clone()).or_default();
        }
        let Some(topic) = self.topics.get_mut(&delivery.target.topic) else { return };
        let queue = match &delivery.target.server {
            None => &mut topic.shared,
            Some(server) if is_call => topic.servers.entry(server.clone()).or_default(),
            Some(server) => match topic.servers.get_mut(server) {
                Some(queue) => queue,
                None => return,
            },
        };
        queue.put(delivery);
    }
}

impl Queue {
    fn add(&mut self, mailbox: &Arc<Mailbox>) {
        self.declared = true;
        self.consumers.push(Arc::clone(mailbox));
        for delivery in std::mem::take(&mut self.waiting) {
            self.put(delivery);
        }
    }

    fn put(&mut self, delivery: Delivery) {
        if !self.consumers.is_empty() {
            self.turn = (self.turn + 1) % self.consumers.len();
            self.consumers[self.turn].put(delivery);
        } else if self.declared || delivery.expires.is_some() {
            if delivery.expires.is_some() {
                self.waiting.retain(|waiting| !waiting.is_given_up());
            }
            push_bounded(&mut self.waiting, delivery);
        }
    }
}

impl Mailbox {
    fn put(&self, delivery: Delivery) {
        let mut inbox = self.state.lock();
        if !inbox.closed {
            push_bounded(&mut inbox.deliveries, delivery);
            self.wake.notify_one();
        }
    }
}

fn push_bounded(queue: &mut VecDeque<Delivery>, delivery: Delivery) {
    if queue.len() >= BACKLOG
        && let Some(dropped) = queue.pop_front()
    {
        tracing::warn!(topic = dropped.target.topic, method = dropped.incoming.method, "queue full, message dropped");
    }
    queue.push_back(delivery);
}

impl Delivery {
    /// Another copy, for casts; the way back is not copied.
    fn copy(&self) -> Self {
        let from = &self.incoming;
        let incoming = Incoming {
            ctx: from.ctx.clone(),
            topic: from.topic.clone(),
            version: from.version.clone(),
            namespace: from.namespace.clone(),
            method: from.method.clone(),
            args: from.args.clone(),
            fanout: from.fanout,
            reply: None,
        };
        Self { incoming, target: self.target.clone(), expires: self.expires }
    }

    fn is_given_up(&self) -> bool {
        self.expires.is_some_and(|at| at <= Instant::now())
            || self.incoming.reply.as_ref().is_some_and(super::Reply::is_given_up)
    }
}

impl Listener {
    /// The next request; none when the transport was closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Incoming> {
        loop {
            {
                let mut inbox = self.mailbox.state.lock();
                while let Some(delivery) = inbox.deliveries.pop_front() {
                    if !delivery.is_given_up() {
                        return Some(delivery.incoming);
                    }
                }
                if inbox.closed {
                    return None;
                }
            }
            self.mailbox.wake.notified().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.broker.0.lock();
        let others = |mailboxes: &mut Vec<Arc<Mailbox>>| mailboxes.retain(|m| !Arc::ptr_eq(m, &self.mailbox));
        others(&mut state.mailboxes);
        for name in &self.topics {
            let Some(topic) = state.topics.get_mut(name) else { continue };
            others(&mut topic.shared.consumers);
            others(&mut topic.fanout);
            if let Some(queue) = topic.servers.get_mut(&self.server) {
                others(&mut queue.consumers);
            }
        }
        let left = {
            let mut inbox = self.mailbox.state.lock();
            inbox.closed = true;
            std::mem::take(&mut inbox.deliveries)
        };
        for delivery in left.into_iter().filter(|d| !d.target.fanout) {
            state.route(delivery);
        }
    }
}

#[cfg(test)]
mod tests;
