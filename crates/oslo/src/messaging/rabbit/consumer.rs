//! Takes messages from queues, over and over.
//!
//! A [`Subscription`] is one channel with a consumer for each of its queues. When the channel, the connection or a queue
//! is lost, everything is declared again on a new channel; the names of the queues stay. Messages come in the order in
//! which the broker gave them to the channel, across its queues.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
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
use tokio::sync::watch;

use super::{
    connection::{Link, Live, chain},
    publisher::is_durability,
    settings::RabbitSettings,
    topology::Queue,
};

/// How long the broker may take to declare everything.
const DECLARATION: Duration = Duration::from_secs(30);
/// How long it may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// The pause before what failed is declared again, and how long it may grow.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

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
        loop {
            let delivery = match session.merged.next().await {
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
