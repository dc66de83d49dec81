//! Notifications: what happened, for whoever listens (meters, audits, DNS).
//!
//! Each of the drivers that `[oslo_messaging_notifications]` names gets every notification: `messagingv2` sends it in the
//! envelope of oslo.messaging 2.0, `messaging` without one, `log` writes it to the log, `noop` drops it. A topic has a
//! queue for each priority, which the sender makes as well, so that what is sent before anybody reads is kept.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Bus, RabbitError, RabbitSettings, SettingsError, envelope, rabbit::Rabbit};
use crate::{
    config::{Config, ConfigError},
    context::Context,
};

const GROUP: &str = "oslo_messaging_notifications";
const DRIVERS: [&str; 4] = ["messagingv2", "messaging", "log", "noop"];

/// Sends notifications. Clones share their transport.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    drivers: Vec<Driver>,
    topics: Vec<String>,
    transport: Option<Rabbit>,
    /// Whether the transport is this notifier's alone.
    own: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
    Bare,
    Envelope,
    Log,
}

/// How grave it is; part of the queue's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// What happens every day.
    Info,
    /// What somebody should look at.
    Warn,
    /// What failed.
    Error,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NotifierError {
    /// An option means nothing.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The transport cannot be set up.
    #[error(transparent)]
    Transport(#[from] RabbitError),
}

/// Why a notification was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the notification '{event_type}' was not sent: {why}")]
pub struct NotifyError {
    event_type: String,
    why: String,
}

impl From<ConfigError> for NotifierError {
    fn from(error: ConfigError) -> Self {
        Self::Settings(error.into())
    }
}

impl Priority {
    fn upper(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

impl Notifier {
    /// A notifier that sends nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// What `[oslo_messaging_notifications]` asks for, by its own `transport_url` or else by the transport of calls.
    /// `program` is the name for the broker's list. Must be called within a runtime.
    pub fn from_config(config: &Config, program: &str, bus: &Bus) -> Result<Self, NotifierError> {
        let mut drivers = Vec::new();
        for name in config.get::<Vec<String>>(GROUP, "driver")? {
            let driver = match name.trim() {
                "messagingv2" => Driver::Envelope,
                "messaging" => Driver::Bare,
                "log" => Driver::Log,
                "noop" | "" => continue,
                other => return Err(config.refuse_item(GROUP, "driver", other, "is no driver", &DRIVERS).into()),
            };
            if !drivers.contains(&driver) {
                drivers.push(driver);
            }
        }
        let mut notifier = Self { drivers, topics: config.get(GROUP, "topics")?, transport: None, own: false };
        if notifier.drivers.iter().any(|driver| *driver != Driver::Log) {
            match (RabbitSettings::for_notifications(config, program)?, bus) {
                (Some(settings), _) => {
                    notifier.transport = Some(Rabbit::new(settings)?);
                    notifier.own = true;
                }
                (None, Bus::Rabbit(rabbit)) => notifier.transport = Some(rabbit.clone()),
                (None, Bus::InProcess(_)) => tracing::warn!("there is no broker, so that notifications go nowhere"),
            }
        }
        Ok(notifier)
    }

    /// Whether anybody gets what is published: what is costly to tell need not be told otherwise.
    pub fn is_enabled(&self) -> bool {
        self.drivers.iter().any(|driver| *driver == Driver::Log || self.transport.is_some())
    }

    /// Sends a notification to all drivers and topics; returns when the broker has it. The caller's token is left out.
    /// `publisher_id` is `network.<host>` in the server.
    pub async fn publish(
        &self,
        ctx: &Context,
        publisher_id: &str,
        event_type: &str,
        priority: Priority,
        payload: Value,
    ) -> Result<(), NotifyError> {
        if !self.is_enabled() {
            return Ok(());
        }
        let message = message(publisher_id, event_type, priority, payload);
        let mut problem = None;
        for driver in &self.drivers {
            match driver {
                Driver::Log => log(event_type, priority, &message),
                Driver::Bare | Driver::Envelope => {
                    if let Err(why) = self.send(*driver, ctx, priority, &message).await {
                        problem = Some(NotifyError { event_type: event_type.to_owned(), why });
                    }
                }
            }
        }
        problem.map_or(Ok(()), Err)
    }

    /// Closes the transport, unless it is that of calls.
    pub async fn shut_down(&self) {
        if let Some(transport) = self.transport.as_ref().filter(|_| self.own) {
            Bus::Rabbit(transport.clone()).shut_down().await;
        }
    }

    async fn send(
        &self,
        driver: Driver,
        ctx: &Context,
        priority: Priority,
        message: &Map<String, Value>,
    ) -> Result<(), String> {
        let Some(transport) = &self.transport else { return Ok(()) };
        let mut ctx = ctx.clone();
        ctx.auth_token = None;
        for topic in &self.topics {
            let mut message = message.clone();
            message.insert("_unique_id".into(), Uuid::new_v4().simple().to_string().into());
            ctx.write_message(&mut message);
            let message = Value::Object(message);
            let body = if driver == Driver::Envelope { envelope::wrap(&message) } else { message.to_string() };
            let queue = format!("{topic}.{}", priority.upper().to_lowercase());
            transport.notify(&queue, body.as_bytes()).await?;
        }
        Ok(())
    }
}

fn message(publisher_id: &str, event_type: &str, priority: Priority, payload: Value) -> Map<String, Value> {
    let message = json!({
        "message_id": Uuid::new_v4(),
        "publisher_id": publisher_id,
        "event_type": event_type,
        "priority": priority.upper(),
        "payload": payload,
        "timestamp": chrono::Utc::now().format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
    });
    match message {
        Value::Object(message) => message,
        _ => Map::new(),
    }
}

fn log(event_type: &str, priority: Priority, message: &Map<String, Value>) {
    let text = Value::Object(message.clone()).to_string();
    match priority {
        Priority::Info => tracing::info!(target: "oslo.messaging.notification", event_type, "{text}"),
        Priority::Warn => tracing::warn!(target: "oslo.messaging.notification", event_type, "{text}"),
        Priority::Error => tracing::error!(target: "oslo.messaging.notification", event_type, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn configured(driver: &str, bus: &Bus) -> Result<Notifier, NotifierError> {
        let overrides = [((GROUP, "driver"), driver.to_owned())].into_iter().collect();
        Notifier::from_config(&Config::load(Sources { overrides, ..Sources::default() }).unwrap(), "test", bus)
    }

    #[tokio::test]
    async fn drivers_are_known_by_name() {
        let bus = Bus::in_process();
        assert!(configured("log", &bus).unwrap().is_enabled());
        assert!(!configured("noop", &bus).unwrap().is_enabled());
        assert!(!configured("messagingv2", &bus).unwrap().is_enabled(), "there is no broker");
        let error = configured("mesaging", &bus).unwrap_err().to_string();
        assert!(error.contains("mesaging"), "{error}");
        assert!(!Notifier::none().is_enabled());
    }

    #[test]
    fn messages_have_upstreams_keys_in_their_order() {
        let message = message("network.host", "port.create.end", Priority::Info, json!({"port": {}}));
        let keys: Vec<_> = message.keys().map(String::as_str).collect();
        assert_eq!(keys, ["message_id", "publisher_id", "event_type", "priority", "payload", "timestamp"]);
        assert_eq!((&message["priority"], &message["payload"]), (&json!("INFO"), &json!({"port": {}})));
        assert_eq!(message["timestamp"].as_str().unwrap().len(), 26);
    }
}
