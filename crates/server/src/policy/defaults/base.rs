//! The building blocks that the rules of every resource are made of.

use super::*;

pub(super) const RULES: &[Default] = &[
    block("context_is_admin", "role:admin"),
    block("context_with_global_access", "!"),
    block("service_api", "role:service"),
    block("owner", "project_id:%(project_id)s"),
    block("admin_or_owner", "rule:context_is_admin or rule:owner"),
    block("context_is_advsvc", "role:advsvc"),
    block("admin_or_network_owner", "rule:context_is_admin or project_id:%(network:project_id)s"),
    block("admin_owner_or_network_owner", "rule:owner or rule:admin_or_network_owner"),
    block("network_owner", "project_id:%(network:project_id)s"),
    block("admin_only", "rule:context_is_admin"),
    block("regular_user", ""),
    block("shared", "field:networks:shared=True"),
    block("default", WAS_OWNER),
    block("admin_or_ext_parent_owner", "rule:context_is_admin or project_id:%(ext_parent:project_id)s"),
    block("ext_parent_owner", "project_id:%(ext_parent:project_id)s"),
    block("sg_owner", "project_id:%(security_group:project_id)s"),
];
