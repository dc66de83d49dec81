//! Attributes of segments.

use super::*;

const CORE: &str = "segment";

/// Attributes of segments. They have no owner; the one that upstream's map names is never shown.
pub static NETWORK_SEGMENT: ResourceTable = ResourceTable {
    singular: "segment",
    plural: "segments",
    path: "segments",
    noun: "Segment",
    attributes: &[
        REVISION_NUMBER,
        CREATED_AT,
        UPDATED_AT,
        DESCRIPTION,
        id(CORE),
        Attribute::new("tenant_id", CORE).create().check(Check::String(PROJECT_ID_LENGTH)).hidden(),
        Attribute::new("network_id", CORE).create().check(Check::Uuid).filter().sort(),
        Attribute::new("physical_network", CORE)
            .create()
            .default(Default::Unset)
            .check(Check::String(64))
            .filter()
            .sort(),
        Attribute::new("network_type", CORE).create().check(Check::String(32)).filter().sort(),
        Attribute::new("segmentation_id", CORE).create().default(Default::Unset).convert(Convert::Int).sort(),
        Attribute::new("name", CORE)
            .create()
            .update()
            .default(Default::Unset)
            .check(Check::NameOrNone(NAME_LENGTH))
            .filter()
            .sort(),
    ],
};
