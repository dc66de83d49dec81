//! Availability zones, which any reader may list.

use super::*;

pub(super) const RULES: &[Default] = &[rule("get_availability_zone", ANY_READER, WAS_ANYONE)];
