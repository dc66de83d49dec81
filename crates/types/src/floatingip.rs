//! Floating IPs: addresses of an external network that stand for a port inside.

use std::net::IpAddr;

use serde::Serialize;

use crate::{FloatingIpId, Mac, NetworkId, PortId, RouterId, Standard, SubnetId};

/// A floating IP as REST shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FloatingIp {
    /// Its id.
    pub id: FloatingIpId,
    /// The owner.
    pub project_id: String,
    /// The owner, by its older name.
    pub tenant_id: String,
    /// The address outside.
    pub floating_ip_address: IpAddr,
    /// The external network.
    pub floating_network_id: NetworkId,
    /// The router that carries it; null unless it stands for a port.
    pub router_id: Option<RouterId>,
    /// The port inside.
    pub port_id: Option<PortId>,
    /// The port's address.
    pub fixed_ip_address: Option<IpAddr>,
    /// `ACTIVE`, `DOWN` or `ERROR`, as the agent says.
    pub status: String,
    /// Of the port inside.
    pub port_details: Option<PortDetails>,
    /// The port that holds the address outside; not shown in REST.
    #[serde(skip)]
    pub floating_port_id: PortId,
    /// The router that carried it before its last change; not shown in REST.
    #[serde(skip)]
    pub last_known_router_id: Option<RouterId>,
    /// Description, tags, revision, timestamps.
    #[serde(flatten)]
    pub standard: Standard,
}

/// What is told of the port inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortDetails {
    /// Free text.
    pub name: String,
    /// The network it is on.
    pub network_id: NetworkId,
    /// Unique on its network.
    pub mac_address: Mac,
    /// Whether it forwards.
    pub admin_state_up: bool,
    /// `ACTIVE`, `BUILD` or `DOWN`.
    pub status: String,
    /// What it is for.
    pub device_id: String,
    /// Which service owns that.
    pub device_owner: String,
}

/// Where floating IPs may come from: an IPv4 subnet of an external network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FloatingIpPool {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// Its name.
    pub subnet_name: String,
    /// The project that asks.
    pub project_id: Option<String>,
    /// The same, by its older name.
    pub tenant_id: Option<String>,
    /// The external network.
    pub network_id: NetworkId,
    /// The prefix.
    pub cidr: String,
}
