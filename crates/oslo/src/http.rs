//! The HTTP client of every part: Keystone, Nova, the metadata service and the command-line client are asked through it.
//!
//! It promises that no request outlasts its time limit, that connections are kept for a while and that a kept one which
//! the peer has closed costs no failure, and that errors name the peer and what went wrong, never a path, a header or a
//! body, because those may hold secrets. Redirections are the caller's to follow.

mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;

pub(crate) use tls::Material;
pub use tls::Tls;

/// A kept connection is closed when it has not been used for this long. Servers commonly wait a little longer.
const IDLE: Duration = Duration::from_secs(50);

/// A peer that takes longer than this to accept a connection is not there.
const CONNECT: Duration = Duration::from_secs(10);

/// Connections that are kept for one peer.
const KEPT: usize = 8;

/// The longest answer that is read.
const LONGEST: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HttpError {
    /// The address is no URL of `http` or `https`.
    #[error("{url:?} is not a URL that can be asked: it must begin with http:// or https:// and name a host")]
    Url {
        /// What was given, without what may be secret in it.
        url: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to {peer}: {reason}")]
    Connect {
        /// Scheme, host and port.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The peer's certificate, or ours, is refused.
    #[error("no TLS connection to {peer}: {reason}")]
    Tls {
        /// Scheme, host and port.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The time for an answer is over.
    #[error("{peer} gave no answer within {} s", limit.as_secs_f64())]
    Timeout {
        /// Scheme, host and port.
        peer: String,
        /// How long was waited.
        limit: Duration,
    },
    /// What came is no whole HTTP answer.
    #[error("{peer} gave no proper answer: {reason}")]
    Protocol {
        /// Scheme, host and port.
        peer: String,
        /// What was wrong with it.
        reason: String,
    },
    /// A file of certificates or keys cannot be used.
    #[error("cannot use {path}: {reason}")]
    Certificates {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
}

impl HttpError {
    /// The peer was not reached, so the request was not sent: it may be sent again whatever it asks for.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Tls { .. })
    }
}

type Sender<C> = Pool<C, Full<Bytes>>;

struct Inner {
    plain: Sender<HttpConnector>,
    /// Made when https is first spoken: the certificates of the system are many.
    secure: OnceCell<Sender<HttpsConnector<HttpConnector>>>,
    tls: tls::Material,
}

/// Sends requests over connections that are kept. Clones share them.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// A client that trusts and shows what `tls` says. The files it names are read now.
    pub fn new(tls: &Tls) -> Result<Self, HttpError> {
        let plain = pool().build(connector());
        Ok(Self(Arc::new(Inner { plain, secure: OnceCell::new(), tls: tls.read()? })))
    }

    /// Sends a request and reads the whole answer, whatever its status, within `timeout` all in all.
    pub async fn send(&self, request: Request<Bytes>, timeout: Duration) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let peer = peer(&parts.uri)?;
        // A kept connection may be closed by the peer at the moment it is used. What changes nothing is sent again.
        let attempts = if matches!(parts.method, Method::GET | Method::HEAD) { 2 } else { 1 };
        let exchange = async {
            let mut attempt = 1;
            loop {
                let mut request = Request::new(Full::new(body.clone()));
                *request.method_mut() = parts.method.clone();
                *request.uri_mut() = parts.uri.clone();
                *request.headers_mut() = parts.headers.clone();
                match self.exchange(request, &peer).await {
                    Err(Failure::Closed(_)) if attempt < attempts => attempt += 1,
                    done => return done.map_err(|failure| failure.into_error(&peer)),
                }
            }
        };
        let limit = timeout;
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(HttpError::Timeout { peer: peer.clone(), limit }))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, peer: &str) -> Result<Response<Bytes>, Failure> {
        let response = if request.uri().scheme_str() == Some("https") {
            let make = async || Ok(pool().build(self.0.tls.connector(connector(), peer)?));
            self.0.secure.get_or_try_init(make).await.map_err(Failure::Known)?.request(request).await
        } else {
            self.0.plain.request(request).await
        };
        let (parts, body) = response.map_err(|error| Failure::of(&error))?.into_parts();
        let body =
            Limited::new(body, LONGEST).collect().await.map_err(|error| Failure::Protocol(innermost(&*error)))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

fn pool() -> hyper_util::client::legacy::Builder {
    let mut builder = Pool::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(KEPT);
    builder
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector
}

/// Scheme, host and port: all of a URL that may be shown.
fn peer(uri: &Uri) -> Result<String, HttpError> {
    match (uri.scheme_str(), uri.host()) {
        (Some(scheme @ ("http" | "https")), Some(host)) => {
            let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
            Ok(format!("{scheme}://{host}{port}"))
        }
        (_, host) => Err(HttpError::Url { url: host.unwrap_or(uri.path()).to_owned() }),
    }
}

/// Why one attempt failed.
enum Failure {
    Connect(String),
    Tls(String),
    Closed(String),
    Protocol(String),
    Known(HttpError),
}

impl Failure {
    fn of(error: &hyper_util::client::legacy::Error) -> Self {
        let reason = innermost(error);
        if tls::caused(error) {
            Self::Tls(reason)
        } else if error.is_connect() {
            Self::Connect(reason)
        } else if closed(error) {
            Self::Closed(reason)
        } else {
            Self::Protocol(reason)
        }
    }

    fn into_error(self, peer: &str) -> HttpError {
        let peer = peer.to_owned();
        match self {
            Self::Connect(reason) => HttpError::Connect { peer, reason },
            Self::Tls(reason) => HttpError::Tls { peer, reason },
            Self::Closed(reason) | Self::Protocol(reason) => HttpError::Protocol { peer, reason },
            Self::Known(error) => error,
        }
    }
}

/// Whether the connection ended before an answer began.
fn closed(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The last cause in a chain: the one that says what happened.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Percent-encodes all but unreserved characters, for a path segment or a value in a query.
pub fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
