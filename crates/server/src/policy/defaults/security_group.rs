//! Security groups, and their rules, which belong to the owner of the group.

use super::*;

pub(super) const RULES: &[Default] = &[
    block("admin_or_sg_owner", "rule:context_is_admin or project_id:%(security_group:project_id)s"),
    block("admin_owner_or_sg_owner", "rule:owner or rule:admin_or_sg_owner"),
    block("shared_security_group", "field:security_groups:shared=True"),
    block("rule_default_sg", "field:security_group_rules:belongs_to_default_sg=True"),
    new(
        "create_default_security_group",
        "(rule:admin_only) or (rule:service_api) or role:reader and project_id:%(project_id)s",
    ),
    rule("create_security_group", MEMBER, WAS_OWNER),
    renamed("create_security_group:tags", MEMBER, "create_security_groups_tags", MEMBER),
    rule(
        "get_security_group",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared_security_group",
        WAS_ANYONE,
    ),
    renamed(
        "get_security_group:tags",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared_security_group",
        "get_security_groups_tags",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared_security_group",
    ),
    rule("update_security_group", MEMBER, WAS_OWNER),
    renamed("update_security_group:tags", MEMBER, "update_security_groups_tags", MEMBER),
    rule("delete_security_group", MEMBER, WAS_OWNER),
    renamed("delete_security_group:tags", MEMBER, "delete_security_groups_tags", MEMBER),
    rule("create_security_group_rule", "(rule:admin_only) or (role:member and rule:sg_owner)", WAS_OWNER),
    rule(
        "get_security_group_rule",
        "(rule:admin_only) or (role:reader and rule:sg_owner)",
        "rule:admin_owner_or_sg_owner",
    ),
    rule("delete_security_group_rule", "(rule:admin_only) or (role:member and rule:sg_owner)", WAS_OWNER),
];
