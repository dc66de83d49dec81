//! Contracts made elsewhere: oslo.config files, request context, messaging and its in-process transport

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod config;
pub mod context;
pub mod http;
pub mod keystone;
pub mod log;
pub mod memcached;
pub mod messaging;
pub mod metrics;
pub mod policy;
