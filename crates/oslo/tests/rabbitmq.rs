//! The transport against a real broker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
// Measurements are for who runs a test by name.
#![allow(clippy::print_stderr)]

extern crate isospin_oslo as oslo;

#[path = "rabbitmq/calls.rs"]
mod calls;
#[path = "rabbitmq/cluster.rs"]
mod cluster;
#[path = "rabbitmq/faults.rs"]
mod faults;
#[path = "rabbitmq/lab.rs"]
mod lab;
#[path = "rabbitmq/nodes.rs"]
mod nodes;
#[path = "rabbitmq/peer.rs"]
mod peer;
#[path = "rabbitmq/python.rs"]
mod python;
