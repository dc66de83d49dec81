//! Address scopes; sharing one is for administrators.

use super::*;

pub(super) const RULES: &[Default] = &[
    block("shared_address_scopes", "field:address_scopes:shared=True"),
    rule("create_address_scope", MEMBER, WAS_ANYONE),
    rule("create_address_scope:shared", ADMIN, ADMIN),
    rule(
        "get_address_scope",
        "rule:admin_only or role:reader and project_id:%(project_id)s or rule:shared_address_scopes",
        "rule:admin_or_owner or rule:shared_address_scopes",
    ),
    rule("update_address_scope", MEMBER, WAS_OWNER),
    rule("update_address_scope:shared", ADMIN, ADMIN),
    rule("delete_address_scope", MEMBER, WAS_OWNER),
];
