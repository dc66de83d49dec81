//! Answers: a status, a body, the request id.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use serde::Serialize;
use serde_json::json;

use crate::{Error, Refusal};

/// What a verb answers, before headers.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    body: Option<Body>,
    content_type: &'static str,
}

impl Answer {
    /// A JSON body.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(body).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self::bytes(status, bytes))
    }

    /// A body that is JSON already.
    pub fn bytes(status: StatusCode, bytes: Vec<u8>) -> Self {
        Self { status, body: Some(bytes.into()), content_type: "application/json" }
    }

    /// A JSON body sent as it is made.
    pub fn stream(body: Body) -> Self {
        Self { status: StatusCode::OK, body: Some(body), content_type: "application/json" }
    }

    /// Plain text.
    pub fn text(status: StatusCode, text: &'static str) -> Self {
        Self { status, body: Some(text.into()), content_type: "text/plain; charset=UTF-8" }
    }

    /// No body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, body: None, content_type: "" }
    }

    /// The `NeutronError` body of a refusal.
    pub fn refusal(refusal: &Refusal) -> Self {
        if refusal.is_bare() {
            let body = json!({"type": "HTTPNotFound", "message": refusal.message, "detail": ""});
            return Self::bytes(refusal.status, body.to_string().into_bytes());
        }
        let body = json!({"NeutronError": {"type": refusal.kind, "message": refusal.message, "detail": ""}});
        Self::bytes(refusal.status, body.to_string().into_bytes())
    }

    /// With its headers.
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let mut response = Response::new(self.body.unwrap_or_default());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if !self.content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        with_request_id(response, request_id)
    }
}

/// An answer by which its request can be found in the log.
pub(super) fn with_request_id(mut response: Response<Body>, request_id: &str) -> Response<Body> {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-openstack-request-id", id);
    }
    response
}
