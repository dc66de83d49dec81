//! The API server: HTTP, resources, address management, port binding and scheduling.
//!
//! A request becomes an operation in [`http`], an operation is a function in [`resource`], its statements are in the
//! `db` crate, and what follows a committed change is listed in [`event`]. Needs neither root nor Linux.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod config;
mod ctx;
mod error;
pub mod event;
pub mod http;
pub mod ipam;
pub mod mac;
pub mod quota;
pub mod resource;
pub mod retry;
pub mod rpc;
pub mod schedule;
pub mod segment;

pub use ctx::{Ctx, Parts};
pub use error::{Error, Refusal, Result};
