//! Who makes a request: everybody is trusted, or Keystone says whose token it carries.
//!
//! Headers in which clients say who they are count for nothing where Keystone is asked. A request that it refuses, or that
//! it cannot be asked about, goes no further: its body is not even read. Only what lies outside `/v2.0` is open to all.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
};
use oslo::{
    config::{Config, ConfigError},
    context::{Context, is_request_id},
    keystone::middleware::{Caller, Middleware, Rejection},
};
use serde_json::Value;
use tracing::Instrument;

use super::{healthcheck::preferred, request};
use crate::ctx::Parts;

/// The project of callers when nobody authenticates them, as upstream's `noauth` has it.
const NOAUTH_PROJECT: &str = "fake_project_id";

/// The body of a refusal, byte for byte as keystonemiddleware has it.
const UNAUTHORIZED: &str = "{\"error\": {\"code\": 401, \"title\": \"Unauthorized\", \"message\": \"The request you have made \
                            requires authentication.\"}}";

/// How callers are known: `auth_strategy`.
#[derive(Debug, Clone, Default)]
pub enum Strategy {
    /// Not at all: everybody is an administrator, of the project in `X-Project-Id`.
    #[default]
    Noauth,
    /// By their tokens.
    Keystone(Middleware),
}

impl Strategy {
    /// As the configuration says. Nothing is asked of Keystone yet.
    pub fn from_oslo(options: &Config) -> Result<Self, ConfigError> {
        match options.get::<String>("DEFAULT", "auth_strategy")?.as_str() {
            "noauth" => Ok(Self::Noauth),
            _ => Middleware::from_config(options).map(Self::Keystone),
        }
    }
}

/// The caller, and the answer to give it instead of what it asks for if it is refused.
pub(super) async fn admit(
    parts: &Parts,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> (Context, Option<Response<Body>>) {
    let Strategy::Keystone(middleware) = &parts.auth else { return (trusted(headers), None) };
    let mut context = Context { global_request_id: global_request_id(headers), ..Context::anonymous() };
    if !needs_token(path) {
        return (context, None);
    }
    let span = oslo::log::request_span(&context);
    let asked = async {
        match middleware.caller(headers, method, path).await {
            Ok(caller) => Ok(caller),
            Err(rejection) => Err(refusal(rejection, middleware, headers).await),
        }
    };
    match asked.instrument(span).await {
        Ok(caller) => {
            fill(&mut context, &caller);
            parts.config.policy.admit(&mut context);
            (context, None)
        }
        Err(response) => (context, Some(response)),
    }
}

/// Whether a request is for what only known callers may ask. It is read as [`super::Request`] reads it, so that no way of
/// writing a path leads around.
fn needs_token(path: &str) -> bool {
    request::segments(path).is_ok_and(|(path, _)| path.first().is_some_and(|version| version == "v2.0"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty())
}

fn global_request_id(headers: &HeaderMap) -> Option<String> {
    text(headers, "x-openstack-request-id").filter(|id| is_request_id(id)).map(str::to_owned)
}

fn trusted(headers: &HeaderMap) -> Context {
    let mut context = Context::admin();
    context.project_id = Some(text(headers, "x-project-id").unwrap_or(NOAUTH_PROJECT).to_owned());
    context.user_id = text(headers, "x-user-id").map(str::to_owned);
    context.global_request_id = global_request_id(headers);
    context
}

fn fill(context: &mut Context, caller: &Caller) {
    let user = &caller.user;
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    context.user_id = some(&user.user.id);
    context.user_name = some(&user.user.name);
    context.user_domain_id = some(&user.user.domain_id);
    if let Some(project) = &user.project {
        context.project_id = some(&project.id);
        context.project_name = some(&project.name);
        context.project_domain_id = some(&project.domain_id);
    }
    context.domain_id = user.domain.as_ref().and_then(|(id, _)| some(id));
    context.system_scope = user.is_system.then(|| "all".to_owned());
    context.roles.clone_from(&user.roles);
    context.is_admin_project = user.is_admin_project;
    context.auth_token = Some(caller.token.clone());
    context.service_roles = caller.service.as_ref().map(|service| service.roles.clone()).unwrap_or_default();
}

/// The answers that keystonemiddleware and WebOb give.
async fn refusal(rejection: Rejection, middleware: &Middleware, headers: &HeaderMap) -> Response<Body> {
    let (status, explanation, detail) = match rejection {
        Rejection::Unauthorized => {
            let response = respond(StatusCode::UNAUTHORIZED, "application/json", UNAUTHORIZED.to_owned());
            return challenged(response, middleware).await;
        }
        Rejection::Nobody => (
            StatusCode::UNAUTHORIZED,
            "This server could not verify that you are authorized to access the document you requested. Either you \
             supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply the \
             credentials required.",
            "",
        ),
        Rejection::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The server is currently unavailable. Please try again at a later time.",
            "The Keystone service is temporarily unavailable.",
        ),
        Rejection::Broken => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "The server has either erred or is incapable of performing the requested operation.",
            "",
        ),
    };
    let response = explained(status, explanation, detail, headers);
    if rejection == Rejection::Nobody { challenged(response, middleware).await } else { response }
}

