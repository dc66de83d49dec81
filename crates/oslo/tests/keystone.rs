//! Validating tokens at a real Keystone, which may be away, slow or of another opinion, with a real memcached beside it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{HeaderMap, Method, Request};
use isospin_oslo as oslo;
use oslo::http::{Client, Tls};
use oslo::keystone::middleware::{Caller, Middleware, Protection, Rejection, Settings};
use oslo::keystone::{Auth, Domain, Identity, KeystoneError, Method as Proof, Named, Options, Scope, Session};
use oslo::memcached::{self, Memcached};
use serde_json::json;
use testkit::keystone::{Keystone, PASSWORD, Plan};
use testkit::proxy::Proxy;
use tracing_subscriber::layer::SubscriberExt;

/// Keystone, and what stands between it and those it is tested with.
struct Lab {
    keystone: Keystone,
    proxy: Proxy,
}

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Everything)).unwrap();
    let port = testkit::instance::free_port().unwrap();
    let address = ([127, 0, 0, 1], port).into();
    let proxy = Proxy::start(address).unwrap();
    let url = format!("http://{}/v3", proxy.address());
    Lab { keystone: Plan::default().listen(address).url(&url).start().unwrap(), proxy }
});

/// Tests that cut the connection to Keystone, or count what reaches it, run one after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How often a crowd comes while Keystone is away.
const ROUNDS: usize = 3;

/// All that was logged, at any level.
static LOGGED: Mutex<String> = Mutex::new(String::new());

struct Everything;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Everything {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {field}={value:?}");
            }
        }
        let mut text = Text(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut text);
        LOGGED.lock().unwrap().push_str(&(text.0 + "\n"));
    }
}

fn named(name: &str) -> Named {
    Named::Name(name.into(), Domain::Name("default".into()))
}

impl Lab {
    fn auth(&self, user: &str, password: &str) -> Auth {
        let method = Proof::Password { user: named(user), password: password.into() };
        let auth_url = format!("http://{}", self.proxy.address());
        Auth::Identity(Identity { auth_url, method, scope: Scope::Project(named("service")) })
    }

    fn session(&self, password: &str) -> Session {
        let options = Options { timeout: Some(Duration::from_secs(20)), ..Options::default() };
        Session::new(self.auth("neutron", password), &options).unwrap()
    }

    fn middleware(&self, settings: Settings) -> Middleware {
        Middleware::new(self.session("neutron"), settings)
    }

    fn token(&self, user: &str) -> String {
        self.keystone.token(user, user, "demo").unwrap()
    }

    /// How many tokens Keystone was asked about so far.
    fn validations(&self) -> usize {
        self.keystone.requests("GET /v3/auth/tokens")
    }

