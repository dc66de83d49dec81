//! The file and the command line of a router's radvd. Pure.

use std::{fmt::Write, path::PathBuf};

use ipnet::IpNet;
use rpc::l3::{RouterPort, RouterSubnet};
use types::{RouterId, device, subnet::Ipv6Mode};

use super::config::Config;

/// Its name, and what it calls itself.
pub const PROGRAM: &str = "radvd";
/// The least MTU of IPv6; a smaller one must not be advertised.
const IPV6_MIN_MTU: u32 = 1280;
/// How many name servers are advertised.
const MOST_NAME_SERVERS: usize = 3;
/// The way to the metadata service, for hosts that have no other.
const METADATA_ROUTE: &str = "fe80::a9fe:a9fe/128";

/// A radvd that a router shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Radvd {
    /// What it advertises, as its file says.
    pub text: String,
    /// The file.
    pub file: PathBuf,
    /// Where it notes its pid.
    pub pid_file: PathBuf,
    /// radvd and its arguments.
    pub command: Vec<String>,
}

impl Radvd {
    /// The radvd of a router with these ports; none where there is nothing to advertise.
    pub fn new(router: RouterId, ports: &[&RouterPort], config: &Config) -> Option<Self> {
        let text: String = ports.iter().filter_map(|port| interface(port, config)).collect();
        if text.is_empty() {
            return None;
        }
        let (file, pid_file) = (config.radvd_file(router), config.radvd_pid(router));
        let argument = |path: &PathBuf| path.display().to_string();
        // Logging to the system lets go of what it was started with.
        let mut command =
            [PROGRAM, "-C", &argument(&file), "-p", &argument(&pid_file), "-m", "syslog"].map(str::to_owned).to_vec();
        command.extend(config.radvd_user.iter().flat_map(|user| ["-u".to_owned(), user.clone()]));
        Some(Self { text, file, pid_file, command })
    }
}

fn is_advertised(subnet: &&RouterSubnet) -> bool {
    matches!(subnet.cidr, IpNet::V6(_)) && subnet.ipv6_ra_mode.is_some()
}

/// What is advertised on one network; nothing where no subnet asks for it, so that another router there may.
fn interface(port: &RouterPort, config: &Config) -> Option<String> {
    let subnets: Vec<&RouterSubnet> = port.subnets.iter().filter(is_advertised).collect();
    if subnets.is_empty() {
        return None;
    }
    let has = |mode: Ipv6Mode| subnets.iter().any(|subnet| subnet.ipv6_ra_mode == Some(mode));
    let mut text = String::new();
    let mut line = |indent: usize, line: &str| {
        let _ = writeln!(text, "{:indent$}{line}", "");
    };
    line(0, &format!("interface {}", device::router_interface(port.id)));
    line(0, "{");
    line(4, "AdvSendAdvert on;");
    line(4, &format!("MinRtrAdvInterval {};", config.rtr_adv_interval.0));
    line(4, &format!("MaxRtrAdvInterval {};", config.rtr_adv_interval.1));
    if let Some(mtu) = port.mtu.filter(|mtu| *mtu >= IPV6_MIN_MTU) {
        line(4, &format!("AdvLinkMTU {mtu};"));
    }
    if has(Ipv6Mode::Dhcpv6Stateless) {
        line(4, "AdvOtherConfigFlag on;");
    }
    if has(Ipv6Mode::Dhcpv6Stateful) {
        line(4, "AdvManagedFlag on;");
    }
    let servers = name_servers(&subnets);
    if !servers.is_empty() {
        line(4, &format!("RDNSS {} {{}};", servers.join(" ")));
    }
    for subnet in &subnets {
        let autonomous = subnet.ipv6_ra_mode.is_some_and(Ipv6Mode::is_auto_address);
        line(4, &format!("prefix {}", subnet.cidr.trunc()));
        line(4, "{");
        line(8, "AdvOnLink on;");
        line(8, &format!("AdvAutonomous {};", if autonomous { "on" } else { "off" }));
        line(4, "};");
    }
    line(4, &format!("route {METADATA_ROUTE}"));
    line(4, "{");
    line(4, "};");
    line(0, "};");
    Some(text)
}

/// Hosts that learn nothing else from DHCP learn name servers from the advertisement.
fn name_servers<'a>(subnets: &[&'a RouterSubnet]) -> Vec<&'a str> {
    let slaac = subnets.iter().filter(|subnet| subnet.ipv6_ra_mode == Some(Ipv6Mode::Slaac));
    let all = slaac.flat_map(|subnet| subnet.dns_nameservers.iter().map(String::as_str));
    // radvd takes only addresses of IPv6.
    all.filter(|server| server.contains(':')).take(MOST_NAME_SERVERS).collect()
}
