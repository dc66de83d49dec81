//! Names, flags and arguments of exchanges and queues: what every member of a cloud must declare alike, since the broker
//! refuses a second declaration that differs from the first.

use std::sync::atomic::{AtomicU64, Ordering};

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use uuid::Uuid;

use super::settings::QueueSettings;

/// The argument of queues that are copied to other nodes of a cluster.
const TYPE: &str = "x-queue-type";

/// An exchange. The default one has no name and is never declared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) kind: ExchangeKind,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
}

/// A queue and its binding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) exchange: Exchange,
    pub(super) key: String,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) arguments: FieldTable,
    /// Whether it is this process's alone, and goes with it.
    pub(super) own: bool,
}

/// A name that no AMQP message can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name '{0}' is longer than the 255 bytes that AMQP allows")]
pub(super) struct LongName(String);

/// Checks a name.
pub(super) fn short(name: &str) -> Result<ShortString, LongName> {
    ShortString::try_new(name).map_err(|_| LongName(name.to_owned()))
}

impl Exchange {
    /// The one that leads to each queue by its name.
    pub(super) fn default_direct() -> Self {
        Self { name: String::new(), kind: ExchangeKind::Direct, durable: false, auto_delete: false }
    }

    /// The one of topics.
    pub(super) fn main(name: &str, settings: &QueueSettings) -> Self {
        let (durable, auto_delete) = (settings.durable, settings.auto_delete);
        Self { name: name.to_owned(), kind: ExchangeKind::Topic, durable, auto_delete }
    }

    /// The one that copies to all listeners of a topic.
    pub(super) fn fanout(topic: &str, settings: &QueueSettings) -> Self {
        let durable = settings.transient_quorum || settings.stream_fanout;
        Self { name: format!("{topic}_fanout"), kind: ExchangeKind::Fanout, durable, auto_delete: true }
    }

    pub(super) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        if self.name.is_empty() {
            return Ok(());
        }
        let options = ExchangeDeclareOptions {
            durable: self.durable,
            auto_delete: self.auto_delete,
            ..ExchangeDeclareOptions::default()
        };
        let name = self.name.as_str().into();
        channel.exchange_declare(name, self.kind.clone(), options, FieldTable::default()).await
    }
}

impl Queue {
    /// What several listeners of a topic share: the topic's own, or that of one server.
    pub(super) fn topic(exchange: &Exchange, name: String, settings: &QueueSettings) -> Self {
        Self {
            key: name.clone(),
            name,
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            exchange: exchange.clone(),
            arguments: arguments(settings, settings.quorum, 0),
            own: false,
        }
    }

    /// A listener's copies of what is sent to all of them.
    pub(super) fn fanout(topic: &str, unique: &str, settings: &QueueSettings) -> Self {
        let exchange = Exchange::fanout(topic, settings);
        let (name, arguments) = match settings.stream_fanout {
            true => (format!("{topic}_fanout"), stream_arguments(settings.transient_ttl)),
            false => (
                format!("{topic}_fanout_{unique}"),
                arguments(settings, settings.transient_quorum, settings.transient_ttl),
            ),
        };
        Self {
            name,
            durable: exchange.durable,
            exchange,
            key: topic.to_owned(),
            auto_delete: false,
            arguments,
            own: !settings.stream_fanout && settings.manager.is_none(),
        }
    }

    /// Where answers to this process's calls go.
    pub(super) fn reply(unique: &str, settings: &QueueSettings) -> Self {
        Self {
            name: format!("reply_{unique}"),
            exchange: Exchange::default_direct(),
            key: String::new(),
            durable: settings.transient_quorum,
            auto_delete: false,
            arguments: arguments(settings, settings.transient_quorum, settings.transient_ttl),
            own: settings.manager.is_none(),
        }
    }

    /// The same without surviving the broker: what an older declaration of the exchange may force on it.
    pub(super) fn not_durable(mut self) -> Self {
        self.durable = false;
        self.exchange.durable = false;
        self
    }

    /// Whether it is on one node of a cluster alone, and goes with that.
    pub(super) fn is_on_one_node(&self) -> bool {
        !self.arguments.contains_key(TYPE)
    }

    /// How many read it; an error where it is missing.
    pub(super) async fn readers(&self, channel: &Channel) -> lapin::Result<u32> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(self.name.as_str().into(), options, FieldTable::default()).await?;
        Ok(queue.consumer_count())
    }

    /// Declares exchange, queue and binding.
    pub(super) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        self.exchange.declare(channel).await?;
        let options = QueueDeclareOptions {
            durable: self.durable,
            auto_delete: self.auto_delete,
            ..QueueDeclareOptions::default()
        };
        channel.queue_declare(self.name.as_str().into(), options, self.arguments.clone()).await?;
        if self.exchange.name.is_empty() {
            return Ok(());
        }
        let (name, exchange, key) = (self.name.as_str(), self.exchange.name.as_str(), self.key.as_str());
        let options = QueueBindOptions::default();
        channel.queue_bind(name.into(), exchange.into(), key.into(), options, FieldTable::default()).await
    }
}

