//! Attributes of networks.

use super::*;

const CORE: &str = "network";

/// Attributes of networks.
pub static NETWORK: ResourceTable = ResourceTable {
    singular: "network",
    plural: "networks",
    path: "networks",
    noun: "Network",
    attributes: &[
        id(CORE),
        name(CORE),
        Attribute::new("subnets", CORE).default(Default::EmptyList),
        admin_state_up(CORE),
        Attribute::new("status", CORE).filter().sort(),
        tenant_id(CORE),
        Attribute::new("shared", CORE)
            .create()
            .update()
            .default(Default::Bool(false))
            .convert(Convert::Boolean)
            .filter()
            .enforce_policy()
            .required_by_policy(),
        Attribute::new("ipv4_address_scope", "address-scope").check(Check::StringOrNone(None)),
        Attribute::new("ipv6_address_scope", "address-scope").check(Check::StringOrNone(None)),
        Attribute::new("router:external", "external-net")
            .create()
            .update()
            .default(Default::Bool(false))
            .convert(Convert::Boolean)
            .filter()
            .enforce_policy()
            .required_by_policy(),
        Attribute::new("l2_adjacency", "l2_adjacency"),
        Attribute::new("segments", "multi-provider")
            .create()
            .update()
            .default(Default::Unset)
            .check(Check::NetworkSegments)
            .enforce_policy(),
        // net-mtu shows it, net-mtu-writable lets it be set.
        Attribute::new("mtu", "net-mtu-writable")
            .create()
            .update()
            .default(Default::Int(0))
            .convert(Convert::Int)
            .check(Check::NonNegative)
            .filter()
            .sort()
            .enforce_policy(),
        Attribute::new("availability_zones", "network_availability_zone"),
        Attribute::new("availability_zone_hints", "network_availability_zone")
            .create()
            .default(Default::EmptyList)
            .check(Check::AvailabilityZoneHints)
            .sort(),
        Attribute::new("port_security_enabled", "port-security")
            .create()
            .update()
            .default(Default::Bool(true))
            .convert(Convert::Boolean)
            .enforce_policy(),
        provider("provider:network_type").check(Check::String(32)),
        provider("provider:physical_network").check(Check::String(64)),
        provider("provider:segmentation_id").convert(Convert::Int),
        Attribute::new("ha", "network_ha").create().default(Default::Bool(false)).convert(Convert::Boolean).hidden(),
        REVISION_NUMBER,
        TAGS,
        TAGS_ANY,
        NOT_TAGS,
        NOT_TAGS_ANY,
        CREATED_AT,
        UPDATED_AT,
        DESCRIPTION,
        project_id(),
    ],
};

const fn provider(name: &'static str) -> Attribute {
    Attribute::new(name, "provider").create().update().default(Default::Unset).filter().enforce_policy()
}
