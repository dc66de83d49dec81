//! Real parts for tests: servers, databases and namespaces that are started, used and removed.
//!
//! Modules that need our own crates belong behind the feature `programs`, which is on unless left out.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
// Tests block their threads on purpose; what is asynchronous in them runs elsewhere.
#![allow(clippy::disallowed_methods)]

pub mod certificates;
#[cfg(feature = "programs")]
pub mod clients;
#[cfg(feature = "programs")]
pub mod cloud;
#[cfg(feature = "programs")]
pub mod deployment;
pub mod dice;
pub mod galera;
#[cfg(feature = "programs")]
pub mod host;
#[cfg(feature = "programs")]
pub mod http;
pub mod instance;
pub mod keystone;
pub mod mariadb;
pub mod memcached;
pub mod mysql_faults;
pub mod nova;
pub mod nova_metadata;
pub mod postgres;
#[cfg(feature = "programs")]
pub mod process;
pub mod proxy;
pub mod rabbitmq;
#[cfg(feature = "programs")]
pub mod standalone;
#[cfg(feature = "programs")]
pub mod virtual_machine;
pub mod wait;
