//! What the agent remembers: what the server said last of each network, and what waits to be done.
//!
//! Nothing here is asked of the kernel or told to it. Forgetting all of it, as a restart does, costs one question to
//! the server and no service.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use kernel::process::Respawn;
use rpc::{dhcp::NetworkInfo, payload::Port};
use types::{NetworkId, PortId};

use crate::dhcp::{
    desired,
    queue::{PRIORITY_LOWEST, Queue, Update},
};

/// How long a port id is known to be dead. Ids are random, so it can only be a late message that names it.
const DEAD_FOR: Duration = Duration::from_secs(86_400);
/// What the server calls a port that waits for nothing any more.
const ACTIVE: &str = "ACTIVE";

/// Everything that is remembered.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queue: Queue,
    networks: HashMap<NetworkId, Served>,
    dead: DeadPorts,
    /// Networks that a message came for while all were being fetched: the answer may be older than the message.
    touched: HashSet<NetworkId>,
}

/// A network that is, or shall be, served.
#[derive(Debug)]
struct Served {
    network: Arc<NetworkInfo>,
    /// Ports to be reported as ready once the network is set up: new ones, and those that were there.
    urgent: BTreeSet<PortId>,
    ready: BTreeSet<PortId>,
    /// How often in a row it could not be set up.
    failures: u32,
    /// How often in a row its metadata could not be served.
    metadata_failures: u32,
    respawn: Respawn,
    /// The tap end, once it was made.
    tap: Option<String>,
    /// The dnsmasq whose end will be noticed, and since when.
    watched: Option<(i32, Instant)>,
}

#[derive(Debug, Default)]
struct DeadPorts {
    ids: HashSet<PortId>,
    order: VecDeque<(Instant, PortId)>,
}

/// What the ports of a message do to what is known of their network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged {
    /// The network is not served here.
    Unknown,
    /// It is up to date.
    Done,
    /// Something does not fit; the server must be asked.
    Doubtful,
}

impl State {
    /// Queues an update, unless it says what is known to be past.
    pub(super) fn push(&mut self, network: NetworkId, priority: u8, update: Update) {
        match &update {
            Update::Port(port) if self.is_stale(port) => {
                tracing::debug!(port = %port.id, revision = port.revision_number, "a message about a port came late");
                return;
            }
            Update::PortGone(port) => self.dead.add(*port, Instant::now()),
            _ => {}
        }
        if update != Update::Check {
            self.touched.insert(network);
        }
        self.queue.push(network, priority, update);
    }

    fn is_stale(&self, port: &Port) -> bool {
        self.dead.ids.contains(&port.id)
            || self.port(port).is_some_and(|known| known.revision_number > port.revision_number)
    }

    fn port(&self, port: &Port) -> Option<&Port> {
        self.networks.get(&port.network_id)?.network.ports.iter().find(|known| known.id == port.id)
    }

    /// The networks that are served.
    pub(super) fn networks(&self) -> Vec<NetworkId> {
        self.networks.keys().copied().collect()
    }

    /// What the server said last of a network that is served.
    pub(super) fn network(&self, network: NetworkId) -> Option<Arc<NetworkInfo>> {
        self.networks.get(&network).map(|served| Arc::clone(&served.network))
    }

    /// Takes what the server says now. All its ports will be reported as ready, except those that need it not.
    pub(super) fn set(&mut self, mut network: NetworkInfo) {
        network.ports.retain(|port| !self.dead.ids.contains(&port.id));
        let ready: BTreeSet<PortId> =
            network.ports.iter().filter(|port| port.status != ACTIVE).map(|port| port.id).collect();
        let network = Arc::new(desired::trimmed(network));
        match self.networks.get_mut(&network.id) {
            Some(served) => {
                served.ready.extend(ready);
                served.network = network;
            }
            None => {
                self.networks.insert(network.id, Served::new(network, ready));
            }
        }
    }

    /// No longer serves a network. Returns whether it was served.
    pub(super) fn remove(&mut self, network: NetworkId) -> bool {
        self.networks.remove(&network).is_some()
    }

    /// Puts ports of messages to what is known of their network.
    pub(super) fn merge(&mut self, network: NetworkId, ports: Vec<(PortId, Option<Port>)>, own: &str) -> Merged {
        let Some(served) = self.networks.get_mut(&network) else { return Merged::Unknown };
        let mut merged = Merged::Done;
        for (id, port) in ports {
            served.urgent.extend(port.is_some().then_some(id));
            if served.merge(id, port, own) == Merged::Doubtful {
                merged = Merged::Doubtful;
            }
        }
        merged
    }

    /// Puts a port that the server answered with to what is known of its network.
    pub(super) fn put_port(&mut self, network: NetworkId, port: Port) {
        if let Some(served) = self.networks.get_mut(&network) {
            served.put(port);
        }
    }

    /// A network is set up, with this tap end. Returns its ports that wait for that, the new ones first.
    pub(super) fn succeeded(&mut self, network: NetworkId, tap: String) -> (BTreeSet<PortId>, BTreeSet<PortId>) {
        self.networks.get_mut(&network).map(|served| served.succeeded(tap)).unwrap_or_default()
    }

    /// The network that has this tap end.
    pub(super) fn network_of_tap(&self, tap: &str) -> Option<NetworkId> {
        let mut networks = self.networks.iter();
        networks.find(|(_, served)| served.tap.as_deref() == Some(tap)).map(|(network, _)| *network)
    }

