//! Which DHCP agent serves which network.
//!
//! A network is given to agents when something on it needs one ([`dhcp::ensure`]), when an agent asks what to serve
//! ([`dhcp::auto_schedule`]), by an operator ([`dhcp::add`], [`dhcp::remove`]), and when its agent died
//! ([`failover`]). The choice itself is in [`choice`], as pure functions. That two servers never give one network to
//! more agents than wanted is held by the database: places are numbered, and a number is unique on its network.

pub mod choice;
pub mod dhcp;
pub mod failover;
pub mod l3;

#[cfg(test)]
mod tests;
