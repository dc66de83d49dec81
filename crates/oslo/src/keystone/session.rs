//! A service as a user of Keystone: its token, its view of the catalogue, and requests in its name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;

use super::{Access, Auth, Identity, KeystoneError, Target};
use crate::context::Token;
use crate::http::{Client, HttpError, Tls};

/// The longest wait for an answer where nothing else is configured.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The pause before a first further attempt to connect; it doubles with each.
const PAUSE: Duration = Duration::from_millis(500);

const AGENT: &str = concat!("isospin/", env!("CARGO_PKG_VERSION"));

/// The name of the header that carries our token.
const AUTH_TOKEN: &str = "x-auth-token";

/// How requests are sent.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whom we trust and how we show ourselves.
    pub tls: Tls,
    /// The longest wait for an answer; 60 s if unset.
    pub timeout: Option<Duration>,
    /// Further attempts when a peer cannot be reached.
    pub connect_retries: u32,
}

/// A service that has authenticated, or will when it must. Clones share the token and the connections.
///
/// However many tasks need a token at once, one request fetches it; if it fails, it fails for all of them.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    client: Client,
    auth: Auth,
    timeout: Duration,
    connect_retries: u32,
    access: Mutex<Option<Arc<Access>>>,
    /// Held while a token is fetched, with how the last attempt failed.
    fetching: tokio::sync::Mutex<Option<(Instant, KeystoneError)>>,
    /// Where version 3 of the identity API was found, by the URL that led to it.
    versioned: Mutex<HashMap<String, String>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Session").field(&self.0.auth).finish()
    }
}

impl Session {
    /// A session that authenticates when its token is first needed. Certificates are read now.
    pub fn new(auth: Auth, options: &Options) -> Result<Self, HttpError> {
        Ok(Self(Arc::new(Inner {
            client: Client::new(&options.tls)?,
            auth,
            timeout: options.timeout.unwrap_or(TIMEOUT),
            connect_retries: options.connect_retries,
            access: Mutex::new(None),
            fetching: tokio::sync::Mutex::new(None),
            versioned: Mutex::new(HashMap::new()),
        })))
    }

    /// Our token; `None` where there is to be none.
    pub async fn token(&self) -> Result<Option<Token>, KeystoneError> {
        match &self.0.auth {
            Auth::None { .. } => Ok(None),
            Auth::AdminToken { token, .. } => Ok(Some(token.clone())),
            Auth::Identity(identity) => Ok(Some(self.access_of(identity).await?.token.clone())),
        }
    }

