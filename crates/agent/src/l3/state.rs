//! What the agent remembers: what the server said last of each router, what it is to be asked, and what waits to be done.
//!
//! Nothing here is asked of the kernel or told to it. Forgetting all of it, as a restart does, costs one question to the
//! server and no packet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use kernel::process::Respawn;
use rpc::l3::Router;
use types::{FloatingIpId, NetworkId, RouterId};

use super::ha::watch::Watch;
use crate::queue::{Fold, PRIORITY_LOWEST, Queue};

/// Priorities: somebody waits for what was just told; what is found at the start was there before.
const TOLD: u8 = 1;
const FOUND: u8 = 2;

/// One thing to do for a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Update {
    /// Compare with the kernel and put right what differs.
    Check,
    /// Serve it, as the server said last.
    Serve,
    /// Serve it no longer.
    Remove,
}

/// Everything to do for a router, folded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Serve it no longer.
    pub(super) remove: bool,
}

impl Fold for Work {
    type Update = Update;

    fn fold(&mut self, update: Update) {
        match update {
            Update::Check => {}
            Update::Serve => self.remove = false,
            Update::Remove => self.remove = true,
        }
    }
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queue: Queue<RouterId, Work>,
    routers: HashMap<RouterId, Served>,
    /// The server is to be asked what they are now.
    dirty: BTreeSet<RouterId>,
    /// What came up while the server was being asked: its answer may be older.
    touched: HashSet<RouterId>,
    /// How often in a row a router that is served no longer could not be taken away.
    leaving: HashMap<RouterId, u32>,
}

/// A router that is, or shall be, served.
#[derive(Debug)]
struct Served {
    router: Arc<Router>,
    /// What the server thinks of its floating IPs.
    statuses: BTreeMap<FloatingIpId, String>,
    /// How often in a row it could not be set up.
    failures: u32,
    /// How often in a row its metadata could not be served.
    metadata_failures: u32,
    /// Its programs by their names.
    programs: BTreeMap<&'static str, Program>,
    /// The tap ends of its devices, and the bridges that they were last seen in.
    taps: BTreeMap<String, Option<u32>>,
    /// Of an HA router: whether this host serves, as far as that is known, and who sees to that it is.
    serves: Option<bool>,
    watch: Option<Watch>,
}

/// A program of a router.
#[derive(Debug, Default)]
struct Program {
    respawn: Respawn,
    /// The process whose end will be noticed, and since when.
    watched: Option<(i32, Instant)>,
}

impl State {
    /// These routers may have changed.
    pub(super) fn hint(&mut self, routers: impl IntoIterator<Item = RouterId>) {
        for router in routers {
            self.dirty.insert(router);
            self.touched.insert(router);
        }
    }

    /// The routers with a port on that network may have changed.
    pub(super) fn hint_network(&mut self, network: NetworkId) {
        let on_network =
            |router: &Router| router.interfaces.iter().chain(&router.gw_port).any(|port| port.network_id == network);
        let routers: Vec<RouterId> =
            self.routers.iter().filter(|(_, served)| on_network(&served.router)).map(|(id, _)| *id).collect();
        self.hint(routers);
    }

    /// A router is ours no longer.
    pub(super) fn remove(&mut self, router: RouterId) {
        self.dirty.remove(&router);
        self.touched.insert(router);
        self.queue.push(router, TOLD, Update::Remove);
    }

    /// The routers to ask for next, at most so many; from now on what comes up is noted.
    pub(super) fn begin_fetch(&mut self, most: usize) -> Vec<RouterId> {
        self.touched.clear();
        let mut next = Vec::new();
        while next.len() < most
            && let Some(router) = self.dirty.pop_first()
        {
            next.push(router);
        }
        next
    }

    /// The server did not answer; these are asked for again, but for those that went meanwhile.
    pub(super) fn fetch_failed(&mut self, asked: Vec<RouterId>) {
        let again = asked.into_iter().filter(|router| !self.touched.contains(router));
        self.dirty.extend(again);
    }

