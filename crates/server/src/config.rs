//! What an operator can set of the server, typed. Filled once at the edge; operations read fields, never option names.

mod load;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ipnet::IpNet;
use types::NetworkType;

use crate::policy::Policy;

/// Options of the server.
#[derive(Debug, Clone)]
pub struct Config {
    /// `pagination_max_limit`; 0 means no bound.
    pub pagination_max_limit: u64,
    /// `base_mac`: octets of new MACs; the last three are random when the fourth is zero, else the last two.
    pub base_mac: [u8; 6],
    /// `mac_generation_retries`
    pub mac_generation_retries: u32,
    /// `global_physnet_mtu`
    pub global_physnet_mtu: u32,
    /// `max_dns_nameservers`
    pub max_dns_nameservers: usize,
    /// `max_subnet_host_routes`
    pub max_subnet_host_routes: usize,
    /// `max_allowed_address_pair`
    pub max_allowed_address_pair: usize,
    /// `agent_down_time`
    pub agent_down_time: Duration,
    /// `enable_new_agents`
    pub enable_new_agents: bool,
    /// `dhcp_agents_per_network`
    pub dhcp_agents_per_network: usize,
    /// `network_auto_schedule`
    pub network_auto_schedule: bool,
    /// `allow_automatic_dhcp_failover`
    pub allow_automatic_dhcp_failover: bool,
    /// Routers.
    pub l3: L3,
    /// `dhcp_load_type`: `networks`, `subnets` or `ports`.
    pub dhcp_load_type: String,
    /// `default_availability_zones`
    pub default_availability_zones: Vec<String>,
    /// `dns_domain`
    pub dns_domain: String,
    /// `[securitygroup] enable_security_group`
    pub enable_security_group: bool,
    /// `[healthcheck]`
    pub healthcheck: crate::http::healthcheck::Settings,
    /// `[oslo_policy]`
    pub policy: Arc<Policy>,
    /// `[quotas]`
    pub quotas: Quotas,
    /// `[ml2]` and its type drivers.
    pub ml2: Ml2,
}

/// How routers are made, and given to L3 agents.
#[derive(Debug, Clone)]
pub struct L3 {
    /// `router_scheduler_driver`
    pub scheduler: RouterScheduler,
    /// `router_auto_schedule`
    pub auto_schedule: bool,
    /// `allow_automatic_l3agent_failover`
    pub allow_automatic_failover: bool,
    /// `enable_snat_by_default`
    pub enable_snat_by_default: bool,
    /// `l3_ha`
    pub ha: bool,
    /// `max_l3_agents_per_router`; 0 means all.
    pub max_agents_per_router: usize,
    /// `l3_ha_net_cidr`
    pub ha_net_cidr: IpNet,
    /// `l3_ha_network_type`
    pub ha_network_type: Option<String>,
    /// `l3_ha_network_physical_name`
    pub ha_network_physical_name: Option<String>,
}

/// How an agent is chosen for a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterScheduler {
    /// At random.
    Chance,
    /// The one with the fewest routers.
    LeastRouters,
    /// The same within the zones that the router hints at, over which instances of HA routers are spread.
    AzLeastRouters,
}

/// `[quotas]`: limits per project; negative means none.
#[derive(Debug, Clone)]
pub struct Quotas {
    /// `default_quota`
    pub default: i64,
    /// `quota_<resource>`, by resource.
    pub limits: BTreeMap<String, i64>,
}

