//! oslo.messaging itself at the other end, in both directions; and what both put on the wire, compared.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use oslo::{
    config::{Config, Sources},
    context::{Context, Token},
    messaging::{
        Bus, CallError, Failure, Target,
        notifier::{Notifier, Priority},
    },
};
use serde_json::{Map, Value, json};
use testkit::rabbitmq::{Broker, PASSWORD, USER};
use tokio::runtime::Runtime;

use crate::{
    lab::{LONG, SECOND, broker, bus, serve, until_served},
    peer::Peer,
};

/// A runtime beside the test's thread, which waits for the peer.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn python_calls_us() {
    let broker = broker("python-calls");
    let url = broker.url_at(broker.address(), "python-calls");
    let runtime = runtime();
    let ours = runtime.block_on(bus(&url));
    let served = {
        let _inside = runtime.enter();
        serve(ours.listen("q-test", "rust"), "rust")
    };
    runtime.block_on(until_served(&ours, &Target::server("q-test", "rust")));
    let mut peer = Peer::start(&url);
    let context = json!({"user_id": "u", "tenant_id": "p", "is_admin": true, "roles": ["admin"]});
    let mut ask = |method: &str, args: Value, more: Value| {
        let mut order = json!({"do": "call", "topic": "q-test", "method": method, "args": args, "context": context});
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        peer.ask(&order)
    };
    let answer = ask("echo", json!({"n": 1, "text": "ä"}), json!({}));
    let expected = json!({"args": {"n": 1, "text": "ä"}, "by": "rust", "topic": "q-test", "namespace": null});
    assert_eq!(answer["result"], expected);
    let answer = ask("echo", json!({}), json!({"server": "rust", "namespace": "trunk"}));
    assert_eq!(answer["result"]["namespace"], "trunk");
    let failure = ask("fail", json!({}), json!({}));
    assert_eq!(failure, json!({"remote": "NetworkNotFound", "value": "Network n could not be found."}));
    let rebuilt = ask("bad arguments", json!({}), json!({}));
    assert_eq!((&rebuilt["raised"], &rebuilt["text"]), (&json!("TypeError"), &json!("bad arguments(): why\n")));
    let late = ask("silent", json!({}), json!({"timeout": 1}));
    assert_eq!(late["raised"], "MessagingTimeout");
    assert!(late["seconds"].as_f64().unwrap() < 15.0);

    for n in 0..5 {
        peer.ask(&json!({"do": "cast", "topic": "q-cast", "method": "note", "args": {"n": n}, "context": context, "fanout": true}));
    }
    // Nobody listened yet: gone. From here on they arrive.
    let mut listener = ours.listen("q-cast", "rust");
    let cast = |peer: &mut Peer, n: usize| {
        peer.ask(&json!({"do": "cast", "topic": "q-cast", "method": "note", "args": {"n": n}, "context": context,
            "server": "rust"}));
    };
    let first = runtime.block_on(async {
        loop {
            tokio::task::block_in_place(|| cast(&mut peer, 7));
            if let Ok(incoming) = tokio::time::timeout(SECOND / 2, listener.next()).await {
                return incoming.unwrap();
            }
        }
    });
    assert_eq!((first.args["n"].as_u64(), first.version.as_str(), first.topic.as_str()), (Some(7), "1.4", "q-cast"));
    assert_eq!((first.ctx.user_id.as_deref(), first.ctx.project_id.as_deref()), (Some("u"), Some("p")));
    assert!(first.ctx.is_admin && first.reply.is_none());
    peer.ask(&json!({"do": "stop"}));
    runtime.block_on(ours.shut_down());
    runtime.block_on(served).unwrap();
    drop(listener);
}

