//! The command line of dnsmasq, argument for argument as upstream gives it.
//!
//! It is more than a way to start it: the command line of the process that runs is compared with this one, and a
//! difference is the reason to restart. So it must depend on nothing but its arguments.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use rpc::{dhcp::NetworkInfo, payload::Subnet};
use types::{NetworkId, subnet::Ipv6Mode};

use super::Config;

/// Its name, and what it calls itself.
pub const PROGRAM: &str = "dnsmasq";

/// What the installed dnsmasq understands, and what it needs on this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dialect {
    /// It takes a tag at the start of a host line, by which DHCPv6 lines are told from the others.
    pub host_tags: bool,
    /// Its files lie where only root can read them, and it must be able to read them again after it started.
    pub keep_root: bool,
}

/// dnsmasq and its arguments for one network.
pub fn command(network: &NetworkInfo, directory: &Path, config: &Config) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let resolv = config.dnsmasq_local_resolv && config.dnsmasq_dns_servers.is_empty();
    let mut command = vec![
        PROGRAM.to_owned(),
        "--no-hosts".to_owned(),
        // Upstream passes an empty argument rather than none.
        if resolv { String::new() } else { "--no-resolv".to_owned() },
        pid_file_argument(directory),
        format!("--dhcp-hostsfile={}", file("host")),
        format!("--addn-hosts={}", file("addn_hosts")),
        format!("--dhcp-optsfile={}", file("opts")),
        format!("--dhcp-leasefile={}", file("leases")),
        "--dhcp-match=set:ipxe,175".to_owned(),
        "--dhcp-userclass=set:ipxe6,iPXE".to_owned(),
        "--local-service".to_owned(),
        "--bind-dynamic".to_owned(),
    ];
    let ranges = || network.subnets.iter().filter(|subnet| is_ranged(subnet));
    command.extend(ranges().map(|subnet| range(subnet, config)));
    if network.mtu > 0 {
        command.push(format!("--dhcp-option-force=option:mtu,{}", network.mtu));
    }
    let leases = ranges().map(|subnet| size(subnet.cidr)).fold(0, u128::saturating_add);
    command.push(format!("--dhcp-lease-max={}", leases.min(config.dnsmasq_lease_max.into())));
    settings(&mut command, network.id, config);
    command
}

/// The argument that only the dnsmasq of one network has.
pub fn pid_file_argument(directory: &Path) -> String {
    format!("--pid-file={}", directory.join("pid").display())
}

/// What depends on nothing but the options.
fn settings(command: &mut Vec<String>, network: NetworkId, config: &Config) {
    let times = [("T1", config.dhcp_renewal_time), ("T2", config.dhcp_rebinding_time)];
    for (name, seconds) in times.into_iter().filter(|(_, seconds)| *seconds > 0) {
        command.push(format!("--dhcp-option-force=option:{name},{seconds}s"));
    }
    if !config.dnsmasq_txt_record.is_empty() {
        command.push(format!("--txt-record={}", config.dnsmasq_txt_record));
    }
    let file = config.dnsmasq_config_file.trim();
    command.push(format!("--conf-file={}", if file.is_empty() { "/dev/null" } else { file }));
    command.extend(config.dnsmasq_dns_servers.iter().map(|server| format!("--server={server}")));
    if !config.dns_domain.is_empty() {
        command.push(format!("--domain={}", config.dns_domain));
    }
    if config.dhcp_broadcast_reply {
        command.push("--dhcp-broadcast".to_owned());
    }
    if let Some(log) = log_file(network, config) {
        command.push("--log-queries".to_owned());
        command.push("--log-dhcp".to_owned());
        command.push(format!("--log-facility={}", log.display()));
    }
    if config.dialect.keep_root {
        // dnsmasq gives up root and could then not read its own files again.
        command.push("--user=root".to_owned());
    }
}

/// Where dnsmasq writes its log, if it is to write one.
pub fn log_file(network: NetworkId, config: &Config) -> Option<PathBuf> {
    config.dnsmasq_base_log_dir.as_ref().map(|base| base.join(network.to_string()).join("dhcp_dns_log"))
}

/// Whether dnsmasq answers DHCP for it; hosts of a SLAAC subnet ask nothing.
fn is_ranged(subnet: &Subnet) -> bool {
    let no_modes = subnet.ipv6_address_mode.is_none() && subnet.ipv6_ra_mode.is_none();
    let by_dhcp = subnet.ipv6_address_mode.is_some_and(|mode| mode != Ipv6Mode::Slaac);
    // dnsmasq refuses a shorter IPv6 prefix.
    subnet.enable_dhcp && (subnet.ip_version == 4 || ((by_dhcp || no_modes) && subnet.cidr.prefix_len() >= 64))
}

fn range(subnet: &Subnet, config: &Config) -> String {
    let mask = match subnet.cidr {
        IpNet::V4(net) => net.netmask().to_string(),
        IpNet::V6(net) => net.prefix_len().to_string(),
    };
    let lease = match config.dhcp_lease_duration {
        -1 => "infinite".to_owned(),
        seconds => format!("{seconds}s"),
    };
    format!("--dhcp-range=set:subnet-{},{},static,{mask},{lease}", subnet.id, subnet.cidr.network())
}

fn size(net: IpNet) -> u128 {
    let bits = net.max_prefix_len() - net.prefix_len();
    1u128.checked_shl(bits.into()).unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests;
