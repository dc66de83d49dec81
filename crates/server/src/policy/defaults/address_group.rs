//! Address groups, and the addresses in them.

use super::*;

pub(super) const RULES: &[Default] = &[
    block("shared_address_groups", "field:address_groups:shared=True"),
    rule("create_address_group", MEMBER, WAS_ANYONE),
    rule(
        "get_address_group",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared_address_groups",
        "rule:admin_or_owner or rule:shared_address_groups",
    ),
    rule("update_address_group", MEMBER, WAS_OWNER),
    rule("delete_address_group", MEMBER, WAS_OWNER),
    rule("add_addresses", MEMBER, WAS_OWNER),
    rule("remove_addresses", MEMBER, WAS_OWNER),
];
