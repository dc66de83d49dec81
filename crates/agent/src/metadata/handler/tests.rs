//! The handler between a server and a compute service that know just enough.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU16, atomic::Ordering},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{Method, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use oslo::messaging::Failure;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::metadata::Secret;

const NETWORK: &str = "5a2a5e55-7a28-4bb1-a1c5-c6d7d3f6c9c1";
const SECRET: &str = "abcdocker";

/// A compute service that answers with what it was asked.
struct Nova {
    address: SocketAddr,
    status: AtomicU16,
    asked: Mutex<Vec<String>>,
}

/// Ports as the server answers with them, and the filters that it was asked with.
#[derive(Default)]
struct Server {
    ports: Mutex<Vec<Value>>,
    interfaces: Mutex<Vec<Value>>,
    filters: Mutex<Vec<String>>,
    broken: Mutex<bool>,
}

struct Lab {
    nova: Arc<Nova>,
    server: Arc<Server>,
    handler: Handler,
}

impl Nova {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let nova = Arc::new(Self { address, status: AtomicU16::new(200), asked: Mutex::default() });
        let shared = Arc::clone(&nova);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| Arc::clone(&shared).answer(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        nova
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, std::convert::Infallible> {
        let (parts, body) = request.into_parts();
        let mut lines = vec![format!("{} {}", parts.method, parts.uri)];
        let mut headers: Vec<String> =
            parts.headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        headers.sort();
        lines.extend(headers.into_iter().filter(|line| !line.starts_with("host: ")));
        lines.push(String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap());
        self.asked.lock().push(lines.join("\n"));
        let mut answer = Answer::new(Full::new("the payload".into()));
        *answer.status_mut() = StatusCode::from_u16(self.status.load(Ordering::Relaxed)).unwrap();
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/x-payload"));
        Ok(answer)
    }
}

impl Lab {
    async fn new() -> Self {
        let (nova, server, bus) = (Nova::start().await, Arc::new(Server::default()), Bus::in_process());
        let mut listener = bus.listen(rpc::metadata::TOPIC, "server");
        let shared = Arc::clone(&server);
        tokio::spawn(async move {
            while let Some(incoming) = listener.next().await {
                let filters = &incoming.args["filters"];
                shared.filters.lock().push(filters.to_string());
                let ports = if filters.get("device_owner").is_some() { &shared.interfaces } else { &shared.ports };
                let answer = match *shared.broken.lock() {
                    true => Err(Failure::neutron("DBError", "no luck")),
                    false => Ok(Value::from(ports.lock().clone())),
                };
                incoming.reply.unwrap().send(answer);
            }
        });
        let mut config = Config::new("host-a", "/nowhere");
        config.nova_metadata_port = nova.address.port();
        config.metadata_proxy_shared_secret = Secret::new(SECRET);
        Self { handler: Handler::new(&config, bus).unwrap(), nova, server }
    }

    fn has_port(&self, instance: &str) {
        *self.server.ports.lock() = vec![port(instance)];
    }

    async fn ask(&self, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = "/latest/meta-data/?a=b%20c".parse().unwrap();
        self.send(request, headers).await.unwrap()
    }

