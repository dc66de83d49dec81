//! The L3 agent on a kernel: namespaces, packets, and the programs it runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod adoption;
mod lab;
mod metadata;
mod routing;
mod server;
mod v6;
