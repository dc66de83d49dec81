//! The text of the files that dnsmasq reads: `host`, `addn_hosts`, `opts`, and the `leases` it starts with.
//!
//! Pure: a network and the options in, text out. The shape of each line is upstream's to the byte, so that an agent of
//! either kind finds its predecessor's files unchanged and need not disturb a running dnsmasq.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
};

use rpc::{
    dhcp::NetworkInfo,
    payload::{Port, Subnet},
};
use types::{
    Mac, SubnetId,
    port::{ExtraDhcpOpt, FixedIp},
    subnet::Ipv6Mode,
};

use super::{Config, desired};

/// Address under which instances reach the metadata service.
pub const METADATA_CIDR: &str = "169.254.169.254/32";
/// Owners of ports that DHCP hands nothing to: services with addresses of their own.
const OWNERS_WITHOUT_DHCP: [&str; 4] =
    ["network:router_ha_interface", "network:floatingip", "network:dhcp", "network:distributed"];
/// Owners of the ports by which a router reaches a subnet.
pub(super) const ROUTER_INTERFACES: [&str; 3] =
    ["network:router_interface", "network:ha_router_replicated_interface", "network:router_interface_distributed"];
/// DHCP option 249, by which older Windows clients ask for option 121.
const MICROSOFT_STATIC_ROUTES: &str = "249";
const ANY_V4: &str = "0.0.0.0/0";

/// The files that follow from what the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Which address each MAC gets.
    pub host: String,
    /// Which name each address has.
    pub addn_hosts: String,
    /// DHCP options, per subnet and per port.
    pub opts: String,
}

/// What is written for one address of a port.
struct Host<'a> {
    port: &'a Port,
    subnet_id: SubnetId,
    addresses: Vec<IpAddr>,
    hostname: String,
    fqdn: String,
    /// No address is leased: the host forms it itself.
    no_lease: bool,
    /// The host never asks by DHCP, so options would not reach it.
    no_options: bool,
    /// `tag:dhcpv6,` or nothing.
    tag: &'static str,
}

impl Files {
    /// The files for this network.
    pub fn render(network: &NetworkInfo, own: &Port, config: &Config) -> Self {
        Self {
            host: host_file(network, config),
            addn_hosts: addn_hosts_file(network, config),
            opts: opts_file(network, own, config),
        }
    }
}

/// Whether DHCP has anything to say to this port.
pub fn is_served(port: &Port) -> bool {
    !OWNERS_WITHOUT_DHCP.contains(&port.device_owner.as_str())
}

/// The option that sets what a client must present itself as.
pub fn client_id(port: &Port) -> Option<&str> {
    port.extra_dhcp_opts.iter().find(|option| is_client_id(option)).map(|option| option.opt_value.as_str())
}

fn is_client_id(option: &ExtraDhcpOpt) -> bool {
    option.opt_name == "client-id" || option.opt_name == "61"
}

fn host_file(network: &NetworkInfo, config: &Config) -> String {
    let mut text = String::new();
    let leased: HashSet<SubnetId> = subnets(network).filter(|s| s.enable_dhcp).map(|s| s.id).collect();
    for host in hosts(network, config, config.dnsmasq_enable_addr6_list) {
        let (port, tag) = (host.port, host.tag);
        let options = &port.extra_dhcp_opts;
        if host.no_lease {
            if !host.no_options && !options.is_empty() {
                line(&mut text, format_args!("{},{tag}set:port-{}", port.mac_address, port.id));
            }
            continue;
        }
        if !leased.contains(&host.subnet_id) {
            continue;
        }
        let id = client_id(port).map(|id| format!("id:{id},")).unwrap_or_default();
        let addresses = host.addresses.iter().map(bracketed).collect::<Vec<_>>().join(",");
        // An id is no option to hand out, so a port with nothing else needs no set of its own.
        let set =
            if options.len() > usize::from(!id.is_empty()) { format!(",set:port-{}", port.id) } else { String::new() };
        line(&mut text, format_args!("{},{tag}{id}{},{addresses}{set}", port.mac_address, host.fqdn));
    }
    text
}

fn addn_hosts_file(network: &NetworkInfo, config: &Config) -> String {
    let mut text = String::new();
    for host in hosts(network, config, false) {
        for address in &host.addresses {
            // The first name is the one that reverse queries get.
            line(&mut text, format_args!("{address}\t{} {}", host.fqdn, host.hostname));
        }
    }
    text
}