    /// Our token with who we are and the catalogue; `None` where Keystone is not asked.
    pub async fn access(&self) -> Result<Option<Arc<Access>>, KeystoneError> {
        match &self.0.auth {
            Auth::Identity(identity) => self.access_of(identity).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The URL of a service, without a slash at its end. Interfaces are `public`, `internal` or `admin`.
    pub async fn endpoint(
        &self,
        service: &str,
        interface: &str,
        region: Option<&str>,
    ) -> Result<String, KeystoneError> {
        let interfaces = vec![interface.to_owned()];
        let region = region.map(str::to_owned);
        self.locate(&Target { service: service.to_owned(), interfaces, region, endpoint_override: None }).await
    }

    /// The URL of a service where several interfaces will do, or where it may be configured; without a slash at its end.
    pub async fn locate(&self, target: &Target) -> Result<String, KeystoneError> {
        let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
        if let Some(url) = &target.endpoint_override {
            return Ok(trimmed(url));
        }
        match &self.0.auth {
            Auth::Identity(identity) => Ok(trimmed(self.access_of(identity).await?.catalog.find(target)?)),
            Auth::AdminToken { endpoint, .. } | Auth::None { endpoint: Some(endpoint) } => Ok(trimmed(endpoint)),
            Auth::None { endpoint: None } => super::Catalog::default().find(target).map(trimmed),
        }
    }

    /// Where version 3 of the identity API is that validates tokens.
    pub async fn identity(&self, interface: &str, region: Option<&str>) -> Result<String, KeystoneError> {
        let url = self.endpoint("identity", interface, region).await?;
        self.versioned(&url).await
    }

    /// Where callers without a token are best sent: the URL that we ourselves authenticate at.
    pub fn auth_url(&self) -> Option<&str> {
        match &self.0.auth {
            Auth::Identity(identity) => Some(&identity.auth_url),
            _ => None,
        }
    }

    /// Who authenticates, for messages.
    pub fn who(&self) -> String {
        match &self.0.auth {
            Auth::Identity(identity) => identity.who(),
            Auth::AdminToken { .. } => "the token that is configured".to_owned(),
            Auth::None { .. } => "nobody".to_owned(),
        }
    }

    /// Sends a request in our name. A peer that does not take our token gets the request once more with a new one; a
    /// peer that cannot be reached is tried again as often as configured. The answer may have any status.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, KeystoneError> {
        let token = self.token().await?;
        let response = self.send_with(&request, token.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !matches!(self.0.auth, Auth::Identity(_)) {
            return Ok(response);
        }
        if let Some(token) = &token {
            self.forget(token);
        }
        let renewed = self.token().await?;
        if renewed == token { Ok(response) } else { self.send_with(&request, renewed.as_ref()).await }
    }

    /// Gives up a token that a peer did not take, unless there is a newer one already.
    pub fn forget(&self, token: &Token) {
        self.0.access.lock().take_if(|access| access.token == *token);
    }

    async fn send_with(
        &self,
        request: &Request<Bytes>,
        token: Option<&Token>,
    ) -> Result<Response<Bytes>, KeystoneError> {
        let mut request = request.clone();
        if let Some(mut value) = token.and_then(|token| HeaderValue::from_str(token.reveal()).ok()) {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTH_TOKEN, value);
        }
        Ok(self.deliver(request).await?)
    }

    /// Sends a request as it is, again if the peer cannot be reached.
    async fn deliver(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        let mut pause = PAUSE;
        let mut attempts = self.0.connect_retries;
        loop {
            match self.0.client.send(request.clone(), self.0.timeout).await {
                Err(HttpError::Connect { .. }) if attempts > 0 => {
                    attempts -= 1;
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
    }

    fn fresh(&self) -> Option<Arc<Access>> {
        self.0.access.lock().clone().filter(|access| Instant::now() < access.stale)
    }

    async fn access_of(&self, identity: &Identity) -> Result<Arc<Access>, KeystoneError> {
        if let Some(access) = self.fresh() {
            return Ok(access);
        }
        let arrived = Instant::now();
        let mut failed = self.0.fetching.lock().await;
        if let Some(access) = self.fresh() {
            return Ok(access);
        }
        if let Some((_, error)) = failed.as_ref().filter(|(when, _)| *when >= arrived) {
            return Err(error.clone());
        }
        match self.authenticate(identity).await {
            Ok(access) => {
                *failed = None;
                let access = Arc::new(access);
                *self.0.access.lock() = Some(Arc::clone(&access));
                Ok(access)
            }
            Err(error) => {
                *failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn authenticate(&self, identity: &Identity) -> Result<Access, KeystoneError> {
        let base = self.versioned(&identity.auth_url).await?;
        let request = post(&format!("{base}/auth/tokens"), &identity.request())?;
        let response = self.deliver(request).await?;
        let (status, body) = (response.status().as_u16(), json(&response));
        let token = response.headers().get("x-subject-token").and_then(|value| value.to_str().ok());
        match (status, token.and_then(|token| Access::read(token, &body))) {
            (200 | 201, Some(access)) => Ok(access),
            (400 | 401 | 403 | 404, _) => {
                let reason = said(&body);
                Err(KeystoneError::Refused { who: identity.who(), status, reason })
            }
            _ => Err(unexpected(&base, "a token", status, &body)),
        }
    }

    /// Where version 3 is behind a URL, which may lead to it directly or to a list of versions.
    async fn versioned(&self, url: &str) -> Result<String, KeystoneError> {
        let url = url.trim_end_matches('/');
        if url.ends_with("/v3") {
            return Ok(url.to_owned());
        }
        let url = url.strip_suffix("/v2.0").unwrap_or(url);
        if let Some(known) = self.0.versioned.lock().get(url) {
            return Ok(known.clone());
        }
        let request = Request::get(format!("{url}/")).body(Bytes::new());
        let request = request.map_err(|_| HttpError::Url { url: url.to_owned() })?;
        let response = self.deliver(request).await?;
        let found = match response.status().as_u16() {
            200 | 300 => version_3(&json(&response)).map(|link| absolute(url, &link)),
            500.. => return Err(unexpected(url, "a list of versions", response.status().as_u16(), &json(&response))),
            _ => None,
        };
        let found = found.ok_or_else(|| KeystoneError::NoVersion { url: url.to_owned() })?;
        self.0.versioned.lock().insert(url.to_owned(), found.clone());
        Ok(found)
    }
}

/// A request with a JSON body.
pub(super) fn post(url: &str, body: &Value) -> Result<Request<Bytes>, HttpError> {
    Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .body(Bytes::from(body.to_string()))
        .map_err(|_| HttpError::Url { url: url.to_owned() })
}

/// The body of an answer as JSON; null if it is none.
pub(super) fn json(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or_default()
}

/// What an answer of Keystone says of a failure.
pub(super) fn said(body: &Value) -> String {
    let message = body["error"]["message"].as_str().unwrap_or("no reason is given");
    message.trim_end_matches('.').to_owned()
}

pub(super) fn unexpected(peer: &str, wanted: &'static str, status: u16, body: &Value) -> KeystoneError {
    KeystoneError::Unexpected { peer: peer.to_owned(), wanted, status, reason: said(body) }
}

/// The link to version 3 in a list of versions, or in the description of that version itself.
fn version_3(body: &Value) -> Option<String> {
    let list = body["versions"]["values"].as_array().or_else(|| body["versions"].as_array());
    let each = list.into_iter().flatten().chain(body.get("version"));
    let is_ours = |version: &&Value| version["id"].as_str().is_some_and(|id| id == "v3" || id.starts_with("v3."));
    let links = each.filter(is_ours).filter_map(|version| version["links"].as_array()).flatten();
    let own = links.filter(|link| link["rel"] == "self").find_map(|link| link["href"].as_str());
    own.map(|link| link.trim_end_matches('/').to_owned())
}

/// A link as found at a URL: links may leave out scheme and host.
fn absolute(url: &str, link: &str) -> String {
    if link.starts_with("http://") || link.starts_with("https://") {
        return link.to_owned();
    }
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let host_end = url[after_scheme..].find('/').map_or(url.len(), |at| after_scheme + at);
    if link.starts_with('/') { format!("{}{link}", &url[..host_end]) } else { format!("{url}/{link}") }
}

#[cfg(test)]
mod tests;
