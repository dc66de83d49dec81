//! Answers: those that this process waits for, and those that it owes.
//!
//! A process has one queue for the answers to all its calls, made with the first of them. An answer is sent to a queue
//! that must exist; while it does not, as after a restart of the broker, the answer is sent again every
//! [`AGAIN`], for as long as the settings say. Queues that did not come back are remembered, so that answers to callers
//! that are gone do not wait as well.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use lapin::message::Delivery;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    sync::{Notify, oneshot, watch},
    task::AbortHandle,
    time::Instant,
};
use uuid::Uuid;

use super::{
    Shared,
    consumer::{Sink, Subscription},
    duplicate::Duplicates,
    publisher::{Route, Sent},
    topology::{Exchange, Queue, unique_name},
};
use crate::messaging::{
    Failure,
    envelope::{self, Call, ReplyMessage},
    failure::BUILTINS_MODULE,
};

/// The pause before an answer that found no queue is sent again.
const AGAIN: Duration = Duration::from_millis(250);
/// How many lost queues are remembered, and for how long.
const OBSOLETE: (usize, Duration) = (200, Duration::from_secs(60));

type Answer = Result<Value, Failure>;

/// The answers that this process waits for.
#[derive(Debug)]
pub(super) struct Answers {
    /// Name of the queue they come through.
    pub(super) queue: String,
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Answer>>>>,
    ready: watch::Receiver<bool>,
    /// Tells who reads the queue to look whether it is there.
    missed: Arc<Notify>,
}

/// One answer that is waited for, until it is dropped.
pub(super) struct Waiting<'a> {
    answers: &'a Answers,
    msg_id: String,
    answer: oneshot::Receiver<Answer>,
}

/// Gives answers to those who wait for them.
struct Dispatch {
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Answer>>>>,
    duplicates: Duplicates,
}

impl Answers {
    /// Declares the queue, and reads it until the transport is closed.
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let settings = &shared.settings.queues;
        let queue = Queue::reply(&unique_name(settings), settings);
        let name = queue.name.clone();
        let (ready, is_ready) = watch::channel(false);
        let subscription = Subscription {
            link: shared.receiving.clone(),
            settings: Arc::clone(&shared.settings),
            name: name.clone(),
            queues: vec![queue],
            ready,
            missed: Arc::default(),
        };
        let missed = Arc::clone(&subscription.missed);
        let waiting = Arc::<Mutex<HashMap<_, _>>>::default();
        let dispatch = Dispatch { waiting: Arc::clone(&waiting), duplicates: Duplicates::default() };
        shared.spawn(subscription.run(dispatch, shared.stop.subscribe()));
        Self { queue: name, waiting, ready: is_ready, missed }
    }

    /// Waits until the queue is read.
    pub(super) async fn ready(&self) {
        let mut ready = self.ready.clone();
        if ready.wait_for(|ready| *ready).await.is_err() {
            // The transport is closed: what comes next fails by itself.
            tracing::debug!("the queue of answers is closed");
        }
    }

    /// An answer has not come: it may have found no queue.
    pub(super) fn missed(&self) {
        self.missed.notify_one();
    }

    pub(super) fn expect(&self, msg_id: String) -> Waiting<'_> {
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().insert(msg_id.clone(), sender);
        Waiting { answers: self, msg_id, answer }
    }

    /// Tells all that wait that nothing will come.
    pub(super) fn give_up(&self) {
        self.waiting.lock().clear();
    }
}

impl Waiting<'_> {
    /// The answer; none when the transport was closed.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.answers.waiting.lock().remove(&self.msg_id);
    }
}

impl Sink for Dispatch {
    async fn room(&mut self) -> bool {
        true
    }

    fn take(&mut self, delivery: Delivery) {
        let reply = match envelope::unwrap(&delivery.data).and_then(ReplyMessage::decode) {
            Ok(reply) => reply,
            Err(error) => return tracing::error!("an answer was dropped: {error}"),
        };
        if self.duplicates.is_repeat(&reply.unique_id) || !reply.ending {
            return;
        }
        match self.waiting.lock().remove(&reply.msg_id) {
            Some(waiting) => {
                let _ = waiting.send(reply.result);
            }
            None => tracing::warn!("an answer came after its caller gave up: {}", reply.msg_id),
        }
    }
}

