//! One HTTP request and its answer, in the client's terms.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request};
use oslo::http::{Client, HttpError, Tls, encode};
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
    client: Client,
    timeout: Duration,
    retries: u32,
}

impl Http {
    /// A sender that gives up after `timeout`, having tried `retries` more times to connect.
    pub(super) fn new(tls: &Tls, timeout: Option<Duration>, retries: u32) -> Result<Self, ClientError> {
        let client = Client::new(tls).map_err(|error| ClientError::Refused(error.to_string()))?;
        Ok(Self { client, timeout: timeout.unwrap_or(LONGEST_WAIT), retries })
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(url).header(ACCEPT, "application/json");
        request = request.header(USER_AGENT, concat!("isospin-client/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(body);
        let request =
            request.map_err(|error| ClientError::Connect { url: url.to_owned(), reason: error.to_string() })?;
        let mut attempt = 0;
        let response = loop {
            match self.client.send(request.clone(), self.timeout).await {
                Err(HttpError::Connect { .. } | HttpError::Protocol { .. }) if attempt < self.retries => {
                    attempt += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                done => break done.map_err(|error| failed(error, url))?,
            }
        };
        let (parts, body) = response.into_parts();
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, text })
    }
}

/// A failure for the person at the terminal, who may see the whole URL.
pub(super) fn failed(error: HttpError, url: &str) -> ClientError {
    let reason = match error {
        HttpError::Connect { reason, .. } | HttpError::Tls { reason, .. } | HttpError::Protocol { reason, .. } => {
            reason
        }
        HttpError::Timeout { limit, .. } => format!("no answer within {} s", limit.as_secs_f64()),
        HttpError::Url { .. } | HttpError::Certificates { .. } => return ClientError::Refused(error.to_string()),
    };
    ClientError::Connect { url: url.to_owned(), reason }
}

/// A query string of pairs, encoded.
pub(super) fn query(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    pairs.join("&")
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