    async fn send(&self, mut request: Request<Bytes>, headers: &[(&str, &str)]) -> Result<(u16, String), Silence> {
        for (name, value) in headers {
            request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let answer = self.handler.answer(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    }
}

fn port(instance: &str) -> Value {
    json!({"id": "p", "network_id": NETWORK, "device_id": instance, "project_id": "the-project", "name": null})
}

fn from(address: &str) -> [(&str, &str); 2] {
    [("x-neutron-network-id", NETWORK), ("x-forwarded-for", address)]
}

#[tokio::test]
async fn the_compute_service_is_asked_for_the_instance_and_nothing_else() {
    let lab = Lab::new().await;
    lab.has_port("the-instance");
    let mut request = Request::new(Bytes::from("a password"));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/openstack/latest/password?x=%2F".parse().unwrap();
    let mut headers = from("::ffff:10.20.0.237").to_vec();
    headers.extend([("x-instance-id", "another"), ("x-instance-id-signature", "f00"), ("cookie", "c")]);
    let answer = lab.send(request, &headers).await.unwrap();
    assert_eq!(answer, (200, "the payload".to_owned()));
    let expected = [
        "POST /openstack/latest/password?x=%2F",
        "content-length: 10",
        "x-forwarded-for: ::ffff:10.20.0.237",
        "x-instance-id-signature: 3c680acdf0a23f9f824d2daade33220170512d11be598597b380fc7054ab8e75",
        "x-instance-id: the-instance",
        "x-tenant-id: the-project",
        "a password",
    ];
    assert_eq!(*lab.nova.asked.lock(), [expected.join("\n")]);
    let filters = format!(r#"{{"fixed_ips":{{"ip_address":["10.20.0.237"]}},"network_id":["{NETWORK}"]}}"#);
    assert_eq!(*lab.server.filters.lock(), [filters]);
}

#[tokio::test]
async fn a_router_stands_for_its_networks() {
    let lab = Lab::new().await;
    lab.has_port("the-instance");
    let headers = [("x-neutron-router-id", "the-router"), ("x-forwarded-for", "10.0.0.5")];
    // A router without networks: the ports of all others are none of its own.
    let (status, text) = lab.ask(&headers).await;
    assert_eq!(status, 404);
    assert!(text.contains("Instance was not found on router the-router."), "{text}");
    assert_eq!(lab.server.filters.lock().len(), 1);
    lab.server.filters.lock().clear();
    *lab.server.interfaces.lock() = vec![port("the-router"), port("the-router")];
    assert_eq!(lab.ask(&headers).await.0, 200);
    let filters = lab.server.filters.lock().clone();
    assert_eq!(filters[1], format!(r#"{{"fixed_ips":{{"ip_address":["10.0.0.5"]}},"network_id":["{NETWORK}"]}}"#));
}

#[tokio::test]
async fn only_a_single_port_will_do() {
    let lab = Lab::new().await;
    for ports in [vec![], vec![port("one"), port("two")], vec![port("")]] {
        *lab.server.ports.lock() = ports;
        let (status, text) = lab.ask(&from("10.0.0.5")).await;
        assert_eq!(status, 404);
        assert!(text.contains(&format!("Instance was not found on network {NETWORK}.")), "{text}");
    }
    // No question to the server can tell whose this is.
    lab.server.filters.lock().clear();
    assert_eq!(lab.ask(&from("fe80::1")).await.0, 404);
    assert_eq!(lab.server.filters.lock().len(), 0);
    assert_eq!(lab.nova.asked.lock().len(), 0);
}

#[tokio::test]
async fn a_request_that_does_not_say_where_it_came_from_gets_no_answer() {
    let lab = Lab::new().await;
    lab.has_port("the-instance");
    let silent: [&[(&str, &str)]; 6] = [
        &[],
        &[("x-forwarded-for", "10.0.0.5")],
        &[("x-neutron-network-id", NETWORK)],
        &[("x-neutron-network-id", NETWORK), ("x-forwarded-for", "somewhere")],
        &[("x-neutron-network-id", NETWORK), ("x-forwarded-for", "10.0.0.5"), ("x-forwarded-for", "10.0.0.6")],
        &[("x-neutron-network-id", ""), ("x-forwarded-for", "10.0.0.5")],
    ];
    for headers in silent {
        assert!(lab.send(Request::new(Bytes::new()), headers).await.is_err(), "{headers:?}");
    }
    let both = [from("10.0.0.5").as_slice(), &[("x-neutron-router-id", "r")]].concat();
    let (status, text) = lab.ask(&both).await;
    assert_eq!(status, 400);
    assert!(text.contains(&format!("Both network {NETWORK} and router r defined.")), "{text}");
    assert_eq!(lab.nova.asked.lock().len(), 0);
}

#[tokio::test]
async fn what_the_compute_service_refuses_is_refused() {
    let lab = Lab::new().await;
    lab.has_port("the-instance");
    for (said, heard) in [
        (400, 400),
        (403, 403),
        (404, 404),
        (409, 409),
        (500, 500),
        (502, 502),
        (503, 503),
        (504, 504),
        (302, 502),
        (401, 502),
    ] {
        lab.nova.status.store(said, Ordering::Relaxed);
        assert_eq!(lab.ask(&from("10.0.0.5")).await.0, heard, "{said}");
    }
}

#[tokio::test]
async fn a_compute_service_that_is_away_is_told_of() {
    let lab = Lab::new().await;
    lab.has_port("the-instance");
    let mut config = Config::new("host-a", "/nowhere");
    config.nova_metadata_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let handler = Handler { nova: crate::metadata::nova::Nova::new(&config).unwrap(), ..lab.handler };
    let (status, text) = Lab { handler, ..lab }.ask(&from("10.0.0.5")).await;
    assert_eq!(status, 503);
    assert!(text.contains("The remote metadata server is temporarily unavailable. Please try again later."), "{text}");
}

#[tokio::test]
async fn a_server_that_fails_is_no_missing_port() {
    let lab = Lab::new().await;
    *lab.server.broken.lock() = true;
    assert_eq!(lab.ask(&from("10.0.0.5")).await.0, 503);
}

#[tokio::test]
async fn answers_of_the_server_are_remembered_until_the_instance_has_gone() {
    let lab = Lab::new().await;
    lab.has_port("one");
    for _ in 0..5 {
        assert_eq!(lab.ask(&from("10.0.0.5")).await.0, 200);
    }
    assert_eq!(lab.server.filters.lock().len(), 1);
    // Another has the address now, and the compute service does not know the former.
    lab.has_port("two");
    lab.nova.status.store(404, Ordering::Relaxed);
    lab.nova.asked.lock().clear();
    assert_eq!(lab.ask(&from("10.0.0.5")).await.0, 404);
    let asked = lab.nova.asked.lock().join("\n");
    assert!(asked.contains("x-instance-id: one") && asked.contains("x-instance-id: two"), "{asked}");
    tokio::time::sleep(Duration::from_millis(1)).await;
    lab.nova.status.store(200, Ordering::Relaxed);
    lab.nova.asked.lock().clear();
    assert_eq!(lab.ask(&from("10.0.0.5")).await.0, 200);
    assert!(lab.nova.asked.lock()[0].contains("x-instance-id: two"));
}
