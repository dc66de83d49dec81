//! Attributes of routers.

use super::*;

const CORE: &str = "router";

/// Attributes of routers.
pub static ROUTER: ResourceTable = ResourceTable {
    singular: "router",
    plural: "routers",
    path: "routers",
    noun: "Router",
    attributes: &[
        id(CORE),
        name(CORE),
        admin_state_up(CORE),
        Attribute::new("status", CORE).sort(),
        tenant_id(CORE),
        // The last definition is that of gateways with a QoS policy, of which there are none here.
        Attribute::new("external_gateway_info", "qos-gateway-ip")
            .create()
            .update()
            .default(Default::Null)
            .check(Check::GatewayInfo)
            .enforce_policy(),
        Attribute::new("ha", "l3-ha")
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::BooleanIfNotNone)
            .enforce_policy(),
        Attribute::new("flavor_id", "l3-flavors").create().default(Default::Unset).sort().enforce_policy(),
        REVISION_NUMBER,
        Attribute::new("availability_zones", "router_availability_zone"),
        Attribute::new("availability_zone_hints", "router_availability_zone")
            .create()
            .default(Default::EmptyList)
            .check(Check::AvailabilityZoneHints),
        TAGS,
        TAGS_ANY,
        NOT_TAGS,
        NOT_TAGS_ANY,
        CREATED_AT,
        UPDATED_AT,
        Attribute::new("distributed", "dvr")
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::BooleanIfNotNone)
            .enforce_policy(),
        Attribute::new("routes", "extraroute")
            .update()
            .default(Default::Unset)
            .convert(Convert::NoneToEmptyList)
            .check(Check::HostRoutes),
        DESCRIPTION,
        project_id(),
    ],
};
