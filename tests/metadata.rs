//! Metadata from the whole standalone service: an instance asks, and a compute service is asked for it with the right
//! headers. Needs root and curl.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{
    host::{Host, NAME},
    http::{id, text},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
const CONFIGURATION: &str = "enable_isolated_metadata = true\n\
                             nova_metadata_ip = 127.0.0.1\n\
                             metadata_proxy_shared_secret = abcdocker\n";
/// HMAC-SHA256 of `vm-1` with that secret.
const SIGNATURE: &str = "1f1386a86435caf2ed2df9cd5804b43e688a1713c14abe9ead6fae9b57774d5d";
const URL_V4: &str = "http://169.254.169.254/openstack/latest/meta_data.json";
const URL_V6: &str = "http://[fe80::a9fe:a9fe%25eth0]/openstack/latest/meta_data.json";
const PATIENCE: Duration = Duration::from_secs(60);

/// A compute service in the namespace of the host; what it is asked can be received.
fn nova(host: &Host) -> Receiver<BTreeMap<String, String>> {
    let listener = host.root().run(|| TcpListener::bind("127.0.0.1:8775")).unwrap().unwrap();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || answer(&stream, &sender));
        }
    });
    asked
}

fn answer(mut stream: &TcpStream, asked: &Sender<BTreeMap<String, String>>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(first) = lines.next() {
        let headers = lines.by_ref().take_while(|line| !line.is_empty());
        let pairs = headers.filter_map(|line| line.split_once(": ").map(|(n, v)| (n.to_lowercase(), v.to_owned())));
        let mut request: BTreeMap<String, String> = pairs.collect();
        request.insert("request".to_owned(), first);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"uuid\": 1}";
        if asked.send(request).is_err() || stream.write_all(answer).is_err() {
            return;
        }
    }
}

fn network(host: &Host) -> String {
    let network = id(&host.client().create("networks", json!({"mtu": 1400})).unwrap());
    for (version, cidr) in [(4, "10.0.0.0/24"), (6, "2001:db8::/64")] {
        let mut subnet = json!({"network_id": network, "ip_version": version, "cidr": cidr});
        if version == 6 {
            subnet["ipv6_address_mode"] = "dhcpv6-stateful".into();
            subnet["ipv6_ra_mode"] = "dhcpv6-stateful".into();
        }
        host.client().create("subnets", subnet).unwrap();
    }
    host.until("dnsmasq serves", || Ok(host.dnsmasq(&network).is_some())).unwrap();
    network
}

fn binaries(host: &Host) -> Vec<String> {
    let mut binaries: Vec<String> =
        host.client().list("agents", "").unwrap().iter().map(|agent| text(agent, "binary")).collect();
    binaries.sort();
    binaries
}

#[test]
fn an_instance_gets_its_metadata() {
    let mut host = Host::start(PROGRAM, CONFIGURATION).unwrap();
    let asked = nova(&host);
    let network = network(&host);
    let wish = json!({
        "network_id": network, "binding:host_id": NAME, "device_owner": "compute:nova", "device_id": "vm-1",
        "project_id": "0123456789abcdef0123456789abcdef",
    });
    let port = host.client().create("ports", wish).unwrap();
    let instance = host.plug("one", &port).unwrap();
    host.until_active(&id(&port)).unwrap();
    let lease = instance.dhcp().unwrap();
    assert!(lease["staticroutes"].contains("169.254.169.254/32"), "{lease:?}");
    let payload = (200, "{\"uuid\": 1}".to_owned());
    assert_eq!(instance.curl(URL_V4).unwrap(), payload);
    let headers = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let all = [
            ("request", "GET /openstack/latest/meta_data.json HTTP/1.1"),
            ("host", "127.0.0.1:8775"),
            ("x-instance-id", "vm-1"),
            ("x-tenant-id", "0123456789abcdef0123456789abcdef"),
            ("x-instance-id-signature", SIGNATURE),
        ];
        all.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let expected = headers(&[("x-forwarded-for", &lease["ip"])]);
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), expected);
    // The card's link-local address is made of its MAC, by which the port is found.
    host.until("IPv6 works", || Ok(instance.curl(URL_V6)? == payload)).unwrap();
    let from = asked.recv_timeout(PATIENCE).unwrap().remove("x-forwarded-for").unwrap();
    assert!(from.starts_with("fe80::"), "{from}");
    host.until("the metadata agent is known", || Ok(binaries(&host).len() == 4)).unwrap();
    assert_eq!(
        binaries(&host),
        ["neutron-dhcp-agent", "neutron-l3-agent", "neutron-linuxbridge-agent", "neutron-metadata-agent"]
    );
    // After a kill it is there again, without anything said to the instance.
    host.service.kill().unwrap();
    assert_eq!(instance.curl(URL_V4).unwrap().0, 0);
    host.service.start().unwrap();
    host.until("metadata is there again", || Ok(instance.curl(URL_V4)? == payload)).unwrap();
    assert!(!host.service.log().contains("abcdocker"));
    assert_eq!(host.service.faults(), [""; 0]);
}

#[test]
fn without_the_option_nobody_serves_metadata() {
    let host = Host::start(PROGRAM, "enable_isolated_metadata = false\n").unwrap();
    let network = network(&host);
    let wish: Value = json!({
        "network_id": network, "binding:host_id": NAME, "device_owner": "compute:nova", "device_id": "vm-1",
    });
    let port = host.client().create("ports", wish).unwrap();
    let instance = host.plug("one", &port).unwrap();
    host.until_active(&id(&port)).unwrap();
    let lease = instance.dhcp().unwrap();
    assert!(!lease.get("staticroutes").is_some_and(|routes| routes.contains("169.254.169.254")), "{lease:?}");
    assert_eq!(binaries(&host), ["neutron-dhcp-agent", "neutron-l3-agent", "neutron-linuxbridge-agent"]);
    assert!(!host.service.state_dir().join("metadata_proxy").exists());
    assert_eq!(host.service.faults(), [""; 0]);
}
