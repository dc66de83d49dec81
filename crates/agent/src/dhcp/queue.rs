//! The order of work: which network is next, and what is to be done for it.
//!
//! Upstream keeps a queue of messages per network, ordered by priority and time, and works through them one by one,
//! rewriting dnsmasq's files for each. Here everything that waits for a network is done at one stroke:
//!
//! * the network whose most urgent message has the lowest priority, and then the oldest, is first;
//! * a network is worked on by one task at a time, and many networks at once;
//! * what waits is folded into one [`Work`] in the order of arrival, so a port that took the address of one that went,
//!   or a network that came back, ends up as the server meant it;
//! * a network that failed waits out its delay without holding up any other.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use rpc::payload::Port;
use types::{NetworkId, PortId};

/// Of no urgency: what the agent found for itself, or tries again.
pub const PRIORITY_LOWEST: u8 = u8::MAX;

/// One thing to do for a network.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// Compare with the kernel and put right what differs.
    Check,
    /// Ask the server what the network is now.
    Fetch,
    /// Serve it no longer.
    Disable,
    /// A port is new or changed.
    Port(Box<Port>),
    /// A port went.
    PortGone(PortId),
}

/// Everything to do for a network, folded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Work {
    /// Serve it no longer. Ports do not matter then.
    pub disable: bool,
    /// Ask the server first. Its answer holds all that the ports below say, or something newer.
    pub fetch: bool,
    /// Ports by their last message: as they are, or gone. In the order of arrival.
    pub ports: Vec<(PortId, Option<Port>)>,
}

/// What waits.
#[derive(Debug, Default)]
pub struct Queue {
    arrivals: u64,
    waiting: HashMap<NetworkId, Waiting>,
    /// Priority and arrival of the most urgent update of each network that may start.
    ready: BTreeMap<(u8, u64), NetworkId>,
    busy: HashSet<NetworkId>,
}

#[derive(Debug)]
struct Waiting {
    rank: (u8, u64),
    not_before: Option<Instant>,
    work: Work,
}

impl Work {
    fn fold(&mut self, update: Update) {
        match update {
            Update::Check => {}
            // What was to be done for a network that goes is void; what comes after makes it come back.
            Update::Disable => *self = Self { disable: true, ..Self::default() },
            Update::Fetch => {
                self.disable = false;
                self.fetch = true;
            }
            Update::Port(port) => self.port(port.id, Some(*port)),
            Update::PortGone(id) => self.port(id, None),
        }
    }

    fn port(&mut self, id: PortId, port: Option<Port>) {
        // A port never comes back from the dead, and never becomes what it was.
        let before = self.ports.iter().position(|(other, _)| *other == id);
        if let Some(index) = before {
            let stale = match (&self.ports[index].1, &port) {
                (None, Some(_)) => true,
                (Some(old), Some(new)) => new.revision_number < old.revision_number,
                _ => false,
            };
            if stale {
                return;
            }
            self.ports.remove(index);
        }
        self.ports.push((id, port));
    }
}

impl Queue {
    /// Puts an update to the others of its network.
    pub fn push(&mut self, network: NetworkId, priority: u8, update: Update) {
        self.add(network, priority, update, None);
    }

    /// Has the network looked at again after a delay, unless something else comes up before.
    pub fn retry(&mut self, network: NetworkId, update: Update, delay: Duration) {
        self.add(network, PRIORITY_LOWEST, update, Some(Instant::now() + delay));
    }

    fn add(&mut self, network: NetworkId, priority: u8, update: Update, not_before: Option<Instant>) {
        self.arrivals += 1;
        let rank = (priority, self.arrivals);
        let entry = self.waiting.entry(network).or_insert(Waiting { rank, not_before, work: Work::default() });
        self.ready.remove(&entry.rank);
        entry.rank = entry.rank.min(rank);
        // Without a delay means now; of two delays the shorter.
        entry.not_before = entry.not_before.zip(not_before).map(|(one, other)| one.min(other));
        entry.work.fold(update);
        if entry.not_before.is_none() && !self.busy.contains(&network) {
            self.ready.insert(entry.rank, network);
        }
    }

    /// Takes the next network, which is then busy until [`Queue::done`].
    pub fn next(&mut self, now: Instant) -> Option<(NetworkId, Work)> {
        self.wake(now);
        let (_, network) = self.ready.pop_first()?;
        let waiting = self.waiting.remove(&network)?;
        self.busy.insert(network);
        Some((network, waiting.work))
    }

    /// The network is no longer busy.
    pub fn done(&mut self, network: NetworkId) {
        self.busy.remove(&network);
        if let Some(waiting) = self.waiting.get(&network).filter(|waiting| waiting.not_before.is_none()) {
            self.ready.insert(waiting.rank, network);
        }
    }

    /// When the next delay ends.
    pub fn next_wake(&self) -> Option<Instant> {
        let free = self.waiting.iter().filter(|(network, _)| !self.busy.contains(network));
        free.filter_map(|(_, waiting)| waiting.not_before).min()
    }

    /// Nothing waits and nothing is being done.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.busy.is_empty()
    }

    fn wake(&mut self, now: Instant) {
        for (network, waiting) in &mut self.waiting {
            if waiting.not_before.is_some_and(|at| at <= now) {
                waiting.not_before = None;
                if !self.busy.contains(network) {
                    self.ready.insert(waiting.rank, *network);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