    /// A network could not be set up. Returns how often in a row.
    pub(super) fn failed(&mut self, network: NetworkId) -> u32 {
        let Some(served) = self.networks.get_mut(&network) else { return 1 };
        served.failures = served.failures.saturating_add(1);
        served.failures
    }

    /// Notes whether a network's metadata could be served. How often in a row it could not; none for a network that is
    /// not served any more.
    pub(super) fn metadata_failures(&mut self, network: NetworkId, failed: bool) -> Option<u32> {
        let served = self.networks.get_mut(&network)?;
        served.metadata_failures = if failed { served.metadata_failures.saturating_add(1) } else { 0 };
        Some(served.metadata_failures)
    }

    /// Whether the end of this dnsmasq is not yet waited for; from now on it is.
    pub(super) fn watch(&mut self, network: NetworkId, pid: i32) -> bool {
        let Some(served) = self.networks.get_mut(&network) else { return false };
        if served.watched.is_some_and(|(watched, _)| watched == pid) {
            return false;
        }
        served.watched = Some((pid, Instant::now()));
        true
    }

    /// A dnsmasq ended. If it was the one that serves, it is looked after: at once, or later if it keeps dying.
    pub(super) fn died(&mut self, network: NetworkId, pid: i32) {
        let Some(served) = self.networks.get_mut(&network) else { return };
        let Some((_, since)) = served.watched.filter(|(watched, _)| *watched == pid) else { return };
        served.watched = None;
        let delay = served.respawn.delay(since.elapsed());
        self.queue.retry(network, Update::Check, delay);
    }

    /// Starts to note for which networks messages come.
    pub(super) fn begin_sync(&mut self) {
        self.touched.clear();
    }

    /// Takes the list of all networks that are ours. What else is here, remembered or in `present`, goes. Returns
    /// whether something must be asked again, because messages came meanwhile.
    pub(super) fn finish_sync(&mut self, networks: Vec<NetworkInfo>, present: Vec<NetworkId>) -> bool {
        let ours: HashSet<NetworkId> = networks.iter().map(|network| network.id).collect();
        let touched = std::mem::take(&mut self.touched);
        for network in networks {
            let id = network.id;
            if touched.contains(&id) {
                self.queue.push(id, PRIORITY_LOWEST, Update::Fetch);
            } else {
                self.set(network);
                self.queue.push(id, PRIORITY_LOWEST, Update::Check);
            }
        }
        let others: HashSet<NetworkId> =
            self.networks().into_iter().chain(present).filter(|id| !ours.contains(id)).collect();
        let (doubtful, gone): (Vec<_>, Vec<_>) = others.into_iter().partition(|id| touched.contains(id));
        for network in gone {
            self.queue.push(network, PRIORITY_LOWEST, Update::Disable);
        }
        !doubtful.is_empty()
    }

    /// Networks, subnets and ports that are served.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let sum = |count: fn(&NetworkInfo) -> usize| self.networks.values().map(|served| count(&served.network)).sum();
        let subnets = sum(|network| network.subnets.len() + network.non_local_subnets.len());
        (self.networks.len(), subnets, sum(|network| network.ports.len()))
    }
}

impl Served {
    fn new(network: Arc<NetworkInfo>, ready: BTreeSet<PortId>) -> Self {
        let (urgent, respawn) = (BTreeSet::new(), Respawn::default());
        Self { network, urgent, ready, failures: 0, metadata_failures: 0, respawn, tap: None, watched: None }
    }

    fn merge(&mut self, id: PortId, port: Option<Port>, own: &str) -> Merged {
        let known = self.network.ports.iter().find(|known| known.id == id);
        let Some(port) = port else {
            let was_own = known.is_some_and(|known| known.device_id == own);
            Arc::make_mut(&mut self.network).ports.retain(|known| known.id != id);
            return if was_own { Merged::Doubtful } else { Merged::Done };
        };
        if known.is_some_and(|known| known.revision_number > port.revision_number) {
            return Merged::Done;
        }
        let changed_own = port.device_id == own && known.is_none_or(|known| known.fixed_ips != port.fixed_ips);
        // Two ports of one address: the message about the end of one of them is late or lost.
        let others = self.network.ports.iter().filter(|known| known.id != id);
        let mut taken = others.flat_map(|other| &other.fixed_ips);
        let doubled = taken.any(|ip| port.fixed_ips.iter().any(|new| new.ip_address == ip.ip_address));
        self.put(port);
        if changed_own || doubled { Merged::Doubtful } else { Merged::Done }
    }

    fn put(&mut self, port: Port) {
        let port = desired::trimmed_port(port);
        let ports = &mut Arc::make_mut(&mut self.network).ports;
        match ports.iter_mut().find(|known| known.id == port.id) {
            Some(known) => *known = port,
            None => ports.push(port),
        }
    }

    fn succeeded(&mut self, tap: String) -> (BTreeSet<PortId>, BTreeSet<PortId>) {
        self.failures = 0;
        self.tap = Some(tap);
        (std::mem::take(&mut self.urgent), std::mem::take(&mut self.ready))
    }
}

impl DeadPorts {
    fn add(&mut self, port: PortId, now: Instant) {
        while let Some((since, id)) = self.order.front().copied().filter(|(since, _)| now - *since > DEAD_FOR) {
            let _ = since;
            self.ids.remove(&id);
            self.order.pop_front();
        }
        if self.ids.insert(port) {
            self.order.push_back((now, port));
        }
    }
}

#[cfg(test)]
mod tests;
