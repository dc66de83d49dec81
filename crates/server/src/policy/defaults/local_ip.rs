//! Local IPs.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_local_ip", MEMBER, WAS_ANYONE),
    rule("get_local_ip", READER, WAS_OWNER),
    rule("update_local_ip", MEMBER, WAS_OWNER),
    rule("delete_local_ip", MEMBER, WAS_OWNER),
];
