//! Subnets, address scopes, subnet pools and address management.

use super::build::{bigint, boolean, index, int, reference, text, unique, word};
use crate::schema::{
    Default::{Bool, Int, Text},
    OnDelete::{Cascade, Restrict},
    Table, enums,
};

/// Subnets.
pub static SUBNETS: Table = Table {
    name: "subnets",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("name", 255).null(),
        text("network_id", 36),
        int("ip_version"),
        text("cidr", 64),
        text("gateway_ip", 64).null(),
        boolean("enable_dhcp").null(),
        word("ipv6_ra_mode", &enums::IPV6_RA_MODES).null(),
        word("ipv6_address_mode", &enums::IPV6_ADDRESS_MODES).null(),
        text("subnetpool_id", 36).null(),
        bigint("standard_attr_id"),
        text("segment_id", 36).null(),
    ],
    primary_key: &["id"],
    uniques: &[unique("uniq_subnets0standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[
        reference(&["network_id"], "networks", &["id"], Restrict),
        reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade),
        reference(&["segment_id"], "networksegments", &["id"], Restrict),
    ],
    indexes: &[index("ix_subnets_project_id", &["project_id"]), index("ix_subnets_subnetpool_id", &["subnetpool_id"])],
};

/// Subnet pools.
pub static SUBNETPOOLS: Table = Table {
    name: "subnetpools",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("name", 255).null(),
        int("ip_version"),
        int("default_prefixlen"),
        int("min_prefixlen"),
        int("max_prefixlen"),
        boolean("shared").default(Bool(false)),
        int("default_quota").null(),
        text("hash", 36).default(Text("")),
        text("address_scope_id", 36).null(),
        boolean("is_default").default(Bool(false)),
        bigint("standard_attr_id"),
    ],
    primary_key: &["id"],
    uniques: &[unique("uniq_subnetpools0standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade)],
    indexes: &[
        index("ix_subnetpools_address_scope_id", &["address_scope_id"]),
        index("ix_subnetpools_project_id", &["project_id"]),
    ],
};

/// Prefixes of subnet pools.
pub static SUBNETPOOLPREFIXES: Table = Table {
    name: "subnetpoolprefixes",
    columns: &[text("cidr", 64), text("subnetpool_id", 36)],
    primary_key: &["cidr", "subnetpool_id"],
    uniques: &[],
    foreign_keys: &[reference(&["subnetpool_id"], "subnetpools", &["id"], Cascade)],
    indexes: &[],
};

/// Sharing of subnet pools.
pub static SUBNETPOOLRBACS: Table = Table {
    name: "subnetpoolrbacs",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("target_project", 255),
        text("action", 255),
        text("object_id", 36),
    ],
    primary_key: &["id"],
    uniques: &[unique(
        "uniq_subnetpoolrbacs0target_project0object_id0action",
        &["target_project", "object_id", "action"],
    )],
    foreign_keys: &[reference(&["object_id"], "subnetpools", &["id"], Cascade)],
    indexes: &[
        index("ix_subnetpoolrbacs_action", &["action"]),
        index("ix_subnetpoolrbacs_project_id", &["project_id"]),
        index("ix_subnetpoolrbacs_target_project", &["target_project"]),
    ],
};

/// Address scopes.
pub static ADDRESS_SCOPES: Table = Table {
    name: "address_scopes",
    columns: &[
        text("id", 36),
        text("name", 255),
        text("project_id", 255).null(),
        boolean("shared").default(Bool(false)),
        int("ip_version"),
    ],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[index("ix_address_scopes_project_id", &["project_id"])],
};

/// Sharing of address scopes.
pub static ADDRESSSCOPERBACS: Table = Table {
    name: "addressscoperbacs",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("target_project", 255),
        text("action", 255),
        text("object_id", 36),
    ],
    primary_key: &["id"],
    uniques: &[unique(
        "uniq_addressscoperbacs0target_project0object_id0action",
        &["target_project", "object_id", "action"],
    )],
    foreign_keys: &[reference(&["object_id"], "address_scopes", &["id"], Cascade)],
    indexes: &[
        index("ix_addressscoperbacs_action", &["action"]),
        index("ix_addressscoperbacs_project_id", &["project_id"]),
        index("ix_addressscoperbacs_target_project", &["target_project"]),
    ],
};