fn arguments(settings: &QueueSettings, quorum: bool, ttl: u32) -> FieldTable {
    let mut table = FieldTable::default();
    if settings.mirrored {
        table.insert("x-ha-policy".into(), text("all"));
    }
    if quorum {
        table.insert(TYPE.into(), text("quorum"));
        for (name, limit) in [
            ("x-delivery-limit", settings.delivery_limit),
            ("x-max-in-memory-length", settings.max_memory_length),
            ("x-max-in-memory-bytes", settings.max_memory_bytes),
        ] {
            if limit > 0 {
                table.insert(name.into(), number(limit));
            }
        }
    }
    if ttl > 0 {
        table.insert("x-expires".into(), number(i64::from(ttl) * 1000));
    }
    table
}

fn stream_arguments(ttl: u32) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(TYPE.into(), text("stream"));
    if ttl > 0 {
        table.insert("x-max-age".into(), text(&format!("{ttl}s")));
    }
    table
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

/// As short as it fits, which is what Python's client writes.
fn number(number: i64) -> AMQPValue {
    i32::try_from(number).map_or(AMQPValue::LongLongInt(number), AMQPValue::LongInt)
}

/// The part of a queue's name that is this process's alone: drawn, or made of host, process and a count.
pub(super) fn unique_name(settings: &QueueSettings) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    match &settings.manager {
        None => Uuid::new_v4().simple().to_string(),
        Some((host, process)) => format!("{host}:{process}:{}", COUNT.fetch_add(1, Ordering::Relaxed) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> QueueSettings {
        QueueSettings { transient_ttl: 1800, ..QueueSettings::default() }
    }

    fn table(queue: &Queue) -> Vec<(String, String)> {
        let inner = queue.arguments.inner();
        inner.iter().map(|(name, value)| (name.to_string(), format!("{value:?}"))).collect()
    }

    #[test]
    fn queues_are_as_captured() {
        let settings = settings();
        let main = Exchange::main("neutron", &settings);
        assert!(!main.durable && !main.auto_delete && main.kind == ExchangeKind::Topic);
        let topic = Queue::topic(&main, "q-plugin.host".into(), &settings);
        assert_eq!((topic.key.as_str(), topic.own), ("q-plugin.host", false));
        assert!(table(&topic).is_empty());
        let unique = unique_name(&settings);
        assert!(unique.len() == 32 && unique.bytes().all(|byte| byte.is_ascii_hexdigit()), "{unique}");
        let fanout = Queue::fanout("q-plugin", &unique, &settings);
        assert_eq!(fanout.name, format!("q-plugin_fanout_{unique}"));
        assert_eq!((fanout.exchange.name.as_str(), fanout.exchange.auto_delete), ("q-plugin_fanout", true));
        assert_eq!((fanout.key.as_str(), fanout.durable, fanout.own), ("q-plugin", false, true));
        assert_eq!(table(&fanout), [("x-expires".to_owned(), "LongInt(1800000)".to_owned())]);
        let reply = Queue::reply(&unique, &settings);
        assert_eq!(reply.name, format!("reply_{unique}"));
        assert_eq!(table(&reply), table(&fanout));
    }

    #[test]
    fn quorum_queues_and_streams_follow_their_options() {
        let quorum = QueueSettings { quorum: true, durable: true, delivery_limit: 5, ..settings() };
        let topic = Queue::topic(&Exchange::main("neutron", &quorum), "t".into(), &quorum);
        assert!(topic.durable && topic.exchange.durable && !topic.is_on_one_node());
        assert_eq!(topic.arguments.inner()["x-queue-type"], text("quorum"));
        assert_eq!(topic.arguments.inner()["x-delivery-limit"], number(5));
        let fanout = Queue::fanout("t", "u", &quorum);
        assert!(!fanout.durable && fanout.is_on_one_node());
        let stream = QueueSettings { transient_quorum: true, stream_fanout: true, ..quorum };
        let fanout = Queue::fanout("t", "u", &stream);
        assert_eq!((fanout.name.as_str(), fanout.durable, fanout.own), ("t_fanout", true, false));
        assert_eq!(fanout.arguments.inner()["x-max-age"], text("1800s"));
        assert!(Queue::reply("u", &stream).arguments.inner().contains_key("x-queue-type"));
    }

    #[test]
    fn names_can_be_made_of_the_process() {
        let settings = QueueSettings { manager: Some(("host".into(), "agent".into())), ..settings() };
        let (first, second) = (unique_name(&settings), unique_name(&settings));
        assert!(first.starts_with("host:agent:") && first != second, "{first} {second}");
        assert!(!Queue::reply(&first, &settings).own);
    }

    #[test]
    fn a_name_that_is_too_long_is_an_error() {
        assert!(short("q-plugin").is_ok());
        assert!(short(&"x".repeat(256)).is_err());
    }
}
