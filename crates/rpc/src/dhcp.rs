//! What DHCP agents ask of the server: the networks they serve, and ports of their own on them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use types::{Mac, NetworkId, PortId, SubnetId};

use crate::{
    l2,
    metadata::Filters,
    payload::{Port, Subnet},
};

/// Topic of the server.
pub const TOPIC: &str = l2::TOPIC;
/// `device_id` of a DHCP port that no agent uses, kept for the next one.
pub const RESERVED_DEVICE_ID: &str = "reserved_dhcp_port";
/// Most port ids in one `dhcp_ready_on_ports`.
pub const READY_PORTS_CHUNK: usize = 64;

/// A network to serve. Not the shape of REST.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// The network.
    pub id: NetworkId,
    /// Its owner.
    #[serde(default)]
    pub project_id: String,
    /// Whether it forwards; if not, it is not served.
    pub admin_state_up: bool,
    /// Largest packet.
    pub mtu: u32,
    /// Its subnets that this host reaches, by id.
    pub subnets: Vec<Subnet>,
    /// Subnets of segments that other hosts reach.
    #[serde(default)]
    pub non_local_subnets: Vec<Subnet>,
    /// All its ports.
    pub ports: Vec<Port>,
}

/// A port body; nested on the wire as in REST.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Body<T> {
    /// The attributes.
    pub port: T,
}

/// Which subnet an address shall be from, and which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedIpRequest {
    /// The subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<SubnetId>,
    /// The address; any when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<IpAddr>,
}

/// A DHCP port to make. The server adds owner and host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortCreate {
    /// Empty.
    #[serde(default)]
    pub name: String,
    /// True.
    #[serde(default = "enabled")]
    pub admin_state_up: bool,
    /// Identity of the agent on this network, see [`types::device`].
    pub device_id: String,
    /// Where.
    pub network_id: NetworkId,
    /// Owner of the network.
    #[serde(default, alias = "tenant_id")]
    pub project_id: String,
    /// An address from each served subnet.
    #[serde(default)]
    pub fixed_ips: Vec<FixedIpRequest>,
    /// Any when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<Mac>,
}

fn enabled() -> bool {
    true
}

/// What to change of a DHCP port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortUpdate {
    /// The network it is on.
    pub network_id: NetworkId,
    /// Its addresses from now on; unchanged when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_ips: Option<Vec<FixedIpRequest>>,
    /// Its new identity; unchanged when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
}

interface! {
    version "1.10";
    calls {
        /// The networks that the agent on that host serves; schedules some to it before. Without filter all subnets
        /// are listed, else only those with DHCP.
        get_active_networks_info "1.1" on TOPIC: (host: String, enable_dhcp_filter: Option<bool>) -> Vec<NetworkInfo>;
        /// One network with its DHCP-enabled subnets; none when it is gone.
        get_network_info "1.0" on TOPIC: (network_id: NetworkId, host: Option<String>) -> Option<NetworkInfo>;
        /// Makes a DHCP port; none when network or subnet are gone.
        create_dhcp_port "1.1" on TOPIC: (port: Body<PortCreate>, host: String) -> Option<Port>;
        /// Changes a DHCP port; none when it is gone or another agent's.
        update_dhcp_port "1.1" on TOPIC: (port_id: PortId, port: Body<PortUpdate>, host: String) -> Option<Port>;
        /// One port; none when it is gone.
        get_dhcp_port "1.8" on TOPIC: (port_id: PortId) -> Option<Port>;
        /// Deletes the DHCP port of that identity.
        release_dhcp_port "1.0" on TOPIC: (network_id: NetworkId, device_id: String, host: Option<String>) -> ();
        /// DHCP answers for these ports.
        dhcp_ready_on_ports "1.5" on TOPIC: (port_ids: Vec<PortId>) -> ();
        /// The networks that fit all filters, as REST shows them.
        get_networks "1.7" on TOPIC: (filters: Option<Filters>, fields: Option<Vec<String>>) -> Vec<Map<String, Value>>;
    }
    casts {}
}
