//! Takes messages from queues, over and over.
//!
//! A [`Subscription`] is one channel with a consumer for each of its queues. When the channel, the connection or a queue
//! is lost, everything is declared again on a new channel; the names of the queues stay. Messages come in the order in
//! which the broker gave them to the channel, across its queues.
//!
//! A queue may be gone without a word. When a node of a cluster is lost, each of the others removes by name the queues
//! that were there; one that is late removes what was declared again meanwhile. The consumer stays then and gets nothing
//! (<https://github.com/rabbitmq/rabbitmq-server/issues/9798>). So the broker is asked for the queues every now and then.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable, LongString},
};
use tokio::sync::{Notify, watch};

use super::{
    connection::{Link, Live, chain, drawn},
    publisher::{is_durability, is_missing},
    settings::RabbitSettings,
    topology::Queue,
};

/// How long the broker may take to declare everything.
const DECLARATION: Duration = Duration::from_secs(30);
/// How long it may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// The pause before what failed is declared again, and how long it may grow.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How soon after they were declared the queues are asked for, and the most that is added to that at last.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Queues that are read through one channel.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) link: Link,
    pub(super) settings: Arc<RabbitSettings>,
    /// What is read, for the log.
    pub(super) name: String,
    pub(super) queues: Vec<Queue>,
    /// Whether messages are taken now.
    pub(super) ready: watch::Sender<bool>,
    /// Someone waits for a message in vain, so that the queues are to be asked for soon.
    pub(super) missed: Arc<Notify>,
}

/// What is done with messages.
pub(super) trait Sink: Send {
    /// Waits until there is room for one more, which then stays until it is taken; false when there will never be.
    fn room(&mut self) -> impl Future<Output = bool> + Send;

    /// Takes a message that was acknowledged.
    fn take(&mut self, delivery: Delivery);
}

/// Why reading ended.
enum End {
    /// Nobody wants to read any more.
    Stopped,
    /// To be tried again.
    Lost(String),
}

/// A channel that is read.
struct Session {
    channel: Channel,
    merged: Merged,
}

/// Deliveries of several consumers, by the order of their channel.
struct Merged {
    consumers: Vec<Consumer>,
    waiting: BTreeMap<u64, Delivery>,
    lost: Option<String>,
}

