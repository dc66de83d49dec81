//! Names of devices and namespaces on a host, derived from resource ids exactly as upstream derives them.
//!
//! Device names hold at most 15 characters; upstream uses a three-letter prefix and the first 11 characters of the id.

use uuid::Uuid;

use crate::{NetworkId, PortId, RouterId};

/// Prefix of the bridge-side end of a port.
pub const TAP_PREFIX: &str = "tap";
/// Prefix of a network's bridge.
pub const BRIDGE_PREFIX: &str = "brq";
/// Prefix of a VXLAN device.
pub const VXLAN_PREFIX: &str = "vxlan-";
/// Prefix of a DHCP namespace.
pub const DHCP_NAMESPACE_PREFIX: &str = "qdhcp-";
/// Prefix of the DHCP end of a veth pair, inside its namespace.
pub const DHCP_INTERFACE_PREFIX: &str = "ns-";
/// Prefix of a router's namespace.
pub const ROUTER_NAMESPACE_PREFIX: &str = "qrouter-";
/// Prefix of a router's device on a network, inside its namespace.
pub const ROUTER_INTERFACE_PREFIX: &str = "qr-";
/// Prefix of a router's device on its external network, inside its namespace.
pub const ROUTER_GATEWAY_PREFIX: &str = "qg-";
/// Prefix of a router's device among the other instances of it, inside its namespace.
pub const ROUTER_HA_PREFIX: &str = "ha-";
/// How many characters of an id enter a device name.
pub const ID_PART: usize = 11;

fn device(prefix: &str, id: &impl ToString) -> String {
    let mut name = id.to_string();
    name.truncate(ID_PART);
    name.insert_str(0, prefix);
    name
}

/// `tap` and the first 11 characters of the port's id.
pub fn tap(port: PortId) -> String {
    device(TAP_PREFIX, &port)
}

/// `brq` and the first 11 characters of the network's id.
pub fn bridge(network: NetworkId) -> String {
    device(BRIDGE_PREFIX, &network)
}

/// `ns-` and the first 11 characters of the port's id.
pub fn dhcp_interface(port: PortId) -> String {
    device(DHCP_INTERFACE_PREFIX, &port)
}

/// `qdhcp-` and the network's id.
pub fn dhcp_namespace(network: NetworkId) -> String {
    format!("{DHCP_NAMESPACE_PREFIX}{network}")
}

/// `qrouter-` and the router's id.
pub fn router_namespace(router: RouterId) -> String {
    format!("{ROUTER_NAMESPACE_PREFIX}{router}")
}

/// `qr-` and the first 11 characters of the port's id.
pub fn router_interface(port: PortId) -> String {
    device(ROUTER_INTERFACE_PREFIX, &port)
}

/// `qg-` and the first 11 characters of the port's id.
pub fn router_gateway(port: PortId) -> String {
    device(ROUTER_GATEWAY_PREFIX, &port)
}

/// `ha-` and the first 11 characters of the port's id.
pub fn router_ha(port: PortId) -> String {
    device(ROUTER_HA_PREFIX, &port)
}

/// `vxlan-` and the VNI.
pub fn vxlan(vni: u32) -> String {
    format!("{VXLAN_PREFIX}{vni}")
}

/// `device_id` of the port by which the DHCP agent on `host` serves a network: `dhcp`, a UUID made of the host's name up
/// to its first dot, and the network's id.
pub fn dhcp_device_id(host: &str, network: NetworkId) -> String {
    let name = host.split('.').next().unwrap_or_default();
    format!("dhcp{}-{network}", Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dhcp_port_is_known_by_the_short_name_of_its_host() {
        let network: NetworkId = "3b6e0f1c-8d2a-4f0e-9b57-1c2d3e4f5a6b".parse().unwrap();
        let expected = format!("dhcp645ab895-b76a-5ada-8177-739c5b8ac740-{network}");
        assert_eq!(dhcp_device_id("host-a", network), expected);
        assert_eq!(dhcp_device_id("host-a.example.org", network), expected);
    }
}
