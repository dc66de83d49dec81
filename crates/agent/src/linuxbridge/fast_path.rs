//! The fast path: flows that pass a filtered bridge are not looked at packet by packet (see [`kernel::bpf`]).
//!
//! It knows no rules. What it sends on has passed those in force within the last second, and **while anything changes it
//! is suspended**: before the first rule is touched, until the last connection that nothing allows any more has ended
//! ([`FastPath::suspend`], [`FastPath::settle`]). A device that goes, or goes elsewhere, makes it forget everything.
//! Whatever is refused ends it, and packets take the long way.
//!
//! Its programs stay when the agent ends, and do nothing. The next agent has those of one that was killed stop before it
//! touches a rule ([`FastPath::take_over`]), replaces them, and removes those that it has no use for
//! ([`FastPath::clear_up`]).
//!
//! Only ports of instances and agents, and uplinks, in bridges that have a filtered port take part; of these none of which
//! somebody looks by `tc` at what comes in, as libvirt does to limit an instance, for that would be passed by.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kernel::{Errno, Flows, Kernel, Link, missing_is_fine};

use super::object::{Key, Wanted};

/// The connections that are tracked do not see all packets of a flow: those they see later are not out of order.
const LIBERAL: [&str; 2] =
    ["net/netfilter/nf_conntrack_tcp_be_liberal", "net/netfilter/nf_conntrack_tcp_ignore_invalid_rst"];

/// See the module.
pub(super) struct FastPath<K: Kernel> {
    kernel: K,
    /// Off: the operator does not want it, or this host cannot do it.
    is_on: bool,
    /// Opened when there is a device to take part.
    flows: Option<K::Flows>,
    /// Index and bridge of every link that is in one, by name.
    links: BTreeMap<String, (u32, u32)>,
    /// Links that `tc` looks at.
    policed: BTreeSet<u32>,
    /// Devices that take part, with their bridge.
    attached: BTreeMap<u32, u32>,
    /// Devices with programs of an agent before.
    left: BTreeSet<u32>,
    is_running: bool,
}

impl<K: Kernel> FastPath<K> {
    pub(super) fn new(kernel: K, is_on: bool) -> Self {
        Self {
            kernel,
            is_on,
            flows: None,
            links: BTreeMap::new(),
            policed: BTreeSet::new(),
            attached: BTreeMap::new(),
            left: BTreeSet::new(),
            is_running: false,
        }
    }

    /// Has what an agent before left at any link do nothing any more. Called before the first rule is touched.
    pub(super) fn take_over(&mut self, links: &[Link]) {
        let links: Vec<u32> = links.iter().map(|link| link.index).collect();
        match self.kernel.silence_flows(&links) {
            Ok(left) => self.left = left,
            Err(error) if self.is_on => self.give_up(&error),
            // Whoever may not look could not leave anything either.
            Err(error) => tracing::debug!("{}", crate::chain(&error)),
        }
    }

    /// Removes what an agent before left and this one has no use for. Called once it is known what shall be.
    pub(super) fn clear_up(&mut self) {
        let left = std::mem::take(&mut self.left);
        for device in left.into_iter().filter(|device| !self.attached.contains_key(device)).collect::<Vec<_>>() {
            match self.flows() {
                Ok(flows) => flows.detach(device),
                Err(error) => return self.give_up(&error),
            }
        }
    }

    /// All links there are.
    pub(super) fn scan(&mut self, links: &[Link]) {
        self.links.clear();
        links.iter().for_each(|link| self.take_link(link));
    }

    /// A link came or changed.
    pub(super) fn take_link(&mut self, link: &Link) {
        match link.master {
            Some(bridge) => drop(self.links.insert(link.name.clone(), (link.index, bridge))),
            None => self.link_gone(link),
        }
    }

    pub(super) fn link_gone(&mut self, link: &Link) {
        self.links.remove(&link.name);
    }

    /// Learns anew who is policed, and tells what there is to count.
    pub(super) async fn look_again(&mut self) {
        let Some(flows) = &self.flows else { return };
        match flows.counts() {
            Ok(counts) => crate::metrics::sent_on(counts),
            Err(error) => return self.give_up(&error),
        }
        // Who is policed now leaves with the next update.
        self.learn_policed().await;
    }

