//! The only SQL: the schema, the rows and the queries on SQLite, MariaDB/MySQL and PostgreSQL.
//!
//! [`Database`] is chosen at run time by its URL. [`Database::reader`] gives a connection inside one read snapshot,
//! [`Database::begin`] a write transaction; both are a [`Conn`], which every query takes. The tables are described
//! once in [`schema::tables`]; that text is the source of the DDL of each backend.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod address_group;
pub mod address_scope;
pub mod agent;
mod conn;
mod database;
pub mod default_security_group_rule;
pub mod default_statefulness;
pub mod device;
pub mod dhcp_binding;
mod error;
mod flight;
pub mod floatingip;
pub mod ha_router;
pub mod ip_availability;
pub mod ipam;
pub mod l2_population;
pub mod l3_binding;
pub mod list;
mod lock;
pub mod member;
pub mod migrate;
mod mysql;
pub mod network;
pub mod network_segment;
pub mod object;
pub mod outbox;
mod pool;
pub mod port;
mod postgres;
pub mod provisioning;
pub mod quota;
pub mod rbac_policy;
pub mod router;
mod row;
pub mod schema;
pub mod security_group;
pub mod segment;
mod sqlite;
pub mod standard;
pub mod subnet;
pub mod subnet_pool;
mod timestamp;
pub mod tunnel;
mod url;
mod value;
mod whole;

pub use conn::{Conn, Tx};
pub use database::{Backend, Database, Reconnect, Settings, Usage};
pub use error::{DbError, Source};
pub use flight::{Later, Race, Statement};
pub use row::Row;
pub use url::{hidden as url_without_password, with_parameters as url_with_parameters};
pub use value::{FromValue, Value};
