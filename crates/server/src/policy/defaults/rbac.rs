//! RBAC policies; sharing with everyone is for administrators.

use super::*;

pub(super) const RULES: &[Default] = &[
    block(
        "restrict_wildcard",
        "(not field:rbac_policy:target_tenant=* and not field:rbac_policy:target_project=*) or \
         rule:admin_only",
    ),
    rule("create_rbac_policy", MEMBER, WAS_ANYONE),
    rule(
        "create_rbac_policy:target_tenant",
        "rule:admin_only or (not field:rbac_policy:target_tenant=* and not \
         field:rbac_policy:target_project=*)",
        "rule:restrict_wildcard",
    ),
    new("create_rbac_policy:target_project", "rule:admin_only or not field:rbac_policy:target_project=*"),
    rule("update_rbac_policy", MEMBER, WAS_OWNER),
    rule(
        "update_rbac_policy:target_tenant",
        "rule:admin_only or (not field:rbac_policy:target_tenant=* and not \
         field:rbac_policy:target_project=*)",
        "rule:restrict_wildcard and rule:admin_or_owner",
    ),
    new("update_rbac_policy:target_project", "rule:admin_only or not field:rbac_policy:target_project=*"),
    rule("get_rbac_policy", READER, WAS_OWNER),
    rule("delete_rbac_policy", MEMBER, WAS_OWNER),
];
