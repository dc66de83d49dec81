//! What is found out once, as the agent starts.

use kernel::{Kernel, Kind, Link};
use rpc::{l2_agent, l2_population, reports::AgentState};
use serde_json::{Map, Value, json};

use crate::linuxbridge::{Config, Error, mode};

/// The topics that concern a host with this configuration.
pub(super) fn topics(config: &Config) -> Vec<&'static str> {
    let mut topics = l2_agent::LINUX_BRIDGE_TOPICS.to_vec();
    if let Some(overlay) = &config.vxlan {
        topics.extend(overlay.l2_population.then_some(l2_population::TOPIC));
        topics.extend([l2_agent::TUNNEL_UPDATE, l2_agent::TUNNEL_DELETE].into_iter().filter(|_| overlay.needs_ends()));
    }
    topics
}

/// What the operator set must fit this host.
pub(super) async fn check(config: &Config, links: &[Link], kernel: &impl Kernel) -> Result<(), Error> {
    let file = || config.source.as_ref().map(|file| format!(" in {file}")).unwrap_or_default();
    let exists = |name: &str, bridge: bool| {
        links.iter().any(|link| link.name == name && (!bridge || matches!(link.kind, Kind::Bridge(_))))
    };
    let mappings = [
        ("physical_interface_mappings", &config.physical_interface_mappings, false, "interface"),
        ("bridge_mappings", &config.bridge_mappings, true, "bridge"),
    ];
    for (option, mappings, bridge, what) in mappings {
        if let Some((network, name)) = mappings.iter().find(|(_, name)| !exists(name, bridge)) {
            return Err(Error::Mapping { option, file: file(), network: network.clone(), what, name: name.clone() });
        }
    }
    if let Some(overlay) = &config.vxlan {
        let addresses = kernel.addresses().await?;
        let Some(address) = addresses.iter().find(|address| address.net.addr() == overlay.local_ip) else {
            return Err(Error::LocalIp { file: file(), address: overlay.local_ip });
        };
        mode::check(kernel, overlay, links, address.link).await?;
    }
    Ok(())
}

/// The name by which upstream's agent calls itself: `lb` and a MAC of the host.
pub(super) fn agent_id(config: &Config, links: &[Link]) -> String {
    let bridge = config.bridge_mappings.values().find_map(|name| links.iter().find(|link| link.name == *name));
    let first = links.iter().filter(|link| link.mac.is_some_and(|mac| mac.0 != [0; 6])).min_by_key(|link| link.index);
    let mac = bridge.or(first).and_then(|link| link.mac).map(|mac| mac.to_string()).unwrap_or_default();
    format!("lb{}", mac.replace(':', ""))
}

/// What the agent tells of itself.
pub(super) fn report(config: &Config) -> AgentState {
    let mut configurations = Map::new();
    let mut set = |key: &str, value: Value| drop(configurations.insert(key.to_owned(), value));
    set("extensions", json!(config.extensions));
    set("bridge_mappings", json!(config.bridge_mappings));
    set("interface_mappings", json!(config.physical_interface_mappings));
    set("devices", json!(0));
    if let Some(overlay) = &config.vxlan {
        set("tunneling_ip", json!(overlay.local_ip));
        set("tunnel_types", json!(["vxlan"]));
        set("l2_population", json!(overlay.l2_population));
    }
    AgentState {
        binary: "neutron-linuxbridge-agent".to_owned(),
        host: config.host.clone(),
        topic: "N/A".to_owned(),
        agent_type: types::agent::kind::LINUX_BRIDGE.to_owned(),
        configurations,
        ..AgentState::default()
    }
}
