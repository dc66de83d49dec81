//! Security groups, address groups and packet logs.

use super::build::{bigint, boolean, index, int, reference, text, unique, word};
use crate::schema::{Default::Bool, OnDelete::Cascade, Table, enums};

/// Security groups.
pub static SECURITYGROUPS: Table = Table {
    name: "securitygroups",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("name", 255).null(),
        bigint("standard_attr_id"),
        boolean("stateful").default(Bool(true)),
    ],
    primary_key: &["id"],
    uniques: &[unique("uniq_securitygroups0standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade)],
    indexes: &[index("ix_securitygroups_project_id", &["project_id"])],
};

/// Rules of security groups.
pub static SECURITYGROUPRULES: Table = Table {
    name: "securitygrouprules",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("security_group_id", 36),
        text("remote_group_id", 36).null(),
        word("direction", &enums::RULE_DIRECTION).null(),
        text("ethertype", 40).null(),
        text("protocol", 40).null(),
        int("port_range_min").null(),
        int("port_range_max").null(),
        text("remote_ip_prefix", 255).null(),
        bigint("standard_attr_id"),
        text("remote_address_group_id", 36).null(),
    ],
    primary_key: &["id"],
    uniques: &[unique("uniq_securitygrouprules0standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[
        reference(&["security_group_id"], "securitygroups", &["id"], Cascade),
        reference(&["remote_group_id"], "securitygroups", &["id"], Cascade),
        reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade),
        reference(&["remote_address_group_id"], "address_groups", &["id"], Cascade),
    ],
    indexes: &[index("ix_securitygrouprules_project_id", &["project_id"])],
};

/// Security groups of ports.
pub static SECURITYGROUPPORTBINDINGS: Table = Table {
    name: "securitygroupportbindings",
    columns: &[text("port_id", 36), text("security_group_id", 36)],
    primary_key: &["port_id", "security_group_id"],
    uniques: &[],
    foreign_keys: &[
        reference(&["port_id"], "ports", &["id"], Cascade),
        reference(&["security_group_id"], "securitygroups", &["id"], Cascade),
    ],
    indexes: &[index("securitygroupportbindings_ibfk_2", &["security_group_id"])],
};

/// Sharing of security groups.
pub static SECURITYGROUPRBACS: Table = Table {
    name: "securitygrouprbacs",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("target_project", 255),
        text("action", 255),
        text("object_id", 36),
    ],
    primary_key: &["id"],
    uniques: &[unique(
        "uniq_securitygrouprbacs0target_project0object_id0action",
        &["target_project", "object_id", "action"],
    )],
    foreign_keys: &[reference(&["object_id"], "securitygroups", &["id"], Cascade)],
    indexes: &[
        index("ix_securitygrouprbacs_action", &["action"]),
        index("ix_securitygrouprbacs_project_id", &["project_id"]),
        index("ix_securitygrouprbacs_target_project", &["target_project"]),
    ],
};

/// Rules that new security groups start with.
pub static SECURITYGROUPDEFAULTRULES: Table = Table {
    name: "securitygroupdefaultrules",
    columns: &[
        text("id", 36),
        bigint("standard_attr_id"),
        text("remote_group_id", 36).null(),
        text("remote_address_group_id", 36).null(),
        word("direction", &enums::DEFAULT_RULE_DIRECTION),
        text("ethertype", 40).null(),
        text("protocol", 40).null(),
        int("port_range_min").null(),
        int("port_range_max").null(),
        text("remote_ip_prefix", 255).null(),
        boolean("used_in_default_sg").default(Bool(false)),
        boolean("used_in_non_default_sg").default(Bool(true)),
    ],
    primary_key: &["id"],
    uniques: &[unique("standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade)],
    indexes: &[],
};

/// The default security group of a project.
pub static DEFAULT_SECURITY_GROUP: Table = Table {
    name: "default_security_group",
    columns: &[text("project_id", 255), text("security_group_id", 36)],
    primary_key: &["project_id"],
    uniques: &[],
    foreign_keys: &[reference(&["security_group_id"], "securitygroups", &["id"], Cascade)],
    indexes: &[],
};

/// Whether the groups of a project are stateful by default.
pub static SECURITY_GROUPS_DEFAULT_STATEFULNESS: Table = Table {
    name: "security_groups_default_statefulness",
    columns: &[text("id", 36), text("project_id", 255).null(), boolean("stateful").default(Bool(true))],
    primary_key: &["id"],
    uniques: &[unique("project_id", &["project_id"])],
    foreign_keys: &[],
    indexes: &[],
};

/// Address groups.
pub static ADDRESS_GROUPS: Table = Table {
    name: "address_groups",
    columns: &[text("project_id", 255).null(), text("id", 36), text("name", 255).null(), bigint("standard_attr_id")],
    primary_key: &["id"],
    uniques: &[unique("uniq_address_groups0standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade)],
    indexes: &[index("ix_address_groups_project_id", &["project_id"])],
};

/// Addresses of an address group.
pub static ADDRESS_ASSOCIATIONS: Table = Table {
    name: "address_associations",
    columns: &[text("address", 64), text("address_group_id", 36)],
    primary_key: &["address", "address_group_id"],
    uniques: &[],
    foreign_keys: &[reference(&["address_group_id"], "address_groups", &["id"], Cascade)],
    indexes: &[],
};

/// Sharing of address groups.
pub static ADDRESSGROUPRBACS: Table = Table {
    name: "addressgrouprbacs",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("target_project", 255),
        text("action", 255),
        text("object_id", 36),
    ],
    primary_key: &["id"],
    uniques: &[unique(
        "uniq_addressgrouprbacs0target_project0object_id0action",
        &["target_project", "object_id", "action"],
    )],
    foreign_keys: &[reference(&["object_id"], "address_groups", &["id"], Cascade)],
    indexes: &[
        index("ix_addressgrouprbacs_action", &["action"]),
        index("ix_addressgrouprbacs_project_id", &["project_id"]),
        index("ix_addressgrouprbacs_target_project", &["target_project"]),
    ],
};

/// Packet logs.
pub static LOGS: Table = Table {
    name: "logs",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        bigint("standard_attr_id"),
        text("name", 255).null(),
        text("resource_type", 36),
        text("resource_id", 36).null(),
        text("target_id", 36).null(),
        text("event", 255),
        boolean("enabled").null(),
    ],
    primary_key: &["id"],
    uniques: &[unique("standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade)],
    indexes: &[
        index("ix_logs_project_id", &["project_id"]),
        index("ix_logs_resource_id", &["resource_id"]),
        index("ix_logs_target_id", &["target_id"]),
    ],
};