/// The addresses that are leased, and to whom.
pub fn leases(network: &NetworkInfo, config: &Config) -> Vec<(Mac, IpAddr)> {
    let leased: HashSet<SubnetId> = subnets(network).filter(|s| s.enable_dhcp).map(|s| s.id).collect();
    let hosts = hosts(network, config, false).filter(|host| !host.no_lease && leased.contains(&host.subnet_id));
    hosts.flat_map(|host| host.addresses.into_iter().map(|address| (host.port.mac_address, address))).collect()
}

/// The lease file that dnsmasq starts with, given what stood in it before.
///
/// It names every address that may be in use, for ever, so that a client that renews is neither refused nor ignored by a
/// dnsmasq that never saw it. The next renewal puts the true times there. DHCPv6 leases cannot be made up, because their
/// association id is the client's choice, so those of before are kept.
pub fn leases_file(leases: &[(Mac, IpAddr)], before: &str) -> String {
    let mut text = String::new();
    let mut v6_leases: HashMap<IpAddr, &str> = HashMap::new();
    for old in before.lines() {
        if old.starts_with("duid ") {
            line(&mut text, format_args!("{old}"));
        } else if let [_, _, address, _, _] = old.split(' ').collect::<Vec<_>>()[..]
            && let Ok(address @ IpAddr::V6(_)) = address.parse()
        {
            v6_leases.insert(address, old);
        }
    }
    for (mac, address) in leases {
        match v6_leases.get(address) {
            _ if address.is_ipv4() => line(&mut text, format_args!("0 {mac} {address} * *")),
            Some(lease) => line(&mut text, format_args!("{lease}")),
            None => {}
        }
    }
    text
}

fn opts_file(network: &NetworkInfo, own: &Port, config: &Config) -> String {
    let isolated = isolated_subnets(network);
    let mut options = Vec::new();
    let mut without_nameservers = HashSet::new();
    for subnet in subnets(network).filter(|s| s.enable_dhcp && s.ipv6_address_mode != Some(Ipv6Mode::Slaac)) {
        if subnet.dns_nameservers.is_empty() {
            without_nameservers.insert(subnet.id);
        }
        subnet_options(&mut options, network, subnet, own, isolated.contains(&subnet.id), config);
    }
    port_options(&mut options, network);
    options.extend(dnsmasq_as_nameserver(network, &without_nameservers));
    options.join("\n")
}

fn subnet_options(
    options: &mut Vec<String>,
    network: &NetworkInfo,
    subnet: &Subnet,
    own: &Port,
    isolated: bool,
    config: &Config,
) {
    let tag = format!("subnet-{}", subnet.id);
    let mut push = |name: &str, value: Option<&str>| options.push(option(subnet.ip_version, &tag, name, value));
    if !subnet.dns_nameservers.is_empty() {
        let servers = literal(subnet.ip_version, subnet.dns_nameservers.iter().map(String::as_str));
        push("dns-server", (!is_no_nameserver(subnet)).then_some(servers.as_str()));
    }
    if subnet.ip_version == 6 {
        if !config.dns_domain.is_empty() {
            push("domain-search", Some(&config.dns_domain));
        }
        return;
    }
    // A default route among the host routes only stands in for a missing gateway.
    let default = subnet.host_routes.iter().find(|r| r.destination.to_string() == ANY_V4).map(|r| r.nexthop);
    let gateway = subnet.gateway_ip.or(default).map(|g| g.to_string());
    let mut routes: Vec<String> = subnets(network)
        .filter(|other| other.ip_version == 4 && other.cidr != subnet.cidr && other.segment_id == subnet.segment_id)
        .map(|other| format!("{},0.0.0.0", other.cidr))
        .collect();
    routes.reverse();
    let given = subnet.host_routes.iter().filter(|r| r.destination.to_string() != ANY_V4);
    routes.extend(given.map(|r| format!("{},{}", r.destination, r.nexthop)));
    routes.extend(
        metadata_next_hop(network, subnet, own, isolated, gateway.as_deref(), config)
            .map(|hop| format!("{METADATA_CIDR},{hop}")),
    );
    if !routes.is_empty() {
        // A client that takes option 121 ignores the router option, so the default route must be here as well.
        routes.extend(gateway.as_ref().map(|gateway| format!("{ANY_V4},{gateway}")));
        push("classless-static-route", Some(&routes.join(",")));
        push(MICROSOFT_STATIC_ROUTES, Some(&routes.join(",")));
    }
    push("router", gateway.as_deref());
}

