//! Names of devices and namespaces on a host, derived from resource ids exactly as upstream derives them.
//!
//! Device names hold at most 15 characters; upstream uses a three-letter prefix and the first 11 characters of the id.

use crate::{NetworkId, PortId};

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

/// `vxlan-` and the VNI.
pub fn vxlan(vni: u32) -> String {
    format!("{VXLAN_PREFIX}{vni}")
}
