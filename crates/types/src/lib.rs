//! The vocabulary every part of Isospin shares.
//!
//! Plain data without I/O: typed ids, addresses, segments, the REST resources as structs, the names of
//! devices on a host, and the attribute tables that drive the API. No tokio, SQL, HTTP or netlink here.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod address_group;
pub mod address_scope;
pub mod agent;
pub mod attribute;
pub mod default_security_group_rule;
pub mod default_statefulness;
pub mod device;
pub mod extension;
pub mod floatingip;
pub mod id;
pub mod mac;
pub mod network;
pub mod network_segment;
pub mod port;
pub mod rbac_policy;
pub mod router;
pub mod security_group;
pub mod segment;
pub mod standard;
pub mod subnet;
pub mod subnet_pool;

pub use id::{
    AddressGroupId, AddressScopeId, AgentId, DefaultSecurityGroupRuleId, DefaultStatefulnessId, FloatingIpId,
    NetworkId, PortId, RbacPolicyId, RouterId, SecurityGroupId, SecurityGroupRuleId, SegmentId, SubnetId, SubnetPoolId,
};
pub use mac::Mac;
pub use segment::{NetworkType, Segment};
pub use standard::Standard;
