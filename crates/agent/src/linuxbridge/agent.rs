//! The loop: what comes in, and what is done about it.
//!
//! ```text
//!   kernel events ─┐                          ┌─▶ reconciler pass (kernel)
//!   notifications ─┤   ┌─────────────────┐    │
//!   server answers ┼──▶│ State (state.rs)│────┼─▶ ask for details     ─┐ on tasks of their own: the loop
//!   heartbeat news ─┤   └─────────────────┘    └─▶ tell of up and down ─┘ never waits for the server
//!   clock ─────────┘
//! ```
//!
//! Everything that came in while a pass or a question was under way is taken together, so that a hundred taps that
//! appear at once cost a handful of questions.

mod question;
mod start;

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    time::Duration,
};

use kernel::{Event, Events, Kernel, Kind, Link, LinkChange};
use oslo::messaging::{Bus, Listener};
use reconcile::{Driver, Reconciler, Settings};
use rpc::{l2, security_group};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::Instrument;
use types::{NetworkId, device};

use self::{
    question::{Answer, Groups},
    start::{agent_id, check, report, topics},
};
use super::{
    Config, Error,
    driver::Wiring,
    fast_path::FastPath,
    firewall::Firewall,
    forwarding::{Forwarder, has_entries},
    notification::{Hint, hint},
    object::{Actual, Key},
    state::State,
};
use crate::report::Heartbeat;

/// Time between scans of all links, should an event ever be missed.
const RESCAN: Duration = Duration::from_secs(30);
/// Pause after a question the server did not answer.
const RETRY: Duration = Duration::from_secs(1);
/// How long all answers are waited for at the start before those that are in are acted upon.
const FIRST_ANSWERS: Duration = Duration::from_secs(10);
/// Pause after a reading of the kernel that failed, most likely because links came and went meanwhile.
const REREAD: Duration = Duration::from_millis(20);
/// How long an answer is waited for. The loop goes on meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

struct Agent<K: Kernel> {
    kernel: K,
    state: State,
    reconciler: Reconciler<Wiring<K>>,
    /// What VXLAN devices know of other hosts; nothing where multicast does that.
    forwarding: Option<Reconciler<Forwarder<K>>>,
    server: l2::Client,
    firewall: Firewall<K>,
    fast_path: FastPath<K>,
    groups: Groups,
    /// Names of bridges by index, to read events with.
    bridges: HashMap<u32, String>,
    id: String,
    host: String,
    answers: mpsc::Sender<Answer>,
    asking: bool,
    telling: bool,
    told_once: bool,
    quiet_until: Instant,
    no_pass_until: Instant,
    no_forwarding_until: Instant,
    rescan: Instant,
    started: bool,
    settled: bool,
    began: Instant,
}

/// Wires ports until `shutdown` is ready. Returns early only for what a person must put right.
pub async fn run(config: Config, bus: Bus, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
    let kernel = config.system.root().open()?;
    serve(kernel, config, bus, shutdown).await
}

