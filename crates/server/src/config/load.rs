//! From the options of the configuration files to [`Config`]: words become enums, ranges become numbers, and what means
//! nothing is refused with the file and the line it stands on.

use std::{collections::BTreeMap, sync::Arc};

use oslo::{
    config::{Config as Options, ConfigError},
    policy::Settings,
};
use types::NetworkType;

use crate::policy::Policy;

use super::{Config, L3, Mechanism, Ml2, Quotas, RouterScheduler, VifType};

/// What `core_plugin` may be: upstream's entry point, and the class behind it.
const CORE_PLUGINS: [&str; 2] = ["ml2", "neutron.plugins.ml2.plugin.Ml2Plugin"];
/// What `mechanism_drivers` may hold.
const MECHANISMS: [&str; 3] = ["linuxbridge", "openvswitch", "l2population"];
/// What `extension_drivers` may hold.
const EXTENSION_DRIVERS: [&str; 12] = [
    "port_security",
    "dns",
    "dns_domain_ports",
    "dns_domain_keywords",
    "subnet_dns_publish_fixed_ip",
    "qos",
    "uplink_status_propagation",
    "uplink_status_propagation_updatable",
    "data_plane_status",
    "tag_ports_during_bulk_creation",
    "port_numa_affinity_policy",
    "port_hints",
];
/// Resources with a quota option of their own.
const QUOTAS: [&str; 7] =
    ["network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule"];

/// Numbers that a segment of each type may have.
const VLAN: (u32, u32) = (1, 4094);
const VNI: (u32, u32) = (1, (1 << 24) - 1);
const GRE_KEY: (u32, u32) = (1, u32::MAX);

impl Config {
    /// Reads the options of the server.
    pub fn from_oslo(options: &Options) -> Result<Self, ConfigError> {
        check_core_plugin(options)?;
        check_items(options, "extension_drivers", &EXTENSION_DRIVERS)?;
        Ok(Self {
            pagination_max_limit: pagination_max_limit(options)?,
            base_mac: base_mac(options)?,
            mac_generation_retries: options.get("DEFAULT", "mac_generation_retries")?,
            global_physnet_mtu: options.get("DEFAULT", "global_physnet_mtu")?,
            max_dns_nameservers: options.get("DEFAULT", "max_dns_nameservers")?,
            max_subnet_host_routes: options.get("DEFAULT", "max_subnet_host_routes")?,
            max_allowed_address_pair: options.get("DEFAULT", "max_allowed_address_pair")?,
            agent_down_time: options.get("DEFAULT", "agent_down_time")?,
            enable_new_agents: options.get("DEFAULT", "enable_new_agents")?,
            dhcp_agents_per_network: options.get("DEFAULT", "dhcp_agents_per_network")?,
            network_auto_schedule: options.get("DEFAULT", "network_auto_schedule")?,
            allow_automatic_dhcp_failover: options.get("DEFAULT", "allow_automatic_dhcp_failover")?,
            l3: l3(options)?,
            dhcp_load_type: options.get("DEFAULT", "dhcp_load_type")?,
            default_availability_zones: options.get("DEFAULT", "default_availability_zones")?,
            dns_domain: options.get("DEFAULT", "dns_domain")?,
            enable_security_group: options.get("securitygroup", "enable_security_group")?,
            healthcheck: crate::http::healthcheck::Settings::from_oslo(options)?,
            policy: Arc::new(policy(options)?),
            quotas: quotas(options)?,
            ml2: ml2(options)?,
        })
    }
}

/// Without authentication there is nobody to have rules for.
fn policy(options: &Options) -> Result<Policy, ConfigError> {
    const SECTION: &str = "oslo_policy";
    if options.get::<String>("DEFAULT", "auth_strategy")? == "noauth" {
        return Ok(Policy::open());
    }
    let mut dirs: Vec<String> = options.get(SECTION, "policy_dirs")?;
    if dirs.is_empty() {
        dirs.push("policy.d".to_owned());
    }
    let settings = Settings {
        files: options.places_of(&options.get::<String>(SECTION, "policy_file")?),
        dirs: dirs.iter().map(|dir| options.places_of(dir)).collect(),
        default_rule: options.get(SECTION, "policy_default_rule")?,
        enforce_new_defaults: options.get(SECTION, "enforce_new_defaults")?,
        enforce_scope: options.get(SECTION, "enforce_scope")?,
    };
    Policy::load(settings).map_err(|error| {
        let allowed = ["a mapping of rule names to rules, in YAML or JSON"];
        options.refuse(SECTION, "policy_file", error.chain(), &allowed)
    })
}

