//! Attributes of RBAC policies.

use super::*;

const CORE: &str = "rbac-policies";

/// Attributes of RBAC policies.
pub static RBAC_POLICY: ResourceTable = ResourceTable {
    singular: "rbac_policy",
    plural: "rbac_policies",
    path: "rbac-policies",
    noun: "RbacPolicy",
    attributes: &[
        Attribute::new("id", CORE).check(Check::Uuid).filter(),
        Attribute::new("object_type", CORE)
            .create()
            .default(Default::Null)
            .convert(Convert::RbacObjectType)
            .filter()
            .enforce_policy(),
        Attribute::new("object_id", CORE).create().check(Check::Uuid).filter().enforce_policy(),
        Attribute::new("target_tenant", CORE).create().update().check(Check::TargetProject).filter().enforce_policy(),
        Attribute::new("tenant_id", CORE)
            .create()
            .check(Check::String(PROJECT_ID_LENGTH))
            .required_by_policy()
            .filter(),
        Attribute::new("action", CORE).create().check(Check::String(DESCRIPTION_LENGTH)).filter().enforce_policy(),
        Attribute::new("project_id", "project-id")
            .create()
            .check(Check::String(PROJECT_ID_LENGTH))
            .required_by_policy()
            .filter(),
    ],
};
