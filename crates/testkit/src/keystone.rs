//! A private Keystone: its own database, keys and ports, gone when dropped.
//!
//! It is the real one, from the virtual environment that `scripts/set-up test` makes. It knows the domain `Default`, the
//! project and user `admin`, the project `service` with its users, and the roles that Keystone begins with. Names differ
//! by more than case, as they do in MariaDB.

use std::{
    fmt,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    instance::{Place, free_port},
    wait,
};

/// How long it may take to start, on a machine busy with other tests.
const START: Duration = Duration::from_secs(120);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Password of the user `admin`; every other user's is the name.
pub const PASSWORD: &str = "admin";
const SERVE: &str = include_str!("keystone/serve.py");

/// What a Keystone is to be like.
#[derive(Debug, Clone)]
pub struct Plan {
    listen: Vec<SocketAddr>,
    url: Option<String>,
    namespace: Option<String>,
    projects: Vec<String>,
    users: Vec<Value>,
    services: Vec<Value>,
}

/// A running Keystone.
#[derive(Debug)]
pub struct Keystone {
    place: Place,
    child: Child,
    listen: Vec<SocketAddr>,
}

/// What it answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `X-Subject-Token`.
    pub token: Option<String>,
    /// The body.
    pub body: Value,
}

impl Default for Plan {
    /// The project `service` with the users `neutron` and `nova`, and the project `demo` with the users `member` and
    /// `reader` of the roles of these names; on two free ports of the loopback interface.
    fn default() -> Self {
        let plan = Self {
            listen: Vec::new(),
            url: None,
            namespace: None,
            projects: vec!["service".to_owned(), "demo".to_owned()],
            users: Vec::new(),
            services: Vec::new(),
        };
        let plan =
            plan.user("neutron", "service", &["admin", "service"]).user("nova", "service", &["admin", "service"]);
        plan.user("member", "demo", &["member"]).user("reader", "demo", &["reader"])
    }
}

impl Plan {
    /// Listens there too; the first address is the one in the catalogue, unless [`Self::url`] says another.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }

    /// The URL in the catalogue.
    pub fn url(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }

    /// Runs in a network namespace of `ip netns`.
    pub fn inside(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Has another project.
    pub fn project(mut self, name: &str) -> Self {
        self.projects.push(name.to_owned());
        self
    }

    /// Has another user, whose password is the name, with roles in a project. Roles that are new are made.
    pub fn user(mut self, name: &str, project: &str, roles: &[&str]) -> Self {
        self.users.push(json!({"name": name, "password": name, "project": project, "roles": roles}));
        self
    }

    /// Has another service in the catalogue, with the same URL for every interface.
    pub fn service(mut self, kind: &str, name: &str, url: &str) -> Self {
        self.services.push(json!({"type": kind, "name": name, "url": url}));
        self
    }

    /// Makes the database, starts it and waits until it serves. Blocks for about five seconds.
    pub fn start(mut self) -> Result<Keystone> {
        let place = Place::for_account("root")?;
        if self.listen.is_empty() {
            let another = (Ipv4Addr::LOCALHOST, free_port()?).into();
            self.listen = vec![(Ipv4Addr::LOCALHOST, place.port).into(), another];
        }
        let first = self.listen.first().context("no address")?;
        let spec = json!({
            "directory": place.directory.path(), "region": "RegionOne", "password": PASSWORD,
            "listen": self.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "url": self.url.unwrap_or_else(|| format!("http://{first}/v3")),
            "projects": self.projects, "users": self.users, "services": self.services,
        });
        std::fs::write(place.path("spec.json"), spec.to_string())?;
        std::fs::write(place.path("serve.py"), SERVE)?;
        let python = environment()?.join("bin/python");
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = place.command(Path::new("ip"), "serve")?;
                command.args(["netns", "exec", namespace]).arg(python);
                command
            }
            None => place.command(&python, "serve")?,
        };
        command.arg("serve.py").arg("spec.json").env("PYTHONDONTWRITEBYTECODE", "1");
        // It ends when this closes, so it may be shared by the tests of a program in a static, which is never dropped.
        command.stdin(Stdio::piped());
        clean(&mut command);
        let child = command.spawn().context("Keystone could not be started")?;
        let mut keystone = Keystone { place, child, listen: self.listen };
        keystone.wait()?;
        Ok(keystone)
    }
}

