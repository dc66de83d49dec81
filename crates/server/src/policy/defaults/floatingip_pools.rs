//! Where floating IPs come from.

use super::*;

pub(super) const RULES: &[Default] = &[rule("get_floatingip_pool", READER, WAS_ANYONE)];
