//! What is known of who is behind which tunnel: forwarding entries of this host's VXLAN networks. Touches nothing.
//!
//! With `l2_population` the server tells it: of changes to all agents, and of everything on other hosts to the agent that
//! has wired its first ports of a network, or asks for it by `refresh_tunnels`. A table of a network is *whole* once such
//! a message has come; before, nothing is removed from the device but what the server says is gone, because entries of
//! a predecessor are most likely right. Where messages may have been lost, the table is no longer whole, what was told
//! before is kept, and everything is asked for again.
//!
//! Without `l2_population` and without a multicast group, what is flooded goes to every host that has a tunnel end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use kernel::neighbour::FLOOD;
use oslo::{
    context::Context,
    messaging::{Failure, Incoming},
};
use parking_lot::Mutex;
use rpc::l2_population::{self as wire, Callee, Changes, dispatch};
use tokio::time::Instant;
use types::{Mac, NetworkId, NetworkType};

/// A server that has nothing to tell may tell nothing. After this time it would have.
const SILENCE: Duration = Duration::from_secs(60);
/// Prefix of the addresses that a MAC gives on its link.
const LINK_LOCAL: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0));

/// Entries a VXLAN device shall have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entries {
    /// MAC (or all of them) and host.
    pub forwardings: BTreeSet<(Mac, IpAddr)>,
    /// Addresses that this host answers for.
    pub neighbours: BTreeMap<IpAddr, Mac>,
    /// What else there is.
    pub others: Others,
}

/// What becomes of entries that nobody told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Others {
    /// They go.
    Go,
    /// They stay but for these.
    Stay {
        /// Forwarding entries that went.
        forwardings: BTreeSet<(Mac, IpAddr)>,
        /// Addresses that went.
        neighbours: BTreeSet<IpAddr>,
    },
}

impl Default for Others {
    fn default() -> Self {
        Self::Stay { forwardings: BTreeSet::new(), neighbours: BTreeSet::new() }
    }
}

/// A message about forwarding entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// These are there; `everything` says that nothing else is.
    Add { entries: wire::Entries, everything: bool },
    /// These went.
    Remove(wire::Entries),
    /// Addresses of ports changed.
    Change(Changes),
}

/// One thing told of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    /// The host wants what is flooded.
    Flood(IpAddr),
    /// The port is on that host.
    Port { remote: IpAddr, mac: Mac, address: IpAddr },
}

/// See the module.
pub(super) struct Population {
    own: IpAddr,
    responder: bool,
    tables: BTreeMap<NetworkId, Table>,
    ends: Ends,
    /// Networks whose entries may differ from those that were taken last.
    changed: BTreeSet<NetworkId>,
}

/// What is known of one network. The numbers tell which of two contradicting entries is younger.
#[derive(Default)]
struct Table {
    clock: u64,
    /// Told together with all other agents.
    told: BTreeMap<Entry, u64>,
    /// Told by the last message with everything.
    base: BTreeMap<Entry, u64>,
    /// Told before messages may have been lost.
    old: BTreeMap<Entry, u64>,
    /// Gone while the table was not whole.
    gone: BTreeSet<Entry>,
    whole: bool,
    asked: Option<Instant>,
}

/// The hosts' tunnel ends, where everything flooded goes to all of them.
#[derive(Default)]
struct Ends {
    known: BTreeSet<IpAddr>,
    needed: bool,
    synced: bool,
    question: Option<Instant>,
    /// What was told since the question was sent, if it is.
    since: Option<Vec<(IpAddr, bool)>>,
}

// ===== impl Population =====

impl Population {
    pub(super) fn new(own: IpAddr, responder: bool) -> Self {
        Self { own, responder, tables: BTreeMap::new(), ends: Ends::default(), changed: BTreeSet::new() }
    }

    /// A network is carried here; what is told of others is not for this host.
    pub(super) fn carry(&mut self, network: NetworkId) {
        self.tables.entry(network).or_default();
        self.changed.insert(network);
    }

    /// Only these networks are carried here.
    pub(super) fn retain(&mut self, is_carried: impl Fn(&NetworkId) -> bool) {
        let left: Vec<NetworkId> = self.tables.keys().filter(|network| !is_carried(network)).copied().collect();
        for network in left {
            self.tables.remove(&network);
            self.changed.insert(network);
        }
    }

