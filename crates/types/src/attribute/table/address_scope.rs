//! Attributes of address scopes.

use super::*;

const CORE: &str = "address-scope";

/// Attributes of address scopes.
pub static ADDRESS_SCOPE: ResourceTable = ResourceTable {
    singular: "address_scope",
    plural: "address_scopes",
    path: "address-scopes",
    noun: "AddressScope",
    attributes: &[
        id(CORE),
        name(CORE),
        tenant_id(CORE),
        Attribute::new("shared", CORE)
            .create()
            .update()
            .default(Default::Bool(false))
            .convert(Convert::Boolean)
            .filter()
            .sort()
            .required_by_policy()
            .enforce_policy(),
        Attribute::new("ip_version", CORE).create().convert(Convert::Int).check(Check::Ints(&[4, 6])).filter().sort(),
        project_id(),
    ],
};
