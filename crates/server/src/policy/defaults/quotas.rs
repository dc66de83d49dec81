//! Quotas: a manager sees its own, an administrator sets them.

use super::*;

pub(super) const RULES: &[Default] =
    &[rule("get_quota", MANAGER, ADMIN), rule("update_quota", ADMIN, ADMIN), rule("delete_quota", ADMIN, ADMIN)];
