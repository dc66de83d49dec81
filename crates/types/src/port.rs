//! Ports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Mac, NetworkId, PortId, SecurityGroupId, Standard, SubnetId};

/// One address of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FixedIp {
    /// The subnet it is from.
    pub subnet_id: SubnetId,
    /// The address.
    pub ip_address: IpAddr,
}

/// Another address a port may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPair {
    /// Sender's MAC.
    pub mac_address: Mac,
    /// Address or prefix, as given.
    pub ip_address: String,
}

/// A DHCP option for one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraDhcpOpt {
    /// Name or number, as dnsmasq knows it.
    pub opt_name: String,
    /// Its value.
    pub opt_value: String,
    /// 4 or 6.
    pub ip_version: u8,
}

/// Where a port is plugged and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Binding {
    /// Host the instance runs on; empty when not known.
    #[serde(rename = "binding:host_id")]
    pub host: String,
    /// What kind of NIC is asked for.
    #[serde(rename = "binding:vnic_type")]
    pub vnic_type: String,
    /// What the host's agent and the compute service agreed on.
    #[serde(rename = "binding:vif_type")]
    pub vif_type: String,
    /// Details of that.
    #[serde(rename = "binding:vif_details")]
    pub vif_details: Map<String, Value>,
    /// What the compute service tells the driver.
    #[serde(rename = "binding:profile")]
    pub profile: Map<String, Value>,
}

impl Default for Binding {
    /// Nowhere yet.
    fn default() -> Self {
        Self {
            host: String::new(),
            vnic_type: "normal".to_owned(),
            vif_type: "unbound".to_owned(),
            vif_details: Map::new(),
            profile: Map::new(),
        }
    }
}

/// A port as REST shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Port {
    /// Its id.
    pub id: PortId,
    /// Free text, not unique.
    pub name: String,
    /// The owner; empty for ports of the system.
    pub project_id: String,
    /// The owner, by its older name.
    pub tenant_id: String,
    /// The network it is on.
    pub network_id: NetworkId,
    /// Unique on its network.
    pub mac_address: Mac,
    /// Whether it forwards.
    pub admin_state_up: bool,
    /// `ACTIVE`, `BUILD`, `DOWN` or `N/A`.
    pub status: String,
    /// What it is for: an instance, a router, a DHCP server's id.
    pub device_id: String,
    /// Which service owns that device, for example `compute:nova`.
    pub device_owner: String,
    /// Its addresses.
    pub fixed_ips: Vec<FixedIp>,
    /// Other addresses it may use.
    pub allowed_address_pairs: Vec<AddressPair>,
    /// DHCP options of its own.
    pub extra_dhcp_opts: Vec<ExtraDhcpOpt>,
    /// Groups it is a member of.
    pub security_groups: Vec<SecurityGroupId>,
    /// Whether groups and anti-spoofing apply.
    pub port_security_enabled: bool,
    /// `immediate`, `deferred` or `none`.
    pub ip_allocation: &'static str,
    /// Where it is plugged.
    #[serde(flatten)]
    pub binding: Binding,
    /// Description, tags, revision, timestamps.
    #[serde(flatten)]
    pub standard: Standard,
}
