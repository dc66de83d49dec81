//! What the server tells DHCP agents. Each message has one argument, `payload`, which holds its priority: agents work
//! on lower numbers first.

use serde::{Deserialize, Serialize};
use types::{NetworkId, PortId, SubnetId, port::FixedIp};

use crate::payload::{Network, Port, Subnet};

/// Topic of the agents.
pub const TOPIC: &str = "dhcp_agent";

/// Priorities, lower first.
pub mod priority {
    /// A network was scheduled.
    pub const NETWORK_CREATE: u8 = 0;
    /// A network changed.
    pub const NETWORK_UPDATE: u8 = 1;
    /// A network goes.
    pub const NETWORK_DELETE: u8 = 2;
    /// A subnet is new or changed.
    pub const SUBNET_UPDATE: u8 = 3;
    /// A subnet goes.
    pub const SUBNET_DELETE: u8 = 4;
    /// A port is new: to the one agent that shall be first to serve it.
    pub const PORT_CREATE_HIGH: u8 = 5;
    /// A port is new: to the others.
    pub const PORT_CREATE_LOW: u8 = 6;
    /// A port changed.
    pub const PORT_UPDATE: u8 = 6;
    /// A port goes.
    pub const PORT_DELETE: u8 = 6;
}

/// A body with its priority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Payload<T> {
    /// What happened.
    #[serde(flatten)]
    pub body: T,
    /// One of [`priority`].
    #[serde(default)]
    pub priority: u8,
}

/// A network by id alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkCreated {
    /// The network.
    pub network: NetworkRef,
}

/// An id in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRef {
    /// The network.
    pub id: NetworkId,
}

/// A network as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkUpdated {
    /// The network.
    pub network: Network,
}

/// A network that went, or that this agent shall no longer serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDeleted {
    /// The network.
    pub network_id: NetworkId,
}

/// A subnet as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubnetChanged {
    /// The subnet.
    pub subnet: WithNetwork<Subnet>,
}

/// A resource with the network it is on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WithNetwork<T> {
    /// The resource.
    #[serde(flatten)]
    pub resource: T,
    /// Its network; absent in some messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

/// A subnet that went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetDeleted {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// Its network.
    pub network_id: NetworkId,
}

/// A port as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortChanged {
    /// The port.
    pub port: WithNetwork<Port>,
}

/// A port that went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortDeleted {
    /// The port.
    pub port_id: PortId,
    /// Its network.
    pub network_id: NetworkId,
    /// The addresses it had.
    #[serde(default)]
    pub fixed_ips: Vec<FixedIp>,
}

/// What an operator changed of the agent itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentUpdated {
    /// Whether it shall serve.
    pub admin_state_up: bool,
}

interface! {
    version "1.0";
    calls {}
    casts {
        /// Serve this network.
        network_create_end "1.0" on TOPIC: (payload: Payload<NetworkCreated>);
        /// The network changed.
        network_update_end "1.0" on TOPIC: (payload: Payload<NetworkUpdated>);
        /// Serve this network no longer; sent to all agents when it was deleted.
        network_delete_end "1.0" on TOPIC: (payload: Payload<NetworkDeleted>);
        /// A subnet is new.
        subnet_create_end "1.0" on TOPIC: (payload: Payload<SubnetChanged>);
        /// A subnet changed.
        subnet_update_end "1.0" on TOPIC: (payload: Payload<SubnetChanged>);
        /// A subnet went.
        subnet_delete_end "1.0" on TOPIC: (payload: Payload<SubnetDeleted>);
        /// A port is new.
        port_create_end "1.0" on TOPIC: (payload: Payload<PortChanged>);
        /// What DHCP needs of a port changed.
        port_update_end "1.0" on TOPIC: (payload: Payload<PortChanged>);
        /// A port went.
        port_delete_end "1.0" on TOPIC: (payload: Payload<PortDeleted>);
        /// The agent was enabled or disabled.
        agent_updated "1.0" on TOPIC: (payload: AgentUpdated);
    }
}
