//! Who is behind which tunnel: what the server tells L2 agents of the ports of overlay networks, so that they need not
//! flood to find out.
//!
//! An agent is told of changes together with all others. When its first ports of a network are wired, or it asks for
//! that by `refresh_tunnels`, it is told of everything on other hosts, by a message of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::{NetworkId, NetworkType};

/// Topic of forwarding entries.
pub const TOPIC: &str = "q-agent-notifier-l2population-update";

/// MAC and address that stand for all: the host wants what is flooded.
pub const FLOOD: (&str, &str) = ("00:00:00:00:00:00", "0.0.0.0");

/// Entries by network.
pub type Entries = BTreeMap<NetworkId, NetworkEntries>;

/// MAC and address of a port, or [`FLOOD`].
pub type PortEntry = (String, String);

/// Entries of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEntries {
    /// VNI or key of its segment.
    pub segment_id: Option<u32>,
    /// Encapsulation of its segment.
    pub network_type: NetworkType,
    /// Entries by the host's end of the tunnel.
    pub ports: BTreeMap<String, Vec<PortEntry>>,
}

/// Changes of addresses, by network and the host's end of the tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Addresses of ports that stay where they are.
    #[serde(default)]
    pub chg_ip: BTreeMap<NetworkId, BTreeMap<String, AddressChange>>,
}

/// The addresses that differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressChange {
    /// Those that went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<PortEntry>,
    /// Those that came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<PortEntry>,
}

interface! {
    version "1.0";
    calls {}
    casts {
        /// These are there. Sent to one agent, it is all there is on other hosts.
        add_fdb_entries "1.0" on TOPIC: (fdb_entries: Entries);
        /// These went.
        remove_fdb_entries "1.0" on TOPIC: (fdb_entries: Entries);
        /// Addresses of ports changed.
        update_fdb_entries "1.0" on TOPIC: (fdb_entries: Changes);
    }
}
