//! Trunks and their subports.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_trunk", MEMBER, WAS_ANYONE),
    renamed("create_trunk:tags", MEMBER, "create_trunks_tags", MEMBER),
    rule("get_trunk", READER, WAS_OWNER),
    renamed("get_trunk:tags", READER, "get_trunks_tags", READER),
    rule("update_trunk", MEMBER, WAS_OWNER),
    renamed("update_trunk:tags", MEMBER, "update_trunks_tags", MEMBER),
    rule("delete_trunk", MEMBER, WAS_OWNER),
    renamed("delete_trunk:tags", MEMBER, "delete_trunks_tags", MEMBER),
    rule("get_subports", READER, WAS_ANYONE),
    rule("add_subports", MEMBER, WAS_OWNER),
    rule("remove_subports", MEMBER, WAS_OWNER),
];
