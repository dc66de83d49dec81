//! Keystone in front of a service: whose token a request carries, and whether it is any good.
//!
//! A token is looked for in the process, then in memcached if configured, and then Keystone is asked in the name of the
//! service. What Keystone said is kept for a while, so tokens that were seen go on while Keystone is away, and a token
//! that was revoked goes on for as long. What is no token is not kept. However many requests carry one token at once,
//! Keystone is asked once; it is never asked about more than a few tokens at once, and for a moment not at all when it
//! could not be reached. Headers in which a client says who it is count for nothing: callers are made of tokens only.

mod access_rules;
mod bind;
mod cache;
mod flight;
mod protection;
mod settings;
mod validation;

use std::sync::Arc;

use hyper::{HeaderMap, Method};
use tokio::sync::OnceCell;

pub use bind::Bind;
pub use protection::Protection;
pub use settings::{Keep, Settings};

use super::{Session, TokenInfo};
use crate::config::{Config, ConfigError};
use crate::context::Token;
use validation::{Failure, Validator};

/// The section that all of this is configured in.
pub const SECTION: &str = "keystone_authtoken";

/// No token is as long as this.
const LONGEST: usize = 16 * 1024;

/// Who makes a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user for whom it is made.
    pub user: Arc<TokenInfo>,
    /// The token of that user.
    pub token: Token,
    /// The service that makes it for the user, if it says so.
    pub service: Option<Arc<TokenInfo>>,
}

/// Why a request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// 401: there is no valid token.
    Unauthorized,
    /// 401 by the service itself, to which requests without valid token are passed on.
    Nobody,
    /// 503: Keystone could not be asked.
    Unavailable,
    /// 500: Keystone cannot be found, whoever asks.
    Broken,
}

/// Finds out who makes requests. Clones share what is known.
#[derive(Debug, Clone)]
pub struct Middleware(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    session: Session,
    settings: Settings,
    validator: Arc<Validator>,
    /// The challenge, once it is known.
    challenge: OnceCell<String>,
}

impl Middleware {
    /// As `[keystone_authtoken]` says.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let settings = Settings::read(config)?;
        let Some(mut how) = super::Settings::read(config, SECTION)? else {
            let problem = "auth_strategy is keystone, and nothing says how to authenticate there";
            return Err(config.refuse(SECTION, "auth_type", problem, &["password", "v3applicationcredential"]));
        };
        how.options.connect_retries = settings.connect_retries;
        Ok(Self::new(how.session(config, SECTION)?, settings))
    }

    /// Validates tokens in the name of a session.
    pub fn new(session: Session, settings: Settings) -> Self {
        if !settings.service_roles_required {
            tracing::warn!(
                "[keystone_authtoken] service_token_roles_required is false: whoever has a token can use it as the \
                 token of a service"
            );
        }
        if settings.www_authenticate_uri.is_none() {
            tracing::warn!(
                "[keystone_authtoken] www_authenticate_uri is unset: callers without token are sent to auth_url, which \
                 they may not be able to reach"
            );
        }
        let validator = Arc::new(Validator::new(session.clone(), &settings));
        Self(Arc::new(Inner { session, settings, validator, challenge: OnceCell::new() }))
    }

    /// Who makes a request.
    pub async fn caller(&self, headers: &HeaderMap, method: &Method, path: &str) -> Result<Caller, Rejection> {
        let found = self.find(headers, method, path).await;
        match found {
            Err(Failure::Invalid) => Err(self.unauthorized()),
            Err(Failure::Unavailable) if self.0.settings.delay_auth_decision => Err(Rejection::Nobody),
            Err(Failure::Unavailable) => Err(Rejection::Unavailable),
            Err(Failure::Broken) => Err(Rejection::Broken),
            Ok(caller) => Ok(caller),
        }
    }

    /// The header `WWW-Authenticate` of a refusal: where to get a token.
    pub async fn challenge(&self) -> String {
        let uri = self.0.challenge.get_or_init(async || match &self.0.settings.www_authenticate_uri {
            Some(uri) => uri.clone(),
            None => self.0.session.auth_url().unwrap_or_default().to_owned(),
        });
        format!("Keystone uri=\"{}\"", uri.await)
    }

    fn unauthorized(&self) -> Rejection {
        if self.0.settings.delay_auth_decision { Rejection::Nobody } else { Rejection::Unauthorized }
    }

    async fn find(&self, headers: &HeaderMap, method: &Method, path: &str) -> Result<Caller, Failure> {
        let service_token = header(headers, "x-service-token");
        let user_token = header(headers, "x-auth-token").or_else(|| header(headers, "x-storage-token"));
        let service = match service_token {
            Some(token) => Some(self.service(token?).await),
            None => None,
        };
        // A service that is none is told so only after the user: whatever keeps Keystone from answering comes first.
        let (allow_expired, service) = match service {
            Some(Ok((info, trusted))) => (trusted, Ok(Some(info))),
            Some(Err(Failure::Invalid)) => (false, Err(Failure::Invalid)),
            Some(Err(failure)) => return Err(failure),
            None => (false, Ok(None)),
        };
        let token = user_token.ok_or(Failure::Invalid)??;
        let user = self.0.validator.validate(token, allow_expired).await?;
        if user.is_expired() && !allow_expired {
            return Err(Failure::Invalid);
        }
        let settings = &self.0.settings;
        access_rules::check(&user, settings.service_type.as_deref(), method, path, service_token.is_some())?;
        if service_token.is_none() {
            settings.bind.check(&user)?;
        }
        Ok(Caller { user, token: Token::new(token), service: service? })
    }

    /// The service that a token belongs to, and whether it may use tokens of users that have ended.
    async fn service(&self, token: &str) -> Result<(Arc<TokenInfo>, bool), Failure> {
        let info = self.0.validator.validate(token, false).await?;
        if info.is_expired() {
            return Err(Failure::Invalid);
        }
        let settings = &self.0.settings;
        settings.bind.check(&info)?;
        let trusted = info.roles.iter().any(|role| settings.service_roles.contains(role));
        if settings.service_roles_required && !trusted {
            tracing::info!("a service token has none of the roles {}", settings.service_roles.join(", "));
            return Err(Failure::Invalid);
        }
        Ok((info, trusted))
    }
}

/// A token in a header, if the header is there and not empty; an error if it holds what no token can be.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<Result<&'a str, Failure>> {
    let value = headers.get(name)?;
    let text = value.to_str().map(str::trim);
    match text {
        Ok("") => None,
        Ok(text) if text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic()) => Some(Ok(text)),
        _ => Some(Err(Failure::Invalid)),
    }
}
