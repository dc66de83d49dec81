//! State reports: every agent tells the server that it lives, what it runs and what it serves.

use std::collections::BTreeMap;

use oslo::{context::Context, messaging::CallError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::interface::encode;

/// Topic of the reports; the server serves them on [`crate::l2::TOPIC`] as well.
pub const TOPIC: &str = "q-reports-plugin";

/// `report_state`'s argument, which is nested twice on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The state itself.
    pub agent_state: AgentState,
}

/// What an agent says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentState {
    /// Upstream name of its program.
    pub binary: String,
    /// Host it runs on.
    pub host: String,
    /// Topic it listens on; `N/A` for agents without one.
    pub topic: String,
    /// One of [`types::agent::kind`].
    pub agent_type: String,
    /// Its configuration and load, by keys of its own.
    #[serde(default)]
    pub configurations: Map<String, Value>,
    /// Random for each start of the agent; not the id that the server gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Zone it serves, of DHCP and L3 agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    /// It has just started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_flag: bool,
    /// Versions of the objects it takes by push; in its first report only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_versions: Option<BTreeMap<String, String>>,
}

/// What the server knew of the agent before a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing.
    New,
    /// It reported in time.
    Alive,
    /// It was taken for dead; the agent then fetches everything again.
    Revived,
}

/// An agent as `get_agents` shows it.
pub type Agent = Map<String, Value>;

interface! {
    version "1.4";
    calls {
        /// Reports an agent's state; `time` is `YYYY-MM-DDTHH:MM:SS.ffffff`, UTC. Without status when the report is
        /// older than the server. Asked for as releases up to 28 have it too.
        report_state "1.3" on TOPIC: (agent_state: Report, time: String) -> Option<Status>;
        /// Whether a server answers that reaches its database.
        has_alive_neutron_server "1.3" on TOPIC: () -> bool;
        /// The agents that fit all given filters.
        get_agents "1.4" on TOPIC: (agent_type: Option<String>, host: Option<String>, is_active: Option<bool>) -> Vec<Agent>;
        /// Forgets an agent.
        delete_agent "1.4" on TOPIC: (host: String, agent_type: String) -> ();
    }
    casts {}
}

impl Client {
    /// [`Self::report_state`] without waiting for the answer.
    pub async fn cast_state(&self, ctx: &Context, agent_state: Report, time: String) -> Result<(), CallError> {
        let mut args = Map::new();
        args.insert("agent_state".to_owned(), encode(&agent_state));
        args.insert("time".to_owned(), time.into());
        self.0.cast(ctx, &method::report_state, Value::Object(args)).await
    }
}
