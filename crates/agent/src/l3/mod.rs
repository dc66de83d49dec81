//! The L3 agent: a namespace for each router that the server gives to this host.
//!
//! What it promises:
//!
//! * **A router that routes is not disturbed.** A new agent adopts the namespaces, devices, addresses and programs of
//!   the one before, upstream's included. Rules are one table that is swapped at one stroke, and only when they differ;
//!   connections that are established keep their translation and their counters.
//! * **Connections of an address that went to somebody else end**, because the kernel is told to forget them.
//! * **Nothing is left behind** by a router that went: no namespace, device, process or file. And nothing is taken away
//!   before the server has told once which routers are ours.
//! * **One router that fails does not hold up the others**, nor one address that cannot be set the rest of its router.
//!
//! How: [`desired`], [`nat`] and [`radvd`] turn what the server says into what must be, without touching anything.
//! [`driver`] reads what is, plans the difference and applies it. [`agent`] takes messages, asks the server, keeps the
//! order and retries. [`ha`] is about routers that several hosts have. Metadata is served by [`crate::metadata::proxy`].
//!
//! How we know what is ours, with nothing remembered:
//!
//! | object | is ours when |
//! |---|---|
//! | router | it is noted in `$state_path/routers`; or a device in its namespace has its other end in this host |
//! | namespace | `qrouter-<router>` of such a router |
//! | devices | veth devices in such a namespace named `qr-…`, `qg-…` or `ha-…`, with their other ends |
//! | addresses | lasting ones of such devices, but for those of the link itself |
//! | routes | static ones of the main table of such a namespace |
//! | rules | the table `inet isospin` of such a namespace; its comment says what it was made of |
//! | rules of upstream's agent | tables of iptables in such a namespace that have chains `neutron-l3-agent-…` |
//! | radvd, keepalived | the pid in the router's file lives and its command line names the router |
//! | files | `<router>.radvd.conf` in `ra_confs`, `<router>/` in `ha_confs_path` |

pub mod agent;
pub mod config;
pub mod desired;
pub mod driver;
pub mod ha;
pub mod nat;
mod notification;
pub mod radvd;
mod state;
#[cfg(test)]
mod testing;

pub use agent::{AgentError, run};
pub use config::Config;
