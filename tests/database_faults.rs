//! What clients of the API see when the database fails them: deadlocks, Galera's refusals, connections that end at any
//! statement, commits whose answer is lost, and servers that are killed under load.
//!
//! What a client was told has happened has happened once; what it was told has not, has not; and only after a commit
//! whose answer was lost it is told neither.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use testkit::{
    http::{Answer, Client, id, text},
    mariadb::MariaDb,
    mysql_faults::{Fault, FaultProxy, Rule},
    postgres::Postgres,
    standalone::{Plan, Service},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
const DEADLOCK: Fault = Fault::Error { code: 1213, state: "40001", message: "Deadlock found when trying to get lock" };
const TIMEOUT: Fault = Fault::Error { code: 1205, state: "HY000", message: "Lock wait timeout exceeded" };
const NOT_READY: Fault =
    Fault::Error { code: 1047, state: "08S01", message: "WSREP has not yet prepared node for application use" };
/// Tables with exactly one row for each port of these tests.
const PORT_TABLES: [&str; 4] = ["ports", "ipallocations", "ml2_port_bindings", "portsecuritybindings"];

fn server(url: &str, directory: &Path, options: &str) -> Service {
    let upgrade = Command::new(PROGRAM).args(["db", "upgrade", "head", "--url", url]).output().unwrap();
    assert!(upgrade.status.success(), "{}", String::from_utf8_lossy(&upgrade.stderr));
    let configuration = format!(
        "[DEFAULT]\nauth_strategy = noauth\ntransport_url = fake://\ncore_plugin = ml2\nstate_path = {}\n\
         agent_down_time = 3600\n[database]\nconnection = {url}\n{options}\n[quotas]\nquota_port = -1\n[ml2]\nmechanism_drivers = linuxbridge\n\
         extension_drivers = port_security\n",
        directory.display()
    );
    Plan::server(PROGRAM).configuration(&configuration).start().unwrap()
}

fn network(client: &Client) -> String {
    let network = id(&client.create("networks", json!({})).unwrap());
    client.create("subnets", json!({"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"})).unwrap();
    network
}

fn post(client: &Client, network: &str) -> Answer {
    client.json("POST", "/v2.0/ports", &json!({"port": {"network_id": network}})).unwrap()
}

/// Waits until agents have been told of what was done before, which takes statements of its own.
fn settle(proxy: &FaultProxy) {
    let mut before = usize::MAX;
    while before != proxy.statements().len() {
        before = proxy.statements().len();
        thread::sleep(Duration::from_millis(40));
    }
}

/// Rows of ports without their whole family, or of a family without its port.
fn is_whole(mariadb: &MariaDb, ports: usize) {
    for table in PORT_TABLES {
        assert_eq!(mariadb.query(&format!("SELECT COUNT(*) FROM {table}")).unwrap(), [ports.to_string()], "{table}");
    }
    let attributes = "SELECT COUNT(*) FROM standardattributes WHERE resource_type = 'ports'";
    assert_eq!(mariadb.query(attributes).unwrap(), [ports.to_string()]);
}