/// Reply queues that did not come back.
#[derive(Debug, Default)]
pub(super) struct Obsolete(Mutex<VecDeque<(String, Instant)>>);

impl Obsolete {
    fn contains(&self, queue: &str) -> bool {
        let mut known = self.0.lock();
        known.retain(|(_, since)| since.elapsed() < OBSOLETE.1);
        known.iter().any(|(name, _)| name == queue)
    }

    fn add(&self, queue: &str) {
        let mut known = self.0.lock();
        if known.len() == OBSOLETE.0 {
            known.pop_front();
        }
        known.push_back((queue.to_owned(), Instant::now()));
    }
}

/// The way back to a caller. Dropped unused, it sends a failure, so that the caller does not wait in vain.
#[derive(Debug)]
pub struct ReplyPath {
    shared: Arc<Shared>,
    call: Call,
    /// Tells the caller, where it asked for that, that its method still runs.
    monitor: Option<AbortHandle>,
    answered: bool,
}

impl ReplyPath {
    pub(super) fn new(shared: &Arc<Shared>, call: Call) -> Self {
        let monitor = call.monitor_timeout.and_then(|timeout| Duration::try_from_secs_f64(timeout / 2.0).ok());
        let monitor = monitor.filter(|pause| !pause.is_zero()).map(|pause| {
            let (shared, call) = (Arc::clone(shared), call.clone());
            let beats = async move {
                loop {
                    tokio::time::sleep(pause).await;
                    send(&shared, &call, Ok(Value::Null), false).await;
                }
            };
            tokio::spawn(beats).abort_handle()
        });
        Self { shared: Arc::clone(shared), call, monitor, answered: false }
    }

    pub(in crate::messaging) fn send(mut self, answer: Answer) {
        self.answer(answer);
    }

    fn answer(&mut self, answer: Answer) {
        self.answered = true;
        if let Some(monitor) = &self.monitor {
            monitor.abort();
        }
        let (shared, call) = (Arc::clone(&self.shared), self.call.clone());
        self.shared.spawn(async move { send(&shared, &call, answer, true).await });
    }
}

impl Drop for ReplyPath {
    fn drop(&mut self) {
        if !self.answered {
            let why = "the server ended before it answered";
            self.answer(Err(Failure::new("RuntimeError", BUILTINS_MODULE, why)));
        }
    }
}

async fn send(shared: &Shared, call: &Call, result: Answer, ending: bool) {
    let queue = &call.reply_queue;
    if shared.obsolete.contains(queue) {
        return tracing::warn!("the queue {queue} is gone; the answer to {} is dropped", call.msg_id);
    }
    let unique_id = Uuid::new_v4().simple().to_string();
    let message = ReplyMessage { msg_id: call.msg_id.clone(), unique_id, result, ending };
    let body = envelope::wrap(&message.encode());
    let route = Route {
        exchange: Exchange::default_direct(),
        key: queue.clone(),
        queue: None,
        mandatory: shared.settings.mandatory_replies,
        expiration: None,
    };
    let until = Instant::now() + shared.settings.missing_consumer_retry;
    // An answer whose time is over before it was sent once is sent once.
    let first = until.max(Instant::now() + AGAIN);
    loop {
        match shared.publisher.publish(&route, body.as_bytes(), first).await {
            Ok(Sent::Confirmed) => return,
            Ok(Sent::Returned) if Instant::now() + AGAIN < until && ending => tokio::time::sleep(AGAIN).await,
            Ok(Sent::Returned) => {
                shared.obsolete.add(queue);
                return tracing::error!("the queue {queue} is gone; the answer to {} is dropped", call.msg_id);
            }
            Err(error) => return tracing::error!("the answer to {} was not sent: {error}", call.msg_id),
        }
    }
}
