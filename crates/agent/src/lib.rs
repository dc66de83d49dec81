//! The agents: linuxbridge and dhcp, each read, plan, apply

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod dhcp;
pub mod report;
