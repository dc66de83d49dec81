//! Bindings of a port to several hosts, which only services make.

use super::*;

pub(super) const RULES: &[Default] = &[
    new("get_port_binding", SERVICE),
    new("create_port_binding", ONLY_SERVICE),
    new("delete_port_binding", ONLY_SERVICE),
    new("activate", ONLY_SERVICE),
];
