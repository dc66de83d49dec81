//! What waits for a network, folded.
//!
//! Upstream keeps a queue of messages per network, ordered by priority and time, and works through them one by one,
//! rewriting dnsmasq's files for each. Here everything that waits for a network is done at one stroke (see
//! [`crate::queue`]): what waits is folded into one [`Work`] in the order of arrival, so a port that took the address of
//! one that went, or a network that came back, ends up as the server meant it.

use rpc::payload::Port;
use types::{NetworkId, PortId};

use crate::queue::Fold;
pub use crate::queue::PRIORITY_LOWEST;

/// The networks that have something to do.
pub type Queue = crate::queue::Queue<NetworkId, Work>;

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

impl Fold for Work {
    type Update = Update;

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
}

impl Work {
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

#[cfg(test)]
mod tests;
