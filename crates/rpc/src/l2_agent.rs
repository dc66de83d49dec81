//! What the server tells L2 agents: hints that something changed, sent to all of them. Each method has a topic of its
//! own, named after the table and the operation.

use std::net::IpAddr;

use types::{NetworkId, NetworkType, PortId, SecurityGroupId};

use crate::payload::{Network, Port};

/// Topic of deleted networks.
pub const NETWORK_DELETE: &str = "q-agent-notifier-network-delete";
/// Topic of changed networks.
pub const NETWORK_UPDATE: &str = "q-agent-notifier-network-update";
/// Topic of changed ports.
pub const PORT_UPDATE: &str = "q-agent-notifier-port-update";
/// Topic of deleted ports.
pub const PORT_DELETE: &str = "q-agent-notifier-port-delete";
/// Topic of bindings that are no longer the active ones.
pub const BINDING_DEACTIVATE: &str = "q-agent-notifier-binding-deactivate";
/// Topic of bindings that became the active ones.
pub const BINDING_ACTIVATE: &str = "q-agent-notifier-binding-activate";
/// Topic of changes of groups, their rules and members.
pub const SECURITY_GROUP_UPDATE: &str = "q-agent-notifier-security_group-update";
/// Topic of new tunnel ends.
pub const TUNNEL_UPDATE: &str = "q-agent-notifier-tunnel-update";
/// Topic of tunnel ends that went.
pub const TUNNEL_DELETE: &str = "q-agent-notifier-tunnel-delete";

/// The topics a Linux bridge agent listens on.
pub const LINUX_BRIDGE_TOPICS: [&str; 6] =
    [PORT_UPDATE, NETWORK_DELETE, NETWORK_UPDATE, SECURITY_GROUP_UPDATE, BINDING_DEACTIVATE, BINDING_ACTIVATE];

interface! {
    version "1.7";
    calls {}
    casts {
        /// A network went.
        network_delete "1.0" on NETWORK_DELETE: (network_id: NetworkId);
        /// MTU or QoS policy of a network changed.
        network_update "1.4" on NETWORK_UPDATE: (network: Network);
        /// What wiring needs of a port changed.
        port_update "1.0" on PORT_UPDATE: (port: Port, network_type: Option<NetworkType>, segmentation_id: Option<u32>, physical_network: Option<String>);
        /// A port went.
        port_delete "1.0" on PORT_DELETE: (port_id: PortId);
        /// A port's binding on that host is no longer the active one.
        binding_deactivate "1.5" on BINDING_DEACTIVATE: (port_id: PortId, host: String, network_id: NetworkId);
        /// A port's binding on that host became the active one.
        binding_activate "1.5" on BINDING_ACTIVATE: (port_id: PortId, host: String);
        /// Rules of these groups changed.
        security_groups_rule_updated "1.1" on SECURITY_GROUP_UPDATE: (security_groups: Vec<SecurityGroupId>);
        /// Member addresses of these groups changed.
        security_groups_member_updated "1.1" on SECURITY_GROUP_UPDATE: (security_groups: Vec<SecurityGroupId>);
        /// A host's tunnel end is new.
        tunnel_update "1.0" on TUNNEL_UPDATE: (tunnel_ip: IpAddr, tunnel_type: NetworkType);
        /// A host's tunnel end went.
        tunnel_delete "1.0" on TUNNEL_DELETE: (tunnel_ip: IpAddr, tunnel_type: NetworkType);
    }
}
