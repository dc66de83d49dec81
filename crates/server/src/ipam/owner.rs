//! Device owners: which service a port belongs to, and what that means for its addresses.

/// Port of a DHCP agent.
pub const DHCP: &str = "network:dhcp";
/// Port that many hosts serve at once (metadata, distributed DHCP).
pub const DISTRIBUTED: &str = "network:distributed";
/// Interface of a router.
pub const ROUTER_INTERFACE: &str = "network:router_interface";
/// Interface of a highly available router, on every host that may carry it.
pub const HA_REPLICATED_INTERFACE: &str = "network:ha_router_replicated_interface";
/// Interface of a distributed router.
pub const DVR_INTERFACE: &str = "network:router_interface_distributed";
/// Where a distributed router's shared SNAT sits.
pub const ROUTER_SNAT: &str = "network:router_centralized_snat";
/// Gateway of a router.
pub const ROUTER_GATEWAY: &str = "network:router_gateway";
/// Gateway of a floating IP's host.
pub const FLOATING_IP_AGENT_GATEWAY: &str = "network:floatingip_agent_gateway";
/// Placeholder of a floating IP.
pub const FLOATING_IP: &str = "network:floatingip";
/// What every service port's owner begins with.
pub const NETWORK_PREFIX: &str = "network:";

/// Interfaces of routers.
pub const ROUTER_INTERFACES: [&str; 3] = [ROUTER_INTERFACE, HA_REPLICATED_INTERFACE, DVR_INTERFACE];
/// Ports that go with their network or subnet when it is deleted.
pub const AUTO_DELETE: [&str; 3] = [DHCP, DISTRIBUTED, FLOATING_IP_AGENT_GATEWAY];

/// An interface of a router (not the gateway, not the SNAT port).
pub fn is_router_interface(owner: &str) -> bool {
    ROUTER_INTERFACES.contains(&owner)
}

/// An interface of a router, with the port of its SNAT. These choose their IPv6 addresses themselves.
pub fn is_router_interface_or_snat(owner: &str) -> bool {
    is_router_interface(owner) || owner == ROUTER_SNAT
}

/// Any port of a router.
pub fn is_router(owner: &str) -> bool {
    is_router_interface_or_snat(owner) || owner == ROUTER_GATEWAY
}
