//! Asking the caches, and then Keystone, about a token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Request;
use hyper::header::HeaderValue;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::super::session::{json, unexpected};
use super::super::{KeystoneError, Session, TokenInfo};
use super::cache::{self, Cache, Key};
use super::flight::Flights;
use super::settings::{Keep, Settings};

/// Tokens that Keystone is asked about at once.
const AT_ONCE: usize = 16;

/// How long Keystone is not asked after it could not be reached: long enough for a crowd to be told at once, short enough
/// for nobody to notice when it is back.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest time for which what memcached says is believed without looking again: those who empty it mean it.
const SECOND_HAND: Duration = Duration::from_secs(10);

/// The longest time that any token is kept.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why a token is not known to be good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is not.
    Invalid,
    /// Keystone could not be asked.
    Unavailable,
    /// The catalogue does not say where Keystone is.
    Broken,
}

/// What is known of a token.
type Found = Result<Arc<TokenInfo>, Failure>;

/// Tells tokens from what is none.
#[derive(Debug)]
pub(super) struct Validator {
    session: Session,
    settings: Settings,
    cache: Cache,
    flights: Arc<Flights<(Key, bool), Found>>,
    permits: Semaphore,
    pause_until: Mutex<Option<Instant>>,
}

impl Validator {
    pub(super) fn new(session: Session, settings: &Settings) -> Self {
        Self {
            session,
            settings: settings.clone(),
            cache: Cache::default(),
            flights: Arc::default(),
            permits: Semaphore::new(AT_ONCE),
            pause_until: Mutex::new(None),
        }
    }

    /// What is known of a token. It may have ended in the meantime. With `allow_expired`, Keystone tells also of tokens
    /// that have ended not too long ago.
    pub(super) async fn validate(self: &Arc<Self>, token: &str, allow_expired: bool) -> Found {
        let key = cache::key(token);
        if let Some(info) = self.cache.get(&key) {
            return Ok(info);
        }
        let (this, token) = (Arc::clone(self), token.to_owned());
        let ask = async move { this.look_up(key, &token, allow_expired).await };
        let found = self.flights.join((key, allow_expired), ask).await;
        found.unwrap_or(Err(Failure::Unavailable))
    }

    async fn look_up(&self, key: Key, token: &str, allow_expired: bool) -> Found {
        let envelope = self.settings.memcached.as_ref().map(|_| self.settings.protection.envelope(token));
        if let (Some(memcached), Some(envelope)) = (&self.settings.memcached, &envelope)
            && let Some(stored) = memcached.get(&envelope.key).await
            && let Some(text) = envelope.open(stored)
            && let Some(info) = serde_json::from_slice::<Value>(&text).ok().as_ref().and_then(TokenInfo::read)
        {
            let info = Arc::new(info);
            if let Some(time) = self.keep(&info) {
                self.cache.put(key, &info, time.min(SECOND_HAND));
            }
            return Ok(info);
        }
        let (info, body) = self.ask(token, allow_expired).await?;
        let info = Arc::new(info);
        if let Some(time) = self.keep(&info) {
            self.cache.put(key, &info, time);
            if let (Some(memcached), Some(envelope)) = (&self.settings.memcached, &envelope) {
                memcached.set(&envelope.key, &envelope.close(&body), Some(time)).await;
            }
        }
        Ok(info)
    }

    /// How long to keep what is known of a token.
    fn keep(&self, info: &TokenInfo) -> Option<Duration> {
        let time = match self.settings.keep {
            Keep::Never => return None,
            Keep::For(time) => time,
            Keep::UntilExpiry => (info.expires_at - chrono::Utc::now()).to_std().ok()?,
        };
        Some(time.min(LONGEST))
    }

    /// Asks Keystone, unless it could not be reached a moment ago.
    async fn ask(&self, token: &str, allow_expired: bool) -> Result<(TokenInfo, Bytes), Failure> {
        let wait = tokio::time::timeout(self.settings.timeout, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = wait else { return Err(Failure::Unavailable) };
        if self.pause_until.lock().is_some_and(|until| Instant::now() < until) {
            return Err(Failure::Unavailable);
        }
        let failed = match self.request(token, allow_expired).await {
            Ok(found) => return found.ok_or(Failure::Invalid),
            Err(error) => error,
        };
        if matches!(failed, KeystoneError::Http(_) | KeystoneError::Refused { .. } | KeystoneError::NoVersion { .. }) {
            *self.pause_until.lock() = Some(Instant::now() + PAUSE);
        }
        let who = self.session.who();
        tracing::error!("cannot validate tokens as {who}: {failed}; see [keystone_authtoken]");
        match failed {
            KeystoneError::NoEndpoint { .. } => {
                // The catalogue may be mended at any time, and it comes with our token.
                if let Ok(Some(token)) = self.session.token().await {
                    self.session.forget(&token);
                }
                Err(Failure::Broken)
            }
            _ => Err(Failure::Unavailable),
        }
    }

    /// What Keystone says of a token, and its very words; `None` if it is none.
    async fn request(&self, token: &str, allow_expired: bool) -> Result<Option<(TokenInfo, Bytes)>, KeystoneError> {
        let Ok(mut subject) = HeaderValue::from_str(token) else { return Ok(None) };
        subject.set_sensitive(true);
        let base = self.session.identity(&self.settings.interface, self.settings.region.as_deref()).await?;
        let flags =
            [(!self.settings.include_catalog).then_some("nocatalog"), allow_expired.then_some("allow_expired=1")];
        let flags: Vec<&str> = flags.into_iter().flatten().collect();
        let query = if flags.is_empty() { String::new() } else { format!("?{}", flags.join("&")) };
        let url = format!("{base}/auth/tokens{query}");
        let request = Request::get(&url).header("x-subject-token", subject);
        let request = request.header("openstack-identity-access-rules", "1").body(Bytes::new());
        let request = request.map_err(|_| crate::http::HttpError::Url { url })?;
        let response = self.session.send(request).await?;
        match response.status().as_u16() {
            200 => match TokenInfo::read(&json(&response)) {
                Some(info) => Ok(Some((info, response.into_body()))),
                None => {
                    tracing::warn!("{base} tells of a token in a way that is not understood");
                    Ok(None)
                }
            },
            404 => Ok(None),
            status => Err(unexpected(&base, "the validation of a token", status, &json(&response))),
        }
    }
}
