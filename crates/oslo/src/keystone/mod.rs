//! Keystone, from both sides that a service has with it.
//!
//! [`Session`] is a service as a user: it authenticates by what a section of the configuration says, keeps its token
//! fresh, finds other services in the catalogue and sends them requests. [`middleware`] is a service in front of users:
//! it has their tokens validated and says who they are. Only version 3 of the identity API is spoken.
//!
//! No secret is ever in a `Debug` text, in an error or in a log: neither passwords nor tokens nor what they open.

mod auth;
mod catalog;
mod error;
pub mod middleware;
mod session;
mod settings;
mod token;

pub use auth::{Auth, Domain, Identity, Method, Named, Scope};
pub use catalog::{Catalog, Target};
pub use error::KeystoneError;
pub use session::{Options, Session};
pub use settings::Settings;
pub use token::{Access, Owner, TokenInfo};
