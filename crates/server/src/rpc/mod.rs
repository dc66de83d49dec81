//! The server's side of the interfaces with the agents.
//!
//! [`serve`] takes requests from the bus and hands each to its endpoint: [`reports`], [`l2`],
//! [`dhcp`], [`metadata`]. What agents are told is in [`dhcp_agent`] and [`l2_agent`], whose functions are called from
//! the one `match` of [`crate::event`].

pub mod dhcp;
pub mod dhcp_agent;
mod failure;
pub mod l2;
pub mod l2_agent;
pub mod metadata;
pub mod reports;
pub mod serve;
mod tunnel;

pub use failure::RpcError;
pub use serve::serve;

use crate::Ctx;

/// An endpoint: the interfaces' methods over one caller's view of the server.
#[derive(Debug)]
pub struct Endpoint<'a> {
    /// Who asks, and the parts of the server.
    pub ctx: &'a Ctx,
    /// When this server started; older reports are stale.
    pub started: chrono::NaiveDateTime,
}

#[cfg(test)]
mod tests;
