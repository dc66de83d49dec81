//! Networks, their segments and what extends them.

use super::build::{bigint, boolean, index, int, reference, text, unique, word};
use crate::schema::{
    Default::{Bool, Int, Text},
    OnDelete::{Cascade, SetNull},
    Table, enums,
};

/// Networks.
pub static NETWORKS: Table = Table {
    name: "networks",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("name", 255).null(),
        text("status", 16).null(),
        boolean("admin_state_up").null(),
        int("mtu").default(Int(1500)),
        boolean("vlan_transparent").null(),
        bigint("standard_attr_id"),
        text("availability_zone_hints", 255).null(),
        boolean("qinq").null(),
    ],
    primary_key: &["id"],
    uniques: &[unique("uniq_networks0standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade)],
    indexes: &[index("ix_networks_project_id", &["project_id"])],
};

/// Segments of networks.
pub static NETWORKSEGMENTS: Table = Table {
    name: "networksegments",
    columns: &[
        text("id", 36),
        text("network_id", 36),
        text("network_type", 32),
        text("physical_network", 64).null(),
        int("segmentation_id").null(),
        boolean("is_dynamic").default(Bool(false)),
        int("segment_index").default(Int(0)),
        bigint("standard_attr_id"),
        text("name", 255).null(),
    ],
    primary_key: &["id"],
    uniques: &[
        unique(
            "uniq_networksegment0network_id0network_type0physnet0sidx",
            &["network_id", "network_type", "physical_network", "segment_index"],
        ),
        unique("uniq_networksegments0standard_attr_id", &["standard_attr_id"]),
    ],
    foreign_keys: &[
        reference(&["network_id"], "networks", &["id"], Cascade),
        reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Hosts that reach a segment.
pub static SEGMENTHOSTMAPPINGS: Table = Table {
    name: "segmenthostmappings",
    columns: &[text("segment_id", 36), text("host", 255)],
    primary_key: &["segment_id", "host"],
    uniques: &[],
    foreign_keys: &[reference(&["segment_id"], "networksegments", &["id"], Cascade)],
    indexes: &[],
};

/// Port security default of a network.
pub static NETWORKSECURITYBINDINGS: Table = Table {
    name: "networksecuritybindings",
    columns: &[text("network_id", 36), boolean("port_security_enabled")],
    primary_key: &["network_id"],
    uniques: &[],
    foreign_keys: &[reference(&["network_id"], "networks", &["id"], Cascade)],
    indexes: &[],
};

/// DNS domain of a network.
pub static NETWORKDNSDOMAINS: Table = Table {
    name: "networkdnsdomains",
    columns: &[text("network_id", 36), text("dns_domain", 255)],
    primary_key: &["network_id"],
    uniques: &[],
    foreign_keys: &[reference(&["network_id"], "networks", &["id"], Cascade)],
    indexes: &[],
};

/// Networks that routers may use as gateway.
pub static EXTERNALNETWORKS: Table = Table {
    name: "externalnetworks",
    columns: &[text("network_id", 36), boolean("is_default").default(Bool(false))],
    primary_key: &["network_id"],
    uniques: &[],
    foreign_keys: &[reference(&["network_id"], "networks", &["id"], Cascade)],
    indexes: &[],
};

/// Sharing of networks.
pub static NETWORKRBACS: Table = Table {
    name: "networkrbacs",
    columns: &[
        text("id", 36),
        text("object_id", 36),
        text("project_id", 255).null(),
        text("target_project", 255),
        text("action", 255),
    ],
    primary_key: &["id"],
    uniques: &[unique("uniq_networkrbacs0target_project0object_id0action", &["target_project", "object_id", "action"])],
    foreign_keys: &[reference(&["object_id"], "networks", &["id"], Cascade)],
    indexes: &[
        index("ix_networkrbacs_action", &["action"]),
        index("ix_networkrbacs_project_id", &["project_id"]),
        index("ix_networkrbacs_target_project", &["target_project"]),
    ],
};

/// Private VLAN switch of a network.
pub static NETWORKPVLAN: Table = Table {
    name: "networkpvlan",
    columns: &[text("network_id", 36), boolean("pvlan").default(Bool(false))],
    primary_key: &["network_id"],
    uniques: &[],
    foreign_keys: &[reference(&["network_id"], "networks", &["id"], Cascade)],
    indexes: &[],
};

/// Ranges of segmentation ids for projects.
pub static NETWORK_SEGMENT_RANGES: Table = Table {
    name: "network_segment_ranges",
    columns: &[
        text("id", 36),
        text("name", 255).null(),
        boolean("default"),
        boolean("shared"),
        text("project_id", 255).null(),
        word("network_type", &enums::SEGMENT_RANGE_TYPE),
        text("physical_network", 64).default(Text("")),
        int("minimum").null(),
        int("maximum").null(),
        bigint("standard_attr_id"),
    ],
    primary_key: &["id"],
    uniques: &[
        unique("standard_attr_id", &["standard_attr_id"]),
        unique("uniq_network_segment_ranges", &["default", "network_type", "physical_network", "minimum", "maximum"]),
    ],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade)],
    indexes: &[],
};

/// Row that serialises subnet creation on a network.
pub static NETWORK_SUBNET_LOCK: Table = Table {
    name: "network_subnet_lock",
    columns: &[text("network_id", 36), text("subnet_id", 36).null()],
    primary_key: &["network_id"],
    uniques: &[],
    foreign_keys: &[reference(&["network_id"], "networks", &["id"], Cascade)],
    indexes: &[],
};

/// The network made for a project on demand.
pub static AUTO_ALLOCATED_TOPOLOGIES: Table = Table {
    name: "auto_allocated_topologies",
    columns: &[text("project_id", 255), text("network_id", 36), text("router_id", 36).null()],
    primary_key: &["project_id"],
    uniques: &[],
    foreign_keys: &[
        reference(&["network_id"], "networks", &["id"], Cascade),
        reference(&["router_id"], "routers", &["id"], SetNull),
    ],
    indexes: &[],
};
