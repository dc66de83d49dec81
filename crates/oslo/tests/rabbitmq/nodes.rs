//! A cluster of three brokers with quorum queues, of which one at a time is killed under load.

use std::sync::{Arc, atomic::AtomicU64};

use oslo::messaging::{Bus, Target};
use parking_lot::Mutex;
use testkit::rabbitmq::{Broker, PASSWORD, USER};

use crate::{
    faults::{Handled, blocking, count, suffer},
    lab::{SECOND, settings, until_served},
};

const NODES: usize = 3;

fn cluster() -> Vec<Broker> {
    let first = Broker::start().unwrap();
    let mut nodes = vec![first];
    while nodes.len() < NODES {
        nodes.push(nodes[0].start_beside().unwrap());
    }
    nodes
}

/// Whoever of the cluster goes, calls that were answered were handled once, others fail in time, and service is back
/// before the node is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "three brokers: make test-cluster"]
async fn any_node_is_killed_under_load() {
    let nodes = Arc::new(Mutex::new(blocking(cluster).await));
    let hosts: Vec<String> = nodes.lock().iter().map(|node| format!("{USER}:{PASSWORD}@{}", node.address())).collect();
    let url = format!("rabbit://{}/", hosts.join(","));
    let options = [("heartbeat_timeout_threshold", "2"), ("rabbit_quorum_queue", "true")];
    let server = Bus::rabbit(settings(&url, &options)).await.unwrap();
    let client = Bus::rabbit(settings(&url, &options)).await.unwrap();
    let (handled, numbers) = (Handled::default(), Arc::new(AtomicU64::new(0)));
    let served = count(server.listen("q-test", "a"), Arc::clone(&handled));
    until_served(&client, &Target::server("q-test", "a")).await;
    let (kinds, asked) = (["list_queues", "--no-table-headers", "name", "arguments"], Arc::clone(&nodes));
    let kinds = blocking(move || asked.lock()[0].control(&kinds).unwrap()).await;
    assert_eq!(
        kinds.lines().filter(|line| line.starts_with("q-test") && line.contains("quorum")).count(),
        2,
        "{kinds}"
    );

    for number in 0..NODES {
        suffer(&format!("node {number} killed"), &client, &handled, &numbers, async || {
            let nodes = Arc::clone(&nodes);
            blocking(move || nodes.lock()[number].kill()).await;
        })
        .await;
        suffer(&format!("node {number} comes back"), &client, &handled, &numbers, async || {
            let nodes = Arc::clone(&nodes);
            blocking(move || nodes.lock()[number].resume().unwrap()).await;
            // It catches up before another one goes, for two of three must agree.
            tokio::time::sleep(SECOND * 3).await;
        })
        .await;
    }

    client.shut_down().await;
    server.shut_down().await;
    served.await.unwrap();
    let left = blocking(move || nodes.lock()[0].queues("/").unwrap()).await;
    assert_eq!(left, ["q-test", "q-test.a"]);
}
