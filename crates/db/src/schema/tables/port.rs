//! Ports and what extends them.

use super::build::{bigint, boolean, index, int, reference, text, unique, word};
use crate::schema::{
    Default::{Bool, Int, Text},
    OnDelete::{Cascade, Restrict},
    Table, enums,
};

/// Ports.
pub static PORTS: Table = Table {
    name: "ports",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("name", 255).null(),
        text("network_id", 36),
        text("mac_address", 32),
        boolean("admin_state_up"),
        text("status", 16),
        text("device_id", 255),
        text("device_owner", 255),
        bigint("standard_attr_id"),
        text("ip_allocation", 16).null(),
    ],
    primary_key: &["id"],
    uniques: &[
        unique("uniq_ports0id0network_id", &["id", "network_id"]),
        unique("uniq_ports0network_id0mac_address", &["network_id", "mac_address"]),
        unique("uniq_ports0standard_attr_id", &["standard_attr_id"]),
    ],
    foreign_keys: &[
        reference(&["network_id"], "networks", &["id"], Restrict),
        reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade),
    ],
    indexes: &[
        index("ix_ports_device_id", &["device_id"]),
        index("ix_ports_network_id", &["network_id"]),
        index("ix_ports_network_id_device_owner", &["network_id", "device_owner"]),
        index("ix_ports_project_id", &["project_id"]),
    ],
};

/// Other addresses a port may use.
pub static ALLOWEDADDRESSPAIRS: Table = Table {
    name: "allowedaddresspairs",
    columns: &[text("port_id", 36), text("mac_address", 32), text("ip_address", 64)],
    primary_key: &["port_id", "mac_address", "ip_address"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// DHCP options of a port.
pub static EXTRADHCPOPTS: Table = Table {
    name: "extradhcpopts",
    columns: &[
        text("id", 36),
        text("port_id", 36),
        text("opt_name", 64),
        text("opt_value", 255),
        int("ip_version").default(Int(4)),
    ],
    primary_key: &["id"],
    uniques: &[unique("uniq_extradhcpopts0portid0optname0ipversion", &["port_id", "opt_name", "ip_version"])],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// Port security switch of a port.
pub static PORTSECURITYBINDINGS: Table = Table {
    name: "portsecuritybindings",
    columns: &[text("port_id", 36), boolean("port_security_enabled")],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// DNS names of a port.
pub static PORTDNSES: Table = Table {
    name: "portdnses",
    columns: &[
        text("port_id", 36),
        text("current_dns_name", 255),
        text("current_dns_domain", 255),
        text("previous_dns_name", 255),
        text("previous_dns_domain", 255),
        text("dns_name", 255),
        text("dns_domain", 255).default(Text("")),
    ],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// State of a port's data plane.
pub static PORTDATAPLANESTATUSES: Table = Table {
    name: "portdataplanestatuses",
    columns: &[text("port_id", 36), text("data_plane_status", 16).null()],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// Accelerator profile of a port.
pub static PORTDEVICEPROFILES: Table = Table {
    name: "portdeviceprofiles",
    columns: &[text("port_id", 36), text("device_profile", 255).null()],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// Hardware offload of a port.
pub static PORTHARDWAREOFFLOADTYPE: Table = Table {
    name: "porthardwareoffloadtype",
    columns: &[text("port_id", 36), text("hardware_offload_type", 255).null()],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[index("ix_porthardwareoffloadtype_port_id", &["port_id"])],
};

/// Hints to the mechanism driver.
pub static PORTHINTS: Table = Table {
    name: "porthints",
    columns: &[text("port_id", 36), text("hints", 4095)],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// NUMA affinity of a port.
pub static PORTNUMAAFFINITYPOLICIES: Table = Table {
    name: "portnumaaffinitypolicies",
    columns: &[text("port_id", 36), word("numa_affinity_policy", &enums::NUMA_AFFINITY_POLICY).null()],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// Private VLAN role of a port.
pub static PORTPVLAN: Table = Table {
    name: "portpvlan",
    columns: &[text("port_id", 36), word("pvlan_type", &enums::PVLAN_TYPE), text("pvlan_community", 255).null()],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// Trusted virtual function of a port.
pub static PORTTRUSTED: Table = Table {
    name: "porttrusted",
    columns: &[text("port_id", 36), boolean("trusted").null()],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// Uplink status propagation of a port.
pub static PORTUPLINKSTATUSPROPAGATION: Table = Table {
    name: "portuplinkstatuspropagation",
    columns: &[text("port_id", 36), boolean("propagate_uplink_status").default(Bool(true))],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[reference(&["port_id"], "ports", &["id"], Cascade)],
    indexes: &[],
};

/// Trunks.
pub static TRUNKS: Table = Table {
    name: "trunks",
    columns: &[
        boolean("admin_state_up").default(Bool(true)),
        text("project_id", 255).null(),
        text("id", 36),
        text("name", 255).null(),
        text("port_id", 36),
        text("status", 16).default(Text("ACTIVE")),
        bigint("standard_attr_id"),
    ],
    primary_key: &["id"],
    uniques: &[unique("port_id", &["port_id"]), unique("standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[
        reference(&["port_id"], "ports", &["id"], Cascade),
        reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade),
    ],
    indexes: &[index("ix_trunks_project_id", &["project_id"])],
};

/// Ports of a trunk.
pub static SUBPORTS: Table = Table {
    name: "subports",
    columns: &[text("port_id", 36), text("trunk_id", 36), text("segmentation_type", 32), int("segmentation_id")],
    primary_key: &["port_id"],
    uniques: &[unique(
        "uniq_subport0trunk_id0segmentation_type0segmentation_id",
        &["trunk_id", "segmentation_type", "segmentation_id"],
    )],
    foreign_keys: &[
        reference(&["port_id"], "ports", &["id"], Cascade),
        reference(&["trunk_id"], "trunks", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Local IPs.
pub static LOCAL_IPS: Table = Table {
    name: "local_ips",
    columns: &[
        text("id", 36),
        bigint("standard_attr_id"),
        text("name", 255).null(),
        text("project_id", 255).null(),
        text("local_port_id", 36),
        text("network_id", 36),
        text("local_ip_address", 64),
        text("ip_mode", 32),
    ],
    primary_key: &["id"],
    uniques: &[unique("standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[
        reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade),
        reference(&["local_port_id"], "ports", &["id"], Restrict),
    ],
    indexes: &[index("ix_local_ips_project_id", &["project_id"])],
};

/// Ports served by a local IP.
pub static LOCAL_IP_ASSOCIATIONS: Table = Table {
    name: "local_ip_associations",
    columns: &[text("local_ip_id", 36), text("fixed_port_id", 36), text("fixed_ip", 64)],
    primary_key: &["local_ip_id", "fixed_port_id"],
    uniques: &[],
    foreign_keys: &[
        reference(&["local_ip_id"], "local_ips", &["id"], Restrict),
        reference(&["fixed_port_id"], "ports", &["id"], Cascade),
    ],
    indexes: &[],
};
