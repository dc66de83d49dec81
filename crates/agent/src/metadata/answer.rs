//! Answers that are not the compute service's: a status and a sentence.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

/// What is sent to an instance, or to the proxy in front of it.
pub(super) type Answer = Response<Full<Bytes>>;

/// Headers that concern one connection and are not passed on.
const OF_ONE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The connection shall end without an answer, as it does when nothing that can be said would be true.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Silence(pub(super) String);

/// An answer with a sentence in the shape that upstream's agent has.
pub(super) fn refusal(status: StatusCode, message: &str) -> Answer {
    let title = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_str()),
        None => status.as_str().to_owned(),
    };
    let message = escaped(message);
    let body = format!(
        "<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n{message}<br /><br />\n</body>\n</html>\n"
    );
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    answer
}

/// Takes out what concerns one connection: the well-known headers, and those that the peer calls so.
pub(super) fn remove_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_ONE_CONNECTION) {
        headers.remove(name);
    }
}

/// Ids come from requests, and answers may be shown by a browser.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_refusal_says_why() {
        let answer = refusal(StatusCode::NOT_FOUND, "Instance was not found on network <b>.");
        assert_eq!(answer.status(), 404);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains("<h1>404 Not Found</h1>\nInstance was not found on network &lt;b&gt;."), "{text}");
    }

    #[test]
    fn what_the_peer_calls_its_connections_own_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "close, x-a"), ("x-a", "1"), ("x-b", "2"), ("keep-alive", "timeout=5")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        remove_connection_headers(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-b"]);
    }
}
