//! Attributes of port bindings, which live below a port: `/v2.0/ports/{id}/bindings`.

use super::*;

const EXTENSION: &str = "binding-extended";

/// Attributes of port bindings. Their key is `host`.
pub static BINDING: ResourceTable = ResourceTable {
    singular: "binding",
    plural: "bindings",
    path: "bindings",
    noun: "PortBinding",
    attributes: &[
        Attribute::new("host", EXTENSION).create().update().check(Check::AnyText(255)).filter(),
        Attribute::new("vif_type", EXTENSION).default(Default::Unset).filter().enforce_policy(),
        Attribute::new("vif_details", EXTENSION).default(Default::Unset).check(Check::DictOrNone).enforce_policy(),
        Attribute::new("vnic_type", EXTENSION)
            .create()
            .update()
            .default(Default::Text("normal"))
            .check(Check::Texts(super::port::VNIC_TYPES))
            .filter()
            .enforce_policy(),
        Attribute::new("profile", EXTENSION)
            .create()
            .update()
            .default(Default::Unset)
            .check(Check::DictOrNone)
            .enforce_policy(),
        Attribute::new("status", EXTENSION).filter(),
        Attribute::new("project_id", EXTENSION).create().check(Check::String(PROJECT_ID_LENGTH)).required_by_policy(),
    ],
};
