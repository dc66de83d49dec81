//! The rules a subnet must obey. The texts are those clients of the API know.

use std::net::IpAddr;

use db::{Tx, subnet as rows};
use ipnet::IpNet;
use types::{SegmentId, attribute::Attributes, network::Network};

use super::{Subnet, is_auto};
use crate::{Ctx, Refusal, Result, ipam::pools};

/// The smallest MTU an IPv4 host must cope with.
const IPV4_MIN_MTU: u32 = 68;
/// The smallest MTU an IPv6 link may have.
const IPV6_MIN_MTU: u32 = 1280;
fn invalid(reason: impl std::fmt::Display) -> crate::Error {
    Refusal::invalid_input(reason).into()
}

/// The rules a new subnet must obey by itself.
pub(super) fn create(ctx: &Ctx, subnet: &Subnet) -> Result<()> {
    same_version(subnet, subnet.cidr.addr(), "cidr", subnet.cidr)?;
    if subnet.cidr.addr() == IpAddr::from([0_u16; 8]) {
        return Err(invalid("IPv6 subnet '::' is not supported"));
    }
    if subnet.enable_dhcp {
        dhcp_prefix(subnet.cidr)?;
    }
    // The gateway we would choose is looked at later, with the pools.
    if subnet.gateway_ip != Some(pools::default_gateway(subnet.cidr)) {
        gateway(subnet)?;
    }
    name_servers(ctx, subnet, "new subnet")?;
    host_routes(ctx, subnet, "new subnet")?;
    ipv6_modes(subnet)
}

/// The rules a changed subnet must obey.
pub(super) async fn update(ctx: &Ctx, tx: &mut Tx, given: &Attributes, before: &Subnet, after: &Subnet) -> Result<()> {
    if given.bool("enable_dhcp") == Some(true) && !before.enable_dhcp {
        dhcp_prefix(after.cidr)?;
    }
    if given.contains("gateway_ip") {
        gateway(after)?;
        if after.gateway_ip != before.gateway_ip {
            gateway_unused(tx, before).await?;
        }
    }
    let id = after.id.to_string();
    if given.contains("dns_nameservers") {
        name_servers(ctx, after, &id)?;
    }
    if given.contains("host_routes") {
        host_routes(ctx, after, &id)?;
    }
    let has_modes = after.ipv6_ra_mode.is_some() || after.ipv6_address_mode.is_some();
    if given.bool("enable_dhcp") == Some(false) && has_modes {
        return Err(invalid("Cannot disable enable_dhcp with ipv6 attributes set"));
    }
    if given.contains("allocation_pools") {
        pools::validate(&after.allocation_pools, after.cidr)?;
    }
    if let Some(gateway) = after.gateway_ip
        && (given.contains("allocation_pools") || given.contains("gateway_ip"))
    {
        pools::validate_gateway(gateway, &after.allocation_pools)?;
    }
    if given.contains("segment_id") {
        segment(tx, after, Some(before.segment_id)).await?;
    }
    Ok(())
}

fn version_of(address: IpAddr) -> i64 {
    if address.is_ipv4() { 4 } else { 6 }
}

fn same_version(subnet: &Subnet, address: IpAddr, name: &str, shown: impl std::fmt::Display) -> Result<()> {
    if version_of(address) == i64::from(subnet.ip_version) {
        return Ok(());
    }
    Err(invalid(format!("{name} '{shown}' does not match the ip_version '{}'", subnet.ip_version)))
}

