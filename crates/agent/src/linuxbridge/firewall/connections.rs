//! Which tracked connections have to end because nothing allows them any more, and how they do.
//!
//! A connection that the kernel merely forgets begins anew with the next packet that may pass, in either direction: what
//! an instance still sends would bring back what its rules no longer let in. So the entry stays, with a mark by which
//! the chains of ports drop what belongs to it, until it times out, or is allowed again and loses the mark. Entries of
//! ports that went are forgotten.
//!
//! Nor does an entry say for sure who began: an instance that came to this host while it was being answered is known here
//! as the one that was asked. Of protocols in whose packets that cannot be seen either, an entry that ended is forgotten
//! after a while if the other side may begin ([`release`]): whatever was on its way has arrived by then, so nothing brings
//! back what is no longer let in, and who may ask is not silenced for as long as it asks.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use kernel::{
    Namespace,
    conntrack::{self, Connection, Tuple, Which},
};
use tokio::time::Instant;

use super::{
    model::{Direction, Flow, Port},
    policy::Policy,
    zones::Zones,
};

/// The mark of connections that ended.
pub(super) const ENDED: u32 = 0x0069_736f;

/// How long a connection that ended stays so, whoever may begin it: longer than an answer is under way.
const QUARANTINE: Duration = Duration::from_secs(5);

/// TCP, ICMP, ICMPv6, DCCP and SCTP, whose packets say which of two began, or of which only a first one makes an entry.
const TELLING: [u8; 5] = [6, 1, 58, 33, 132];

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

/// A connection by its zone and the direction of its first packet.
type Id = (u16, Tuple);

/// What there is of connections that have ended.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Some have, of those that were read.
    pub ended: bool,
    /// Those that did just now.
    new: HashSet<Id>,
}

/// Connections that ended a short while ago.
#[derive(Debug, Default)]
pub(super) struct Quarantine(VecDeque<(Instant, HashSet<Id>)>);

impl Quarantine {
    /// Takes those that ended just now. Where others ended before, they are looked at in time as well.
    pub(super) fn take(&mut self, settled: Settled) {
        if !settled.new.is_empty() || (settled.ended && self.0.is_empty()) {
            self.0.push_back((Instant::now() + QUARANTINE, settled.new));
        }
    }

    /// When it ends for the first of them.
    pub(super) fn end(&self) -> Option<Instant> {
        self.0.front().map(|(end, _)| *end)
    }

    /// Those for which it goes on, once those are left out for which it has ended.
    fn expire(&mut self) -> HashSet<Id> {
        let now = Instant::now();
        self.0.retain(|(end, _)| *end > now);
        self.0.iter().flat_map(|(_, ids)| ids).copied().collect()
    }
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
    let flow = flow(connection, connection.original);
    let found = passed(doubtful, connection.zone, &flow);
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

/// What begins with a packet in that direction.
fn flow(connection: &Connection, direction: Tuple) -> Flow {
    Flow {
        source: direction.source,
        destination: direction.destination,
        protocol: direction.protocol,
        source_port: direction.source_port.unwrap_or(0),
        destination_port: direction.destination_port.unwrap_or(0),
        icmp: connection.icmp,
    }
}

/// The ports that it passes, each with its direction, by their addresses: no port where nobody has one any more.
fn passed<'d>(doubtful: &'d Doubtful, zone: u16, flow: &Flow) -> Vec<(&'d Option<Port>, Direction)> {
    let ends = [(flow.source, Direction::Egress), (flow.destination, Direction::Ingress)];
    let found = ends.map(|(address, direction)| Some((doubtful.addresses.get(&(zone, address))?, direction)));
    found.into_iter().flatten().collect()
}

/// Whether nothing tells that the other side did not begin it, which it may.
fn is_of_either(policy: &Policy, all: &Doubtful, connection: &Connection) -> bool {
    let flow = flow(connection, connection.original.reversed());
    let found = passed(all, connection.zone, &flow);
    let allows = |(port, direction): &(&Option<Port>, Direction)| {
        port.as_ref().is_some_and(|port| policy.allows(port, *direction, &flow))
    };
    !TELLING.contains(&flow.protocol) && !connection.is_related && !found.is_empty() && found.iter().all(allows)
}

/// Forgets what ended of which the quarantine is over and that the other side may begin. `all` are the addresses of all
/// ports.
pub(super) async fn release(
    namespace: &Namespace,
    policy: &Policy,
    all: Doubtful,
    quarantine: &mut Quarantine,
) -> kernel::Result<()> {
    let (namespace, policy, quarantined) = (namespace.clone(), policy.clone(), quarantine.expire());
    let released = tokio::task::spawn_blocking(move || {
        let mut released = Vec::new();
        for which in ended() {
            let found = conntrack::find(&namespace, which)?.into_iter();
            let is_over = |it: &Connection| !quarantined.contains(&(it.zone, it.original));
            released.extend(found.filter(|it| is_over(it) && is_of_either(&policy, &all, it)));
        }
        if !released.is_empty() {
            tracing::debug!(released = released.len(), "connections that ended may begin the other way round");
        }
        conntrack::forget(&namespace, &released)
    });
    let released = released.await.unwrap_or(Ok(()));
    if released.is_err() {
        quarantine.0.push_front((Instant::now() + QUARANTINE, HashSet::new()));
    }
    released
}

/// Ends what has to end, and brings back what is allowed again, of the connections that are to be read. Whether some of
/// them have ended that could be allowed again.
pub(super) async fn settle(
    namespace: &Namespace,
    policy: &Policy,
    doubtful: Doubtful,
    reading: BTreeSet<Which>,
) -> kernel::Result<Settled> {
    if reading.is_empty() {
        return Ok(Settled::default());
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
        let new: HashSet<Id> = ends.iter().map(|it| (it.zone, it.original)).collect();
        Ok(Settled { ended: marked + new.len() > returns.len(), new })
    });
    settled.await.unwrap_or_else(|_| Ok(Settled::default()))
}
