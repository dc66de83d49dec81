//! The L3 agent on a kernel: namespaces, packets, and the programs it runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs, unreachable_pub)]

mod adoption;
mod ha;
mod lab;
mod metadata;
mod routing;
mod scale;
mod server;
mod untracked;
mod v6;
