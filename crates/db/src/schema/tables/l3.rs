//! Routers, floating IPs and what hangs on them.

use super::build::{bigint, boolean, index, int, reference, text, unique, word};
use crate::schema::{
    Default::{Bool, Int, Text},
    OnDelete::{Cascade, Restrict},
    Table, enums,
};

/// Routers.
pub static ROUTERS: Table = Table {
    name: "routers",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("name", 255).null(),
        text("status", 16).null(),
        boolean("admin_state_up").null(),
        text("gw_port_id", 36).null(),
        boolean("enable_snat").default(Bool(true)),
        bigint("standard_attr_id"),
        text("flavor_id", 36).null(),
    ],
    primary_key: &["id"],
    uniques: &[unique("uniq_routers0standard_attr_id", &["standard_attr_id"])],
    foreign_keys: &[
        reference(&["gw_port_id"], "ports", &["id"], Restrict),
        reference(&["flavor_id"], "flavors", &["id"], Restrict),
        reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade),
    ],
    indexes: &[index("ix_routers_project_id", &["project_id"])],
};

/// Modes of a router.
pub static ROUTER_EXTRA_ATTRIBUTES: Table = Table {
    name: "router_extra_attributes",
    columns: &[
        text("router_id", 36),
        boolean("distributed").default(Bool(false)),
        boolean("service_router").default(Bool(false)),
        boolean("ha").default(Bool(false)),
        int("ha_vr_id").null(),
        text("availability_zone_hints", 255).null(),
        boolean("enable_default_route_ecmp").default(Bool(false)),
        boolean("enable_default_route_bfd").default(Bool(false)),
    ],
    primary_key: &["router_id"],
    uniques: &[],
    foreign_keys: &[reference(&["router_id"], "routers", &["id"], Cascade)],
    indexes: &[],
};

