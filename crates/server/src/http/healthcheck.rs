//! `/healthcheck`, by which a load balancer knows whether this server takes requests: oslo.middleware's options and
//! answers.
//!
//! Whether it does is asked of the configured checks: a file whose presence takes the server out of service, files that
//! must be there, and, beyond upstream's, the database. Nobody needs a token to ask, and with `detailed` the answer tells
//! paths, so it is off by default.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use ipnet::IpNet;
use oslo::config::{Config as Options, ConfigError};
use serde_json::json;

use crate::ctx::Parts;

/// The checks that there are.
const CHECKS: [&str; 4] = ["disable_by_file", "disable_by_files_ports", "enable_by_files", "database"];
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Headers by which a proxy is known.
const PROXIED: [&str; 5] =
    ["x-forwarded", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-for", "x-forwarded-prefix"];
/// Types of the answer, the best first.
const TYPES: [&str; 3] = ["text/plain", "text/html", "application/json"];

/// `[healthcheck]`
#[derive(Debug, Clone)]
pub struct Settings {
    checks: Vec<Check>,
    detailed: bool,
    allowed: Vec<IpNet>,
    ignore_proxied: bool,
}

#[derive(Debug, Clone)]
enum Check {
    DisableByFile(Option<String>),
    /// By port.
    DisableByFiles(Vec<(u16, String)>),
    EnableByFiles(Vec<String>),
    Database,
}

/// What a check found.
struct Found {
    available: bool,
    reason: &'static str,
    details: String,
}

/// As upstream's `api-paste.ini` has it.
impl Default for Settings {
    fn default() -> Self {
        let file = Some("/var/lib/neutron/healthcheck_disable".to_owned());
        Self { checks: vec![Check::DisableByFile(file)], detailed: false, allowed: Vec::new(), ignore_proxied: false }
    }
}

impl Settings {
    /// Reads the options.
    pub fn from_oslo(options: &Options) -> Result<Self, ConfigError> {
        let names: Vec<String> = options.get("healthcheck", "backends")?;
        let has = |name: &str| names.iter().any(|known| known == name);
        if has("disable_by_file") && has("enable_by_files") {
            let problem = "disable_by_file and enable_by_files exclude each other";
            return Err(options.refuse("healthcheck", "backends", problem, &["one of the two"]));
        }
        Ok(Self {
            checks: names.iter().map(|name| Check::from_oslo(name, options)).collect::<Result<_, _>>()?,
            detailed: options.get("healthcheck", "detailed")?,
            allowed: networks(options)?,
            ignore_proxied: options.get("healthcheck", "ignore_proxied_requests")?,
        })
    }

    /// Whether a request may be answered at all.
    fn admits(&self, from: Option<IpAddr>, headers: &HeaderMap) -> bool {
        let near = self.allowed.is_empty()
            || from.is_some_and(|from| self.allowed.iter().any(|network| network.contains(&from.to_canonical())));
        near && !(self.ignore_proxied && PROXIED.iter().any(|name| headers.contains_key(*name)))
    }
}

impl Check {
    fn from_oslo(name: &str, options: &Options) -> Result<Self, ConfigError> {
        Ok(match name {
            "disable_by_file" => Self::DisableByFile(options.get("healthcheck", "disable_by_file_path")?),
            "disable_by_files_ports" => Self::DisableByFiles(files_by_port(options)?),
            "enable_by_files" => Self::EnableByFiles(options.get("healthcheck", "enable_by_file_paths")?),
            "database" => Self::Database,
            other => {
                return Err(options.refuse_item("healthcheck", "backends", other, "is no such check", &CHECKS));
            }
        })
    }

    async fn run(&self, parts: &Parts, port: u16) -> Found {
        match self {
            Self::DisableByFile(None) => {
                Found::good("No 'disable_by_file_path' configuration value specified".to_owned())
            }
            Self::DisableByFile(Some(path)) => Found::unless_there(path),
            Self::DisableByFiles(paths) => match paths.iter().find(|(of, _)| *of == port) {
                Some((_, path)) => Found { details: String::new(), ..Found::unless_there(path) },
                None => Found::good(String::new()),
            },
            Self::EnableByFiles(paths) => match paths.iter().find(|path| !Path::new(path).exists()) {
                Some(path) => Found::bad("FILE PATH MISSING", format!("File path {path} is missing")),
                None => Found::good("Specified file paths are available".to_owned()),
            },
            Self::Database => match tokio::time::timeout(PATIENCE, parts.db.ping()).await {
                Ok(Ok(())) => Found::good("The database answers".to_owned()),
                Ok(Err(error)) => {
                    tracing::warn!("the health check finds the database unavailable: {error}");
                    Found::bad("DATABASE UNAVAILABLE", "The database does not answer".to_owned())
                }
                Err(_) => Found::bad("DATABASE UNAVAILABLE", "The database does not answer in time".to_owned()),
            },
        }
    }
}

impl Found {
    fn good(details: String) -> Self {
        Self { available: true, reason: "OK", details }
    }

    fn bad(reason: &'static str, details: String) -> Self {
        Self { available: false, reason, details }
    }

    fn unless_there(path: &str) -> Self {
        match Path::new(path).exists() {
            true => Self::bad("DISABLED BY FILE", format!("Path '{path}' was found")),
            false => Self::good(format!("Path '{path}' was not found")),
        }
    }
}

/// A request that asks after the health: what of it matters.
pub(super) struct Question {
    method: Method,
    headers: HeaderMap,
    peer: Option<super::Peer>,
}

impl Question {
    /// The question that a request asks, if it is one.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let rest = request.uri().path().strip_prefix("/healthcheck")?;
        (rest.is_empty() || rest.starts_with('/')).then(|| Self {
            method: request.method().clone(),
            headers: request.headers().clone(),
            peer: request.extensions().get::<ConnectInfo<super::Peer>>().map(|info| info.0),
        })
    }
}

