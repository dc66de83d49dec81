//! The pure middle: wanted state and actual state in, what to do out.

use std::collections::BTreeMap;

use crate::Driver;

/// The wanted objects, and whether they are all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired<K, W> {
    objects: BTreeMap<K, W>,
    complete: bool,
}

/// What brings the actual state to the wanted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<K> {
    /// Wanted and missing, in order.
    pub create: Vec<K>,
    /// Wanted and different, in order.
    pub update: Vec<K>,
    /// Ours and not wanted, in reverse order. Empty while the wanted state is incomplete.
    pub remove: Vec<K>,
    /// As wanted.
    pub unchanged: Vec<K>,
}

// ===== impl Desired =====

impl<K: Ord, W: PartialEq> Desired<K, W> {
    /// Nothing is wanted yet, and nothing may be removed.
    pub fn new() -> Self {
        Self { objects: BTreeMap::new(), complete: false }
    }

    /// Wants an object; true if that is news.
    pub fn set(&mut self, key: K, wanted: W) -> bool {
        if self.objects.get(&key) == Some(&wanted) {
            return false;
        }
        self.objects.insert(key, wanted);
        true
    }

    /// No longer wants an object; true if that is news.
    pub fn unset(&mut self, key: &K) -> bool {
        self.objects.remove(key).is_some()
    }

    /// From now on what is not wanted may be removed: the first full answer of the server is in.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Whether what is not wanted may be removed.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The wanted objects.
    pub fn objects(&self) -> &BTreeMap<K, W> {
        &self.objects
    }
}

impl<K: Ord, W: PartialEq> Default for Desired<K, W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord, W: PartialEq> FromIterator<(K, W)> for Desired<K, W> {
    /// A complete wanted state.
    fn from_iter<I: IntoIterator<Item = (K, W)>>(objects: I) -> Self {
        Self { objects: objects.into_iter().collect(), complete: true }
    }
}

// ===== impl Plan =====

impl<K> Plan<K> {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.remove.is_empty()
    }

    /// Only what concerns the keys that `wanted` keeps.
    pub fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        for keys in [&mut self.create, &mut self.update, &mut self.remove, &mut self.unchanged] {
            keys.retain(|key| keep(key));
        }
    }
}

/// Compares. The driver is asked only its two pure questions.
pub fn plan<D: Driver>(
    driver: &D,
    desired: &Desired<D::Key, D::Wanted>,
    actual: &BTreeMap<D::Key, D::Actual>,
) -> Plan<D::Key> {
    let mut plan = Plan { create: Vec::new(), update: Vec::new(), remove: Vec::new(), unchanged: Vec::new() };
    for (key, wanted) in &desired.objects {
        let list = match actual.get(key) {
            None => &mut plan.create,
            Some(actual) if driver.in_sync(wanted, actual) => &mut plan.unchanged,
            Some(_) => &mut plan.update,
        };
        list.push(key.clone());
    }
    if desired.complete {
        let surplus = actual.iter().rev().filter(|(key, actual)| {
            let wanted = desired.objects.contains_key(key);
            !wanted && driver.owns(key, actual)
        });
        plan.remove.extend(surplus.map(|(key, _)| key.clone()));
    }
    plan
}
