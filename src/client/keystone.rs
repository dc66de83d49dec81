//! From settings to an endpoint with a token: directly, or by Keystone v3 and its catalogue.

use hyper::Method;
use serde_json::{Value, json};

use super::error::ClientError;
use super::http::Http;
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
pub(super) async fn open(http: &Http, settings: &Settings) -> Result<Session, ClientError> {
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
    let url = format!("{auth_url}/auth/tokens");
    let answer = http.send(Method::POST, &url, &[], Some(&request(settings)?)).await?;
    let body = answer.json();
    if answer.status != 201 {
        let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or("Keystone refused");
        return Err(ClientError::Refused(format!("{message} (HTTP {})", answer.status)));
    }
    let is_admin = body
        .pointer("/token/roles")
        .and_then(Value::as_array)
        .is_some_and(|roles| roles.iter().any(|role| role["name"] == "admin"));
    let token = answer.header("x-subject-token").map(str::to_owned);
    let base = match endpoint {
        Some(endpoint) => endpoint.to_owned(),
        None => catalogued(&body, settings)?,
    };
    Ok(Session { base: versioned(&base), token, is_admin })
}

fn versioned(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v2.0") { endpoint.to_owned() } else { format!("{endpoint}/v2.0") }
}

/// The body of a token request.
fn request(settings: &Settings) -> Result<Value, ClientError> {
    let missing = |name: &str| {
        ClientError::Refused(format!(
            "Auth plugin requires parameters which were not given: {}",
            name.replace('-', "_")
        ))
    };
    let need = |name: &str| settings.get(name).ok_or_else(|| missing(name));
    if settings.get("application-credential-id").is_some() {
        let id = need("application-credential-id")?;
        let secret = need("application-credential-secret")?;
        let identity =
            json!({"methods": ["application_credential"], "application_credential": {"id": id, "secret": secret}});
        return Ok(json!({"auth": {"identity": identity}}));
    }
    let identity = match settings.get("token") {
        Some(token) if settings.get("password").is_none() => json!({"methods": ["token"], "token": {"id": token}}),
        _ => {
            let mut user = match settings.get("user-id") {
                Some(id) => json!({"id": id}),
                None => json!({"name": need("username")?, "domain": domain(settings, "user")}),
            };
            user["password"] = need("password")?.into();
            json!({"methods": ["password"], "password": {"user": user}})
        }
    };
    let mut auth = json!({"identity": identity});
    if let Some(id) = settings.get("project-id") {
        auth["scope"] = json!({"project": {"id": id}});
    } else if let Some(name) = settings.get("project-name") {
        auth["scope"] = json!({"project": {"name": name, "domain": domain(settings, "project")}});
    }
    Ok(json!({"auth": auth}))
}

fn domain(settings: &Settings, of: &str) -> Value {
    if let Some(id) = settings.get(&format!("{of}-domain-id")) {
        return json!({"id": id});
    }
    match settings.get(&format!("{of}-domain-name")) {
        Some(name) => json!({"name": name}),
        None => json!({"id": settings.get("default-domain").unwrap_or("default")}),
    }
}

/// The URL of the network service in a token's catalogue.
fn catalogued(body: &Value, settings: &Settings) -> Result<String, ClientError> {
    let service_type = settings.get("service-type").unwrap_or("network");
    let interface = settings.get("endpoint-type").unwrap_or("public").trim_end_matches("URL");
    let region = settings.get("region-name");
    let services = body.pointer("/token/catalog").and_then(Value::as_array);
    let mut endpoints = services
        .into_iter()
        .flatten()
        .filter(|service| service["type"] == service_type)
        .filter_map(|service| service["endpoints"].as_array())
        .flatten()
        .filter(|endpoint| endpoint["interface"] == interface)
        .filter(|endpoint| region.is_none_or(|region| endpoint["region_id"] == region || endpoint["region"] == region));
    let url = endpoints.next().and_then(|endpoint| endpoint["url"].as_str()).map(str::to_owned);
    url.ok_or_else(|| {
        let place = region.map(|region| format!(" in {region} region")).unwrap_or_default();
        ClientError::Refused(format!("{interface} endpoint for {service_type} service{place} not found"))
    })
}
