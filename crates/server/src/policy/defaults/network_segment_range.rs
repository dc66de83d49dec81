//! Ranges of segment numbers that projects are given networks from.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_network_segment_range", ADMIN, ADMIN),
    renamed("create_network_segment_range:tags", ADMIN, "create_network_segment_ranges_tags", ADMIN),
    rule("get_network_segment_range", ADMIN, ADMIN),
    renamed("get_network_segment_range:tags", ADMIN, "get_network_segment_ranges_tags", ADMIN),
    rule("update_network_segment_range", ADMIN, ADMIN),
    renamed("update_network_segment_range:tags", ADMIN, "update_network_segment_ranges_tags", ADMIN),
    rule("delete_network_segment_range", ADMIN, ADMIN),
    renamed("delete_network_segment_range:tags", ADMIN, "delete_network_segment_ranges_tags", ADMIN),
];
