//! Attributes of subnet pools.

use super::*;

const CORE: &str = "subnetpool";

/// Attributes of subnet pools, which the API writes in one word.
pub static SUBNET_POOL: ResourceTable = ResourceTable {
    singular: "subnetpool",
    plural: "subnetpools",
    path: "subnetpools",
    noun: "SubnetPool",
    attributes: &[
        id(CORE),
        Attribute::new("name", CORE).create().update().check(Check::NotEmptyName(NAME_LENGTH)).filter().sort(),
        tenant_id(CORE),
        Attribute::new("prefixes", CORE).create().update().check(Check::SubnetList),
        number("default_quota"),
        Attribute::new("ip_version", CORE).filter().sort(),
        number("default_prefixlen"),
        number("min_prefixlen"),
        number("max_prefixlen"),
        Attribute::new("is_default", CORE)
            .create()
            .update()
            .default(Default::Bool(false))
            .convert(Convert::Boolean)
            .filter()
            .sort()
            .required_by_policy()
            .enforce_policy(),
        Attribute::new("shared", CORE)
            .create()
            .default(Default::Bool(false))
            .convert(Convert::Boolean)
            .filter()
            .sort()
            .required_by_policy()
            .enforce_policy(),
        Attribute::new("address_scope_id", "address-scope")
            .create()
            .update()
            .default(Default::Unset)
            .check(Check::UuidOrNone)
            .filter()
            .sort(),
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

const fn number(name: &'static str) -> Attribute {
    Attribute::new(name, CORE)
        .create()
        .update()
        .default(Default::Unset)
        .convert(Convert::Int)
        .check(Check::NonNegative)
        .filter()
        .sort()
}
