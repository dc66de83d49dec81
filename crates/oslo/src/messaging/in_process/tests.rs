use serde_json::json;

use super::*;
use crate::{
    context::Context,
    messaging::{Bus, Failure, Listener},
};

const LONG: Duration = Duration::from_secs(20);
const BLINK: Duration = Duration::from_millis(20);

async fn cast(bus: &Bus, target: Target, n: usize) {
    bus.cast(&Context::admin(), &target, "1.0", "m", json!({"n": n})).await;
}

async fn call(bus: &Bus, target: Target, timeout: Duration) -> Result<Value, CallError> {
    bus.call(&Context::admin(), &target, "1.0", "m", json!({"n": 7}), timeout).await
}

/// What a listener has been given so far.
async fn drain(listener: &mut Listener) -> Vec<u64> {
    let mut taken = Vec::new();
    while let Ok(Some(incoming)) = tokio::time::timeout(BLINK, listener.next()).await {
        taken.push(incoming.args["n"].as_u64().unwrap());
    }
    taken
}

#[tokio::test]
async fn servers_of_a_topic_take_turns() {
    let bus = Bus::in_process();
    let (mut a, mut b) = (bus.listen("t", "a"), bus.listen("t", "b"));
    for n in 0..6 {
        cast(&bus, Target::topic("t"), n).await;
    }
    let (a, b) = (drain(&mut a).await, drain(&mut b).await);
    assert_eq!((a.len(), b.len()), (3, 3));
    assert!(a.is_sorted() && b.is_sorted());
}

#[tokio::test]
async fn one_server_or_all_of_them_can_be_addressed_in_order() {
    let bus = Bus::in_process();
    let (mut a, mut b) = (bus.listen("t", "a"), bus.listen("t", "b"));
    cast(&bus, Target::server("t", "a"), 1).await;
    cast(&bus, Target::fanout("t"), 2).await;
    cast(&bus, Target::server("t", "a"), 3).await;
    assert_eq!(drain(&mut a).await, [1, 2, 3]);
    assert_eq!(drain(&mut b).await, [2]);
}

#[tokio::test]
async fn one_listener_keeps_the_order_of_several_topics() {
    let bus = Bus::in_process();
    let mut listener = bus.listen_all(&["update", "delete"], "a");
    for n in 0..10 {
        cast(&bus, Target::fanout(["update", "delete"][n % 2]), n).await;
    }
    assert_eq!(drain(&mut listener).await, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn calls_bring_results_and_failures() {
    let bus = Bus::in_process();
    let mut listener = bus.listen("t", "a");
    let server = tokio::spawn(async move {
        let first = listener.next().await.unwrap();
        let answer = json!({"method": first.method, "args": first.args, "version": first.version});
        first.reply.unwrap().send(Ok(answer));
        listener.next().await.unwrap().reply.unwrap().send(Err(Failure::no_such_method("m")));
        drop(listener.next().await);
        listener
    });
    let answer = call(&bus, Target::topic("t"), LONG).await.unwrap();
    assert_eq!(answer, json!({"method": "m", "args": {"n": 7}, "version": "1.0"}));
    let failure = call(&bus, Target::topic("t"), LONG).await.unwrap_err();
    assert_eq!(failure.remote_class(), Some("NoSuchMethod"));
    let gone = call(&bus, Target::topic("t"), LONG).await;
    assert_eq!(gone, Err(CallError::Unavailable { topic: "t".into() }));
    server.await.unwrap();
}

#[tokio::test]
async fn a_call_waits_for_a_listener_and_vanishes_when_given_up() {
    let bus = Bus::in_process();
    assert!(matches!(call(&bus, Target::topic("t"), BLINK).await, Err(CallError::Timeout { .. })));
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { call(&bus, Target::server("t", "a"), LONG).await }
    });
    tokio::time::sleep(BLINK).await;
    let mut listener = bus.listen("t", "a");
    let incoming = listener.next().await.unwrap();
    incoming.reply.unwrap().send(Ok(Value::Null));
    assert_eq!(waiting.await.unwrap(), Ok(Value::Null));
    assert!(drain(&mut listener).await.is_empty(), "the call that timed out is not delivered");
}

#[tokio::test]
async fn a_queue_outlives_its_listener() {
    let bus = Bus::in_process();
    cast(&bus, Target::server("t", "a"), 0).await;
    let mut first = bus.listen("t", "a");
    assert!(drain(&mut first).await.is_empty(), "nothing was declared");
    cast(&bus, Target::server("t", "a"), 1).await;
    cast(&bus, Target::fanout("t"), 2).await;
    drop(first);
    cast(&bus, Target::server("t", "a"), 3).await;
    cast(&bus, Target::fanout("t"), 4).await;
    assert_eq!(drain(&mut bus.listen("t", "a")).await, [1, 3]);
}

#[tokio::test]
async fn what_a_listener_did_not_take_goes_to_the_others() {
    let bus = Bus::in_process();
    let first = bus.listen("t", "a");
    let mut second = bus.listen("t", "b");
    for n in 0..4 {
        cast(&bus, Target::topic("t"), n).await;
    }
    drop(first);
    let mut taken = drain(&mut second).await;
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2, 3]);
}

#[tokio::test]
async fn waiting_messages_are_bounded() {
    let bus = Bus::in_process();
    drop(bus.listen("t", "a"));
    for n in 0..BACKLOG + 5 {
        cast(&bus, Target::topic("t"), n).await;
    }
    let taken = drain(&mut bus.listen("t", "a")).await;
    assert_eq!((taken.len(), taken[0]), (BACKLOG, 5));
}

#[tokio::test]
async fn closing_ends_listeners_and_calls() {
    let bus = Bus::in_process();
    let mut listener = bus.listen("t", "a");
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { call(&bus, Target::topic("other"), LONG).await }
    });
    tokio::time::sleep(BLINK).await;
    bus.close();
    assert!(listener.next().await.is_none());
    assert!(bus.listen("t", "a").next().await.is_none());
    assert!(matches!(waiting.await.unwrap(), Err(CallError::Unavailable { .. })));
    assert!(matches!(call(&bus, Target::topic("t"), LONG).await, Err(CallError::Unavailable { .. })));
}
