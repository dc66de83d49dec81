//! What the agent knows: the taps of this host, what the server said of them, and what it was told. Touches nothing.
//!
//! A tap's life: it appears (or is replaced: another index) → its details are asked for → it is wanted in the bridge of
//! its network → a pass finds it as wanted → the server is told. Any hint about it goes back to the question. All of it
//! may happen to many taps at once; each question and each message takes all that are due.

mod overlay;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use kernel::Link;
use oslo::messaging::CallError;
use reconcile::Pass;
use rpc::{
    l2::{Details, Device, DeviceList, PortDetails},
    reports::Status,
};
use tokio::time::Instant;
use types::{NetworkId, NetworkType, PortId, device};

use super::{
    Config, Overlay,
    desired::{self, Carrier},
    notification::Hint,
    object::{Key, Wanted, is_tap, network_of},
    population::Population,
};

/// A hypervisor that makes a tap and puts it into the bridge itself needs this long at most between the two. To be
/// there first would make it fail. It switches the tap up last, so that a tap that is up needs no waiting.
const HYPERVISOR: Duration = Duration::from_secs(1);
/// Pause before a device is asked for again that an answer left out.
const RETRY: Duration = Duration::from_secs(1);

/// Devices the server is to hear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct News {
    pub up: Vec<String>,
    pub down: Vec<String>,
    /// The server is to tell what is on other hosts.
    pub refresh: bool,
}

/// See the module.
pub(super) struct State {
    config: Config,
    taps: BTreeMap<String, Tap>,
    networks: BTreeMap<NetworkId, Carried>,
    unused: BTreeMap<NetworkId, Unused>,
    gone: BTreeSet<String>,
    failed: BTreeSet<Key>,
    dirty: BTreeSet<Key>,
    given_up: BTreeSet<NetworkId>,
    /// Networks deleted since the question was sent whose answer may still tell of them.
    deleted: BTreeSet<NetworkId>,
    population: Population,
    /// VXLAN devices that have entries, by network.
    devices: BTreeMap<NetworkId, String>,
    scanned: bool,
}

struct Tap {
    index: u32,
    up: bool,
    in_a_bridge: bool,
    seen: Instant,
    question: Option<Instant>,
    asked: bool,
    details: Option<Box<PortDetails>>,
    active: bool,
    in_sync: bool,
    told: Told,
    /// How long it took to be wired has been noted.
    measured: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Sent,
    Yes,
}

/// A network that has, or had a moment ago, ports here.
struct Carried {
    carrier: Carrier,
    empty_since: Option<Instant>,
}

/// A bridge that an earlier agent left, of a network without known ports.
struct Unused {
    keys: Vec<Key>,
    since: Instant,
    asked: bool,
}

// ===== impl State: what comes in =====

impl State {
    pub(super) fn new(config: Config) -> Self {
        let overlay = config.vxlan.as_ref();
        let own = overlay.map_or(IpAddr::from([0, 0, 0, 0]), |overlay| overlay.local_ip);
        let mut population = Population::new(own, overlay.is_some_and(|overlay| overlay.arp_responder));
        if overlay.is_some_and(Overlay::needs_ends) {
            population.ask_for_ends(Instant::now());
        }
        Self {
            population,
            devices: BTreeMap::new(),
            config,
            taps: BTreeMap::new(),
            networks: BTreeMap::new(),
            unused: BTreeMap::new(),
            gone: BTreeSet::new(),
            failed: BTreeSet::new(),
            dirty: BTreeSet::new(),
            given_up: BTreeSet::new(),
            deleted: BTreeSet::new(),
            scanned: false,
        }
    }

    /// Every link there is.
    pub(super) fn scan(&mut self, links: &[Link], now: Instant) {
        let names: BTreeSet<&str> = links.iter().map(|link| link.name.as_str()).collect();
        let went: Vec<String> = self.taps.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        went.iter().for_each(|name| self.tap_gone(name));
        for link in links {
            self.link(link, now);
        }
        for tap in self.taps.values_mut().filter(|tap| self.scanned && tap.details.is_none()) {
            tap.question.get_or_insert(now);
        }
        if !self.scanned {
            for bridge in links {
                self.note_unused(bridge, links, now);
            }
        }
        self.scanned = true;
    }

