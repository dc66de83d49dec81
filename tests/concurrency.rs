//! Several servers on one database, 64 clients: no address and no MAC is given twice, no quota is overrun, and nobody
//! is answered that the server has failed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{collections::BTreeSet, path::Path, process::Command, sync::Barrier, thread, time::Instant};

use serde_json::{Value, json};
use testkit::{
    galera::Galera,
    http::{Answer, id, text},
    mariadb::MariaDb,
    postgres::Postgres,
    standalone::{Plan, Service},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
const SERVERS: usize = 3;
const CREATORS: usize = 64;
/// Addresses of a /26 without those of the network, the gateway and the broadcast.
const ADDRESSES: usize = 61;
const QUOTA: usize = 150;

fn servers(urls: &[String], options: &str, directory: &Path) -> Vec<Service> {
    let configuration = |url: &String| {
        format!(
            "[DEFAULT]\nauth_strategy = noauth\ntransport_url = fake://\ncore_plugin = ml2\nstate_path = {}\n[database]\nconnection = {url}\n\
         {options}[quotas]\nquota_port = {QUOTA}\n[ml2]\nmechanism_drivers = linuxbridge\nextension_drivers = port_security\n",
            directory.display()
        )
    };
    let upgrade = Command::new(PROGRAM).args(["db", "upgrade", "head", "--url", &urls[0]]).output().unwrap();
    assert!(upgrade.status.success(), "{}", String::from_utf8_lossy(&upgrade.stderr));
    let urls = urls.iter().cycle().take(SERVERS);
    urls.map(|url| Plan::server(PROGRAM).configuration(&configuration(url)).start().unwrap()).collect()
}

/// Has all creators post at once, `times` each, and returns what they were answered.
fn create(servers: &[Service], network: &str, times: usize) -> Vec<Answer> {
    let barrier = Barrier::new(CREATORS);
    let body = json!({"port": {"network_id": network}});
    thread::scope(|scope| {
        let creators: Vec<_> = (0..CREATORS)
            .map(|number| {
                let client = servers[number % servers.len()].client();
                let (barrier, body) = (&barrier, &body);
                scope.spawn(move || {
                    barrier.wait();
                    (0..times).map(|_| client.json("POST", "/v2.0/ports", body).unwrap()).collect::<Vec<_>>()
                })
            })
            .collect();
        creators.into_iter().flat_map(|creator| creator.join().unwrap()).collect()
    })
}

fn made(answers: &[Answer]) -> Vec<Value> {
    answers.iter().filter(|answer| answer.status == 201).map(|answer| answer.json()["port"].clone()).collect()
}

/// Every refusal is of this type.
fn refused(answers: &[Answer], kind: &str) {
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        let error = answer.json();
        let of = error.pointer("/NeutronError/type").and_then(Value::as_str);
        assert_eq!((answer.status, of), (409, Some(kind)), "{}", answer.text());
    }
}

fn distinct(ports: &[Value], what: impl Fn(&Value) -> String) -> usize {
    ports.iter().map(what).collect::<BTreeSet<_>>().len()
}

fn contend(urls: &[String], options: &str, directory: &Path) {
    let servers = servers(urls, options, directory);
    let client = servers[0].client();
    let network = |cidr: &str| {
        let network = id(&client.create("networks", json!({})).unwrap());
        client.create("subnets", json!({"network_id": network, "ip_version": 4, "cidr": cidr})).unwrap();
        network
    };
    let (small, large) = (network("10.0.0.0/26"), network("10.1.0.0/16"));

    let answers = create(&servers, &small, 1);
    refused(&answers, "IpAddressGenerationFailure");
    let ports = made(&answers);
    assert_eq!(ports.len(), ADDRESSES, "a subnet of {ADDRESSES} addresses and {CREATORS} creators");
    assert_eq!(distinct(&ports, |port| port["fixed_ips"][0]["ip_address"].to_string()), ADDRESSES);
    assert_eq!(distinct(&ports, |port| text(port, "mac_address")), ADDRESSES);

    let began = Instant::now();
    let answers = create(&servers, &large, 3);
    refused(&answers, "OverQuota");
    let ports = made(&answers);
    println!("{} ports by {CREATORS} clients of {SERVERS} servers in {:?}", ports.len(), began.elapsed());
    assert_eq!(ports.len(), QUOTA - ADDRESSES, "the quota is not exact");
    assert_eq!(distinct(&ports, |port| port["fixed_ips"][0]["ip_address"].to_string()), ports.len());
    let all = client.list("ports", "").unwrap();
    assert_eq!((all.len(), distinct(&all, |port| text(port, "mac_address"))), (QUOTA, QUOTA));
    for server in servers {
        server.finish().unwrap();
    }
}

#[test]
fn on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:///{}", directory.path().join("neutron.sqlite").display());
    contend(&[url], "", directory.path());
}

#[test]
fn on_mariadb() {
    let (directory, mariadb) = (tempfile::tempdir().unwrap(), MariaDb::start().unwrap());
    contend(&[mariadb.url()], "", directory.path());
}

#[test]
fn on_postgres() {
    let (directory, postgres) = (tempfile::tempdir().unwrap(), Postgres::start().unwrap());
    contend(&[postgres.url()], "", directory.path());
}

/// Each server has a node of its own.
#[test]
#[ignore = "needs galera-4 and mariadb-server: make test-cluster"]
fn on_galera() {
    let (directory, cluster) = (tempfile::tempdir().unwrap(), Galera::with_schema(SERVERS, PROGRAM).unwrap());
    contend(&cluster.urls(), "mysql_wsrep_sync_wait = 1\n", directory.path());
}
