//! Which addresses a port shall have, decided without a database.
//!
//! From the subnets of the network, the port's owner and MAC, and what the client asked for comes a list of
//! [`Wanted`] addresses. The rules:
//!
//! * Without a request a port gets one IPv4 and one IPv6 address where DHCP assigns them (from the first subnet of
//!   each kind that has one left), and an EUI-64 address on every subnet where hosts form their own.
//! * Interfaces of routers are left out of the latter.
//! * A subnet with service types serves only owners among them, and those first; DHCP ports are served by every subnet
//!   with DHCP.
//! * Subnets bound to a segment serve only hosts on that segment. While the host is not known, allocation is deferred.
//! * An update keeps what is named again (by address, or by subnet), adds what is new and drops the rest, except
//!   addresses that hosts form themselves.

use std::net::IpAddr;

use db::ipam::Candidate;
use ipnet::IpNet;
use serde::Deserialize;
use types::{Mac, NetworkId, SegmentId, SubnetId, port::FixedIp};

use super::{IpamError, owner};

/// One element of `fixed_ips` in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct FixedIpRequest {
    /// The subnet it shall come from.
    #[serde(default)]
    pub subnet_id: Option<SubnetId>,
    /// The very address.
    #[serde(default)]
    pub ip_address: Option<IpAddr>,
    /// On update: take away the port's address on this subnet, even one that hosts form themselves.
    #[serde(default)]
    pub delete_subnet: bool,
}

/// What of a port matters for its addresses.
#[derive(Debug, Clone, Copy)]
pub struct Party<'a> {
    /// Its network.
    pub network_id: NetworkId,
    /// Who owns the device behind it.
    pub device_owner: &'a str,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its host; empty when not known.
    pub host: &'a str,
}

/// An address to be allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This very one: asked for by the client, or formed from prefix and MAC.
    Address {
        /// On which subnet.
        subnet_id: SubnetId,
        /// Which.
        address: IpAddr,
    },
    /// Any free one from the pools of the first of these subnets that has one.
    Any {
        /// In order of preference.
        subnets: Vec<SubnetId>,
        /// The lowest, for services whose address people like to know.
        lowest: bool,
    },
}

/// What an update does to the addresses of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reassignment {
    /// Stay.
    pub keep: Vec<FixedIp>,
    /// Go.
    pub remove: Vec<FixedIp>,
    /// Are asked for.
    pub add: Vec<FixedIpRequest>,
}

/// Which subnets may serve a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligible<'a> {
    /// These, in order of preference; none when the network has no subnets.
    Subnets(Vec<&'a Candidate>),
    /// It depends on the host, which is not known yet.
    Deferred,
}

/// Can a port of this owner have the address on this prefix?
pub fn is_valid_on(cidr: IpNet, address: IpAddr, device_owner: &str) -> bool {
    match cidr {
        IpNet::V4(net) => {
            let has_broadcast = net.prefix_len() <= 30;
            cidr.contains(&address)
                && address != IpAddr::V4(net.network())
                && !(has_broadcast && address == IpAddr::V4(net.broadcast()))
        }
        IpNet::V6(net) => {
            let network_allowed = device_owner.is_empty() || owner::is_router(device_owner);
            cidr.contains(&address) && (network_allowed || address != IpAddr::V6(net.network()))
        }
    }
}

/// Was the address formed from a MAC?
pub fn is_eui64(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if Mac::from_eui64(a).is_some())
}

/// The address a host with this MAC forms on the prefix.
pub fn auto_address(cidr: IpNet, mac: Mac) -> Option<IpAddr> {
    match cidr {
        IpNet::V4(_) => None,
        IpNet::V6(net) => Some(IpAddr::V6(mac.eui64(net.network()))),
    }
}

/// The subnets of its network that may serve a port.
///
/// `host_segments` are the segments that its host reaches; `fixed` is what the client asked for, if anything.
pub fn eligible<'a>(
    subnets: &'a [Candidate],
    party: &Party<'_>,
    host_segments: &[SegmentId],
    fixed: Option<&[FixedIpRequest]>,
) -> Result<Eligible<'a>, IpamError> {
    if subnets.is_empty() {
        return Ok(Eligible::Subnets(Vec::new()));
    }
    let mut serving: Vec<&Candidate> = subnets.iter().filter(|s| serves(s, party.device_owner)).collect();
    let any_serving = !serving.is_empty();
    if party.host.is_empty() {
        match fixed {
            Some(fixed) => keep_one_segment(&mut serving, fixed, party.device_owner)?,
            None => serving.retain(|s| s.segment_id.is_none()),
        }
    } else {
        serving.retain(|s| s.segment_id.is_none_or(|segment| host_segments.contains(&segment)));
    }
    if !serving.is_empty() {
        serving.sort_by_key(|s| s.service_types.is_empty());
        return Ok(Eligible::Subnets(serving));
    }
    if !party.host.is_empty() && subnets.iter().any(|s| s.segment_id.is_some()) {
        return Err(IpamError::HostNotConnectedToAnySegment {
            host: party.host.to_owned(),
            network_id: party.network_id,
        });
    }
    if any_serving {
        return Ok(Eligible::Deferred);
    }
    Err(IpamError::IpAddressGenerationFailureNoMatchingSubnet {
        network_id: party.network_id,
        device_owner: party.device_owner.to_owned(),
    })
}

