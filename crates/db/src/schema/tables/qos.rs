//! Quality of service.

use super::build::{bigint, index, int, reference, text, unique, word};
use crate::schema::{Default::Text, OnDelete::Cascade, Table, enums};

/// Policies.
pub static QOS_POLICIES: Table = Table {
    name: "qos_policies",
    columns: &[text("id", 36), text("name", 255).null(), text("project_id", 255).null(), bigint("standard_attr_id")],
    primary_key: &["id"],
    uniques: &[unique("uniq_qos_policies0standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade)],
    indexes: &[index("ix_qos_policies_project_id", &["project_id"])],
};

/// The default policy of a project.
pub static QOS_POLICIES_DEFAULT: Table = Table {
    name: "qos_policies_default",
    columns: &[text("qos_policy_id", 36), text("project_id", 255)],
    primary_key: &["project_id"],
    uniques: &[],
    foreign_keys: &[reference(&["qos_policy_id"], "qos_policies", &["id"], Cascade)],
    indexes: &[],
};

/// Sharing of policies.
pub static QOSPOLICYRBACS: Table = Table {
    name: "qospolicyrbacs",
    columns: &[
        text("id", 36),
        text("project_id", 255).null(),
        text("target_project", 255),
        text("action", 255),
        text("object_id", 36),
    ],
    primary_key: &["id"],
    uniques: &[unique(
        "uniq_qospolicyrbacs0target_project0object_id0action",
        &["target_project", "object_id", "action"],
    )],
    foreign_keys: &[reference(&["object_id"], "qos_policies", &["id"], Cascade)],
    indexes: &[
        index("ix_qospolicyrbacs_action", &["action"]),
        index("ix_qospolicyrbacs_project_id", &["project_id"]),
        index("ix_qospolicyrbacs_target_project", &["target_project"]),
    ],
};

/// Bandwidth limits.
pub static QOS_BANDWIDTH_LIMIT_RULES: Table = Table {
    name: "qos_bandwidth_limit_rules",
    columns: &[
        text("id", 36),
        text("qos_policy_id", 36),
        int("max_kbps").null(),
        int("max_burst_kbps").null(),
        word("direction", &enums::DIRECTIONS).default(Text("egress")),
    ],
    primary_key: &["id"],
    uniques: &[unique("qos_bandwidth_rules0qos_policy_id0direction", &["qos_policy_id", "direction"])],
    foreign_keys: &[reference(&["qos_policy_id"], "qos_policies", &["id"], Cascade)],
    indexes: &[],
};

/// DSCP marks.
pub static QOS_DSCP_MARKING_RULES: Table = Table {
    name: "qos_dscp_marking_rules",
    columns: &[text("id", 36), text("qos_policy_id", 36), int("dscp_mark").null()],
    primary_key: &["id"],
    uniques: &[unique("qos_policy_id", &["qos_policy_id"])],
    foreign_keys: &[reference(&["qos_policy_id"], "qos_policies", &["id"], Cascade)],
    indexes: &[],
};

/// Bandwidth guarantees.
pub static QOS_MINIMUM_BANDWIDTH_RULES: Table = Table {
    name: "qos_minimum_bandwidth_rules",
    columns: &[
        text("id", 36),
        text("qos_policy_id", 36),
        int("min_kbps").null(),
        word("direction", &enums::DIRECTIONS).default(Text("egress")),
    ],
    primary_key: &["id"],
    uniques: &[unique("qos_minimum_bandwidth_rules0qos_policy_id0direction", &["qos_policy_id", "direction"])],
    foreign_keys: &[reference(&["qos_policy_id"], "qos_policies", &["id"], Cascade)],
    indexes: &[index("ix_qos_minimum_bandwidth_rules_qos_policy_id", &["qos_policy_id"])],
};

/// Packet rate guarantees.
pub static QOS_MINIMUM_PACKET_RATE_RULES: Table = Table {
    name: "qos_minimum_packet_rate_rules",
    columns: &[
        text("id", 36),
        text("qos_policy_id", 36).null(),
        int("min_kpps"),
        word("direction", &enums::MINIMUM_PACKET_RATE_DIRECTIONS).default(Text("egress")),
    ],
    primary_key: &["id"],
    uniques: &[unique("qos_minimum_packet_rate_rules0qos_policy_id0direction", &["qos_policy_id", "direction"])],
    foreign_keys: &[reference(&["qos_policy_id"], "qos_policies", &["id"], Cascade)],
    indexes: &[index("ix_qos_minimum_packet_rate_rules_qos_policy_id", &["qos_policy_id"])],
};

/// Packet rate limits.
pub static QOS_PACKET_RATE_LIMIT_RULES: Table = Table {
    name: "qos_packet_rate_limit_rules",
    columns: &[
        text("id", 36),
        text("qos_policy_id", 36),
        int("max_kpps").null(),
        int("max_burst_kpps").null(),
        word("direction", &enums::PACKET_RATE_LIMIT_DIRECTIONS).default(Text("egress")),
    ],
    primary_key: &["id"],
    uniques: &[unique("qos_packet_rate_limit_rules0qos_policy_id0direction", &["qos_policy_id", "direction"])],
    foreign_keys: &[reference(&["qos_policy_id"], "qos_policies", &["id"], Cascade)],
    indexes: &[index("ix_qos_packet_rate_limit_rules_qos_policy_id", &["qos_policy_id"])],
};

/// Policies of networks.
pub static QOS_NETWORK_POLICY_BINDINGS: Table = Table {
    name: "qos_network_policy_bindings",
    columns: &[text("policy_id", 36), text("network_id", 36)],
    primary_key: &[],
    uniques: &[unique("network_id", &["network_id"])],
    foreign_keys: &[
        reference(&["policy_id"], "qos_policies", &["id"], Cascade),
        reference(&["network_id"], "networks", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Policies of ports.
pub static QOS_PORT_POLICY_BINDINGS: Table = Table {
    name: "qos_port_policy_bindings",
    columns: &[text("policy_id", 36), text("port_id", 36)],
    primary_key: &[],
    uniques: &[unique("port_id", &["port_id"])],
    foreign_keys: &[
        reference(&["policy_id"], "qos_policies", &["id"], Cascade),
        reference(&["port_id"], "ports", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Policies of floating IPs.
pub static QOS_FIP_POLICY_BINDINGS: Table = Table {
    name: "qos_fip_policy_bindings",
    columns: &[text("policy_id", 36), text("fip_id", 36)],
    primary_key: &[],
    uniques: &[unique("fip_id", &["fip_id"])],
    foreign_keys: &[
        reference(&["policy_id"], "qos_policies", &["id"], Cascade),
        reference(&["fip_id"], "floatingips", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Policies of router gateways.
pub static QOS_ROUTER_GW_POLICY_BINDINGS: Table = Table {
    name: "qos_router_gw_policy_bindings",
    columns: &[text("policy_id", 36), text("router_id", 36)],
    primary_key: &["policy_id", "router_id"],
    uniques: &[unique("router_id", &["router_id"])],
    foreign_keys: &[
        reference(&["policy_id"], "qos_policies", &["id"], Cascade),
        reference(&["router_id"], "routers", &["id"], Cascade),
    ],
    indexes: &[],
};
