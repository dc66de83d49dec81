//! Agents.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::AgentId;

/// The kinds of agent, by the words upstream stores in `agents.agent_type`.
pub mod kind {
    /// Wires ports to Linux bridges.
    pub const LINUX_BRIDGE: &str = "Linux bridge agent";
    /// Wires ports to Open vSwitch.
    pub const OPEN_VSWITCH: &str = "Open vSwitch agent";
    /// Serves DHCP.
    pub const DHCP: &str = "DHCP agent";
    /// Serves routers.
    pub const L3: &str = "L3 agent";
    /// Serves instance metadata.
    pub const METADATA: &str = "Metadata agent";
}

/// An agent as REST shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Agent {
    /// Its id, given by the server.
    pub id: AgentId,
    /// One of [`kind`].
    pub agent_type: String,
    /// The upstream name of its program.
    pub binary: String,
    /// Topic it listens on.
    pub topic: String,
    /// Host it runs on.
    pub host: String,
    /// Whether new work is given to it.
    pub admin_state_up: bool,
    /// Its heartbeat is younger than `agent_down_time`.
    pub alive: bool,
    /// First report: `YYYY-MM-DD HH:MM:SS`, UTC.
    pub created_at: String,
    /// Last start.
    pub started_at: String,
    /// Last report.
    pub heartbeat_timestamp: String,
    /// Free text.
    pub description: Option<String>,
    /// What it reports of its configuration and load.
    pub configurations: Map<String, Value>,
    /// Zone it serves, for DHCP and L3 agents.
    pub availability_zone: Option<String>,
    /// Whether its resources stand in Placement.
    pub resources_synced: Option<bool>,
}
