//! Versioned objects: what agents pull of the server, and what it pushes to them unasked.
//!
//! An object travels as its name, its version and its fields. Each version of a kind has a topic of its own, so that
//! agents of different releases are each told in the version they know.

use oslo::{
    context::Context,
    messaging::{Bus, CallError, Target},
};
use serde_json::{Map, Value, json};

use crate::l2;

/// Topic of the server.
pub const TOPIC: &str = l2::TOPIC;
/// Version of the interface on which agents are told.
const PUSH_VERSION: &str = "1.1";

/// What has happened to pushed objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// They are as told now; whether they are new is not said.
    Updated,
    /// They are gone.
    Deleted,
}

impl EventType {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// The topic of a kind of object in one version.
pub fn push_topic(kind: &str, version: &str) -> String {
    format!("neutron-vo-{kind}-{version}")
}

/// Tells all agents that take this kind in this version.
pub async fn push(
    bus: &Bus,
    ctx: &Context,
    kind: &str,
    version: &str,
    objects: &[Value],
    event: EventType,
) -> Result<(), CallError> {
    let target = Target { topic: push_topic(kind, version), fanout: true, ..Target::default() };
    crate::metrics::cast("push");
    bus.deliver(ctx, &target, PUSH_VERSION, "push", json!({"resource_list": objects, "event_type": event.as_str()}))
        .await
}

interface! {
    version "1.1";
    calls {
        /// One object by its id, null where there is none.
        pull "1.0" on TOPIC: (resource_type: String, version: String, resource_id: String) -> Value;
        /// The objects that match all filters, each a value or a list of values.
        bulk_pull "1.1" on TOPIC: (resource_type: String, version: String, filter_kwargs: Option<Map<String, Value>>) -> Vec<Value>;
    }
    casts {}
}