    /// A bridge with our mark stays, with what is in it, until it is clear whether its network is still used.
    fn note_unused(&mut self, bridge: &Link, links: &[Link], now: Instant) {
        let Some(network) = network_of(bridge) else { return };
        let ports = links.iter().filter(|link| link.master == Some(bridge.index) && !is_tap(&link.name));
        let mut keys = vec![Key::Bridge(bridge.name.clone())];
        keys.extend(ports.map(|link| Key::Uplink(link.name.clone())));
        self.unused.insert(network, Unused { keys, since: now, asked: false });
    }

    /// A link is there. True if it is a tap that was in a bridge and no longer is.
    pub(super) fn link(&mut self, link: &Link, now: Instant) -> bool {
        if !is_tap(&link.name) {
            return false;
        }
        self.gone.remove(&link.name);
        let tap = self.taps.entry(link.name.clone()).or_insert_with(|| fresh_tap(link, now));
        if tap.index != link.index {
            // Made anew under the old name. The details are the old ones until the server says otherwise.
            *tap = Tap { details: tap.details.take(), asked: tap.asked, ..fresh_tap(link, now) };
            self.dirty.insert(Key::Tap(link.name.clone()));
        }
        tap.up = link.up;
        std::mem::replace(&mut tap.in_a_bridge, link.master.is_some()) && link.master.is_none()
    }

    /// A link went.
    pub(super) fn link_gone(&mut self, link: &Link) {
        if self.taps.get(&link.name).is_some_and(|tap| tap.index == link.index) {
            self.tap_gone(&link.name);
        }
    }

    fn tap_gone(&mut self, name: &str) {
        let Some(tap) = self.taps.remove(name) else { return };
        self.failed.remove(&Key::Tap(name.to_owned()));
        if tap.details.is_some() {
            self.gone.insert(name.to_owned());
        }
    }

    /// A notification came.
    pub(super) fn hint(&mut self, hint: Hint) {
        match hint {
            Hint::Port(port) => self.question(port),
            Hint::Activated(port, host) if host == self.config.host => {
                self.activate(port, true);
                self.question(port);
            }
            Hint::Deactivated(port, host) if host == self.config.host => self.activate(port, false),
            Hint::Activated(..) | Hint::Deactivated(..) => {}
            Hint::Population(news) => self.population.take(news),
            Hint::TunnelEnd(end, NetworkType::Vxlan, there) => self.population.set_end(end, there),
            Hint::TunnelEnd(..) => {}
            Hint::Network(network) => {
                let now = Instant::now();
                // Of a tap without details nobody knows yet that it is not on this network.
                for tap in self.taps.values_mut().filter(|tap| tap.is_on(network) || tap.details.is_none()) {
                    tap.question.get_or_insert(now);
                }
            }
            Hint::NetworkDeleted(network) => {
                for tap in self.taps.values_mut().filter(|tap| tap.is_on(network)) {
                    tap.details = None;
                }
                self.networks.remove(&network);
                self.unused.remove(&network);
                self.given_up.insert(network);
                if self.taps.values().any(|tap| tap.asked) {
                    self.deleted.insert(network);
                }
            }
            Hint::Groups(_) => {}
        }
    }

    fn question(&mut self, port: PortId) {
        if let Some(tap) = self.taps.get_mut(&device::tap(port)) {
            tap.question = Some(Instant::now());
        }
    }

    fn activate(&mut self, port: PortId, active: bool) {
        if let Some(tap) = self.taps.get_mut(&device::tap(port)) {
            tap.active = active;
        }
    }

    /// The server did not know us, or took us for dead: everything is asked and told again.
    pub(super) fn server_forgot(&mut self, status: Status) {
        if status == Status::Revived {
            tracing::warn!("the server took this agent for dead; all ports are wired and reported again");
        }
        self.ask_again();
    }

