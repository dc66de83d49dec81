//! What L2 agents ask of the server: details of the devices they find, and the news that these are wired.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use types::{
    Mac, NetworkId, NetworkType, PortId,
    port::{AddressPair, FixedIp},
};

use crate::payload::{Network, Port};

/// Topic of the server.
pub const TOPIC: &str = "q-plugin";

/// How an agent names a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Device {
    /// A tap name, a port id, or the beginning of one.
    Name(String),
    /// MAC and PCI slot of a virtual function.
    Pci(String, String),
}

impl Device {
    /// The name by which answers speak of it.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) | Self::Pci(name, _) => name,
        }
    }
}

impl From<&str> for Device {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

/// What the server knows of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Details {
    /// The port to wire.
    Port(Box<PortDetails>),
    /// Nothing to wire here.
    Absent {
        /// The device as asked.
        device: String,
        /// The port is an instance's, whose active binding is on another host.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        no_active_binding: bool,
    },
}

/// A port as an L2 agent needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortDetails {
    /// The device as asked.
    pub device: String,
    /// Its network.
    pub network_id: NetworkId,
    /// The port.
    pub port_id: PortId,
    /// Its MAC.
    pub mac_address: Mac,
    /// Whether it forwards.
    pub admin_state_up: bool,
    /// Encapsulation of the segment it is bound to.
    pub network_type: NetworkType,
    /// VLAN id, VNI or key of that segment.
    pub segmentation_id: Option<u32>,
    /// Physical network of that segment.
    pub physical_network: Option<String>,
    /// Largest packet of the network.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Its addresses.
    pub fixed_ips: Vec<FixedIp>,
    /// What it is for.
    pub device_owner: String,
    /// Other addresses it may use.
    #[serde(default)]
    pub allowed_address_pairs: Vec<AddressPair>,
    /// Whether groups and anti-spoofing apply.
    #[serde(default = "default_true")]
    pub port_security_enabled: bool,
    /// Its QoS policy.
    #[serde(default)]
    pub qos_policy_id: Option<String>,
    /// QoS policy of its network.
    #[serde(default)]
    pub qos_network_policy_id: Option<String>,
    /// What the compute service told the driver.
    #[serde(default)]
    pub profile: Map<String, Value>,
    /// Its link follows the uplink's.
    #[serde(default)]
    pub propagate_uplink_status: bool,
}

fn default_true() -> bool {
    true
}

/// Details of many devices, and those that could not be looked up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DetailsList {
    /// The details, in the order asked.
    pub devices: Vec<Details>,
    /// Devices to ask for again.
    pub failed_devices: Vec<Device>,
}

/// The answer to a device being down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDown {
    /// The device as named by the agent.
    pub device: String,
    /// False only if its bound port vanished meanwhile.
    pub exists: bool,
}

/// The answer to a list of devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceList {
    /// Taken as up.
    pub devices_up: Vec<Device>,
    /// To be reported again.
    pub failed_devices_up: Vec<Device>,
    /// Taken as down.
    pub devices_down: Vec<DeviceDown>,
    /// To be reported again.
    pub failed_devices_down: Vec<Device>,
}

/// The far ends of an overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnels {
    /// One for each host, the asking one included.
    pub tunnels: Vec<Tunnel>,
}

/// A host's end of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Its address.
    pub ip_address: IpAddr,
    /// Its UDP port, of VXLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_port: Option<u16>,
    /// The host.
    pub host: String,
}

interface! {
    version "1.9";
    calls {
        /// What to wire for a device. Asked by the host the port is bound to, the port turns BUILD.
        get_device_details "1.9" on TOPIC: (device: Device, agent_id: Option<String>, host: Option<String>) -> Details;
        /// The same for many devices.
        get_devices_details_list "1.9" on TOPIC: (devices: Vec<Device>, agent_id: Option<String>, host: Option<String>) -> Vec<Details>;
        /// The same, where a failing device does not fail the others.
        get_devices_details_list_and_failed_devices "1.5" on TOPIC: (devices: Vec<Device>, agent_id: Option<String>, host: Option<String>) -> DetailsList;
        /// A network as REST shows it.
        get_network_details "1.6" on TOPIC: (network: NetworkId, agent_id: Option<String>, host: Option<String>) -> Network;
        /// The device is wired.
        update_device_up "1.9" on TOPIC: (device: Device, agent_id: Option<String>, host: Option<String>, refresh_tunnels: Option<bool>) -> ();
        /// The device is gone.
        update_device_down "1.9" on TOPIC: (device: Device, agent_id: Option<String>, host: Option<String>) -> DeviceDown;
        /// The news of many devices.
        update_device_list "1.9" on TOPIC: (devices_up: Option<Vec<Device>>, devices_down: Option<Vec<Device>>, agent_id: Option<String>, host: Option<String>, refresh_tunnels: Option<bool>) -> DeviceList;
        /// Registers this host's end of an overlay; all ends in return.
        tunnel_sync "1.4" on TOPIC: (tunnel_ip: Option<String>, tunnel_type: Option<String>, host: Option<String>) -> Tunnels;
        /// The ports of a kind that are bound to a host.
        get_ports_by_vnic_type_and_host "1.7" on TOPIC: (vnic_type: String, host: String) -> Vec<Port>;
    }
    casts {}
}
