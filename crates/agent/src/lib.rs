//! The agents. Each reads what is, plans the difference to what is wanted, and applies it (see the `reconcile` crate).
//!
//! All have the same files: `config` (what the operator sets), `desired` (what the server says, turned into wanted
//! objects without touching anything), a driver for each kind of object, and `agent` (the loop). What they share stands
//! here.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod config;
pub mod dhcp;
mod interface;
pub mod l3;
pub mod linuxbridge;
pub mod metadata;
pub mod metrics;
pub mod queue;
pub mod report;

/// An error and all its causes, in one line, for a log.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The span of a message that was received, so that what follows from it is logged under the request's id.
pub(crate) fn received(incoming: &oslo::messaging::Incoming) -> tracing::Span {
    let span = oslo::log::request_span(&incoming.ctx);
    tracing::debug!(parent: &span, topic = incoming.topic, "received {}", incoming.method);
    span
}
