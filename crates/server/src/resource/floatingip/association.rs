//! What a floating IP stands for: an address of a port that a router leads to from the external network.

use std::net::IpAddr;

use axum::http::StatusCode;
use db::{Tx, floatingip as rows, router as router_rows};
use types::{
    PortId, RouterId,
    attribute::Attributes,
    floatingip::{FloatingIp, PortDetails},
    port::{FixedIp, Port},
    router::Router,
};

use super::lock_router;
use crate::{
    Ctx, Error, Refusal, Result,
    ipam::owner,
    resource::{find, find_any, subnet::Subnet},
};

/// What a request says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It shall stand for nothing.
    Nothing,
    /// It shall stand for an address of this port.
    Port { port: PortId, address: Option<IpAddr>, router: Option<RouterId> },
}

/// Reads a request. One that does not name the port means the one that it stands for.
pub(super) fn wanted(current: &FloatingIp, given: &Attributes) -> Result<Wanted> {
    let address: Option<IpAddr> = given.parsed("fixed_ip_address");
    let named: Option<PortId> = given.parsed("port_id");
    if address.is_some() && named.is_none() {
        let reason = "fixed_ip_address cannot be specified without a port_id";
        return Err(Refusal::bad_request_of("floatingip", reason).into());
    }
    let port = if given.contains("port_id") { named } else { current.port_id };
    let address = if named.is_none() { current.fixed_ip_address } else { address };
    Ok(match port {
        Some(port) => Wanted::Port { port, address, router: given.parsed("router_id") },
        None => Wanted::Nothing,
    })
}

/// Takes from a floating IP what it stands for.
pub(super) fn dissolve(floatingip: &mut FloatingIp) {
    floatingip.last_known_router_id = floatingip.router_id.take();
    (floatingip.port_id, floatingip.fixed_ip_address, floatingip.port_details) = (None, None, None);
}

/// Lets a floating IP stand for what is wanted, if it can. Its row is left to be written by the caller.
pub(super) async fn apply(ctx: &Ctx, tx: &mut Tx, floatingip: &mut FloatingIp, wanted: Wanted) -> Result<()> {
    let Wanted::Port { port, address, router: requested } = wanted else {
        dissolve(floatingip);
        return Ok(());
    };
    let port: Port = find(ctx, tx, &port.to_string()).await?;
    refuse_unsuited(ctx, floatingip, &port)?;
    let inside = chosen(&port, address)?;
    let router = match requested {
        Some(router) => requested_router(ctx, tx, router, floatingip).await?,
        None => router_between(ctx, tx, floatingip, &port, &inside).await?,
    };
    if !lock_router(tx, router).await? {
        return Err(Refusal::not_found("Router", router).into());
    }
    if requested.is_none()
        && !router_rows::is_between(tx, router, inside.subnet_id, floatingip.floating_network_id).await?
    {
        // It was changed since it was found.
        return Err(Error::Db(db::DbError::Conflict { source: "a router was changed meanwhile".into() }));
    }
    refuse_second(tx, floatingip, &port, &inside).await?;
    floatingip.last_known_router_id = floatingip.router_id;
    floatingip.router_id = Some(router);
    floatingip.port_id = Some(port.id);
    floatingip.fixed_ip_address = Some(inside.ip_address);
    floatingip.port_details = Some(details(port));
    Ok(())
}

fn refuse_unsuited(ctx: &Ctx, floatingip: &FloatingIp, port: &Port) -> Result<()> {
    let reason = if port.project_id != floatingip.project_id && !ctx.caller.is_admin {
        format!(
            "Cannot process floating IP association with Port {}, since that port is owned by a different project",
            port.id
        )
    } else if port.device_owner == owner::DHCP {
        format!("Port {} is unable to be assigned a floating IP", port.id)
    } else {
        return Ok(());
    };
    Err(Refusal::bad_request_of("floatingip", reason).into())
}

/// The address of the port that is named, or its only IPv4 address.
fn chosen(port: &Port, address: Option<IpAddr>) -> Result<FixedIp> {
    let refused = |reason: String| Err(Refusal::bad_request_of("floatingip", reason).into());
    if let Some(address) = address {
        if address.is_ipv6() {
            return refused(format!(
                "Cannot process floating IP association with {address}, since that is not an IPv4 address"
            ));
        }
        return match port.fixed_ips.iter().find(|ip| ip.ip_address == address) {
            Some(ip) => Ok(*ip),
            None => refused(format!("Port {} does not have fixed ip {address}", port.id)),
        };
    }
    let mut candidates = port.fixed_ips.iter().filter(|ip| ip.ip_address.is_ipv4());
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(*only),
        (None, _) => refused(format!("Cannot add floating IP to port {} that has no fixed IPv4 addresses", port.id)),
        (Some(_), Some(_)) => refused(format!(
            "Port {} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating \
             IP",
            port.id
        )),
    }
}

/// A router that the client chose must lead to the external network.
async fn requested_router(ctx: &Ctx, tx: &mut Tx, router: RouterId, floatingip: &FloatingIp) -> Result<RouterId> {
    let router: Router = find(ctx, tx, &router.to_string()).await?;
    let network = floatingip.floating_network_id;
    if router.external_gateway_info.as_ref().is_some_and(|gateway| gateway.network_id == network) {
        return Ok(router.id);
    }
    let message = format!("Router {} has no external gateway on network {network}", router.id);
    Err(Refusal::conflict("Conflict", message).into())
}

/// The router that leads from the external network to the address; of several, the one that is the subnet's gateway.
async fn router_between(
    ctx: &Ctx,
    tx: &mut Tx,
    floatingip: &FloatingIp,
    port: &Port,
    inside: &FixedIp,
) -> Result<RouterId> {
    let subnet: Subnet = find_any(ctx, tx, &inside.subnet_id.to_string()).await?;
    let found = router_rows::routers_between(tx, subnet.id, floatingip.floating_network_id).await?;
    let gateway = found.iter().find(|(_, address)| Some(*address) == subnet.gateway_ip);
    match gateway.or_else(|| found.first()) {
        Some((router, _)) => Ok(*router),
        None => {
            let message = format!(
                "External network {} is not reachable from subnet {}.  Therefore, cannot associate Port {} with a \
                 Floating IP.",
                floatingip.floating_network_id, subnet.id, port.id
            );
            Err(Refusal::new(StatusCode::NOT_FOUND, "ExternalGatewayForFloatingIPNotFound", message).into())
        }
    }
}

/// An address has one floating IP on each external network.
async fn refuse_second(tx: &mut Tx, floatingip: &FloatingIp, port: &Port, inside: &FixedIp) -> Result<()> {
    let network = floatingip.floating_network_id;
    if !rows::is_associated(tx, network, port.id, inside.ip_address, floatingip.id).await? {
        return Ok(());
    }
    let message = format!(
        "Cannot associate floating IP {} ({}) with port {} using fixed IP {}, as that fixed IP already has a floating \
         IP on external network {network}.",
        floatingip.floating_ip_address, floatingip.id, port.id, inside.ip_address
    );
    Err(Refusal::conflict("FloatingIPPortAlreadyAssociated", message).into())
}

fn details(port: Port) -> PortDetails {
    PortDetails {
        name: port.name,
        network_id: port.network_id,
        mac_address: port.mac_address,
        admin_state_up: port.admin_state_up,
        status: port.status,
        device_id: port.device_id,
        device_owner: port.device_owner,
    }
}