fn check_core_plugin(options: &Options) -> Result<(), ConfigError> {
    match options.get::<Option<String>>("DEFAULT", "core_plugin")? {
        Some(name) if !CORE_PLUGINS.contains(&name.as_str()) => {
            Err(options.refuse("DEFAULT", "core_plugin", "no such core plug-in", &CORE_PLUGINS[..1]))
        }
        _ => Ok(()),
    }
}

fn check_items(options: &Options, name: &str, allowed: &[&str]) -> Result<(), ConfigError> {
    let items: Vec<String> = options.get("ml2", name)?;
    match items.iter().find(|item| !allowed.contains(&item.as_str())) {
        Some(item) => Err(options.refuse_item("ml2", name, item, "is not one of them", allowed)),
        None => Ok(()),
    }
}

fn pagination_max_limit(options: &Options) -> Result<u64, ConfigError> {
    let text: String = options.get("DEFAULT", "pagination_max_limit")?;
    match text.trim().parse::<i64>() {
        Ok(limit) => Ok(u64::try_from(limit).unwrap_or(0)),
        Err(_) if text.trim() == "infinite" => Ok(0),
        Err(_) => {
            let allowed = ["infinite", "a whole number, where -1 means no limit"];
            Err(options.refuse("DEFAULT", "pagination_max_limit", "not a number", &allowed))
        }
    }
}

fn base_mac(options: &Options) -> Result<[u8; 6], ConfigError> {
    let text: String = options.get("DEFAULT", "base_mac")?;
    let mut mac = [0; 6];
    let mut octets = text.trim().split(':');
    let good = mac.iter_mut().all(|octet| {
        let parsed = octets.next().filter(|text| text.len() == 2).and_then(|text| u8::from_str_radix(text, 16).ok());
        parsed.is_some_and(|value| {
            *octet = value;
            true
        })
    });
    // The lowest bit of the first octet marks a group of stations; no port may have such an address.
    if good && octets.next().is_none() && mac[0] & 1 == 0 {
        return Ok(mac);
    }
    let allowed = ["a unicast MAC address such as fa:16:3e:00:00:00"];
    Err(options.refuse("DEFAULT", "base_mac", "not a unicast MAC address", &allowed))
}

fn l3(options: &Options) -> Result<L3, ConfigError> {
    const CIDR: &str = "l3_ha_net_cidr";
    let cidr: String = options.get("DEFAULT", CIDR)?;
    let prefix: Option<ipnet::IpNet> = cidr.parse().ok();
    let ha_net_cidr = prefix.filter(|prefix| prefix.trunc() == *prefix);
    let set = |name: &str| options.get::<Option<String>>("DEFAULT", name).map(|text| text.filter(|t| !t.is_empty()));
    Ok(L3 {
        scheduler: router_scheduler(options)?,
        auto_schedule: options.get("DEFAULT", "router_auto_schedule")?,
        allow_automatic_failover: options.get("DEFAULT", "allow_automatic_l3agent_failover")?,
        enable_snat_by_default: options.get("DEFAULT", "enable_snat_by_default")?,
        ha: options.get("DEFAULT", "l3_ha")?,
        max_agents_per_router: options.get("DEFAULT", "max_l3_agents_per_router")?,
        ha_net_cidr: ha_net_cidr
            .ok_or_else(|| options.refuse("DEFAULT", CIDR, "not the prefix of a network", &["169.254.192.0/18"]))?,
        ha_network_type: set("l3_ha_network_type")?,
        ha_network_physical_name: set("l3_ha_network_physical_name")?,
    })
}

