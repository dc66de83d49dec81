//! Attributes of security groups.

use super::*;

const CORE: &str = "security-group";

/// Attributes of security groups.
pub static SECURITY_GROUP: ResourceTable = ResourceTable {
    singular: "security_group",
    plural: "security_groups",
    path: "security-groups",
    noun: "SecurityGroup",
    attributes: &[
        REVISION_NUMBER,
        TAGS,
        TAGS_ANY,
        NOT_TAGS,
        NOT_TAGS_ANY,
        CREATED_AT,
        UPDATED_AT,
        DESCRIPTION,
        id(CORE),
        Attribute::new("name", CORE)
            .create()
            .update()
            .default(Default::Text(""))
            .check(Check::NameNotDefault(NAME_LENGTH))
            .filter()
            .sort(),
        tenant_id(CORE),
        Attribute::new("security_group_rules", CORE),
        Attribute::new("stateful", "stateful-security-group")
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::Boolean)
            .filter(),
        Attribute::new("shared", "security-groups-shared-filtering")
            .convert(Convert::Boolean)
            .filter()
            .enforce_policy()
            .required_by_policy(),
        project_id(),
    ],
};
