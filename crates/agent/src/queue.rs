//! The order of work: which network or router is next, and what is to be done for it.
//!
//! * the object whose most urgent update has the lowest priority, and then the oldest, is first;
//! * an object is worked on by one task at a time, and many objects at once;
//! * what waits is folded into one piece of work in the order of arrival;
//! * an object that failed waits out its delay without holding up any other.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    hash::Hash,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

/// Of no urgency: what the agent found for itself, or tries again.
pub const PRIORITY_LOWEST: u8 = u8::MAX;

/// Work that takes in one update after the other.
pub trait Fold: Default {
    /// One thing to do.
    type Update;
    /// Adds what is to be done, or undoes what need not be any more.
    fn fold(&mut self, update: Self::Update);
}

/// What waits.
#[derive(Debug)]
pub struct Queue<K, W> {
    arrivals: u64,
    waiting: HashMap<K, Waiting<W>>,
    /// Priority and arrival of the most urgent update of each object that may start.
    ready: BTreeMap<(u8, u64), K>,
    busy: HashSet<K>,
}

#[derive(Debug)]
struct Waiting<W> {
    rank: (u8, u64),
    not_before: Option<Instant>,
    work: W,
}

impl<K, W> Default for Queue<K, W> {
    fn default() -> Self {
        Self { arrivals: 0, waiting: HashMap::new(), ready: BTreeMap::new(), busy: HashSet::new() }
    }
}

impl<K: Copy + Eq + Hash, W: Fold> Queue<K, W> {
    /// Puts an update to the others of its object.
    pub fn push(&mut self, key: K, priority: u8, update: W::Update) {
        self.add(key, priority, update, None);
    }

    /// Has the object looked at again after a delay, unless something else comes up before.
    pub fn retry(&mut self, key: K, update: W::Update, delay: Duration) {
        self.add(key, PRIORITY_LOWEST, update, Some(Instant::now() + delay));
    }

    fn add(&mut self, key: K, priority: u8, update: W::Update, not_before: Option<Instant>) {
        self.arrivals += 1;
        let rank = (priority, self.arrivals);
        let entry = self.waiting.entry(key).or_insert(Waiting { rank, not_before, work: W::default() });
        self.ready.remove(&entry.rank);
        entry.rank = entry.rank.min(rank);
        // Without a delay means now; of two delays the shorter.
        entry.not_before = entry.not_before.zip(not_before).map(|(one, other)| one.min(other));
        entry.work.fold(update);
        if entry.not_before.is_none() && !self.busy.contains(&key) {
            self.ready.insert(entry.rank, key);
        }
    }

    /// Takes the next object, which is then busy until [`Queue::done`].
    pub fn next(&mut self, now: Instant) -> Option<(K, W)> {
        self.wake(now);
        let (_, key) = self.ready.pop_first()?;
        let waiting = self.waiting.remove(&key)?;
        self.busy.insert(key);
        Some((key, waiting.work))
    }

    /// Has `work` done for the objects that are next, each on a task of its own that ends with the object, as long as
    /// fewer than `most` run. Returns when the next delay ends.
    pub fn start<F>(&mut self, tasks: &mut JoinSet<K>, most: usize, work: impl Fn(K, W) -> F) -> Option<Instant>
    where
        K: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        while tasks.len() < most
            && let Some((key, waiting)) = self.next(Instant::now())
        {
            let worked = work(key, waiting);
            tasks.spawn(async move {
                worked.await;
                key
            });
        }
        self.next_wake()
    }

    /// The object is no longer busy.
    pub fn done(&mut self, key: K) {
        self.busy.remove(&key);
        if let Some(waiting) = self.waiting.get(&key).filter(|waiting| waiting.not_before.is_none()) {
            self.ready.insert(waiting.rank, key);
        }
    }

    /// When the next delay ends.
    pub fn next_wake(&self) -> Option<Instant> {
        let free = self.waiting.iter().filter(|(key, _)| !self.busy.contains(key));
        free.filter_map(|(_, waiting)| waiting.not_before).min()
    }

    /// Nothing waits and nothing is being done.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.busy.is_empty()
    }

    fn wake(&mut self, now: Instant) {
        for (key, waiting) in &mut self.waiting {
            if waiting.not_before.is_some_and(|at| at <= now) {
                waiting.not_before = None;
                if !self.busy.contains(key) {
                    self.ready.insert(waiting.rank, *key);
                }
            }
        }
    }
}
