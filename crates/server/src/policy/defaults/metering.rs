//! Metering labels and their rules.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_metering_label", MANAGER, ADMIN),
    rule("get_metering_label", READER, ADMIN),
    rule("delete_metering_label", MANAGER, ADMIN),
    rule("create_metering_label_rule", MANAGER, ADMIN),
    rule("get_metering_label_rule", READER, ADMIN),
    rule("delete_metering_label_rule", MANAGER, ADMIN),
];