/// `[ml2]` and its type drivers.
#[derive(Debug, Clone)]
pub struct Ml2 {
    /// `type_drivers`
    pub type_drivers: Vec<NetworkType>,
    /// `project_network_types`, in the order they are tried.
    pub project_network_types: Vec<NetworkType>,
    /// `external_network_type`
    pub external_network_type: Option<NetworkType>,
    /// `mechanism_drivers`, in the order they are asked to bind a port.
    pub mechanism_drivers: Vec<Mechanism>,
    /// `l2population` is among them: agents of overlays are told who is behind which tunnel.
    pub l2_population: bool,
    /// `path_mtu`; 0 means none.
    pub path_mtu: u32,
    /// `physical_network_mtus`
    pub physical_network_mtus: BTreeMap<String, u32>,
    /// `overlay_ip_version`
    pub overlay_ip_version: u8,
    /// `[ml2_type_flat] flat_networks`; `None` means any.
    pub flat_networks: Option<Vec<String>>,
    /// `[ml2_type_vlan] network_vlan_ranges`: ranges of each physical network; without ranges only given ids.
    pub vlan_ranges: BTreeMap<String, Vec<(u32, u32)>>,
    /// `[ml2_type_vxlan] vni_ranges`
    pub vxlan_ranges: Vec<(u32, u32)>,
    /// `[ml2_type_gre] tunnel_id_ranges`
    pub gre_ranges: Vec<(u32, u32)>,
    /// `[ml2_type_geneve] vni_ranges`
    pub geneve_ranges: Vec<(u32, u32)>,
    /// `[ml2_type_geneve] max_header_size`
    pub geneve_header_size: u32,
    /// What `linuxbridge` ports are bound as.
    pub linuxbridge_vif_type: VifType,
}

/// A driver that binds ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// `linuxbridge`
    LinuxBridge,
    /// `openvswitch`
    OpenVSwitch,
}

/// How the compute service plugs an instance into a Linux bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VifType {
    /// The compute service makes the bridge and the tap (Nova up to 2026.1).
    Bridge,
    /// The compute service makes the tap, the agent does the rest (any Nova).
    Tap,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pagination_max_limit: 0,
            base_mac: [0xfa, 0x16, 0x3e, 0, 0, 0],
            mac_generation_retries: 16,
            global_physnet_mtu: 1500,
            max_dns_nameservers: 5,
            max_subnet_host_routes: 20,
            max_allowed_address_pair: 10,
            agent_down_time: Duration::from_secs(75),
            enable_new_agents: true,
            dhcp_agents_per_network: 1,
            network_auto_schedule: true,
            allow_automatic_dhcp_failover: true,
            l3: L3::default(),
            dhcp_load_type: "networks".to_owned(),
            default_availability_zones: Vec::new(),
            dns_domain: "openstacklocal".to_owned(),
            enable_security_group: true,
            healthcheck: crate::http::healthcheck::Settings::default(),
            policy: Arc::default(),
            quotas: Quotas::default(),
            ml2: Ml2::default(),
        }
    }
}

impl Default for L3 {
    fn default() -> Self {
        let ha_net_cidr = IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(169, 254, 192, 0), 18));
        Self {
            scheduler: RouterScheduler::LeastRouters,
            auto_schedule: true,
            allow_automatic_failover: false,
            enable_snat_by_default: true,
            ha: false,
            max_agents_per_router: 3,
            ha_net_cidr,
            ha_network_type: None,
            ha_network_physical_name: None,
        }
    }
}

impl Default for Quotas {
    fn default() -> Self {
        let limits = [
            ("network", 100),
            ("subnet", 100),
            ("port", 500),
            ("router", 10),
            ("floatingip", 50),
            ("security_group", 10),
            ("security_group_rule", 100),
        ];
        Self { default: -1, limits: limits.map(|(resource, limit)| (resource.to_owned(), limit)).into() }
    }
}

impl Default for Ml2 {
    fn default() -> Self {
        Self {
            type_drivers: NetworkType::ALL.to_vec(),
            project_network_types: vec![NetworkType::Local],
            external_network_type: None,
            mechanism_drivers: vec![Mechanism::LinuxBridge, Mechanism::OpenVSwitch],
            l2_population: false,
            path_mtu: 0,
            physical_network_mtus: BTreeMap::new(),
            overlay_ip_version: 4,
            flat_networks: None,
            vlan_ranges: BTreeMap::new(),
            vxlan_ranges: Vec::new(),
            gre_ranges: Vec::new(),
            geneve_ranges: Vec::new(),
            geneve_header_size: 30,
            linuxbridge_vif_type: VifType::Bridge,
        }
    }
}
