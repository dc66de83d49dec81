//! What every resource shares: standard attributes, tags, agents, quotas, the revision of the schema.

use super::build::{bigint, boolean, datetime, index, int, reference, text, timestamp, unique};
use crate::schema::{
    Default::{AutoIncrement, Bool, Int},
    OnDelete::{Cascade, SetNull},
    Table,
};

/// Revisions the schema is at: one row per branch.
pub static ALEMBIC_VERSION: Table = Table {
    name: "alembic_version",
    columns: &[text("version_num", 32)],
    primary_key: &["version_num"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[],
};

/// Name, description, timestamps and revision number of every resource.
pub static STANDARDATTRIBUTES: Table = Table {
    name: "standardattributes",
    columns: &[
        bigint("id").default(AutoIncrement),
        text("resource_type", 255),
        datetime("created_at").null(),
        datetime("updated_at").null(),
        text("description", 255).null(),
        bigint("revision_number").default(Int(0)),
    ],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[],
};

/// Tags of resources.
pub static TAGS: Table = Table {
    name: "tags",
    columns: &[bigint("standard_attr_id"), text("tag", 255)],
    primary_key: &["standard_attr_id", "tag"],
    uniques: &[],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade)],
    indexes: &[],
};

/// Agents and their last report.
pub static AGENTS: Table = Table {
    name: "agents",
    columns: &[
        text("id", 36),
        text("agent_type", 255),
        text("binary", 255),
        text("topic", 255),
        text("host", 255),
        boolean("admin_state_up").default(Bool(true)),
        datetime("created_at"),
        datetime("started_at"),
        datetime("heartbeat_timestamp"),
        text("description", 255).null(),
        text("configurations", 4095),
        int("load").default(Int(0)),
        text("availability_zone", 255).null(),
        text("resource_versions", 8191).null(),
        boolean("resources_synced").null(),
    ],
    primary_key: &["id"],
    uniques: &[unique("uniq_agents0agent_type0host", &["agent_type", "host"])],
    foreign_keys: &[],
    indexes: &[index("ix_agents_host", &["host"])],
};

/// Networks served by DHCP agents.
pub static NETWORKDHCPAGENTBINDINGS: Table = Table {
    name: "networkdhcpagentbindings",
    columns: &[text("network_id", 36), text("dhcp_agent_id", 36), int("binding_index").default(Int(1))],
    primary_key: &["network_id", "dhcp_agent_id"],
    uniques: &[unique("uniq_network_dhcp_agent_binding0network_id0binding_index0", &["network_id", "binding_index"])],
    foreign_keys: &[
        reference(&["dhcp_agent_id"], "agents", &["id"], Cascade),
        reference(&["network_id"], "networks", &["id"], Cascade),
    ],
    indexes: &[],
};

/// What a resource still waits for before it is active.
pub static PROVISIONINGBLOCKS: Table = Table {
    name: "provisioningblocks",
    columns: &[bigint("standard_attr_id"), text("entity", 255)],
    primary_key: &["standard_attr_id", "entity"],
    uniques: &[],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade)],
    indexes: &[],
};

/// Limits set for a project.
pub static QUOTAS: Table = Table {
    name: "quotas",
    columns: &[text("id", 36), text("project_id", 255).null(), text("resource", 255).null(), int("limit").null()],
    primary_key: &["id"],
    uniques: &[unique("uniq_quotas0project_id0resource", &["project_id", "resource"])],
    foreign_keys: &[],
    indexes: &[index("ix_quotas_project_id", &["project_id"])],
};

/// Resources counted against a limit.
pub static QUOTAUSAGES: Table = Table {
    name: "quotausages",
    columns: &[
        text("project_id", 255),
        text("resource", 255),
        boolean("dirty").default(Bool(false)),
        int("in_use").default(Int(0)),
        int("reserved").default(Int(0)),
    ],
    primary_key: &["project_id", "resource"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[],
};

/// Quota held for a request in progress.
pub static RESERVATIONS: Table = Table {
    name: "reservations",
    columns: &[text("id", 36), text("project_id", 255).null(), datetime("expiration").null()],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[],
};

/// Amounts of a reservation.
pub static RESOURCEDELTAS: Table = Table {
    name: "resourcedeltas",
    columns: &[text("resource", 255), text("reservation_id", 36), int("amount").null()],
    primary_key: &["resource", "reservation_id"],
    uniques: &[],
    foreign_keys: &[reference(&["reservation_id"], "reservations", &["id"], Cascade)],
    indexes: &[],
};

/// Resources served by a given service provider.
pub static PROVIDERRESOURCEASSOCIATIONS: Table = Table {
    name: "providerresourceassociations",
    columns: &[text("provider_name", 255), text("resource_id", 36)],
    primary_key: &["provider_name", "resource_id"],
    uniques: &[unique("resource_id", &["resource_id"])],
    foreign_keys: &[],
    indexes: &[],
};

/// MAC address each host uses for distributed routing.
pub static DVR_HOST_MACS: Table = Table {
    name: "dvr_host_macs",
    columns: &[text("host", 255), text("mac_address", 32)],
    primary_key: &["host"],
    uniques: &[unique("mac_address", &["mac_address"])],
    foreign_keys: &[],
    indexes: &[],
};

/// Members of the OVN event hash ring.
pub static OVN_HASH_RING: Table = Table {
    name: "ovn_hash_ring",
    columns: &[
        text("node_uuid", 36),
        text("group_name", 256),
        text("hostname", 256),
        datetime("created_at"),
        datetime("updated_at"),
    ],
    primary_key: &["node_uuid", "group_name"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[
        index("ix_ovn_hash_ring_group_name", &["group_name"]),
        index("ix_ovn_hash_ring_node_uuid", &["node_uuid"]),
    ],
};

/// Revision of each resource last written to OVN.
pub static OVN_REVISION_NUMBERS: Table = Table {
    name: "ovn_revision_numbers",
    columns: &[
        bigint("standard_attr_id").null(),
        text("resource_uuid", 36),
        text("resource_type", 36),
        bigint("revision_number").default(Int(0)),
        datetime("created_at"),
        timestamp("updated_at").null(),
    ],
    primary_key: &["resource_uuid", "resource_type"],
    uniques: &[],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], SetNull)],
    indexes: &[
        index("ix_ovn_revision_numbers_resource_type", &["resource_type"]),
        index("ix_ovn_revision_numbers_resource_uuid", &["resource_uuid"]),
    ],
};
