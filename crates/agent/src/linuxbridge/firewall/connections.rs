//! Which tracked connections have to end because nothing allows them any more, and how they do.
//!
//! A connection that the kernel merely forgets begins anew with the next packet that may pass, in either direction: what
//! an instance still sends would bring back what its rules no longer let in. So the entry stays, with a mark by which
//! the chains of ports drop what belongs to it, until it times out, or is allowed again and loses the mark. Entries of
//! ports that went are forgotten.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

use kernel::{
    Namespace,
    conntrack::{self, Connection, Which},
};

use super::{
    model::{Direction, Flow, Port},
    policy::Policy,
    zones::Zones,
};

/// The mark of connections that ended.
pub(super) const ENDED: u32 = 0x0069_736f;

/// More addresses than these are looked for in one list of all connections.
const MOST_ASKED_FOR: usize = 8;

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

/// The addresses of ports that allow less than before, or are new here. `ports` are as they were, or are.
pub(super) fn doubtful(new: &Policy, old: &Policy, ports: &[(&String, &Port)], zones: &Zones) -> Doubtful {
    let mut doubtful = Doubtful::default();
    for (device, port) in ports {
        let was = old.ports.get(*device).into_iter().flat_map(|port| &port.addresses);
        for address in was.chain(&port.addresses) {
            let Some(zone) = zones.of(&port.bridge) else { continue };
            let owner = |other: &&Port| other.bridge == port.bridge && other.addresses.contains(address);
            doubtful.addresses.insert((zone, *address), new.ports.values().find(|other| owner(other)).cloned());
        }
    }
    doubtful
}

impl Doubtful {
    /// Which connections to read. The kernel may track hundreds of thousands, few of which matter.
    pub(super) fn reading(&self) -> BTreeSet<Which> {
        if self.addresses.len() > MOST_ASKED_FOR {
            return everything();
        }
        let of_ports = self.addresses.keys().flat_map(|(zone, address)| match address {
            IpAddr::V4(_) => vec![Which::From(*address), Which::To(*address)],
            IpAddr::V6(_) => vec![Which::InZone(6, *zone)],
        });
        let of_zones = self.abandoned.iter().flat_map(|zone| [4, 6].map(|version| Which::InZone(version, *zone)));
        of_ports.chain(of_zones).collect()
    }

    /// What ended may be allowed again by any of these ports, not only by those in doubt.
    pub(super) fn widen(&mut self, ports: Doubtful) {
        self.addresses.extend(ports.addresses);
    }
}

/// All connections.
pub(super) fn everything() -> BTreeSet<Which> {
    [4, 6].map(Which::All).into()
}

/// Those that have ended.
pub(super) fn ended() -> BTreeSet<Which> {
    [4, 6].map(|version| Which::Marked(version, ENDED)).into()
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

/// Ends what has to end, and brings back what is allowed again, of the connections that are to be read. Whether some of
/// them have ended that could be allowed again.
pub(super) async fn settle(
    namespace: &Namespace,
    policy: &Policy,
    doubtful: Doubtful,
    reading: BTreeSet<Which>,
) -> kernel::Result<bool> {
    if reading.is_empty() {
        return Ok(false);
    }
    let (namespace, policy) = (namespace.clone(), policy.clone());
    let settled = tokio::task::spawn_blocking(move || {
        let (mut ends, mut returns, mut forgotten) = (Vec::new(), Vec::new(), Vec::new());
        let (mut known, mut marked) = (HashSet::new(), 0);
        for which in reading {
            for connection in conntrack::find(&namespace, which)? {
                // One between two ports in doubt is read twice.
                if !known.insert((connection.zone, connection.original)) {
                    continue;
                }
                marked += usize::from(connection.mark == ENDED);
                match fate(&policy, &doubtful, &connection) {
                    Fate::Stays => {}
                    Fate::Ends => ends.push(connection),
                    Fate::Returns => returns.push(connection),
                    Fate::Forgotten => forgotten.push(connection),
                }
            }
        }
        if ends.len() + forgotten.len() > 0 {
            tracing::debug!(ends = ends.len(), forgotten = forgotten.len(), "connections that nothing allows end");
        }
        conntrack::mark(&namespace, &ends, ENDED)?;
        conntrack::mark(&namespace, &returns, 0)?;
        conntrack::forget(&namespace, &forgotten)?;
        Ok(marked + ends.len() > returns.len())
    });
    settled.await.unwrap_or(Ok(false))
}
