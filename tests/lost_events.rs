//! A server is killed at a hundred random moments under load. Of every port that was deleted, agents and the compute
//! service hear at least once, at the latest a minute after a server is back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use oslo::{
    config::{Config, Sources},
    messaging::{Bus, RabbitSettings},
};
use serde_json::json;
use testkit::{
    http::{Client, id},
    mariadb::MariaDb,
    nova::Nova,
    rabbitmq::Broker,
    standalone::{Plan, Service},
    wait,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
const KILLS: usize = 100;
const CLIENTS: usize = 4;
const INSTANCE: &str = "22222222-2222-4222-8222-222222222222";
const LIMIT: Duration = Duration::from_secs(60);

/// How often each port was heard of.
type Heard = BTreeMap<String, usize>;

/// What clients know of the ports that they deleted.
#[derive(Default)]
struct Deleted {
    /// The server said so.
    surely: BTreeSet<String>,
    /// The server was killed before it could say anything.
    perhaps: BTreeSet<String>,
}

#[test]
fn no_kill_loses_an_event() {
    let (broker, database, nova) = (Broker::start().unwrap(), MariaDb::start().unwrap(), Nova::start().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let heard = listen(&runtime, &broker);
    let mut server = server(&broker, &database.url(), &nova);
    let network = id(&server.client().create("networks", json!({"name": "n"})).unwrap());
    let deleted = Mutex::new(Deleted::default());
    for round in 0..KILLS {
        kill_under_load(&mut server, &network, &deleted, moment(round));
        server.start().unwrap();
    }
    let back = Instant::now();
    let left: BTreeSet<String> = server.client().list("ports", "").unwrap().iter().map(id).collect();
    let Deleted { surely, perhaps } = deleted.into_inner().unwrap();
    let wanted: BTreeSet<String> = surely.union(&perhaps).filter(|port| !left.contains(*port)).cloned().collect();
    assert!(wanted.len() > KILLS, "there was no load: {}", wanted.len());
    let (by_agents, by_nova) = loop {
        let by_agents = heard.lock().unwrap().clone();
        let by_nova = heard_by(&nova);
        let lost = |by: &Heard| wanted.iter().filter(|port| !by.contains_key(*port)).count();
        if lost(&by_agents) + lost(&by_nova) == 0 {
            break (by_agents, by_nova);
        }
        let lost = (lost(&by_agents), lost(&by_nova));
        assert!(back.elapsed() < LIMIT, "of {} deletions agents and Nova have not heard of {lost:?}", wanted.len());
        thread::sleep(Duration::from_millis(100));
    };
    let twice = |by: &Heard| by.values().filter(|times| **times > 1).count();
    println!(
        "{KILLS} kills, {} deletions, all heard {:.1} s after the last start; heard more than once: {} by agents, {} by Nova",
        wanted.len(),
        back.elapsed().as_secs_f64(),
        twice(&by_agents),
        twice(&by_nova)
    );
    nothing_is_left(&runtime, &database.url());
    server.finish().unwrap();
}

fn server(broker: &Broker, database: &str, nova: &Nova) -> Service {
    let upgrade = Command::new(PROGRAM).args(["db", "upgrade", "head", "--url", database]).output().unwrap();
    assert!(upgrade.status.success(), "{}", String::from_utf8_lossy(&upgrade.stderr));
    let configuration = format!(
        "[DEFAULT]\nauth_strategy = noauth\ncore_plugin = ml2\ntransport_url = {}\nsend_events_interval = 1\n\
         [database]\nconnection = {database}\n[nova]\nauth_type = none\nendpoint = {}\n[quotas]\nquota_port = -1\n",
        broker.url(),
        nova.endpoint()
    );
    Plan::server(PROGRAM).configuration(&configuration).start().unwrap()
}

/// Counts what agents are told of deleted ports.
fn listen(runtime: &tokio::runtime::Runtime, broker: &Broker) -> Arc<Mutex<Heard>> {
    let mut sources = Sources::default();
    sources.overrides.insert(("DEFAULT", "transport_url"), broker.url());
    let settings = RabbitSettings::from_config(&Config::load(sources).unwrap(), "agent").unwrap();
    let heard = Arc::new(Mutex::new(Heard::new()));
    let counted = Arc::clone(&heard);
    let (ready, listening) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let bus = Bus::rabbit(settings).await.unwrap();
        let mut listener = bus.listen(rpc::l2_agent::PORT_DELETE, "agent");
        ready.send(()).unwrap();
        while let Some(told) = listener.next().await {
            let port = told.args["port_id"].as_str().unwrap().to_owned();
            *counted.lock().unwrap().entry(port).or_default() += 1;
        }
    });
    listening.recv().unwrap();
    // The queue that everybody's has a copy for is declared, and bound, beside the work.
    let began = Instant::now();
    let bindings = || broker.control(&["list_bindings", "--no-table-headers", "source_name"]).unwrap();
    while !bindings().lines().any(|exchange| exchange == format!("{}_fanout", rpc::l2_agent::PORT_DELETE)) {
        assert!(began.elapsed() < LIMIT, "nobody listens: {}", bindings());
        thread::sleep(Duration::from_millis(50));
    }
    heard
}

fn heard_by(nova: &Nova) -> Heard {
    let mut heard = Heard::new();
    for event in nova.events().iter().filter(|event| event["name"] == "network-vif-deleted") {
        *heard.entry(event["tag"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    heard
}

/// Any time within the first fifth of a second, without a pattern, and the same in every run.
fn moment(round: usize) -> Duration {
    let seed = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Duration::from_micros(seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) % 200_000)
}

/// Kills the server while clients make and delete ports.
fn kill_under_load(server: &mut Service, network: &str, deleted: &Mutex<Deleted>, after: Duration) {
    let killed = AtomicBool::new(false);
    let clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    let done = || deleted.lock().unwrap().surely.len();
    let before = done();
    thread::scope(|scope| {
        for client in &clients {
            let killed = &killed;
            scope.spawn(move || {
                while !killed.load(Ordering::Relaxed) {
                    load(client, network, deleted);
                }
            });
        }
        // However busy the machine is, something has been done by then.
        assert!(wait::until(LIMIT, || done() > before + 1), "there is no load");
        thread::sleep(after);
        server.kill().unwrap();
        killed.store(true, Ordering::Relaxed);
    });
}

fn load(client: &Client, network: &str, deleted: &Mutex<Deleted>) {
    let body = json!({"network_id": network, "device_owner": "compute:nova", "device_id": INSTANCE});
    let Ok(port) = client.create("ports", body) else { return };
    let port = id(&port);
    match client.delete("ports", &port) {
        Ok(()) => deleted.lock().unwrap().surely.insert(port),
        Err(_) => deleted.lock().unwrap().perhaps.insert(port),
    };
}

/// What was told is removed, what was left by the last kill included.
fn nothing_is_left(runtime: &tokio::runtime::Runtime, url: &str) {
    runtime.block_on(async {
        let database = db::Database::connect(&db::Settings::new(url)).await.unwrap();
        let began = Instant::now();
        loop {
            let left = db::outbox::count(&mut database.reader().await.unwrap()).await.unwrap();
            if left == 0 {
                return;
            }
            assert!(began.elapsed() < LIMIT, "{left} rows are left");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}