    fn logins(&self) -> usize {
        self.keystone.requests("POST /v3/auth/tokens")
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

async fn ask(middleware: &Middleware, pairs: &[(&'static str, &str)]) -> Result<Caller, Rejection> {
    middleware.caller(&headers(pairs), &Method::GET, "/v2.0/networks").await
}

async fn with_token(middleware: &Middleware, token: &str) -> Result<Caller, Rejection> {
    ask(middleware, &[("x-auth-token", token)]).await
}

/// Asks with each token at once, and tells how each fared and how long it took all in all.
async fn crowd(middleware: &Middleware, tokens: Vec<String>) -> (Vec<Result<Caller, Rejection>>, Duration) {
    let began = Instant::now();
    let tasks: Vec<_> = tokens
        .into_iter()
        .map(|token| {
            let middleware = middleware.clone();
            tokio::spawn(async move { with_token(&middleware, &token).await })
        })
        .collect();
    let mut found = Vec::new();
    for task in tasks {
        found.push(task.await.unwrap());
    }
    (found, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn good_tokens_tell_who_calls_and_others_nothing() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let middleware = lab.middleware(Settings::default());
    let token = lab.token("member");
    let caller = with_token(&middleware, &token).await.unwrap();
    assert_eq!((caller.user.user.name.as_str(), caller.user.user.domain_name.as_str()), ("member", "Default"));
    let project = caller.user.project.clone().unwrap();
    assert_eq!((project.name.as_str(), project.domain_id.as_str()), ("demo", "default"));
    assert!(caller.user.roles.contains(&"member".to_owned()) && caller.service.is_none());
    assert_eq!(caller.token.reveal(), token);
    let asked = lab.validations();
    for _ in 0..50 {
        with_token(&middleware, &format!(" {token} ")).await.unwrap();
        ask(&middleware, &[("x-storage-token", &token)]).await.unwrap();
    }
    assert_eq!(lab.validations(), asked, "what is known is not asked again");
    let long = "a".repeat(100_000);
    // In the middle: of the last character some bits mean nothing.
    let (start, end) = token.split_at(token.len() / 2);
    let forged = format!("{start}{}{}", if end.starts_with('A') { 'B' } else { 'A' }, &end[1..]);
    for bad in ["", "nonsense", "two words", &long, &forged, "gAAAAABk"] {
        assert_eq!(with_token(&middleware, bad).await.unwrap_err(), Rejection::Unauthorized, "{bad:.20}");
    }
    assert_eq!(ask(&middleware, &[("x-user-id", "admin")]).await.unwrap_err(), Rejection::Unauthorized);
    assert!(lab.validations() <= asked + 3, "what cannot be a token is not asked about");
    let told = format!("Keystone uri=\"http://{}\"", lab.proxy.address());
    assert_eq!(middleware.challenge().await, told);
    let uri = Some("http://public:5000".to_owned());
    let settings = Settings { www_authenticate_uri: uri, delay_auth_decision: true, ..Settings::default() };
    let middleware = lab.middleware(settings);
    assert_eq!(middleware.challenge().await, "Keystone uri=\"http://public:5000\"");
    assert_eq!(with_token(&middleware, "nonsense").await.unwrap_err(), Rejection::Nobody);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_and_services_may_still_use_them() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let middleware = lab.middleware(Settings::default());
    let scope = json!({"project": {"name": "demo", "domain": {"id": "default"}}});
    // What takes time is done before.
    with_token(&middleware, &lab.token("member")).await.unwrap();
    let short = lab.keystone.token_for("member", "member", scope, Some(6)).unwrap();
    let began = Instant::now();
    with_token(&middleware, &short).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7).saturating_sub(began.elapsed())).await;
    assert_eq!(with_token(&middleware, &short).await.unwrap_err(), Rejection::Unauthorized, "though it is kept");
    let other = lab.middleware(Settings::default());
    assert_eq!(with_token(&other, &short).await.unwrap_err(), Rejection::Unauthorized);
    let service = lab.keystone.token("nova", "nova", "service").unwrap();
    for middleware in [&middleware, &other] {
        let caller = ask(middleware, &[("x-auth-token", &short), ("x-service-token", &service)]).await.unwrap();
        assert_eq!(caller.user.user.name, "member");
        assert!(caller.service.unwrap().roles.contains(&"service".to_owned()));
    }
    // Who is no service gains nothing, and loses what he has.
    let (good, reader) = (lab.token("member"), lab.token("reader"));
    for user in [&short, &good] {
        let refused = ask(&middleware, &[("x-auth-token", user), ("x-service-token", &reader)]).await;
        assert_eq!(refused.unwrap_err(), Rejection::Unauthorized);
    }
    let lax = lab.middleware(Settings { service_roles_required: false, ..Settings::default() });
    assert!(ask(&lax, &[("x-auth-token", &good), ("x-service-token", &reader)]).await.is_ok());
    assert!(ask(&lax, &[("x-auth-token", &short), ("x-service-token", &reader)]).await.is_err());
    let refused = ask(&middleware, &[("x-auth-token", &good), ("x-service-token", "nonsense")]).await;
    assert_eq!(refused.unwrap_err(), Rejection::Unauthorized);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_tokens_go_on_where_they_are_kept_and_nowhere_else() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let never = Settings { keep: oslo::keystone::middleware::Keep::Never, ..Settings::default() };
    let (keeps, forgets) = (lab.middleware(Settings::default()), lab.middleware(never));
    let token = lab.token("member");
    with_token(&keeps, &token).await.unwrap();
    with_token(&forgets, &token).await.unwrap();
    let both = [("X-Auth-Token", token.as_str()), ("X-Subject-Token", token.as_str())];
    let answer = lab.keystone.send("DELETE", "/v3/auth/tokens", &both, &json!(null)).unwrap();
    assert_eq!(answer.status, 204, "{answer}");
    assert!(with_token(&keeps, &token).await.is_ok());
    assert_eq!(with_token(&forgets, &token).await.unwrap_err(), Rejection::Unauthorized);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_other_scopes_say_so() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let middleware = lab.middleware(Settings::default());
    let token = lab.keystone.token_for("admin", PASSWORD, json!({"system": {"all": true}}), None).unwrap();
    let caller = with_token(&middleware, &token).await.unwrap();
    assert!(caller.user.is_system && caller.user.project.is_none());
    let admin = lab.keystone.token("admin", PASSWORD, "admin").unwrap();
    let id = &caller.user.user.id;
    let roles = lab.keystone.call("GET", "/v3/roles?name=admin", &admin, &json!(null)).unwrap();
    let role = roles.body["roles"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v3/domains/default/users/{id}/roles/{role}");
    assert_eq!(lab.keystone.call("PUT", &path, &admin, &json!(null)).unwrap().status, 204);
    let scope = json!({"domain": {"id": "default"}});
    let token = lab.keystone.token_for("admin", PASSWORD, scope, None).unwrap();
    let caller = with_token(&middleware, &token).await.unwrap();
    assert_eq!(caller.user.domain, Some(("default".into(), "Default".into())));
}

/// An application credential of a user, with more attributes: its id and secret.
fn credential(lab: &Lab, user: &str, project: &str, name: &str, more: serde_json::Value) -> (String, String) {
    let token = lab.keystone.token(user, user, project).unwrap();
    let seen = [("X-Auth-Token", token.as_str()), ("X-Subject-Token", token.as_str())];
    let id =
        lab.keystone.send("GET", "/v3/auth/tokens", &seen, &json!(null)).unwrap().body["token"]["user"]["id"].clone();
    let mut body = json!({"application_credential": {"name": name, "secret": "of-the-credential"}});
    for (key, value) in more.as_object().unwrap() {
        body["application_credential"][key] = value.clone();
    }
    let path = format!("/v3/users/{}/application_credentials", id.as_str().unwrap());
    let answer = lab.keystone.call("POST", &path, &token, &body).unwrap();
    assert_eq!(answer.status, 201, "{answer}");
    (answer.body["application_credential"]["id"].as_str().unwrap().to_owned(), "of-the-credential".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn application_credentials_work_for_services_and_restrict_users() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let (id, secret) = credential(lab, "neutron", "service", "ours", json!({}));
    let url = format!("http://{}", lab.proxy.address());
    for (credential, user) in [(Ok(id), None), (Err("ours".to_owned()), Some(named("neutron")))] {
        let method = Proof::ApplicationCredential { credential, user, secret: secret.clone() };
        let identity = Identity { auth_url: url.clone(), method, scope: Scope::Unscoped };
        let session = Session::new(Auth::Identity(identity), &Options::default()).unwrap();
        let middleware = Middleware::new(session, Settings::default());
        assert!(with_token(&middleware, &lab.token("member")).await.is_ok());
    }
    let rules = json!({"access_rules": [{"service": "identity", "method": "GET", "path": "/v2.0/networks/**"}]});
    let (id, secret) = credential(lab, "member", "demo", "narrow", rules);
    let method = Proof::ApplicationCredential { credential: Ok(id), user: None, secret };
    let identity = Identity { auth_url: url, method, scope: Scope::Unscoped };
    let token = Session::new(Auth::Identity(identity), &Options::default()).unwrap().token().await.unwrap().unwrap();
    let middleware = lab.middleware(Settings { service_type: Some("identity".into()), ..Settings::default() });
    let headers = headers(&[("x-auth-token", token.reveal())]);
    for (method, path, allowed) in [
        (Method::GET, "/v2.0/networks/1", true),
        (Method::DELETE, "/v2.0/networks/1", false),
        (Method::GET, "/v2.0/ports", false),
    ] {
        assert_eq!(middleware.caller(&headers, &method, path).await.is_ok(), allowed, "{method} {path}");
    }
    let unaware = lab.middleware(Settings::default());
    assert!(unaware.caller(&headers, &Method::GET, "/v2.0/networks/1").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_the_service_is_told_and_does_not_lock_it_out() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let middleware = Middleware::new(lab.session("not-the-password"), Settings::default());
    let token = lab.token("member");
    let (logins, asked) = (lab.logins(), lab.validations());
    let (found, took) = crowd(&middleware, (0..64).map(|number| format!("{token}{number}")).collect()).await;
    assert!(found.iter().all(|found| matches!(found, Err(Rejection::Unavailable))), "{found:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert_eq!((lab.logins() - logins, lab.validations() - asked), (1, 0));
    let logged = LOGGED.lock().unwrap().clone();
    // Other tests may have had another reason for the same sentence.
    let parts = ["cannot validate tokens", "ERROR", "user `neutron`", "HTTP 401", "[keystone_authtoken]"];
    assert!(logged.lines().any(|line| parts.iter().all(|part| line.contains(part))), "{logged}");
    assert!(!logged.contains("not-the-password"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_with_one_token_asks_once() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let middleware = lab.middleware(Settings::default());
    let token = lab.token("member");
    let (logins, asked) = (lab.logins(), lab.validations());
    let (found, took) = crowd(&middleware, vec![token; 64]).await;
    assert!(found.iter().all(Result::is_ok));
    assert_eq!((lab.logins() - logins, lab.validations() - asked), (1, 1));
    println!("64 clients with one new token in {took:?}: 1 login and 1 validation at Keystone");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_keystone_is_away_known_tokens_go_on_and_it_is_not_overrun() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let settings = Settings { timeout: Duration::from_secs(6), ..Settings::default() };
    let options = Options { timeout: Some(Duration::from_secs(6)), connect_retries: 1, ..Options::default() };
    let session = Session::new(lab.auth("neutron", "neutron"), &options).unwrap();
    let middleware = Middleware::new(session, settings);
    let known = lab.token("member");
    with_token(&middleware, &known).await.unwrap();
    for (way, stalled) in [("gone", false), ("silent", true)] {
        let unknown: Vec<String> = (0..8).map(|_| lab.token("reader")).collect();
        let clients = || (0..64).map(|number| unknown[number % 8].clone()).collect::<Vec<_>>();
        if stalled {
            lab.proxy.stall()
        } else {
            lab.proxy.cut()
        }
        let before = lab.proxy.counters();
        let mut refused = 0;
        for _ in 0..ROUNDS {
            let (found, took) = crowd(&middleware, clients()).await;
            refused += found.iter().filter(|found| matches!(found, Err(Rejection::Unavailable))).count();
            assert!(took < Duration::from_secs(60), "{way}: {took:?}");
            assert!(with_token(&middleware, &known).await.is_ok(), "{way}: what is known goes on");
        }
        let after = lab.proxy.counters();
        let attempts = (after.accepted + after.refused) - (before.accepted + before.refused);
        assert_eq!(refused, ROUNDS * 64, "{way}");
        assert!(attempts <= ROUNDS as u64 * 8 * 2, "{way}: {attempts} connections for {refused} requests");
        println!("Keystone {way}: {refused} requests of 64 clients got 503, {attempts} connections were tried");
        lab.proxy.drop_connections();
        lab.proxy.heal();
        let began = Instant::now();
        for (number, token) in unknown.iter().enumerate() {
            while with_token(&middleware, token).await.is_err() {
                assert!(began.elapsed() < Duration::from_secs(60), "{way}: it is back");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if number == 0 {
                println!("Keystone {way}: back after {:?}", began.elapsed());
            }
        }
        let (found, _) = crowd(&middleware, clients()).await;
        assert!(found.iter().all(Result::is_ok), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memcached_is_shared_and_can_be_done_without() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let mut cache = testkit::memcached::Memcached::start().unwrap();
    let servers = memcached::Settings {
        servers: vec![cache.address().to_string()],
        timeout: Duration::from_secs(10),
        dead_retry: Duration::from_secs(1),
        ..memcached::Settings::default()
    };
    let client = Memcached::new(&servers).unwrap();
    for protection in [Protection::None, Protection::Mac("s".into()), Protection::Encrypt("s".into())] {
        let settings =
            || Settings { memcached: Some(client.clone()), protection: protection.clone(), ..Settings::default() };
        let (one, two) = (lab.middleware(settings()), lab.middleware(settings()));
        let token = lab.token("member");
        let first = with_token(&one, &token).await.unwrap();
        let asked = lab.validations();
        assert_eq!(with_token(&two, &token).await.unwrap().user, first.user);
        assert_eq!(lab.validations(), asked, "{protection:?}: the other process has asked");
        let wrong = Settings { protection: Protection::Encrypt("another".into()), ..settings() };
        assert!(with_token(&lab.middleware(wrong), &token).await.is_ok(), "what cannot be read is asked again");
        assert_eq!(lab.validations(), asked + 1);
    }
    let (one, token) =
        (lab.middleware(Settings { memcached: Some(client.clone()), ..Settings::default() }), lab.token("member"));
    with_token(&one, &token).await.unwrap();
    cache.stop();
    let began = Instant::now();
    assert!(with_token(&one, &token).await.is_ok());
    for _ in 0..5 {
        assert!(with_token(&one, &lab.token("reader")).await.is_ok());
    }
    assert!(began.elapsed() < Duration::from_secs(60));
    cache.resume().unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.set("back", b"again", None).await;
    assert_eq!(client.get("back").await.as_deref(), Some(b"again".as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_finds_services_and_survives_the_loss_of_its_token() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let session = lab.session("neutron");
    let base = session.endpoint("identity", "public", Some("RegionOne")).await.unwrap();
    assert_eq!(base, format!("http://{}/v3", lab.proxy.address()));
    assert!(matches!(session.endpoint("compute", "public", None).await, Err(KeystoneError::NoEndpoint { .. })));
    let token = session.token().await.unwrap().unwrap();
    let both = [("X-Auth-Token", token.reveal()), ("X-Subject-Token", token.reveal())];
    assert_eq!(lab.keystone.send("DELETE", "/v3/auth/tokens", &both, &json!(null)).unwrap().status, 204);
    let request = Request::get(format!("{base}/users")).body(Bytes::new()).unwrap();
    assert_eq!(session.send(request).await.unwrap().status(), 200);
    assert_ne!(session.token().await.unwrap().unwrap(), token);
}

/// Runs last by its name: everything that the others had logged has no secret in it.
#[tokio::test(flavor = "multi_thread")]
async fn zz_no_secret_is_ever_logged() {
    let lab = &*LAB;
    let _alone = ALONE.lock().await;
    let token = lab.token("member");
    let middleware = lab.middleware(Settings::default());
    with_token(&middleware, &token).await.unwrap();
    let _ = with_token(&middleware, &format!("{token}x")).await;
    let answer = Client::new(&Tls::default()).unwrap();
    let request = Request::get(format!("http://{}/v3", lab.proxy.address())).header("x-auth-token", &token);
    answer.send(request.body(Bytes::new()).unwrap(), Duration::from_secs(20)).await.unwrap();
    let logged = LOGGED.lock().unwrap().clone();
    for secret in [token.as_str(), "gAAAA", "of-the-credential", "not-the-password"] {
        let line = logged.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
    let kept: Arc<str> = format!("{middleware:?}").into();
    assert!(!kept.contains("gAAAA"));
}
