//! Networks: sharing, leading outside and the provider's part are for administrators.

use super::*;

pub(super) const RULES: &[Default] = &[
    block("external", "field:networks:router:external=True"),
    rule("create_network", MEMBER, WAS_ANYONE),
    rule("create_network:shared", ADMIN, ADMIN),
    rule("create_network:router:external", ADMIN, ADMIN),
    rule("create_network:is_default", ADMIN, ADMIN),
    rule("create_network:port_security_enabled", MEMBER, WAS_ANYONE),
    rule("create_network:segments", ADMIN, ADMIN),
    rule("create_network:provider:network_type", ADMIN, ADMIN),
    rule("create_network:provider:physical_network", ADMIN, ADMIN),
    rule("create_network:provider:segmentation_id", ADMIN, ADMIN),
    renamed("create_network:tags", MEMBER, "create_networks_tags", MEMBER),
    rule(
        "get_network",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:service_api or \
         rule:shared or rule:external or rule:context_is_advsvc",
        "rule:admin_or_owner or rule:shared or rule:external or rule:context_is_advsvc",
    ),
    rule("get_network:segments", ADMIN, ADMIN),
    rule("get_network:provider:network_type", ADMIN, ADMIN),
    rule("get_network:provider:physical_network", ADMIN, ADMIN),
    rule("get_network:provider:segmentation_id", ADMIN, ADMIN),
    renamed(
        "get_network:tags",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared or \
         rule:external or rule:context_is_advsvc",
        "get_networks_tags",
        READER,
    ),
    rule("update_network", MEMBER, WAS_OWNER),
    rule("update_network:segments", ADMIN, ADMIN),
    rule("update_network:shared", ADMIN, ADMIN),
    rule("update_network:provider:network_type", ADMIN, ADMIN),
    rule("update_network:provider:physical_network", ADMIN, ADMIN),
    rule("update_network:provider:segmentation_id", ADMIN, ADMIN),
    rule("update_network:router:external", ADMIN, ADMIN),
    rule("update_network:is_default", ADMIN, ADMIN),
    rule("update_network:port_security_enabled", MEMBER, WAS_OWNER),
    renamed("update_network:tags", MEMBER, "update_networks_tags", MEMBER),
    rule("delete_network", MEMBER, WAS_OWNER),
    renamed("delete_network:tags", MEMBER, "delete_networks_tags", MEMBER),
];