    /// Packets take the long way until all is settled again.
    pub(super) fn suspend(&mut self) {
        self.is_running = false;
        if let Some(Err(error)) = self.flows.as_mut().map(Flows::suspend) {
            self.give_up(&error);
        }
    }

    /// What passed until all is settled again is not the way of what follows.
    pub(super) fn renew(&mut self) {
        self.is_running = false;
    }

    /// Has those devices take part that shall: `filtered` are bridges with a filtered port, `bridges` names by index.
    pub(super) async fn update(
        &mut self,
        objects: &BTreeMap<Key, Wanted>,
        filtered: &BTreeSet<String>,
        bridges: &HashMap<u32, String>,
    ) {
        if !self.is_on {
            return;
        }
        let mut wanted = devices(objects, filtered, &self.links, bridges);
        let is_new = wanted.iter().any(|(device, bridge)| self.attached.get(device) != Some(bridge));
        if is_new && !self.learn_policed().await {
            // Nobody new takes part of whom that is not known.
            wanted.retain(|device, bridge| self.attached.get(device) == Some(bridge));
        }
        wanted.retain(|device, _| !self.policed.contains(device));
        let gone = self.attached.iter().filter(|(device, bridge)| wanted.get(*device) != Some(*bridge));
        for device in gone.map(|(device, _)| *device).collect::<Vec<_>>() {
            self.attached.remove(&device);
            self.flows.iter_mut().for_each(|flows| flows.detach(device));
        }
        let new: Vec<(u32, u32)> =
            wanted.into_iter().filter(|(device, _)| !self.attached.contains_key(device)).collect();
        for (device, bridge) in new {
            match self.flows().and_then(|flows| flows.attach(device, bridge)) {
                Ok(()) => drop(self.attached.insert(device, bridge)),
                Err(error) => return self.give_up(&error),
            }
        }
    }

    fn flows(&mut self) -> kernel::Result<&mut K::Flows> {
        Ok(match &mut self.flows {
            Some(flows) => flows,
            none => none.insert(self.kernel.flows()?),
        })
    }

    /// Nothing is about to change: what passes now is the way of what follows.
    pub(super) fn settle(&mut self) {
        if self.is_running || self.flows.is_none() {
            return;
        }
        let parameters = LIBERAL.into_iter().filter(|_| !self.attached.is_empty());
        let be_liberal = parameters.into_iter().try_for_each(|parameter| self.be_liberal(parameter));
        let running = be_liberal.and_then(|()| self.flows.as_mut().map_or(Ok(()), Flows::resume));
        match running {
            Ok(()) => self.is_running = true,
            Err(error) => self.give_up(&error),
        }
    }

    /// A kernel without the parameter tracks no connections.
    fn be_liberal(&self, parameter: &str) -> kernel::Result<()> {
        match self.kernel.sysctl(parameter) {
            Ok(value) if value == "1" => Ok(()),
            Ok(_) => self.kernel.sysctl_set(parameter, "1"),
            Err(error) => missing_is_fine(Err(error)),
        }
    }

    /// Whether it could be learnt, now. Where links come and go it may take another time.
    async fn learn_policed(&mut self) -> bool {
        match self.kernel.policed().await {
            Ok(policed) => {
                self.policed = policed;
                return true;
            }
            Err(error) if error.errno() == Errno::EAGAIN => {}
            Err(error) => self.give_up(&error),
        }
        false
    }

    /// What is left of it does nothing.
    fn give_up(&mut self, error: &kernel::Error) {
        tracing::warn!("every packet is filtered by itself, for there is no fast path: {}", crate::chain(error));
        *self = Self::new(self.kernel.clone(), false);
    }
}

/// The devices that shall take part, if they are where they shall be, each with its bridge.
fn devices(
    objects: &BTreeMap<Key, Wanted>,
    filtered: &BTreeSet<String>,
    links: &BTreeMap<String, (u32, u32)>,
    bridges: &HashMap<u32, String>,
) -> BTreeMap<u32, u32> {
    let device = |(key, wanted): (&Key, &Wanted)| {
        let bridge = match wanted {
            Wanted::Tap { bridge: Some(bridge), .. } | Wanted::Uplink { bridge, .. } => bridge,
            _ => return None,
        };
        let (index, actual) = links.get(key.name())?;
        (filtered.contains(bridge) && bridges.get(actual) == Some(bridge)).then_some((*index, *actual))
    };
    objects.iter().filter_map(device).collect()
}

#[cfg(test)]
mod tests;
