//! The options of the L3 agent.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV4};

use oslo::config::{Config as Options, ConfigError};

use super::metadata;
use crate::{
    l3::{
        Config,
        config::{Connections, Ha, MARK_MASK},
    },
    metadata::Secret,
};

impl Config {
    /// Reads the options of the L3 agent.
    pub fn from_oslo(options: &Options) -> Result<Self, ConfigError> {
        let mode: String = options.get("DEFAULT", "agent_mode")?;
        if mode != "legacy" {
            return Err(options.refuse("DEFAULT", "agent_mode", "not in this version", &["legacy"]));
        }
        let text = |name: &str| options.get::<Option<String>>("DEFAULT", name).map(Option::unwrap_or_default);
        let some = |name: &str| text(name).map(|text| Some(text).filter(|text| !text.is_empty()));
        let auth_type: String = options.get("DEFAULT", "ha_vrrp_auth_type")?;
        let state_path: String = options.get("DEFAULT", "state_path")?;
        Ok(Self {
            availability_zone: options.get("agent", "availability_zone")?,
            report_interval: options.get("agent", "report_interval")?,
            log_agent_heartbeats: options.get("agent", "log_agent_heartbeats")?,
            handle_internal_only_routers: options.get("DEFAULT", "handle_internal_only_routers")?,
            ipv6_gateway: ipv6_gateway(options)?,
            enable_metadata_proxy: options.get("DEFAULT", "enable_metadata_proxy")?,
            metadata_port: options.get("DEFAULT", "metadata_port")?,
            metadata_access_mark: mark(options, "metadata_access_mark", &text("metadata_access_mark")?)?,
            external_ingress_mark: mark(options, "external_ingress_mark", &text("external_ingress_mark")?)?,
            metadata_proxy: metadata::proxy(options)?,
            use_random_fully: options.get("agent", "use_random_fully")?,
            radvd_user: some("radvd_user")?.filter(|user| user != "root"),
            ra_confs: options.get("DEFAULT", "ra_confs")?,
            rtr_adv_interval: (
                options.get("DEFAULT", "min_rtr_adv_interval")?,
                options.get("DEFAULT", "max_rtr_adv_interval")?,
            ),
            external_pids: options.get("DEFAULT", "external_pids")?,
            cleanup_on_shutdown: options.get("DEFAULT", "cleanup_on_shutdown")?,
            ha: Ha {
                confs: options.get("DEFAULT", "ha_confs_path")?,
                vrrp_advert_int: options.get("DEFAULT", "ha_vrrp_advert_int")?,
                vrrp_health_check_interval: options.get("DEFAULT", "ha_vrrp_health_check_interval")?,
                connections: connections(options)?,
                vrrp_auth: some("ha_vrrp_auth_password")?.map(|password| (auth_type, Secret::new(password))),
            },
            ..Self::new(options.host()?, state_path)
        })
    }
}

fn connections(options: &Options) -> Result<Option<Connections>, ConfigError> {
    if !options.get("DEFAULT", "ha_conntrackd_enabled")? {
        return Ok(None);
    }
    const GROUP: &str = "ha_conntrackd_ipv4_mcast_addr";
    let group = match options.get::<IpAddr>("DEFAULT", GROUP)? {
        IpAddr::V4(group) if group.is_multicast() => group,
        _ => return Err(options.refuse("DEFAULT", GROUP, "no group of IPv4", &["a group such as 225.0.0.50"])),
    };
    let port: u16 = options.get("DEFAULT", "ha_conntrackd_group")?;
    let most: u32 = options.get("DEFAULT", "ha_conntrackd_hashlimit")?;
    Ok(Some(Connections { group: SocketAddrV4::new(group, port), most: most as usize }))
}

fn ipv6_gateway(options: &Options) -> Result<Option<Ipv6Addr>, ConfigError> {
    match options.get::<Option<IpAddr>>("DEFAULT", "ipv6_gateway")? {
        None => Ok(None),
        Some(IpAddr::V6(address)) => Ok(Some(address)),
        Some(IpAddr::V4(_)) => {
            Err(options.refuse("DEFAULT", "ipv6_gateway", "no IPv6 address", &["an address such as fe80::1"]))
        }
    }
}

/// A number, in hexadecimal or not, of which the lower half counts.
fn mark(options: &Options, name: &str, text: &str) -> Result<u16, ConfigError> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match number {
        Ok(number) if number & MARK_MASK != 0 => Ok((number & MARK_MASK) as u16),
        _ => Err(options.refuse("DEFAULT", name, "no mark", &["a number from 0x1 to 0xffff"])),
    }
}
