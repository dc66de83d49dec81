//! Private VLANs.

use super::*;

pub(super) const RULES: &[Default] = &[
    new("create_port:pvlan_type", MEMBER),
    new("create_port:pvlan_community", MEMBER),
    new("update_port:pvlan_type", MEMBER),
    new("update_port:pvlan_community", MEMBER),
    new("get_port:pvlan_type", READER),
    new("get_port:pvlan_community", READER),
    new("create_network:pvlan", MEMBER),
    new("update_network:pvlan", MEMBER),
    new("get_network:pvlan", READER),
];
