//! Logs of security groups.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("get_loggable_resource", MANAGER, ADMIN),
    rule("create_log", MANAGER, ADMIN),
    rule("get_log", MANAGER, ADMIN),
    rule("update_log", MANAGER, ADMIN),
    rule("delete_log", MANAGER, ADMIN),
];