/// By the name of upstream's class, with or without its module.
fn router_scheduler(options: &Options) -> Result<RouterScheduler, ConfigError> {
    const NAME: &str = "router_scheduler_driver";
    const ALLOWED: [&str; 3] = [
        "neutron.scheduler.l3_agent_scheduler.LeastRoutersScheduler",
        "neutron.scheduler.l3_agent_scheduler.AZLeastRoutersScheduler",
        "neutron.scheduler.l3_agent_scheduler.ChanceScheduler",
    ];
    let named: String = options.get("DEFAULT", NAME)?;
    match named.rsplit('.').next().unwrap_or_default() {
        "LeastRoutersScheduler" => Ok(RouterScheduler::LeastRouters),
        "AZLeastRoutersScheduler" => Ok(RouterScheduler::AzLeastRouters),
        "ChanceScheduler" => Ok(RouterScheduler::Chance),
        _ => Err(options.refuse("DEFAULT", NAME, "no such scheduler", &ALLOWED)),
    }
}

fn quotas(options: &Options) -> Result<Quotas, ConfigError> {
    let limit = |resource: &str| Ok((resource.to_owned(), options.get("quotas", &format!("quota_{resource}"))?));
    Ok(Quotas {
        default: options.get("quotas", "default_quota")?,
        limits: QUOTAS.into_iter().map(limit).collect::<Result<_, ConfigError>>()?,
    })
}

fn ml2(options: &Options) -> Result<Ml2, ConfigError> {
    let type_drivers = network_types(options, "type_drivers", &NetworkType::ALL)?;
    let ranges = |group: &str, name: &str, bounds| number_ranges(options, group, name, bounds);
    Ok(Ml2 {
        project_network_types: network_types(options, "project_network_types", &type_drivers)?,
        external_network_type: external_network_type(options, &type_drivers)?,
        mechanism_drivers: mechanisms(options)?,
        l2_population: options
            .get::<Vec<String>>("ml2", "mechanism_drivers")?
            .iter()
            .any(|item| item == "l2population"),
        path_mtu: options.get("ml2", "path_mtu")?,
        physical_network_mtus: physical_network_mtus(options)?,
        overlay_ip_version: options.get("ml2", "overlay_ip_version")?,
        flat_networks: flat_networks(options)?,
        vlan_ranges: vlan_ranges(options)?,
        vxlan_ranges: ranges("ml2_type_vxlan", "vni_ranges", VNI)?,
        gre_ranges: ranges("ml2_type_gre", "tunnel_id_ranges", GRE_KEY)?,
        geneve_ranges: ranges("ml2_type_geneve", "vni_ranges", VNI)?,
        geneve_header_size: options.get("ml2_type_geneve", "max_header_size")?,
        linuxbridge_vif_type: match options.get::<String>("ml2_linuxbridge", "vif_type")?.as_str() {
            "tap" => VifType::Tap,
            _ => VifType::Bridge,
        },
        type_drivers,
    })
}

fn network_types(options: &Options, name: &str, allowed: &[NetworkType]) -> Result<Vec<NetworkType>, ConfigError> {
    let items: Vec<String> = options.get("ml2", name)?;
    let known = |item: &String| {
        let found = item.parse::<NetworkType>().ok().filter(|found| allowed.contains(found));
        found.ok_or_else(|| {
            let words: Vec<_> = allowed.iter().map(|kind| kind.as_str()).collect();
            options.refuse_item("ml2", name, item, "is no type driver that is loaded", &words)
        })
    };
    items.iter().filter(|item| !item.is_empty()).map(known).collect()
}

fn external_network_type(options: &Options, allowed: &[NetworkType]) -> Result<Option<NetworkType>, ConfigError> {
    let Some(text) = options.get::<Option<String>>("ml2", "external_network_type")? else {
        return Ok(None);
    };
    match text.parse::<NetworkType>().ok().filter(|found| allowed.contains(found)) {
        Some(found) => Ok(Some(found)),
        None => {
            let words: Vec<_> = allowed.iter().map(|kind| kind.as_str()).collect();
            Err(options.refuse("ml2", "external_network_type", "no type driver that is loaded", &words))
        }
    }
}

/// `l2population` binds nothing: it is a setting of its own.
fn mechanisms(options: &Options) -> Result<Vec<Mechanism>, ConfigError> {
    check_items(options, "mechanism_drivers", &MECHANISMS)?;
    let items: Vec<String> = options.get("ml2", "mechanism_drivers")?;
    let binds = |item: &String| match item.as_str() {
        "linuxbridge" => Some(Mechanism::LinuxBridge),
        "openvswitch" => Some(Mechanism::OpenVSwitch),
        _ => None,
    };
    Ok(items.iter().filter_map(binds).collect())
}

