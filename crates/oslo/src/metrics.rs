//! Numbers that a program keeps of itself, in Prometheus' text format.
//!
//! A number is a static of the module that knows it: a [`Counter`], a [`Gauge`], a [`Histogram`], or a [`Family`] of them
//! with labels. To count takes a few atomic operations and never a lock or an allocation, but for the first of its
//! labels. [`Page`] writes them out, [`Endpoint`] shows the page to whoever asks on an address that the operator chose.

mod endpoint;
mod process;

use std::fmt::{self, Display, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use endpoint::Endpoint;

/// Upper bounds in seconds: from a quick answer to one that nobody waits for.
pub const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Where a [`Family`] begins to look for a label; more labels than this make it slower, not wrong.
const SLOTS: usize = 64;

/// How often something happened.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// How much there is of something now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// How long something took, in seconds.
#[derive(Debug, Default)]
pub struct Histogram {
    /// By the bound that a value is within; the last is for those beyond all.
    buckets: [AtomicU64; SECONDS.len() + 1],
    micros: AtomicU64,
}

/// A number for each combination of labels.
#[derive(Debug)]
pub struct Family<L, M> {
    slots: [OnceLock<Box<Node<L, M>>>; SLOTS],
}

#[derive(Debug)]
struct Node<L, M> {
    labels: L,
    metric: M,
    next: OnceLock<Box<Node<L, M>>>,
}

/// Counts what is going on until it is dropped.
#[derive(Debug)]
pub struct InFlight(&'static Gauge);

impl Counter {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Once more.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// How often until now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// None yet.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// So many more, or fewer.
    pub fn add(&self, number: i64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// So many.
    pub fn set(&self, number: i64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// How many now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more until the guard is dropped.
    pub fn enter(&'static self) -> InFlight {
        self.add(1);
        InFlight(self)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Histogram {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; SECONDS.len() + 1], micros: AtomicU64::new(0) }
    }

    /// It took so long once.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// It began then and ends now.
    pub fn observe_since(&self, began: Instant) {
        self.observe(began.elapsed());
    }

    /// How often until now.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl<L, M> Family<L, M> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { slots: [const { OnceLock::new() }; SLOTS] }
    }

    /// Everything counted so far.
    pub fn each(&self) -> impl Iterator<Item = (&L, &M)> {
        let chains = self.slots.iter().map(|slot| slot.get());
        let nodes = chains.flat_map(|first| std::iter::successors(first, |node| node.next.get()));
        nodes.map(|node| (&node.labels, &node.metric))
    }
}

impl<L, M> Default for Family<L, M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Eq + Hash + Clone, M: Default> Family<L, M> {
    /// The number with these labels.
    pub fn of(&self, labels: &L) -> &M {
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        let mut place = &self.slots[hasher.finish() as usize % SLOTS];
        loop {
            let fresh = || Box::new(Node { labels: labels.clone(), metric: M::default(), next: OnceLock::new() });
            let node = place.get_or_init(fresh);
            if node.labels == *labels {
                return &node.metric;
            }
            place = &node.next;
        }
    }
}

/// The text that Prometheus reads.
#[derive(Debug, Default)]
pub struct Page(String);

/// A number as a page shows it.
pub trait Metric {
    /// The kind, in Prometheus' words.
    const KIND: &'static str;

    /// Writes its lines.
    fn write(&self, page: &mut Page, name: &str, labels: &str);
}

/// Labels as a page shows them.
pub trait Labels {
    /// Each label with its value.
    fn each(&self, put: &mut dyn FnMut(&str, &dyn Display));
}

impl Page {
    /// A page with what every process tells of itself, under the names that Prometheus' own clients use.
    pub fn of_this_process() -> Self {
        let mut page = Self::default();
        process::write(&mut page);
        page
    }

    /// One number without labels.
    pub fn metric<M: Metric>(&mut self, name: &str, help: &str, metric: &M) {
        self.head(name, M::KIND, help);
        metric.write(self, name, "");
    }

    /// All of a family; nothing when there is none.
    pub fn family<L: Labels, M: Metric>(&mut self, name: &str, help: &str, family: &Family<L, M>) {
        let mut all = family.each().map(|(labels, metric)| (text_of(labels), metric)).collect::<Vec<_>>();
        if all.is_empty() {
            return;
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.head(name, M::KIND, help);
        for (labels, metric) in all {
            metric.write(self, name, &labels);
        }
    }

    /// Numbers that are looked up when they are asked for.
    pub fn gauges<L: Labels>(&mut self, name: &str, help: &str, all: impl IntoIterator<Item = (L, f64)>) {
        self.values(name, "gauge", help, all);
    }

    /// Numbers that only grow, likewise.
    pub fn counters<L: Labels>(&mut self, name: &str, help: &str, all: impl IntoIterator<Item = (L, f64)>) {
        self.values(name, "counter", help, all);
    }

    fn values<L: Labels>(&mut self, name: &str, kind: &str, help: &str, all: impl IntoIterator<Item = (L, f64)>) {
        self.head(name, kind, help);
        for (labels, value) in all {
            self.line(name, &text_of(&labels), value);
        }
    }

    /// One number that is looked up when it is asked for.
    pub fn value(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }
}

impl Metric for Counter {
    const KIND: &'static str = "counter";

    fn write(&self, page: &mut Page, name: &str, labels: &str) {
        page.line(name, labels, self.get());
    }
}

impl Metric for Gauge {
    const KIND: &'static str = "gauge";

    fn write(&self, page: &mut Page, name: &str, labels: &str) {
        page.line(name, labels, self.get());
    }
}

impl Metric for Histogram {
    const KIND: &'static str = "histogram";

    fn write(&self, page: &mut Page, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut sum = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            sum += bucket.load(Ordering::Relaxed);
            let bound = SECONDS.get(index).map_or("+Inf".to_owned(), f64::to_string);
            page.line(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"{bound}\""), sum);
        }
        let seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        page.line(&format!("{name}_sum"), labels, seconds);
        page.line(&format!("{name}_count"), labels, sum);
    }
}

/// Names and values, for families that need no type of their own.
impl<const N: usize> Labels for [(&'static str, &'static str); N] {
    fn each(&self, put: &mut dyn FnMut(&str, &dyn Display)) {
        self.iter().for_each(|(name, value)| put(name, value));
    }
}

/// The same with values that are not known before.
impl Labels for Vec<(&'static str, String)> {
    fn each(&self, put: &mut dyn FnMut(&str, &dyn Display)) {
        self.iter().for_each(|(name, value)| put(name, value));
    }
}

fn text_of(labels: &impl Labels) -> String {
    let mut text = String::new();
    labels.each(&mut |name, value| {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"");
        let _ = write!(Escaped(&mut text), "{value}");
        text.push('"');
    });
    text
}

/// Writes a label's value with what would end it escaped.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