    /// Takes what the server says of the routers asked for: those that are missing are not ours.
    pub(super) fn fetched(&mut self, asked: &[RouterId], routers: Vec<Router>) {
        let answered: HashSet<RouterId> = routers.iter().map(|router| router.id).collect();
        for router in routers {
            self.set(router, TOLD);
        }
        for router in asked.iter().filter(|router| !answered.contains(router) && !self.touched.contains(router)) {
            self.queue.push(*router, TOLD, Update::Remove);
        }
    }

    /// Starts to ask for everything.
    pub(super) fn begin_sync(&mut self) {
        self.touched.clear();
        self.dirty.clear();
    }

    /// Takes some of everything.
    pub(super) fn synced_some(&mut self, routers: Vec<Router>) {
        routers.into_iter().for_each(|router| self.set(router, FOUND));
    }

    /// Everything was told: what else is here, remembered or in `present`, goes.
    pub(super) fn finish_sync(&mut self, ours: &HashSet<RouterId>, present: impl IntoIterator<Item = RouterId>) {
        let known: HashSet<RouterId> = self.routers.keys().copied().chain(present).collect();
        for router in known {
            if !ours.contains(&router) && !self.touched.contains(&router) {
                self.queue.push(router, FOUND, Update::Remove);
            }
        }
    }

    fn set(&mut self, router: Router, priority: u8) {
        let id = router.id;
        // Whatever came up will be asked for again, or was that it is ours no longer.
        if self.touched.contains(&id) {
            return;
        }
        self.leaving.remove(&id);
        let router = Arc::new(router);
        let statuses = router.floating_ips.iter().map(|ip| (ip.id, ip.status.clone()));
        match self.routers.get_mut(&id) {
            Some(served) => {
                // Those that are not told of any more are still the server's to be told of.
                served.statuses.extend(statuses);
                served.router = router;
            }
            None => {
                let served = Served::new(Arc::clone(&router), statuses.collect());
                self.routers.insert(id, served);
            }
        }
        self.queue.push(id, priority, Update::Serve);
    }

    /// What the server said last of a router that is served.
    pub(super) fn router(&self, router: RouterId) -> Option<Arc<Router>> {
        self.routers.get(&router).map(|served| Arc::clone(&served.router))
    }

    /// The routers that are served.
    pub(super) fn routers(&self) -> Vec<RouterId> {
        self.routers.keys().copied().collect()
    }

    /// No longer serves a router. Returns whether it was served.
    pub(super) fn forget(&mut self, router: RouterId) -> bool {
        self.routers.remove(&router).is_some()
    }

    /// A router has devices with these tap ends.
    pub(super) fn set_taps(&mut self, router: RouterId, taps: Vec<String>) {
        if let Some(served) = self.routers.get_mut(&router) {
            let before = std::mem::take(&mut served.taps);
            let bridge = |tap: &String| before.get(tap).copied().flatten();
            served.taps = taps.into_iter().map(|tap| (tap.clone(), bridge(&tap))).collect();
        }
    }

    /// A router's floating IPs became these. Returns the statuses that the server does not know yet.
    pub(super) fn set_statuses(
        &mut self,
        router: RouterId,
        statuses: BTreeMap<FloatingIpId, &'static str>,
    ) -> BTreeMap<FloatingIpId, String> {
        let Some(served) = self.routers.get_mut(&router) else { return BTreeMap::new() };
        let gone = served.statuses.keys().filter(|id| !statuses.contains_key(id));
        let mut news: BTreeMap<FloatingIpId, String> =
            gone.map(|id| (*id, rpc::l3::floating_ip_status::DOWN.to_owned())).collect();
        let changed =
            statuses.iter().filter(|(id, status)| served.statuses.get(id).map(String::as_str) != Some(status));
        news.extend(changed.map(|(id, status)| (*id, (*status).to_owned())));
        served.statuses = statuses.into_iter().map(|(id, status)| (id, status.to_owned())).collect();
        news
    }

    /// Notes whether a router could be set up whole, or taken away. How often in a row it could not.
    pub(super) fn failures(&mut self, router: RouterId, failed: bool) -> u32 {
        let count = match self.routers.get_mut(&router) {
            Some(served) => &mut served.failures,
            None if failed => self.leaving.entry(router).or_default(),
            None => {
                self.leaving.remove(&router);
                return 0;
            }
        };
        *count = if failed { count.saturating_add(1) } else { 0 };
        *count
    }