/// [`run`] on any kernel.
pub(super) async fn serve<K: Kernel>(
    kernel: K,
    config: Config,
    bus: Bus,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    // Before the first scan, so that nothing falls between.
    let mut events = kernel.events()?;
    let mut notifications = bus.listen_all(&topics(&config), &config.host);
    let mut gaps = notifications.gaps();
    let links = kernel.links().await?;
    check(&config, &links, &kernel).await?;
    let mut fast_path = FastPath::new(kernel.clone(), config.firewall.fast_path);
    fast_path.take_over(&links);
    let firewall = Firewall::open(&config.firewall, config.system.root(), kernel.clone()).await;
    let firewall = firewall.map_err(|error| Error::Firewall(crate::chain(&error)))?;
    let mut heartbeat = Heartbeat::start(bus.clone(), report(&config), config.report_interval);
    let (answers, mut answered) = mpsc::channel(16);
    let mut agent = Agent {
        bridges: HashMap::new(),
        id: agent_id(&config, &links),
        host: config.host.clone(),
        reconciler: Reconciler::new(Wiring::new(kernel.clone(), &config), Settings::default()),
        forwarding: config
            .vxlan
            .as_ref()
            .filter(|overlay| overlay.l2_population || overlay.needs_ends())
            .map(|_| Reconciler::new(Forwarder::new(kernel.clone()), Settings::default())),
        fast_path,
        kernel,
        state: State::new(config),
        server: l2::Client::new(bus.clone()).with_timeout(PATIENCE),
        firewall,
        groups: Groups::new(security_group::Client::new(bus).with_timeout(PATIENCE)),
        answers,
        asking: false,
        telling: false,
        told_once: false,
        quiet_until: Instant::now(),
        no_pass_until: Instant::now(),
        no_forwarding_until: Instant::now(),
        rescan: Instant::now() + RESCAN,
        started: false,
        settled: false,
        began: Instant::now(),
    };
    agent.scan(&links);

    tokio::pin!(shutdown);
    loop {
        agent.work().await;
        heartbeat.set("devices", agent.state.device_count());
        crate::metrics::serves("linuxbridge", agent.state.device_count());
        if agent.started {
            heartbeat.started();
        }
        let timer = agent.next_time();
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            event = events.next() => agent.take_events(event, &mut events),
            hint = notification(&mut notifications) => agent.take_hint(hint),
            Some(answer) = answered.recv() => agent.take_answer(answer),
            status = heartbeat.news() => agent.state.server_forgot(status),
            () = gaps.next() => agent.state.missed_notifications(),
            () = sleep_until(timer) => agent.on_time().await,
        }
        while let Ok(answer) = answered.try_recv() {
            agent.take_answer(answer);
        }
    }
}

// ===== impl Agent =====

impl<K: Kernel> Agent<K> {
    /// All taps there are; those that were known under another index, and those that went, are news.
    fn scan(&mut self, links: &[Link]) {
        let bridges = links.iter().filter(|link| matches!(link.kind, Kind::Bridge(_)));
        self.bridges = bridges.map(|link| (link.index, link.name.clone())).collect();
        self.state.scan(links, Instant::now());
        self.fast_path.scan(links);
        self.reconciler.hint_all();
    }

