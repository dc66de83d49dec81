//! Subnets, which belong to the network's owner too.

use super::*;

pub(super) const RULES: &[Default] = &[
    block("external_network", "field:subnets:router:external=True"),
    rule("create_subnet", "(rule:admin_only) or (role:member and rule:network_owner)", WAS_NETWORK_OWNER),
    rule("create_subnet:segment_id", ADMIN, ADMIN),
    rule("create_subnet:service_types", ADMIN, ADMIN),
    renamed(
        "create_subnet:tags",
        "role:member and project_id:%(project_id)s or (rule:admin_only) or (role:member and \
         rule:network_owner)",
        "create_subnets_tags",
        "role:member and project_id:%(project_id)s or (rule:admin_only) or (role:member and \
         rule:network_owner)",
    ),
    rule(
        "get_subnet",
        "role:reader and project_id:%(project_id)s or rule:shared or rule:external_network or \
         (rule:admin_only) or (role:reader and rule:network_owner) or rule:service_api",
        "rule:shared or rule:external_network or rule:admin_or_owner",
    ),
    rule("get_subnet:segment_id", ADMIN, ADMIN),
    renamed(
        "get_subnet:tags",
        "role:reader and project_id:%(project_id)s or rule:shared or rule:external_network or \
         (rule:admin_only) or (role:reader and rule:network_owner)",
        "get_subnets_tags",
        "role:reader and project_id:%(project_id)s or rule:shared or rule:external_network or \
         (rule:admin_only) or (role:reader and rule:network_owner)",
    ),
    rule(
        "update_subnet",
        "role:member and project_id:%(project_id)s or (rule:admin_only) or (role:member and \
         rule:network_owner)",
        WAS_NETWORK_OWNER,
    ),
    rule("update_subnet:segment_id", ADMIN, ADMIN),
    rule("update_subnet:service_types", ADMIN, ADMIN),
    new("update_subnet:leak_routes", ADMIN),
    renamed(
        "update_subnet:tags",
        "role:member and project_id:%(project_id)s or (rule:admin_only) or (role:member and \
         rule:network_owner)",
        "update_subnets_tags",
        "role:member and project_id:%(project_id)s or (rule:admin_only) or (role:member and \
         rule:network_owner)",
    ),
    rule(
        "delete_subnet",
        "role:member and project_id:%(project_id)s or (rule:admin_only) or (role:member and \
         rule:network_owner)",
        WAS_NETWORK_OWNER,
    ),
    renamed(
        "delete_subnet:tags",
        "role:member and project_id:%(project_id)s or (rule:admin_only) or (role:member and \
         rule:network_owner)",
        "delete_subnets_tags",
        "role:member and project_id:%(project_id)s or (rule:admin_only) or (role:member and \
         rule:network_owner)",
    ),
];
