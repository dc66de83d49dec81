//! From the options of the configuration files to what each agent needs, typed; what means nothing is refused with the
//! file and the line it stands on.

mod l3;
mod metadata;

use std::net::IpAddr;

use ipnet::IpNet;
use oslo::config::{Config as Options, ConfigError, Origin};

use crate::dhcp;
use crate::linuxbridge::{self, Firewall, FirewallDriver, GroupRange, Overlay};

/// What `dhcp_driver` may be: upstream's class, which is its default.
const DHCP_DRIVERS: [&str; 1] = ["neutron.agent.linux.dhcp.Dnsmasq"];
/// The UDP port of VXLAN that the kernel had before the standard named one; upstream's agent leaves it so.
const KERNEL_VXLAN_PORT: u16 = 8472;
const OTHER_FAMILY: &str = "of another family than local_ip, from which the tunnels start";

impl dhcp::Config {
    /// Reads the options of the DHCP agent.
    pub fn from_oslo(options: &Options) -> Result<Self, ConfigError> {
        let driver: String = options.get("DEFAULT", "dhcp_driver")?;
        if !DHCP_DRIVERS.contains(&driver.as_str()) {
            return Err(options.refuse("DEFAULT", "dhcp_driver", "no such DHCP driver", &DHCP_DRIVERS));
        }
        let text = |name: &str| options.get::<Option<String>>("DEFAULT", name).map(Option::unwrap_or_default);
        let state_path: String = options.get("DEFAULT", "state_path")?;
        Ok(Self {
            dhcp_confs: options.get("DEFAULT", "dhcp_confs")?,
            availability_zone: options.get("agent", "availability_zone")?,
            report_interval: options.get("agent", "report_interval")?,
            resync_interval: options.get("DEFAULT", "resync_interval")?,
            resync_throttle: options.get("DEFAULT", "resync_throttle")?,
            log_agent_heartbeats: options.get("agent", "log_agent_heartbeats")?,
            dhcp_driver: driver,
            enable_isolated_metadata: options.get("DEFAULT", "enable_isolated_metadata")?,
            force_metadata: options.get("DEFAULT", "force_metadata")?,
            enable_metadata_network: options.get("DEFAULT", "enable_metadata_network")?,
            metadata_proxy: metadata::proxy(options)?,
            dhcp_lease_duration: options.get("DEFAULT", "dhcp_lease_duration")?,
            dhcp_renewal_time: options.get("dhcp", "dhcp_renewal_time")?,
            dhcp_rebinding_time: options.get("dhcp", "dhcp_rebinding_time")?,
            dhcp_broadcast_reply: options.get("DEFAULT", "dhcp_broadcast_reply")?,
            dns_domain: options.get("DEFAULT", "dns_domain")?,
            dnsmasq_config_file: text("dnsmasq_config_file")?,
            dnsmasq_dns_servers: options.get("DEFAULT", "dnsmasq_dns_servers")?,
            dnsmasq_local_resolv: options.get("DEFAULT", "dnsmasq_local_resolv")?,
            dnsmasq_lease_max: options.get("DEFAULT", "dnsmasq_lease_max")?,
            dnsmasq_base_log_dir: options.get("DEFAULT", "dnsmasq_base_log_dir")?,
            dnsmasq_enable_addr6_list: options.get("DEFAULT", "dnsmasq_enable_addr6_list")?,
            dnsmasq_txt_record: text("dnsmasq_txt_record")?,
            ..Self::new(options.host()?, state_path)
        })
    }
}

impl linuxbridge::Config {
    /// Reads the options of the Linux bridge agent.
    pub fn from_oslo(options: &Options) -> Result<Self, ConfigError> {
        let mappings = |name: &str| options.get::<Vec<(String, String)>>("linux_bridge", name);
        let source = match options.origin("linux_bridge", "physical_interface_mappings") {
            Some(Origin::File(place)) => Some(place.to_string()),
            _ => None,
        };
        Ok(Self {
            physical_interface_mappings: mappings("physical_interface_mappings")?.into_iter().collect(),
            bridge_mappings: mappings("bridge_mappings")?.into_iter().collect(),
            vxlan: if options.get("vxlan", "enable_vxlan")? { Some(overlay(options)?) } else { None },
            report_interval: options.get("agent", "report_interval")?,
            extensions: options.get("agent", "extensions")?,
            source,
            firewall: firewall(options)?,
            ..Self::new(options.host()?)
        })
    }
}

