//! Security groups and their rules.

use serde::Serialize;

use crate::{SecurityGroupId, SecurityGroupRuleId, Standard};

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
    pub security_group_rules: Vec<SecurityGroupRule>,
    /// Description, tags, revision, timestamps.
    #[serde(flatten)]
    pub standard: Standard,
}

/// A security group rule as REST shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    pub remote_address_group_id: Option<String>,
    /// Made with the project's default group.
    pub belongs_to_default_sg: bool,
    /// Description, tags, revision, timestamps.
    #[serde(flatten)]
    pub standard: Standard,
}
