//! Subnet pools; sharing one is for administrators.

use super::*;

pub(super) const RULES: &[Default] = &[
    block("shared_subnetpools", "field:subnetpools:shared=True"),
    rule("create_subnetpool", MEMBER, WAS_ANYONE),
    rule("create_subnetpool:shared", ADMIN, ADMIN),
    rule("create_subnetpool:is_default", ADMIN, ADMIN),
    renamed("create_subnetpool:tags", MEMBER, "create_subnetpools_tags", MEMBER),
    rule(
        "get_subnetpool",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared_subnetpools",
        "rule:admin_or_owner or rule:shared_subnetpools",
    ),
    renamed(
        "get_subnetpool:tags",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared_subnetpools",
        "get_subnetpools_tags",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared_subnetpools",
    ),
    rule("update_subnetpool", MEMBER, WAS_OWNER),
    rule("update_subnetpool:is_default", ADMIN, ADMIN),
    renamed("update_subnetpool:tags", MEMBER, "update_subnetpools_tags", MEMBER),
    rule("delete_subnetpool", MEMBER, WAS_OWNER),
    renamed("delete_subnetpool:tags", MEMBER, "delete_subnetpools_tags", MEMBER),
    rule("onboard_network_subnets", MEMBER, WAS_OWNER),
    rule("add_prefixes", MEMBER, WAS_OWNER),
    rule("remove_prefixes", MEMBER, WAS_OWNER),
];