#[test]
fn chosen_statements_fail_on_mariadb() {
    let (mariadb, directory) = (MariaDb::start().unwrap(), tempfile::tempdir().unwrap());
    let proxy = FaultProxy::start(mariadb.address()).unwrap();
    let real = mariadb.address().port().to_string();
    let url = mariadb.url().replace(&real, &proxy.address().port().to_string());
    let service = server(&url, directory.path(), "db_max_retries = 4");
    let client = service.client();
    let network = network(&client);

    // What a port's creation sends, in order; the first one also makes the default security group.
    assert_eq!(post(&client, &network).status, 201);
    let mut ports = 1;
    let recorded = || {
        settle(&proxy);
        proxy.set(Vec::new());
        assert_eq!(post(&client, &network).status, 201);
        settle(&proxy);
        let (statements, flights) = (proxy.statements(), proxy.flights());
        let own = statements.iter().position(|text| text == "COMMIT").unwrap() + 1;
        let trips = (1..).find(|trips| flights[..*trips].iter().sum::<usize>() >= own).unwrap();
        (statements, own, flights[..trips].to_vec())
    };
    // What agents are told in between can only add to them.
    let attempts: Vec<_> = (0..5).map(|_| recorded()).inspect(|_| ports += 1).collect();
    let (statements, own, flights) = attempts.into_iter().min_by_key(|(_, own, _)| *own).unwrap();
    let trips = flights.len();
    println!("{own} statements in {trips} round trips: {flights:?}");
    assert!(own > 10 && trips <= 3, "{flights:?} {statements:#?}");
    let last = own - flights[trips - 1];

    // Each of them, the commit included, fails in each way that changes nothing. What is lost with the commit on its way
    // is another matter.
    let mut broken = 0;
    for (skip, statement) in statements.iter().enumerate().take(own) {
        for fault in [DEADLOCK, TIMEOUT, NOT_READY, Fault::CutBefore] {
            if skip >= last && fault == Fault::CutBefore {
                continue;
            }
            // One statement more in between, and it would be the commit that is lost.
            settle(&proxy);
            proxy.set(vec![Rule { contains: "", skip, times: 1, fault: fault.clone() }]);
            let answer = post(&client, &network);
            settle(&proxy);
            assert_eq!(answer.status, 201, "{fault:?} at {statement}: {}", answer.text());
            broken += proxy.hits();
            ports += 1;
        }
    }
    println!("{broken} faults at {own} statements, every port made once");
    assert_eq!(broken, own * 3 + last);
    is_whole(&mariadb, ports);
    let list = client.list("ports", "").unwrap();
    assert_eq!(list.iter().map(|port| text(port, "mac_address")).collect::<BTreeSet<_>>().len(), ports);

    // A port is read by one statement; a page by a snapshot of one round trip, however long it is, and another to end it.
    for (path, trips) in [("/v2.0/ports/", [1].as_slice()), ("/v2.0/ports?limit=100&id=", &[2, 1])] {
        let path = format!("{path}{}", id(&list[0]));
        let read = || {
            settle(&proxy);
            proxy.set(Vec::new());
            assert_eq!(client.send("GET", &path, &[], None).unwrap().status, 200);
            settle(&proxy);
            (proxy.flights(), proxy.statements())
        };
        let (flights, statements) = (0..5).map(|_| read()).min_by_key(|(flights, _)| flights.len()).unwrap();
        assert_eq!(flights, trips, "{path}: {statements:#?}");
    }

    // One that goes on failing ends, and soon.
    for fault in [DEADLOCK, NOT_READY] {
        proxy.set(vec![Rule { contains: "COMMIT", skip: 0, times: usize::MAX, fault }]);
        let began = Instant::now();
        let answer = post(&client, &network);
        assert_eq!((answer.status, proxy.hits()), (503, 5), "{}", answer.text());
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    proxy.set(Vec::new());
    is_whole(&mariadb, ports);

    // A commit on its way when the connection ends: the client is told that nothing is known, and nothing is repeated.
    for (fault, happened) in [(Fault::CutBefore, 0), (Fault::CutAfter, 1)] {
        proxy.set(vec![Rule { contains: "COMMIT", skip: 0, times: 1, fault: fault.clone() }]);
        let answer = post(&client, &network);
        assert_eq!((answer.status, proxy.hits()), (503, 1), "{fault:?}: {}", answer.text());
        ports += happened;
        is_whole(&mariadb, ports);
    }
    assert_eq!(post(&client, &network).status, 201, "and the next one works");
    is_whole(&mariadb, ports + 1);
}

/// What eight clients were told while the database was killed and started again.
#[derive(Default)]
struct Told {
    made: Vec<String>,
    deleted: Vec<String>,
    refused: usize,
}

/// Creates and deletes ports until told to stop. Answers are those of success, or 503.
fn work(client: &Client, network: &str, stop: &AtomicBool) -> Told {
    let (mut told, mut rounds) = (Told::default(), 0);
    while !stop.load(Ordering::Acquire) {
        let answer = post(client, network);
        match answer.status {
            201 => told.made.push(id(&answer.json()["port"])),
            503 => told.refused += 1,
            _ => panic!("{}: {}", answer.status, answer.text()),
        }
        rounds += 1;
        if rounds % 3 == 0
            && let Some(port) = told.made.pop()
        {
            let answer = client.send("DELETE", &format!("/v2.0/ports/{port}"), &[], None).unwrap();
            match answer.status {
                // Not found: an answer to its deletion was lost, and it was asked again.
                204 | 404 => told.deleted.push(port),
                503 => told.refused += 1,
                _ => panic!("{}: {}", answer.status, answer.text()),
            }
        }
        // A list that has begun ends early when the database does.
        if let Ok(answer) = client.send("GET", "/v2.0/networks", &[], None) {
            assert!([200, 503].contains(&answer.status), "{}", answer.text());
        }
    }
    told
}

/// Restarts the database three times under load, and returns how many ports there are.
fn restarted_under_load(service: &Service, mut kill: impl FnMut(), mut resume: impl FnMut()) -> usize {
    let client = service.client();
    let network = network(&client);
    let stop = AtomicBool::new(false);
    let told: Vec<Told> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let (client, network, stop) = (service.client(), network.clone(), &stop);
                scope.spawn(move || work(&client, &network, stop))
            })
            .collect();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(700));
            kill();
            thread::sleep(Duration::from_millis(300));
            resume();
        }
        thread::sleep(Duration::from_millis(700));
        stop.store(true, Ordering::Release);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let ports: BTreeSet<String> = client.list("ports", "").unwrap().iter().map(id).collect();
    let (made, refused) =
        (told.iter().map(|told| told.made.len()).sum::<usize>(), told.iter().map(|t| t.refused).sum::<usize>());
    println!(
        "{made} ports made and kept, {} deleted, {refused} requests refused",
        told.iter().map(|t| t.deleted.len()).sum::<usize>()
    );
    for told in &told {
        assert!(told.made.iter().all(|port| ports.contains(port)), "what was answered is there");
        assert!(told.deleted.iter().all(|port| !ports.contains(port)), "what was deleted is gone");
    }
    assert!(refused > 0, "nobody noticed");
    assert!(ports.len() >= made && ports.len() <= made + refused);
    assert!(service.faults().iter().all(|line| line.contains("database")), "{:#?}", service.faults());
    ports.len()
}

