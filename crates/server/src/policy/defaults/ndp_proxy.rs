//! NDP proxies.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_ndp_proxy", MEMBER, WAS_ANYONE),
    rule("get_ndp_proxy", READER, WAS_OWNER),
    rule("update_ndp_proxy", MEMBER, WAS_OWNER),
    rule("delete_ndp_proxy", MEMBER, WAS_OWNER),
];