/// Takes away what would have it read the caller's own settings.
fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OS_")) {
        command.env_remove(name);
    }
}

/// Where `scripts/set-up test` has put it.
fn environment() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let directory = variable("ISOSPIN_KEYSTONE").or_else(|| Some(cache?.join("isospin/keystone")));
    let directory = directory.context("neither ISOSPIN_KEYSTONE nor HOME is set")?;
    if !directory.join("bin/keystone-manage").is_file() {
        bail!("no Keystone in {}; run scripts/set-up test", directory.display());
    }
    Ok(directory)
}

impl Keystone {
    /// Starts one as [`Plan::default`] has it.
    pub fn start() -> Result<Self> {
        Plan::default().start()
    }

    fn wait(&mut self) -> Result<()> {
        let ready = self.place.path("ready");
        let mut ended = None;
        let up = wait::until(START, || {
            ended = self.child.try_wait().ok().flatten();
            ready.exists() || ended.is_some()
        });
        if !up || ended.is_some() {
            bail!("Keystone does not serve (ended: {ended:?}): {}", self.log());
        }
        Ok(())
    }

    /// Where it listens first.
    pub fn address(&self) -> SocketAddr {
        self.listen[0]
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Its URL, without version.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// What it logged.
    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.place.path(name)).unwrap_or_default();
        read("serve.log") + &read("keystone.log")
    }

    /// How many requests it had that begin so: `GET /v3/auth/tokens`.
    pub fn requests(&self, beginning: &str) -> usize {
        let log = std::fs::read_to_string(self.place.path("requests.log")).unwrap_or_default();
        log.lines().filter(|line| line.starts_with(beginning)).count()
    }

    /// A token of a user of a domain `Default` for a project.
    pub fn token(&self, user: &str, password: &str, project: &str) -> Result<String> {
        self.token_for(user, password, json!({"project": {"name": project, "domain": {"id": "default"}}}), None)
    }

    /// A token for any scope, which may end sooner than usual.
    pub fn token_for(&self, user: &str, password: &str, scope: Value, seconds: Option<u32>) -> Result<String> {
        let user = json!({"name": user, "domain": {"id": "default"}, "password": password});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let body = json!({"auth": {"identity": identity, "scope": scope}});
        let life = seconds.map(|seconds| seconds.to_string());
        let headers: Vec<(&str, &str)> = life.iter().map(|life| ("X-Token-Life", life.as_str())).collect();
        let answer = self.send("POST", "/v3/auth/tokens", &headers, &body)?;
        answer.token.with_context(|| format!("no token: {}", answer.body))
    }

    /// Adds a service to the catalogue, with the same URL for every interface.
    pub fn register(&self, kind: &str, name: &str, url: &str) -> Result<()> {
        let token = self.token("admin", PASSWORD, "admin")?;
        let service = json!({"service": {"type": kind, "name": name}});
        let made = self.call("POST", "/v3/services", &token, &service)?;
        let id = made.body["service"]["id"].as_str().with_context(|| format!("no service: {made}"))?.to_owned();
        for interface in ["public", "internal", "admin"] {
            let endpoint = json!({"service_id": id, "interface": interface, "url": url, "region_id": "RegionOne"});
            let made = self.call("POST", "/v3/endpoints", &token, &json!({"endpoint": endpoint}))?;
            if made.status != 201 {
                bail!("no endpoint: {made}");
            }
        }
        Ok(())
    }

    /// Ends it at once; it does not come back.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a request with a token.
    pub fn call(&self, method: &str, path: &str, token: &str, body: &Value) -> Result<Answer> {
        self.send(method, path, &[("X-Auth-Token", token)], body)
    }

    /// Sends a request. A body of null is none.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Result<Answer> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(ANSWER))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             {extra}\r\n{body}",
            self.address()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no HTTP status")?;
        let header = head.lines().filter_map(|line| line.split_once(": "));
        let mut token = header.filter(|(name, _)| name.eq_ignore_ascii_case("x-subject-token"));
        let token = token.next().map(|(_, value)| value.to_owned());
        Ok(Answer { status, token, body: serde_json::from_str(body).unwrap_or_default() })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.body)
    }
}

impl Drop for Keystone {
    fn drop(&mut self) {
        // The data is thrown away, so there is nothing to shut down in good order.
        self.stop();
    }
}