/// Interfaces of routers.
pub static ROUTERPORTS: Table = Table {
    name: "routerports",
    columns: &[text("router_id", 36), text("port_id", 36), text("port_type", 255).null()],
    primary_key: &["router_id", "port_id"],
    uniques: &[unique("uniq_routerports0port_id", &["port_id"])],
    foreign_keys: &[
        reference(&["router_id"], "routers", &["id"], Cascade),
        reference(&["port_id"], "ports", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Static routes of routers.
pub static ROUTERROUTES: Table = Table {
    name: "routerroutes",
    columns: &[text("destination", 64), text("nexthop", 64), text("router_id", 36)],
    primary_key: &["destination", "nexthop", "router_id"],
    uniques: &[],
    foreign_keys: &[reference(&["router_id"], "routers", &["id"], Cascade)],
    indexes: &[],
};

/// Routers served by L3 agents.
pub static ROUTERL3AGENTBINDINGS: Table = Table {
    name: "routerl3agentbindings",
    columns: &[text("router_id", 36), text("l3_agent_id", 36), int("binding_index").default(Int(1))],
    primary_key: &["router_id", "l3_agent_id"],
    uniques: &[unique("uniq_router_l3_agent_binding0router_id0binding_index0", &["router_id", "binding_index"])],
    foreign_keys: &[
        reference(&["l3_agent_id"], "agents", &["id"], Cascade),
        reference(&["router_id"], "routers", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Floating IPs.
pub static FLOATINGIPS: Table = Table {
    name: "floatingips",
    columns: &[
        text("project_id", 255).null(),
        text("id", 36),
        text("floating_ip_address", 64),
        text("floating_network_id", 36),
        text("floating_port_id", 36),
        text("fixed_port_id", 36).null(),
        text("fixed_ip_address", 64).null(),
        text("router_id", 36).null(),
        text("last_known_router_id", 36).null(),
        text("status", 16).null(),
        bigint("standard_attr_id"),
    ],
    primary_key: &["id"],
    uniques: &[
        unique(
            "uniq_floatingips0floatingnetworkid0fixedportid0fixedipaddress",
            &["floating_network_id", "fixed_port_id", "fixed_ip_address"],
        ),
        unique("uniq_floatingips0standard_attr_id", &["standard_attr_id"]),
    ],
    foreign_keys: &[
        reference(&["fixed_port_id"], "ports", &["id"], Restrict),
        reference(&["floating_port_id"], "ports", &["id"], Cascade),
        reference(&["router_id"], "routers", &["id"], Restrict),
        reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade),
    ],
    indexes: &[index("ix_floatingips_project_id", &["project_id"])],
};

/// DNS names of floating IPs.
pub static FLOATINGIPDNSES: Table = Table {
    name: "floatingipdnses",
    columns: &[
        text("floatingip_id", 36),
        text("dns_name", 255),
        text("dns_domain", 255),
        text("published_dns_name", 255),
        text("published_dns_domain", 255),
    ],
    primary_key: &["floatingip_id"],
    uniques: &[],
    foreign_keys: &[reference(&["floatingip_id"], "floatingips", &["id"], Cascade)],
    indexes: &[],
};

/// Port forwardings of floating IPs.
pub static PORTFORWARDINGS: Table = Table {
    name: "portforwardings",
    columns: &[
        text("id", 36),
        text("floatingip_id", 36),
        text("internal_neutron_port_id", 36),
        text("protocol", 40),
        bigint("standard_attr_id"),
        text("internal_ip_address", 64),
        int("internal_port_start"),
        int("internal_port_end"),
        int("external_port_start"),
        int("external_port_end"),
    ],
    primary_key: &["id"],
    uniques: &[
        unique("uniq_portforwardings0standard_attr_id", &["standard_attr_id"]),
        unique(
            "uniq_port_forwardings0floatingip_id0protocol0external_ports",
            &["floatingip_id", "protocol", "external_port_start", "external_port_end"],
        ),
        unique(
            "uniq_port_forwardings0ptcl0in_prt_id0in_ip_addr0in_prts",
            &[
                "protocol",
                "internal_neutron_port_id",
                "internal_ip_address",
                "internal_port_start",
                "internal_port_end",
            ],
        ),
    ],
    foreign_keys: &[
        reference(&["floatingip_id"], "floatingips", &["id"], Cascade),
        reference(&["internal_neutron_port_id"], "ports", &["id"], Cascade),
        reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade),
    ],
    indexes: &[index("portforwardings_ibfk_2", &["internal_neutron_port_id"])],
};

/// Connection tracking helpers of routers.
pub static CONNTRACK_HELPERS: Table = Table {
    name: "conntrack_helpers",
    columns: &[text("id", 36), text("router_id", 36), text("protocol", 40), int("port"), text("helper", 64)],
    primary_key: &["id"],
    uniques: &[unique(
        "uniq_conntrack_helpers0router_id0protocol0port0helper",
        &["router_id", "protocol", "port", "helper"],
    )],
    foreign_keys: &[reference(&["router_id"], "routers", &["id"], Cascade)],
    indexes: &[],
};

/// Gateway port of a network on a host with distributed routing.
pub static DVR_FIP_GATEWAY_PORT_NETWORK: Table = Table {
    name: "dvr_fip_gateway_port_network",
    columns: &[text("network_id", 36), text("agent_id", 36)],
    primary_key: &["network_id", "agent_id"],
    uniques: &[],
    foreign_keys: &[
        reference(&["network_id"], "networks", &["id"], Cascade),
        reference(&["agent_id"], "agents", &["id"], Cascade),
    ],
    indexes: &[],
};

/// Highly available routers on agents.
pub static HA_ROUTER_AGENT_PORT_BINDINGS: Table = Table {
    name: "ha_router_agent_port_bindings",
    columns: &[
        text("port_id", 36),
        text("router_id", 36),
        text("l3_agent_id", 36).null(),
        word("state", &enums::L3_HA_STATES).null().default(Text("standby")),
    ],
    primary_key: &["port_id"],
    uniques: &[unique("uniq_ha_router_agent_port_bindings0port_id0l3_agent_id", &["router_id", "l3_agent_id"])],
    foreign_keys: &[
        reference(&["port_id"], "ports", &["id"], Cascade),
        reference(&["router_id"], "routers", &["id"], Cascade),
        reference(&["l3_agent_id"], "agents", &["id"], Cascade),
    ],
    indexes: &[],
};

/// The network on which routers of a project elect their master.
pub static HA_ROUTER_NETWORKS: Table = Table {
    name: "ha_router_networks",
    columns: &[text("project_id", 255), text("network_id", 36)],
    primary_key: &["project_id", "network_id"],
    uniques: &[unique("uniq_ha_router_networks0project_id", &["project_id"])],
    foreign_keys: &[reference(&["network_id"], "networks", &["id"], Cascade)],
    indexes: &[],
};

/// VRRP ids in use.
pub static HA_ROUTER_VRID_ALLOCATIONS: Table = Table {
    name: "ha_router_vrid_allocations",
    columns: &[text("network_id", 36), int("vr_id")],
    primary_key: &["network_id", "vr_id"],
    uniques: &[],
    foreign_keys: &[reference(&["network_id"], "networks", &["id"], Cascade)],
    indexes: &[],
};

/// NDP proxies.
pub static NDP_PROXIES: Table = Table {
    name: "ndp_proxies",
    columns: &[
        text("project_id", 255).null(),
        text("name", 255).null(),
        text("id", 36),
        text("router_id", 36),
        text("port_id", 36),
        text("ip_address", 64),
        bigint("standard_attr_id"),
    ],
    primary_key: &["id"],
    uniques: &[
        unique("standard_attr_id", &["standard_attr_id"]),
        unique("uniq_ndp_proxy0router_id0ip_address", &["router_id", "ip_address"]),
    ],
    foreign_keys: &[
        reference(&["router_id"], "routers", &["id"], Cascade),
        reference(&["port_id"], "ports", &["id"], Cascade),
        reference(&["standard_attr_id"], "standardattributes", &["id"], Cascade),
    ],
    indexes: &[index("ix_ndp_proxies_project_id", &["project_id"])],
};

/// NDP proxy switch of a router.
pub static ROUTER_NDP_PROXY_STATE: Table = Table {
    name: "router_ndp_proxy_state",
    columns: &[text("router_id", 36), boolean("enable_ndp_proxy")],
    primary_key: &["router_id"],
    uniques: &[],
    foreign_keys: &[reference(&["router_id"], "routers", &["id"], Cascade)],
    indexes: &[],
};
