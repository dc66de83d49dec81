//! Routers that several hosts have and one at a time serves.
//!
//! keepalived decides which, by VRRP on a network of their own (`ha-…`): whoever has the router's *primary address* there
//! serves. It also sets and takes the router's addresses and routes, so those are not ours to reconcile. There is no
//! other process: where upstream has a monitor for each router, [`watch`] sees the primary address come and go by
//! netlink.
//!
//! A host that does not serve has all devices and rules, but no address and no route; it does not forward IPv6, does
//! not advertise, does not answer for metadata and says nothing on the router's networks, because the devices of all
//! hosts have the same Ethernet addresses.
//!
//! [`handover`] keeps tracked connections known to all hosts, so that they outlive one that goes.

pub mod check;
pub mod handover;
pub mod keepalived;
pub(super) mod watch;
