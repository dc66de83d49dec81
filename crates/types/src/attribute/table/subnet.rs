//! Attributes of subnets.

use super::*;

const CORE: &str = "subnet";
const IPV6_MODES: &[&str] = &["dhcpv6-stateful", "dhcpv6-stateless", "slaac"];

/// Attributes of subnets.
pub static SUBNET: ResourceTable = ResourceTable {
    singular: "subnet",
    plural: "subnets",
    path: "subnets",
    noun: "Subnet",
    attributes: &[
        id(CORE),
        name(CORE),
        Attribute::new("ip_version", CORE).create().convert(Convert::Int).check(Check::Ints(&[4, 6])).filter().sort(),
        network_id(CORE),
        Attribute::new("subnetpool_id", CORE)
            .create()
            .default(Default::Unset)
            .check(Check::SubnetPoolIdOrNone)
            .filter()
            .sort(),
        Attribute::new("prefixlen", CORE)
            .create()
            .default(Default::Unset)
            .convert(Convert::Int)
            .check(Check::NonNegative)
            .hidden(),
        Attribute::new("cidr", CORE)
            .create()
            .default(Default::Unset)
            .convert(Convert::Cidr)
            .check(Check::SubnetOrNone)
            .filter()
            .sort(),
        Attribute::new("gateway_ip", CORE)
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::IpAddress)
            .check(Check::IpAddressOrNone)
            .filter()
            .sort(),
        Attribute::new("allocation_pools", CORE)
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::AllocationPools)
            .check(Check::IpPools),
        Attribute::new("dns_nameservers", CORE)
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::NoneToEmptyList)
            .check(Check::NameServers),
        Attribute::new("host_routes", CORE)
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::NoneToEmptyList)
            .check(Check::HostRoutes),
        tenant_id(CORE),
        Attribute::new("enable_dhcp", CORE)
            .create()
            .update()
            .default(Default::Bool(true))
            .convert(Convert::Boolean)
            .filter()
            .sort(),
        ipv6_mode("ipv6_ra_mode"),
        ipv6_mode("ipv6_address_mode"),
        Attribute::new("shared", CORE)
            .default(Default::Bool(false))
            .convert(Convert::Boolean)
            .hidden()
            .filter()
            .enforce_policy()
            .required_by_policy(),
        REVISION_NUMBER,
        Attribute::new("router:external", "subnet-external-network")
            .default(Default::Bool(false))
            .convert(Convert::Boolean)
            .filter()
            .enforce_policy()
            .required_by_policy(),
        Attribute::new("service_types", "subnet-service-types")
            .create()
            .update()
            .default(Default::Unset)
            .check(Check::SubnetServiceTypes),
        TAGS,
        TAGS_ANY,
        NOT_TAGS,
        NOT_TAGS_ANY,
        CREATED_AT,
        UPDATED_AT,
        Attribute::new("use_default_subnetpool", "default-subnetpools")
            .create()
            .default(Default::Bool(false))
            .convert(Convert::Boolean)
            .hidden(),
        DESCRIPTION,
        // segment shows it and lets it be given, subnet-segmentid-writable lets it be changed.
        Attribute::new("segment_id", "subnet-segmentid-writable")
            .create()
            .update()
            .default(Default::Null)
            .check(Check::UuidOrNone)
            .filter()
            .sort(),
        project_id(),
    ],
};

const fn ipv6_mode(name: &'static str) -> Attribute {
    Attribute::new(name, CORE).create().default(Default::Unset).check(Check::TextsOrNone(IPV6_MODES)).filter().sort()
}
