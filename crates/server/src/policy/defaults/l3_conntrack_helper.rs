//! Connection tracking helpers, which belong to the owner of their router.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_router_conntrack_helper", PARENT_MEMBER, WAS_PARENT_OWNER),
    rule("get_router_conntrack_helper", PARENT_READER, WAS_PARENT_OWNER),
    rule("update_router_conntrack_helper", PARENT_MEMBER, WAS_PARENT_OWNER),
    rule("delete_router_conntrack_helper", PARENT_MEMBER, WAS_PARENT_OWNER),
];
