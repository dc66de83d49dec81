//! Which tracked connections have to end because nothing allows them any more, and how they do.
//!
//! A connection that the kernel merely forgets begins anew with the next packet that may pass, in either direction: what
//! an instance still sends would bring back what its rules no longer let in. So the entry stays, with a mark by which
//! the chains of ports drop what belongs to it, until it times out, or is allowed again and loses the mark. Entries of
//! ports that went are forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use kernel::{
    Namespace,
    conntrack::{self, Connection},
};

use super::{
    model::{Direction, Flow, Port},
    policy::Policy,
    zones::Zones,
};

/// The mark of connections that ended.
pub(super) const ENDED: u32 = 0x0069_736f;

/// Whose connections are in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubtful {
    /// Addresses by zone, with the port that has the address now, if any.
    addresses: BTreeMap<(u16, IpAddr), Option<Port>>,
    /// Zones of networks of which this host has no port any more.
    pub abandoned: BTreeSet<u16>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Ends,
    /// It had ended and is allowed again.
    Returns,
    Forgotten,
}

/// The addresses of ports that allow less than before. `ports` are as they were.
pub(super) fn doubtful(new: &Policy, old: &Policy, ports: Vec<(&String, &Port)>, zones: &Zones) -> Doubtful {
    let mut doubtful = Doubtful::default();
    for (device, port) in ports {
        let was = old.ports.get(device).into_iter().flat_map(|port| &port.addresses);
        for address in was.chain(&port.addresses) {
            let Some(zone) = zones.of(&port.bridge) else { continue };
            let owner = |other: &&Port| other.bridge == port.bridge && other.addresses.contains(address);
            doubtful.addresses.insert((zone, *address), new.ports.values().find(|other| owner(other)).cloned());
        }
    }
    doubtful
}

/// What becomes of a connection, as far as the doubtful addresses are concerned.
pub(super) fn fate(policy: &Policy, doubtful: &Doubtful, connection: &Connection) -> Fate {
    let original = connection.original;
    let flow = Flow {
        source: original.source,
        destination: original.destination,
        protocol: original.protocol,
        source_port: original.source_port.unwrap_or(0),
        destination_port: original.destination_port.unwrap_or(0),
        icmp: connection.icmp,
    };
    let ends = [(flow.source, Direction::Egress), (flow.destination, Direction::Ingress)];
    let found =
        ends.map(|(address, direction)| Some((doubtful.addresses.get(&(connection.zone, address))?, direction)));
    let found: Vec<_> = found.into_iter().flatten().collect();
    let refuses = |port: &Port, direction| !connection.is_related && !policy.allows(port, direction, &flow);
    if doubtful.abandoned.contains(&connection.zone) {
        Fate::Forgotten
    } else if found.is_empty() {
        Fate::Stays
    } else if found.iter().any(|(port, _)| port.is_none()) {
        Fate::Forgotten
    } else if found.iter().any(|(port, direction)| port.as_ref().is_some_and(|port| refuses(port, *direction))) {
        if connection.mark == ENDED { Fate::Stays } else { Fate::Ends }
    } else if connection.mark == ENDED {
        Fate::Returns
    } else {
        Fate::Stays
    }
}

/// Ends what has to end, and brings back what is allowed again. The kernel's list is read only if there is a doubt.
/// Whether some of what is left has ended.
pub(super) async fn settle(namespace: &Namespace, policy: &Policy, doubtful: Doubtful) -> kernel::Result<bool> {
    if doubtful.addresses.is_empty() && doubtful.abandoned.is_empty() {
        return Ok(false);
    }
    let (namespace, policy) = (namespace.clone(), policy.clone());
    let settled = tokio::task::spawn_blocking(move || {
        let mut all = conntrack::list(&namespace, 4)?;
        all.extend(conntrack::list(&namespace, 6)?);
        let of = |wanted: Fate| -> Vec<Connection> {
            all.iter().filter(|it| fate(&policy, &doubtful, it) == wanted).cloned().collect()
        };
        let (ends, returns, forgotten) = (of(Fate::Ends), of(Fate::Returns), of(Fate::Forgotten));
        if ends.len() + forgotten.len() > 0 {
            tracing::debug!(ends = ends.len(), forgotten = forgotten.len(), "connections that nothing allows end");
        }
        conntrack::mark(&namespace, &ends, ENDED)?;
        conntrack::mark(&namespace, &returns, 0)?;
        conntrack::forget(&namespace, &forgotten)?;
        let marked = all.iter().filter(|it| it.mark == ENDED).count() + ends.len();
        Ok(marked > returns.len())
    });
    settled.await.unwrap_or(Ok(false))
}
