//! Attributes of floating IPs.

use super::*;

const CORE: &str = "router";

/// Attributes of floating IPs.
pub static FLOATINGIP: ResourceTable = ResourceTable {
    singular: "floatingip",
    plural: "floatingips",
    path: "floatingips",
    noun: "FloatingIP",
    attributes: &[
        id(CORE),
        Attribute::new("floating_ip_address", CORE)
            .create()
            .default(Default::Null)
            .check(Check::IpAddressOrNone)
            .filter()
            .sort()
            .enforce_policy(),
        Attribute::new("subnet_id", CORE).create().default(Default::Null).check(Check::UuidOrNone).hidden(),
        Attribute::new("floating_network_id", CORE).create().check(Check::Uuid).filter().sort(),
        Attribute::new("router_id", "floating-ip-router-writable")
            .create()
            .update()
            .default(Default::Null)
            .check(Check::UuidOrNone)
            .filter()
            .sort(),
        Attribute::new("port_id", CORE)
            .create()
            .update()
            .default(Default::Null)
            .check(Check::UuidOrNone)
            .filter()
            .required_by_policy(),
        Attribute::new("fixed_ip_address", CORE)
            .create()
            .update()
            .default(Default::Null)
            .check(Check::IpAddressOrNone)
            .filter()
            .sort(),
        tenant_id(CORE),
        Attribute::new("status", CORE).filter().sort(),
        REVISION_NUMBER,
        TAGS,
        TAGS_ANY,
        NOT_TAGS,
        NOT_TAGS_ANY,
        CREATED_AT,
        UPDATED_AT,
        Attribute::new("port_details", "fip-port-details").default(Default::Unset),
        DESCRIPTION,
        project_id(),
    ],
};
