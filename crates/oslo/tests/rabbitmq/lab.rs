//! What the tests share: a broker, buses on it, and servers that answer in a known way.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use oslo::{
    config::{Config, Sources},
    context::Context,
    messaging::{Bus, CallError, Failure, Incoming, Listener, RabbitSettings, Target},
};
use serde_json::{Value, json};
use testkit::rabbitmq::Broker;
use tokio::task::JoinHandle;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Long enough for anything that works, on a machine busy with other tests.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The broker that tests share while any of them runs.
static BROKER: Mutex<Weak<Broker>> = Mutex::new(Weak::new());

fn lock() -> MutexGuard<'static, Weak<Broker>> {
    BROKER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shared broker with a virtual host of the test's own.
pub(crate) fn broker(vhost: &str) -> Arc<Broker> {
    let mut shared = lock();
    let broker = shared.upgrade().unwrap_or_else(|| Arc::new(Broker::start().unwrap()));
    *shared = Arc::downgrade(&broker);
    drop(shared);
    broker.add_vhost(vhost).unwrap();
    broker
}

/// Settings for a URL, with options of `[oslo_messaging_rabbit]`.
pub(crate) fn settings(url: &str, options: &[(&'static str, &str)]) -> RabbitSettings {
    loud();
    let mut sources = Sources::default();
    sources.overrides.insert(("DEFAULT", "transport_url"), url.to_owned());
    for (name, value) in options {
        sources.overrides.insert(("oslo_messaging_rabbit", name), (*value).to_owned());
    }
    let mut settings = RabbitSettings::from_config(&Config::load(sources).unwrap(), "test").unwrap();
    // Tests wait for reconnections.
    settings.reconnect.delay = Duration::from_millis(50);
    settings.reconnect.start = Duration::from_millis(200);
    settings.reconnect.step = Duration::from_millis(200);
    settings
}

pub(crate) async fn bus(url: &str) -> Bus {
    Bus::rabbit(settings(url, &[])).await.unwrap()
}

pub(crate) async fn call(bus: &Bus, target: &Target, method: &str, args: Value) -> Result<Value, CallError> {
    bus.call(&Context::admin(), target, "1.0", method, args, LONG).await
}

/// Waits until a listener takes calls. What is sent before its queues are declared is lost.
pub(crate) async fn until_served(bus: &Bus, target: &Target) {
    for _ in 0..20 {
        if bus.call(&Context::admin(), target, "1.0", "echo", json!({}), SECOND).await.is_ok() {
            return;
        }
    }
    panic!("nobody serves {target:?}");
}

/// Answers `echo` with its arguments, `fail` with a failure, `slow` after a second and nothing to `silent`; ends with
/// its listener.
pub(crate) fn serve(mut listener: Listener, name: &'static str) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(incoming) = listener.next().await {
            tokio::spawn(answer(incoming, name));
        }
    })
}

async fn answer(incoming: Incoming, name: &'static str) {
    let Incoming { method, args, reply, topic, namespace, .. } = incoming;
    let Some(reply) = reply else { return };
    match method.as_str() {
        "echo" => reply.send(Ok(json!({"args": args, "by": name, "topic": topic, "namespace": namespace}))),
        "fail" => reply.send(Err(Failure::neutron("NetworkNotFound", "Network n could not be found."))),
        "bad arguments" => reply.send(Err(Failure::bad_arguments("bad arguments", "why"))),
        "slow" => {
            tokio::time::sleep(SECOND).await;
            reply.send(Ok(json!("slow")));
        }
        "silent" => {
            tokio::time::sleep(LONG).await;
            drop(reply);
        }
        _ => drop(reply),
    }
}

/// Prints what is logged, for who looks for the cause of a failure: set `LOUD` in the environment.
pub(crate) fn loud() {
    if std::env::var_os("LOUD").is_some() {
        let _ = tracing::subscriber::set_global_default(Loud(Instant::now()));
    }
}

struct Loud(Instant);

impl tracing::Subscriber for Loud {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("isospin")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event.record(&mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            text = format!("{text} {value:?}");
        });
        eprintln!(
            "{:8.3} {} {}{text}",
            self.0.elapsed().as_secs_f64(),
            event.metadata().level(),
            event.metadata().target()
        );
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
