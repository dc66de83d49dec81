//! Against a Keystone of a few lines, on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::{Domain, Method, Named, Scope};
use super::*;

/// Counts what it is asked, gives tokens that end after a while, and can refuse.
struct Fake {
    url: String,
    logins: AtomicUsize,
    discoveries: AtomicUsize,
    refuses: std::sync::atomic::AtomicBool,
    life: chrono::Duration,
}

impl Fake {
    async fn start(life: chrono::Duration) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (logins, discoveries) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let fake = Arc::new(Self { url, logins, discoveries, refuses: false.into(), life });
        let serving = Arc::clone(&fake);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        fake
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut buffer = vec![0; 16384];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let (status, token, body) = self.answer(&text).await;
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nX-Subject-Token: {token}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    async fn answer(&self, text: &str) -> (u16, String, Value) {
        let url = &self.url;
        let number = self.logins.load(Ordering::SeqCst);
        if text.starts_with("POST /v3/auth/tokens ") {
            // Long enough for others to come and wait.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let number = self.logins.fetch_add(1, Ordering::SeqCst) + 1;
            if self.refuses.load(Ordering::SeqCst) {
                return (401, String::new(), json!({"error": {"message": "The request requires authentication."}}));
            }
            let now = chrono::Utc::now();
            let token = json!({
                "user": {"id": "u", "name": "n", "domain": {"id": "default", "name": "Default"}},
                "issued_at": now.to_rfc3339(), "expires_at": (now + self.life).to_rfc3339(),
                "catalog": [{"type": "identity", "endpoints": [{"interface": "internal", "url": url}]}],
            });
            (201, format!("token-{number}"), json!({ "token": token }))
        } else if text.starts_with("GET / ") {
            self.discoveries.fetch_add(1, Ordering::SeqCst);
            let link = json!([{"rel": "self", "href": format!("{url}/v3/")}]);
            (300, String::new(), json!({"versions": {"values": [{"id": "v3.14", "status": "stable", "links": link}]}}))
        } else if text.contains(&format!("x-auth-token: token-{number}\r\n")) {
            (200, String::new(), json!({}))
        } else {
            (401, String::new(), json!({}))
        }
    }

    fn session(&self, path: &str) -> Session {
        let user = Named::Name("neutron".into(), Domain::default());
        let method = Method::Password { user, password: "hidden".into() };
        let auth_url = format!("{}{path}", self.url);
        let identity = Identity { auth_url, method, scope: Scope::Unscoped };
        Session::new(Auth::Identity(identity), &Options::default()).unwrap()
    }
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(format!("{url}/thing")).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn many_who_need_a_token_fetch_one() {
    let fake = Fake::start(chrono::Duration::hours(1)).await;
    let session = fake.session("");
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.token().await.unwrap().unwrap() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().reveal(), "token-1");
    }
    assert_eq!(session.identity("internal", None).await.unwrap(), format!("{}/v3", fake.url));
    assert_eq!(fake.logins.load(Ordering::SeqCst), 1);
    assert_eq!(fake.discoveries.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refusal_is_the_refusal_of_all_who_waited_and_is_told_clearly() {
    let fake = Fake::start(chrono::Duration::hours(1)).await;
    fake.refuses.store(true, Ordering::SeqCst);
    let session = fake.session("/v3");
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.token().await.unwrap_err().to_string() })
        })
        .collect();
    for task in tasks {
        let told = task.await.unwrap();
        assert_eq!(
            told,
            "Keystone refuses user `neutron`: The request requires authentication (HTTP 401); check the name, the \
             password and the project"
        );
    }
    assert_eq!(fake.logins.load(Ordering::SeqCst), 1);
    fake.refuses.store(false, Ordering::SeqCst);
    assert!(session.token().await.is_ok(), "a later caller tries again");
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends_and_when_it_is_refused() {
    let fake = Fake::start(chrono::Duration::milliseconds(4000)).await;
    let session = fake.session("/v3/");
    let first = session.token().await.unwrap();
    tokio::time::sleep(Duration::from_millis(2400)).await;
    assert_ne!(session.token().await.unwrap(), first);
    assert_eq!(session.send(get(&fake.url)).await.unwrap().status(), 200);
    // Keystone has forgotten what it gave.
    fake.logins.fetch_add(10, Ordering::SeqCst);
    let before = fake.logins.load(Ordering::SeqCst);
    assert_eq!(session.send(get(&fake.url)).await.unwrap().status(), 200);
    assert_eq!(fake.logins.load(Ordering::SeqCst), before + 1);
    assert!(!format!("{session:?}").contains("hidden"));
}

#[tokio::test]
async fn what_needs_no_keystone_asks_none() {
    let auth = Auth::AdminToken { endpoint: "http://127.0.0.1:9/x/".into(), token: Token::new("t") };
    let session = Session::new(auth, &Options::default()).unwrap();
    assert_eq!(session.endpoint("compute", "public", None).await.unwrap(), "http://127.0.0.1:9/x");
    assert_eq!(session.token().await.unwrap().unwrap().reveal(), "t");
    let session = Session::new(Auth::None { endpoint: None }, &Options::default()).unwrap();
    assert!(matches!(session.endpoint("compute", "public", None).await, Err(KeystoneError::NoEndpoint { .. })));
}

#[test]
fn versions_are_found_in_every_form() {
    let entry = json!({"id": "v3.8", "links": [{"rel": "self", "href": "/identity/v3/"}]});
    for body in [json!({"versions": {"values": [entry]}}), json!({"versions": [entry]}), json!({"version": entry})] {
        assert_eq!(version_3(&body).as_deref(), Some("/identity/v3"));
    }
    assert_eq!(version_3(&json!({"versions": {"values": [{"id": "v2.0", "links": []}]}})), None);
    assert_eq!(absolute("http://k:5000/identity", "/identity/v3"), "http://k:5000/identity/v3");
    assert_eq!(absolute("http://k:5000", "/v3"), "http://k:5000/v3");
    assert_eq!(absolute("http://k:5000", "https://other/v3"), "https://other/v3");
}