pub(super) fn serves(subnet: &Candidate, device_owner: &str) -> bool {
    subnet.service_types.is_empty()
        || subnet.service_types.iter().any(|t| t == device_owner)
        || (subnet.enable_dhcp && device_owner == owner::DHCP)
}

/// With the host unknown, requested addresses decide the segment; only subnets on it remain.
fn keep_one_segment(
    serving: &mut Vec<&Candidate>,
    fixed: &[FixedIpRequest],
    device_owner: &str,
) -> Result<(), IpamError> {
    if device_owner == owner::DISTRIBUTED {
        return Ok(());
    }
    let mut segments: Vec<Option<SegmentId>> = Vec::new();
    for request in fixed {
        let subnet = match (request.subnet_id, request.ip_address) {
            (Some(id), _) => serving.iter().find(|s| s.id == id),
            (None, Some(address)) => serving.iter().find(|s| s.cidr.contains(&address)),
            (None, None) => continue,
        };
        // A request for what is not there is refused later, by its own name.
        let Some(subnet) = subnet else { return Ok(()) };
        if !segments.contains(&subnet.segment_id) {
            segments.push(subnet.segment_id);
        }
    }
    if segments.len() > 1 {
        return Err(IpamError::FixedIpsSubnetsNotOnSameSegment);
    }
    let segment = segments.first().copied().flatten();
    serving.retain(|s| s.segment_id == segment);
    Ok(())
}

/// The addresses of a new port. `fixed` is `None` when the client left the choice to us.
pub fn for_new_port(
    subnets: &[&Candidate],
    party: &Party<'_>,
    fixed: Option<&[FixedIpRequest]>,
) -> Result<Vec<Wanted>, IpamError> {
    let mut wanted = match fixed {
        Some(fixed) => requested(subnets, party, fixed)?,
        None => chosen(subnets, party),
    };
    add_auto_addresses(&mut wanted, subnets, party, &[]);
    Ok(in_order(wanted))
}

/// The addresses an update adds: what it asks for and what hosts form themselves on subnets not in `handled`.
pub fn for_update(
    subnets: &[&Candidate],
    party: &Party<'_>,
    add: &[FixedIpRequest],
    handled: &[SubnetId],
) -> Result<Vec<Wanted>, IpamError> {
    let mut wanted = requested(subnets, party, add)?;
    let mut handled = handled.to_vec();
    handled.extend(wanted.iter().flat_map(subnets_of));
    add_auto_addresses(&mut wanted, subnets, party, &handled);
    Ok(in_order(wanted))
}

/// One IPv4 and one IPv6 address from where DHCP assigns them.
fn chosen(subnets: &[&Candidate], party: &Party<'_>) -> Vec<Wanted> {
    let group = |v4| -> Vec<SubnetId> {
        subnets.iter().filter(|s| !s.auto_address && s.cidr.addr().is_ipv4() == v4).map(|s| s.id).collect()
    };
    let groups = [group(true), group(false)];
    groups.into_iter().filter(|g| !g.is_empty()).map(|subnets| any(subnets, party)).collect()
}

fn any(subnets: Vec<SubnetId>, party: &Party<'_>) -> Wanted {
    Wanted::Any { subnets, lowest: [owner::DHCP, owner::DISTRIBUTED].contains(&party.device_owner) }
}

/// What the client asked for, checked against the subnets.
fn requested(subnets: &[&Candidate], party: &Party<'_>, fixed: &[FixedIpRequest]) -> Result<Vec<Wanted>, IpamError> {
    let mut wanted = Vec::with_capacity(fixed.len());
    for request in fixed {
        let subnet = subnet_of(subnets, party, request)?;
        match request.ip_address {
            Some(address) => {
                let may_choose = !subnet.auto_address || owner::is_router_interface(party.device_owner);
                if !may_choose && auto_address(subnet.cidr, party.mac) != Some(address) {
                    return Err(IpamError::AllocationOnAutoAddressSubnet { address, subnet_id: subnet.id });
                }
                wanted.push(Wanted::Address { subnet_id: subnet.id, address });
            }
            // On a subnet where hosts form their own address, every port has one anyway.
            None if subnet.auto_address && !owner::is_router_interface_or_snat(party.device_owner) => {}
            None => wanted.push(any(vec![subnet.id], party)),
        }
    }
    Ok(wanted)
}