    /// Notifications may have been lost, so the server is asked what they told of.
    pub(super) fn missed_notifications(&mut self) {
        tracing::info!("the message broker was away; asking the server about all ports again");
        self.ask_again();
    }

    fn ask_again(&mut self) {
        let now = Instant::now();
        self.population.doubt();
        self.taps.values_mut().filter(|tap| !tap.asked).for_each(|tap| tap.question = Some(now));
    }

    /// The server's answer to a question. An error means that it did not answer.
    pub(super) fn take_details(
        &mut self,
        asked: Vec<String>,
        answer: Result<Vec<Details>, CallError>,
        now: Instant,
    ) -> Option<CallError> {
        let (details, error) = match answer {
            Ok(details) => (details, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        for details in details {
            let name = match &details {
                Details::Port(port) => port.device.clone(),
                Details::Absent { device, .. } => device.clone(),
            };
            let Some(tap) = self.taps.get_mut(&name).filter(|tap| tap.asked) else { continue };
            tap.asked = false;
            tap.in_sync = false;
            tap.told = Told::No;
            self.dirty.insert(Key::Tap(name.clone()));
            match details {
                Details::Port(port) => self.take_port(&name, port),
                Details::Absent { .. } => tap.details = None,
            }
        }
        for name in asked {
            if let Some(tap) = self.taps.get_mut(&name).filter(|tap| tap.asked) {
                tap.asked = false;
                tap.question = Some(now + RETRY);
            }
        }
        self.deleted.clear();
        error
    }

    fn take_port(&mut self, name: &str, port: Box<PortDetails>) {
        let network = port.network_id;
        let carrier = desired::carrier(&self.config, &port);
        let Some(tap) = self.taps.get_mut(name) else { return };
        if self.deleted.contains(&network) {
            tap.details = None;
            return;
        }
        match carrier {
            Ok(carrier) => {
                self.unused.remove(&network);
                self.given_up.remove(&network);
                self.population.carry(network);
                self.networks.insert(network, Carried { carrier, empty_since: None });
                tap.details = Some(port);
            }
            Err(reason) => {
                tracing::error!(device = name, port = %port.port_id, "cannot wire the port: {reason}");
                tap.details = None;
            }
        }
    }

    /// What a pass found and did.
    pub(super) fn take_pass(&mut self, pass: &Pass<Key>) {
        for key in pass.in_sync() {
            self.failed.remove(key);
            if let Key::Tap(name) = key
                && let Some(tap) = self.taps.get_mut(name)
            {
                tap.in_sync = true;
            }
        }
        self.failed.extend(pass.failed.iter().map(|(key, _)| key.clone()));
        for key in &pass.removed {
            self.failed.remove(key);
        }
    }

    /// The server's answer to what it was told.
    pub(super) fn take_told(&mut self, news: News, answer: Result<DeviceList, CallError>) -> Option<CallError> {
        if news.refresh && answer.is_err() {
            self.networks_of(&news.up).into_iter().for_each(|network| self.population.set_asked(network, None));
        }
        let (refused, error) = match answer {
            Ok(list) => (BTreeSet::from_iter(list.failed_devices_up.iter().map(Device::name).map(str::to_owned)), None),
            Err(error) => {
                self.gone.extend(news.down.iter().filter(|name| !self.taps.contains_key(*name)).cloned());
                (news.up.iter().chain(&news.down).cloned().collect(), Some(error))
            }
        };
        for name in news.up.iter().chain(&news.down) {
            if let Some(tap) = self.taps.get_mut(name).filter(|tap| tap.told == Told::Sent) {
                tap.told = if refused.contains(name) { Told::No } else { Told::Yes };
                let up = tap.details.as_ref().is_some_and(|details| details.admin_state_up);
                if tap.told == Told::Yes && up && !std::mem::replace(&mut tap.measured, true) {
                    crate::metrics::wired("linuxbridge", tap.seen.elapsed());
                }
            }
        }
        error
    }

    /// Time has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        let grace = self.config.empty_bridge_grace;
        let over = |network: &Carried| network.empty_since.is_some_and(|since| now >= since + grace);
        self.given_up.extend(self.networks.extract_if(.., |_, network| over(network)).map(|(id, _)| id));
        self.population.retain(|network| self.networks.contains_key(network));
        self.population.expire(now);
        self.unused.retain(|_, unused| now < unused.since + grace);
    }
}

// ===== impl State: what goes out =====

impl State {
    /// What this host must have. A tap is not touched before its port is secured.
    pub(super) fn wanted(&mut self, now: Instant, is_secured: impl Fn(&str) -> bool) -> BTreeMap<Key, Wanted> {
        let used: BTreeSet<NetworkId> =
            self.taps.values().filter_map(|tap| Some(tap.details.as_ref()?.network_id)).collect();
        let mut wanted = BTreeMap::new();
        for unused in self.unused.values() {
            wanted.extend(unused.keys.iter().map(|key| (key.clone(), Wanted::Kept)));
        }
        for (id, network) in &mut self.networks {
            network.empty_since = if used.contains(id) { None } else { network.empty_since.or(Some(now)) };
            wanted.extend(desired::network_objects(*id, &network.carrier));
        }
        for (name, tap) in &self.taps {
            let ready = !tap.is_held(now) && is_secured(name);
            let Some(details) = tap.details.as_ref().filter(|_| ready) else { continue };
            let Some(network) = self.networks.get(&details.network_id) else { continue };
            let mut object = desired::tap(&network.carrier, details);
            if let (Wanted::Tap { bridge, .. }, false) = (&mut object, tap.active) {
                *bridge = None;
            }
            wanted.insert(Key::Tap(name.clone()), object);
        }
        wanted
    }

