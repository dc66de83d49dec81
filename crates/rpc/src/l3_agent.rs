//! What the server tells L3 agents: hints that routers changed, to the hosts that serve them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use types::{Mac, NetworkId, RouterId, SubnetId};

use crate::{l2_agent, payload::Network};

/// Topic of the agents.
pub const TOPIC: &str = "l3_agent";

/// A router named by its id, or as part of an older server's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RouterHint {
    /// The id.
    Id(RouterId),
    /// An object, of which the id counts.
    Router {
        /// The router.
        id: RouterId,
    },
}

impl RouterHint {
    /// The router.
    pub fn id(self) -> RouterId {
        match self {
            Self::Id(id) | Self::Router { id } => id,
        }
    }
}

/// A router that this agent shall no longer serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterRemoved {
    /// The router.
    pub router_id: RouterId,
}

/// A neighbour of a distributed router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArpChange {
    /// The router.
    pub router_id: RouterId,
    /// The neighbour.
    pub arp_table: ArpEntry,
}

/// Address and MAC of a neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArpEntry {
    /// Its address.
    pub ip_address: IpAddr,
    /// Its MAC.
    pub mac_address: Mac,
    /// The subnet of the address.
    pub subnet_id: SubnetId,
}

pub use crate::dhcp_agent::AgentUpdated;

interface! {
    version "1.4";
    calls {
        /// Serve these routers; answered when they are noted, so that the operator who gave them hears of a dead agent.
        router_added_to_agent "1.0" on TOPIC: (payload: Vec<RouterId>) -> ();
    }
    casts {
        /// These routers are new here or changed.
        routers_updated "1.1" on TOPIC: (routers: Vec<RouterHint>);
        /// A router went; sent to all agents.
        router_deleted "1.0" on TOPIC: (router_id: RouterId);
        /// Serve this router no longer.
        router_removed_from_agent "1.0" on TOPIC: (payload: RouterRemoved);
        /// A neighbour of a distributed router is new.
        add_arp_entry "1.2" on TOPIC: (payload: ArpChange);
        /// A neighbour of a distributed router went.
        del_arp_entry "1.2" on TOPIC: (payload: ArpChange);
        /// An external network went, and with it what distributed routers have for it.
        fipnamespace_delete_on_ext_net "1.0" on TOPIC: (ext_net_id: NetworkId);
        /// The agent was enabled or disabled.
        agent_updated "1.0" on TOPIC: (payload: AgentUpdated);
        /// The MTU of a network changed; L2 agents hear the same message.
        network_update "1.4" on l2_agent::NETWORK_UPDATE: (network: Network);
    }
}
