//! From what the server says of a network to what this host must have for it.
//!
//! Pure: no file, no message and no kernel call. [`port_step`] says how the agent comes by its port on the network, and
//! [`Service::new`] turns network and port into names, addresses, routes, files and a command line.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use rpc::{
    dhcp::{FixedIpRequest, NetworkInfo, RESERVED_DEVICE_ID},
    payload::{Port, Subnet},
};
use types::{Mac, NetworkId, PortId, SubnetId, device, port::FixedIp, subnet::Ipv6Mode};
use uuid::Uuid;

use super::{
    Config, dnsmasq,
    files::{self, Files},
    metadata,
};
use crate::metadata::{ADDRESS_V4, ADDRESS_V6, proxy::Wanted};

/// Owner of the ports of DHCP servers.
pub const DHCP_OWNER: &str = "network:dhcp";

/// How the agent comes by its port.
#[derive(Debug, Clone, PartialEq)]
pub enum PortStep {
    /// It has one with the right addresses.
    Keep(Box<Port>),
    /// It has one, whose addresses must change.
    Update(PortId, Vec<FixedIpRequest>),
    /// A former agent left one behind, with addresses that clients know.
    Adopt(PortId),
    /// A new one, with an address on each of these subnets.
    Create(Vec<FixedIpRequest>),
}

/// Everything one network needs on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The network.
    pub network: NetworkId,
    /// Namespace of its DHCP server.
    pub namespace: String,
    /// The end of the veth pair in the namespace.
    pub interface: String,
    /// The other end, which the layer 2 agent wires.
    pub tap: String,
    /// Ethernet address of the port.
    pub mac: Mac,
    /// Largest packet of the network, when known.
    pub mtu: Option<u32>,
    /// Addresses of the interface.
    pub addresses: BTreeSet<IpNet>,
    /// Default routes, at most one of each family.
    pub gateways: Vec<Gateway>,
    /// Its directory.
    pub directory: PathBuf,
    /// The files dnsmasq reads.
    pub files: Files,
    /// dnsmasq and its arguments.
    pub command: Vec<String>,
    /// The addresses that dnsmasq leases, and to whom.
    pub leases: Vec<(Mac, IpAddr)>,
    /// Every lease that is rightfully held.
    pub holders: Vec<Holder>,
    /// The way to the metadata service, if instances shall find it here.
    pub metadata: Option<Wanted>,
}

/// A default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    /// The next hop.
    pub address: IpAddr,
    /// It is outside the subnet and must be made reachable first.
    pub on_link: bool,
}

/// Who may hold the lease of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The address.
    pub address: IpAddr,
    /// The port's Ethernet address.
    pub mac: Mac,
    /// What the client must present itself as, if the port says so.
    pub client_id: Option<String>,
}

/// `dhcp`, the version 5 UUID of the host's short name, and the network: which port is whose, over restarts and over
/// servers, without anything stored.
pub fn device_id(host: &str, network: NetworkId) -> String {
    let short = host.split('.').next().unwrap_or_default();
    format!("dhcp{}-{network}", Uuid::new_v5(&Uuid::NAMESPACE_DNS, short.as_bytes()))
}

/// Whether a network is to be served at all.
pub fn is_served(network: &NetworkInfo) -> bool {
    network.admin_state_up && network.subnets.iter().any(|subnet| subnet.enable_dhcp)
}

/// Only what DHCP serves. One call of the server leaves other subnets out and another does not; the files must be the
/// same after both.
pub fn trimmed(mut network: NetworkInfo) -> NetworkInfo {
    network.subnets.retain(|subnet| subnet.enable_dhcp);
    network.non_local_subnets.retain(|subnet| subnet.enable_dhcp);
    network.ports = network.ports.into_iter().map(trimmed_port).collect();
    network
}

/// A port without what DHCP does not ask of it. A network may have thousands, and they are kept in memory.
pub fn trimmed_port(mut port: Port) -> Port {
    port.profile = Default::default();
    port.vif_details = Default::default();
    port.allowed_address_pairs = Vec::new();
    port.security_groups = Vec::new();
    port.tags = Vec::new();
    port.description = String::new();
    port.created_at = String::new();
    port.updated_at = String::new();
    port
}

/// The port by which OVN serves metadata on a network.
pub fn is_ovn_metadata(port: &Port) -> bool {
    port.device_owner == "network:distributed" && port.device_id.starts_with("ovnmeta-")
}

