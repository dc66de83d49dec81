//! Who reaches whom, worked out from what the API says.
//!
//! It follows a packet and its answer from one machine to the other, as the documentation of the API says that networks,
//! routers, floating IPs and security groups treat it, and knows nothing of how agents do so. What it is told besides is
//! what no API knows: which machines there are, and what each has set up on its card.

mod group;
mod path;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use group::Carries;
pub(crate) use state::State;

use std::net::IpAddr;

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) name: String,
    /// What it is plugged in to.
    pub(crate) at: At,
    /// The addresses on its card. It sends from the first of a family.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where it sends what is not on its wire, per family; and what goes elsewhere.
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) routes: Vec<(ipnet::IpNet, IpAddr)>,
}

/// Where a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// At a port.
    Port(String),
    /// On the wire of a provider's network, which knows nothing of it.
    Network(String),
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// A machine, which has seen the question come from an address.
    Machine(String, IpAddr),
    /// Part of the cloud, which answers echo requests alone.
    Cloud,
}

/// The machines, and what the API says.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) machines: Vec<Machine>,
}

impl World {
    /// Who answers a machine that asks at an address; `None` when nobody does.
    pub(crate) fn answer(&self, from: &str, to: IpAddr, carries: Carries) -> Option<Answer> {
        let machine = self.machines.iter().find(|machine| machine.name == from)?;
        path::Walk::new(self).ask(machine, to, carries)
    }

    /// Whether an address is on a machine's wire, as far as the machine knows.
    pub(crate) fn is_on_wire(&self, from: &str, to: IpAddr) -> bool {
        let machine = self.machines.iter().find(|machine| machine.name == from);
        machine.is_some_and(|machine| path::Walk::new(self).on_link(machine, to).is_some())
    }
}