async fn challenged(mut response: Response<Body>, middleware: &Middleware) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(&middleware.challenge().await) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

/// A failure as WebOb words it, in the type that the client likes best.
fn explained(status: StatusCode, explanation: &str, detail: &str, headers: &HeaderMap) -> Response<Body> {
    let offers = ["text/html", "application/json"];
    let title = status.canonical_reason().unwrap_or_default();
    let title_line = format!("{} {title}", status.as_u16());
    let body = format!("{explanation}<br /><br />\n{detail}\n\n");
    match preferred(text(headers, "accept"), &offers, "text/plain") {
        "text/html" => {
            let html = format!(
                "<html>\n <head>\n  <title>{title_line}</title>\n </head>\n <body>\n  <h1>{title_line}</h1>\n  \
                 {body}\n\n </body>\n</html>"
            );
            respond(status, "text/html; charset=UTF-8", html)
        }
        "application/json" => {
            let json =
                format!("{{\"message\": {}, \"code\": \"{title_line}\", \"title\": \"{title}\"}}", Value::from(body));
            respond(status, "application/json", json)
        }
        _ => respond(status, "text/plain; charset=UTF-8", format!("{title_line}\n\n{explanation}\n\n {detail}  ")),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use oslo::{
        context::Token,
        keystone::{Owner, TokenInfo},
    };

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    async fn body(response: Response<Body>) -> String {
        String::from_utf8(axum::body::to_bytes(response.into_body(), 10_000).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn failures_are_worded_as_ever() {
        let detail = "The Keystone service is temporarily unavailable.";
        let explanation = "The server is currently unavailable. Please try again at a later time.";
        for (accept, expected) in [
            (
                None,
                "503 Service Unavailable\n\nThe server is currently unavailable. Please try again at a later time.\n\n \
                 The Keystone service is temporarily unavailable.  ",
            ),
            (
                Some("application/json"),
                "{\"message\": \"The server is currently unavailable. Please try again at a later time.<br /><br />\\nThe \
                 Keystone service is temporarily unavailable.\\n\\n\", \"code\": \"503 Service Unavailable\", \"title\": \
                 \"Service Unavailable\"}",
            ),
            (
                Some("*/*"),
                "<html>\n <head>\n  <title>503 Service Unavailable</title>\n </head>\n <body>\n  <h1>503 Service \
                 Unavailable</h1>\n  The server is currently unavailable. Please try again at a later time.<br /><br />\
                 \nThe Keystone service is temporarily unavailable.\n\n\n\n </body>\n</html>",
            ),
        ] {
            let headers = accept.map(|accept| headers(&[("accept", accept)])).unwrap_or_default();
            let response = explained(StatusCode::SERVICE_UNAVAILABLE, explanation, detail, &headers);
            assert_eq!(body(response).await, expected);
        }
    }

    #[test]
    fn no_way_of_writing_a_path_leads_around() {
        for path in ["/v2.0", "/v2.0/", "/v2.0/networks", "/%762.0/networks", "/v2%2E0/ports"] {
            assert!(needs_token(path), "{path}");
        }
        for path in ["/", "/v2.1/networks", "/healthcheck", "/v2.0.json.x"] {
            assert!(!needs_token(path), "{path}");
        }
    }

    #[test]
    fn a_caller_is_what_its_token_says() {
        let owner = |id: &str| Owner { id: id.into(), name: id.to_uppercase(), ..Owner::default() };
        let user = TokenInfo {
            user: owner("u1"),
            project: Some(owner("p1")),
            roles: vec!["member".into()],
            is_admin_project: true,
            ..TokenInfo::default()
        };
        let service = TokenInfo { roles: vec!["service".into()], ..TokenInfo::default() };
        let caller = Caller { user: Arc::new(user), token: Token::new("t"), service: Some(Arc::new(service)) };
        let mut context = Context::anonymous();
        fill(&mut context, &caller);
        assert_eq!((context.user_id.as_deref(), context.user_name.as_deref()), (Some("u1"), Some("U1")));
        assert_eq!((context.project_id.as_deref(), context.project_domain_id), (Some("p1"), None));
        assert_eq!((context.roles, context.service_roles), (vec!["member".to_owned()], vec!["service".to_owned()]));
        assert!(!context.is_admin && context.system_scope.is_none());
    }
}