/// Can DHCP serve this prefix?
fn dhcp_prefix(cidr: IpNet) -> Result<()> {
    let (first, last) = (cidr.network(), cidr.broadcast());
    let within = |range: &str| range.parse::<IpNet>().is_ok_and(|r| r.contains(&first) && r.contains(&last));
    let longest = if cidr.addr().is_ipv4() { 30 } else { 126 };
    if cidr.prefix_len() > longest {
        return Err(invalid("Subnet has a prefix length that is incompatible with DHCP service enabled"));
    }
    if within("224.0.0.0/4") || within("ff00::/8") {
        return Err(invalid("Multicast IP subnet is not supported if enable_dhcp is True"));
    }
    if within("127.0.0.0/8") || within("::1/128") {
        return Err(invalid("Loopback IP subnet is not supported if enable_dhcp is True"));
    }
    if first == IpAddr::from([0_u8; 4]) {
        return Err(invalid("First IP '0.0.0.0' of network is not supported if enable_dhcp is True."));
    }
    Ok(())
}

fn gateway(subnet: &Subnet) -> Result<()> {
    let Some(gateway) = subnet.gateway_ip else { return Ok(()) };
    same_version(subnet, gateway, "gateway_ip", gateway)?;
    if pools::gateway_is_invalid(subnet.cidr, gateway) {
        return Err(invalid("Gateway is not valid on subnet"));
    }
    Ok(())
}

/// A router that holds the gateway's address would lose it.
async fn gateway_unused(tx: &mut Tx, before: &Subnet) -> Result<()> {
    let Some(gateway) = before.gateway_ip else { return Ok(()) };
    match rows::router_port_with(tx, before.id, gateway).await? {
        None => Ok(()),
        Some(port) => {
            let message = format!("Current gateway ip {gateway} already in use by port {port}. Unable to update.");
            Err(Refusal::conflict("GatewayIpInUse", message).into())
        }
    }
}

fn name_servers(ctx: &Ctx, subnet: &Subnet, spoken: &str) -> Result<()> {
    let limit = ctx.config().max_dns_nameservers;
    if subnet.dns_nameservers.len() > limit {
        let message = format!(
            "Unable to complete operation for {spoken}. The number of DNS nameservers exceeds the limit {limit}."
        );
        return Err(Refusal::bad_request("DNSNameServersExhausted", message).into());
    }
    for server in &subnet.dns_nameservers {
        let address = server.parse().map_err(|_| invalid(format!("Error parsing dns address {server}")))?;
        same_version(subnet, address, "dns_nameserver", server)?;
    }
    Ok(())
}

fn host_routes(ctx: &Ctx, subnet: &Subnet, spoken: &str) -> Result<()> {
    let limit = ctx.config().max_subnet_host_routes;
    if subnet.host_routes.len() > limit {
        let message =
            format!("Unable to complete operation for {spoken}. The number of host routes exceeds the limit {limit}.");
        return Err(Refusal::bad_request("HostRoutesExhausted", message).into());
    }
    for route in &subnet.host_routes {
        same_version(subnet, route.nexthop, "nexthop", route.nexthop)?;
        same_version(subnet, route.destination.addr(), "destination", route.destination)?;
    }
    Ok(())
}

fn ipv6_modes(subnet: &Subnet) -> Result<()> {
    let (ra, address) = (subnet.ipv6_ra_mode, subnet.ipv6_address_mode);
    if subnet.ip_version == 4 {
        return match (ra, address) {
            (Some(_), _) => Err(invalid("ipv6_ra_mode is not valid when ip_version is 4")),
            (None, Some(_)) => Err(invalid("ipv6_address_mode is not valid when ip_version is 4")),
            (None, None) => Ok(()),
        };
    }
    if (ra.is_some() || address.is_some()) && !subnet.enable_dhcp {
        return Err(invalid("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False"));
    }
    if let (Some(ra), Some(address)) = (ra, address)
        && ra != address
    {
        return Err(invalid(format!(
            "ipv6_ra_mode set to '{}' with ipv6_address_mode set to '{}' is not valid. If both attributes are set, they \
             must be the same value",
            ra.as_str(),
            address.as_str()
        )));
    }
    // Interface identifiers formed from a MAC have 64 bits (RFC 4862, section 5.5.3).
    if is_auto(subnet) && subnet.cidr.prefix_len() != 64 {
        return Err(invalid(format!(
            "Invalid CIDR {} for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix \
             to be /64",
            subnet.cidr
        )));
    }
    Ok(())
}

