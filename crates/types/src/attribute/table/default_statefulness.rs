//! Attributes of a project's choice of stateful or stateless security groups.

use super::*;

const CORE: &str = "security-groups-default-statefulness";

/// Attributes of a project's choice of stateful or stateless security groups. Upstream calls one as it calls many.
pub static DEFAULT_STATEFULNESS: ResourceTable = ResourceTable {
    singular: "security_groups_default_statefulness",
    plural: "security_groups_default_statefulness",
    path: "security-groups-default-statefulness",
    noun: "SecurityGroupDefaultStatefulness",
    attributes: &[
        id(CORE),
        owner("project_id", CORE).default(Default::Null).check(Check::StringOrNone(Some(PROJECT_ID_LENGTH))),
        Attribute::new("stateful", CORE)
            .create()
            .update()
            .default(Default::Bool(true))
            .convert(Convert::Boolean)
            .filter()
            .sort(),
    ],
};
