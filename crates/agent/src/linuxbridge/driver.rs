//! Reads the bridges, uplinks and taps of this host and brings them to their wanted state.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use kernel::{Bridge, Kernel, Kind, Link, LinkChange, NewKind, NewLink, existing_is_fine, missing_is_fine};
use reconcile::Driver;
use types::NetworkId;

use super::{
    Config, desired,
    object::{Actual, GROUP, Key, Uplink, Wanted, is_bridge_name, is_half_made, is_tap, is_vxlan, network_of},
    uplink,
};

/// The driver of all objects of this agent.
pub(super) struct Wiring<K> {
    kernel: K,
    interfaces: BTreeSet<String>,
    given_bridges: BTreeSet<String>,
}

/// Why an object is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    #[error("a link named {name} exists and is no {expected}; rename or remove it")]
    WrongKind { name: String, expected: &'static str },
    #[error("{name} cannot be made: another link has this name, or is {what} already; rename or remove it")]
    Taken { name: String, what: String },
    #[error("there is no {what} named {name}")]
    Missing { what: &'static str, name: String },
    #[error("no interface of this host has the tunnel address {0} (local_ip)")]
    NoTunnelAddress(IpAddr),
}

impl<K: Kernel> Wiring<K> {
    pub(super) fn new(kernel: K, config: &Config) -> Self {
        let interfaces = config.physical_interface_mappings.values().cloned().collect();
        Self { kernel, interfaces, given_bridges: config.bridge_mappings.values().cloned().collect() }
    }

    /// A device by which we, or a predecessor, connect a bridge to other hosts.
    fn is_uplink(&self, link: &Link, names: &HashMap<u32, &str>) -> bool {
        let on = |id| {
            let parent = link.parent.and_then(|parent| names.get(&parent));
            parent.is_some_and(|name| self.interfaces.contains(*name) && link.name == desired::vlan_device(name, id))
        };
        match link.kind {
            Kind::Vlan(id) => on(id) || self.interfaces.contains(&link.name),
            Kind::Vxlan(_) => is_vxlan(link),
            _ => self.interfaces.contains(&link.name),
        }
    }

    fn key(&self, link: &Link, names: &HashMap<u32, &str>) -> Option<Key> {
        let name = link.name.clone();
        if is_bridge_name(&name) || self.given_bridges.contains(&name) {
            Some(Key::Bridge(name))
        } else if self.is_uplink(link, names) {
            Some(Key::Uplink(name))
        } else {
            is_tap(&name).then_some(Key::Tap(name))
        }
    }

    async fn find(&self, what: &'static str, name: &str) -> Result<Link, Error> {
        let link = self.kernel.link(name).await?;
        link.ok_or_else(|| Error::Missing { what, name: name.to_owned() })
    }

    /// No IPv6 of the host's own on a link that strangers can reach. A kernel without IPv6 has nothing to switch off.
    fn disable_ipv6(&self, name: &str) -> Result<(), Error> {
        let key = format!("net/ipv6/conf/{name}/disable_ipv6");
        Ok(missing_is_fine(self.kernel.sysctl_set(&key, "1"))?)
    }

    async fn apply_bridge(
        &self,
        name: &str,
        (network, mtu, ipv6): (NetworkId, u32, bool),
        actual: Option<&Actual>,
    ) -> Result<(), Error> {
        // The alias is our mark: it tells a later agent, which remembers nothing, whose bridge this is.
        let mut change = LinkChange { alias: Some(network.to_string()), ..LinkChange::up().with_mtu(mtu) };
        if actual.is_none() {
            let kind = NewKind::Bridge(Bridge::default());
            let settings = LinkChange { group: Some(GROUP), ..LinkChange::default() };
            let link = NewLink { name: name.to_owned(), kind, settings };
            existing_is_fine(self.kernel.link_create(&link).await)?;
        }
        match actual.map(|actual| &actual.link.kind) {
            Some(Kind::Bridge(bridge)) if !bridge.stp && bridge.forward_delay == 0 => {}
            Some(Kind::Bridge(bridge)) => change.bridge = Some(Bridge { ageing: bridge.ageing, ..Bridge::default() }),
            Some(_) => return Err(Error::WrongKind { name: name.to_owned(), expected: "bridge" }),
            None => {}
        }
        if !ipv6 && !actual.is_some_and(|actual| actual.link.up) {
            self.disable_ipv6(name)?;
        }
        Ok(self.kernel.link_set(name, &change).await?)
    }

    async fn apply_uplink(
        &self,
        name: &str,
        (bridge, uplink, mtu): (&str, &Uplink, u32),
        mut actual: Option<&Actual>,
    ) -> Result<(), Error> {
        let bridge = self.find("bridge", bridge).await?;
        let change = LinkChange::up().with_master(bridge.index);
        let kind = match uplink {
            Uplink::Physical => {
                let interface = self.find("interface", name).await?;
                return Ok(uplink::carry(&self.kernel, (&interface, &bridge), (name, &change)).await?);
            }
            Uplink::Vlan { interface, id } => {
                let parent = self.find("interface", interface).await?;
                if !parent.up {
                    self.kernel.link_set(interface, &LinkChange::up()).await?;
                }
                NewKind::Vlan { parent: parent.index, id: *id }
            }
            Uplink::Vxlan { vni, overlay } => {
                let addresses = self.kernel.addresses().await?;
                let address = addresses.iter().find(|address| address.net.addr() == overlay.local_ip);
                let device = address.ok_or(Error::NoTunnelAddress(overlay.local_ip))?.link;
                if matches!(actual.map(|actual| &actual.link.kind), Some(Kind::Vxlan(made)) if !overlay.fits(*vni, made))
                {
                    // The kernel changes none of this in a device that stands.
                    tracing::warn!(device = name, "made with other options of [vxlan]; making it anew");
                    missing_is_fine(self.kernel.link_delete(name).await)?;
                    actual = None;
                }
                NewKind::Vxlan(overlay.device(*vni, device))
            }
        };
        let change = if matches!(uplink, Uplink::Vxlan { .. }) { change.with_mtu(mtu) } else { change };
        if actual.is_none() {
            self.create_uplink(name, kind, bridge.index).await?;
            self.disable_ipv6(name)?;
        }
        Ok(self.kernel.link_set(name, &change).await?)
    }

    /// What stands under its name already may be another's, with another tag or on another interface.
    async fn create_uplink(&self, name: &str, kind: NewKind, bridge: u32) -> Result<(), Error> {
        let settings = LinkChange::default().with_master(bridge);
        let link = NewLink { name: name.to_owned(), kind, settings };
        match self.kernel.link_create(&link).await {
            Err(error) if error.is_existing() => {}
            other => return Ok(other?),
        }
        let standing = self.kernel.link(name).await?;
        let same = standing.is_some_and(|standing| match (&link.kind, &standing.kind) {
            (NewKind::Vlan { parent, id }, Kind::Vlan(other)) => standing.parent == Some(*parent) && id == other,
            (NewKind::Vxlan(wanted), Kind::Vxlan(other)) => wanted.vni == other.vni,
            _ => false,
        });
        let what = match &link.kind {
            NewKind::Vlan { id, .. } => format!("VLAN {id} of the same interface"),
            NewKind::Vxlan(vxlan) => format!("VXLAN {}", vxlan.vni),
            _ => "it".to_owned(),
        };
        if same { Ok(()) } else { Err(Error::Taken { name: link.name, what }) }
    }

    async fn apply_tap(
        &self,
        name: &str,
        (bridge, mtu, up): (Option<&str>, u32, bool),
        actual: &Actual,
    ) -> Result<(), Error> {
        let Some(bridge) = bridge else {
            let out = LinkChange { master: Some(None), ..LinkChange::default() };
            return Ok(self.kernel.link_set(name, &out).await?);
        };
        let mut change = LinkChange { up: Some(up), mtu: Some(mtu), ..LinkChange::default() };
        change.up = change.up.filter(|up| *up != actual.link.up);
        change.mtu = change.mtu.filter(|mtu| *mtu != actual.link.mtu);
        if actual.bridge.as_deref() != Some(bridge) {
            change.master = Some(Some(self.find("bridge", bridge).await?.index));
        }
        Ok(self.kernel.link_set(name, &change).await?)
    }
}

impl<K: Kernel> Driver for Wiring<K> {
    type Key = Key;
    type Wanted = Wanted;
    type Actual = Actual;
    type Error = Error;

    async fn read(&self) -> Result<BTreeMap<Key, Actual>, Error> {
        let links = self.kernel.links().await?;
        let (addresses, routes) = match self.interfaces.is_empty() {
            true => (Vec::new(), Vec::new()),
            false => (self.kernel.addresses().await?, self.kernel.routes().await?),
        };
        let names: HashMap<u32, &str> = links.iter().map(|link| (link.index, link.name.as_str())).collect();
        let shared: BTreeSet<u32> =
            links.iter().filter(|link| !self.is_uplink(link, &names)).filter_map(|link| link.master).collect();
        let lone: BTreeSet<u32> = links
            .iter()
            .filter(|link| (network_of(link).is_some() || is_half_made(link)) && !shared.contains(&link.index))
            .map(|link| link.index)
            .collect();
        let actual = links.iter().filter_map(|link| {
            let key = self.key(link, &names)?;
            let bridge = link.master.and_then(|master| names.get(&master)).map(|name| (*name).to_owned());
            let place = if matches!(key, Key::Bridge(_)) { Some(link.index) } else { link.master };
            let lone = place.is_some_and(|index| lone.contains(&index));
            let addressed = matches!(key, Key::Uplink(_)) && uplink::is_addressed(link.index, &addresses, &routes);
            Some((key, Actual { link: link.clone(), bridge, addressed, lone }))
        });
        Ok(actual.collect())
    }

    /// New taps, which are in no bridge yet, are looked at one by one: on a host with a thousand of them a listing takes
    /// long, and the kernel declares it torn each time another tap comes meanwhile.
    async fn read_some(&self, keys: &BTreeSet<Key>) -> Result<BTreeMap<Key, Actual>, Error> {
        let mut actual = BTreeMap::new();
        for key in keys {
            let Key::Tap(name) = key else { return self.read().await };
            match self.kernel.link(name).await? {
                Some(link) if link.master.is_some() => return self.read().await,
                Some(link) => drop(actual.insert(key.clone(), Actual::alone(link))),
                None => {}
            }
        }
        Ok(actual)
    }

    fn in_sync(&self, wanted: &Wanted, actual: &Actual) -> bool {
        let link = &actual.link;
        match wanted {
            Wanted::Kept => true,
            Wanted::GivenBridge => matches!(link.kind, Kind::Bridge(_)),
            Wanted::Bridge { network, mtu, .. } => {
                let forwards = matches!(link.kind, Kind::Bridge(b) if !b.stp && b.forward_delay == 0);
                forwards && link.up && link.mtu == *mtu && network_of(link) == Some(*network)
            }
            Wanted::Uplink { bridge, uplink, mtu } => {
                let made = match (uplink, &link.kind) {
                    (Uplink::Physical, _) => !actual.addressed,
                    (Uplink::Vlan { id, .. }, Kind::Vlan(actual)) => id == actual,
                    (Uplink::Vxlan { vni, overlay }, Kind::Vxlan(made)) => overlay.fits(*vni, made) && link.mtu == *mtu,
                    _ => false,
                };
                made && link.up && actual.bridge.as_ref() == Some(bridge)
            }
            Wanted::Tap { bridge: None, .. } => actual.bridge.is_none(),
            Wanted::Tap { bridge, mtu, up } => actual.bridge == *bridge && link.mtu == *mtu && link.up == *up,
        }
    }

    fn owns(&self, key: &Key, actual: &Actual) -> bool {
        match key {
            Key::Bridge(name) => actual.lone && !self.given_bridges.contains(name),
            Key::Uplink(_) => actual.lone || (is_vxlan(&actual.link) && actual.bridge.is_none()),
            Key::Tap(_) => false,
        }
    }

    async fn apply(&self, key: &Key, wanted: &Wanted, actual: Option<&Actual>) -> Result<(), Error> {
        let name = key.name();
        match wanted {
            Wanted::Kept => Ok(()),
            Wanted::GivenBridge if actual.is_none() => {
                Err(Error::Missing { what: "bridge of bridge_mappings", name: name.to_owned() })
            }
            Wanted::GivenBridge => Err(Error::WrongKind { name: name.to_owned(), expected: "bridge" }),
            Wanted::Bridge { network, mtu, ipv6 } => self.apply_bridge(name, (*network, *mtu, *ipv6), actual).await,
            Wanted::Uplink { bridge, uplink, mtu } => self.apply_uplink(name, (bridge, uplink, *mtu), actual).await,
            Wanted::Tap { bridge, mtu, up } => {
                let actual = actual.ok_or_else(|| Error::Missing { what: "tap", name: name.to_owned() })?;
                self.apply_tap(name, (bridge.as_deref(), *mtu, *up), actual).await
            }
        }
    }

    async fn remove(&self, key: &Key, actual: &Actual) -> Result<(), Error> {
        let name = key.name();
        match key {
            Key::Tap(_) => Ok(()),
            Key::Uplink(_) if self.interfaces.contains(name) => {
                let Some(bridge) = &actual.bridge else { return Ok(()) };
                let bridge = self.find("bridge", bridge).await?;
                let change = LinkChange { master: Some(None), ..LinkChange::up() };
                Ok(uplink::carry(&self.kernel, (&bridge, &actual.link), (name, &change)).await?)
            }
            Key::Uplink(_) | Key::Bridge(_) => Ok(missing_is_fine(self.kernel.link_delete(name).await)?),
        }
    }
}

#[cfg(test)]
mod tests;
