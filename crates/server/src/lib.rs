//! The API server: HTTP, resources, address management, port binding and scheduling.
//!
//! A request becomes an operation in [`http`], an operation is a function in [`resource`], its statements are in the
//! `db` crate, and what follows a committed change is listed in [`event`]. Needs neither root nor Linux.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod binding;
pub mod config;
mod ctx;
mod error;
pub mod event;
pub mod http;
pub mod ipam;
pub mod l2_population;
pub mod mac;
pub mod metrics;
pub mod notification;
pub mod nova;
pub mod policy;
pub mod provisioning;
pub mod quota;
pub mod resource;
pub mod retry;
pub mod rpc;
pub mod schedule;
pub mod segment;
#[cfg(test)]
mod testing;

pub use ctx::{Ctx, Parts};
pub use error::{Error, Refusal, Result};

/// Everything a server does beside answering requests: it follows committed changes, serves agents, moves networks off
/// dead agents and keeps upstream's allocation tables. `host` is its name on the bus. Runs until it is dropped.
pub async fn background(parts: std::sync::Arc<Parts>, host: &str) {
    // Each is boxed as what may move between threads, so that callers of this need not look into all of it.
    let all: [futures_util::future::BoxFuture<'_, ()>; 4] = [
        Box::pin(event::follow(parts.clone())),
        Box::pin(rpc::serve(parts.clone(), host)),
        Box::pin(schedule::failover::run(parts.clone())),
        Box::pin(segment::sync(parts.clone())),
    ];
    futures_util::future::join_all(all).await;
}
