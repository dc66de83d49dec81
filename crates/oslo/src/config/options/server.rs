//! Options of the API server: core, database, quotas, ML2 and its type drivers, notifications to Nova.

use super::super::option::{Group, boolean, choice, dict, host, int, int_choice, list, multi, port, retired, text};

pub(super) static GROUPS: &[Group] = &[
    Group {
        name: "DEFAULT",
        options: &[
            host("bind_host").default("0.0.0.0").help("Address on which the API answers."),
            port("bind_port").default("9696").help("Port on which the API answers."),
            text("state_path")
                .default("/var/lib/neutron")
                .help("Directory for what services keep between starts; other options refer to it as $state_path."),
            choice("auth_strategy", &["keystone", "noauth"])
                .default("keystone")
                .help("How callers are known: by a Keystone token, or not at all."),
            text("core_plugin").help("The core plug-in; there is one, ml2."),
            list("service_plugins").help("Extensions beyond the core that the API serves.").idle(),
            text("base_mac")
                .default("fa:16:3e:00:00:00")
                .help("First octets of generated MAC addresses; a fourth octet other than 00 is kept too."),
            int("mac_generation_retries")
                .min(0)
                .max(1000)
                .default("16")
                .help("Times a generated MAC address that is in use is replaced by another."),
            boolean("allow_bulk", true).help("Whether one request may create many resources.").idle(),
            text("pagination_max_limit").default("-1").help("Most items in one answer; -1 or infinite sets no limit."),
            list("default_availability_zones").help("Zones for resources whose request names none."),
            int("max_dns_nameservers").min(0).default("5").help("Most DNS servers of one subnet."),
            int("max_subnet_host_routes").min(0).default("20").help("Most host routes of one subnet."),
            int("max_allowed_address_pair").min(0).default("10").help("Most allowed address pairs of one port."),
            int("dhcp_lease_duration")
                .min(-1)
                .default("86400")
                .help("Seconds for which an address is leased; -1 for ever."),
            text("dns_domain").default("openstacklocal").help("Domain of the names that DHCP gives."),
            host("host").help("Name of this machine towards other services; its host name when unset."),
            text("network_link_prefix")
                .help("URL that replaces the API's own in links, for a server behind a proxy.")
                .idle(),
            boolean("filter_validation", true).help("Whether an unknown filter in a query is refused.").idle(),
            int("global_physnet_mtu")
                .min(0)
                .default("1500")
                .was(&[("ml2", "segment_mtu")])
                .help("MTU of the physical networks, from which that of every network is computed."),
            boolean("dhcp_agent_notification", true).help("Whether DHCP agents are told of changes.").idle(),
            boolean("enable_traditional_dhcp", true).help("Whether networks are given to DHCP agents.").idle(),
            int("dhcp_agents_per_network").min(1).default("1").help("DHCP agents that serve one network."),
            boolean("network_auto_schedule", true)
                .help("Whether a DHCP agent that asks is given networks without agent."),
            boolean("allow_automatic_dhcp_failover", true)
                .help("Whether networks of a DHCP agent that is down are given to others."),
            text("router_scheduler_driver")
                .default("neutron.scheduler.l3_agent_scheduler.LeastRoutersScheduler")
                .help("How an L3 agent is chosen for a router: Chance-, LeastRouters- or AZLeastRoutersScheduler."),
            boolean("router_auto_schedule", true).help("Whether an L3 agent that asks is given routers without agent."),
            boolean("allow_automatic_l3agent_failover", false)
                .help("Whether routers of an L3 agent that is down are given to others."),
            boolean("enable_snat_by_default", true)
                .help("Whether what leaves by a router's gateway gets its address, where a request does not say."),
            boolean("l3_ha", false).help("Whether routers are highly available, where a request does not say."),
            int("max_l3_agents_per_router")
                .min(0)
                .default("3")
                .help("L3 agents that have an instance of one HA router; 0 means all of them."),
            text("l3_ha_net_cidr")
                .default("169.254.192.0/18")
                .help("Prefix of the network of each project's HA routers."),
            text("l3_ha_network_type").help("Type of that network; the project's usual one when not set."),
            text("l3_ha_network_physical_name").help("Physical network of that network."),
            choice("dhcp_load_type", &["networks", "subnets", "ports"])
                .default("networks")
                .help("What is counted as the load of a DHCP agent."),
            int("agent_down_time")
                .min(1)
                .max(2_147_483)
                .default("75")
                .help("Seconds without report after which an agent counts as down; at least twice report_interval."),
            boolean("enable_new_agents", true).help("Whether an agent that reports for the first time is enabled."),
            boolean("enable_services_on_agents_with_admin_state_down", false)
                .help("Whether agents that are disabled keep what they serve.")
                .idle(),
            boolean("notify_nova_on_port_status_changes", true)
                .help("Whether Nova hears of a port's change of status."),
            boolean("notify_nova_on_port_data_changes", true)
                .help("Whether Nova hears of a port's change of addresses."),
            int("send_events_interval").min(1).default("2").help("Seconds over which events for Nova are collected."),
            boolean("ipv6_pd_enabled", false)
                .help("Whether an IPv6 subnet without CIDR or pool waits for prefix delegation.")
                .idle(),
            int("api_workers").min(0).help("Threads that serve the API; the number of processors when unset."),
            int("rpc_workers")
                .min(0)
                .help("Accepted for its meaning upstream; one process serves everything here.")
                .idle(),
            int("rpc_state_report_workers")
                .min(0)
                .default("1")
                .help("Accepted for its meaning upstream; one process serves everything here.")
                .idle(),
            text("vlan_transparent")
                .help("Accepted; whether networks pass VLAN tags follows from the mechanism drivers.")
                .idle(),
            int("graceful_shutdown_timeout")
                .min(0)
                .default("60")
                .help("Seconds that requests in progress have to finish when the service stops; 0 sets no limit.")
                .idle(),
            retired("allow_overlapping_ips", "addresses of different networks may always overlap"),
            retired("max_fixed_ips_per_port", "the number of addresses of a port is not limited"),
            retired("allow_pagination", "paging is always on"),
            retired("allow_sorting", "sorting is always on"),
            retired("dhcp_lease_time", "use dhcp_lease_duration"),
            retired("use_ssl", "put a TLS proxy before the API"),
            retired("advertise_mtu", "the MTU is always advertised"),
            retired("verbose", "use debug"),
            retired("nova_url", "use the section [nova]"),
            retired("nova_region_name", "use region_name in [nova]"),
            retired("nova_admin_username", "use username in [nova]"),
            retired("nova_admin_password", "use password in [nova]"),
            retired("nova_admin_tenant_id", "use project_name in [nova]"),
            retired("nova_admin_auth_url", "use auth_url in [nova]"),
            retired("notify_nova_on_port_status_change", "it is spelled notify_nova_on_port_status_changes"),
            retired("ipam_driver", "there is one IPAM driver, and it is always on"),
            retired("network_scheduler_driver", "there is one scheduler; see dhcp_load_type"),
            retired("api_paste_config", "the pipeline of the API is fixed"),
            retired("api_extensions_path", "extensions are built in"),
            retired("default_ipv4_subnet_pool", "mark the pool as default in the API"),
            retired("default_ipv6_subnet_pool", "mark the pool as default in the API"),
        ],
    },
    Group {
        name: "database",
        options: &[
            text("connection")
                .was(&[("DEFAULT", "sql_connection"), ("sql", "connection"), ("database", "sql_connection")])
                .secret()
                .help("URL of the database: mysql+pymysql://, postgresql:// or sqlite://."),
            int("max_pool_size")
                .min(0)
                .default("5")
                .was(&[("DEFAULT", "sql_max_pool_size"), ("database", "sql_max_pool_size")])
                .help("Connections that are kept open; 0 sets no limit to their number."),
            int("max_overflow")
                .min(-1)
                .default("50")
                .was(&[("DEFAULT", "sql_max_overflow"), ("database", "sql_max_overflow")])
                .help("Connections that may be opened beyond max_pool_size; -1 sets no limit."),
            int("pool_timeout")
                .min(0)
                .was(&[("database", "sqlalchemy_pool_timeout")])
                .help("Seconds to wait for a connection when all are in use."),
            int("connection_recycle_time")
                .was(&[("DEFAULT", "sql_idle_timeout"), ("database", "idle_timeout"), ("database", "sql_idle_timeout")])
                .default("3600")
                .help("Seconds after which a connection is replaced; -1 for never."),
            text("connection_parameters")
                .default("")
                .help("Options that are appended to the URL: name=value&name=value."),
            text("mysql_sql_mode")
                .default("TRADITIONAL")
                .help("sql_mode of MySQL's sessions; empty for the server's own."),
            int("mysql_wsrep_sync_wait")
                .help("wsrep_sync_wait of a Galera cluster's sessions; unset for the server's own."),
            text("slave_connection").secret().help(
                "URL of a replica. It is not used: all reads go to connection, so that they see what was written.",
            ),
            int("max_retries")
                .min(-1)
                .default("10")
                .was(&[("DEFAULT", "sql_max_retries"), ("database", "sql_max_retries")])
                .help("Attempts to reach the database at start; -1 for ever."),
            int("retry_interval")
                .min(0)
                .default("10")
                .was(&[("DEFAULT", "sql_retry_interval"), ("database", "reconnect_interval")])
                .help("Seconds between attempts to reach the database."),
            int("db_max_retries")
                .min(-1)
                .default("20")
                .help("Times an operation is repeated after a deadlock or a lost connection; -1 for ever."),
            boolean("use_db_reconnect", false)
                .help("Whether requests wait for a database that is away, as db_max_retries and the intervals say."),
            int("db_retry_interval").min(0).default("1").help("Seconds before the first attempt to reach it again."),
            boolean("db_inc_retry_interval", true).help("Whether the interval doubles with each attempt."),
            int("db_max_retry_interval").min(0).default("10").help("The longest such interval, in seconds."),
        ],
    },
    Group {
        name: "quotas",
        options: &[
            int("default_quota").min(-1).default("-1").help("Quota of resources that have no option; -1 for none."),
            int("quota_network").min(-1).default("100").help("Networks of a project; -1 for no limit."),
            int("quota_subnet").min(-1).default("100").help("Subnets of a project; -1 for no limit."),
            int("quota_port").min(-1).default("500").help("Ports of a project; -1 for no limit."),
            int("quota_router").min(-1).default("10").help("Routers of a project; -1 for no limit."),
            int("quota_floatingip").min(-1).default("50").help("Floating IPs of a project; -1 for no limit."),
            int("quota_security_group").min(-1).default("10").help("Security groups of a project; -1 for no limit."),
            int("quota_security_group_rule")
                .min(-1)
                .default("100")
                .help("Security group rules of a project; -1 for no limit."),
            text("quota_driver")
                .default("neutron.db.quota.driver_nolock.DbQuotaNoLockDriver")
                .help("Accepted; quotas are always checked inside the transaction that creates.")
                .idle(),
            boolean("track_quota_usage", true)
                .help("Accepted; usage is counted inside the transaction that creates.")
                .idle(),
            retired("quota_items", "every resource has its own quota option"),
        ],
    },
    Group {
        name: "ml2",
        options: &[
            list("type_drivers")
                .default("local,flat,vlan,gre,vxlan,geneve")
                .help("Network types that may exist: local, flat, vlan, gre, vxlan, geneve."),
            list("mechanism_drivers")
                .help("Ways to bind ports, tried in this order: linuxbridge, openvswitch, l2population."),
            list("project_network_types")
                .default("local")
                .was(&[("ml2", "tenant_network_types")])
                .help("Types, tried in this order, for networks whose request names none; empty allows none."),
            list("extension_drivers")
                .help("Attributes beyond the core: port_security, dns, qos, uplink_status_propagation."),
            int("path_mtu")
                .min(0)
                .default("0")
                .help("Most bytes of a packet between tunnel ends; 0 for global_physnet_mtu."),
            dict("physical_network_mtus")
                .help("MTU of each physical network that has another than global_physnet_mtu."),
            text("external_network_type").help("Type of an external network whose request names none."),
            int_choice("overlay_ip_version", &[4, 6])
                .default("4")
                .help("IP version of the addresses between which tunnels run."),
        ],
    },
    Group {
        name: "ml2_type_flat",
        options: &[list("flat_networks")
            .default("*")
            .help("Physical networks on which a flat network may be; * for all.")],
    },
    Group {
        name: "ml2_type_vlan",
        options: &[list("network_vlan_ranges")
            .help("Physical networks with VLANs, each with the tags for projects: physnet:10:99.")],
    },
    Group {
        name: "ml2_type_gre",
        options: &[list("tunnel_id_ranges").help("Ranges of GRE keys for projects: 1:1000.")],
    },
    Group {
        name: "ml2_type_vxlan",
        options: &[
            list("vni_ranges").help("Ranges of VXLAN identifiers for projects: 1:1000."),
            text("vxlan_group")
                .help("Multicast group for broadcasts; when unset, they go to each host by itself.")
                .idle(),
        ],
    },
    Group {
        name: "ml2_type_geneve",
        options: &[
            list("vni_ranges").help("Ranges of Geneve identifiers for projects: 1:1000."),
            int("max_header_size").min(0).default("30").help("Bytes of the Geneve header, for the MTU of networks."),
        ],
    },
    Group {
        name: "nova",
        options: &[
            text("region_name").help("Region of Nova in the catalogue."),
            choice("endpoint_type", &["public", "admin", "internal"])
                .default("public")
                .help("Which of Nova's endpoints to call."),
            boolean("live_migration_events", true).help(
                "Whether Nova hears of the wiring alone while an instance migrates, as it has expected since 2019.",
            ),
        ],
    },
    Group {
        name: "oslo_policy",
        options: &[
            text("policy_file")
                .default("policy.yaml")
                .was(&[("DEFAULT", "policy_file")])
                .help("File of rules that replace the defaults, looked for beside the configuration's files."),
            multi("policy_dirs").was(&[("DEFAULT", "policy_dirs")]).help(
                "Directories of further such files, read after it in the order of their names; policy.d when unset.",
            ),
            text("policy_default_rule")
                .default("default")
                .was(&[("DEFAULT", "policy_default_rule")])
                .help("Rule for what has none."),
            boolean("enforce_new_defaults", true)
                .help("Whether rules of earlier releases no longer count beside the defaults."),
            boolean("enforce_scope", true).help("Whether tokens of a system or a domain are refused."),
        ],
    },
    Group {
        name: "ml2_linuxbridge",
        options: &[choice("vif_type", &["bridge", "tap"]).default("bridge").help(
            "What Nova plugs for a port on a Linux bridge host: bridge, or tap for Nova 2026.2 and later, which no \
                 longer plugs bridges.",
        )],
    },
];
