//! One HTTP connection to an endpoint, as bare as it can be: the generator shares the machine with the server.

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A Neutron to measure.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// What the report calls it.
    pub(crate) name: String,
    /// Whether it outlives the run, with what is left in it.
    pub(crate) lasting: bool,
    address: String,
    prefix: String,
    token: Option<String>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The method.
    pub(crate) method: Method,
    /// The path below `/v2.0`, with its query.
    pub(crate) path: String,
    /// The body.
    pub(crate) body: Bytes,
}

impl Call {
    /// A request without a body.
    pub(crate) fn bare(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: Bytes::new() }
    }

    /// A request with a body.
    pub(crate) fn json(method: Method, path: impl Into<String>, body: &Value) -> Self {
        Self { method, path: path.into(), body: Bytes::from(body.to_string()) }
    }
}

impl Endpoint {
    /// The endpoint at `url`, with or without `/v2.0` at its end.
    pub(crate) fn new(name: &str, url: &str, token: Option<String>) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").with_context(|| format!("{url}: only http:// is measured"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_end_matches('/').trim_end_matches("v2.0").trim_end_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        let port = if authority.contains(':') { "" } else { ":80" };
        Ok(Self {
            name: name.to_owned(),
            lasting: true,
            address: format!("{authority}{port}"),
            prefix: format!("{slash}{path}/v2.0/"),
            token,
        })
    }

    /// The same, known to be thrown away after the run.
    pub(crate) fn passing(self) -> Self {
        Self { lasting: false, ..self }
    }

    /// A connection for one client.
    pub(crate) fn connection(&self) -> Connection {
        Connection { endpoint: self.clone(), sender: None }
    }
}

/// A connection that is made when it is needed, and again when the server closed it.
pub(crate) struct Connection {
    endpoint: Endpoint,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, call: &Call) -> anyhow::Result<(u16, Bytes)> {
        let had_one = self.sender.is_some();
        match self.send_once(call).await {
            // The server may have closed the connection after the last answer.
            Err(_) if had_one => {
                self.sender = None;
                self.send_once(call).await
            }
            result => result,
        }
    }

    /// Sends a request that must succeed and reads its answer.
    pub(crate) async fn expect(&mut self, call: &Call) -> anyhow::Result<Value> {
        let (status, body) = self.send(call).await?;
        if !(200..300).contains(&status) {
            let Endpoint { name, .. } = &self.endpoint;
            bail!("{name}: {} {}: {status} {}", call.method, call.path, String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn send_once(&mut self, call: &Call) -> anyhow::Result<(u16, Bytes)> {
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.endpoint.prefix, call.path))
            .header(HOST, &self.endpoint.address);
        if let Some(token) = &self.endpoint.token {
            request = request.header("x-auth-token", token);
        }
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        sender.ready().await?;
        let response = sender.send_request(request.body(Full::new(call.body.clone()))?).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        self.sender = Some(sender);
        Ok((status, body))
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let address = &self.endpoint.address;
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
