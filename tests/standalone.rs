//! The life of `isospin standalone`: it answers at once, keeps what it was given, ends in order, and survives being
//! killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    io::{Read, Write},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{
    http::{Client, id, text},
    process::Signal,
    standalone::{Plan, Service},
    wait,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
/// Without quotas, which have a test of their own.
const UNLIMITED: &str = "[quotas]\nquota_network = -1\nquota_subnet = -1\nquota_port = -1\n";

fn start() -> Service {
    Plan::api_only(PROGRAM).configuration(UNLIMITED).start().unwrap()
}

fn network(client: &Client, cidr: &str) -> String {
    let network = id(&client.create("networks", json!({"name": "n"})).unwrap());
    let subnet = json!({"network_id": network, "ip_version": 4, "cidr": cidr});
    client.create("subnets", subnet).unwrap();
    network
}

/// Runs the program to its end: exit code and standard error.
fn run(words: &[String]) -> (Option<i32>, String) {
    let output = Command::new(&words[0]).args(&words[1..]).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn it_answers_soon_after_its_start_and_keeps_its_data() {
    let mut service = start();
    let first = service.started_in;
    let network = network(&service.client(), "10.0.0.0/24");
    let port = service.client().create("ports", json!({"network_id": network})).unwrap();
    assert!(service.terminate().unwrap().success());
    service.start().unwrap();
    assert_eq!(service.client().show("ports", &id(&port)).unwrap(), port);
    println!("first answer: {first:?} with an empty state directory, {:?} with data", service.started_in);
    assert!(first < Duration::from_secs(20) && service.started_in < Duration::from_secs(20));
    service.finish().unwrap();
}

#[test]
fn what_keeps_it_from_starting_is_a_sentence() {
    let service = start();
    let (code, said) = run(&service.command("127.0.0.1:0"));
    assert_eq!(code, Some(1));
    assert!(said.contains("another isospin runs on ") && said.lines().count() == 1, "{said}");

    let elsewhere = tempfile::tempdir().unwrap();
    let mut words = service.command(service.address());
    *words.last_mut().unwrap() = elsewhere.path().join("state").display().to_string();
    let (code, said) = run(&words);
    assert_eq!(code, Some(1));
    assert!(said.contains("is in use") && said.lines().count() == 1, "{said}");

    std::fs::write(elsewhere.path().join("file"), "").unwrap();
    *words.last_mut().unwrap() = elsewhere.path().join("file").display().to_string();
    let (code, said) = run(&words);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot use ") && said.lines().count() == 1, "{said}");
    // None of this disturbed the one that runs.
    service.client().get("/v2.0/networks").unwrap();
    service.finish().unwrap();
}

#[test]
fn a_request_in_flight_is_answered_before_it_ends() {
    let mut service = start();
    let client = service.client();
    let network = network(&client, "10.0.0.0/16");
    let ports: Vec<Value> = (0..300).map(|_| json!({"network_id": network})).collect();
    let body = json!({ "ports": ports }).to_string();
    let (head, tail) = body.split_at(body.len() / 2);
    let mut connection = client.connect().unwrap();
    let length = body.len();
    let start = format!(
        "POST /v2.0/ports HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    connection.write_all(start.as_bytes()).unwrap();
    // Its body is being read when the service is told to end.
    let mut told = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    connection.read_exact(&mut told).unwrap();
    assert!(told.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&told));
    connection.write_all(head.as_bytes()).unwrap();
    service.signal(Signal::SIGTERM).unwrap();
    assert!(wait::until(Duration::from_secs(60), || client.connect().is_err()), "it takes no more connections");
    connection.write_all(tail.as_bytes()).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer:.300}");
    assert!(service.wait().unwrap().success());
    service.start().unwrap();
    assert_eq!(service.client().list("ports", "?fields=id").unwrap().len(), 300);
    service.finish().unwrap();
}

#[test]
fn a_hangup_rereads_what_can_be_reread() {
    let service = start();
    let renamed = service.directory().join("log.1");
    std::fs::rename(service.log_path(), &renamed).unwrap();
    let configuration = format!("[DEFAULT]\ndebug = true\n{UNLIMITED}");
    std::fs::write(service.directory().join("isospin.conf"), configuration).unwrap();
    service.signal(Signal::SIGHUP).unwrap();
    let mut tries = 0;
    while !service.log().contains("[DEFAULT] debug is now true") {
        tries += 1;
        assert!(tries < 500, "{}", service.log());
        thread::sleep(Duration::from_millis(10));
    }
    service.client().get("/v2.0/networks").unwrap();
    service.finish().unwrap();
}