fn physical_network_mtus(options: &Options) -> Result<BTreeMap<String, u32>, ConfigError> {
    let pairs: Vec<(String, String)> = options.get("ml2", "physical_network_mtus")?;
    let number = |(network, mtu): (String, String)| match mtu.parse::<u32>() {
        Ok(mtu) => Ok((network, mtu)),
        Err(_) => {
            let item = format!("{network}:{mtu}");
            let allowed = ["pairs such as physnet1:9000"];
            Err(options.refuse_item("ml2", "physical_network_mtus", &item, "has no number after the colon", &allowed))
        }
    };
    pairs.into_iter().map(number).collect()
}

fn flat_networks(options: &Options) -> Result<Option<Vec<String>>, ConfigError> {
    let networks: Vec<String> = options.get("ml2_type_flat", "flat_networks")?;
    Ok(if networks.iter().any(|network| network == "*") { None } else { Some(networks) })
}

fn vlan_ranges(options: &Options) -> Result<BTreeMap<String, Vec<(u32, u32)>>, ConfigError> {
    let (group, name) = ("ml2_type_vlan", "network_vlan_ranges");
    let mut networks: BTreeMap<String, Vec<(u32, u32)>> = BTreeMap::new();
    for item in options.get::<Vec<String>>(group, name)? {
        let (network, range) = item.split_once(':').map_or((item.as_str(), None), |(name, rest)| (name, Some(rest)));
        if network.trim().is_empty() {
            let allowed = ["physnet, physnet:first:last"];
            return Err(options.refuse_item(group, name, &item, "names no physical network", &allowed));
        }
        let ranges = networks.entry(network.trim().to_owned()).or_default();
        if let Some(range) = range {
            let allowed = format!("physnet, or physnet:first:last with tags from {} to {}", VLAN.0, VLAN.1);
            let refuse = || options.refuse_item(group, name, &item, "is no range of tags", &[&allowed]);
            ranges.push(number_range(range, VLAN).ok_or_else(refuse)?);
        }
    }
    Ok(networks)
}

fn number_ranges(
    options: &Options,
    group: &str,
    name: &str,
    bounds: (u32, u32),
) -> Result<Vec<(u32, u32)>, ConfigError> {
    let items: Vec<String> = options.get(group, name)?;
    let allowed = format!("first:last from {} to {}", bounds.0, bounds.1);
    let range = |item: &String| {
        number_range(item, bounds).ok_or_else(|| options.refuse_item(group, name, item, "is no range", &[&allowed]))
    };
    items.iter().map(range).collect()
}

