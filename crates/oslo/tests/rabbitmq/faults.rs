//! What breaks while calls are under way: connections, queues, the broker itself.
//!
//! Through all of it each call returns or fails within its time, no request is handled twice, what was answered was
//! handled, service comes back by itself, and nothing of a process that has ended is left at the broker.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use oslo::{
    context::Context,
    messaging::{Bus, Listener, Target},
};
use parking_lot::Mutex;
use serde_json::json;
use testkit::{proxy::Proxy, rabbitmq::Broker};
use tokio::task::JoinSet;

use crate::lab::{LONG, SECOND, bus, settings, until_served};

/// How long a call of the load may take.
const TIME: Duration = Duration::from_secs(3);
const CALLERS: u64 = 4;

/// How often each request was handled, by its number.
pub(crate) type Handled = Arc<Mutex<HashMap<u64, u32>>>;

/// Calls without end, each with a number of its own.
struct Load {
    running: Arc<AtomicBool>,
    tasks: JoinSet<Outcome>,
    numbers: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Outcome {
    answered: Vec<u64>,
    failed: u64,
    slowest: Duration,
}

pub(crate) fn count(mut listener: Listener, handled: Handled) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(incoming) = listener.next().await {
            if let Some(n) = incoming.args["n"].as_u64() {
                *handled.lock().entry(n).or_default() += 1;
            }
            if let Some(reply) = incoming.reply {
                reply.send(Ok(incoming.args));
            }
        }
    })
}

impl Load {
    fn start(bus: &Bus, numbers: &Arc<AtomicU64>) -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let mut tasks = JoinSet::new();
        for _ in 0..CALLERS {
            let (bus, running, numbers) = (bus.clone(), Arc::clone(&running), Arc::clone(numbers));
            tasks.spawn(async move { call_on(&bus, &running, &numbers).await });
        }
        Self { running, tasks, numbers: Arc::clone(numbers) }
    }

    async fn stop(mut self) -> Outcome {
        self.running.store(false, Ordering::Relaxed);
        let mut all = Outcome::default();
        while let Some(outcome) = self.tasks.join_next().await {
            let outcome = outcome.unwrap();
            all.answered.extend(outcome.answered);
            all.failed += outcome.failed;
            all.slowest = all.slowest.max(outcome.slowest);
        }
        assert!(all.answered.len() as u64 + all.failed <= self.numbers.load(Ordering::Relaxed));
        all
    }
}

