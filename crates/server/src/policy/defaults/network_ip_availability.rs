//! How many addresses are left.

use super::*;

pub(super) const RULES: &[Default] = &[rule("get_network_ip_availability", SERVICE, ADMIN)];
