//! From settings to an endpoint with a token: directly, or by Keystone and its catalogue.

use std::time::Duration;

use oslo::http::{HttpError, Tls};
use oslo::keystone::{Auth, Domain, Identity, KeystoneError, Method, Named, Options, Scope, Target};

use super::error::ClientError;
use super::http::failed;
use super::settings::Settings;

/// Where the API is and what opens it.
pub(super) struct Session {
    /// The API's base, ending in `/v2.0`.
    pub base: String,
    /// The token, if one is needed.
    pub token: Option<String>,
    /// Whether Keystone says that the caller is an administrator.
    pub is_admin: bool,
}

/// Finds the API by the settings.
pub(super) async fn open(settings: &Settings, tls: Tls, timeout: Option<Duration>) -> Result<Session, ClientError> {
    let endpoint = settings.get("url").or_else(|| settings.get("endpoint"));
    let token = settings.get("token").map(str::to_owned);
    let without_keystone = matches!(settings.get("auth-type"), Some("none" | "noauth" | "admin_token"))
        || settings.get("auth-strategy") == Some("noauth")
        || (endpoint.is_some() && (token.is_some() || settings.get("auth-url").is_none()));
    if without_keystone {
        let Some(endpoint) = endpoint else {
            return Err(ClientError::Refused(
                "Auth plugin requires parameters which were not given: endpoint (set OS_ENDPOINT or --os-url)".into(),
            ));
        };
        return Ok(Session { base: versioned(endpoint), token, is_admin: false });
    }
    let Some(auth_url) = settings.get("auth-url") else {
        return Err(ClientError::Refused(
            "Auth plugin requires parameters which were not given: auth_url (set OS_AUTH_URL, or OS_URL, or OS_CLOUD)"
                .into(),
        ));
    };
    let auth_url = auth_url.trim_end_matches('/').trim_end_matches("/v2.0");
    let auth_url = if auth_url.ends_with("/v3") { auth_url.to_owned() } else { format!("{auth_url}/v3") };
    let (method, scope) = credentials(settings)?;
    let auth = Auth::Identity(Identity { auth_url: auth_url.clone(), method, scope });
    let told = |error| told(error, &format!("{auth_url}/auth/tokens"));
    let session = oslo::keystone::Session::new(auth, &Options { tls, timeout, connect_retries: 0 });
    let session = session.map_err(|error| told(error.into()))?;
    let access = session.access().await.map_err(told)?;
    let base = session.locate(&target(settings, endpoint)).await.map_err(told)?;
    let is_admin = access.iter().any(|access| access.info.roles.iter().any(|role| role == "admin"));
    Ok(Session { base: versioned(&base), token: access.map(|access| access.token.reveal().to_owned()), is_admin })
}

/// What went wrong, for the person at the terminal.
fn told(error: KeystoneError, url: &str) -> ClientError {
    match error {
        KeystoneError::Http(error @ HttpError::Certificates { .. }) => ClientError::Refused(error.to_string()),
        KeystoneError::Http(error) => failed(error, url),
        KeystoneError::Refused { reason, status, .. } => ClientError::Refused(format!("{reason}. (HTTP {status})")),
        KeystoneError::NoEndpoint { service, interfaces, place } => {
            ClientError::Refused(format!("{interfaces} endpoint for {service} service{place} not found"))
        }
        other => ClientError::Refused(other.to_string()),
    }
}

/// Where the network service is to be looked for.
fn target(settings: &Settings, endpoint: Option<&str>) -> Target {
    Target {
        service: settings.get("service-type").unwrap_or("network").to_owned(),
        interfaces: vec![settings.get("endpoint-type").unwrap_or("public").trim_end_matches("URL").to_owned()],
        region: settings.get("region-name").map(str::to_owned),
        endpoint_override: endpoint.map(str::to_owned),
    }
}

fn versioned(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v2.0") { endpoint.to_owned() } else { format!("{endpoint}/v2.0") }
}

/// Who asks, and for what.
fn credentials(settings: &Settings) -> Result<(Method, Scope), ClientError> {
    let need = |name: &str| {
        settings.get(name).map(str::to_owned).ok_or_else(|| {
            let name = name.replace('-', "_");
            ClientError::Refused(format!("Auth plugin requires parameters which were not given: {name}"))
        })
    };
    if settings.get("application-credential-id").is_some() {
        let (credential, secret) = (Ok(need("application-credential-id")?), need("application-credential-secret")?);
        return Ok((Method::ApplicationCredential { credential, user: None, secret }, Scope::Unscoped));
    }
    let method = match settings.get("token") {
        Some(token) if settings.get("password").is_none() => Method::Token(token.to_owned()),
        _ => {
            let user = match settings.get("user-id") {
                Some(id) => Named::Id(id.to_owned()),
                None => Named::Name(need("username")?, domain(settings, "user")),
            };
            Method::Password { user, password: need("password")? }
        }
    };
    let scope = match (settings.get("project-id"), settings.get("project-name")) {
        (Some(id), _) => Scope::Project(Named::Id(id.to_owned())),
        (None, Some(name)) => Scope::Project(Named::Name(name.to_owned(), domain(settings, "project"))),
        (None, None) => Scope::Unscoped,
    };
    Ok((method, scope))
}

fn domain(settings: &Settings, of: &str) -> Domain {
    let get = |end: &str| settings.get(&format!("{of}-domain-{end}")).map(str::to_owned);
    match (get("id"), get("name"), settings.get("default-domain")) {
        (Some(id), ..) => Domain::Id(id),
        (None, Some(name), _) => Domain::Name(name),
        (None, None, Some(id)) => Domain::Id(id.to_owned()),
        (None, None, None) => Domain::default(),
    }
}