/// Does the network carry packets that hosts on such a subnet must be able to send?
pub(super) fn mtu(network: &Network, subnet: &Subnet) -> Result<()> {
    let least = match network.mtu {
        0 | IPV6_MIN_MTU.. => return Ok(()),
        mtu if mtu < IPV4_MIN_MTU => IPV4_MIN_MTU,
        _ if subnet.ip_version == 6 => IPV6_MIN_MTU,
        _ => return Ok(()),
    };
    let message = format!("MTU of {} is not valid, subnet requires a minimum of {least}", network.id);
    Err(Refusal::conflict("NetworkMTUSubnetConflict", message).into())
}

/// Prefixes on one network lie apart. Which other subnet is in the way is not told, as it may be somebody else's.
pub(super) async fn overlap(tx: &mut Tx, subnet: &Subnet) -> Result<()> {
    if subnet.cidr.prefix_len() == 0 {
        return Err(invalid("0 is not allowed as CIDR prefix length"));
    }
    let others = rows::cidrs_on(tx, subnet.network_id).await?;
    if others.iter().any(|other| other.contains(&subnet.cidr) || subnet.cidr.contains(other)) {
        return Err(invalid(format!(
            "Requested subnet with cidr: {} for network: {} overlaps with another subnet",
            subnet.cidr, subnet.network_id
        )));
    }
    Ok(())
}

/// Either all subnets of a network belong to segments or none does. `before` is the segment so far, on update.
pub(super) async fn segment(tx: &mut Tx, subnet: &Subnet, before: Option<Option<SegmentId>>) -> Result<()> {
    let network_id = subnet.network_id;
    let mut segments = rows::segments_on(tx, network_id).await?;
    match before {
        None => {
            // A routed service subnet has no segment even where others do.
            if !subnet.service_types.iter().any(|t| t == "network:routed") {
                segments.push(subnet.segment_id);
            }
            if let Some(id) = subnet.segment_id
                && rows::segment_network(tx, id).await?.is_none()
            {
                let message = format!("Segment {id} could not be found.");
                return Err(Refusal::new(axum::http::StatusCode::NOT_FOUND, "SegmentNotFound", message).into());
            }
        }
        Some(before) if before == subnet.segment_id => return Ok(()),
        Some(before) => {
            if segments.len() > 1 {
                return Err(not_all_associated(subnet));
            }
            if before.is_some() {
                let message = "A subnet that is already associated with a segment cannot have its segment association \
                     changed.";
                return Err(Refusal::bad_request("SubnetSegmentAssociationChangeNotAllowed", message).into());
            }
        }
    }
    if segments.iter().any(Option::is_some) && segments.iter().any(Option::is_none) {
        return Err(not_all_associated(subnet));
    }
    let Some(id) = subnet.segment_id else { return Ok(()) };
    match rows::segment_network(tx, id).await? {
        None => {
            let message = format!("Segment {id} could not be found.");
            Err(Refusal::new(axum::http::StatusCode::NOT_FOUND, "SegmentNotFound", message).into())
        }
        Some((other, _)) if other != network_id => {
            let message =
                format!("The subnet's network id, '{network_id}', doesn't match the network_id of segment '{id}'");
            Err(Refusal::bad_request("NetworkIdsDontMatch", message).into())
        }
        Some((_, true)) => {
            let message = "A subnet cannot be associated with a dynamic segment.";
            Err(Refusal::bad_request("SubnetCantAssociateToDynamicSegment", message).into())
        }
        Some(_) => Ok(()),
    }
}

fn not_all_associated(subnet: &Subnet) -> crate::Error {
    let message = format!(
        "All of the subnets on network '{}' must either all be associated with segments or all not associated with any \
         segment.",
        subnet.network_id
    );
    Refusal::bad_request("SubnetsNotAllAssociatedWithSegments", message).into()
}
