//! Read, plan, apply: how every agent brings the machine to the wanted state.
//!
//! ```text
//!   messages, events ──hint──▶ ┌────────────┐ ──read───▶ Driver (the kernel, a file, a child process)
//!                              │ Reconciler │            │
//!   wanted state ─────set────▶ │            │ ◀──actual──┘
//!                              │  plan()    │   pure: wanted × actual → what to do
//!   clock ────────timer──────▶ └────────────┘ ──apply, remove──▶ Driver
//! ```
//!
//! The rules this crate keeps, so that no agent has to:
//!
//! * **The machine is the only "actual".** A [`Driver`] reads it before each plan; nothing is remembered between passes
//!   but failures. A restarted agent, or one whose work somebody undid, needs no special case.
//! * **A message is only a hint.** It changes the wanted state or marks a key dirty ([`Reconciler::hint`]); what to do
//!   follows from wanted and actual alone. A lost, doubled or late message costs time, never correctness.
//! * **Nothing is removed before the wanted state is known whole.** [`Desired`] carries that fact, and a plan made from
//!   an incomplete one holds no removals ([`Desired::complete`]).
//! * **Nothing is removed that is not ours.** [`Driver::owns`] answers from the object alone, not from memory.
//! * **One failing object never blocks another.** Each failure is kept with its object, shown
//!   ([`Reconciler::failures`]), and tried again after a growing delay, or at once when a hint says something changed.
//! * **Order is in the keys.** Keys sort by dependency: what others stand on comes first. Objects are made in
//!   ascending and removed in descending order.
//!
//! Each driver's tests call [`testing::settles`]: apply, read again, the plan must be empty.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod plan;
mod reconciler;
pub mod testing;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    future::Future,
};

pub use plan::{Desired, Plan, plan};
pub use reconciler::{Failure, Pass, Reconciler, Settings};

/// One kind of object, or a family of kinds, that can be read, made and removed.
pub trait Driver {
    /// Names an object. Sorts by dependency.
    type Key: Ord + Clone + Debug + Send + Sync;
    /// What an object shall be.
    type Wanted: Clone + PartialEq + Debug + Send + Sync;
    /// What an object is.
    type Actual: Debug + Send + Sync;
    /// Why an object could not be read, made or removed.
    type Error: std::error::Error;

    /// All objects that stand now, at least those that are ours and those under a wanted key.
    fn read(&self) -> impl Future<Output = Result<BTreeMap<Self::Key, Self::Actual>, Self::Error>> + Send;

    /// The same for these keys only, where that is cheaper. Other objects may be in the answer or not.
    fn read_some(
        &self,
        keys: &BTreeSet<Self::Key>,
    ) -> impl Future<Output = Result<BTreeMap<Self::Key, Self::Actual>, Self::Error>> + Send {
        let _ = keys;
        self.read()
    }

    /// Whether nothing is left to do. Pure. What the wanted state does not speak of must not matter here, or an object
    /// that somebody adorned would be changed for ever.
    fn in_sync(&self, wanted: &Self::Wanted, actual: &Self::Actual) -> bool;

    /// Whether the object is ours to remove, told from the object alone: a restarted agent remembers nothing.
    fn owns(&self, key: &Self::Key, actual: &Self::Actual) -> bool;

    /// Makes the object (`actual` is none) or changes it, with as little disturbance as it can. It may find things
    /// changed since the read, and may be called again after it failed half-way.
    fn apply(
        &self,
        key: &Self::Key,
        wanted: &Self::Wanted,
        actual: Option<&Self::Actual>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Removes the object. That it is gone already is success.
    fn remove(&self, key: &Self::Key, actual: &Self::Actual) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
