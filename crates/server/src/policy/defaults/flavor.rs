//! Flavors of services and their profiles.

use super::*;

pub(super) const RULES: &[Default] = &[
    rule("create_flavor", ADMIN, ADMIN),
    rule("get_flavor", ANY_READER, WAS_ANYONE),
    rule("update_flavor", ADMIN, ADMIN),
    rule("delete_flavor", ADMIN, ADMIN),
    rule("create_service_profile", ADMIN, ADMIN),
    rule("get_service_profile", ADMIN, ADMIN),
    rule("update_service_profile", ADMIN, ADMIN),
    rule("delete_service_profile", ADMIN, ADMIN),
    rule("get_flavor_service_profile", READER, WAS_ANYONE),
    rule("create_flavor_service_profile", ADMIN, ADMIN),
    rule("delete_flavor_service_profile", ADMIN, ADMIN),
];
