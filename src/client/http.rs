//! One HTTP request and its answer, over a connection that is kept.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::error::ClientError;

/// Nothing is waited for longer than this unless a timeout was asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

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

/// Sends requests.
pub(super) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
    retries: u32,
}

impl Http {
    /// A sender that gives up after `timeout`, having tried `retries` more times to connect.
    pub(super) fn new(timeout: Option<Duration>, retries: u32) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            timeout: timeout.unwrap_or(LONGEST_WAIT),
            retries,
        }
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        if url.starts_with("https://") {
            return Err(ClientError::Refused(format!("{url}: https is not supported by this client, use http")));
        }
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
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| failed(innermost(&error)))?;
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