impl Subscription {
    /// Reads until `stop` turns true or the sink wants no more; then removes the queues that are its own.
    pub(super) async fn run(mut self, mut sink: impl Sink, mut stop: watch::Receiver<bool>) {
        let mut pause = PAUSE.0;
        loop {
            let mut session = None;
            let end = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => End::Stopped,
                end = self.read(&mut session, &mut sink, &mut pause) => end,
            };
            self.ready.send_replace(false);
            match (end, session) {
                (End::Stopped, None) => return,
                (End::Stopped, Some(session)) => return self.remove(session).await,
                (End::Lost(why), _) => tracing::warn!("{} is read no more: {why}; subscribing again", self.name),
            }
            self.link.suspect();
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
            }
        }
    }

    async fn read(&mut self, slot: &mut Option<Session>, sink: &mut impl Sink, pause: &mut Duration) -> End {
        let Ok(live) = self.link.get().await else { return End::Stopped };
        let end = tokio::select! {
            end = self.read_on(&live, slot, sink, pause) => end,
            () = live.ended() => End::Lost("the connection is lost".to_owned()),
        };
        if !live.connection().status().connected() {
            *slot = None;
        }
        end
    }

    async fn read_on(
        &mut self,
        live: &Live,
        slot: &mut Option<Session>,
        sink: &mut impl Sink,
        pause: &mut Duration,
    ) -> End {
        let subscribing = tokio::time::timeout(DECLARATION, self.subscribe(live.connection()));
        let session = match subscribing.await {
            Ok(Ok(session)) => slot.insert(session),
            Ok(Err(error)) => {
                if is_durability(&error) {
                    tracing::warn!("{} was declared before as not durable, and is now as well", self.name);
                    self.queues = self.queues.drain(..).map(Queue::not_durable).collect();
                }
                return End::Lost(chain(&error));
            }
            Err(_) => {
                live.abandon();
                return End::Lost("the message broker does not answer".to_owned());
            }
        };
        *pause = PAUSE.0;
        self.ready.send_replace(true);
        tracing::debug!("{} is read", self.name);
        let mut removed = pin!(self.removed(live));
        loop {
            let next = tokio::select! {
                // What the broker has given already is taken first.
                biased;
                next = session.merged.next() => next,
                why = &mut removed => Err(why),
            };
            let delivery = match next {
                Ok(delivery) => delivery,
                Err(why) => return End::Lost(why),
            };
            if !sink.room().await {
                return End::Stopped;
            }
            // Acknowledged before it is handed over: at most once. What cannot be acknowledged will come again.
            match delivery.acker.ack(BasicAckOptions::default()).await {
                Ok(true) => sink.take(delivery),
                Ok(false) => {}
                Err(error) => tracing::warn!("a message of {} could not be acknowledged: {}", self.name, chain(&error)),
            }
        }
    }

    /// Returns when a queue is gone, though nobody was told.
    async fn removed(&self, live: &Live) -> String {
        let mut pause = LOOK.0;
        loop {
            // Calls that time out by the dozen do not make for more than this.
            tokio::time::sleep(LOOK.0).await;
            tokio::select! {
                () = tokio::time::sleep(drawn(pause)) => {}
                () = self.missed.notified() => {}
            }
            match self.look(live.connection()).await {
                Ok(None) => {}
                Ok(Some(queue)) => return format!("the queue {} was removed and nobody told", queue.name),
                Err(error) => tracing::debug!("{} could not be looked at: {}", self.name, chain(&error)),
            }
            pause = (pause * 2).min(LOOK.1);
        }
    }

    /// The first queue that is gone, or that another one has declared anew. Of a queue that is shared and that others
    /// read, it is not known which one its readers have.
    async fn look(&self, connection: &lapin::Connection) -> lapin::Result<Option<&Queue>> {
        // A channel of its own: one that asks for what is missing is closed, and one that asks for what is lost waits.
        let channel = connection.create_channel().await?;
        for queue in self.queues.iter().filter(|queue| queue.is_on_one_node()) {
            match queue.readers(&channel).await {
                Ok(0) => return Ok(Some(queue)),
                Ok(_) => {}
                Err(error) if is_missing(&error) => return Ok(Some(queue)),
                Err(error) => return Err(error),
            }
        }
        channel.close(200, "OK".into()).await?;
        Ok(None)
    }

    async fn subscribe(&self, connection: &lapin::Connection) -> lapin::Result<Session> {
        tracing::debug!("{}: opening a channel", self.name);
        let channel = connection.create_channel().await?;
        tracing::debug!("{}: declaring", self.name);
        if self.settings.prefetch > 0 {
            channel.basic_qos(self.settings.prefetch, BasicQosOptions::default()).await?;
        }
        for queue in &self.queues {
            queue.declare(&channel).await?;
        }
        let mut consumers = Vec::with_capacity(self.queues.len());
        for (queue, tag) in self.queues.iter().zip(1_u32..) {
            let (name, tag) = (queue.name.as_str().into(), tag.to_string().into());
            let options = BasicConsumeOptions::default();
            consumers.push(channel.basic_consume(name, tag, options, self.consumer_arguments(queue)).await?);
        }
        Ok(Session { channel, merged: Merged { consumers, waiting: BTreeMap::new(), lost: None } })
    }

    fn consumer_arguments(&self, queue: &Queue) -> FieldTable {
        let mut arguments = FieldTable::default();
        let settings = &self.settings.queues;
        if settings.stream_fanout && queue.name.ends_with("_fanout") {
            arguments.insert("x-stream-offset".into(), AMQPValue::LongString(LongString::from("last")));
        } else if settings.cancel_on_failover {
            arguments.insert("x-cancel-on-ha-failover".into(), AMQPValue::Boolean(true));
        }
        arguments
    }

    /// Removes what would wait for nobody. What cannot be removed now goes by its time to live.
    async fn remove(&self, Session { channel, .. }: Session) {
        let goodbye = async {
            for queue in self.queues.iter().filter(|queue| queue.own) {
                channel.queue_delete(queue.name.as_str().into(), QueueDeleteOptions::default()).await?;
            }
            channel.close(200, "OK".into()).await
        };
        match tokio::time::timeout(GOODBYE, goodbye).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("{} was not removed: {}", self.name, chain(&error)),
            Err(_) => tracing::debug!("{} was not removed in time", self.name),
        }
    }
}

impl Merged {
    async fn next(&mut self) -> Result<Delivery, String> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Whatever one consumer has was put there in the channel's order, so that the lowest tag of all is the next.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Delivery, String>> {
        for consumer in &mut self.consumers {
            while self.lost.is_none() {
                match Pin::new(&mut *consumer).poll_next(cx) {
                    Poll::Ready(Some(Ok(delivery))) => {
                        self.waiting.insert(delivery.delivery_tag, delivery);
                    }
                    Poll::Ready(Some(Err(error))) => self.lost = Some(chain(&error)),
                    Poll::Ready(None) => self.lost = Some(format!("the queue {} was deleted", consumer.queue())),
                    Poll::Pending => break,
                }
            }
        }
        match (self.waiting.pop_first(), &self.lost) {
            (Some((_, delivery)), _) => Poll::Ready(Ok(delivery)),
            (None, Some(why)) => Poll::Ready(Err(why.clone())),
            (None, None) => Poll::Pending,
        }
    }
}
