//! How long it takes with many. Prints figures; run with `--ignored --nocapture`.

use std::{fs, time::Instant};

use serde_json::json;

use super::lab::{Lab, until};

fn resident() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().replace("VmRSS:", "").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn many_networks() {
    const NETWORKS: usize = 100;
    let mut lab = Lab::new().await;
    let mut networks = Vec::new();
    for number in 0..NETWORKS {
        networks.push(lab.server.add_network(&["host-a"], &[(&format!("10.60.{number}.0/24"), json!({}))]));
    }
    let started = Instant::now();
    lab.host.start();
    for network in &networks {
        lab.host.until_served(*network).await;
    }
    eprintln!("{NETWORKS} networks served after {:?}, {}", started.elapsed(), resident());
    lab.host.kill().await;
    let ports = add_ports(&lab, &networks).await;
    let started = Instant::now();
    lab.host.start();
    for port in ports {
        lab.until_ready(port).await;
    }
    eprintln!("adopted, with a new port on each, after {:?}", started.elapsed());
    let started = Instant::now();
    for network in &networks {
        lab.server.delete_network(*network).await;
    }
    for network in &networks {
        until("the directory is gone", || !lab.host.directory(*network).exists()).await;
    }
    eprintln!("deleted after {:?}", started.elapsed());
}

async fn add_ports(lab: &Lab, networks: &[types::NetworkId]) -> Vec<types::PortId> {
    let mut ports = Vec::new();
    for network in networks {
        ports.push(lab.server.create_port(*network, json!([])).await.id);
    }
    ports
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn many_ports() {
    const PORTS: usize = 5_000;
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.64.0.0/16", json!({}))]).await;
    let template = lab.server.create_port(network, json!([])).await;
    lab.server.inner(|inner| {
        for number in 2..PORTS {
            let mut port = template.clone();
            port.id = types::PortId::random();
            let address = [10, 64, (number / 250) as u8 + 1, (number % 250) as u8 + 1];
            port.fixed_ips[0].ip_address = address.into();
            port.mac_address = types::Mac([0xfa, 0x16, 0x3e, 1, address[2], address[3]]);
            inner.info(network).ports.push(port);
        }
    });
    let started = Instant::now();
    lab.server.tell_subnet(network).await;
    until("all are written", || lab.host.file(network, "host").lines().count() >= PORTS - 1).await;
    eprintln!("{PORTS} ports after {:?}, {}", started.elapsed(), resident());
    let mut times = Vec::new();
    for _ in 0..20 {
        let port = lab.server.create_port(network, json!([])).await;
        let started = Instant::now();
        lab.until_ready(port.id).await;
        times.push(started.elapsed());
    }
    times.sort();
    eprintln!("one more port: median {:?}, worst {:?}", times[10], times[19]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn one_port() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.65.0.0/16", json!({}))]).await;
    let mut times = Vec::new();
    for _ in 0..100 {
        let started = Instant::now();
        let port = lab.server.create_port(network, json!([])).await;
        lab.until_ready(port.id).await;
        times.push(started.elapsed());
    }
    times.sort();
    eprintln!("a port is ready: median {:?}, worst {:?}", times[50], times[99]);
}