/// Where instances of this subnet send what is for the metadata service.
fn metadata_next_hop(
    network: &NetworkInfo,
    subnet: &Subnet,
    own: &Port,
    isolated: bool,
    gateway: Option<&str>,
    config: &Config,
) -> Option<String> {
    let address =
        |port: &Port| port.fixed_ips.iter().find(|ip| ip.subnet_id == subnet.id).map(|ip| ip.ip_address.to_string());
    if let Some(address) = network.ports.iter().find(|port| desired::is_ovn_metadata(port)).and_then(address) {
        return Some(address);
    }
    if config.force_metadata || (isolated && config.enable_isolated_metadata) {
        return address(own);
    }
    gateway.filter(|_| !isolated).map(str::to_owned)
}

/// The subnets that no router serves: none of its ports holds the gateway's address.
pub fn isolated_subnets(network: &NetworkInfo) -> HashSet<SubnetId> {
    let gateways: HashMap<SubnetId, Option<IpAddr>> = subnets(network).map(|s| (s.id, s.gateway_ip)).collect();
    let mut isolated: HashSet<SubnetId> = gateways.keys().copied().collect();
    for port in network.ports.iter().filter(|p| ROUTER_INTERFACES.contains(&p.device_owner.as_str())) {
        for FixedIp { subnet_id, ip_address } in &port.fixed_ips {
            if gateways.get(subnet_id) == Some(&Some(*ip_address)) {
                isolated.remove(subnet_id);
            }
        }
    }
    isolated
}

fn port_options(options: &mut Vec<String>, network: &NetworkInfo) {
    for port in &network.ports {
        for extra in port.extra_dhcp_opts.iter().filter(|extra| !is_client_id(extra)) {
            if port.fixed_ips.iter().any(|ip| version(&ip.ip_address) == extra.ip_version) {
                let tag = format!("port-{}", port.id);
                options.push(option(extra.ip_version, &tag, &extra.opt_name, Some(&extra.opt_value)));
            }
        }
    }
}

/// With several DHCP servers and no name server given, clients are told all of them, not only the one that answered.
fn dnsmasq_as_nameserver(network: &NetworkInfo, without_nameservers: &HashSet<SubnetId>) -> Vec<String> {
    let mut servers: Vec<(SubnetId, Vec<IpAddr>)> = Vec::new();
    for port in network.ports.iter().filter(|port| port.device_owner == desired::DHCP_OWNER) {
        for ip in port.fixed_ips.iter().filter(|ip| without_nameservers.contains(&ip.subnet_id)) {
            add(&mut servers, ip);
        }
    }
    let several = servers.into_iter().filter(|(_, addresses)| addresses.len() > 1);
    several
        .map(|(subnet, addresses)| {
            let version = version(&addresses[0]);
            let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let value = literal(version, texts.iter().map(String::as_str));
            option(version, &format!("subnet-{subnet}"), "dns-server", Some(&value))
        })
        .collect()
}

/// One line of `opts`. A name may carry a tag of its own: `tag:ipxe,67`. Nothing after a line break is let through.
fn option(ip_version: u8, tag: &str, name: &str, value: Option<&str>) -> String {
    let name = first_line(name);
    let (extra_tag, name) = match name.rsplit_once(',') {
        Some((tag, name)) if tag.starts_with("tag:") => (Some(tag), name),
        _ => (None, name),
    };
    let mut text = format!("tag:{tag},");
    if let Some(extra_tag) = extra_tag {
        let _ = write!(text, "{extra_tag},");
    }
    if ip_version == 6 {
        text.push_str("option6:");
    } else if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        text.push_str("option:");
    }
    text.push_str(name);
    if let Some(value) = value {
        let _ = write!(text, ",{}", first_line(value));
    }
    text
}

fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