/// Answers it.
pub(super) async fn answer(parts: &Arc<Parts>, question: Question) -> Response<Body> {
    let settings = &parts.config.healthcheck;
    let Question { method, headers, peer } = question;
    if !settings.admits(peer.map(|peer| peer.remote.ip()), &headers) {
        return respond(StatusCode::NOT_FOUND, "text/plain", String::new());
    }
    let port = peer.and_then(|peer| peer.local).map_or(0, |local| local.port());
    let mut found = Vec::new();
    for check in &settings.checks {
        found.push(check.run(parts, port).await);
    }
    let healthy = found.iter().all(|found| found.available);
    let (good, body) = match method {
        Method::HEAD => (StatusCode::NO_CONTENT, ("text/plain", String::new())),
        _ => (StatusCode::OK, shown(&found, settings.detailed, &headers)),
    };
    respond(if healthy { good } else { StatusCode::SERVICE_UNAVAILABLE }, body.0, body.1)
}

/// What was found, in the type that the client likes best.
fn shown(found: &[Found], detailed: bool, headers: &HeaderMap) -> (&'static str, String) {
    let kind = preferred(headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()), &TYPES, TYPES[0]);
    let text = match kind {
        "application/json" => as_json(found, detailed),
        "text/html" => as_html(found, detailed),
        _ => found.iter().map(|found| found.reason).collect::<Vec<_>>().join("\n"),
    };
    (kind, text)
}

fn respond(status: StatusCode, kind: &str, body: String) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    if let Ok(kind) = HeaderValue::from_str(&format!("{kind}; charset=UTF-8")) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// The type with the highest quality of those on offer, or another one when the client takes none of them.
pub(super) fn preferred(accept: Option<&str>, offers: &[&'static str], otherwise: &'static str) -> &'static str {
    let Some(accept) = accept else { return otherwise };
    let ranges: Vec<(&str, f32)> = accept.split(',').filter_map(range).collect();
    let quality = |kind: &str| {
        let group = format!("{}/*", kind.split('/').next().unwrap_or_default());
        let of = |name: &str| ranges.iter().find(|(range, _)| range.eq_ignore_ascii_case(name)).map(|(_, q)| *q);
        of(kind).or_else(|| of(&group)).or_else(|| of("*/*")).unwrap_or(0.0)
    };
    let mut best = (otherwise, 0.0);
    for &kind in offers {
        let quality = quality(kind);
        if quality > best.1 {
            best = (kind, quality);
        }
    }
    best.0
}

/// `text/html;q=0.5`
fn range(text: &str) -> Option<(&str, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().filter(|kind| !kind.is_empty())?;
    let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok())?;
    Some((kind, quality))
}

/// Keys in alphabetical order, four spaces in.
fn as_json(found: &[Found], detailed: bool) -> String {
    let body = match detailed {
        false => json!({"detailed": false, "reasons": found.iter().map(|found| found.reason).collect::<Vec<_>>()}),
        true => {
            let reason =
                |found: &Found| json!({"class": "HealthcheckResult", "details": found.details, "reason": found.reason});
            json!({
                "detailed": true,
                "now": chrono::Utc::now().format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
                "platform": format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
                "reasons": found.iter().map(reason).collect::<Vec<_>>(),
                "version": env!("CARGO_PKG_VERSION"),
            })
        }
    };
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    match serde::Serialize::serialize(&body, &mut serializer) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

fn as_html(found: &[Found], detailed: bool) -> String {
    let row = |found: &Found| match detailed {
        true => format!("<tr><td>{}</td><td>{}</td></tr>\n", found.reason, escaped(&found.details)),
        false => format!("<tr><td>{}</td></tr>\n", found.reason),
    };
    let head = if detailed { "<th>Reason</th><th>Details</th>" } else { "<th>Reason</th>" };
    let rows: String = found.iter().map(row).collect();
    format!(
        "<!DOCTYPE html>\n<html>\n<head><title>Healthcheck Status</title></head>\n<body>\n\
         <h2>Result of {} checks:</h2>\n<table border=\"1\">\n<tr>{head}</tr>\n{rows}</table>\n</body>\n</html>",
        found.len()
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn networks(options: &Options) -> Result<Vec<IpNet>, ConfigError> {
    let items: Vec<String> = options.get("healthcheck", "allowed_source_ranges")?;
    let network = |item: &String| {
        let parsed = item.parse::<IpNet>().ok().or_else(|| item.parse::<IpAddr>().ok().map(IpNet::from));
        parsed.ok_or_else(|| {
            let allowed = ["networks such as 10.0.0.0/8"];
            options.refuse_item("healthcheck", "allowed_source_ranges", item, "is no network", &allowed)
        })
    };
    items.iter().map(network).collect()
}

fn files_by_port(options: &Options) -> Result<Vec<(u16, String)>, ConfigError> {
    let items: Vec<String> = options.get("healthcheck", "disable_by_file_paths")?;
    let pair = |item: &String| {
        let split = item.trim().split_once(':').and_then(|(port, path)| Some((port.parse().ok()?, path.to_owned())));
        split.ok_or_else(|| {
            let allowed = ["port:path"];
            options.refuse_item("healthcheck", "disable_by_file_paths", item, "has no port before a colon", &allowed)
        })
    };
    items.iter().filter(|item| !item.trim().is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests;
