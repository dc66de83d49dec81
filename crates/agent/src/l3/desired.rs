//! From what the server says of a router to what this host must have for it.
//!
//! Pure: no file, no message and no kernel call. [`Wanted::new`] turns a router into names, addresses, routes, rules and
//! the files and command lines of programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use rpc::l3::{PrefixedIp, Router, RouterPort};
use types::{FloatingIpId, Mac, PortId, RouterId, device};

use super::{config::Config, ha::keepalived::Keepalived, nat::Rules, radvd::Radvd};
use crate::metadata::{
    Scope,
    proxy::{self, Place},
};

/// Everything one router needs on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The router.
    pub router: RouterId,
    /// Its namespace.
    pub namespace: String,
    /// Its devices, those inside first.
    pub devices: Vec<Device>,
    /// Its routes by destination, besides those that its addresses bring.
    pub routes: BTreeMap<IpNet, Vec<Hop>>,
    /// Parameters of the namespace and of its devices.
    pub parameters: BTreeMap<String, &'static str>,
    /// Its rules.
    pub rules: Rules,
    /// Its keepalived, which then has the addresses and routes in its hands.
    pub ha: Option<Keepalived>,
    /// Its radvd.
    pub radvd: Option<Radvd>,
    /// The way to the metadata service.
    pub metadata: Option<proxy::Wanted>,
    /// Its floating IPs.
    pub floating_ips: Vec<FloatingIp>,
}

/// A device of a router: a veth pair whose other end the layer 2 agent wires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The port.
    pub port: PortId,
    /// Its name in the namespace.
    pub name: String,
    /// The other end.
    pub tap: String,
    /// Ethernet address of the port.
    pub mac: Mac,
    /// Largest packet of the network, when known.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: BTreeSet<IpNet>,
}

/// Where a route leads next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The next router; none for what is on the link.
    pub gateway: Option<IpAddr>,
    /// The device it is reached by.
    pub device: String,
}

/// A floating IP, and what the server thinks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloatingIp {
    /// Its id.
    pub id: FloatingIpId,
    /// The address outside.
    pub address: IpAddr,
    /// Its status.
    pub status: String,
}

/// Whether this agent is to serve a router.
pub fn is_served(router: &Router, config: &Config) -> bool {
    let has_outside = router.gw_port.is_some() || config.handle_internal_only_routers;
    router.admin_state_up && has_outside && !router.distributed
}

impl Wanted {
    /// What this router needs. `serves`: of an HA router, this host is the one that serves.
    pub fn new(router: &Router, config: &Config, serves: bool) -> Self {
        let serves = serves || !router.ha;
        let interfaces: Vec<&RouterPort> = router.interfaces.iter().filter(|port| port.admin_state_up).collect();
        let mut devices: Vec<Device> = interfaces.iter().map(|port| internal(port)).collect();
        devices.extend(router.gw_port.as_ref().map(|port| gateway(port, router)));
        let routes = routes(router, &interfaces, config);
        let ha = router.ha_interface.as_ref().filter(|_| router.ha).map(|port| {
            let keepalived = Keepalived::new(router, port, &devices, &routes, config);
            devices.push(Device { name: device::router_ha(port.id), ..internal(port) });
            keepalived
        });
        let scope = Scope::Router(router.id.to_string());
        let metadata = (config.enable_metadata_proxy && serves).then(|| {
            let place = Place::Port(config.metadata_port);
            proxy::Wanted { scope, place }
        });
        Self {
            router: router.id,
            namespace: device::router_namespace(router.id),
            routes,
            parameters: parameters(router, config, serves),
            rules: Rules::new(router, &interfaces, config, serves),
            radvd: Radvd::new(router.id, &interfaces, config).filter(|_| serves),
            ha,
            metadata,
            floating_ips: floating_ips(router),
            devices,
        }
    }
}

fn internal(port: &RouterPort) -> Device {
    Device {
        port: port.id,
        name: device::router_interface(port.id),
        tap: device::tap(port.id),
        mac: port.mac_address,
        mtu: mtu(port),
        addresses: port.fixed_ips.iter().filter_map(net).collect(),
    }
}

/// The device outside has the floating addresses too.
fn gateway(port: &RouterPort, router: &Router) -> Device {
    let mut device = Device { name: device::router_gateway(port.id), ..internal(port) };
    let held: BTreeSet<IpAddr> = device.addresses.iter().map(IpNet::addr).collect();
    let floating = router.floating_ips.iter().map(|ip| ip.floating_ip_address);
    device.addresses.extend(floating.filter(|address| !held.contains(address)).map(IpNet::from));
    device
}

fn mtu(port: &RouterPort) -> Option<u32> {
    port.mtu.filter(|mtu| *mtu > 0)
}

fn net(ip: &PrefixedIp) -> Option<IpNet> {
    IpNet::new(ip.ip_address, ip.prefixlen).ok()
}

fn floating_ips(router: &Router) -> Vec<FloatingIp> {
    let one =
        |ip: &rpc::l3::FloatingIp| FloatingIp { id: ip.id, address: ip.floating_ip_address, status: ip.status.clone() };
    router.floating_ips.iter().map(one).collect()
}

