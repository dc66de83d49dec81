//! Lookups of ports by filter, for the metadata agent and for others that find themselves in need of one.

use serde_json::{Map, Value};

use crate::{l2, payload::Port};

/// Topic of the server.
pub const TOPIC: &str = l2::TOPIC;

/// Filters as REST has them, with values as lists; `fixed_ips` may be an object of lists.
pub type Filters = Map<String, Value>;

interface! {
    version "1.0";
    calls {
        /// The ports that fit all filters.
        get_ports "1.0" on TOPIC: (filters: Option<Filters>) -> Vec<Port>;
    }
    casts {}
}
