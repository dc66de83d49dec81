//! A proxy between a raw client and a raw agent, so that every byte is seen.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::*;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));
/// Upstream's agent reads once, and takes that for the whole request.
const READ_ONCE: usize = 4096;

/// An agent that answers with these bytes and closes.
struct Agent {
    directory: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    fn start(answer: &'static [u8]) -> Self {
        let agent = Self { directory: tempfile::tempdir().unwrap(), asked: Arc::default() };
        agent.listen(answer);
        agent
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("metadata_proxy")
    }

    fn listen(&self, answer: &'static [u8]) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let asked = Arc::clone(&self.asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; READ_ONCE];
                let length = stream.read(&mut request).await.unwrap();
                asked.lock().push(String::from_utf8_lossy(&request[..length]).into_owned());
                stream.write_all(answer).await.unwrap();
            }
        });
    }

    fn shared(&self) -> Shared {
        let mut config = Config::new("/nowhere");
        config.metadata_proxy_socket = self.socket();
        config.timeout_server = Duration::from_millis(500);
        Shared { config: Arc::new(config), scope: Mutex::new(Scope::Network("the-network".to_owned())), limiter: None }
    }
}

fn request(method: Method, uri: &str, headers: &[(&'static str, &str)], body: &str) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from(body.to_owned()));
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

async fn answered(shared: &Shared, request: Request<Bytes>) -> (u16, String) {
    let answer = forward(shared, CLIENT, request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_the_client_says_of_its_origin_is_taken_out() {
    let agent = Agent::start(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let headers = [
        ("x-neutron-network-id", "another"),
        ("x-neutron-router-id", "another"),
        ("x-forwarded-for", "10.0.0.6"),
        ("x-forwarded-for", "10.0.0.7"),
        ("connection", "keep-alive, x-private"),
        ("x-private", "1"),
        ("expect", "100-continue"),
        ("host", "metadata"),
        ("x-kept", "yes"),
    ];
    let sent = request(Method::PUT, "http://169.254.169.254/a%20b?c=d", &headers, "the body");
    assert_eq!(answered(&agent.shared(), sent).await, (200, "ok".to_owned()));
    let asked = agent.asked.lock().remove(0);
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "the body", "one read gives the whole request");
    let mut lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines.remove(0), "PUT /a%20b?c=d HTTP/1.1");
    lines.sort();
    assert_eq!(
        lines,
        [
            "connection: close",
            "content-length: 8",
            "host: metadata",
            "x-forwarded-for: 10.0.0.5",
            "x-kept: yes",
            "x-neutron-network-id: the-network",
        ]
    );
}

#[tokio::test]
async fn a_router_is_named_instead_of_a_network() {
    let agent = Agent::start(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let shared = agent.shared();
    *shared.scope.lock() = Scope::Router("the-router".to_owned());
    let sent = request(Method::GET, "/", &[("x-neutron-network-id", "another")], "");
    assert_eq!(answered(&shared, sent).await.0, 200);
    let asked = agent.asked.lock().remove(0);
    assert!(asked.contains("\r\nx-neutron-router-id: the-router\r\n") && !asked.contains("network-id"), "{asked}");
    assert!(asked.contains("\r\nhost: 169.254.169.254\r\n"), "{asked}");
}

/// As upstream's agent writes: bare line feeds, and a length that is not the body's.
#[tokio::test]
async fn answers_that_upstreams_agent_makes_by_hand_are_passed_on() {
    let refused = b"HTTP/1.1 404 Not Found\nContent-Type: text/plain; charset=UTF-8\nConnection: close\nContent-Length: 99\n\nno port";
    let agent = Agent::start(refused);
    let (status, text) = answered(&agent.shared(), request(Method::GET, "/", &[], "")).await;
    assert_eq!((status, text.as_str()), (404, "no port"));
    let empty = Agent::start(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\r\n");
    assert_eq!(answered(&empty.shared(), request(Method::GET, "/", &[], "")).await, (200, String::new()));
    let until_closed = Agent::start(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it");
    assert_eq!(answered(&until_closed.shared(), request(Method::GET, "/", &[], "")).await.1, "all of it");
}

#[tokio::test]
async fn an_agent_that_answers_nothing_is_told_of() {
    let silent = Agent::start(b"");
    assert_eq!(answered(&silent.shared(), request(Method::GET, "/", &[], "")).await.0, 502);
    let odd = Agent::start(b"what is this\r\n\r\n");
    assert_eq!(answered(&odd.shared(), request(Method::GET, "/", &[], "")).await.0, 502);
    let slow = Agent { directory: tempfile::tempdir().unwrap(), asked: Arc::default() };
    let _listener = UnixListener::bind(slow.socket()).unwrap();
    assert_eq!(answered(&slow.shared(), request(Method::GET, "/", &[], "")).await.0, 504);
}

#[tokio::test]
async fn an_agent_that_is_away_for_a_moment_is_waited_for() {
    let agent = Agent { directory: tempfile::tempdir().unwrap(), asked: Arc::default() };
    let shared = agent.shared();
    let (answer, ()) = tokio::join!(answered(&shared, request(Method::GET, "/", &[], "")), async {
        sleep(Duration::from_millis(300)).await;
        agent.listen(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback");
    });
    assert_eq!(answer, (200, "back".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stays_away_is_told_of() {
    let agent = Agent { directory: tempfile::tempdir().unwrap(), asked: Arc::default() };
    assert_eq!(answered(&agent.shared(), request(Method::GET, "/", &[], "")).await.0, 503);
}

#[tokio::test]
async fn a_head_keeps_its_length_and_a_target_that_is_no_path_is_refused() {
    let agent = Agent::start(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
    let answer = forward(&agent.shared(), CLIENT, request(Method::HEAD, "/", &[], "")).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "7");
    assert_eq!(answered(&agent.shared(), request(Method::OPTIONS, "*", &[], "")).await.0, 400);
    assert_eq!(answered(&agent.shared(), request(Method::CONNECT, "a.b:80", &[], "")).await.0, 400);
    assert_eq!(agent.asked.lock().len(), 1);
}
