//! One id type per kind of resource, so that a port id cannot be passed where a network id is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a UUID")]
pub struct InvalidId(pub String);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new random (version 4) id.
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId(text.to_owned()))
            }
        }
    )*};
}

ids! {
    /// Id of a network.
    NetworkId;
    /// Id of a subnet.
    SubnetId;
    /// Id of a subnet pool.
    SubnetPoolId;
    /// Id of a port.
    PortId;
    /// Id of a network segment.
    SegmentId;
    /// Id of a security group.
    SecurityGroupId;
    /// Id of a security group rule.
    SecurityGroupRuleId;
    /// Id of an address group.
    AddressGroupId;
    /// Id of an address scope.
    AddressScopeId;
    /// Id of a template of security group rules.
    DefaultSecurityGroupRuleId;
    /// Id of a project's choice of stateful or stateless groups.
    DefaultStatefulnessId;
    /// Id of an RBAC policy.
    RbacPolicyId;
    /// Id of an agent.
    AgentId;
    /// Id of a router.
    RouterId;
    /// Id of a floating IP.
    FloatingIpId;
}
