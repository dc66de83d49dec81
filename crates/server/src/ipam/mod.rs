//! Address management: which addresses a port gets, and that nobody else has them.
//!
//! # For the operations on ports
//!
//! All functions run inside the caller's transaction, so that addresses, port and quota commit together or not at all.
//!
//! * [`allocate`] takes addresses for new ports, of one network or several, in a number of statements that does not
//!   grow with the ports. It comes before the port rows, since its answer says what their `ip_allocation` is; when they
//!   are inserted, [`store`] writes which port has which address.
//! * [`reassign`] changes the addresses of a port: on an update of `fixed_ips`, of the MAC, or of the host. It writes all
//!   tables itself and says what the port has now.
//! * [`release`] frees the addresses of ports about to be deleted.
//!
//! An error is an [`IpamError`], which becomes a refusal with the API's type and text by `?`. When another server took
//! an address in the same moment it is a retryable database conflict, and the operation runs again from its start.
//!
//! # How
//!
//! [`plan`] decides what a port is due, without a database. [`search`] finds free addresses with one query as a rule,
//! starting from [`Hints`]. The unique keys of `ipamallocations` and `ipallocations` decide who has an address.

mod allocate;
mod error;
mod hints;
pub mod owner;
pub mod plan;
pub mod pools;
pub mod prefixes;
mod search;

pub use allocate::{
    Allocation, Current, Reassigned, add_auto_addresses, ahead, allocate, forget_subnet, ipam_subnet, reassign,
    release, store,
};
pub use error::IpamError;
pub use hints::Hints;
pub use plan::{FixedIpRequest, Party};