    /// A message came. Upstream's agent gives up a message at the first network it does not have; here each network
    /// stands for itself.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Add { entries, everything } => {
                self.for_each(entries, |table, entries| table.add(&entries, everything))
            }
            News::Remove(entries) => self.for_each(entries, |table, entries| table.remove(&entries)),
            News::Change(changes) => {
                for (network, hosts) in changes.chg_ip {
                    let Some(table) = self.tables.get_mut(&network) else { continue };
                    self.changed.insert(network);
                    for (remote, change) in hosts {
                        let entries = |ports| parsed(self.own, std::iter::once((remote.clone(), ports)).collect());
                        table.add(&entries(change.after), false);
                        table.remove(&entries(change.before));
                    }
                }
            }
        }
    }

    fn for_each(&mut self, entries: wire::Entries, mut each: impl FnMut(&mut Table, BTreeSet<Entry>)) {
        for (network, entries) in entries {
            match self.tables.get_mut(&network) {
                Some(table) if entries.network_type == NetworkType::Vxlan => {
                    each(table, parsed(self.own, entries.ports));
                    self.changed.insert(network);
                }
                _ => tracing::debug!(%network, "forwarding entries of a network that is not carried here"),
            }
        }
    }

    /// Messages may have been lost.
    pub(super) fn doubt(&mut self) {
        self.tables.values_mut().for_each(Table::doubt);
        self.changed.extend(self.tables.keys());
        if self.ends.needed {
            self.ends.question = Some(Instant::now());
        }
    }

    /// The server has to be asked for everything of the network.
    pub(super) fn is_refresh_due(&self, network: NetworkId) -> bool {
        self.tables.get(&network).is_some_and(|table| !table.whole && table.asked.is_none())
    }

    /// The server is asked for everything of the network, or was, but did not hear it.
    pub(super) fn set_asked(&mut self, network: NetworkId, asked: Option<Instant>) {
        if let Some(table) = self.tables.get_mut(&network).filter(|table| !table.whole) {
            table.asked = asked;
        }
    }

    /// Time has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        for (network, table) in &mut self.tables {
            if !table.whole && table.asked.is_some_and(|asked| now >= asked + SILENCE) {
                table.close();
                self.changed.insert(*network);
            }
        }
    }

    /// When time alone changes something next.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let silence =
            self.tables.values().filter(|table| !table.whole).filter_map(|table| Some(table.asked? + SILENCE));
        silence.chain(self.ends.question.filter(|_| self.ends.since.is_none())).min()
    }

    /// Networks whose entries may have changed.
    pub(super) fn take_changed(&mut self) -> BTreeSet<NetworkId> {
        std::mem::take(&mut self.changed)
    }

    /// Whether there are any.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The entries that the device of the network shall have by what the server told.
    pub(super) fn entries(&self, network: NetworkId) -> Entries {
        self.tables.get(&network).map(|table| table.entries(self.responder)).unwrap_or_default()
    }
}

impl Population {
    /// All hosts' ends are to be asked for.
    pub(super) fn ask_for_ends(&mut self, when: Instant) {
        self.ends.needed = true;
        self.ends.question = Some(when);
        self.ends.since = None;
    }

    /// Whether to ask for all ends now; they count as asked for.
    pub(super) fn take_question(&mut self, now: Instant) -> bool {
        let due = self.ends.since.is_none() && self.ends.question.is_some_and(|due| due <= now);
        if due {
            self.ends.question = None;
            self.ends.since = Some(Vec::new());
        }
        due
    }

    /// All ends there are.
    pub(super) fn take_ends(&mut self, ends: impl IntoIterator<Item = IpAddr>) {
        self.ends.known = ends.into_iter().collect();
        self.ends.synced = true;
        self.changed.extend(self.tables.keys());
        for (end, there) in self.ends.since.take().unwrap_or_default() {
            self.set_end(end, there);
        }
    }

    /// A host's end came or went.
    pub(super) fn set_end(&mut self, end: IpAddr, there: bool) {
        if let Some(since) = &mut self.ends.since {
            since.push((end, there));
        }
        if there {
            self.ends.known.insert(end)
        } else {
            self.ends.known.remove(&end)
        };
        self.changed.extend(self.tables.keys());
    }

    /// The entries of a device whose floods go to every end.
    pub(super) fn floods(&self) -> Entries {
        let others = self.ends.known.iter().filter(|end| **end != self.own);
        let forwardings = others.map(|end| (FLOOD, *end)).collect();
        let others = if self.ends.synced { Others::Go } else { Others::default() };
        Entries { forwardings, neighbours: BTreeMap::new(), others }
    }
}

// ===== impl Table =====

impl Table {
    fn add(&mut self, entries: &BTreeSet<Entry>, everything: bool) {
        if everything {
            self.base.clear();
            self.close();
        }
        self.clock += 1;
        for entry in entries {
            self.gone.remove(entry);
            let place = if everything { &mut self.base } else { &mut self.told };
            place.insert(*entry, self.clock);
        }
    }

