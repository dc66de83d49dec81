//! Versioned objects for agents that keep a copy of what they need: pulled when they begin, pushed when it changes.
//!
//! [`primitive`] writes the objects. An object that has changed is read from the database when agents are told, so that
//! it is told as it is by then; one that is gone is told by its id.

mod primitive;
mod takers;

use db::{
    Conn,
    list::{ListQuery, Listing},
};
use oslo::{context::Context, messaging::Failure};
use rpc::resource::{Callee, EventType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use types::{
    address_group::AddressGroup,
    network::Network,
    port::Port,
    security_group::{SecurityGroup, SecurityGroupRule},
    subnet::Subnet,
};

use super::{Endpoint, RpcError};
use crate::{Ctx, Refusal, Result, event::Event, resource};

pub use takers::Takers;

/// Where upstream defines what pulls fail with.
const FAULTS: &str = "neutron.api.rpc.callbacks.exceptions";
/// Kinds of which there are none here; an agent that asks gets an empty answer.
const ABSENT: [&str; 8] =
    ["QosPolicy", "Trunk", "SubPort", "Log", "PortForwarding", "ConntrackHelper", "NDPProxy", "LocalIPAssociation"];
/// Those of them that may be pulled by their id.
const PULLED: [&str; 2] = ["QosPolicy", "Trunk"];

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A port with its bindings.
    Port,
    /// A network with its segments.
    Network,
    /// A subnet.
    Subnet,
    /// A security group with its rules.
    SecurityGroup,
    /// A rule by itself.
    SecurityGroupRule,
    /// An address group.
    AddressGroup,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Port, Self::Network, Self::Subnet, Self::SecurityGroup, Self::SecurityGroupRule, Self::AddressGroup];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Port => "Port",
            Self::Network => "Network",
            Self::Subnet => "Subnet",
            Self::SecurityGroup => "SecurityGroup",
            Self::SecurityGroupRule => "SecurityGroupRule",
            Self::AddressGroup => "AddressGroup",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    fn listing(self) -> &'static Listing {
        match self {
            Self::Port => &db::port::LISTING,
            Self::Network => &db::network::LISTING,
            Self::Subnet => &db::subnet::LISTING,
            Self::SecurityGroup => &db::security_group::GROUP_LISTING,
            Self::SecurityGroupRule => &db::security_group::RULE_LISTING,
            Self::AddressGroup => &db::address_group::LISTING,
        }
    }
}

/// The objects that an event changes, with their ids.
pub fn changed(event: &Event) -> Vec<(Kind, String)> {
    let one = |kind: Kind, id: &dyn ToString| vec![(kind, id.to_string())];
    match event {
        Event::PortCreated(port) | Event::PortDeleted(port) => one(Kind::Port, &port.id),
        Event::PortUpdated { after, .. }
        | Event::PortProvisioned { after, .. }
        | Event::PortBindingActivated { after, .. } => one(Kind::Port, &after.id),
        Event::NetworkCreated(network) | Event::NetworkUpdated { network, .. } | Event::NetworkDeleted(network) => {
            one(Kind::Network, &network.id)
        }
        Event::SubnetCreated(subnet) | Event::SubnetUpdated(subnet) | Event::SubnetDeleted(subnet) => {
            one(Kind::Subnet, &subnet.id)
        }
        Event::SecurityGroupCreated(group)
        | Event::SecurityGroupUpdated(group)
        | Event::SecurityGroupDeleted(group) => one(Kind::SecurityGroup, &group.id),
        Event::SecurityGroupRuleCreated(rule)
        | Event::SecurityGroupRuleUpdated(rule)
        | Event::SecurityGroupRuleDeleted(rule) => one(Kind::SecurityGroupRule, &rule.id),
        Event::AddressGroupCreated(group)
        | Event::AddressGroupUpdated { group, .. }
        | Event::AddressGroupDeleted(group) => one(Kind::AddressGroup, &group.id),
        _ => Vec::new(),
    }
}

