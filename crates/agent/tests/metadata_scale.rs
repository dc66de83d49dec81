//! A thousand networks on one host: no process, and little memory. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::{fs, sync::Arc, time::Instant};

use isospin_agent::metadata::{
    ADDRESS_V4, ADDRESS_V6, Scope,
    proxy::{Config, Place, Proxies, Wanted},
};
use kernel::{Address, LinkChange, Namespace, socket, testing::Machine};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixListener},
    task::JoinSet,
};
use types::NetworkId;

const NETWORKS: usize = 1000;
const ALLOWED_KIB: u64 = 20 * 1024;

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn children() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let of_task = |path: std::path::PathBuf| fs::read_to_string(path.join("children")).unwrap_or_default();
    tasks.map(|task| of_task(task.path()).split_whitespace().count()).sum()
}

/// A namespace with the addresses that a DHCP namespace has for metadata.
async fn namespace(machine: &Machine, name: String) -> Namespace {
    let namespace = machine.system.namespace_create(&name).unwrap();
    let inside = namespace.open().unwrap();
    inside.link_set("lo", &LinkChange::up()).await.unwrap();
    for address in [ADDRESS_V4, ADDRESS_V6] {
        inside.address_set(&Address::new(1, address.into())).await.unwrap();
    }
    namespace
}

async fn ask(namespace: &Namespace) -> String {
    let connect = || {
        let stream = std::net::TcpStream::connect("169.254.169.254:80")?;
        stream.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    let mut stream = TcpStream::from_std(namespace.run(connect).unwrap().unwrap()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_networks_cost_no_process_and_little_memory() {
    socket::allow_many().unwrap();
    let machine = Machine::new().await.unwrap();
    let began = Instant::now();
    let mut namespaces = Vec::new();
    for number in 0..NETWORKS {
        let namespace = namespace(&machine, format!("qdhcp-{number}")).await;
        namespaces.push((NetworkId::random(), namespace));
    }
    eprintln!("{NETWORKS} namespaces after {:?}", began.elapsed());
    let agent = UnixListener::bind(machine.directory().join("metadata_proxy")).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = agent.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    let proxies = Arc::new(Proxies::new(Config::new(machine.directory())));
    let scope = |network: &NetworkId| Scope::Network(network.to_string());
    let place = Place::Service { interface: Some("lo".to_owned()) };
    let wanted = |network: &NetworkId| Wanted { scope: scope(network), place: place.clone() };
    // What the first one brings with it is not a network's.
    proxies.set(&scope(&namespaces[0].0), &namespaces[0].1, Some(&wanted(&namespaces[0].0))).await.unwrap();
    let (before, began) = (resident_kib(), Instant::now());
    for (network, namespace) in &namespaces {
        proxies.set(&scope(network), namespace, Some(&wanted(network))).await.unwrap();
    }
    let listening = resident_kib().saturating_sub(before);
    eprintln!("{NETWORKS} proxies after {:?}: {listening} KiB more", began.elapsed());
    assert_eq!(proxies.len(), NETWORKS);
    // Each works.
    let mut asked = JoinSet::new();
    for (_, namespace) in &namespaces {
        let namespace = namespace.clone();
        asked.spawn(async move { ask(&namespace).await });
        if asked.len() >= 50 {
            assert!(asked.join_next().await.unwrap().unwrap().ends_with("ok"));
        }
    }
    while let Some(answer) = asked.join_next().await {
        assert!(answer.unwrap().ends_with("ok"));
    }
    let used = resident_kib().saturating_sub(before);
    eprintln!("after a request to each: {used} KiB more");
    assert!(listening < ALLOWED_KIB && used < ALLOWED_KIB);
    assert_eq!(children(), 0);
}