/// `first:last`, both within the bounds and in order.
fn number_range(text: &str, bounds: (u32, u32)) -> Option<(u32, u32)> {
    let (first, last) = text.split_once(':')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (bounds.0 <= first && first <= last && last <= bounds.1).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use oslo::config::Sources;

    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.conf");
        std::fs::write(&file, text).unwrap();
        let options = Options::load(Sources { files: vec![file], ..Sources::default() }).unwrap();
        let plain = |error: ConfigError| error.to_string().replace(&format!("{}/", dir.path().display()), "");
        Config::from_oslo(&options).map_err(plain)
    }

    /// Every option that is read is in the table, with a kind that fits.
    #[test]
    fn without_files_the_defaults_are_upstreams() {
        let config = load("").unwrap();
        let (ml2, policy) = (Ml2 { mechanism_drivers: Vec::new(), ..Ml2::default() }, Arc::clone(&config.policy));
        let ours = Config { ml2, policy, ..Config::default() };
        assert_eq!(format!("{config:?}"), format!("{ours:?}"));
    }

    #[test]
    fn a_policy_file_that_means_nothing_is_refused_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("neutron.conf");
        std::fs::write(dir.path().join("policy.yaml"), "create_network: role:boss or\n").unwrap();
        std::fs::write(&file, "").unwrap();
        let load = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let options = Options::load(Sources { files: vec![file.clone()], ..Sources::default() }).unwrap();
            Config::from_oslo(&options).map_err(|error| error.to_string())
        };
        let refused = load("").unwrap_err();
        for part in ["policy.yaml, line 1, rule \"create_network\"", "at character 13: a check is missing"] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(load("[DEFAULT]\nauth_strategy = noauth\n").is_ok(), "without callers there are no rules");
    }

    #[test]
    fn words_and_ranges_become_types() {
        let config = load(
            "[DEFAULT]\npagination_max_limit = infinite\nbase_mac = FA:16:3e:4f:00:00\n[quotas]\nquota_port = -1\n\
             [ml2]\ntype_drivers = flat,vlan\ntenant_network_types =\nmechanism_drivers = linuxbridge, l2population\n\
             physical_network_mtus = p:9000\n[ml2_type_flat]\nflat_networks = public\n\
             [ml2_type_vlan]\nnetwork_vlan_ranges = a:10:20,a:30:30,b\n[ml2_type_vxlan]\nvni_ranges = 1:5,7:16777215\n\
             [ml2_linuxbridge]\nvif_type = tap\n",
        )
        .unwrap();
        assert_eq!(config.pagination_max_limit, 0);
        assert_eq!(config.base_mac, [0xfa, 0x16, 0x3e, 0x4f, 0, 0]);
        assert_eq!(config.quotas.limits["port"], -1);
        assert_eq!(config.ml2.type_drivers, [NetworkType::Flat, NetworkType::Vlan]);
        assert!(config.ml2.project_network_types.is_empty());
        assert_eq!((config.ml2.mechanism_drivers, config.ml2.l2_population), (vec![Mechanism::LinuxBridge], true));
        assert_eq!(config.ml2.physical_network_mtus["p"], 9000);
        assert_eq!(config.ml2.flat_networks.as_deref(), Some(&["public".to_owned()][..]));
        assert_eq!(config.ml2.vlan_ranges["a"], [(10, 20), (30, 30)]);
        assert!(config.ml2.vlan_ranges["b"].is_empty());
        assert_eq!(config.ml2.vxlan_ranges, [(1, 5), (7, 16_777_215)]);
        assert_eq!(config.ml2.linuxbridge_vif_type, VifType::Tap);
    }

    #[test]
    fn what_means_nothing_is_refused_with_its_place() {
        let cases = [
            (
                "[DEFAULT]\ncore_plugin = m12\n",
                "a.conf:2: [DEFAULT] core_plugin = m12: no such core plug-in; allowed: ml2; did you mean `ml2`?",
            ),
            (
                "[DEFAULT]\nbase_mac = fa:16:3e\n",
                "a.conf:2: [DEFAULT] base_mac = fa:16:3e: not a unicast MAC address; allowed: a unicast MAC address such as \
                 fa:16:3e:00:00:00",
            ),
            (
                "[DEFAULT]\npagination_max_limit = all\n",
                "a.conf:2: [DEFAULT] pagination_max_limit = all: not a number; allowed: infinite, a whole number, where -1 \
                 means no limit",
            ),
            (
                "[ml2]\ntype_drivers = flat,vlna\n",
                "a.conf:2: [ml2] type_drivers = flat,vlna: `vlna` is no type driver that is loaded; allowed: local, flat, \
                 vlan, gre, vxlan, geneve; did you mean `vlan`?",
            ),
            (
                "[ml2]\ntype_drivers = flat\ntenant_network_types = vlan\n",
                "a.conf:3: [ml2] project_network_types = vlan: `vlan` is no type driver that is loaded; allowed: flat",
            ),
            (
                "[ml2]\nmechanism_drivers = linuxbrige\n",
                "a.conf:2: [ml2] mechanism_drivers = linuxbrige: `linuxbrige` is not one of them; allowed: linuxbridge, \
                 openvswitch, l2population; did you mean `linuxbridge`?",
            ),
            (
                "[ml2_type_vlan]\nnetwork_vlan_ranges = a:10:4095\n",
                "a.conf:2: [ml2_type_vlan] network_vlan_ranges = a:10:4095: `a:10:4095` is no range of tags; allowed: \
                 physnet, or physnet:first:last with tags from 1 to 4094",
            ),
            (
                "[ml2_type_vxlan]\nvni_ranges = 9:1\n",
                "a.conf:2: [ml2_type_vxlan] vni_ranges = 9:1: `9:1` is no range; allowed: first:last from 1 to 16777215",
            ),
            (
                "[ml2]\nphysical_network_mtus = p:big\n",
                "a.conf:2: [ml2] physical_network_mtus = p:big: `p:big` has no number after the colon; allowed: pairs such \
                 as physnet1:9000",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(load(text).unwrap_err(), message);
        }
    }
}
