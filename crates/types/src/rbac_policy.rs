//! RBAC policies: what is shared with which project.

use serde::Serialize;
use uuid::Uuid;

use crate::RbacPolicyId;

/// What the target may do with a shared object: use it as its own.
pub const ACCESS_AS_SHARED: &str = "access_as_shared";
/// What the target may do with an external network: reach the outside by it.
pub const ACCESS_AS_EXTERNAL: &str = "access_as_external";
/// The target that means every project.
pub const EVERYONE: &str = "*";

/// What can be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectType {
    /// A network.
    Network,
    /// A security group.
    SecurityGroup,
    /// An address group.
    AddressGroup,
    /// An address scope.
    AddressScope,
    /// A subnet pool.
    #[serde(rename = "subnetpool")]
    SubnetPool,
}

impl ObjectType {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Network, Self::SecurityGroup, Self::AddressGroup, Self::AddressScope, Self::SubnetPool];

    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::SecurityGroup => "security_group",
            Self::AddressGroup => "address_group",
            Self::AddressScope => "address_scope",
            Self::SubnetPool => "subnetpool",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What can be granted.
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Network => &[ACCESS_AS_SHARED, ACCESS_AS_EXTERNAL],
            _ => &[ACCESS_AS_SHARED],
        }
    }
}

/// A policy as REST shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RbacPolicy {
    /// Its id.
    pub id: RbacPolicyId,
    /// Who made it.
    pub project_id: String,
    /// The same, by its older name.
    pub tenant_id: String,
    /// What the target may do.
    pub action: String,
    /// What is shared.
    pub object_id: Uuid,
    /// With whom: a project, or `*` for every one.
    pub target_tenant: String,
    /// Of what kind that is.
    pub object_type: ObjectType,
}