    /// Notes whether a router's metadata could be served. How often in a row it could not.
    pub(super) fn metadata_failures(&mut self, router: RouterId, failed: bool) -> u32 {
        let Some(served) = self.routers.get_mut(&router) else { return 0 };
        served.metadata_failures = if failed { served.metadata_failures.saturating_add(1) } else { 0 };
        served.metadata_failures
    }

    /// The router that has this tap end.
    pub(super) fn router_of_tap(&self, tap: &str) -> Option<RouterId> {
        let mut routers = self.routers.iter();
        routers.find(|(_, served)| served.taps.contains_key(tap)).map(|(router, _)| *router)
    }

    /// A tap end is in this bridge now, or in none. The router that has it, if it has just come into one.
    pub(super) fn wired(&mut self, tap: &str, bridge: Option<u32>) -> Option<RouterId> {
        let mut taps =
            self.routers.iter_mut().filter_map(|(router, served)| Some((*router, served.taps.get_mut(tap)?)));
        let (router, before) = taps.next()?;
        let is_new = bridge.is_some() && *before != bridge;
        *before = bridge;
        is_new.then_some(router)
    }

    /// Whether the end of this process is not yet waited for; from now on it is.
    pub(super) fn watch_program(&mut self, router: RouterId, program: &'static str, pid: i32) -> bool {
        let Some(served) = self.routers.get_mut(&router) else { return false };
        let program = served.programs.entry(program).or_default();
        if program.watched.is_some_and(|(watched, _)| watched == pid) {
            return false;
        }
        program.watched = Some((pid, Instant::now()));
        true
    }

    /// A process ended. If it was the one that works, it is looked after: at once, or later if it keeps dying.
    pub(super) fn program_died(&mut self, router: RouterId, program: &'static str, pid: i32) {
        let Some(served) = self.routers.get_mut(&router) else { return };
        let program = served.programs.entry(program).or_default();
        let Some((_, since)) = program.watched.filter(|(watched, _)| *watched == pid) else { return };
        program.watched = None;
        let delay = program.respawn.delay(since.elapsed());
        self.queue.retry(router, Update::Check, delay);
    }

    /// Whether this host serves an HA router, as far as is known.
    pub(super) fn serves(&self, router: RouterId) -> Option<bool> {
        self.routers.get(&router)?.serves
    }

    /// Notes whether this host serves an HA router; true if that is news.
    pub(super) fn set_serves(&mut self, router: RouterId, serves: bool) -> bool {
        let Some(served) = self.routers.get_mut(&router) else { return false };
        let news = served.serves != Some(serves);
        served.serves = Some(serves);
        if news {
            self.queue.push(router, TOLD, Update::Check);
        }
        news
    }

    /// Who sees to it that [`Self::serves`] is known, and in which namespace.
    pub(super) fn watch(&mut self, router: RouterId) -> Option<&mut Option<Watch>> {
        self.routers.get_mut(&router).map(|served| &mut served.watch)
    }

    /// Looks at every router once more.
    pub(super) fn check_all(&mut self) {
        for router in self.routers() {
            self.queue.push(router, PRIORITY_LOWEST, Update::Check);
        }
    }

    /// Routers, those with a gateway, interfaces and floating IPs that are served.
    pub(super) fn counts(&self) -> [usize; 4] {
        let routers = || self.routers.values().map(|served| &served.router);
        [
            routers().count(),
            routers().filter(|router| router.gw_port.is_some()).count(),
            routers().map(|router| router.interfaces.len()).sum(),
            routers().map(|router| router.floating_ips.len()).sum(),
        ]
    }
}

impl Served {
    fn new(router: Arc<Router>, statuses: BTreeMap<FloatingIpId, String>) -> Self {
        Self {
            router,
            statuses,
            failures: 0,
            metadata_failures: 0,
            programs: BTreeMap::new(),
            taps: BTreeMap::new(),
            serves: None,
            watch: None,
        }
    }
}

#[cfg(test)]
mod tests;