    fn remove(&mut self, entries: &BTreeSet<Entry>) {
        for entry in entries {
            for place in [&mut self.told, &mut self.base, &mut self.old] {
                place.remove(entry);
            }
            if !self.whole {
                self.gone.insert(*entry);
            }
        }
    }

    /// What was told is all there is.
    fn close(&mut self) {
        self.old.clear();
        self.gone.clear();
        self.whole = true;
        self.asked = None;
    }

    fn doubt(&mut self) {
        for place in [&mut self.told, &mut self.base] {
            self.old.append(place);
        }
        self.whole = false;
        self.asked = None;
    }

    fn entries(&self, responder: bool) -> Entries {
        let mut entries: Vec<(u64, Entry)> =
            [&self.old, &self.base, &self.told].into_iter().flatten().map(|(entry, age)| (*age, *entry)).collect();
        // The youngest last, so that it stands where two contradict each other: a port is on one host.
        entries.sort_unstable();
        let (mut floods, mut places, mut neighbours) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        for (_, entry) in entries {
            match entry {
                Entry::Flood(remote) => drop(floods.insert((FLOOD, remote))),
                Entry::Port { remote, mac, address } => {
                    places.insert(mac, remote);
                    neighbours.extend(answered(mac, address).into_iter().filter(|_| responder));
                }
            }
        }
        floods.extend(places);
        let others = if self.whole { Others::Go } else { self.gone() };
        Entries { forwardings: floods, neighbours, others }
    }

    fn gone(&self) -> Others {
        let (mut forwardings, mut neighbours) = (BTreeSet::new(), BTreeSet::new());
        for entry in &self.gone {
            match *entry {
                Entry::Flood(remote) => drop(forwardings.insert((FLOOD, remote))),
                Entry::Port { remote, mac, address } => {
                    forwardings.insert((mac, remote));
                    neighbours.extend(answered(mac, address).into_iter().map(|(address, _)| address));
                }
            }
        }
        Others::Stay { forwardings, neighbours }
    }
}

/// The addresses to answer for. A port with IPv6 also has the link-local address that its MAC gives, by which routers
/// are known and which no server tells of; with `proxy` the kernel lets no question through that it cannot answer.
fn answered(mac: Mac, address: IpAddr) -> Vec<(IpAddr, Mac)> {
    match (address, LINK_LOCAL) {
        (IpAddr::V6(_), IpAddr::V6(prefix)) => vec![(address, mac), (IpAddr::V6(mac.eui64(prefix)), mac)],
        _ => vec![(address, mac)],
    }
}

/// The entries of other hosts than this; what cannot be read is skipped.
fn parsed(own: IpAddr, ports: BTreeMap<String, Vec<wire::PortEntry>>) -> BTreeSet<Entry> {
    let mut entries = BTreeSet::new();
    for (host, ports) in ports {
        let Ok(remote) = host.parse::<IpAddr>() else {
            tracing::debug!(host, "forwarding entries of a host without a tunnel address");
            continue;
        };
        if remote == own {
            continue;
        }
        entries.extend(ports.iter().filter_map(|(mac, address)| match (mac.parse(), address.parse()) {
            (Ok(FLOOD), _) => Some(Entry::Flood(remote)),
            (Ok(mac), Ok(address)) => Some(Entry::Port { remote, mac, address }),
            _ => None,
        }));
    }
    entries
}

// ===== messages =====

/// Reads a message about forwarding entries.
pub(super) async fn read(incoming: &Incoming) -> Result<Option<News>, Failure> {
    let reader = Reader { everything: !incoming.fanout, news: Mutex::default() };
    dispatch(&reader, &incoming.ctx, &incoming.method, &incoming.args).await?;
    Ok(reader.news.into_inner())
}

struct Reader {
    everything: bool,
    news: Mutex<Option<News>>,
}

impl Callee for Reader {
    type Error = Failure;

    async fn add_fdb_entries(&self, _: &Context, entries: wire::Entries) -> Result<(), Failure> {
        *self.news.lock() = Some(News::Add { entries, everything: self.everything });
        Ok(())
    }

    async fn remove_fdb_entries(&self, _: &Context, entries: wire::Entries) -> Result<(), Failure> {
        *self.news.lock() = Some(News::Remove(entries));
        Ok(())
    }

    async fn update_fdb_entries(&self, _: &Context, changes: Changes) -> Result<(), Failure> {
        *self.news.lock() = Some(News::Change(changes));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