#[test]
fn we_call_python() {
    let broker = broker("calls-python");
    let url = broker.url_at(broker.address(), "calls-python");
    let mut peer = Peer::start(&url);
    assert_eq!(peer.ask(&json!({"do": "serve", "topic": "q-test", "server": "python"})), Value::Null);
    let runtime = runtime();
    let ours = runtime.block_on(bus(&url));
    let mut context = Context::user("u", "p", vec!["member".into()]);
    context.auth_token = Some(Token::new("secret"));
    let target = Target::server("q-test", "python");
    let ask = |method: &str, args: Value, timeout: Duration| {
        runtime.block_on(ours.call(&context, &target, "1.4", method, args, timeout))
    };
    let answer = ask("echo", json!({"n": 1}), LONG).unwrap();
    assert_eq!((&answer["args"], &answer["by"]), (&json!({"n": 1}), &json!("python")));
    let seen = answer["context"].as_object().unwrap();
    for (key, value) in context.to_map() {
        assert_eq!(seen.get(&key), Some(&value), "{key}");
    }
    let Err(CallError::Remote(failure)) = ask("fail", json!({}), LONG) else { panic!("it must fail") };
    assert_eq!(
        (failure.class.as_str(), failure.message.as_str()),
        ("NetworkNotFound", "Network n could not be found.")
    );
    let unknown = ask("nothing", json!({}), LONG).unwrap_err();
    assert_eq!(unknown.remote_class(), Some("NoSuchMethod"));
    let newer = runtime.block_on(ours.call(&context, &target, "1.5", "echo", json!({}), LONG)).unwrap_err();
    assert_eq!(newer, CallError::Remote(unsupported(&newer)));
    let late = ask("slow", json!({"seconds": 2}), SECOND);
    assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
    assert_eq!(ask("slow", json!({"seconds": 0.1}), LONG), Ok(json!("slow")));

    for fanout in [false, true] {
        let target = if fanout { Target::fanout("q-test") } else { Target::topic("q-test") };
        runtime.block_on(ours.deliver(&context, &target, "1.4", "note", json!({"fanout": fanout}))).unwrap();
    }
    let mut kept = peer.ask(&json!({"do": "kept_items", "count": 2}));
    let kept = kept.as_array_mut().unwrap();
    kept.sort_by_key(|item| item["args"]["fanout"].as_bool());
    assert_eq!(kept.iter().map(|item| item["args"]["fanout"].as_bool().unwrap()).collect::<Vec<_>>(), [false, true]);
    peer.ask(&json!({"do": "stop"}));
    runtime.block_on(ours.shut_down());
}

/// The failure with the words that Python has for it.
fn unsupported(error: &CallError) -> Failure {
    let CallError::Remote(failure) = error else { panic!("{error:?}") };
    let mut expected = Failure::unsupported_version("1.5", "echo");
    expected.detail = failure.detail.clone();
    expected
}

#[test]
fn the_wire_is_upstreams() {
    let broker = broker("wire");
    broker.control(&["trace_on", "-p", "wire"]).unwrap();
    let url = broker.url_at(broker.address(), "wire");
    let runtime = runtime();
    let mut tap = runtime.block_on(Tap::open(&broker));
    let mut peer = Peer::start(&url);
    peer.ask(&json!({"do": "serve", "topic": "q-python", "server": "python"}));
    let ours = runtime.block_on(bus(&url));
    let served = {
        let _inside = runtime.enter();
        serve(ours.listen("q-rust", "rust"), "rust")
    };
    runtime.block_on(until_served(&ours, &Target::server("q-rust", "rust")));
    let declared = declarations(&broker);

    let mut context = Context::admin();
    let python_context = Value::Object(context.to_map());
    let mut python = |what: &str, method: &str, where_: Value| {
        let topic = "q-rust";
        let mut order =
            json!({"do": what, "topic": topic, "method": method, "args": {"a": 1}, "context": python_context});
        order.as_object_mut().unwrap().extend(where_.as_object().unwrap().clone());
        peer.ask(&order);
    };
    runtime.block_on(tap.drain(0));
    python("call", "echo", json!({"server": "rust", "version": "1.0", "timeout": 60}));
    python("call", "fail", json!({"version": "1.0", "timeout": 60}));
    python("cast", "note", json!({"version": "1.0"}));
    python("cast", "note", json!({"fanout": true, "version": "1.0"}));
    peer.ask(
        &json!({"do": "notify", "event_type": "port.create.end", "payload": {"port": {}}, "context": python_context,
        "driver": "messagingv2"}),
    );
    peer.ask(
        &json!({"do": "notify", "event_type": "port.create.end", "payload": {"port": {}}, "context": python_context,
        "driver": "messaging"}),
    );
    let from_python = runtime.block_on(tap.drain(8));

    context.auth_token = None;
    runtime.block_on(async {
        let minute = Duration::from_secs(60);
        for (target, method) in [(Target::server("q-python", "python"), "echo"), (Target::topic("q-python"), "fail")] {
            let _ = ours.call(&context, &target, "1.0", method, json!({"a": 1}), minute).await;
        }
        for target in [Target::topic("q-python"), Target::fanout("q-python")] {
            ours.deliver(&context, &target, "1.0", "note", json!({"a": 1})).await.unwrap();
        }
        for driver in ["messagingv2", "messaging"] {
            let notifier = notifier(driver, &ours);
            let payload = json!({"port": {}});
            notifier.publish(&context, "network.python", "port.create.end", Priority::Info, payload).await.unwrap();
        }
    });
    let from_us = runtime.block_on(tap.drain(8));
    // In the first half we answer, in the second Python does: both halves have the same messages.
    assert_eq!(from_us.len(), 8, "{from_us:#?}");
    assert_eq!(from_python, from_us);
    assert_eq!(declared["q-rust"], declared["q-python"], "{declared:#?}");

    peer.ask(&json!({"do": "stop"}));
    runtime.block_on(ours.shut_down());
    runtime.block_on(served).unwrap();
    let left = broker.queues("wire").unwrap();
    assert!(!left.iter().any(|name| name.contains("_fanout_")), "{left:?}");
}

