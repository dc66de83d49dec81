//! The catalogue: which service is where.

use serde_json::Value;

use super::KeystoneError;

/// Every endpoint that a token tells of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    service: String,
    interface: String,
    region: Option<String>,
    url: String,
}

/// Which endpoint of which service is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The type of the service, `compute`.
    pub service: String,
    /// The interfaces that will do, the preferred one first: `internal`, also written `internalURL`.
    pub interfaces: Vec<String>,
    /// The region; any if there is none.
    pub region: Option<String>,
    /// A URL to take in place of what the catalogue says.
    pub endpoint_override: Option<String>,
}

/// Types that mean the same service: the official one, and what catalogues have it as.
const ALIASES: [(&str, &[&str]); 5] = [
    ("block-storage", &["block-store", "volume", "volumev2", "volumev3"]),
    ("compute", &["computev21"]),
    ("dns", &["dnsv2"]),
    ("baremetal", &["bare-metal"]),
    ("load-balancer", &["loadbalancer"]),
];

impl Catalog {
    /// Reads `token.catalog`.
    pub(super) fn read(value: &Value) -> Self {
        let text = |value: &Value, name: &str| value[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let mut endpoints = Vec::new();
        for service in value.as_array().into_iter().flatten() {
            for endpoint in service["endpoints"].as_array().into_iter().flatten() {
                if let (Some(service), Some(interface), Some(url)) =
                    (text(service, "type"), text(endpoint, "interface"), text(endpoint, "url"))
                {
                    let region = text(endpoint, "region_id").or_else(|| text(endpoint, "region"));
                    endpoints.push(Endpoint { service, interface, region, url });
                }
            }
        }
        Self { endpoints }
    }

    /// Whether there is any endpoint at all: unscoped tokens come without.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The URL of an endpoint, of the first interface that has any.
    pub fn find(&self, target: &Target) -> Result<&str, KeystoneError> {
        let types = types_of(&target.service);
        let fits = |endpoint: &&Endpoint, interface: &str| {
            types.contains(&endpoint.service.as_str())
                && endpoint.interface == interface.trim_end_matches("URL")
                && target.region.as_ref().is_none_or(|region| endpoint.region.as_ref() == Some(region))
        };
        let found = target.interfaces.iter().find_map(|wanted| {
            // The official type wins over another name for it.
            let mut fitting: Vec<_> = self.endpoints.iter().filter(|endpoint| fits(endpoint, wanted)).collect();
            fitting.sort_by_key(|endpoint| types.iter().position(|known| *known == endpoint.service));
            fitting.first().copied()
        });
        found.map(|endpoint| endpoint.url.as_str()).ok_or_else(|| KeystoneError::NoEndpoint {
            service: target.service.clone(),
            interfaces: target.interfaces.join(" or "),
            place: target.region.as_ref().map(|region| format!(" in region {region}")).unwrap_or_default(),
        })
    }
}

/// A type and all that mean the same, itself first.
fn types_of(service: &str) -> Vec<&str> {
    let mut types = vec![service];
    for (official, others) in ALIASES {
        if official == service || others.contains(&service) {
            types.extend(std::iter::once(&official).chain(others).filter(|known| **known != service));
        }
    }
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(service: &str, interfaces: &[&str], region: Option<&str>) -> Target {
        Target {
            service: service.into(),
            interfaces: interfaces.iter().map(|text| (*text).to_owned()).collect(),
            region: region.map(str::to_owned),
            endpoint_override: None,
        }
    }

    #[test]
    fn endpoints_are_found_by_type_interface_and_region() {
        let catalog = Catalog::read(&serde_json::json!([
            {"type": "compute", "endpoints": [
                {"interface": "public", "region": "One", "region_id": "One", "url": "http://one"},
                {"interface": "internal", "region": "Two", "url": "http://two"},
            ]},
            {"type": "volumev3", "endpoints": [{"interface": "public", "region_id": "One", "url": "http://v3"}]},
        ]));
        let find = |service, interfaces: &[&str], region| {
            catalog.find(&target(service, interfaces, region)).map(str::to_owned).map_err(|error| error.to_string())
        };
        assert_eq!(find("compute", &["publicURL"], None), Ok("http://one".into()));
        assert_eq!(find("compute", &["admin", "internal", "public"], None), Ok("http://two".into()));
        assert_eq!(find("compute", &["internal", "public"], Some("One")), Ok("http://one".into()));
        assert_eq!(find("block-storage", &["public"], Some("One")), Ok("http://v3".into()));
        assert_eq!(
            find("compute", &["public"], Some("Two")),
            Err("the catalogue has no public endpoint of the service compute in region Two".into())
        );
    }
}
