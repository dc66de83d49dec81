//! Metadata through routers: what the agent that signs requests is told of them.

use std::process::Command;

use kernel::{Namespace, sysctl};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};
use types::NetworkId;

use super::{
    lab::{Lab, until},
    server::{port, router, subnet},
};

/// An agent that answers with what it was told.
fn mirror(lab: &Lab) {
    std::fs::create_dir_all(lab.host.state_path()).unwrap();
    let listener = UnixListener::bind(lab.host.state_path().join("metadata_proxy")).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..length]).to_lowercase();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
}

async fn get(namespace: &Namespace, url: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--globoff", "--max-time", "5", "-H", "X-Neutron-Router-ID: lie", url]);
    let namespace = namespace.clone();
    let output = tokio::task::spawn_blocking(move || namespace.run(|| command.output()).unwrap().unwrap());
    String::from_utf8(output.await.unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_two_tenants_are_told_apart() {
    let lab = Lab::new().await;
    mirror(&lab);
    let mut instances = Vec::new();
    for name in ["blue", "red"] {
        let network = NetworkId::random();
        let v4 = subnet("10.0.0.0/24", Some("10.0.0.1"), json!({}));
        let v6 = subnet("2001:db8:1::/64", Some("2001:db8:1::1"), json!({"ipv6_ra_mode": "slaac"}));
        let ports = vec![port(network, "network:router_interface", &[("10.0.0.1", v4), ("2001:db8:1::1", v6)])];
        let told = router(ports, None);
        lab.serve(&told).await;
        let instance = lab.host.plug(network, name, &["10.0.0.5/24"], &["10.0.0.1"]).await;
        instances.push((told.id, instance));
    }
    for (id, instance) in &instances {
        instance.until_pings("10.0.0.1").await;
        let namespace = &instance.namespace;
        until("metadata answers", async || !get(namespace, "http://169.254.169.254/x").await.is_empty()).await;
        let told = get(namespace, "http://169.254.169.254/latest?x=1").await;
        assert!(told.starts_with("get /latest?x=1 http/1.1\r\n"), "{told}");
        assert!(told.contains(&format!("x-neutron-router-id: {id}\r\n")) && !told.contains("lie"), "{told}");
        assert!(told.contains("x-forwarded-for: 10.0.0.5\r\n"), "{told}");
        // The port of the proxy is for nothing else.
        assert_eq!(get(namespace, "http://10.0.0.1:9697/x").await, "");
    }
    // Over IPv6, by the route that radvd advertises.
    let (id, instance) = &instances[0];
    let key = "net/ipv6/conf/eth0/accept_ra_rt_info_max_plen";
    sysctl::write(&instance.namespace, key, "128").unwrap();
    let radvd = lab.host.radvd(*id).unwrap();
    radvd.signal(kernel::process::Signal::SIGHUP).unwrap();
    let url = "http://[fe80::a9fe:a9fe%25eth0]/v6";
    until("metadata answers over IPv6", async || !get(&instance.namespace, url).await.is_empty()).await;
    let told = get(&instance.namespace, url).await;
    assert!(told.contains(&format!("x-neutron-router-id: {id}\r\n")), "{told}");
    assert!(told.contains("x-forwarded-for: fe80::") || told.contains("x-forwarded-for: 2001:db8:1:"), "{told}");
}
