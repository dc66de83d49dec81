//! The rules that are in force where an operator's files say nothing: one file for each resource.
//!
//! They are the whole of upstream's, those of resources that this server does not serve as well, so that an operator's
//! file that names them is no mystery. Each row has the rule as it is and, after it, as it was in earlier releases, which
//! counts as well where `enforce_new_defaults` is off.

use oslo::policy::{Default, Deprecated, Scope};

mod address_group;
mod address_scope;
mod agent;
mod auto_allocated_topology;
mod availability_zone;
mod base;
mod default_security_group_rules;
mod evpn;
mod flavor;
mod floatingip;
mod floatingip_pools;
mod floatingip_port_forwarding;
mod l3_conntrack_helper;
mod local_ip;
mod local_ip_association;
mod logging;
mod metering;
mod ndp_proxy;
mod network;
mod network_ip_availability;
mod network_segment_range;
mod port;
mod port_bindings;
mod pvlan;
mod qos;
mod quotas;
mod rbac;
mod router;
mod security_group;
mod security_groups_default_statefulness;
mod segment;
mod service_type;
mod subnet;
mod subnetpool;
mod trunk;

/// All rules, by resource.
pub(super) static ALL: &[&[Default]] = &[
    address_group::RULES,
    address_scope::RULES,
    agent::RULES,
    auto_allocated_topology::RULES,
    availability_zone::RULES,
    base::RULES,
    default_security_group_rules::RULES,
    evpn::RULES,
    flavor::RULES,
    floatingip::RULES,
    floatingip_pools::RULES,
    floatingip_port_forwarding::RULES,
    l3_conntrack_helper::RULES,
    local_ip::RULES,
    local_ip_association::RULES,
    logging::RULES,
    metering::RULES,
    ndp_proxy::RULES,
    network::RULES,
    network_ip_availability::RULES,
    network_segment_range::RULES,
    port::RULES,
    port_bindings::RULES,
    pvlan::RULES,
    qos::RULES,
    quotas::RULES,
    rbac::RULES,
    router::RULES,
    security_group::RULES,
    security_groups_default_statefulness::RULES,
    segment::RULES,
    service_type::RULES,
    subnet::RULES,
    subnetpool::RULES,
    trunk::RULES,
];

const ADMIN: &str = "rule:admin_only";
const MANAGER: &str = "(rule:admin_only) or (role:manager and project_id:%(project_id)s)";
const MEMBER: &str = "(rule:admin_only) or (role:member and project_id:%(project_id)s)";
const READER: &str = "(rule:admin_only) or (role:reader and project_id:%(project_id)s)";
const PARENT_MANAGER: &str = "(rule:admin_only) or (role:manager and rule:ext_parent_owner)";
const PARENT_MEMBER: &str = "(rule:admin_only) or (role:member and rule:ext_parent_owner)";
const PARENT_READER: &str = "(rule:admin_only) or (role:reader and rule:ext_parent_owner)";
const SERVICE: &str = "(rule:admin_only) or (rule:service_api)";
const ONLY_SERVICE: &str = "rule:service_api";
const ANY_READER: &str = "role:reader";
const WAS_OWNER: &str = "rule:admin_or_owner";
const WAS_ANYONE: &str = "rule:regular_user";
const WAS_PARENT_OWNER: &str = "rule:admin_or_ext_parent_owner";
const WAS_NETWORK_OWNER: &str = "rule:admin_or_network_owner";

/// Part of other rules.
const fn block(name: &'static str, check: &'static str) -> Default {
    Default { name, check, scope: Scope::Any, deprecated: None }
}

/// A rule that has always been as it is.
const fn new(name: &'static str, check: &'static str) -> Default {
    Default { name, check, scope: Scope::Project, deprecated: None }
}

/// A rule that was another in earlier releases.
const fn rule(name: &'static str, check: &'static str, was: &'static str) -> Default {
    renamed(name, check, name, was)
}

/// A rule that had another name.
const fn renamed(name: &'static str, check: &'static str, old: &'static str, was: &'static str) -> Default {
    Default { name, check, scope: Scope::Project, deprecated: Some(Deprecated { name: old, check: was }) }
}
