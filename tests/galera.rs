//! A Galera cluster whose nodes all take writes, a server of ours at each: what one of them is told has happened has
//! happened once on all nodes, whoever else wanted it; and a node that is killed takes nothing along.
//!
//! It needs the packages of a cluster, so it is not among the other tests: `make test-cluster`.
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
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{
    galera::Galera,
    http::{Client, id, text},
    standalone::{Plan, Service},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
const NODES: usize = 3;
/// Tables with exactly one row for each port of these tests.
const PORT_TABLES: [&str; 4] = ["ports", "ipallocations", "ml2_port_bindings", "portsecuritybindings"];

/// A server at each node.
fn servers(cluster: &Galera, directory: &Path) -> Vec<Service> {
    let server = |node: usize| {
        let configuration = format!(
            "[DEFAULT]\nauth_strategy = noauth\ntransport_url = fake://\ncore_plugin = ml2\nstate_path = {}\n\
             [database]\nconnection = {}\nmysql_wsrep_sync_wait = 1\n[quotas]\nquota_port = -1\nquota_network = -1\n\
             [ml2]\nmechanism_drivers = linuxbridge\nextension_drivers = port_security\n",
            directory.display(),
            cluster[node].url(),
        );
        Plan::server(PROGRAM).configuration(&configuration).start().unwrap()
    };
    (0..NODES).map(server).collect()
}

fn network(client: &Client) -> String {
    let network = id(&client.create("networks", json!({"name": "everybody's"})).unwrap());
    client.create("subnets", json!({"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"})).unwrap();
    network
}

/// The sum of what all nodes say of themselves.
fn total(cluster: &Galera, name: &str) -> u64 {
    (0..NODES).map(|node| cluster.status(node, name).unwrap()).sum()
}

/// On every node the same ports, each with its whole family of rows.
fn is_whole(cluster: &Galera, ports: usize) {
    cluster.settle().unwrap();
    for node in 0..NODES {
        for table in PORT_TABLES {
            let count = cluster[node].query(&format!("SELECT COUNT(*) FROM {table}")).unwrap();
            assert_eq!(count, [ports.to_string()], "{table} on node {node}");
        }
    }
}

/// Clients of all servers write to the same network and its ports at once. Nobody is refused, though many transactions
/// come to nothing, and everything that was asked for has happened once.
fn contend(cluster: &Galera, servers: &[Service]) {
    const CLIENTS: usize = 9;
    const EACH: usize = 15;
    let network = network(&servers[0].client());
    let revision = |client: &Client| client.show("networks", &network).unwrap()["revision_number"].as_u64().unwrap();
    let before = revision(&servers[0].client());
    let conflicts = || total(cluster, "wsrep_local_cert_failures") + total(cluster, "wsrep_local_bf_aborts");
    let (began, conflicts_before) = (Instant::now(), conflicts());
    let ports: Vec<Value> = thread::scope(|scope| {
        let workers: Vec<_> = (0..CLIENTS)
            .map(|worker| {
                let (client, network) = (servers[worker % NODES].client(), &network);
                let other = servers[(worker + 1) % NODES].client();
                scope.spawn(move || {
                    let each = |number: usize| {
                        let name = format!("{worker}-{number}");
                        let port = client.create("ports", json!({"network_id": network, "name": name})).unwrap();
                        client.update("networks", network, json!({"description": name})).unwrap();
                        // What one node has taken can be read from another at once.
                        assert_eq!(other.show("ports", &id(&port)).unwrap()["name"], name.as_str());
                        assert_eq!(other.list("ports", &format!("?name={name}")).unwrap().len(), 1);
                        port
                    };
                    (0..EACH).map(each).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let conflicts = conflicts() - conflicts_before;
    println!(
        "{} ports and as many changes of one network in {:?}, {conflicts} conflicts",
        ports.len(),
        began.elapsed()
    );
    assert!(conflicts > 0, "nobody was in anybody's way");
    let distinct = |what: &dyn Fn(&Value) -> String| ports.iter().map(what).collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(&|port| text(&port["fixed_ips"][0], "ip_address")), CLIENTS * EACH);
    assert_eq!(distinct(&|port| text(port, "mac_address")), CLIENTS * EACH);
    for server in servers {
        assert_eq!(revision(&server.client()), before + (CLIENTS * EACH) as u64, "no change was lost");
    }
    is_whole(cluster, ports.len());
}

/// A node is killed under load and comes back: whoever was told that a port is there finds it on every node, servers at
/// other nodes hold still for as long as the cluster takes to notice, and that of the killed node is back with it.
fn survive(cluster: &mut Galera, servers: &[Service]) {
    let network = network(&servers[0].client());
    let before = servers[0].client().list("ports", "").unwrap().len();
    let stop = AtomicBool::new(false);
    let refused: Vec<AtomicUsize> = (0..NODES).map(|_| AtomicUsize::new(0)).collect();
    let last = NODES - 1;
    let made: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..NODES * 2)
            .map(|worker| {
                let (node, client) = (worker % NODES, servers[worker % NODES].client());
                let (network, stop, refused) = (&network, &stop, &refused);
                scope.spawn(move || {
                    let (mut made, body) = (Vec::new(), json!({"port": {"network_id": network}}));
                    while !stop.load(Ordering::Acquire) {
                        let answer = client.json("POST", "/v2.0/ports", &body).unwrap();
                        match answer.status {
                            201 => made.push(id(&answer.json()["port"])),
                            503 => {
                                refused[node].fetch_add(1, Ordering::AcqRel);
                                thread::sleep(Duration::from_millis(50));
                            }
                            _ => panic!("{}: {}", answer.status, answer.text()),
                        }
                    }
                    made
                })
            })
            .collect();
        thread::sleep(Duration::from_secs(1));
        cluster.kill(last).unwrap();
        thread::sleep(Duration::from_secs(8));
        assert_eq!(cluster.status(0, "wsrep_cluster_size").unwrap(), NODES as u64 - 1);
        cluster.resume(last).unwrap();
        thread::sleep(Duration::from_secs(2));
        stop.store(true, Ordering::Release);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let refused: Vec<usize> = refused.iter().map(|count| count.load(Ordering::Acquire)).collect();
    println!("{} ports made while a node was killed; requests refused by server: {refused:?}", made.len());
    assert!(refused[last] > 0, "nobody noticed");
    assert_eq!(refused[..last], [0, 0], "who has a node that lives");
    let ports: BTreeSet<String> = servers[last].client().list("ports", "").unwrap().iter().map(id).collect();
    let missing: Vec<_> = made.iter().filter(|port| !ports.contains(*port)).collect();
    assert!(missing.is_empty(), "of {} that were answered these are not there: {missing:?}", made.len());
    assert!(ports.len() - before >= made.len() && ports.len() - before <= made.len() + refused[last]);
    is_whole(cluster, ports.len());
    let client = servers[last].client();
    assert_eq!(client.json("POST", "/v2.0/ports", &json!({"port": {"network_id": network}})).unwrap().status, 201);
}

#[test]
#[ignore = "needs galera-4 and mariadb-server: make test-cluster"]
fn galera_takes_writes_at_all_nodes_and_one_is_killed() {
    let (mut cluster, directory) = (Galera::with_schema(NODES, PROGRAM).unwrap(), tempfile::tempdir().unwrap());
    let servers = servers(&cluster, directory.path());
    contend(&cluster, &servers);
    survive(&mut cluster, &servers);
    for server in servers {
        let faults = server.faults();
        assert!(faults.iter().all(|line| line.contains("database")), "{faults:#?}");
    }
}