fn firewall(options: &Options) -> Result<Firewall, ConfigError> {
    let driver = match options.get::<Option<String>>("securitygroup", "firewall_driver")? {
        None => FirewallDriver::Noop,
        Some(name) => {
            let found = FirewallDriver::NAMES.iter().find(|(known, _)| *known == name);
            let names = FirewallDriver::NAMES.map(|(name, _)| name);
            let refused = || options.refuse("securitygroup", "firewall_driver", "no such firewall driver", &names);
            found.map(|(_, driver)| *driver).ok_or_else(refused)?
        }
    };
    Ok(Firewall {
        driver,
        enable: options.get("securitygroup", "enable_security_group")?,
        ipset: options.get("securitygroup", "enable_ipset")?,
        fast_path: options.get("securitygroup", "fast_path")?,
        ..Firewall::default()
    })
}

fn overlay(options: &Options) -> Result<Overlay, ConfigError> {
    let Some(local_ip) = options.get::<Option<IpAddr>>("vxlan", "local_ip")? else {
        let allowed = ["an address of this host", "enable_vxlan = false"];
        return Err(options.refuse("vxlan", "local_ip", "tunnels need an address to start from", &allowed));
    };
    Ok(Overlay {
        group: group(options, local_ip)?,
        group_ranges: group_ranges(options, local_ip)?,
        port: options.get::<Option<u16>>("vxlan", "udp_dstport")?.unwrap_or(KERNEL_VXLAN_PORT),
        source_ports: (options.get("vxlan", "udp_srcport_min")?, options.get("vxlan", "udp_srcport_max")?),
        ttl: options.get::<Option<u8>>("vxlan", "ttl")?.unwrap_or(0),
        tos: tos(options)?,
        l2_population: options.get("vxlan", "l2_population")?,
        arp_responder: options.get("vxlan", "arp_responder")?,
        ..Overlay::new(local_ip)
    })
}

/// The old `tos` comes first; then the traffic's own DSCP, or one for all.
fn tos(options: &Options) -> Result<u8, ConfigError> {
    const INHERITED: u8 = 1;
    if let Some(tos) = options.get::<Option<u8>>("vxlan", "tos")?.filter(|tos| *tos != 0) {
        return Ok(tos);
    }
    if options.get("agent", "dscp_inherit")? {
        return Ok(INHERITED);
    }
    // The DSCP is the upper six bits of the type of service.
    Ok(options.get::<Option<u8>>("agent", "dscp")?.map_or(0, |dscp| dscp << 2))
}

/// A group, or a prefix of groups, that tunnels from this address can use. Empty switches multicast off.
fn group(options: &Options, local_ip: IpAddr) -> Result<Option<IpNet>, ConfigError> {
    let Some(text) = options.get::<Option<String>>("vxlan", "vxlan_group")?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match net {
        Ok(group) if group.addr().is_multicast() => {
            let fits = group.addr().is_ipv4() == local_ip.is_ipv4();
            let is_default = matches!(options.origin("vxlan", "vxlan_group"), Some(Origin::Default) | None);
            match fits {
                true => Ok(Some(group)),
                false if is_default => Ok(None),
                false => Err(options.refuse("vxlan", "vxlan_group", OTHER_FAMILY, &["a group of local_ip's family"])),
            }
        }
        _ => {
            let allowed = ["one group such as 224.0.0.1", "a prefix of groups such as 239.1.0.0/16"];
            Err(options.refuse("vxlan", "vxlan_group", "not a multicast group", &allowed))
        }
    }
}

