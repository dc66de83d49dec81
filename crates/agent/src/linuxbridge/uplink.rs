//! Moves the host's addresses and routes from a physical interface to the bridge above it, and back.
//!
//! An interface in a bridge hands everything it receives to the bridge, so what the host itself has there must follow,
//! with every attribute, and without the host losing a packet of its own. Hence the order: the addresses stand on both
//! links before the interface changes sides; each route is replaced by its twin at one stroke; only then do the old
//! addresses go. Stopped at any point and begun again, it ends the same.

use kernel::{
    Address, Kernel, Link, LinkChange, Result, Route,
    addr::{AddressFlags, AddressProtocol},
    missing_is_fine,
};

/// What there is to move.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    /// As they shall be on the new link.
    addresses: Vec<Address>,
    /// As they shall be on the new link; those that others need to find their gateway come first.
    routes: Vec<Route>,
    /// As they are on the old link.
    old: Vec<Address>,
}

/// Whether a link holds something of the host's own.
pub(super) fn is_addressed(link: u32, addresses: &[Address], routes: &[Route]) -> bool {
    addresses.iter().any(|address| address.link == link && address.is_global())
        || routes.iter().any(|route| route.uses(link) && is_moved(route, link, addresses))
}

/// What is to be moved between two links. Pure.
pub(super) fn transfer(from: &Link, to: &Link, addresses: &[Address], routes: &[Route]) -> Transfer {
    let old: Vec<Address> = addresses.iter().filter(|a| a.link == from.index && a.is_global()).cloned().collect();
    let mut moved: Vec<Route> = routes
        .iter()
        .filter(|route| route.uses(from.index) && is_moved(route, from.index, addresses))
        .map(|route| route.clone().moved(from.index, to.index))
        .collect();
    moved.sort_by_key(|route| route.gateway().is_some());
    Transfer { addresses: old.iter().map(|address| on_link(address, from, to)).collect(), routes: moved, old }
}

/// The kernel makes the route to an address's prefix by itself, unless the address says otherwise; all others move.
fn is_moved(route: &Route, link: u32, addresses: &[Address]) -> bool {
    let by_address = |a: &&Address| a.link == link && a.flags.contains(AddressFlags::Noprefixroute);
    route.is_set_by_hand()
        || addresses.iter().filter(by_address).any(|a| a.is_global() && route.destination() == Some(a.net.trunc()))
}

fn on_link(address: &Address, from: &Link, to: &Link) -> Address {
    let mut address = Address { link: to.index, ..address.clone() };
    // The address is in use already, on this very host: to look for a duplicate would only keep it silent for a second.
    address.flags |= AddressFlags::Nodad;
    let suffix = address.label.as_deref().and_then(|label| label.strip_prefix(from.name.as_str()));
    let label = suffix.filter(|suffix| suffix.starts_with(':')).map(|suffix| format!("{}{suffix}", to.name));
    address.label = label.filter(|label| label.len() <= 15);
    address.protocol = address.protocol.filter(|protocol| {
        !matches!(
            protocol,
            AddressProtocol::Loopback | AddressProtocol::RouterAnnouncement | AddressProtocol::LinkLocal
        )
    });
    address
}

/// Takes the interface to the other side, by `change`, with everything that is to be moved from one link to the other.
pub(super) async fn carry(
    kernel: &impl Kernel,
    (from, to): (&Link, &Link),
    (interface, change): (&str, &LinkChange),
) -> Result<()> {
    let transfer = transfer(from, to, &kernel.addresses().await?, &kernel.routes().await?);
    if !transfer.old.is_empty() && to.mac != from.mac {
        // Neighbours know the host by this MAC. It also stops the bridge from taking over that of a tap.
        kernel.link_set(&to.name, &LinkChange { mac: from.mac, ..LinkChange::default() }).await?;
    }
    for address in &transfer.addresses {
        kernel.address_set(address).await?;
    }
    kernel.link_set(interface, change).await?;
    for route in &transfer.routes {
        kernel.route_replace(route).await?;
    }
    for address in &transfer.old {
        missing_is_fine(kernel.address_delete(address).await)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