    /// Takes all events that wait. Of several about one link only the last counts: the others show it half-way.
    fn take_events(&mut self, first: Event, events: &mut Events) {
        let mut links = BTreeMap::new();
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Event::Link(link) => drop(links.insert(link.name.clone(), link)),
                Event::LinkGone(link) => {
                    links.remove(&link.name);
                    self.fast_path.link_gone(&link);
                    self.take_vxlan(&link);
                    self.state.link_gone(&link);
                    self.reconciler.hint_all();
                }
                Event::Address(_) | Event::AddressGone(_) if self.state.has_physical_networks() => {
                    self.reconciler.hint_all();
                }
                Event::Address(_) | Event::AddressGone(_) => {}
                Event::Missed => self.rescan = Instant::now(),
            }
            next = events.waiting();
        }
        // Bridges first: what is in them is told apart by their names.
        let (bridges, others): (Vec<_>, Vec<_>) =
            links.into_values().partition(|link| matches!(link.kind, Kind::Bridge(_)));
        bridges.iter().chain(&others).for_each(|link| self.take_link(link));
    }

    /// Most changes of links are our own, and then nothing is left to do.
    fn take_link(&mut self, link: &Link) {
        if matches!(link.kind, Kind::Bridge(_)) {
            self.bridges.insert(link.index, link.name.clone());
        }
        self.fast_path.take_link(link);
        if self.state.link(link, Instant::now()) {
            // The bridge it left may now be one to remove.
            self.reconciler.hint_all();
        }
        self.take_vxlan(link);
        let bridge = link.master.and_then(|index| self.bridges.get(&index).cloned());
        let actual = Actual { bridge, ..Actual::alone(link.clone()) };
        for key in [Key::Tap(link.name.clone()), Key::Bridge(link.name.clone()), Key::Uplink(link.name.clone())] {
            let wanted = self.reconciler.desired().objects().get(&key);
            if wanted.is_some_and(|wanted| !self.reconciler.driver().in_sync(wanted, &actual)) {
                self.reconciler.hint(key);
            }
        }
    }

    /// A device that was made has no entries yet.
    fn take_vxlan(&mut self, link: &Link) {
        if let Some(forwarding) = self.forwarding.as_mut().filter(|_| has_entries(link))
            && forwarding.desired().objects().contains_key(&link.name)
        {
            forwarding.hint(link.name.clone());
        }
    }

    async fn on_time(&mut self) {
        let now = Instant::now();
        if now >= self.rescan {
            self.rescan = now + RESCAN;
            match self.kernel.links().await {
                Ok(links) => {
                    self.scan(&links);
                    self.firewall.look_again();
                    self.fast_path.look_again().await;
                }
                Err(error) => {
                    tracing::error!("{}", crate::chain(&error));
                    self.rescan = now + RETRY;
                }
            }
        }
        self.state.expire(now);
    }

    fn take_hint(&mut self, hint: Hint) {
        match hint {
            Hint::Groups(ids) => self.groups.changed(ids, self.asking),
            other => self.state.hint(other),
        }
    }

    /// Puts the rules of ports in force before the ports are wired.
    async fn secure(&mut self) {
        if !self.firewall.is_on() {
            return;
        }
        self.firewall.retain(|device| self.state.is_port(device));
        if self.state.is_complete() {
            self.firewall.complete();
        }
        if self.firewall.is_due() {
            if self.firewall.is_changing() {
                self.fast_path.suspend();
            }
            self.fast_path.renew();
            self.firewall.work(&self.state.unanswered()).await;
        }
        self.firewall.release().await;
    }

    /// Brings the kernel in line with what is known, then asks and tells the server what is due.
    async fn work(&mut self) {
        if !self.waits_for_the_rest() {
            self.put_right().await;
        }
        if Instant::now() >= self.quiet_until {
            self.ask();
            self.ask_groups();
            self.tell();
        }
        self.started |= self.told_once || (self.state.is_complete() && self.state.device_count() == 0);
        if !self.settled && self.is_settled() {
            self.settled = true;
            crate::metrics::settled("linuxbridge", self.began.elapsed());
        }
    }

    /// The first answers of several are in. What the agent before left is in force meanwhile, and half of what is known
    /// would take its place only to be replaced.
    fn waits_for_the_rest(&self) -> bool {
        let now = Instant::now();
        let asks = self.asking || self.state.next_question().is_some_and(|question| question <= now);
        let answered = self.quiet_until <= now && now < self.began + FIRST_ANSWERS;
        !self.reconciler.desired().is_complete() && asks && answered
    }

    /// Brings the kernel in line with what is known.
    async fn put_right(&mut self) {
        for network in self.state.take_given_up() {
            self.claim(network).await;
        }
        self.secure().await;
        let wanted = self.state.wanted(Instant::now(), |device| self.firewall.is_in_force(device));
        set_all(&mut self.reconciler, wanted);
        self.state.take_dirty().into_iter().for_each(|key| self.reconciler.hint(key));
        if self.state.is_complete() && !self.reconciler.desired().is_complete() {
            self.reconciler.complete();
            crate::metrics::synced("linuxbridge", self.began.elapsed());
        }
        if self.next_pass() <= Instant::now() {
            let began = Instant::now();
            match self.reconciler.pass().await {
                Ok(pass) => {
                    crate::metrics::worked("linuxbridge", began.elapsed());
                    self.state.take_pass(&pass);
                }
                Err(error) => {
                    tracing::warn!("cannot read the state of this host: {}", crate::chain(&error));
                    self.no_pass_until = Instant::now() + REREAD;
                }
            }
        }
        self.hasten().await;
        self.forward().await;
    }

    /// Has what passes the firewall, as it now is, pass it faster.
    async fn hasten(&mut self) {
        let objects = self.reconciler.desired().objects();
        self.fast_path.update(objects, &self.firewall.bridges(), &self.bridges).await;
        if self.reconciler.desired().is_complete() {
            self.fast_path.clear_up();
        }
        if self.firewall.is_settled() {
            self.fast_path.settle();
        }
    }

    /// All that there is, is as it shall be, and the server knows.
    fn is_settled(&self) -> bool {
        let told = !self.telling && !self.state.has_news();
        let secured = self.firewall.next_time().is_none();
        let wired = self.reconciler.next_pass() > Instant::now() && self.reconciler.failures().is_empty();
        self.reconciler.desired().is_complete() && secured && wired && told
    }

    /// Brings the entries of VXLAN devices in line with what is known of other hosts. The devices have been made before.
    /// A moment passes between two times, so that a hundred messages cost a handful of readings.
    async fn forward(&mut self) {
        let Some(forwarding) = self.forwarding.as_mut().filter(|_| self.no_forwarding_until <= Instant::now()) else {
            return;
        };
        for (device, entries) in self.state.take_forwardings() {
            match entries {
                Some(entries) => forwarding.set(device, entries),
                None => forwarding.unset(&device),
            }
        }
        if forwarding.next_pass() <= Instant::now() {
            if let Err(error) = forwarding.pass().await {
                tracing::warn!("cannot read forwarding entries of this host: {}", crate::chain(&error));
            }
            self.no_forwarding_until = Instant::now() + REREAD;
        }
    }

    /// Marks the bridge of a network that is given up, if a predecessor made it or our own mark could not be set: from
    /// then on it is ours to remove.
    async fn claim(&mut self, network: NetworkId) {
        let name = device::bridge(network);
        let mark = LinkChange { alias: Some(network.to_string()), ..LinkChange::default() };
        let marked = match self.kernel.link(&name).await {
            Ok(Some(link)) if link.alias.is_none() => self.kernel.link_set(&name, &mark).await,
            other => other.map(drop),
        };
        match marked {
            Ok(()) => self.reconciler.hint_all(),
            Err(error) => {
                tracing::warn!("{}; trying again", crate::chain(&error));
                self.state.give_up_later(network);
            }
        }
    }

    fn next_pass(&self) -> Instant {
        self.reconciler.next_pass().max(self.no_pass_until)
    }

    fn next_time(&self) -> Instant {
        if self.waits_for_the_rest() {
            return self.began + FIRST_ANSWERS;
        }
        let mut next = self.rescan.min(self.next_pass());
        if let Some(forwarding) = &self.forwarding {
            let due = if self.state.has_forwardings() { Instant::now() } else { forwarding.next_pass() };
            next = next.min(due.max(self.no_forwarding_until));
        }
        if let Some(question) = self.state.next_question().filter(|_| !self.asking) {
            next = next.min(question.max(self.quiet_until));
        }
        if self.groups.is_due() && self.firewall.is_on() {
            next = next.min(self.quiet_until);
        }
        let rules = [self.firewall.next_time(), self.firewall.quarantined_until()];
        next = rules.into_iter().flatten().fold(next, Instant::min);
        if self.state.has_news() && !self.telling {
            next = next.min(self.quiet_until);
        }
        self.state.next_time(Instant::now()).map_or(next, |time| next.min(time))
    }
}

/// The next notification that concerns this agent; what cannot be read is noted and skipped.
async fn notification(listener: &mut Listener) -> Hint {
    loop {
        let Some(incoming) = listener.next().await else { return std::future::pending().await };
        let span = crate::received(&incoming);
        match hint(&incoming).instrument(span).await {
            Ok(Some(hint)) => return hint,
            Ok(None) => {}
            Err(failure) => tracing::warn!(method = incoming.method, "ignored a notification: {failure}"),
        }
    }
}

/// Wants these objects and no others.
fn set_all<D: Driver>(reconciler: &mut Reconciler<D>, wanted: BTreeMap<D::Key, D::Wanted>) {
    let unset: Vec<D::Key> =
        reconciler.desired().objects().keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
    unset.iter().for_each(|key| reconciler.unset(key));
    wanted.into_iter().for_each(|(key, wanted)| reconciler.set(key, wanted));
}

#[cfg(test)]
mod tests;