/// Tells agents of an object as it is now, in each version that one of them takes.
pub async fn push(ctx: &Ctx, kind: Kind, id: &str) -> Result<()> {
    let mut conn = ctx.db().reader().await?;
    let versions = ctx.parts.takers.versions(ctx, &mut conn, kind).await?;
    if versions.is_empty() {
        return Ok(());
    }
    let found = objects(ctx, &mut conn, kind, &ListQuery::by_id(id)).await?.pop();
    drop(conn);
    let (object, event) = match found {
        Some(object) => (object, EventType::Updated),
        None => (primitive::gone(kind, id), EventType::Deleted),
    };
    for version in versions {
        // A version that is newer than ours, or too old, is one that we cannot write.
        let Some(object) = primitive::in_version(object.clone(), kind, &version) else { continue };
        let name = kind.as_str();
        rpc::resource::push(&ctx.parts.bus, &ctx.caller, name, &version, &[object], event).await?;
    }
    Ok(())
}

/// The objects that match, in the newest version.
async fn objects(ctx: &Ctx, conn: &mut Conn, kind: Kind, query: &ListQuery) -> Result<Vec<Value>> {
    Ok(match kind {
        Kind::Port => {
            let ports: Vec<Port> = resource::find_all(ctx, conn, query).await?;
            primitive::ports(conn, &ports).await?
        }
        Kind::Network => {
            let networks: Vec<Network> = resource::find_all(ctx, conn, query).await?;
            primitive::networks(conn, &networks).await?
        }
        Kind::Subnet => {
            let subnets: Vec<Subnet> = resource::find_all(ctx, conn, query).await?;
            primitive::subnets(conn, &subnets).await?
        }
        Kind::SecurityGroup => {
            let groups: Vec<SecurityGroup> = resource::find_all(ctx, conn, query).await?;
            primitive::security_groups(conn, &groups).await?
        }
        Kind::SecurityGroupRule => {
            let rules: Vec<SecurityGroupRule> = resource::find_all(ctx, conn, query).await?;
            rules.iter().map(primitive::security_group_rule).collect()
        }
        Kind::AddressGroup => {
            let groups: Vec<AddressGroup> = resource::find_all(ctx, conn, query).await?;
            groups.iter().map(primitive::address_group).collect()
        }
    })
}

impl Callee for Endpoint<'_> {
    type Error = RpcError;

    async fn pull(&self, _: &Context, resource_type: String, _: String, _: String) -> Result<Value, RpcError> {
        if PULLED.contains(&resource_type.as_str()) {
            return Ok(Value::Null);
        }
        Err(Failure::new("CallbackNotFound", FAULTS, format!("Callback for {resource_type} not found")).into())
    }

    async fn bulk_pull(
        &self,
        _: &Context,
        resource_type: String,
        version: String,
        filter_kwargs: Option<Map<String, Value>>,
    ) -> Result<Vec<Value>, RpcError> {
        let Some(kind) = Kind::named(&resource_type) else {
            if ABSENT.contains(&resource_type.as_str()) {
                return Ok(Vec::new());
            }
            let message = format!("Invalid resource type {resource_type}");
            return Err(Failure::new("InvalidResourceTypeClass", FAULTS, message).into());
        };
        let query = query(kind, filter_kwargs.unwrap_or_default())?;
        let mut conn = self.ctx.db().reader().await?;
        let found = objects(self.ctx, &mut conn, kind, &query).await?;
        let in_version = |object| {
            primitive::in_version(object, kind, &version).ok_or_else(|| {
                let message = format!("Version {version} of {resource_type} is not supported");
                RpcError::from(Failure::new("IncompatibleObjectVersion", "oslo_versionedobjects.exception", message))
            })
        };
        found.into_iter().map(in_version).collect()
    }
}

/// What an agent asks for, in terms of a list.
fn query(kind: Kind, asked: Map<String, Value>) -> Result<ListQuery, RpcError> {
    let mut query = ListQuery::default();
    for (name, wanted) in asked {
        let attribute = match (kind, name.as_str()) {
            (Kind::Port, "security_group_ids") => "security_groups",
            (_, other) => other,
        };
        if !kind.listing().can_filter(attribute) {
            return Err(Refusal::invalid_input(format!("'{name}' is not supported for filtering")).into());
        }
        let values = match wanted {
            Value::Array(values) => values,
            one => vec![one],
        };
        query = query.matching_any(attribute, values.iter().map(value).collect());
    }
    Ok(query)
}

fn value(json: &Value) -> db::Value {
    match json {
        Value::Null => db::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => number.as_i64().into(),
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

/// An object in its envelope.
fn envelope(name: &str, version: &str, data: Map<String, Value>) -> Value {
    json!({
        "versioned_object.name": name,
        "versioned_object.namespace": "versionedobjects",
        "versioned_object.version": version,
        "versioned_object.data": data,
    })
}

#[cfg(test)]
mod tests;
