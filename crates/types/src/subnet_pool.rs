//! Subnet pools: prefixes from which subnets get theirs.

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::{AddressScopeId, Standard, SubnetPoolId};

/// A subnet pool as REST shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubnetPool {
    /// Its id.
    pub id: SubnetPoolId,
    /// Free text, not unique.
    pub name: String,
    /// The owner.
    pub project_id: String,
    /// The owner, by its older name.
    pub tenant_id: String,
    /// What it has to give, in the order of the texts.
    pub prefixes: Vec<IpNet>,
    /// 4 or 6.
    pub ip_version: u8,
    /// Length of a prefix where the request does not say.
    #[serde(serialize_with = "text")]
    pub default_prefixlen: u8,
    /// Length of the largest prefix that it gives.
    #[serde(serialize_with = "text")]
    pub min_prefixlen: u8,
    /// Length of the smallest.
    #[serde(serialize_with = "text")]
    pub max_prefixlen: u8,
    /// How much a project may have of it, in addresses or, of IPv6, in prefixes of 64 bits.
    pub default_quota: Option<i64>,
    /// The scope within which its addresses are unique.
    pub address_scope_id: Option<AddressScopeId>,
    /// Used where a request asks for the default one of its version.
    pub is_default: bool,
    /// Usable by other projects.
    pub shared: bool,
    /// Description, tags, revision, timestamps.
    #[serde(flatten)]
    pub standard: Standard,
}

/// The API shows these numbers as texts.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn text<S: Serializer>(length: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(length)
}
