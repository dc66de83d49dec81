//! Options of the L3 agent.

use super::super::option::{Group, address, boolean, choice, int, port, retired, text};

pub(super) static GROUPS: &[Group] = &[
    Group {
        name: "DEFAULT",
        options: &[
            choice("agent_mode", &["legacy", "dvr", "dvr_snat", "dvr_no_external"])
                .default("legacy")
                .help("How routers are served; this version serves them whole: legacy."),
            boolean("handle_internal_only_routers", true).help("Whether routers without a gateway are served."),
            address("ipv6_gateway")
                .help("Link-local address of the next hop outside, where the external network has no IPv6 subnet."),
            boolean("enable_metadata_proxy", true).help("Whether instances reach metadata through routers."),
            port("metadata_port").default("9697").help("Port in the namespaces of routers where metadata is taken."),
            text("metadata_access_mark").default("0x1").help("Mark of packets that are let to that port."),
            text("external_ingress_mark").default("0x2").help("Mark of packets that come from outside."),
            text("radvd_user").default("").help("User that radvd becomes; it stays root without one."),
            text("ra_confs").default("$state_path/ra").help("Directory of the files that radvd reads."),
            int("min_rtr_adv_interval").min(1).default("30").help("Fewest seconds between router advertisements."),
            int("max_rtr_adv_interval").min(4).default("100").help("Most seconds between router advertisements."),
            text("external_pids").default("$state_path/external/pids").help("Directory of pid files."),
            boolean("cleanup_on_shutdown", false).help("Whether the L3 agent takes all routers away when it ends."),
            text("ha_confs_path").default("$state_path/ha_confs").help("Directory of the files of keepalived."),
            choice("ha_vrrp_auth_type", &["AH", "PASS"]).default("PASS").help("How VRRP is signed."),
            text("ha_vrrp_auth_password").secret().help("Password by which it is; without one, it is not."),
            int("ha_vrrp_advert_int").min(1).max(254).default("2").help("Seconds between two advertisements of VRRP."),
            int("ha_vrrp_health_check_interval")
                .min(0)
                .default("0")
                .help("Seconds between two checks of the gateway by an active router; 0 for none."),
            boolean("ha_conntrackd_enabled", false).help(
                "Whether the hosts of an HA router know its connections, which then outlive the host that serves.",
            ),
            address("ha_conntrackd_ipv4_mcast_addr").default("225.0.0.50").help("Group in which they are told."),
            int("ha_conntrackd_group")
                .min(0)
                .max(65280)
                .default("3780")
                .help("Port of that group, to which the router's number is added."),
            int("ha_conntrackd_hashlimit").min(1).default("131072").help("Most connections of a router to be told of."),
            int("ha_conntrackd_hashsize").min(1).default("32768").help("Accepted; there is no such table.").idle(),
            int("ha_conntrackd_unix_backlog").min(1).default("20").help("Accepted; there is no such socket.").idle(),
            int("ha_conntrackd_socketbuffersize").min(1).default("262142").help("Accepted; 8 MiB are used.").idle(),
            int("ha_conntrackd_socketbuffersize_max_grown")
                .min(1)
                .default("655355")
                .help("Accepted; 8 MiB are used.")
                .idle(),
            int("ha_conntrackd_sndsocketbuffer").min(1).default("24985600").help("Accepted; not needed.").idle(),
            int("ha_conntrackd_rcvsocketbuffer").min(1).default("24985600").help("Accepted; 8 MiB are used.").idle(),
            int("ha_keepalived_state_change_server_threads")
                .min(1)
                .help("Accepted; the agent sees changes of state itself.")
                .idle(),
            int("periodic_interval").min(0).default("40").help("Accepted; work is done when it is due.").idle(),
            int("periodic_fuzzy_delay").min(0).default("5").help("Accepted; work is done when it is due.").idle(),
            retired("external_network_bridge", "external networks are wired as all others"),
            retired("gateway_external_network_id", "an agent serves all external networks"),
            retired("router_delete_namespaces", "namespaces are always removed"),
            retired("router_id", "an agent serves all its routers"),
            retired("send_arp_for_ha", "new addresses are always announced"),
        ],
    },
    Group {
        name: "agent",
        options: &[
            boolean("use_random_fully", true).help("Whether ports of translated connections are drawn at random.")
        ],
    },
];