async fn call_on(bus: &Bus, running: &AtomicBool, numbers: &AtomicU64) -> Outcome {
    let mut outcome = Outcome::default();
    while running.load(Ordering::Relaxed) {
        let n = numbers.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let answer = bus.call(&Context::admin(), &Target::topic("q-test"), "1.0", "m", json!({"n": n}), TIME).await;
        outcome.slowest = outcome.slowest.max(began.elapsed());
        match answer {
            Ok(answer) => {
                assert_eq!(answer, json!({"n": n}), "an answer is to its own call");
                outcome.answered.push(n);
            }
            Err(_) => outcome.failed += 1,
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    outcome
}

/// One fault: what happens under load, after which service must be back.
pub(crate) async fn suffer(
    name: &str,
    client: &Bus,
    handled: &Handled,
    numbers: &Arc<AtomicU64>,
    fault: impl AsyncFnOnce(),
) {
    let load = Load::start(client, numbers);
    some_more(handled).await;
    fault().await;
    let began = Instant::now();
    until_served(client, &Target::server("q-test", "a")).await;
    let back = began.elapsed();
    some_more(handled).await;
    let outcome = load.stop().await;
    eprintln!(
        "{name}: {} answered, {} failed, slowest {:?}, back after {back:?}",
        outcome.answered.len(),
        outcome.failed,
        outcome.slowest
    );
    assert!(outcome.answered.len() > 20, "{name}");
    // A second of it is for what ends the call, the rest for a busy machine.
    assert!(outcome.slowest < TIME + SECOND * 10, "{name}: {:?}", outcome.slowest);
    let handled = handled.lock();
    for n in &outcome.answered {
        assert_eq!(handled.get(n), Some(&1), "{name}: call {n}");
    }
    assert!(handled.values().all(|times| *times == 1), "{name}: a request was handled twice");
}

/// Waits half a second, and until so many requests more were handled that a fault finds some under way.
async fn some_more(handled: &Handled) {
    let before = handled.lock().len();
    tokio::time::sleep(SECOND / 2).await;
    let began = Instant::now();
    while handled.lock().len() < before + 20 {
        assert!(began.elapsed() < LONG * 3, "there is no load");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_lose_no_call_and_leave_nothing() {
    let broker = Arc::new(Mutex::new(blocking(|| Broker::start().unwrap()).await));
    let (address, url) = {
        let broker = broker.lock();
        (broker.address(), broker.url())
    };
    let proxy = Proxy::start(address).unwrap();
    let through = url.replace(&address.to_string(), &proxy.address().to_string());
    let heartbeat = [("heartbeat_timeout_threshold", "2")];
    let server = Bus::rabbit(settings(&through, &heartbeat)).await.unwrap();
    let client = Bus::rabbit(settings(&through, &heartbeat)).await.unwrap();
    let handled = Handled::default();
    let numbers = Arc::new(AtomicU64::new(0));
    let served = count(server.listen("q-test", "a"), Arc::clone(&handled));
    until_served(&client, &Target::server("q-test", "a")).await;

    suffer("nothing", &client, &handled, &numbers, async || {}).await;
    suffer("connections dropped", &client, &handled, &numbers, async || {
        for _ in 0..5 {
            proxy.drop_connections();
            tokio::time::sleep(SECOND / 2).await;
        }
    })
    .await;
    suffer("network cut", &client, &handled, &numbers, async || {
        proxy.cut();
        tokio::time::sleep(SECOND * 2).await;
        let told = || client.health().is_err_and(|why| why.contains(&proxy.address().to_string()));
        let began = Instant::now();
        while !told() {
            assert!(began.elapsed() < LONG, "{:?}", client.health());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        proxy.heal();
    })
    .await;
    suffer("network silent", &client, &handled, &numbers, async || {
        proxy.stall();
        tokio::time::sleep(SECOND * 6).await;
        proxy.heal();
    })
    .await;
    suffer("queues deleted", &client, &handled, &numbers, async || {
        let broker = Arc::clone(&broker);
        blocking(move || {
            let broker = broker.lock();
            for queue in broker.queues("/").unwrap() {
                broker.control(&["delete_queue", &queue]).unwrap();
            }
        })
        .await;
    })
    .await;
    suffer("broker killed", &client, &handled, &numbers, async || {
        let broker = Arc::clone(&broker);
        blocking(move || {
            let mut broker = broker.lock();
            broker.kill();
            broker.resume().unwrap();
        })
        .await;
    })
    .await;

    client.shut_down().await;
    server.shut_down().await;
    served.await.unwrap();
    let left = blocking(move || broker.lock().queues("/").unwrap()).await;
    assert_eq!(left, ["q-test", "q-test.a"]);
}

/// An answer waits for the queue of its caller, and not for that of a caller that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_wait_for_their_queue() {
    let broker = blocking(|| crate::lab::broker("answers")).await;
    let url = broker.url_at(broker.address(), "answers");
    let (server, client) = (bus(&url).await, bus(&url).await);
    let mut listener = server.listen("q-test", "a");
    let asking = tokio::spawn({
        let client = client.clone();
        async move {
            let (context, target) = (Context::admin(), Target::topic("q-test"));
            loop {
                // The broker's tool may take long on a busy machine.
                if let Ok(answer) = client.call(&context, &target, "1.0", "m", json!({}), LONG * 15).await {
                    return answer;
                }
            }
        }
    });
    let incoming = listener.next().await.unwrap();
    let deleting = Arc::clone(&broker);
    blocking(move || {
        let queues = deleting.queues("answers").unwrap();
        let queue = queues.iter().find(|name| name.starts_with("reply_")).unwrap();
        deleting.control(&["delete_queue", "-p", "answers", queue]).unwrap();
    })
    .await;
    incoming.reply.unwrap().send(Ok(json!("here")));
    let answer = tokio::time::timeout(LONG * 3, asking).await.expect("an answer in time");
    assert_eq!(answer.unwrap(), json!("here"));
    client.shut_down().await;
    server.shut_down().await;
    assert_eq!(blocking(move || broker.queues("answers").unwrap()).await, ["q-test", "q-test.a"]);
    assert!(listener.next().await.is_none());
}

/// What happens at times when a node of a cluster is lost: queues are gone, and those who read them are not told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_that_vanish_untold_are_declared_again() {
    let broker = blocking(|| crate::lab::broker("vanished")).await;
    let url = broker.url_at(broker.address(), "vanished");
    let (server, client) = (bus(&url).await, bus(&url).await);
    let (handled, numbers) = (Handled::default(), Arc::new(AtomicU64::new(0)));
    let served = count(server.listen("q-test", "a"), Arc::clone(&handled));
    until_served(&client, &Target::server("q-test", "a")).await;
    let queues = async || {
        let broker = Arc::clone(&broker);
        blocking(move || broker.queues("vanished").unwrap()).await
    };
    suffer("queues vanished", &client, &handled, &numbers, async || {
        let broker = Arc::clone(&broker);
        let forget = "[mnesia:dirty_delete(rabbit_queue, amqqueue:get_name(Queue)) || \
                      Queue <- rabbit_amqqueue:list(<<\"vanished\">>)].";
        let forgotten = blocking(move || broker.control(&["eval", forget]).unwrap()).await;
        assert_eq!(forgotten.matches("ok").count(), 4, "{forgotten}");
    })
    .await;
    assert_eq!(queues().await.len(), 4);
    client.shut_down().await;
    server.shut_down().await;
    served.await.unwrap();
    assert_eq!(queues().await, ["q-test", "q-test.a"]);
}