/// How the agent comes by its port on this network.
pub fn port_step(network: &NetworkInfo, device_id: &str) -> PortStep {
    let wanted: BTreeSet<SubnetId> = network.subnets.iter().filter(|s| s.enable_dhcp).map(|s| s.id).collect();
    let of_device = |device: &str| network.ports.iter().find(|port| port.device_id == device);
    if let Some(own) = of_device(device_id) {
        let held: BTreeSet<SubnetId> = own.fixed_ips.iter().map(|ip| ip.subnet_id).collect();
        if held == wanted {
            return PortStep::Keep(Box::new(own.clone()));
        }
        let kept = own.fixed_ips.iter().filter(|ip| wanted.contains(&ip.subnet_id));
        let kept = kept.map(|FixedIp { subnet_id, ip_address }| FixedIpRequest {
            subnet_id: Some(*subnet_id),
            ip_address: Some(*ip_address),
        });
        let new = wanted.difference(&held).map(|subnet| any_address(*subnet));
        return PortStep::Update(own.id, kept.chain(new).collect());
    }
    match of_device(RESERVED_DEVICE_ID) {
        Some(reserved) => PortStep::Adopt(reserved.id),
        None => PortStep::Create(any_addresses(network)),
    }
}

/// Any address of each subnet.
pub fn any_addresses(network: &NetworkInfo) -> Vec<FixedIpRequest> {
    network.subnets.iter().filter(|subnet| subnet.enable_dhcp).map(|subnet| any_address(subnet.id)).collect()
}

fn any_address(subnet: SubnetId) -> FixedIpRequest {
    FixedIpRequest { subnet_id: Some(subnet), ip_address: None }
}

/// The subnets a port should have an address on and has not.
pub fn missing_subnets(network: &NetworkInfo, own: &Port) -> Vec<SubnetId> {
    let lacks = |subnet: &&Subnet| !own.fixed_ips.iter().any(|ip| ip.subnet_id == subnet.id);
    network.subnets.iter().filter(|subnet| subnet.enable_dhcp).filter(lacks).map(|subnet| subnet.id).collect()
}

impl Service {
    /// What this network needs, given the agent's port on it.
    pub fn new(network: &NetworkInfo, own: &Port, config: &Config) -> Self {
        let directory = config.directory(network.id);
        let interface = device::dhcp_interface(own.id);
        Self {
            network: network.id,
            namespace: device::dhcp_namespace(network.id),
            tap: device::tap(own.id),
            mac: own.mac_address,
            mtu: Some(network.mtu).filter(|mtu| *mtu > 0),
            addresses: addresses(network, own, config),
            gateways: [4, 6].into_iter().filter_map(|version| gateway(network, version)).collect(),
            files: Files::render(network, own, config),
            command: dnsmasq::command(network, &directory, config),
            leases: files::leases(network, config),
            holders: network.ports.iter().flat_map(holders).collect(),
            metadata: metadata::proxy(network, &interface, config),
            directory,
            interface,
        }
    }
}

fn addresses(network: &NetworkInfo, own: &Port, config: &Config) -> BTreeSet<IpNet> {
    let of_port = own.fixed_ips.iter().filter_map(|ip| {
        let subnet = network.subnets.iter().find(|subnet| subnet.id == ip.subnet_id && subnet.enable_dhcp)?;
        IpNet::new(ip.ip_address, subnet.cidr.prefix_len()).ok()
    });
    let mut addresses: BTreeSet<IpNet> = of_port.collect();
    if config.enable_isolated_metadata || config.force_metadata {
        addresses.insert(IpNet::from(ADDRESS_V4));
        if network.subnets.iter().any(|subnet| subnet.ip_version == 6) {
            addresses.insert(IpNet::from(ADDRESS_V6));
        }
    }
    addresses
}

/// By way of the first subnet of the family that has a gateway.
fn gateway(network: &NetworkInfo, ip_version: u8) -> Option<Gateway> {
    let usable = |subnet: &&Subnet| subnet.enable_dhcp && subnet.ip_version == ip_version && has_usable_prefix(subnet);
    network.subnets.iter().filter(usable).find_map(|subnet| {
        let address = subnet.gateway_ip?;
        Some(Gateway { address, on_link: !subnet.cidr.contains(&address) })
    })
}

/// Hosts form their addresses from 64 bits or not at all.
fn has_usable_prefix(subnet: &Subnet) -> bool {
    let auto = |mode: Option<Ipv6Mode>| mode.is_some_and(Ipv6Mode::is_auto_address);
    let length = subnet.cidr.prefix_len();
    match subnet.cidr {
        IpNet::V4(_) => true,
        IpNet::V6(_) if length == 0 || length > 126 => false,
        IpNet::V6(_) => length == 64 || !(auto(subnet.ipv6_address_mode) || auto(subnet.ipv6_ra_mode)),
    }
}

fn holders(port: &Port) -> impl Iterator<Item = Holder> + '_ {
    port.fixed_ips.iter().map(|ip| Holder {
        address: ip.ip_address,
        mac: port.mac_address,
        client_id: files::client_id(port).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests;
