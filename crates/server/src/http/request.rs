//! A request taken apart: path segments, query parameters in order, body.

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use crate::{Refusal, Result, resource::Condition};

/// Longest body that is read. A bulk create of 10,000 ports fits.
const MAX_BODY: usize = 16 << 20;

/// A request, read whole.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path's segments, percent-decoded, without empty ones at the end and without a `.json` suffix.
    pub path: Vec<String>,
    /// Whether the path ended in a slash.
    pub trailing_slash: bool,
    /// Parameters in order, decoded.
    pub query: Vec<(String, String)>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// `http://host:port`, as the client named it, for links.
    pub base: String,
}

impl Request {
    /// Reads the body and takes the URL apart.
    pub async fn read(request: axum::extract::Request) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let host = parts.headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("localhost");
        let base = format!("http://{host}");
        let (path, trailing_slash) = segments(parts.uri.path())?;
        let query = parse_query(parts.uri.query().unwrap_or_default())?;
        if path.first().is_some_and(|version| version == "v2.0") && !takes_json(&parts.headers) {
            return Err(Refusal::not_acceptable().into());
        }
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(Refusal::new(
                    axum::http::StatusCode::PAYLOAD_TOO_LARGE,
                    "HTTPRequestEntityTooLarge",
                    format!("The body of your request was too large: at most {MAX_BODY} bytes are read."),
                )
                .into());
            }
            Err(_) => return Err(Refusal::malformed("The body of the request could not be read.").into()),
        };
        Ok(Self { method: parts.method, path, trailing_slash, query, headers: parts.headers, body, base })
    }

    /// The body as a JSON object; one that is not there is an empty one.
    pub fn object(&self) -> Result<Map<String, Value>> {
        let text = std::str::from_utf8(&self.body).map_err(|_| Refusal::not_text())?;
        if text.is_empty() {
            return Ok(Map::new());
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Ok(object),
            _ => Err(Refusal::malformed("Body contains invalid data").into()),
        }
    }

    /// The body as JSON, for what is below the resources and has errors of its own.
    pub fn document(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).map_err(|_| {
            Refusal::bad_request("MalformedRequestBody", "Malformed request body: Cannot understand JSON.").into()
        })
    }

    /// `If-Match: revision_number=N`. Other tags are ignored, as upstream ignores them.
    pub fn condition(&self) -> Result<Condition> {
        let tag =
            self.headers.get(header::IF_MATCH).and_then(|v| v.to_str().ok()).map(|tag| tag.trim().trim_matches('"'));
        let Some(number) = tag.and_then(|tag| tag.strip_prefix("revision_number=")) else {
            return Ok(Condition::default());
        };
        let number = number.trim().parse().map_err(|_| {
            let message = "Bad if-match request: Revision number etag must be in the format of revision_number=<int>.";
            Refusal::bad_request("BadRequest", message)
        })?;
        Ok(Condition(Some(number)))
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Does the client take JSON, the only form there is?
fn takes_json(headers: &HeaderMap) -> bool {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()) else { return true };
    let mut ranges = accept.split(',').filter_map(|range| range.split(';').next()).map(str::trim).peekable();
    let is_json = |range: &str| {
        ["*/*", "application/*", "application/json"].iter().any(|taken| range.eq_ignore_ascii_case(taken))
    };
    ranges.peek().is_none_or(|first| first.is_empty()) || ranges.any(is_json)
}

/// As upstream does, an escaped slash parts segments like a bare one.
pub(super) fn segments(path: &str) -> Result<(Vec<String>, bool)> {
    let trailing_slash = path.ends_with('/');
    let path = decode(path.strip_suffix(".json").unwrap_or(path), false)?;
    Ok((path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect(), trailing_slash))
}

fn parse_query(query: &str) -> Result<Vec<(String, String)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key, true)?, decode(value, true)?))
        })
        .collect()
}

/// Percent-decoding; in queries a plus is a blank. Bytes that are not UTF-8 are refused.
fn decode(text: &str, plus: bool) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'+' if plus => bytes.push(b' '),
            b'%' => {
                let pair = rest.as_slice().get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
                let pair = pair.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
                match pair.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    Some(decoded) => {
                        bytes.push(decoded);
                        rest.nth(1);
                    }
                    None => bytes.push(b'%'),
                }
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| Refusal::not_text().into())
}

/// Percent-encodes a query value, leaving what [RFC 3986] calls unreserved.
///
/// [RFC 3986]: https://www.rfc-editor.org/rfc/rfc3986#section-2.3
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                use std::fmt::Write as _;
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_keeps_order_and_repetition() {
        let pairs = parse_query("name=a&name=b%20c&fields=id&x&y=1+2&z=%zz").unwrap();
        let expected = [("name", "a"), ("name", "b c"), ("fields", "id"), ("x", ""), ("y", "1 2"), ("z", "%zz")];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn what_is_not_text_is_refused() {
        assert!(parse_query("name=%ff").is_err());
        assert!(segments("/v2.0/networks/%c0%af").is_err());
    }

    #[test]
    fn escaped_slashes_part_segments() {
        assert_eq!(
            segments("/v2.0/networks/a%2fb/").unwrap(),
            (vec!["v2.0", "networks", "a", "b"].into_iter().map(str::to_owned).collect(), true)
        );
    }

    #[test]
    fn only_json_is_served() {
        let takes = |accept: &str| takes_json(&[(header::ACCEPT, accept.parse().unwrap())].into_iter().collect());
        assert!(takes("*/*") && takes("text/html, application/json;q=0.5") && takes(""));
        assert!(!takes("application/xml") && !takes("text/html"));
        assert!(takes_json(&HeaderMap::new()));
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        for text in ["plain", "a b&c=d", "ü/%", ""] {
            assert_eq!(decode(&encode(text), true).unwrap(), text);
        }
    }
}
