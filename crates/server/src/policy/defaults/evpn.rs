//! The EVPN number of a router.

use super::*;

pub(super) const RULES: &[Default] = &[new("create_router:evpn_vni", ADMIN), new("get_router:evpn_vni", READER)];
