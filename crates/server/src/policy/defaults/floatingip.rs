//! Floating IPs; choosing the address takes a manager.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_floatingip", MEMBER, WAS_ANYONE),
    rule("create_floatingip:floating_ip_address", MANAGER, ADMIN),
    new("create_floatingip:router_id", MEMBER),
    renamed("create_floatingip:tags", MEMBER, "create_floatingips_tags", MEMBER),
    rule("get_floatingip", READER, WAS_OWNER),
    renamed("get_floatingip:tags", READER, "get_floatingips_tags", READER),
    rule("update_floatingip", MEMBER, WAS_OWNER),
    new("update_floatingip:router_id", MEMBER),
    renamed("update_floatingip:tags", MEMBER, "update_floatingips_tags", MEMBER),
    rule("delete_floatingip", MEMBER, WAS_OWNER),
    renamed("delete_floatingip:tags", MEMBER, "delete_floatingips_tags", MEMBER),
];