    /// Those of these taps that are ports of this host, with the bridges of their networks.
    pub(super) fn ports(&self, names: &BTreeSet<String>) -> Vec<(&str, String, &PortDetails)> {
        let ports = self.taps.iter().filter(|(name, _)| names.contains(*name));
        ports
            .filter_map(|(name, tap)| {
                let details = tap.details.as_deref()?;
                let bridge = self.networks.get(&details.network_id)?.carrier.bridge.clone();
                Some((name.as_str(), bridge, details))
            })
            .collect()
    }

    /// Whether a tap is a port of this host.
    pub(super) fn is_port(&self, name: &str) -> bool {
        self.taps.get(name).is_some_and(|tap| tap.details.is_some())
    }

    /// Taps of which the server has not said whether they are ports of this host.
    pub(super) fn unanswered(&self) -> BTreeSet<String> {
        let open = |tap: &Tap| tap.details.is_none() && (tap.asked || tap.question.is_some());
        self.taps.iter().filter(|(_, tap)| open(tap)).map(|(name, _)| name.clone()).collect()
    }

    /// Objects to look at even if they are wanted as before.
    pub(super) fn take_dirty(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.dirty)
    }

    /// Networks whose bridges are to go.
    pub(super) fn take_given_up(&mut self) -> BTreeSet<NetworkId> {
        std::mem::take(&mut self.given_up)
    }

    /// Not now, but with the next opportunity.
    pub(super) fn give_up_later(&mut self, network: NetworkId) {
        self.given_up.insert(network);
    }

    /// The first full sync is in: every tap that was there has been answered for.
    pub(super) fn is_complete(&self) -> bool {
        self.scanned && self.taps.values().all(|tap| tap.details.is_some() || (tap.question.is_none() && !tap.asked))
    }

    /// Taps to ask for now. They count as asked.
    pub(super) fn take_questions(&mut self, limit: usize, now: Instant) -> Vec<String> {
        let due = self.taps.iter_mut().filter(|(_, tap)| !tap.asked && tap.question.is_some_and(|due| due <= now));
        due.take(limit)
            .map(|(name, tap)| {
                tap.question = None;
                tap.asked = true;
                name.clone()
            })
            .collect()
    }

