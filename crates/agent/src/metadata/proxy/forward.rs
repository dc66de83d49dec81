//! One request from an instance to the metadata agent, and the answer back.

use std::{io, net::IpAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    client::conn::http1,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use super::{Config, Shared};
use crate::{
    chain,
    metadata::{
        FORWARDED_FOR, NETWORK_ID, ROUTER_ID, Scope,
        answer::{Answer, Silence, refusal, remove_connection_headers},
    },
};

/// The longest answer that is passed on.
const LONGEST_ANSWER: usize = 16 << 20;
/// How often the metadata agent is tried while it does not listen, and the pause between, so that its restart goes
/// unnoticed.
const TRIES: usize = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// Why there is no answer from the metadata agent.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error("the metadata agent does not listen on its socket")]
    Connect(#[source] io::Error),
    #[error("the metadata agent gave no answer in time")]
    Timeout,
    #[error("the metadata agent gave no proper answer")]
    Protocol(#[source] hyper::Error),
    #[error("the metadata agent gave an answer that is too long")]
    TooLong,
}

/// Passes a request on. There is always an answer.
pub(super) async fn forward(shared: &Shared, client: IpAddr, request: Request<Bytes>) -> Result<Answer, Silence> {
    if let Some(limiter) = &shared.limiter
        && !limiter.lock().admits(client, Instant::now())
    {
        return Ok(refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "You have sent too many requests in a given amount of time.",
        ));
    }
    let scope = shared.scope.lock().clone();
    let Some(request) = onward(request, &scope, client) else {
        return Ok(refusal(StatusCode::BAD_REQUEST, "What is asked for is not a path."));
    };
    let asked_for_head = request.method() == Method::HEAD;
    Ok(match exchange(&shared.config, request).await {
        Ok(answer) => back(answer, asked_for_head),
        Err(error) => {
            tracing::warn!(scope = scope.id(), %client, error = chain(&error), "a metadata request failed");
            let status = match error {
                ForwardError::Connect(_) => StatusCode::SERVICE_UNAVAILABLE,
                ForwardError::Timeout => StatusCode::GATEWAY_TIMEOUT,
                ForwardError::Protocol(_) | ForwardError::TooLong => StatusCode::BAD_GATEWAY,
            };
            refusal(status, "The metadata service is temporarily unavailable. Please try again later.")
        }
    })
}

/// The request as the metadata agent gets it; none when it asks for no path.
fn onward(request: Request<Bytes>, scope: &Scope, client: IpAddr) -> Option<Request<Full<Bytes>>> {
    let (mut parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().filter(|target| target.as_str().starts_with('/'))?.clone();
    parts.uri = target.into();
    parts.version = hyper::Version::HTTP_11;
    parts.extensions.clear();
    let headers = &mut parts.headers;
    remove_connection_headers(headers);
    for name in [NETWORK_ID, ROUTER_ID, FORWARDED_FOR, header::EXPECT] {
        headers.remove(name);
    }
    headers.insert(scope.header(), HeaderValue::from_str(scope.id()).ok()?);
    headers.insert(FORWARDED_FOR, HeaderValue::from_str(&client.to_string()).ok()?);
    headers.entry(header::HOST).or_insert(HeaderValue::from_static("169.254.169.254"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Some(Request::from_parts(parts, Full::new(body)))
}

/// The answer as the instance gets it.
fn back(answer: Response<Bytes>, asked_for_head: bool) -> Answer {
    let (mut parts, body) = answer.into_parts();
    remove_connection_headers(&mut parts.headers);
    if !asked_for_head {
        // Upstream's agent is not always right about it.
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let mut answer = Answer::new(Full::new(body));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    answer
}

async fn exchange(config: &Config, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, ForwardError> {
    let stream = timeout(config.timeout_connect, connect(config));
    let stream = stream.await.map_err(|_| ForwardError::Timeout)?.map_err(ForwardError::Connect)?;
    let answered = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(ForwardError::Protocol)?;
        let work = async {
            let answer = sender.send_request(request).await.map_err(ForwardError::Protocol)?;
            let (parts, body) = answer.into_parts();
            Ok(Response::from_parts(parts, whole(body).await?))
        };
        tokio::pin!(work);
        tokio::select! {
            answer = &mut work => answer,
            // The connection carries the work; its end may come first and leave the rest to be read.
            _ = connection => work.await,
        }
    };
    timeout(config.timeout_server, answered).await.map_err(|_| ForwardError::Timeout)?
}

async fn connect(config: &Config) -> io::Result<UnixStream> {
    let mut tries = 1;
    loop {
        match UnixStream::connect(&config.metadata_proxy_socket).await {
            Err(error) if tries < TRIES => {
                tracing::debug!(%error, "the metadata agent does not listen, trying again");
                tries += 1;
                sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

/// The body of an answer. One that ends before its announced length is taken for whole, because upstream's agent
/// announces too much when it refuses.
async fn whole(mut body: Incoming) -> Result<Bytes, ForwardError> {
    let mut bytes = BytesMut::new();
    while !body.is_end_stream() {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
                if bytes.len() > LONGEST_ANSWER {
                    return Err(ForwardError::TooLong);
                }
            }
            Some(Err(error)) if ended_early(&error) && !bytes.is_empty() => break,
            Some(Err(error)) => return Err(ForwardError::Protocol(error)),
            None => break,
        }
    }
    Ok(bytes.freeze())
}

fn ended_early(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests;
