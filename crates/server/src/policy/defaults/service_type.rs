//! Providers of services.

use super::*;

pub(super) const RULES: &[Default] = &[rule("get_service_provider", ANY_READER, WAS_ANYONE)];
