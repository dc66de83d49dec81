//! The loop's state: what is wanted, what is dirty, what failed and when to try again.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    time::Duration,
};

use tokio::time::Instant;

use crate::{Desired, Driver, plan};

/// How often and how patiently.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Time between full passes when nobody hints at anything.
    pub resync: Duration,
    /// Delay after an object's first failure; doubled by each further one.
    pub first_retry: Duration,
    /// The longest delay.
    pub last_retry: Duration,
}

/// Keeps one driver's objects as they are wanted.
///
/// It does nothing by itself: its owner calls [`pass`](Self::pass) after hints, and at [`next_pass`](Self::next_pass).
pub struct Reconciler<D: Driver> {
    driver: D,
    settings: Settings,
    desired: Desired<D::Key, D::Wanted>,
    dirty: BTreeSet<D::Key>,
    failures: BTreeMap<D::Key, Failure>,
    full_pass: Option<Instant>,
}

/// What is known of an object that could not be brought to its wanted state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why, with all causes.
    pub reason: String,
    /// How often in a row.
    pub attempts: u32,
    /// When it is tried again.
    pub retry: Instant,
}

/// What one pass did. Objects that the pass did not look at are in none of the lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass<K> {
    /// Made.
    pub created: Vec<K>,
    /// Changed.
    pub updated: Vec<K>,
    /// Removed.
    pub removed: Vec<K>,
    /// Found as wanted.
    pub unchanged: Vec<K>,
    /// Failed, and why.
    pub failed: Vec<(K, String)>,
}

// ===== impl Settings =====

impl Default for Settings {
    fn default() -> Self {
        Self {
            resync: Duration::from_secs(30),
            first_retry: Duration::from_millis(200),
            last_retry: Duration::from_secs(30),
        }
    }
}

// ===== impl Reconciler =====

impl<D: Driver> Reconciler<D> {
    /// Wants nothing and may remove nothing.
    pub fn new(driver: D, settings: Settings) -> Self {
        Self {
            driver,
            settings,
            desired: Desired::new(),
            dirty: BTreeSet::new(),
            failures: BTreeMap::new(),
            full_pass: None,
        }
    }

    /// The driver.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// Ends the reconciler.
    pub fn into_driver(self) -> D {
        self.driver
    }

    /// What is wanted.
    pub fn desired(&self) -> &Desired<D::Key, D::Wanted> {
        &self.desired
    }

    /// Wants an object.
    pub fn set(&mut self, key: D::Key, wanted: D::Wanted) {
        if self.desired.set(key.clone(), wanted) {
            self.hint(key);
        }
    }

    /// No longer wants an object.
    pub fn unset(&mut self, key: &D::Key) {
        if self.desired.unset(key) {
            self.hint(key.clone());
        }
    }

    /// Opens the gate for removals; the next pass looks at everything.
    pub fn complete(&mut self) {
        self.desired.complete();
        self.hint_all();
    }

    /// The object may have changed. An object that failed is tried again without waiting.
    pub fn hint(&mut self, key: D::Key) {
        self.dirty.insert(key);
    }

    /// Anything may have changed. Objects that failed keep waiting for their time.
    pub fn hint_all(&mut self) {
        self.full_pass = None;
    }

    /// When to call [`pass`](Self::pass) at the latest.
    pub fn next_pass(&self) -> Instant {
        if !self.dirty.is_empty() {
            return Instant::now();
        }
        let retry = self.failures.values().map(|failure| failure.retry).min();
        let full = self.full_pass.unwrap_or_else(Instant::now);
        retry.map_or(full, |retry| retry.min(full))
    }

    /// Objects that could not be brought to their wanted state.
    pub fn failures(&self) -> &BTreeMap<D::Key, Failure> {
        &self.failures
    }

    /// Reads, plans and applies what is due: everything if a full pass is, else the dirty keys and those to try again.
    /// Fails only when the read does; then all that was dirty stays so, and the owner decides when to come again.
    pub async fn pass(&mut self) -> Result<Pass<D::Key>, D::Error> {
        let started = Instant::now();
        let full = self.full_pass.is_none_or(|due| due <= started);
        let due = self.due(started);
        let actual = if full { self.driver.read().await? } else { self.driver.read_some(&due).await? };
        let mut plan = plan(&self.driver, &self.desired, &actual);
        plan.retain(|key| due.contains(key) || (full && !self.failures.contains_key(key)));
        let mut pass = Pass::new(plan.unchanged);

        for key in plan.remove {
            let Some(actual) = actual.get(&key) else { continue };
            match self.driver.remove(&key, actual).await {
                Ok(()) => pass.removed.push(key),
                Err(error) => pass.failed.push((key, chain(&error))),
            }
        }
        let mut make = Vec::from_iter(plan.create.into_iter().chain(plan.update));
        make.sort();
        for key in make {
            let Some(wanted) = self.desired.objects().get(&key) else { continue };
            let actual = actual.get(&key);
            match self.driver.apply(&key, wanted, actual).await {
                Ok(()) if actual.is_none() => pass.created.push(key),
                Ok(()) => pass.updated.push(key),
                Err(error) => pass.failed.push((key, chain(&error))),
            }
        }
        self.note(&pass, full, started);
        Ok(pass)
    }

    /// The keys that this pass must look at even if it is not a full one.
    fn due(&self, now: Instant) -> BTreeSet<D::Key> {
        let retries = self.failures.iter().filter(|(_, failure)| failure.retry <= now).map(|(key, _)| key);
        self.dirty.iter().chain(retries).cloned().collect()
    }

    /// Forgets the failures that are over and sets the time of the others.
    fn note(&mut self, pass: &Pass<D::Key>, full: bool, started: Instant) {
        if full {
            self.full_pass = Some(started + self.settings.resync);
        }
        let failed: BTreeMap<_, _> = pass.failed.iter().map(|(key, reason)| (key, reason)).collect();
        let (dirty, done) = (std::mem::take(&mut self.dirty), Instant::now());
        // What was due and did not fail now is as wanted, or neither wanted nor there.
        self.failures
            .retain(|key, failure| failed.contains_key(key) || !(dirty.contains(key) || failure.retry <= started));
        for (key, reason) in failed {
            let attempts = self.failures.get(key).map_or(1, |failure| failure.attempts.saturating_add(1));
            let doublings = (attempts - 1).min(16);
            let delay = (self.settings.first_retry * (1 << doublings)).min(self.settings.last_retry);
            if attempts == 1 {
                tracing::warn!(object = ?key, "{reason}; trying again until it succeeds");
            }
            let failure = Failure { reason: reason.clone(), attempts, retry: done + delay };
            self.failures.insert(key.clone(), failure);
        }
    }
}

// ===== impl Pass =====

impl<K> Pass<K> {
    fn new(unchanged: Vec<K>) -> Self {
        Self { created: Vec::new(), updated: Vec::new(), removed: Vec::new(), unchanged, failed: Vec::new() }
    }

    /// Nothing was done or tried.
    pub fn is_idle(&self) -> bool {
        self.created.is_empty() && self.updated.is_empty() && self.removed.is_empty() && self.failed.is_empty()
    }

    /// The objects that stand as wanted after the pass.
    pub fn in_sync(&self) -> impl Iterator<Item = &K> {
        self.created.iter().chain(&self.updated).chain(&self.unchanged)
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
