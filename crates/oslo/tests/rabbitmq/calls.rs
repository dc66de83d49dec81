//! Calls, casts and fanouts between buses of several processes' kind.

use std::time::{Duration, Instant};

use oslo::{
    context::Context,
    messaging::{CallError, Listener, Target},
};
use serde_json::{Value, json};

use crate::lab::{LONG, SECOND, broker, bus, call, serve, until_served};

async fn take(listener: &mut Listener) -> Value {
    let incoming = tokio::time::timeout(LONG, listener.next()).await.expect("a message in time").unwrap();
    json!([incoming.method, incoming.args["n"], incoming.topic])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_answered() {
    let broker = tokio::task::spawn_blocking(|| broker("calls")).await.unwrap();
    let url = broker.url_at(broker.address(), "calls");
    let (server, client) = (bus(&url).await, bus(&url).await);
    let served = serve(server.listen("q-test", "a"), "a");
    until_served(&client, &Target::server("q-test", "a")).await;

    let answer = call(&client, &Target::topic("q-test"), "echo", json!({"n": 1})).await.unwrap();
    assert_eq!(answer, json!({"args": {"n": 1}, "by": "a", "topic": "q-test", "namespace": null}));
    let answer = call(&client, &Target::server("q-test", "a").in_namespace("trunk"), "echo", json!({})).await.unwrap();
    assert_eq!((&answer["topic"], &answer["namespace"]), (&json!("q-test"), &json!("trunk")));
    let failure = call(&client, &Target::topic("q-test"), "fail", json!({})).await.unwrap_err();
    assert_eq!(failure.remote_class(), Some("NetworkNotFound"));
    let dropped = call(&client, &Target::topic("q-test"), "no such method", json!({})).await.unwrap_err();
    assert_eq!(dropped.remote_class(), Some("RuntimeError"));

    let before = Instant::now();
    let short = Duration::from_millis(300);
    let late = client.call(&Context::admin(), &Target::topic("q-test"), "1.0", "silent", json!({}), short).await;
    assert_eq!(late, Err(CallError::Timeout { topic: "q-test".into(), method: "silent".into() }));
    assert!(before.elapsed() < LONG / 2);

    // A slow method holds up no other.
    let target = Target::topic("q-test");
    let slow = (0..8).map(|_| call(&client, &target, "slow", json!({})));
    let before = Instant::now();
    futures_util::future::join_all(slow).await.into_iter().for_each(|answer| assert_eq!(answer, Ok(json!("slow"))));
    assert!(before.elapsed() < SECOND * 8, "{:?}", before.elapsed());

    server.shut_down().await;
    client.shut_down().await;
    served.await.unwrap();
    let gone = client.call(&Context::admin(), &Target::topic("q-test"), "1.0", "echo", json!({}), SECOND).await;
    assert_eq!(gone, Err(CallError::Unavailable { topic: "q-test".into() }));
    let left = tokio::task::spawn_blocking(move || broker.queues("calls").unwrap()).await.unwrap();
    assert_eq!(left, ["q-test", "q-test.a"]);
}

/// An agent asks how things are as soon as it listens for what changes: nothing may fall between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_after_the_first_answer_is_heard() {
    let broker = tokio::task::spawn_blocking(|| broker("first")).await.unwrap();
    let url = broker.url_at(broker.address(), "first");
    let (server, telling) = (bus(&url).await, bus(&url).await);
    let served = serve(server.listen("q-first", "a"), "a");
    until_served(&telling, &Target::topic("q-first")).await;
    for n in 0..5 {
        let agent = bus(&url).await;
        let topics = ["q-one", "q-two", "q-three", "q-four", "q-five"].map(|topic| format!("{topic}-{n}"));
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let mut listener = agent.listen_all(&names, "host");
        call(&agent, &Target::topic("q-first"), "echo", json!({})).await.unwrap();
        let last = Target::fanout(&topics[4]);
        telling.deliver(&Context::admin(), &last, "1.0", "changed", json!({"n": n})).await.unwrap();
        assert_eq!(take(&mut listener).await, json!(["changed", n, topics[4]]));
        agent.shut_down().await;
    }
    server.shut_down().await;
    telling.shut_down().await;
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn casts_reach_one_or_all() {
    let broker = tokio::task::spawn_blocking(|| broker("casts")).await.unwrap();
    let url = broker.url_at(broker.address(), "casts");
    let (server, client) = (bus(&url).await, bus(&url).await);
    let mut a = server.listen_all(&["update", "delete"], "a");
    let mut b = server.listen_all(&["update", "delete"], "b");
    let context = Context::admin();
    for (listener, name) in [(&mut a, "a"), (&mut b, "b")] {
        let answering = async {
            while let Some(incoming) = listener.next().await {
                incoming.reply.unwrap().send(Ok(Value::Null));
            }
        };
        let target = Target::server("delete", name);
        tokio::select! {
            () = until_served(&client, &target) => {}
            () = answering => panic!("closed"),
        }
    }
    for n in 0..20 {
        let topic = ["update", "delete"][n % 2];
        client.deliver(&context, &Target::fanout(topic), "1.0", "all", json!({"n": n})).await.unwrap();
    }
    client.deliver(&context, &Target::server("update", "b"), "1.0", "one", json!({"n": 20})).await.unwrap();
    for n in 0..20 {
        let topic = ["update", "delete"][n % 2];
        let expected = json!(["all", n, topic]);
        assert_eq!(take(&mut a).await, expected);
        assert_eq!(take(&mut b).await, expected);
    }
    assert_eq!(take(&mut b).await, json!(["one", 20, "update"]));

    // What a listener has not asked for is the broker's still.
    drop(b);
    tokio::time::sleep(SECOND / 2).await;
    client.deliver(&context, &Target::server("update", "b"), "1.0", "later", json!({"n": 21})).await.unwrap();
    let mut b = server.listen_all(&["update"], "b");
    assert_eq!(take(&mut b).await, json!(["later", 21, "update"]));
    // Nobody is there: dropped, as by upstream's transport.
    client.deliver(&context, &Target::fanout("nobody"), "1.0", "all", json!({})).await.unwrap();
    client.deliver(&context, &Target::topic("nobody"), "1.0", "one", json!({})).await.unwrap();
    server.shut_down().await;
    assert!(a.next().await.is_none());
    client.shut_down().await;
}
