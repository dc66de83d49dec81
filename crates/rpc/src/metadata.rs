//! Lookups of ports by filter, for the metadata agent and for others that find themselves in need of one.

use oslo::{context::Context, messaging::CallError};
use serde::Deserialize;
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

/// As much of a port as tells whose it is. The metadata agent asks many times a second and needs no more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PortOwner {
    /// The network it is on.
    pub network_id: String,
    /// The instance it is of.
    #[serde(default)]
    pub device_id: String,
    #[serde(default)]
    project_id: String,
    #[serde(default)]
    tenant_id: String,
}

impl PortOwner {
    /// The project, by whichever of its names the server wrote.
    pub fn project(&self) -> &str {
        if self.project_id.is_empty() { &self.tenant_id } else { &self.project_id }
    }
}

impl Client {
    /// [`Self::get_ports`], of which only the owners are read.
    pub async fn get_port_owners(&self, ctx: &Context, filters: Filters) -> Result<Vec<PortOwner>, CallError> {
        let mut args = Map::new();
        args.insert("filters".to_owned(), Value::Object(filters));
        self.0.call(ctx, &method::get_ports, Value::Object(args)).await
    }
}