/// Every address of every served port, in the order in which dnsmasq must read them.
fn hosts<'a>(network: &'a NetworkInfo, config: &'a Config, merge_v6: bool) -> impl Iterator<Item = Host<'a>> {
    let v6_modes: HashMap<SubnetId, Option<Ipv6Mode>> =
        subnets(network).filter(|s| s.ip_version == 6).map(|s| (s.id, s.ipv6_address_mode)).collect();
    network.ports.iter().filter(|port| is_served(port)).flat_map(move |port| {
        let stateless = |ip: &FixedIp| v6_modes.get(&ip.subnet_id) == Some(&Some(Ipv6Mode::Dhcpv6Stateless));
        let stateful = |ip: &FixedIp| v6_modes.get(&ip.subnet_id) == Some(&Some(Ipv6Mode::Dhcpv6Stateful));
        // dnsmasq reads from the end and takes the first line of a MAC. A line without an address would hide the
        // address from IPv4, so those come first.
        let (first, second): (Vec<FixedIp>, Vec<FixedIp>) = port.fixed_ips.iter().partition(|ip| stateless(ip));
        let mut groups: Vec<(SubnetId, Vec<IpAddr>)> = Vec::new();
        let mut merged: Vec<(SubnetId, Vec<IpAddr>)> = Vec::new();
        for ip in first.into_iter().chain(second) {
            if merge_v6 && stateful(&ip) {
                add(&mut merged, &ip);
            } else {
                groups.push((ip.subnet_id, vec![ip.ip_address]));
            }
        }
        groups.extend(merged);
        groups
            .into_iter()
            .map(|(subnet_id, addresses)| host(port, subnet_id, addresses, v6_modes.get(&subnet_id), config))
            .collect::<Vec<_>>()
    })
}

fn host<'a>(
    port: &'a Port,
    subnet_id: SubnetId,
    addresses: Vec<IpAddr>,
    v6_mode: Option<&Option<Ipv6Mode>>,
    config: &Config,
) -> Host<'a> {
    let assigned = addresses.iter().find_map(|address| port.dns_assignment.iter().find(|d| d.ip_address == *address));
    let (hostname, fqdn) = match assigned {
        Some(dns) => (dns.hostname.clone(), dns.fqdn.clone()),
        None => {
            let dashed = addresses[0].to_string().replace(['.', ':'], "-");
            let hostname = format!("host-{dashed}");
            let domain = &config.dns_domain;
            let fqdn = if domain.is_empty() { hostname.clone() } else { format!("{hostname}.{domain}") };
            (hostname, fqdn)
        }
    };
    let mode = v6_mode.copied().flatten();
    Host {
        port,
        subnet_id,
        addresses,
        hostname,
        fqdn,
        no_lease: mode.is_some_and(Ipv6Mode::is_auto_address),
        no_options: mode == Some(Ipv6Mode::Slaac),
        tag: if v6_mode.is_some() && config.dialect.host_tags { "tag:dhcpv6," } else { "" },
    }
}

/// Puts an address to the others of its subnet; subnets keep the order in which they were first seen.
fn add(groups: &mut Vec<(SubnetId, Vec<IpAddr>)>, ip: &FixedIp) {
    match groups.iter_mut().find(|(subnet, _)| *subnet == ip.subnet_id) {
        Some((_, addresses)) => addresses.push(ip.ip_address),
        None => groups.push((ip.subnet_id, vec![ip.ip_address])),
    }
}

/// Own subnets and, in a routed network, those of its other segments.
pub(super) fn subnets(network: &NetworkInfo) -> impl Iterator<Item = &Subnet> {
    network.subnets.iter().chain(&network.non_local_subnets)
}

/// A lone `0.0.0.0` or `::` asks that no name server be announced.
fn is_no_nameserver(subnet: &Subnet) -> bool {
    let any = if subnet.ip_version == 4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6([0u16; 8].into()) };
    matches!(&subnet.dns_nameservers[..], [only] if only.parse() == Ok(any))
}

fn literal<'a>(ip_version: u8, addresses: impl Iterator<Item = &'a str>) -> String {
    let literal = |address: &str| if ip_version == 6 { format!("[{address}]") } else { address.to_owned() };
    addresses.map(literal).collect::<Vec<_>>().join(",")
}

/// Brackets tell dnsmasq that this is no MAC.
fn bracketed(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn version(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

#[cfg(test)]
mod tests;