/// Address ranges of a subnet to allocate from.
pub static IPALLOCATIONPOOLS: Table = Table {
    name: "ipallocationpools",
    columns: &[text("id", 36), text("subnet_id", 36).null(), text("first_ip", 64), text("last_ip", 64)],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[reference(&["subnet_id"], "subnets", &["id"], Cascade)],
    indexes: &[],
};

/// Addresses of ports.
pub static IPALLOCATIONS: Table = Table {
    name: "ipallocations",
    columns: &[text("port_id", 36).null(), text("ip_address", 64), text("subnet_id", 36), text("network_id", 36)],
    primary_key: &["ip_address", "subnet_id", "network_id"],
    uniques: &[],
    foreign_keys: &[
        reference(&["network_id"], "networks", &["id"], Cascade),
        reference(&["port_id"], "ports", &["id"], Cascade),
        reference(&["subnet_id"], "subnets", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Subnets as the address manager knows them.
pub static IPAMSUBNETS: Table = Table {
    name: "ipamsubnets",
    columns: &[text("id", 36), text("neutron_subnet_id", 36).null()],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[],
};

/// Address ranges of the address manager.
pub static IPAMALLOCATIONPOOLS: Table = Table {
    name: "ipamallocationpools",
    columns: &[text("id", 36), text("ipam_subnet_id", 36), text("first_ip", 64), text("last_ip", 64)],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[reference(&["ipam_subnet_id"], "ipamsubnets", &["id"], Cascade)],
    indexes: &[],
};

/// Addresses the address manager has given out.
pub static IPAMALLOCATIONS: Table = Table {
    name: "ipamallocations",
    columns: &[text("ip_address", 64), text("status", 36).null(), text("ipam_subnet_id", 36)],
    primary_key: &["ip_address", "ipam_subnet_id"],
    uniques: &[],
    foreign_keys: &[reference(&["ipam_subnet_id"], "ipamsubnets", &["id"], Cascade)],
    indexes: &[],
};

/// DNS servers of a subnet.
pub static DNSNAMESERVERS: Table = Table {
    name: "dnsnameservers",
    columns: &[text("address", 128), text("subnet_id", 36), int("order").default(Int(0))],
    primary_key: &["address", "subnet_id"],
    uniques: &[],
    foreign_keys: &[reference(&["subnet_id"], "subnets", &["id"], Cascade)],
    indexes: &[],
};

/// Host routes of a subnet.
pub static SUBNETROUTES: Table = Table {
    name: "subnetroutes",
    columns: &[text("destination", 64), text("nexthop", 64), text("subnet_id", 36)],
    primary_key: &["destination", "nexthop", "subnet_id"],
    uniques: &[],
    foreign_keys: &[reference(&["subnet_id"], "subnets", &["id"], Cascade)],
    indexes: &[],
};

/// Kinds of device owner a subnet serves.
pub static SUBNET_SERVICE_TYPES: Table = Table {
    name: "subnet_service_types",
    columns: &[text("subnet_id", 36), text("service_type", 255)],
    primary_key: &["subnet_id", "service_type"],
    uniques: &[],
    foreign_keys: &[reference(&["subnet_id"], "subnets", &["id"], Cascade)],
    indexes: &[],
};

/// Whether fixed addresses of a subnet are published in DNS.
pub static SUBNET_DNS_PUBLISH_FIXED_IPS: Table = Table {
    name: "subnet_dns_publish_fixed_ips",
    columns: &[text("subnet_id", 36), boolean("dns_publish_fixed_ip").default(Bool(false))],
    primary_key: &["subnet_id"],
    uniques: &[],
    foreign_keys: &[reference(&["subnet_id"], "subnets", &["id"], Cascade)],
    indexes: &[],
};

/// Subnets whose routes are leaked into BGP.
pub static SUBNET_BGP_LEAK_ROUTES: Table = Table {
    name: "subnet_bgp_leak_routes",
    columns: &[text("subnet_id", 36)],
    primary_key: &["subnet_id"],
    uniques: &[],
    foreign_keys: &[reference(&["subnet_id"], "subnets", &["id"], Cascade)],
    indexes: &[],
};
