//! Agents and what is scheduled on them: for administrators.

use super::*;

pub(super) const RULES: &[Default] = &[
    new("create_agent", ADMIN),
    rule("get_agent", ADMIN, ADMIN),
    rule("update_agent", ADMIN, ADMIN),
    rule("delete_agent", ADMIN, ADMIN),
    rule("create_dhcp-network", ADMIN, ADMIN),
    rule("get_dhcp-networks", ADMIN, ADMIN),
    rule("delete_dhcp-network", ADMIN, ADMIN),
    rule("create_l3-router", ADMIN, ADMIN),
    rule("get_l3-routers", ADMIN, ADMIN),
    rule("update_l3-router", ADMIN, ADMIN),
    rule("delete_l3-router", ADMIN, ADMIN),
    rule("get_dhcp-agents", ADMIN, ADMIN),
    rule("get_l3-agents", ADMIN, ADMIN),
];
