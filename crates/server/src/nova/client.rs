//! `POST /os-server-external-events`.

use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use oslo::{
    context::generate_request_id,
    keystone::{KeystoneError, Session, Target},
};
use serde_json::{Value, json};

use super::ServerEvent;
use crate::error::chain;

/// The version of the compute API that takes all of these events.
const VERSION: &str = "2.1";

/// The compute service, as this service's user sees it.
#[derive(Debug, Clone)]
pub struct Client {
    session: Session,
    target: Target,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was taken.
    Done,
    /// It will never be taken.
    Refused(String),
    /// It may be taken later.
    Later(String),
}

impl Client {
    /// The compute service in the catalogue: by interface (`public`, `internal` or `admin`) and region.
    pub fn new(session: Session, interface: &str, region: Option<String>) -> Self {
        let interfaces = vec![interface.to_owned()];
        let target = Target { service: "compute".to_owned(), interfaces, region, endpoint_override: None };
        Self { session, target }
    }

    /// Sends a batch once.
    pub(super) async fn send(&self, batch: &[&ServerEvent]) -> Outcome {
        let response = match self.post(batch).await {
            Ok(response) => response,
            Err(error) => {
                if let (KeystoneError::NoEndpoint { .. }, Ok(Some(token))) = (&error, self.session.token().await) {
                    // The catalogue came with the token; a new one may know more.
                    self.session.forget(&token);
                }
                return Outcome::Later(chain(&error));
            }
        };
        match response.status() {
            status if status.is_success() => {
                report(response.body());
                Outcome::Done
            }
            // None of the instances is known any more.
            StatusCode::NOT_FOUND => {
                tracing::debug!("the compute service knows none of the instances of {} events", batch.len());
                Outcome::Done
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
                Outcome::Later(format!("it answered {status}"))
            }
            status if status.is_server_error() => Outcome::Later(format!("it answered {status}")),
            status => Outcome::Refused(format!("it answered {status}")),
        }
    }

    async fn post(&self, batch: &[&ServerEvent]) -> Result<Response<Bytes>, KeystoneError> {
        let endpoint = self.session.locate(&self.target).await?;
        let request = Request::post(format!("{endpoint}/os-server-external-events"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header("x-openstack-nova-api-version", VERSION)
            .header("x-openstack-request-id", generate_request_id())
            .body(Bytes::from(json!({ "events": batch }).to_string()));
        match request {
            Ok(request) => self.session.send(request).await,
            Err(_) => Err(oslo::http::HttpError::Url { url: endpoint }.into()),
        }
    }
}

/// The compute service answers for each event apart. An instance that is not known, or not on a host yet, is nothing to
/// worry about.
fn report(body: &[u8]) {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(events) = answer["events"].as_array() else {
        return tracing::error!("the compute service did not say what became of the events");
    };
    for event in events {
        let [name, server, tag] = ["name", "server_uuid", "tag"].map(|key| event[key].as_str().unwrap_or("-"));
        match event["code"].as_u64() {
            Some(200) => tracing::info!("the compute service took {name} of port {tag} for instance {server}"),
            Some(code @ (404 | 422)) => {
                tracing::debug!("the compute service had no use for {name} of port {tag}, instance {server}: {code}");
            }
            code => tracing::warn!("the compute service failed at {name} of port {tag}, instance {server}: {code:?}"),
        }
    }
}