fn notifier(driver: &str, bus: &Bus) -> Notifier {
    let overrides = [(("oslo_messaging_notifications", "driver"), driver.to_owned())].into_iter().collect();
    Notifier::from_config(&Config::load(Sources { overrides, ..Sources::default() }).unwrap(), "test", bus).unwrap()
}

#[test]
fn python_reads_our_notifications() {
    let broker = broker("notifications");
    let url = broker.url_at(broker.address(), "notifications");
    let runtime = runtime();
    let ours = runtime.block_on(bus(&url));
    let notifier = runtime.block_on(async { notifier("messagingv2", &ours) });
    let mut context = Context::user("u", "p", vec!["member".into()]);
    context.auth_token = Some(Token::new("secret"));
    // The first is sent before anybody reads.
    let publish = |n: u32| {
        let payload = json!({"port": {"id": n}});
        runtime
            .block_on(notifier.publish(&context, "network.host", "port.create.end", Priority::Info, payload))
            .unwrap();
    };
    publish(1);
    let mut peer = Peer::start(&url);
    peer.ask(&json!({"do": "listen", "topics": ["notifications"]}));
    publish(2);
    let kept = peer.ask(&json!({"do": "kept_items", "count": 2}));
    let ids: Vec<_> = kept.as_array().unwrap().iter().map(|item| item["payload"]["port"]["id"].as_u64()).collect();
    assert_eq!(ids, [Some(1), Some(2)]);
    let first = &kept[0];
    assert_eq!((&first["publisher_id"], &first["event_type"]), (&json!("network.host"), &json!("port.create.end")));
    assert_eq!(first["metadata"], json!(["message_id", "timestamp"]));
    assert_eq!((&first["context"]["user_id"], &first["context"]["auth_token"]), (&json!("u"), &Value::Null));
    peer.ask(&json!({"do": "stop"}));
    runtime.block_on(ours.shut_down());
}

/// Sees everything that is published in a virtual host, by the broker's own tracer.
struct Tap {
    _connection: Connection,
    consumer: lapin::Consumer,
}

impl Tap {
    async fn open(broker: &Broker) -> Self {
        let url = format!("amqp://{USER}:{PASSWORD}@{}/wire", broker.address());
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare("tap".into(), options, FieldTable::default()).await.unwrap();
        let key = "publish.#".into();
        let options = QueueBindOptions::default();
        channel
            .queue_bind("tap".into(), "amq.rabbitmq.trace".into(), key, options, FieldTable::default())
            .await
            .unwrap();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume("tap".into(), "tap".into(), options, FieldTable::default()).await.unwrap();
        Self { _connection: connection, consumer }
    }

