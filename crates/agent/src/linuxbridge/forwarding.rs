//! Reads the forwarding entries and neighbours of VXLAN devices and brings them to what is known of other hosts.
//!
//! A device's entries are one object: they come and go with the device, which [`super::driver`] makes. Only permanent
//! entries that lead to single hosts are looked at. What is new is set before what is old is removed, so that a port
//! that moves is never without an entry.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
};

use kernel::{Forwarding, Kernel, Kind, Link, Neighbour, missing_is_fine, neighbour::FLOOD};
use reconcile::Driver;
use types::Mac;

use super::{
    driver::Error,
    object::is_vxlan,
    population::{Entries, Others},
};

/// The driver of the entries of all VXLAN devices, by the device's name.
pub(super) struct Forwarder<K> {
    kernel: K,
}

/// The entries a device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Present {
    link: u32,
    forwardings: BTreeSet<(Mac, IpAddr)>,
    neighbours: BTreeMap<IpAddr, Mac>,
}

impl<K: Kernel> Forwarder<K> {
    pub(super) fn new(kernel: K) -> Self {
        Self { kernel }
    }

    async fn entries(&self, links: Vec<Link>) -> Result<BTreeMap<String, Present>, Error> {
        let empty = |link: &Link| {
            let entries = Present { link: link.index, forwardings: BTreeSet::new(), neighbours: BTreeMap::new() };
            (link.index, (link.name.clone(), entries))
        };
        let mut devices: HashMap<u32, (String, Present)> =
            links.iter().filter(|link| is_vxlan(link)).map(empty).collect();
        if devices.is_empty() {
            return Ok(BTreeMap::new());
        }
        for entry in self.kernel.forwardings().await? {
            if let Some((_, present)) = devices.get_mut(&entry.link).filter(|_| !entry.remote.is_multicast()) {
                present.forwardings.insert((entry.mac, entry.remote));
            }
        }
        for neighbour in self.kernel.neighbours().await? {
            // Those of groups are the kernel's own.
            if let Some((_, present)) = devices.get_mut(&neighbour.link).filter(|_| !neighbour.address.is_multicast()) {
                present.neighbours.insert(neighbour.address, neighbour.mac);
            }
        }
        Ok(devices.into_values().collect())
    }

    /// Neighbours with IPv6 addresses need IPv6 on the device, which it was made without. It gets no address of its own
    /// there and listens to no router.
    fn enable_ipv6(&self, name: &str) -> Result<(), Error> {
        let key = |parameter: &str| format!("net/ipv6/conf/{name}/{parameter}");
        if self.kernel.sysctl(&key("disable_ipv6"))? == "1" {
            for (parameter, value) in [("addr_gen_mode", "1"), ("accept_ra", "0"), ("disable_ipv6", "0")] {
                self.kernel.sysctl_set(&key(parameter), value)?;
            }
        }
        Ok(())
    }
}

impl<K: Kernel> Driver for Forwarder<K> {
    type Key = String;
    type Wanted = Entries;
    type Actual = Present;
    type Error = Error;

    async fn read(&self) -> Result<BTreeMap<String, Present>, Error> {
        let links = self.kernel.links().await?;
        self.entries(links).await
    }

    async fn read_some(&self, keys: &BTreeSet<String>) -> Result<BTreeMap<String, Present>, Error> {
        let mut links = Vec::new();
        for key in keys {
            links.extend(self.kernel.link(key).await?);
        }
        self.entries(links).await
    }

    fn in_sync(&self, wanted: &Entries, actual: &Present) -> bool {
        let forwards = wanted.forwardings.is_subset(&actual.forwardings);
        let answers = wanted.neighbours.iter().all(|(address, mac)| actual.neighbours.get(address) == Some(mac));
        forwards
            && answers
            && surplus_forwardings(wanted, actual).is_empty()
            && surplus_neighbours(wanted, actual).is_empty()
    }

    /// Entries go with their device, never before it.
    fn owns(&self, _: &String, _: &Present) -> bool {
        false
    }

    /// One entry that fails holds up no other.
    async fn apply(&self, key: &String, wanted: &Entries, actual: Option<&Present>) -> Result<(), Error> {
        let actual = actual.ok_or_else(|| Error::Missing { what: "VXLAN device", name: key.clone() })?;
        let link = actual.link;
        let mut outcome = Ok(());
        let mut note = |result: Result<(), kernel::Error>| {
            if let (Ok(()), Err(error)) = (&outcome, result) {
                outcome = Err(error);
            }
        };
        for (mac, remote) in wanted.forwardings.difference(&actual.forwardings) {
            note(self.kernel.forwarding_set(&Forwarding { link, mac: *mac, remote: *remote }).await);
        }
        let missing = wanted.neighbours.iter().filter(|(address, mac)| actual.neighbours.get(address) != Some(mac));
        for (address, mac) in missing {
            if address.is_ipv6() {
                self.enable_ipv6(key)?;
            }
            note(self.kernel.neighbour_set(&Neighbour { link, address: *address, mac: *mac }).await);
        }
        for (mac, remote) in surplus_forwardings(wanted, actual) {
            if mac == FLOOD || !leads_somewhere(wanted, mac) {
                note(missing_is_fine(self.kernel.forwarding_delete(&Forwarding { link, mac, remote }).await));
            }
        }
        for (address, mac) in surplus_neighbours(wanted, actual) {
            note(missing_is_fine(self.kernel.neighbour_delete(&Neighbour { link, address, mac }).await));
        }
        Ok(outcome?)
    }

    async fn remove(&self, _: &String, _: &Present) -> Result<(), Error> {
        Ok(())
    }
}

/// The entry of a MAC that moved has been put in the place of the old one.
fn leads_somewhere(wanted: &Entries, mac: Mac) -> bool {
    let first = wanted.forwardings.range((mac, IpAddr::V4(Ipv4Addr::UNSPECIFIED))..).next();
    first.is_some_and(|(other, _)| *other == mac)
}

/// Whether the link may have entries of ours.
pub(super) fn has_entries(link: &Link) -> bool {
    matches!(link.kind, Kind::Vxlan(_))
}

fn surplus_forwardings(wanted: &Entries, actual: &Present) -> Vec<(Mac, IpAddr)> {
    let goes = |entry: &(Mac, IpAddr)| match &wanted.others {
        Others::Go => true,
        Others::Stay { forwardings, .. } => forwardings.contains(entry),
    };
    actual.forwardings.difference(&wanted.forwardings).copied().filter(goes).collect()
}

fn surplus_neighbours(wanted: &Entries, actual: &Present) -> Vec<(IpAddr, Mac)> {
    let goes = |address: &IpAddr| match &wanted.others {
        Others::Go => true,
        Others::Stay { neighbours, .. } => neighbours.contains(address),
    };
    let unwanted = actual.neighbours.iter().filter(|(address, _)| !wanted.neighbours.contains_key(*address));
    unwanted.filter(|(address, _)| goes(address)).map(|(address, mac)| (*address, *mac)).collect()
}

#[cfg(test)]
mod tests;
