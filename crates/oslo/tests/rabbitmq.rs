//! The transport against a real broker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

extern crate isospin_oslo as oslo;

#[path = "rabbitmq/calls.rs"]
mod calls;
#[path = "rabbitmq/lab.rs"]
mod lab;
