//! The network that a project is given on demand.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("get_auto_allocated_topology", READER, WAS_OWNER),
    rule("delete_auto_allocated_topology", MEMBER, WAS_OWNER),
];