/// `group:first:last`; the colons of an IPv6 group are its own.
fn group_ranges(options: &Options, local_ip: IpAddr) -> Result<Vec<GroupRange>, ConfigError> {
    let range = |item: &String| {
        let mut parts = item.rsplitn(3, ':');
        let last: Option<u32> = parts.next().and_then(|part| part.trim().parse().ok());
        let first: Option<u32> = parts.next().and_then(|part| part.trim().parse().ok());
        let group: Option<IpAddr> = parts.next().and_then(|part| part.trim().parse().ok());
        let group = group.filter(|group| group.is_multicast() && group.is_ipv4() == local_ip.is_ipv4());
        let vnis = first.zip(last).filter(|(first, last)| first <= last);
        group.zip(vnis).map(|(group, vnis)| GroupRange { group, vnis }).ok_or_else(|| {
            let allowed = ["items such as 224.0.0.1:1:99, with a group of local_ip's family"];
            options.refuse_item("vxlan", "multicast_ranges", item, "is no group with a range of VNIs", &allowed)
        })
    };
    options.get::<Vec<String>>("vxlan", "multicast_ranges")?.iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use oslo::config::Sources;

    use super::*;
    use crate::l3;

    fn load(text: &str) -> (tempfile::TempDir, Options) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.conf");
        std::fs::write(&file, text).unwrap();
        let options = Options::load(Sources { files: vec![file], ..Sources::default() }).unwrap();
        (dir, options)
    }

    fn linuxbridge(text: &str) -> Result<linuxbridge::Config, String> {
        let (dir, options) = load(text);
        let plain = |error: ConfigError| error.to_string().replace(&format!("{}/", dir.path().display()), "");
        linuxbridge::Config::from_oslo(&options).map_err(plain)
    }

    /// Every option that is read is in the table, with a kind that fits.
    #[test]
    fn without_files_the_dhcp_agent_has_upstreams_defaults() {
        let (_dir, options) = load("[DEFAULT]\nhost = h1\n");
        let config = dhcp::Config::from_oslo(&options).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", dhcp::Config::new("h1", "/var/lib/neutron")));
    }

    #[test]
    fn without_files_the_l3_agent_has_upstreams_defaults() {
        let (_dir, options) = load("[DEFAULT]\nhost = h1\n");
        let config = l3::Config::from_oslo(&options).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", l3::Config::new("h1", "/var/lib/neutron")));
        let text = "[DEFAULT]\nexternal_ingress_mark = 0x10003\nradvd_user = root\nha_vrrp_auth_password = x\n";
        let (_dir, options) = load(text);
        let config = l3::Config::from_oslo(&options).unwrap();
        assert_eq!((config.external_ingress_mark, config.radvd_user), (3, None));
        assert_eq!(config.ha.vrrp_auth, Some(("PASS".to_owned(), crate::metadata::Secret::new("x"))));
        let (_dir, options) = load("[DEFAULT]\nha_conntrackd_enabled = true\n");
        let connections = l3::Config::from_oslo(&options).unwrap().ha.connections.unwrap();
        assert_eq!((connections.group.to_string().as_str(), connections.most), ("225.0.0.50:3780", 131_072));
        let group = "ha_conntrackd_enabled = true\nha_conntrackd_ipv4_mcast_addr = 10.0.0.1";
        for wrong in ["agent_mode = dvr", "metadata_access_mark = 0x10000", "ipv6_gateway = 10.0.0.1", group] {
            let (_dir, options) = load(&format!("[DEFAULT]\n{wrong}\n"));
            assert!(l3::Config::from_oslo(&options).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_seed_deployments_linux_bridge_options() {
        let config = linuxbridge(
            "[DEFAULT]\nhost = h1\n[linux_bridge]\nphysical_interface_mappings = public:eth0\n[vxlan]\nenable_vxlan = false\n",
        )
        .unwrap();
        assert_eq!(config.host, "h1");
        assert_eq!(config.physical_interface_mappings["public"], "eth0");
        assert!(config.vxlan.is_none());
        assert!(config.source.unwrap().ends_with("a.conf:4"));
    }

    #[test]
    fn firewalls_have_upstreams_names_and_ours() {
        let driver = |name: &str| {
            let text = format!("[vxlan]\nenable_vxlan = false\n[securitygroup]\nfirewall_driver = {name}\n");
            linuxbridge(&text).map(|config| config.firewall.driver)
        };
        assert_eq!(driver(""), Ok(FirewallDriver::Noop));
        assert_eq!(driver("auto"), Ok(FirewallDriver::Auto));
        assert_eq!(driver("nftables"), Ok(FirewallDriver::Nftables));
        let class = "neutron.agent.linux.iptables_firewall.IptablesFirewallDriver";
        assert_eq!(driver(class), Ok(FirewallDriver::Iptables));
        assert_eq!(driver("neutron.agent.firewall.NoopFirewallDriver"), Ok(FirewallDriver::Noop));
        let text = driver("iptable").unwrap_err();
        assert!(
            text.contains("a.conf:4: [securitygroup] firewall_driver = iptable: no such firewall driver"),
            "{text}"
        );
    }

    #[test]
    fn tunnels_take_their_options() {
        let config = linuxbridge("[vxlan]\nlocal_ip = 10.0.0.1\nttl = 5\nudp_dstport = 4789\n[agent]\ndscp = 8\n");
        let overlay = config.unwrap().vxlan.unwrap();
        let expected = Overlay { ttl: 5, tos: 32, port: 4789, ..Overlay::new([10, 0, 0, 1].into()) };
        assert_eq!(overlay, expected);
    }

    #[test]
    fn floods_go_by_groups_or_to_everyone() {
        let overlay = |text: &str| linuxbridge(&format!("[vxlan]\n{text}")).map(|config| config.vxlan.unwrap());
        let many =
            "local_ip = 10.0.0.1\nvxlan_group = 239.1.0.0/16\nmulticast_ranges = 225.0.0.1:10:19,225.0.0.2:20:29\n";
        let many = overlay(many).unwrap();
        assert_eq!(
            [1, 10, 29].map(|vni| many.group_of(vni).unwrap().to_string()),
            ["239.1.0.1", "225.0.0.1", "225.0.0.2"]
        );
        assert!(overlay("local_ip = 10.0.0.1\nvxlan_group =\n").unwrap().needs_ends());
        // The default group is of the other family.
        assert!(overlay("local_ip = 2001:db8::1\n").unwrap().needs_ends());
        let six = "local_ip = 2001:db8::1\nvxlan_group = ff05::100/120\nmulticast_ranges = ff05::1:7:7\n";
        let six = overlay(six).unwrap();
        assert_eq!([7, 8].map(|vni| six.group_of(vni).unwrap().to_string()), ["ff05::1", "ff05::108"]);
        assert_eq!(
            overlay("local_ip = 2001:db8::1\nvxlan_group = 224.0.0.1\n").unwrap_err(),
            "a.conf:3: [vxlan] vxlan_group = 224.0.0.1: of another family than local_ip, from which the tunnels start; \
             allowed: a group of local_ip's family"
        );
        assert_eq!(
            overlay("local_ip = 10.0.0.1\nmulticast_ranges = 225.0.0.1:9:1\n").unwrap_err(),
            "a.conf:3: [vxlan] multicast_ranges = 225.0.0.1:9:1: `225.0.0.1:9:1` is no group with a range of VNIs; allowed: \
             items such as 224.0.0.1:1:99, with a group of local_ip's family"
        );
        assert_eq!(overlay("local_ip = 10.0.0.1\n[agent]\ndscp = 8\ndscp_inherit = true\n").unwrap().tos, 1);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        assert_eq!(
            linuxbridge("").unwrap_err(),
            "default: [vxlan] local_ip = : tunnels need an address to start from; allowed: an address of this host, \
             enable_vxlan = false"
        );
        assert_eq!(
            linuxbridge("[vxlan]\nlocal_ip = 10.0.0.1\nvxlan_group = 10.0.0.2\n").unwrap_err(),
            "a.conf:3: [vxlan] vxlan_group = 10.0.0.2: not a multicast group; allowed: one group such as 224.0.0.1, a prefix \
             of groups such as 239.1.0.0/16"
        );
        let (_dir, options) = load("[DEFAULT]\ndhcp_driver = neutron.agent.linux.dhcp.Dnsmask\n");
        let text = dhcp::Config::from_oslo(&options).unwrap_err().to_string();
        assert!(text.ends_with("did you mean `neutron.agent.linux.dhcp.Dnsmasq`?"), "{text}");
    }
}
