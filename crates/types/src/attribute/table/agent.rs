//! Attributes of agents.

use super::*;

/// Most rows are defined by the agent extension; this one adds that they can be sorted by.
const SORTED: &str = "agent_sort_key";

/// Attributes of agents. They are made by the agents' own reports, never by a client.
pub static AGENT: ResourceTable = ResourceTable {
    singular: "agent",
    plural: "agents",
    path: "agents",
    noun: "Agent",
    attributes: &[
        id(SORTED),
        Attribute::new("agent_type", SORTED).filter().sort(),
        Attribute::new("binary", SORTED).filter().sort(),
        Attribute::new("topic", SORTED).filter().sort(),
        Attribute::new("host", SORTED).filter().sort(),
        Attribute::new("admin_state_up", SORTED).update().convert(Convert::Boolean).filter().sort(),
        Attribute::new("created_at", SORTED).sort(),
        Attribute::new("started_at", SORTED).sort(),
        Attribute::new("heartbeat_timestamp", SORTED).sort(),
        Attribute::new("alive", SORTED).filter().sort(),
        Attribute::new("configurations", "agent"),
        Attribute::new("description", SORTED)
            .update()
            .check(Check::StringOrNone(Some(DESCRIPTION_LENGTH)))
            .filter()
            .sort(),
        Attribute::new("resources_synced", "agent-resources-synced").default(Default::Unset),
        Attribute::new("availability_zone", "availability_zone").filter(),
    ],
};
