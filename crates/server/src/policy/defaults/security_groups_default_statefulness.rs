//! Whether a project's new security groups are stateful.

use super::*;

pub(super) const RULES: &[Default] = &[
    new("create_security_groups_default_statefulness", MANAGER),
    new("get_security_groups_default_statefulness", READER),
    new("update_security_groups_default_statefulness", MANAGER),
    new("delete_security_groups_default_statefulness", MANAGER),
];
