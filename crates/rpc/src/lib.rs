//! Every interface between server and agents, one file each, both sides.
//!
//! A file names its methods once, with the version that brought each; from that list come the constants, the client,
//! the callee's trait and the dispatch (see [`interface`]). Payloads are typed; keys that a payload does not name are
//! ignored when read, so that newer peers may add some. `methods.txt` holds the list of all methods, compared by a
//! test: an interface cannot change without that file showing it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[macro_use]
pub mod interface;

pub mod dhcp;
pub mod dhcp_agent;
pub mod l2;
pub mod l2_agent;
pub mod l2_population;
pub mod l3;
pub mod l3_agent;
pub mod metadata;
pub mod metrics;
pub mod payload;
pub mod reports;
pub mod resource;
pub mod security_group;

pub use interface::{Interface, Kind, Method, select};

/// Every interface.
pub static INTERFACES: &[&Interface] = &[
    &reports::INTERFACE,
    &l2::INTERFACE,
    &security_group::INTERFACE,
    &dhcp::INTERFACE,
    &metadata::INTERFACE,
    &resource::INTERFACE,
    &dhcp_agent::INTERFACE,
    &l2_agent::INTERFACE,
    &l2_population::INTERFACE,
    &l3::INTERFACE,
    &l3_agent::INTERFACE,
];

#[cfg(test)]
mod tests;