    /// Everything since the last time, and so many at least, in an order of its own, without what differs from one
    /// message to the next.
    async fn drain(&mut self, expected: usize) -> Vec<String> {
        let mut seen = Vec::new();
        let limit = |seen: &Vec<String>| if seen.len() < expected { LONG * 3 } else { SECOND };
        while let Ok(Some(delivery)) = tokio::time::timeout(limit(&seen), self.consumer.next()).await {
            let delivery = delivery.unwrap();
            let headers = delivery.properties.headers().clone().unwrap_or_default();
            seen.push(shape(&plain(&AMQPValue::FieldTable(headers)), &delivery.data));
        }
        seen.sort_unstable();
        seen
    }
}

/// A value of AMQP as JSON.
fn plain(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::FieldTable(table) => {
            table.inner().iter().map(|(key, value)| (key.to_string(), plain(value))).collect::<Map<_, _>>().into()
        }
        AMQPValue::FieldArray(array) => array.as_slice().iter().map(plain).collect::<Vec<_>>().into(),
        AMQPValue::LongString(text) => text.to_string().into(),
        other => format!("{other:?}").into(),
    }
}

/// A message with its route, its properties and its body, ids and times replaced by their form.
fn shape(headers: &Value, body: &[u8]) -> String {
    let route = json!({
        "exchange": headers["exchange_name"],
        "keys": headers["routing_keys"],
        "properties": headers["properties"],
    });
    let mut body: Value = serde_json::from_slice(body).unwrap();
    if let Some(inner) = body["oslo.message"].as_str() {
        body["oslo.message"] = serde_json::from_str(inner).unwrap();
    }
    for message in ["/oslo.message", ""] {
        let Some(Value::Object(message)) = body.pointer_mut(message) else { continue };
        message.sort_keys();
        if let Some(Value::String(failure)) = message.get("failure") {
            let failure: Value = serde_json::from_str(failure).unwrap();
            let keys: Vec<_> = failure.as_object().unwrap().keys().cloned().collect();
            message.insert(
                "failure".into(),
                json!({"class": failure["class"], "message": failure["message"], "keys": keys}),
            );
        }
        if message.contains_key("failure") {
            // What was called, not how it is told.
            message.insert("result".into(), message["result"].is_null().into());
        }
    }
    form(&format!("{route} {body}"))
}

/// Replaces ids and times, and the two names of the servers.
fn form(text: &str) -> String {
    let text = text.replace("q-rust", "q-T").replace("q-python", "q-T").replace(".python", ".S").replace(".rust", ".S");
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let mut formed = String::new();
    let mut run = String::new();
    for byte in text.chars().chain(['\0']) {
        if byte.is_ascii() && is_part(byte as u8) {
            run.push(byte);
            continue;
        }
        formed.push_str(if run.len() == 32 || run.len() == 36 || run.len() == 37 { "ID" } else { &run });
        run.clear();
        if byte != '\0' {
            formed.push(byte);
        }
    }
    without_times(&formed)
}

fn without_times(text: &str) -> String {
    let mut parts = text.split("timestamp\":\"");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str("timestamp\":\"TIME");
        kept.push_str(part.get(26..).unwrap_or_default());
    }
    kept
}

/// Queues, exchanges and bindings by topic, each without what is drawn.
fn declarations(broker: &Broker) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = String::new();
    for arguments in [
        &[
            "list_queues",
            "-p",
            "wire",
            "--no-table-headers",
            "name",
            "durable",
            "auto_delete",
            "exclusive",
            "arguments",
        ][..],
        &["list_exchanges", "-p", "wire", "--no-table-headers", "name", "type", "durable", "auto_delete", "arguments"]
            [..],
        &[
            "list_bindings",
            "-p",
            "wire",
            "--no-table-headers",
            "source_name",
            "destination_name",
            "routing_key",
            "arguments",
        ][..],
        &[
            "list_consumers",
            "-p",
            "wire",
            "--no-table-headers",
            "queue_name",
            "consumer_tag",
            "ack_required",
            "arguments",
        ][..],
    ] {
        all.push_str(&broker.control(arguments).unwrap());
    }
    ["q-rust", "q-python"]
        .map(|topic| {
            let mut lines: Vec<_> = all.lines().filter(|line| line.contains(topic)).map(form).collect();
            lines.sort_unstable();
            (topic, lines)
        })
        .into_iter()
        .collect()
}
