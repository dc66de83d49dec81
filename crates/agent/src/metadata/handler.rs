//! One request on the agent's socket: who asks, then what the compute service says to that.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use oslo::{http::HttpError, messaging::Bus};

use super::{
    Config, FORWARDED_FOR, NETWORK_ID, ROUTER_ID, Scope,
    answer::{Answer, Silence, refusal, remove_connection_headers},
    lookup::{Instance, Lookup, client_address},
    nova::{AskError, Nova, Question},
};
use crate::chain;

const UNAVAILABLE: &str = "The remote metadata server is temporarily unavailable. Please try again later.";
const NO_SERVER: &str = "The network service is temporarily unavailable. Please try again later.";

/// What answers.
pub(super) struct Handler {
    lookup: Lookup,
    nova: Nova,
}

/// Who asks, by what the proxy says.
struct Asker {
    scope: Scope,
    address: IpAddr,
    forwarded_for: HeaderValue,
}

impl Handler {
    pub(super) fn new(config: &Config, bus: Bus) -> Result<Self, HttpError> {
        Ok(Self { lookup: Lookup::new(bus), nova: Nova::new(config)? })
    }

    /// Answers a request, or leaves it without an answer when the proxy did not say where it came from.
    pub(super) async fn answer(&self, request: Request<Bytes>) -> Result<Answer, Silence> {
        let asker = match Asker::of(request.headers())? {
            Ok(asker) => asker,
            Err(answer) => return Ok(answer),
        };
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let forwarded_for = asker.forwarded_for.clone();
        let question = Question { method: parts.method, target, body, forwarded_for };
        if let Some(instance) = self.lookup.remembered(&asker.scope, asker.address) {
            let answer = self.ask(&question, &instance).await;
            if answer.status() != StatusCode::NOT_FOUND {
                return Ok(answer);
            }
            // The instance may have gone and another may have its address.
            return Ok(match self.find(&asker).await {
                Ok(now) if now == instance => answer,
                Ok(now) => self.ask(&question, &now).await,
                Err(refused) => refused,
            });
        }
        Ok(match self.find(&asker).await {
            Ok(instance) => self.ask(&question, &instance).await,
            Err(refused) => refused,
        })
    }

    async fn find(&self, asker: &Asker) -> Result<Instance, Answer> {
        match self.lookup.ask(&asker.scope, asker.address).await {
            Ok(Some(instance)) => Ok(instance),
            Ok(None) => {
                let message = match &asker.scope {
                    Scope::Network(id) => format!("Instance was not found on network {id}."),
                    Scope::Router(id) => format!("Instance was not found on router {id}."),
                };
                tracing::warn!(address = %asker.address, "{message}");
                Err(refusal(StatusCode::NOT_FOUND, &message))
            }
            Err(error) => {
                tracing::warn!(address = %asker.address, error = chain(&error), "cannot ask whose address this is");
                Err(refusal(StatusCode::SERVICE_UNAVAILABLE, NO_SERVER))
            }
        }
    }

    async fn ask(&self, question: &Question, instance: &Instance) -> Answer {
        match self.nova.ask(question, instance).await {
            Ok(response) => passed_on(response, instance),
            Err(AskError::Http(error)) => {
                tracing::warn!(error = chain(&error), "cannot ask the compute service for metadata");
                match error {
                    HttpError::Timeout { .. } => {
                        refusal(StatusCode::GATEWAY_TIMEOUT, "The remote metadata server did not answer in time.")
                    }
                    _ => refusal(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
                }
            }
            Err(error @ AskError::Header(_)) => {
                tracing::warn!("{error}");
                refusal(StatusCode::NOT_FOUND, "The instance cannot be named.")
            }
            Err(error @ AskError::Target) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }
}

impl Asker {
    /// Who asks. A request that names a network and a router is refused: one of the two is made up.
    fn of(headers: &HeaderMap) -> Result<Result<Self, Answer>, Silence> {
        let network = single(headers, &NETWORK_ID)?.map(text);
        let router = single(headers, &ROUTER_ID)?.map(text);
        let scope = match (network, router) {
            (Some(network), Some(router)) => {
                let message = format!("Both network {network} and router {router} defined.");
                tracing::warn!("{message}");
                return Ok(Err(refusal(StatusCode::BAD_REQUEST, &message)));
            }
            (Some(network), None) => Scope::Network(network),
            (None, Some(router)) => Scope::Router(router),
            (None, None) => return Err(Silence("a request names neither network nor router".to_owned())),
        };
        let forwarded_for = single(headers, &FORWARDED_FOR)?.cloned();
        let address = forwarded_for.as_ref().and_then(|value| client_address(value.to_str().ok()?));
        match (address, forwarded_for) {
            (Some(address), Some(forwarded_for)) => Ok(Ok(Self { scope, address, forwarded_for })),
            _ => Err(Silence("a request does not say from which address it came".to_owned())),
        }
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The one value of a header. Of several, one is the client's.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Silence> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.filter(|value| !value.is_empty())),
        _ => Err(Silence(format!("a request has several headers {name}"))),
    }
}

/// The compute service's answer as the instance gets it.
fn passed_on(response: Response<Bytes>, instance: &Instance) -> Answer {
    let status = response.status();
    match status.as_u16() {
        200 | 400 | 404 | 409 | 502..=504 => {}
        403 => tracing::warn!(
            "the compute service refuses to give metadata; does metadata_proxy_shared_secret differ from its own?"
        ),
        500 => tracing::warn!(instance = instance.id, "the compute service fails to give metadata"),
        _ => {
            tracing::warn!(instance = instance.id, %status, "the compute service gives an answer that is none of its own");
            return refusal(
                StatusCode::BAD_GATEWAY,
                "The remote metadata server gave an answer that is not understood.",
            );
        }
    }
    let (parts, body) = response.into_parts();
    let mut answer = Answer::new(Full::new(body));
    *answer.status_mut() = status;
    *answer.headers_mut() = parts.headers;
    remove_connection_headers(answer.headers_mut());
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    answer
}

#[cfg(test)]
mod tests;