    /// Networks of unused bridges to ask after, once each.
    pub(super) fn take_doubtful_networks(&mut self) -> Vec<NetworkId> {
        let doubtful = self.unused.iter_mut().filter(|(_, unused)| !unused.asked);
        doubtful
            .map(|(network, unused)| {
                unused.asked = true;
                *network
            })
            .collect()
    }

    /// What to tell the server now. It counts as sent.
    pub(super) fn take_news(&mut self, limit: usize) -> News {
        let mut news = News::default();
        let due: Vec<String> =
            self.taps.iter().filter(|(_, tap)| self.is_news(tap)).map(|(name, _)| name.clone()).collect();
        for name in due.into_iter().take(limit) {
            let Some(tap) = self.taps.get_mut(&name) else { continue };
            tap.told = Told::Sent;
            let up = tap.details.as_ref().is_some_and(|details| details.admin_state_up);
            if up { news.up.push(name) } else { news.down.push(name) }
        }
        news.refresh = self.refresh(&news.up);
        let room = limit.saturating_sub(news.len());
        let gone: Vec<String> = self.gone.iter().take(room).cloned().collect();
        self.gone.retain(|name| !gone.contains(name));
        news.down.extend(gone);
        news
    }

    /// When time alone changes something next.
    pub(super) fn next_time(&self, now: Instant) -> Option<Instant> {
        let grace = self.config.empty_bridge_grace;
        let held = self.taps.values().filter(|tap| tap.is_held(now)).map(|tap| tap.seen + HYPERVISOR);
        let empty = self.networks.values().filter_map(|network| Some(network.empty_since? + grace));
        let unused = self.unused.values().map(|unused| unused.since + grace);
        held.chain(empty).chain(unused).chain(self.population.next_time()).min()
    }

    /// When the next question is due.
    pub(super) fn next_question(&self) -> Option<Instant> {
        self.taps.values().filter(|tap| !tap.asked).filter_map(|tap| tap.question).min()
    }

    /// Whether there is something to tell.
    pub(super) fn has_news(&self) -> bool {
        !self.gone.is_empty() || self.taps.values().any(|tap| self.is_news(tap))
    }

    /// Its port is wired, on a network that is carried whole, and the server does not know yet.
    fn is_news(&self, tap: &Tap) -> bool {
        let due = tap.told == Told::No && tap.in_sync && tap.active;
        let Some(details) = tap.details.as_ref().filter(|_| due) else { return false };
        let Some(network) = self.networks.get(&details.network_id) else { return false };
        let uplink = network.carrier.uplink.as_ref().map(|(device, _)| Key::Uplink(device.clone()));
        let bridge = Key::Bridge(network.carrier.bridge.clone());
        uplink.iter().chain([&bridge]).all(|key| !self.failed.contains(key))
    }

    /// Taps that are ports of this host.
    pub(super) fn device_count(&self) -> usize {
        self.taps.values().filter(|tap| tap.details.is_some()).count()
    }

    /// Whether interfaces of the host may hold addresses that belong on a bridge.
    pub(super) fn has_physical_networks(&self) -> bool {
        !self.config.physical_interface_mappings.is_empty()
    }
}

// ===== impl Tap, News =====

impl Tap {
    fn is_on(&self, network: NetworkId) -> bool {
        self.details.as_ref().is_some_and(|details| details.network_id == network)
    }

    /// A hypervisor may be about to put it into its bridge.
    fn is_held(&self, now: Instant) -> bool {
        let instance = self.details.as_ref().is_some_and(|details| details.device_owner.starts_with("compute:"));
        instance && !self.up && !self.in_a_bridge && now < self.seen + HYPERVISOR
    }
}

impl News {
    /// Nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.up.len() + self.down.len()
    }
}

fn fresh_tap(link: &Link, now: Instant) -> Tap {
    Tap {
        index: link.index,
        up: link.up,
        in_a_bridge: link.master.is_some(),
        seen: now,
        question: Some(now),
        asked: false,
        details: None,
        active: true,
        in_sync: false,
        told: Told::No,
        measured: false,
    }
}

#[cfg(test)]
mod tests;
