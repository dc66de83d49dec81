//! Attributes of security group rules.

use super::*;

const CORE: &str = "security-group";

/// Attributes of security group rules.
pub static SECURITY_GROUP_RULE: ResourceTable = ResourceTable {
    singular: "security_group_rule",
    plural: "security_group_rules",
    path: "security-group-rules",
    noun: "SecurityGroupRule",
    attributes: &[
        REVISION_NUMBER,
        CREATED_AT,
        UPDATED_AT,
        DESCRIPTION,
        id(CORE),
        Attribute::new("security_group_id", CORE)
            .create()
            .check(Check::String(36))
            .required_by_policy()
            .filter()
            .sort(),
        match_on("remote_group_id").check(Check::AnyText(255)),
        Attribute::new("direction", CORE).create().check(Check::Texts(&["ingress", "egress"])).filter().sort(),
        match_on("protocol").convert(Convert::Protocol),
        match_on("port_range_min").convert(Convert::PortValue),
        match_on("port_range_max").convert(Convert::PortValue),
        match_on("ethertype")
            .default(Default::Text("IPv4"))
            .convert(Convert::Ethertype)
            .check(Check::Texts(&["IPv4", "IPv6"])),
        match_on("remote_ip_prefix").convert(Convert::IpPrefix),
        tenant_id(CORE),
        Attribute::new("normalized_cidr", "security-groups-normalized-cidr").check(Check::SubnetOrNone).filter().sort(),
        Attribute::new("remote_address_group_id", "security-groups-remote-address-group")
            .create()
            .default(Default::Null)
            .check(Check::AnyText(255))
            .filter()
            .sort(),
        Attribute::new("belongs_to_default_sg", "security-groups-rules-belongs-to-default-sg")
            .convert(Convert::BooleanIfNotNone)
            .filter(),
        project_id(),
    ],
};

const fn match_on(name: &'static str) -> Attribute {
    Attribute::new(name, CORE).create().default(Default::Null).filter().sort()
}
