//! Port binding and the pools of segmentation ids of the ML2 plug-in.

use super::build::{boolean, index, int, reference, text, unique};
use crate::schema::{
    Default::{Bool, Text},
    OnDelete::{Cascade, Restrict, SetNull},
    Table,
};

/// Bindings of ports to hosts.
pub static ML2_PORT_BINDINGS: Table = Table {
    name: "ml2_port_bindings",
    columns: &[
        text("port_id", 36),
        text("host", 255).default(Text("")),
        text("vif_type", 64),
        text("vnic_type", 64).default(Text("normal")),
        text("profile", 4095).default(Text("")),
        text("vif_details", 4095).default(Text("")),
        text("status", 16).default(Text("ACTIVE")),
    ],
    primary_key: &["port_id", "host"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// Segments a binding passes through.
pub static ML2_PORT_BINDING_LEVELS: Table = Table {
    name: "ml2_port_binding_levels",
    columns: &[
        text("port_id", 36),
        text("host", 255),
        int("level"),
        text("driver", 64).null(),
        text("segment_id", 36).null(),
    ],
    primary_key: &["port_id", "host", "level"],
    uniques: &[],
    foreign_keys: &[
        reference(&["port_id"], "ports", &["id"], Cascade),
        reference(&["segment_id"], "networksegments", &["id"], SetNull),
    ],
    indexes: &[index("ml2_port_binding_levels_ibfk_2", &["segment_id"])],
};

/// Bindings of ports that are on many hosts at once.
pub static ML2_DISTRIBUTED_PORT_BINDINGS: Table = Table {
    name: "ml2_distributed_port_bindings",
    columns: &[
        text("port_id", 36),
        text("host", 255),
        text("router_id", 36).null(),
        text("vif_type", 64),
        text("vif_details", 4095).default(Text("")),
        text("vnic_type", 64).default(Text("normal")),
        text("profile", 4095).default(Text("")),
        text("status", 16),
    ],
    primary_key: &["port_id", "host"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// Physical networks in use by flat networks.
pub static ML2_FLAT_ALLOCATIONS: Table = Table {
    name: "ml2_flat_allocations",
    columns: &[text("physical_network", 64)],
    primary_key: &["physical_network"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[],
};

/// VLAN ids.
pub static ML2_VLAN_ALLOCATIONS: Table = Table {
    name: "ml2_vlan_allocations",
    columns: &[text("physical_network", 64), int("vlan_id"), boolean("allocated")],
    primary_key: &["physical_network", "vlan_id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[index("ix_ml2_vlan_allocations_physical_network_allocated", &["physical_network", "allocated"])],
};

/// VXLAN ids.
pub static ML2_VXLAN_ALLOCATIONS: Table = Table {
    name: "ml2_vxlan_allocations",
    columns: &[int("vxlan_vni"), boolean("allocated").default(Bool(false))],
    primary_key: &["vxlan_vni"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[index("ix_ml2_vxlan_allocations_allocated", &["allocated"])],
};

/// Geneve ids.
pub static ML2_GENEVE_ALLOCATIONS: Table = Table {
    name: "ml2_geneve_allocations",
    columns: &[int("geneve_vni"), boolean("allocated").default(Bool(false))],
    primary_key: &["geneve_vni"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[index("ix_ml2_geneve_allocations_allocated", &["allocated"])],
};

/// GRE ids.
pub static ML2_GRE_ALLOCATIONS: Table = Table {
    name: "ml2_gre_allocations",
    columns: &[int("gre_id"), boolean("allocated").default(Bool(false))],
    primary_key: &["gre_id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[index("ix_ml2_gre_allocations_allocated", &["allocated"])],
};

/// Hosts with a VXLAN tunnel.
pub static ML2_VXLAN_ENDPOINTS: Table = Table {
    name: "ml2_vxlan_endpoints",
    columns: &[text("ip_address", 64), int("udp_port"), text("host", 255).null()],
    primary_key: &["ip_address"],
    uniques: &[unique("unique_ml2_vxlan_endpoints0host", &["host"])],
    foreign_keys: &[],
    indexes: &[],
};

/// Hosts with a Geneve tunnel.
pub static ML2_GENEVE_ENDPOINTS: Table = Table {
    name: "ml2_geneve_endpoints",
    columns: &[text("ip_address", 64), text("host", 255).null()],
    primary_key: &["ip_address"],
    uniques: &[unique("unique_ml2_geneve_endpoints0host", &["host"])],
    foreign_keys: &[],
    indexes: &[],
};

/// Hosts with a GRE tunnel.
pub static ML2_GRE_ENDPOINTS: Table = Table {
    name: "ml2_gre_endpoints",
    columns: &[text("ip_address", 64), text("host", 255).null()],
    primary_key: &["ip_address"],
    uniques: &[unique("unique_ml2_gre_endpoints0host", &["host"])],
    foreign_keys: &[],
    indexes: &[],
};

/// VLAN ids of EVPN.
pub static VLAN_ALLOCATIONS: Table = Table {
    name: "vlan_allocations",
    columns: &[text("id", 36), int("vlan_id"), text("physnet", 64)],
    primary_key: &["id"],
    uniques: &[unique("uniq_vlan_allocations0vlan_id0physnet", &["vlan_id", "physnet"])],
    foreign_keys: &[],
    indexes: &[],
};

/// VNIs of EVPN.
pub static VNI_ALLOCATIONS: Table = Table {
    name: "vni_allocations",
    columns: &[text("id", 36), int("vni"), text("physnet", 64)],
    primary_key: &["id"],
    uniques: &[unique("uniq_vni_allocations0vni0physnet", &["vni", "physnet"])],
    foreign_keys: &[],
    indexes: &[],
};

/// VLAN of a VNI.
pub static VNI_VLAN_MAPPING: Table = Table {
    name: "vni_vlan_mapping",
    columns: &[text("id", 36), text("vni_allocation_id", 36), text("vlan_allocation_id", 36)],
    primary_key: &["id"],
    uniques: &[
        unique("vlan_allocation_id", &["vlan_allocation_id"]),
        unique("vni_allocation_id", &["vni_allocation_id"]),
    ],
    foreign_keys: &[
        reference(&["vni_allocation_id"], "vni_allocations", &["id"], Restrict),
        reference(&["vlan_allocation_id"], "vlan_allocations", &["id"], Restrict),
    ],
    indexes: &[],
};
