//! Port forwardings, which belong to the owner of their floating IP.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_floatingip_port_forwarding", PARENT_MEMBER, WAS_PARENT_OWNER),
    rule("get_floatingip_port_forwarding", PARENT_READER, WAS_PARENT_OWNER),
    rule("update_floatingip_port_forwarding", PARENT_MEMBER, WAS_PARENT_OWNER),
    rule("delete_floatingip_port_forwarding", PARENT_MEMBER, WAS_PARENT_OWNER),
];
