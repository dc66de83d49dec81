//! Attributes of the templates of security group rules.

use super::*;

const CORE: &str = "security-groups-default-rules";

/// Attributes of the templates of security group rules.
pub static DEFAULT_SECURITY_GROUP_RULE: ResourceTable = ResourceTable {
    singular: "default_security_group_rule",
    plural: "default_security_group_rules",
    path: "default-security-group-rules",
    noun: "DefaultSecurityGroupRule",
    attributes: &[
        id(CORE),
        Attribute::new("tenant_id", CORE)
            .create()
            .check(Check::String(PROJECT_ID_LENGTH))
            .required_by_policy()
            .hidden(),
        long_description(CORE),
        match_on("remote_group_id").check(Check::AnyText(36)),
        match_on("remote_address_group_id").check(Check::AnyText(36)),
        Attribute::new("direction", CORE).create().check(Check::Texts(&["ingress", "egress"])).filter().sort(),
        match_on("protocol").convert(Convert::Protocol),
        match_on("port_range_min").convert(Convert::PortValue),
        match_on("port_range_max").convert(Convert::PortValue),
        match_on("ethertype")
            .default(Default::Text("IPv4"))
            .convert(Convert::Ethertype)
            .check(Check::Texts(&["IPv4", "IPv6"])),
        match_on("remote_ip_prefix").convert(Convert::IpPrefix),
        Attribute::new("used_in_default_sg", CORE).create().convert(Convert::Boolean).filter(),
        Attribute::new("used_in_non_default_sg", CORE).create().convert(Convert::Boolean).filter(),
    ],
};

const fn match_on(name: &'static str) -> Attribute {
    Attribute::new(name, CORE).create().default(Default::Null).filter().sort()
}