fn subnet_of<'a>(
    subnets: &[&'a Candidate],
    party: &Party<'_>,
    request: &FixedIpRequest,
) -> Result<&'a Candidate, IpamError> {
    if subnets.is_empty() {
        return Err(IpamError::InvalidInput("IP allocation requires subnets for network".to_owned()));
    }
    let valid = |s: &Candidate, address| is_valid_on(s.cidr, address, party.device_owner);
    match (request.subnet_id, request.ip_address) {
        (Some(subnet_id), address) => {
            let Some(subnet) = subnets.iter().find(|s| s.id == subnet_id) else {
                return Err(IpamError::SubnetNotOnNetwork { subnet_id, network_id: party.network_id });
            };
            match address.filter(|a| !valid(subnet, *a)) {
                Some(address) => Err(IpamError::InvalidIpForSubnet(address)),
                None => Ok(subnet),
            }
        }
        (None, Some(address)) => {
            subnets.iter().find(|s| valid(s, address)).copied().ok_or(IpamError::InvalidIpForNetwork(address))
        }
        (None, None) => Err(IpamError::InvalidInput("IP allocation requires subnet_id or ip_address".to_owned())),
    }
}

fn add_auto_addresses(wanted: &mut Vec<Wanted>, subnets: &[&Candidate], party: &Party<'_>, handled: &[SubnetId]) {
    if owner::is_router_interface_or_snat(party.device_owner) {
        return;
    }
    for subnet in subnets.iter().filter(|s| s.auto_address && !handled.contains(&s.id)) {
        if let Some(address) = auto_address(subnet.cidr, party.mac) {
            let auto = Wanted::Address { subnet_id: subnet.id, address };
            if !wanted.contains(&auto) {
                wanted.push(auto);
            }
        }
    }
}

fn subnets_of(wanted: &Wanted) -> Vec<SubnetId> {
    match wanted {
        Wanted::Address { subnet_id, .. } => vec![*subnet_id],
        Wanted::Any { subnets, .. } => subnets.clone(),
    }
}

/// Given addresses first, so that none of them is taken by a free choice.
fn in_order(mut wanted: Vec<Wanted>) -> Vec<Wanted> {
    wanted.sort_by_key(|w| matches!(w, Wanted::Any { .. }));
    wanted
}

/// What an update of `fixed_ips` keeps, removes and adds.
///
/// `is_auto` tells whether hosts form their own addresses on a subnet.
pub fn reassignment(
    current: &[FixedIp],
    requested: &[FixedIpRequest],
    device_owner: &str,
    is_auto: impl Fn(SubnetId) -> bool,
) -> Reassignment {
    let dropped: Vec<SubnetId> = requested.iter().filter(|r| r.delete_subnet).filter_map(|r| r.subnet_id).collect();
    let requests: Vec<&FixedIpRequest> =
        requested.iter().filter(|r| !r.delete_subnet && r.subnet_id.is_none_or(|s| !dropped.contains(&s))).collect();
    let mut rest = current.to_vec();
    let mut out = Reassignment::default();

    for request in requests.iter().filter(|r| r.ip_address.is_some()) {
        match rest.iter().position(|c| Some(c.ip_address) == request.ip_address) {
            Some(i) => out.keep.push(rest.remove(i)),
            None => out.add.push(**request),
        }
    }
    let mut renewed = Vec::new();
    for request in requests.iter().filter(|r| r.ip_address.is_none()) {
        match rest.iter().rposition(|c| Some(c.subnet_id) == request.subnet_id) {
            None => out.add.push(**request),
            // The prefix may have changed since the address was formed, so it is formed again.
            Some(i) if is_eui64(rest[i].ip_address) => {
                renewed.push(rest.remove(i));
                out.add.push(**request);
            }
            Some(i) => out.keep.push(rest.remove(i)),
        }
    }
    for ip in rest.into_iter().chain(renewed) {
        let required = owner::is_router_interface_or_snat(device_owner) || !is_auto(ip.subnet_id);
        if required || dropped.contains(&ip.subnet_id) { out.remove.push(ip) } else { out.keep.push(ip) }
    }
    out
}

/// The request that stands for a new MAC: what there was (or is asked for), with the addresses formed from the old
/// MAC taken away. `None` when the port has no addresses and asks for none.
pub fn with_new_mac(current: &[FixedIp], requested: Option<&[FixedIpRequest]>) -> Option<Vec<FixedIpRequest>> {
    if current.is_empty() && requested.is_none_or(<[_]>::is_empty) {
        return requested.map(<[_]>::to_vec);
    }
    let as_request = |ip: &FixedIp| FixedIpRequest {
        subnet_id: Some(ip.subnet_id),
        ip_address: Some(ip.ip_address),
        delete_subnet: false,
    };
    let mut requests = requested.map_or_else(|| current.iter().map(as_request).collect(), <[_]>::to_vec);
    for ip in current.iter().filter(|ip| is_eui64(ip.ip_address)) {
        let drop = FixedIpRequest { subnet_id: Some(ip.subnet_id), ip_address: None, delete_subnet: true };
        match requests.iter_mut().find(|r| r.subnet_id == Some(ip.subnet_id) && !r.delete_subnet) {
            Some(request) => *request = drop,
            None => requests.push(drop),
        }
    }
    Some(requests)
}

#[cfg(test)]
mod tests;
