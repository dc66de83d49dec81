//! The server's side of the interfaces with the agents.
//!
//! [`serve`] takes requests from the bus and hands each to its endpoint: [`reports`], [`l2`], [`security_group`],
//! [`dhcp`], [`l3`], [`metadata`]. What agents are told is in [`dhcp_agent`], [`l2_agent`] and [`l3_agent`], whose
//! functions are called from the one `match` of [`crate::event`].

pub mod dhcp;
pub mod dhcp_agent;
mod failure;
pub mod l2;
pub mod l2_agent;
pub mod l3;
pub mod l3_agent;
pub mod l3_router;
pub mod metadata;
pub mod object;
pub mod reports;
pub mod security_group;
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
}

#[cfg(test)]
mod tests;
