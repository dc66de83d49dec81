//! Options of the agents: those that all have, the Linux bridge agent's and the DHCP agent's.

use super::super::option::{Group, address, boolean, choice, dict, float, int, list, port, retired, text};

pub(super) static GROUPS: &[Group] = &[
    Group {
        name: "agent",
        options: &[
            float("report_interval")
                .default("30")
                .was(&[("DEFAULT", "report_interval")])
                .help("Seconds between reports to the server; at most half of agent_down_time."),
            int("polling_interval")
                .min(1)
                .default("2")
                .help("Seconds between full checks of what events may have missed.")
                .idle(),
            int("quitting_rpc_timeout")
                .min(0)
                .default("10")
                .help("Seconds that a call may take while the agent stops.")
                .idle(),
            list("extensions").help("Agent extensions to load."),
            text("availability_zone").default("nova").help("Zone that this agent belongs to."),
            boolean("log_agent_heartbeats", false).help("Whether each report is logged."),
            int("check_child_processes_interval")
                .min(0)
                .default("60")
                .help("Seconds between checks of child processes; their end is noticed at once in any case.")
                .idle(),
            choice("check_child_processes_action", &["respawn", "exit"])
                .default("respawn")
                .help("What to do when a child process has ended.")
                .idle(),
            int("dscp").min(0).max(63).help("DSCP of tunnel packets."),
            boolean("dscp_inherit", false).help("Whether tunnel packets take the DSCP of what they carry."),
            text("root_helper").default("sudo").help("Accepted; the agents run as root and start no helper.").idle(),
            text("root_helper_daemon").help("Accepted; the agents run as root and start no helper.").idle(),
            boolean("use_helper_for_ns_read", true).help("Accepted; namespaces are read without a helper.").idle(),
            retired("prevent_arp_spoofing", "ARP spoofing is always prevented where port security is on"),
        ],
    },
    Group {
        name: "linux_bridge",
        options: &[
            dict("physical_interface_mappings")
                .was(&[("linux_bridge", "physical_interface_mapping")])
                .help("Interface of each physical network: physnet:interface."),
            dict("bridge_mappings").help("Existing bridge of each physical network: physnet:bridge."),
        ],
    },
    Group {
        name: "vxlan",
        options: &[
            boolean("enable_vxlan", true).help("Whether this host takes part in VXLAN networks."),
            address("local_ip").help("Address of this host from which its tunnels start."),
            boolean("l2_population", false)
                .help("Whether forwarding entries come from the server instead of multicast."),
            text("vxlan_group")
                .default("224.0.0.1")
                .help("Multicast group, or prefix of groups, for broadcasts; empty: they go to every host."),
            int("ttl").min(0).max(255).help("TTL of tunnel packets."),
            int("tos").min(0).max(255).help("TOS of tunnel packets; replaced by dscp."),
            port("udp_srcport_min")
                .default("0")
                .help("First source port of tunnel packets; 0 leaves it to the kernel."),
            port("udp_srcport_max").default("0").help("Last source port of tunnel packets; 0 leaves it to the kernel."),
            port("udp_dstport").help("Destination port of tunnel packets; 8472 when unset, as the kernel has it."),
            boolean("arp_responder", false).help("Whether the host answers ARP for addresses behind tunnels."),
            list("multicast_ranges").help("Multicast group of ranges of VXLAN identifiers: address:first:last."),
        ],
    },
    Group {
        name: "securitygroup",
        options: &[
            boolean("enable_security_group", true).help("Whether security groups exist and are enforced."),
            text("firewall_driver")
                .help("Firewall of this host: auto, iptables, nftables, noop, or one of upstream's class paths."),
            boolean("enable_ipset", true).help("Whether remote groups become sets instead of a rule for each address."),
            boolean("fast_path", true)
                .help("Whether packets of flows that just passed are not filtered one by one, where the kernel can."),
            list("permitted_ethertypes").help("Further Ethernet types that may pass: 0x4008.").idle(),
        ],
    },
    Group {
        name: "DEFAULT",
        options: &[
            text("interface_driver")
                .default("openvswitch")
                .help("How agents plug their own ports: linuxbridge, openvswitch, or one of their class paths.")
                .idle(),
            text("dhcp_driver")
                .default("neutron.agent.linux.dhcp.Dnsmasq")
                .help("The DHCP server; there is one, dnsmasq."),
            text("dhcp_confs").default("$state_path/dhcp").help("Directory of the files that dnsmasq reads."),
            text("dnsmasq_config_file").help("Further configuration file for dnsmasq."),
            list("dnsmasq_dns_servers")
                .was(&[("DEFAULT", "dnsmasq_dns_server")])
                .help("Name servers that dnsmasq asks for names it does not know."),
            text("dnsmasq_base_log_dir").help("Directory for the logs of dnsmasq, a subdirectory for each network."),
            boolean("dnsmasq_local_resolv", false).help("Whether dnsmasq asks the name servers of this host."),
            int("dnsmasq_lease_max").min(1).default("16777216").help("Most leases of one dnsmasq."),
            boolean("dnsmasq_enable_addr6_list", false)
                .help("Whether a host line of dnsmasq may hold several IPv6 addresses."),
            text("dnsmasq_txt_record").help("TXT record that dnsmasq serves."),
            boolean("dhcp_broadcast_reply", false).help("Whether dnsmasq answers by broadcast."),
            int("resync_interval").min(1).default("5").help("Seconds after which what failed is tried again."),
            int("resync_throttle").min(0).default("1").help("Fewest seconds between two full resynchronisations."),
            int("num_sync_threads").min(1).default("4").help("Networks that are worked on at the same time.").idle(),
            int("bulk_reload_interval")
                .min(0)
                .default("0")
                .help("Seconds over which reloads of dnsmasq are collected.")
                .idle(),
            boolean("enable_isolated_metadata", false)
                .help("Whether the DHCP agent serves metadata on networks without router."),
            boolean("force_metadata", false).help("Whether the DHCP agent serves metadata on every network."),
            boolean("enable_metadata_network", false)
                .help("Whether the DHCP agent serves metadata on a network of link-local addresses."),
            text("ovs_integration_bridge")
                .was(&[("ovs", "integration_bridge")])
                .default("br-int")
                .help("The Open vSwitch bridge that agents plug their ports into.")
                .idle(),
            boolean("ovs_use_veth", false)
                .help("Whether agents plug into Open vSwitch by a pair of veth devices.")
                .idle(),
            retired("dhcp_domain", "use dns_domain"),
            retired("use_namespaces", "namespaces are always used"),
            retired("dhcp_delete_namespaces", "namespaces are always removed"),
            retired("dhcp_lease_relay_socket", "leases are released without a relay"),
            retired("enable_multi_host", "run several DHCP agents and set dhcp_agents_per_network"),
        ],
    },
    Group {
        name: "dhcp",
        options: &[
            boolean("enable_ipv6", true).help("Whether the DHCP agent serves IPv6 subnets.").idle(),
            int("dhcp_renewal_time").min(0).default("0").help("DHCP option 58 in seconds; 0 leaves it to dnsmasq."),
            int("dhcp_rebinding_time").min(0).default("0").help("DHCP option 59 in seconds; 0 leaves it to dnsmasq."),
        ],
    },
];
