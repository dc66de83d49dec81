//! Security groups and their rules.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use crate::{AddressGroupId, SecurityGroupId, SecurityGroupRuleId, Standard};

/// A security group as REST shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Free text; `default` is reserved for the project's own default group.
    pub name: String,
    /// The owner.
    pub project_id: String,
    /// The owner, by its older name.
    pub tenant_id: String,
    /// Whether answers to allowed traffic pass by themselves.
    pub stateful: bool,
    /// Shared with other projects.
    pub shared: bool,
    /// Its rules.
    #[serde(serialize_with = "within_group")]
    pub security_group_rules: Vec<SecurityGroupRule>,
    /// Description, tags, revision, timestamps.
    #[serde(flatten)]
    pub standard: Standard,
}

/// A security group rule. REST shows it by itself without tags, and within its group as [`within_group`] says.
#[derive(Debug, Clone, PartialEq)]
pub struct SecurityGroupRule {
    /// Its id.
    pub id: SecurityGroupRuleId,
    /// The owner.
    pub project_id: String,
    /// The owner, by its older name.
    pub tenant_id: String,
    /// The group it is part of.
    pub security_group_id: SecurityGroupId,
    /// `ingress` or `egress`.
    pub direction: String,
    /// `IPv4` or `IPv6`.
    pub ethertype: String,
    /// Name or number; null means any.
    pub protocol: Option<String>,
    /// First port, or ICMP type.
    pub port_range_min: Option<i32>,
    /// Last port, or ICMP code.
    pub port_range_max: Option<i32>,
    /// The other side as a prefix, as given.
    pub remote_ip_prefix: Option<String>,
    /// That prefix with its host bits cleared.
    pub normalized_cidr: Option<String>,
    /// The other side as the members of a group.
    pub remote_group_id: Option<SecurityGroupId>,
    /// The other side as an address group.
    pub remote_address_group_id: Option<AddressGroupId>,
    /// Part of the project's default group; null in a list of groups.
    pub belongs_to_default_sg: Option<bool>,
    /// Description, tags, revision, timestamps.
    pub standard: Standard,
}

impl SecurityGroupRule {
    fn members<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("project_id", &self.project_id)?;
        map.serialize_entry("tenant_id", &self.tenant_id)?;
        map.serialize_entry("security_group_id", &self.security_group_id)?;
        map.serialize_entry("ethertype", &self.ethertype)?;
        map.serialize_entry("direction", &self.direction)?;
        map.serialize_entry("protocol", &self.protocol)?;
        map.serialize_entry("port_range_min", &self.port_range_min)?;
        map.serialize_entry("port_range_max", &self.port_range_max)?;
        map.serialize_entry("remote_ip_prefix", &self.remote_ip_prefix)?;
        map.serialize_entry("remote_address_group_id", &self.remote_address_group_id)?;
        map.serialize_entry("normalized_cidr", &self.normalized_cidr)?;
        map.serialize_entry("remote_group_id", &self.remote_group_id)?;
        map.serialize_entry("description", &self.standard.description)?;
        map.serialize_entry("created_at", &self.standard.created_at)?;
        map.serialize_entry("updated_at", &self.standard.updated_at)?;
        map.serialize_entry("revision_number", &self.standard.revision_number)?;
        map.serialize_entry("belongs_to_default_sg", &self.belongs_to_default_sg)
    }
}

impl Serialize for SecurityGroupRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.members(&mut map)?;
        map.end()
    }
}

/// Within their group rules are shown with tags and the key of their common attributes.
fn within_group<S: Serializer>(rules: &[SecurityGroupRule], serializer: S) -> Result<S::Ok, S::Error> {
    struct Within<'a>(&'a SecurityGroupRule);

    impl Serialize for Within<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            self.0.members(&mut map)?;
            map.serialize_entry("tags", &self.0.standard.tags)?;
            map.serialize_entry("standard_attr_id", &self.0.standard.standard_attr_id)?;
            map.end()
        }
    }

    let mut list = serializer.serialize_seq(Some(rules.len()))?;
    for rule in rules {
        list.serialize_element(&Within(rule))?;
    }
    list.end()
}