#[test]
fn mariadb_is_killed_under_load() {
    let (mariadb, directory) = (MariaDb::start().unwrap(), tempfile::tempdir().unwrap());
    let service = server(&mariadb.url(), directory.path(), "max_pool_size = 4\nmax_overflow = 2");
    let mariadb = std::cell::RefCell::new(mariadb);
    let ports = restarted_under_load(
        &service,
        || mariadb.borrow_mut().kill().unwrap(),
        || mariadb.borrow_mut().resume().unwrap(),
    );
    is_whole(&mariadb.borrow(), ports);
    let open = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'neutron'";
    let open: usize = mariadb.borrow().query(open).unwrap()[0].parse().unwrap();
    assert!(open <= 6, "{open} connections, of 6 allowed");
}

#[test]
fn postgres_is_killed_under_load() {
    let (postgres, directory) = (Postgres::start().unwrap(), tempfile::tempdir().unwrap());
    let service = server(&postgres.url(), directory.path(), "");
    let postgres = std::cell::RefCell::new(postgres);
    restarted_under_load(
        &service,
        || postgres.borrow_mut().kill().unwrap(),
        || postgres.borrow_mut().resume().unwrap(),
    );
}

/// A server does not start on a database at another release, says why, and touches nothing.
#[test]
fn another_release_is_refused() {
    let mariadb = MariaDb::start().unwrap();
    let run = |words: &[&str]| Command::new(PROGRAM).args(words).output().unwrap();
    assert!(run(&["db", "upgrade", "head", "--url", &mariadb.url()]).status.success());
    mariadb
        .query("UPDATE alembic_version SET version_num = '34cf8b009713' WHERE version_num = 'c7f8d9e0f1a2'")
        .unwrap();
    let dump = || {
        let text = "CHECKSUM TABLE alembic_version, networks, securitygroupdefaultrules, standardattributes";
        (mariadb.query(text).unwrap(), mariadb.query("SHOW TABLES").unwrap())
    };
    let before = dump();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("neutron.conf");
    let text = format!(
        "[DEFAULT]\nauth_strategy = noauth\ntransport_url = fake://\n[database]\nconnection = {}\n",
        mariadb.url()
    );
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    for words in [
        &["db", "--config-file", &file, "upgrade", "head"][..],
        &["server", "--config-file", &file, "--bind", "127.0.0.1:0"],
    ] {
        let output = run(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("34cf8b009713") && said.contains("(yoga)") && said.contains("c7f8d9e0f1a2 (2026.2)"),
            "{said}"
        );
    }
    assert_eq!(dump(), before, "nothing was touched");
}
