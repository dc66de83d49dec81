//! Templates of the rules that new security groups begin with.

use serde::Serialize;

use crate::{AddressGroupId, DefaultSecurityGroupRuleId, Standard};

/// What stands for the new group itself where a template names the other side.
pub const PARENT: &str = "PARENT";

/// A template as REST shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DefaultSecurityGroupRule {
    /// Its id.
    pub id: DefaultSecurityGroupRuleId,
    /// `IPv4` or `IPv6`.
    pub ethertype: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// Name or number; null means any.
    pub protocol: Option<String>,
    /// First port, or ICMP type.
    pub port_range_min: Option<i32>,
    /// Last port, or ICMP code.
    pub port_range_max: Option<i32>,
    /// The other side as a prefix.
    pub remote_ip_prefix: Option<String>,
    /// The other side as an address group.
    pub remote_address_group_id: Option<AddressGroupId>,
    /// The other side as the members of a group, or [`PARENT`].
    pub remote_group_id: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Whether the default group of a project begins with it.
    pub used_in_default_sg: bool,
    /// Whether every other group does.
    pub used_in_non_default_sg: bool,
    /// Revision and timestamps, which REST does not show.
    #[serde(skip)]
    pub standard: Standard,
}
