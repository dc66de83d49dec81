//! Ports that a local IP stands for; they belong to its owner.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_local_ip_port_association", PARENT_MEMBER, WAS_PARENT_OWNER),
    rule("get_local_ip_port_association", PARENT_READER, WAS_PARENT_OWNER),
    rule("delete_local_ip_port_association", PARENT_MEMBER, WAS_PARENT_OWNER),
];
