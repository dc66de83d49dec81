//! The templates from which new security groups get their rules.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_default_security_group_rule", ADMIN, ADMIN),
    rule("get_default_security_group_rule", ANY_READER, WAS_ANYONE),
    rule("delete_default_security_group_rule", ADMIN, ADMIN),
];
