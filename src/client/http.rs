//! One HTTP request and its answer, over a connection that is kept.
//!
//! Certificates are checked against the file named, or against those of the system.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::error::ClientError;

/// Nothing is waited for longer than this unless a timeout was asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Where systems keep the certificates they trust: Debian, Red Hat, Alpine.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What a server answered.
pub(super) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header of that name, if it was there and readable.
    headers: hyper::HeaderMap,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON; null if it is not.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

type Sender = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends requests.
pub(super) struct Http {
    plain: OnceCell<Sender>,
    tls: OnceCell<Sender>,
    certificates: Option<PathBuf>,
    timeout: Duration,
    retries: u32,
}

impl Http {
    /// A sender that gives up after `timeout`, having tried `retries` more times to connect. It trusts the
    /// certificates in a file, or else those the system trusts.
    pub(super) fn new(timeout: Option<Duration>, retries: u32, certificates: Option<PathBuf>) -> Self {
        let timeout = timeout.unwrap_or(LONGEST_WAIT);
        Self { plain: OnceCell::new(), tls: OnceCell::new(), certificates, timeout, retries }
    }

    /// The sender for a URL, made when it is first needed: http needs no certificates.
    async fn sender(&self, url: &str) -> Result<&Sender, ClientError> {
        if url.starts_with("https:") {
            self.tls.get_or_try_init(async || connect(self.roots()?)).await
        } else {
            self.plain.get_or_try_init(async || connect(rustls::RootCertStore::empty())).await
        }
    }

    fn roots(&self) -> Result<rustls::RootCertStore, ClientError> {
        let system = || SYSTEM_CERTIFICATES.iter().map(PathBuf::from).find(|path| path.is_file());
        let Some(path) = self.certificates.clone().or_else(system) else {
            return Err(ClientError::Refused(
                "https needs certificates to check: set OS_CACERT, or install ca-certificates".into(),
            ));
        };
        read_roots(&path).map_err(|reason| ClientError::Refused(format!("cannot read {}: {reason}", path.display())))
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        let mut attempt = 0;
        loop {
            match self.send_once(method.clone(), url, headers, body).await {
                Err(ClientError::Connect { .. }) if attempt < self.retries => {
                    attempt += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                result => return result,
            }
        }
    }

    async fn send_once(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        let failed = |reason: String| ClientError::Connect { url: url.to_owned(), reason };
        let mut request = Request::builder().method(method).uri(url).header(ACCEPT, "application/json");
        request = request.header(USER_AGENT, concat!("isospin-client/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(bytes)).map_err(|error| failed(error.to_string()))?;
        let sender = self.sender(url).await?;
        let exchange = async {
            let response = sender.request(request).await.map_err(|error| failed(innermost(&error)))?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| failed(error.to_string()))?.to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, text })
        };
        let seconds = self.timeout.as_secs_f64();
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(failed(format!("no answer within {seconds} s"))))
    }
}

fn connect(roots: rustls::RootCertStore) -> Result<Sender, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Refused(format!("cannot set TLS up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector =
        hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

fn read_roots(path: &Path) -> Result<rustls::RootCertStore, String> {
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    if roots.is_empty() { Err("it has no certificates".to_owned()) } else { Ok(roots) }
}

/// The last cause in a chain: the one that says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// A query string of pairs, encoded.
pub(super) fn query(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    pairs.join("&")
}

/// Percent-encodes all but unreserved characters.
pub(super) fn encode(text: &str) -> String {
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
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        let pairs = [("fixed_ips".to_owned(), "ip_address=10.0.0.1".to_owned()), ("name".to_owned(), "ä b".to_owned())];
        assert_eq!(query(&pairs), "fixed_ips=ip_address%3D10.0.0.1&name=%C3%A4%20b");
    }
}
