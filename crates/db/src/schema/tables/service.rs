//! Service plug-ins: flavors, metering, BGP and EVPN.

use super::build::{boolean, index, int, reference, text, unique, word};
use crate::schema::{
    Default::Bool,
    OnDelete::{Cascade, Restrict},
    Table, enums,
};

/// Flavors.
pub static FLAVORS: Table = Table {
    name: "flavors",
    columns: &[
        text("id", 36),
        text("name", 255).null(),
        text("description", 1024).null(),
        boolean("enabled").default(Bool(true)),
        text("service_type", 36).null(),
    ],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[],
};

/// Service profiles.
pub static SERVICEPROFILES: Table = Table {
    name: "serviceprofiles",
    columns: &[
        text("id", 36),
        text("description", 1024).null(),
        text("driver", 1024),
        boolean("enabled").default(Bool(true)),
        text("metainfo", 4096).null(),
    ],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[],
};

/// Service profiles of a flavor.
pub static FLAVORSERVICEPROFILEBINDINGS: Table = Table {
    name: "flavorserviceprofilebindings",
    columns: &[text("service_profile_id", 36), text("flavor_id", 36)],
    primary_key: &["service_profile_id", "flavor_id"],
    uniques: &[],
    foreign_keys: &[
        reference(&["service_profile_id"], "serviceprofiles", &["id"], Cascade),
        reference(&["flavor_id"], "flavors", &["id"], Cascade),
    ],
    indexes: &[index("flavorserviceprofilebindings_ibfk_2", &["flavor_id"])],
};

/// Metering labels.
pub static METERINGLABELS: Table = Table {
    name: "meteringlabels",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("name", 255).null(),
        text("description", 1024).null(),
        boolean("shared").null().default(Bool(false)),
    ],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[index("ix_meteringlabels_project_id", &["project_id"])],
};

/// Rules of metering labels.
pub static METERINGLABELRULES: Table = Table {
    name: "meteringlabelrules",
    columns: &[
        text("id", 36),
        word("direction", &enums::METERING_DIRECTION).null(),
        text("remote_ip_prefix", 64).null(),
        text("metering_label_id", 36),
        boolean("excluded").null().default(Bool(false)),
        text("source_ip_prefix", 64).null(),
        text("destination_ip_prefix", 64).null(),
    ],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[reference(&["metering_label_id"], "meteringlabels", &["id"], Cascade)],
    indexes: &[],
};

/// BGP speakers.
pub static BGP_SPEAKERS: Table = Table {
    name: "bgp_speakers",
    columns: &[
        text("id", 36),
        text("name", 255),
        int("local_as"),
        int("ip_version"),
        text("tenant_id", 255).null(),
        boolean("advertise_floating_ip_host_routes"),
        boolean("advertise_tenant_networks"),
    ],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[index("ix_bgp_speakers_tenant_id", &["tenant_id"])],
};

/// BGP peers.
pub static BGP_PEERS: Table = Table {
    name: "bgp_peers",
    columns: &[
        text("id", 36),
        text("name", 255),
        text("auth_type", 16),
        text("password", 255).null(),
        text("peer_ip", 64),
        int("remote_as"),
        text("tenant_id", 255).null(),
    ],
    primary_key: &["id"],
    uniques: &[],
    foreign_keys: &[],
    indexes: &[index("ix_bgp_peers_tenant_id", &["tenant_id"])],
};

/// BGP speakers served by agents.
pub static BGP_SPEAKER_DRAGENT_BINDINGS: Table = Table {
    name: "bgp_speaker_dragent_bindings",
    columns: &[text("agent_id", 36), text("bgp_speaker_id", 36)],
    primary_key: &["agent_id"],
    uniques: &[],
    foreign_keys: &[
        reference(&["agent_id"], "agents", &["id"], Cascade),
        reference(&["bgp_speaker_id"], "bgp_speakers", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Networks a BGP speaker advertises.
pub static BGP_SPEAKER_NETWORK_BINDINGS: Table = Table {
    name: "bgp_speaker_network_bindings",
    columns: &[text("bgp_speaker_id", 36), text("network_id", 36), int("ip_version")],
    primary_key: &["network_id", "bgp_speaker_id", "ip_version"],
    uniques: &[],
    foreign_keys: &[
        reference(&["bgp_speaker_id"], "bgp_speakers", &["id"], Cascade),
        reference(&["network_id"], "networks", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Peers of a BGP speaker.
pub static BGP_SPEAKER_PEER_BINDINGS: Table = Table {
    name: "bgp_speaker_peer_bindings",
    columns: &[text("bgp_speaker_id", 36), text("bgp_peer_id", 36)],
    primary_key: &["bgp_speaker_id", "bgp_peer_id"],
    uniques: &[],
    foreign_keys: &[
        reference(&["bgp_speaker_id"], "bgp_speakers", &["id"], Cascade),
        reference(&["bgp_peer_id"], "bgp_peers", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Ports advertised in EVPN.
pub static EVPN_ADVERTISED_PORTS: Table = Table {
    name: "evpn_advertised_ports",
    columns: &[text("port_id", 36), text("network_id", 36)],
    primary_key: &["port_id"],
    uniques: &[],
    foreign_keys: &[
        reference(&["port_id", "network_id"], "ports", &["id", "network_id"], Cascade),
        reference(&["network_id"], "evpn_networks", &["network_id"], Cascade),
    ],
    indexes: &[],
};

/// EVPN routing instances.
pub static EVPN_L3_INSTANCES: Table = Table {
    name: "evpn_l3_instances",
    columns: &[text("router_id", 36), text("mapping_id", 36)],
    primary_key: &["router_id"],
    uniques: &[unique("mapping_id", &["mapping_id"])],
    foreign_keys: &[
        reference(&["router_id"], "routers", &["id"], Restrict),
        reference(&["mapping_id"], "vni_vlan_mapping", &["id"], Cascade),
    ],
    indexes: &[],
};

/// EVPN networks.
pub static EVPN_NETWORKS: Table = Table {
    name: "evpn_networks",
    columns: &[text("network_id", 36), text("router_id", 36)],
    primary_key: &["network_id"],
    uniques: &[],
    foreign_keys: &[
        reference(&["network_id"], "networks", &["id"], Restrict),
        reference(&["router_id"], "evpn_l3_instances", &["router_id"], Restrict),
    ],
    indexes: &[],
};
