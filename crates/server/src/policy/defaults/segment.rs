//! Segments of routed networks: for administrators.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_segment", ADMIN, ADMIN),
    new("create_segments_tags", ADMIN),
    rule("get_segment", ADMIN, ADMIN),
    new("get_segments_tags", ADMIN),
    rule("update_segment", ADMIN, ADMIN),
    new("update_segments_tags", ADMIN),
    rule("delete_segment", ADMIN, ADMIN),
    new("delete_segments_tags", ADMIN),
];