/// Whatever was answered before the kill is there after it, and nothing of what was not answered is there by half.
#[test]
fn killed_in_the_middle_of_writes_it_loses_nothing_that_it_confirmed() {
    let mut service = start();
    let network = network(&service.client(), "10.0.0.0/16");
    let mut confirmed: Vec<String> = Vec::new();
    for round in 0..3 {
        let (made, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..4 {
                let client = service.client();
                let (network, made, stop) = (&network, &made, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let Ok(port) = client.create("ports", json!({"network_id": network})) else { break };
                        made.lock().unwrap().push(id(&port));
                    }
                });
            }
            // Some time after the first, however busy the machine is.
            assert!(wait::until(Duration::from_secs(60), || made.lock().unwrap().len() > 10), "nothing is written");
            thread::sleep(Duration::from_millis(170 * round));
            testkit::process::signal(service.pid().unwrap(), Signal::SIGKILL).unwrap();
            stop.store(true, Ordering::Relaxed);
        });
        service.wait().unwrap();
        confirmed.extend(made.into_inner().unwrap());
        service.start().unwrap();
    }
    let ports = service.client().list("ports", "").unwrap();
    let known: std::collections::BTreeSet<String> = ports.iter().map(id).collect();
    assert!(confirmed.iter().all(|port| known.contains(port)), "a confirmed port is gone");
    assert!(ports.iter().all(|port| port["fixed_ips"].as_array().unwrap().len() == 1), "a port is there by half");
    println!("{} ports confirmed, {} there after three kills", confirmed.len(), ports.len());
    assert!(service.terminate().unwrap().success());
    check_database(&service.state_dir(), ports.len());
    assert_eq!(service.faults(), [""; 0]);
}

fn check_database(state: &std::path::Path, ports: usize) {
    let file = std::fs::read_dir(state).unwrap().flatten().map(|entry| entry.path());
    let mut file = file.filter(|path| path.extension().is_some_and(|end| end == "sqlite"));
    let url = format!("sqlite:///{}", file.next().expect("a database").display());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let database = db::Database::connect(&db::Settings::new(&url)).await.unwrap();
        let mut conn = database.reader().await.unwrap();
        let rows = conn.sql("PRAGMA integrity_check", Vec::new()).await.unwrap();
        assert_eq!(rows[0].get::<String>(0).unwrap(), "ok");
        assert!(conn.sql("PRAGMA foreign_key_check", Vec::new()).await.unwrap().is_empty());
        for (table, expected) in [("ports", ports), ("ipallocations", ports)] {
            let rows = conn.sql(&format!("SELECT COUNT(*) FROM {table}"), Vec::new()).await.unwrap();
            assert_eq!(rows[0].get::<i64>(0).unwrap(), i64::try_from(expected).unwrap(), "{table}");
        }
        let owned = "SELECT COUNT(*) FROM standardattributes WHERE resource_type = 'ports'";
        let rows = conn.sql(owned, Vec::new()).await.unwrap();
        assert_eq!(rows[0].get::<i64>(0).unwrap(), i64::try_from(ports).unwrap(), "standard attributes");
    });
}

#[test]
fn it_stays_small_while_it_serves_thousands_of_ports() {
    let service = start();
    let client = service.client();
    let idle = service.resident_kib().unwrap();
    let network = network(&client, "10.0.0.0/16");
    for _ in 0..20 {
        let ports = (0..100).map(|_| json!({"network_id": network})).collect();
        client.create_all("ports", ports).unwrap();
    }
    for _ in 0..5 {
        assert_eq!(client.list("ports", "").unwrap().len(), 2000);
    }
    for port in client.list("ports", "?limit=200").unwrap() {
        assert_eq!(text(&client.show("ports", &id(&port)).unwrap(), "network_id"), network);
    }
    let serving = service.resident_kib().unwrap();
    println!("resident: {} MiB after the start, {} MiB after serving 2,000 ports", idle / 1024, serving / 1024);
    // The program of a debug build is several times the size of the one that is released.
    assert!(serving < 200 * 1024, "{serving} KiB");
    service.finish().unwrap();
}
