//! The kernel and privilege perimeter: everything an agent does to the machine goes through here.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod addr;
pub mod checksum;
pub mod error;
pub mod file;
pub mod link;
pub mod netlink;
pub mod netns;
pub mod process;
pub mod route;
pub mod sysctl;
pub mod testing;

pub use addr::Address;
pub use error::{Error, Result, existing_is_fine, missing_is_fine};
pub use link::{Bridge, Kind, Link, LinkChange, NewKind, NewLink, Vxlan};
pub use netlink::Netlink;
pub use netns::{Namespace, System};
pub use route::Route;
