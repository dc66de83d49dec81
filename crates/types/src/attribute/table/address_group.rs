//! Attributes of address groups.

use super::*;

const CORE: &str = "address-group";

/// Attributes of address groups.
pub static ADDRESS_GROUP: ResourceTable = ResourceTable {
    singular: "address_group",
    plural: "address_groups",
    path: "address-groups",
    noun: "AddressGroup",
    attributes: &[
        REVISION_NUMBER,
        CREATED_AT,
        UPDATED_AT,
        long_description(CORE).update().sort(),
        id(CORE),
        name(CORE),
        owner("project_id", CORE),
        Attribute::new("addresses", CORE)
            .create()
            .default(Default::Unset)
            .convert(Convert::NoneToEmptyList)
            .check(Check::SubnetList),
        Attribute::new("shared", CORE).default(Default::Bool(false)).convert(Convert::Boolean).hidden(),
    ],
};
