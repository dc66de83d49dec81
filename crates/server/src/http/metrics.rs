//! What is counted of requests: how many are under way, and how long each took, by route, method and status.
//!
//! A route is what the path has in common with others, so that there are few: `/v2.0/ports/{id}`, not a series for each
//! port.

use std::fmt::Display;
use std::time::Instant;

use axum::http::{Method, StatusCode};
use oslo::metrics::{Family, Gauge, Histogram, InFlight, Labels, Page};

static IN_FLIGHT: Gauge = Gauge::new();
static REQUESTS: Family<Labelled, Histogram> = Family::new();

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Labelled {
    route: &'static str,
    method: &'static str,
    status: u16,
}

impl Labels for Labelled {
    fn each(&self, put: &mut dyn FnMut(&str, &dyn Display)) {
        put("route", &self.route);
        put("method", &self.method);
        put("status", &self.status);
    }
}

/// A request under way.
pub(super) struct Measured {
    route: &'static str,
    method: &'static str,
    began: Instant,
    _in_flight: InFlight,
}

impl Measured {
    /// It begins now.
    pub(super) fn begin(method: &Method, path: &str) -> Self {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        Self { route: route(path), method, began: Instant::now(), _in_flight: IN_FLIGHT.enter() }
    }

    /// Its answer begins now.
    pub(super) fn end(self, status: StatusCode) {
        let labels = Labelled { route: self.route, method: self.method, status: status.as_u16() };
        REQUESTS.of(&labels).observe_since(self.began);
    }
}

/// Writes what was counted.
pub(crate) fn write(page: &mut Page) {
    page.metric("isospin_api_requests_in_flight", "API requests that are being worked on.", &IN_FLIGHT);
    page.family("isospin_api_request_seconds", "Time from an API request to the start of its answer.", &REQUESTS);
}

/// Collections, each with the routes of itself, its members, and what is below those.
macro_rules! routes {
    ($($name:literal),* $(,)?) => {
        [$(($name, [
            concat!("/v2.0/", $name),
            concat!("/v2.0/", $name, "/{id}"),
            concat!("/v2.0/", $name, "/{id}/*"),
        ])),*]
    };
}

/// What is not listed is counted as `other`.
const ROUTES: [(&str, [&str; 3]); 19] = routes![
    "ports",
    "networks",
    "subnets",
    "security-groups",
    "security-group-rules",
    "agents",
    "quotas",
    "extensions",
    "availability_zones",
    "rbac-policies",
    "subnetpools",
    "address-scopes",
    "address-groups",
    "routers",
    "floatingips",
    "trunks",
    "segments",
    "network-ip-availabilities",
    "service-providers",
];

fn route(path: &str) -> &'static str {
    let Some(rest) = path.strip_prefix("/v2.0") else {
        return if path == "/" || path.is_empty() { "/" } else { "other" };
    };
    let mut segments = rest.split('/').filter(|segment| !segment.is_empty());
    let Some(first) = segments.next() else { return "/v2.0" };
    let name = first.strip_suffix(".json").unwrap_or(first);
    let known = ROUTES.iter().find(|(known, _)| *known == name);
    known.map_or("other", |(_, routes)| routes[segments.take(2).count()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_ids_share_a_route() {
        let cases = [
            ("/", "/"),
            ("/v2.0/", "/v2.0"),
            ("/v2.0/ports", "/v2.0/ports"),
            ("/v2.0/ports.json", "/v2.0/ports"),
            ("/v2.0/ports/84c6e765-c0a2-4ff1-90c4-30af4e064463", "/v2.0/ports/{id}"),
            ("/v2.0/ports/84c6e765-c0a2-4ff1-90c4-30af4e064463/bindings/h1/activate", "/v2.0/ports/{id}/*"),
            ("/v2.0/what", "other"),
            ("/../etc", "other"),
        ];
        for (path, expected) in cases {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn a_request_is_counted_when_it_ends() {
        let measured = Measured::begin(&Method::PATCH, "/v2.0/trunks/1");
        assert!(IN_FLIGHT.get() >= 1);
        measured.end(StatusCode::IM_A_TEAPOT);
        let mut page = Page::default();
        write(&mut page);
        let text = page.into_text();
        let line = "isospin_api_request_seconds_count{route=\"/v2.0/trunks/{id}\",method=\"other\",status=\"418\"} 1\n";
        assert!(text.contains(line), "{text}");
    }
}