const IPV6_FORWARDING: &str = "net/ipv6/conf/all/forwarding";
/// Routers answer for the addresses of a device on that device only, and take connections for real whose packets they
/// did not see all of, as those that went another way before.
const PARAMETERS: [(&str, &str); 9] = [
    ("net/ipv4/ip_forward", "1"),
    (IPV6_FORWARDING, "1"),
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/arp_announce", "2"),
    // The first address of a subnet may go without the others.
    ("net/ipv4/conf/all/promote_secondaries", "1"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
    // Addresses are the server's business, which saw to it that nobody else has them.
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv4/conf/default/promote_secondaries", "1"),
];

/// The hosts of an HA router have the same Ethernet addresses, so the kernel must make no addresses of them.
const HA_PARAMETERS: [(&str, &str); 4] = [
    // The first address of a prefix is every router's too, and which of both the kernel takes it for depends on what
    // comes first, its address or that it forwards. The answer is from it either way.
    ("net/ipv6/anycast_src_echo_reply", "1"),
    ("net/ipv4/ip_nonlocal_bind", "1"),
    ("net/ipv6/conf/all/addr_gen_mode", "1"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
];

fn parameters(router: &Router, config: &Config, serves: bool) -> BTreeMap<String, &'static str> {
    let more = HA_PARAMETERS.iter().filter(|_| router.ha);
    let all = PARAMETERS.iter().chain(more).map(|(key, value)| ((*key).to_owned(), *value));
    let mut parameters: BTreeMap<String, &'static str> = all.collect();
    if !serves {
        parameters.insert(IPV6_FORWARDING.to_owned(), "0");
    }
    if let Some(port) = &router.gw_port {
        let has_gateway = gateways(port, config).iter().any(IpAddr::is_ipv6);
        let accept = if has_gateway || !serves { "0" } else { "2" };
        parameters.insert(format!("net/ipv6/conf/{}/accept_ra", device::router_gateway(port.id)), accept);
    }
    parameters
}

/// The next hops to the outside, in the order of the subnets.
fn gateways(port: &RouterPort, config: &Config) -> Vec<IpAddr> {
    let mut gateways: Vec<IpAddr> = port.subnets.iter().filter_map(|subnet| subnet.gateway_ip).collect();
    if !gateways.iter().any(IpAddr::is_ipv6) {
        gateways.extend(config.ipv6_gateway.map(IpAddr::V6));
    }
    gateways
}

fn routes(router: &Router, interfaces: &[&RouterPort], config: &Config) -> BTreeMap<IpNet, Vec<Hop>> {
    let mut routes = BTreeMap::new();
    let mut links: Vec<(IpNet, String)> = Vec::new();
    for port in interfaces {
        links.extend(port.fixed_ips.iter().filter_map(net).map(|net| (net.trunc(), device::router_interface(port.id))));
    }
    if let Some(port) = &router.gw_port {
        let device = device::router_gateway(port.id);
        links.extend(port.fixed_ips.iter().filter_map(net).map(|net| (net.trunc(), device.clone())));
        for net in outside_links(port, config) {
            routes.insert(net, vec![Hop { gateway: None, device: device.clone() }]);
            links.push((net, device.clone()));
        }
        default_routes(&mut routes, router, port, config);
    }
    for (destination, hops) in extra_routes(router, &links) {
        routes.insert(destination, hops);
    }
    routes
}

/// What the device outside reaches directly, beyond the subnets of its own addresses: the other subnets of the network,
/// and gateways that are outside their subnet.
fn outside_links(port: &RouterPort, config: &Config) -> Vec<IpNet> {
    let own: BTreeSet<IpNet> = port.fixed_ips.iter().filter_map(net).map(|net| net.trunc()).collect();
    let others = port.extra_subnets.iter().map(|subnet| subnet.cidr.trunc()).filter(|cidr| !own.contains(cidr));
    let outliers = port.subnets.iter().filter_map(|subnet| {
        let gateway = subnet.gateway_ip.filter(|gateway| !subnet.cidr.contains(gateway))?;
        Some(IpNet::from(gateway)).filter(|_| !is_link_local(gateway) && gateways(port, config).contains(&gateway))
    });
    others.chain(outliers).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// One of each family: by the first gateway, or by all of them at once where that is asked for.
fn default_routes(routes: &mut BTreeMap<IpNet, Vec<Hop>>, router: &Router, port: &RouterPort, config: &Config) {
    for gateway in gateways(port, config) {
        let destination = any(gateway);
        let hop = Hop { gateway: Some(gateway), device: device::router_gateway(port.id) };
        let hops = routes.entry(destination).or_default();
        if hops.is_empty() || (router.enable_default_route_ecmp && !hops.contains(&hop)) {
            hops.push(hop);
        }
    }
}

/// Those whose next hop is on a network of the router; several next hops to one destination share it.
fn extra_routes(router: &Router, links: &[(IpNet, String)]) -> BTreeMap<IpNet, Vec<Hop>> {
    let mut routes: BTreeMap<IpNet, Vec<Hop>> = BTreeMap::new();
    for route in &router.routes {
        let near = links.iter().filter(|(net, _)| net.contains(&route.nexthop));
        let Some((_, device)) = near.max_by_key(|(net, _)| net.prefix_len()) else { continue };
        let hop = Hop { gateway: Some(route.nexthop), device: device.clone() };
        let hops = routes.entry(route.destination.trunc()).or_default();
        if !hops.contains(&hop) {
            hops.push(hop);
        }
    }
    routes.values_mut().for_each(|hops| hops.sort());
    routes
}

fn any(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::V4(Default::default()),
        IpAddr::V6(_) => IpNet::V6(Default::default()),
    }
}

#[cfg(test)]
mod tests;
