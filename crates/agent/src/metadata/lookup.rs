//! Whose request it is: from the network or router and the address that it came from to the port, and by it to the
//! instance and its project.
//!
//! A port is known by its address on the network. An IPv6 link-local address is none of a port's; it is known by the
//! Ethernet address that it is made of. Answers are kept for seconds, as an instance that starts asks dozens of
//! questions in a row.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use oslo::{
    context::Context,
    messaging::{Bus, CallError},
};
use parking_lot::Mutex;
use rpc::metadata::{Client, Filters, PortOwner};
use serde_json::{Map, Value, json};
use types::Mac;

use super::Scope;

/// Owners of the ports by which a router is on its networks.
const ROUTER_INTERFACES: [&str; 3] =
    ["network:router_interface", "network:ha_router_replicated_interface", "network:router_interface_distributed"];
/// How long an answer is kept. Within that time an address may change hands, but then the compute service does not
/// know the former instance any more, and the server is asked anew.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// How many are.
const KEPT: usize = 4096;

/// An instance, as the compute service knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance {
    /// Its id: the port's `device_id`.
    pub(super) id: String,
    /// The port's project.
    pub(super) project: String,
}

/// Asks the server, or remembers.
pub(super) struct Lookup {
    client: Client,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    instances: HashMap<(Scope, IpAddr), (Instant, Instance)>,
}

impl Lookup {
    pub(super) fn new(bus: Bus) -> Self {
        Self { client: Client::new(bus), known: Mutex::default() }
    }

    /// What is remembered of an address.
    pub(super) fn remembered(&self, scope: &Scope, address: IpAddr) -> Option<Instance> {
        self.known.lock().get(&(scope.clone(), address), Instant::now())
    }

    /// The instance that has this address, if exactly one has, as the server says now.
    pub(super) async fn ask(&self, scope: &Scope, address: IpAddr) -> Result<Option<Instance>, CallError> {
        let found = self.find(scope, address).await?;
        let key = (scope.clone(), address);
        let mut known = self.known.lock();
        match &found {
            Some(instance) => known.put(key, instance.clone(), Instant::now()),
            None => drop(known.instances.remove(&key)),
        }
        Ok(found)
    }

    async fn find(&self, scope: &Scope, address: IpAddr) -> Result<Option<Instance>, CallError> {
        let Some(by_client) = client_filter(address) else { return Ok(None) };
        let networks = match scope {
            Scope::Network(network) => vec![network.clone()],
            Scope::Router(router) => {
                let interfaces = self.ports(router_filters(router)).await?;
                let mut networks: Vec<String> = interfaces.into_iter().map(|port| port.network_id).collect();
                networks.sort();
                networks.dedup();
                networks
            }
        };
        // Without networks the filter would fit the ports of all.
        if networks.is_empty() {
            return Ok(None);
        }
        let mut filters = by_client;
        filters.insert("network_id".to_owned(), networks.into());
        let ports = self.ports(filters).await?;
        let [port] = ports.as_slice() else {
            tracing::debug!(?scope, %address, ports = ports.len(), "no single port has this address");
            return Ok(None);
        };
        let instance = Instance { id: port.device_id.clone(), project: port.project().to_owned() };
        Ok(Some(instance).filter(|instance| !instance.id.is_empty()))
    }

    async fn ports(&self, filters: Filters) -> Result<Vec<PortOwner>, CallError> {
        self.client.get_port_owners(&Context::admin(), filters).await
    }
}

impl Known {
    fn get(&mut self, key: &(Scope, IpAddr), now: Instant) -> Option<Instance> {
        let (since, instance) = self.instances.get(key)?;
        (now.duration_since(*since) < KEPT_FOR).then(|| instance.clone())
    }

    fn put(&mut self, key: (Scope, IpAddr), instance: Instance, now: Instant) {
        if self.instances.len() >= KEPT {
            self.instances.retain(|_, (since, _)| now.duration_since(*since) < KEPT_FOR);
        }
        if self.instances.len() < KEPT {
            self.instances.insert(key, (now, instance));
        }
    }
}

/// The address in `X-Forwarded-For`. One that listens for both families writes IPv4 addresses as IPv6.
pub(super) fn client_address(text: &str) -> Option<IpAddr> {
    text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// None for a link-local address that is not made of an Ethernet address: no port can be told by it.
fn client_filter(address: IpAddr) -> Option<Filters> {
    let filter = match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => json!({"mac_address": [Mac::from_eui64(v6)?.to_string()]}),
        other => json!({"fixed_ips": {"ip_address": [other.to_string()]}}),
    };
    object(filter)
}

fn router_filters(router: &str) -> Filters {
    object(json!({"device_id": [router], "device_owner": ROUTER_INTERFACES})).unwrap_or_default()
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(address: &str) -> Option<String> {
        client_filter(client_address(address)?).map(|filter| Value::from(filter).to_string())
    }

    #[test]
    fn a_client_is_known_by_address_or_by_what_its_link_local_address_is_made_of() {
        assert_eq!(filter("10.20.0.237").unwrap(), r#"{"fixed_ips":{"ip_address":["10.20.0.237"]}}"#);
        assert_eq!(filter("::ffff:10.20.0.237").unwrap(), r#"{"fixed_ips":{"ip_address":["10.20.0.237"]}}"#);
        assert_eq!(filter("2001:DB8::0:7").unwrap(), r#"{"fixed_ips":{"ip_address":["2001:db8::7"]}}"#);
        assert_eq!(filter("fe80::f816:3eff:fe12:3456").unwrap(), r#"{"mac_address":["fa:16:3e:12:34:56"]}"#);
        assert_eq!(filter("fe80::1234:5678:9abc:def0"), None);
        assert_eq!(filter("10.0.0.1, 10.0.0.2"), None);
    }

    #[test]
    fn a_router_is_known_by_its_interfaces() {
        assert_eq!(
            Value::from(router_filters("r")).to_string(),
            concat!(
                r#"{"device_id":["r"],"device_owner":["network:router_interface","#,
                r#""network:ha_router_replicated_interface","network:router_interface_distributed"]}"#
            )
        );
    }

    #[test]
    fn memory_is_short_and_bounded() {
        let mut known = Known::default();
        let key = |n: u32| (Scope::Network("n".to_owned()), IpAddr::from(n.to_be_bytes()));
        let instance = Instance { id: "i".to_owned(), project: "p".to_owned() };
        let start = Instant::now();
        for n in 0..10_000 {
            known.put(key(n), instance.clone(), start);
        }
        assert_eq!(known.instances.len(), KEPT);
        assert_eq!(known.get(&key(1), start), Some(instance.clone()));
        let later = start + KEPT_FOR;
        assert_eq!(known.get(&key(1), later), None);
        known.put(key(9_999), instance, later);
        assert_eq!(known.instances.len(), 1);
    }
}
