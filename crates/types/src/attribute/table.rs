//! The tables: one file per resource.
//!
//! Each row says what the reference's effective attribute map says once all the extensions that are served have been
//! merged. Where two extensions define an attribute the row names the later one, whose definition counts.

mod address_group;
mod address_scope;
mod agent;
mod binding;
mod default_security_group_rule;
mod default_statefulness;
mod floatingip;
mod network;
mod network_ip_availability;
mod network_segment;
mod port;
mod rbac_policy;
mod router;
mod security_group;
mod security_group_rule;
mod subnet;
mod subnet_pool;

use super::{Attribute, Check, Convert, Default, ResourceTable};

pub use address_group::ADDRESS_GROUP;
pub use address_scope::ADDRESS_SCOPE;
pub use agent::AGENT;
pub use binding::BINDING;
pub use default_security_group_rule::DEFAULT_SECURITY_GROUP_RULE;
pub use default_statefulness::DEFAULT_STATEFULNESS;
pub use floatingip::FLOATINGIP;
pub use network::NETWORK;
pub use network_ip_availability::NETWORK_IP_AVAILABILITY;
pub use network_segment::NETWORK_SEGMENT;
pub use port::{DEVICE_OWNER_LENGTH, PORT};
pub use rbac_policy::RBAC_POLICY;
pub use router::ROUTER;
pub use security_group::SECURITY_GROUP;
pub use security_group_rule::SECURITY_GROUP_RULE;
pub use subnet::SUBNET;
pub use subnet_pool::SUBNET_POOL;

/// All tables of resources with an URL of their own.
pub static ALL: &[&ResourceTable] = &[
    &NETWORK,
    &SUBNET,
    &PORT,
    &SECURITY_GROUP,
    &SECURITY_GROUP_RULE,
    &AGENT,
    &RBAC_POLICY,
    &ADDRESS_GROUP,
    &DEFAULT_SECURITY_GROUP_RULE,
    &DEFAULT_STATEFULNESS,
    &ROUTER,
    &FLOATINGIP,
    &SUBNET_POOL,
    &ADDRESS_SCOPE,
    &NETWORK_IP_AVAILABILITY,
    &NETWORK_SEGMENT,
];

/// Longest name, in characters.
pub const NAME_LENGTH: usize = 255;
/// Longest description, in characters.
pub const DESCRIPTION_LENGTH: usize = 255;
/// Longest description of what has one of its own, in characters.
pub const LONG_DESCRIPTION_LENGTH: usize = 1024;
/// Longest project id, in characters.
pub const PROJECT_ID_LENGTH: usize = 255;
/// Longest tag, in characters.
pub const TAG_LENGTH: usize = 255;
/// Most tags a resource may carry.
pub const TAGS_PER_RESOURCE: usize = 50;

/// Rows are written as one shown, read-only attribute and what differs from it.
impl Attribute {
    const fn new(name: &'static str, extension: &'static str) -> Self {
        Self {
            name,
            extension,
            create: false,
            update: false,
            default: Default::Required,
            check: Check::Any,
            convert: Convert::None,
            visible: true,
            filter: false,
            sort: false,
            enforce_policy: false,
            required_by_policy: false,
        }
    }

    /// May be given on create.
    const fn create(mut self) -> Self {
        self.create = true;
        self
    }

    /// May be given on update.
    const fn update(mut self) -> Self {
        self.update = true;
        self
    }

    const fn default(mut self, default: Default) -> Self {
        self.default = default;
        self
    }

    const fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    const fn convert(mut self, convert: Convert) -> Self {
        self.convert = convert;
        self
    }

    /// Not shown.
    const fn hidden(mut self) -> Self {
        self.visible = false;
        self
    }

    const fn filter(mut self) -> Self {
        self.filter = true;
        self
    }

    const fn sort(mut self) -> Self {
        self.sort = true;
        self
    }

    const fn enforce_policy(mut self) -> Self {
        self.enforce_policy = true;
        self
    }

    const fn required_by_policy(mut self) -> Self {
        self.required_by_policy = true;
        self
    }
}

const fn id(extension: &'static str) -> Attribute {
    Attribute::new("id", extension).check(Check::Uuid).filter().sort()
}

const fn name(extension: &'static str) -> Attribute {
    Attribute::new("name", extension)
        .create()
        .update()
        .default(Default::Text(""))
        .check(Check::Name(NAME_LENGTH))
        .filter()
        .sort()
}

/// A description that is the resource's own and longer than that of others.
const fn long_description(extension: &'static str) -> Attribute {
    Attribute::new("description", extension)
        .create()
        .default(Default::Text(""))
        .check(Check::String(LONG_DESCRIPTION_LENGTH))
        .filter()
}

const fn admin_state_up(extension: &'static str) -> Attribute {
    Attribute::new("admin_state_up", extension)
        .create()
        .update()
        .default(Default::Bool(true))
        .convert(Convert::Boolean)
        .filter()
        .sort()
}

/// The owner under its older name. The reference has only this row and lets `project_id` follow it.
const fn tenant_id(extension: &'static str) -> Attribute {
    owner("tenant_id", extension)
}

/// The owner; the same in all but name as [`tenant_id`], and after all others as the reference adds it last.
const fn project_id() -> Attribute {
    owner("project_id", "project-id")
}

const fn owner(name: &'static str, extension: &'static str) -> Attribute {
    Attribute::new(name, extension)
        .create()
        .check(Check::String(PROJECT_ID_LENGTH))
        .required_by_policy()
        .filter()
        .sort()
}

const fn network_id(extension: &'static str) -> Attribute {
    Attribute::new("network_id", extension).create().check(Check::Uuid).required_by_policy().filter().sort()
}

const REVISION_NUMBER: Attribute =
    Attribute::new("revision_number", "standard-attr-revisions").default(Default::Null).filter();
const CREATED_AT: Attribute = Attribute::new("created_at", "standard-attr-timestamp").default(Default::Null);
const UPDATED_AT: Attribute = Attribute::new("updated_at", "standard-attr-timestamp").default(Default::Null);
const DESCRIPTION: Attribute = Attribute::new("description", "standard-attr-description")
    .create()
    .update()
    .default(Default::Text(""))
    .check(Check::String(DESCRIPTION_LENGTH))
    .filter();
const TAGS: Attribute = Attribute::new("tags", "standard-attr-tag").filter();
const TAGS_ANY: Attribute = Attribute::new("tags-any", "standard-attr-tag").hidden().filter();
const NOT_TAGS: Attribute = Attribute::new("not-tags", "standard-attr-tag").hidden().filter();
const NOT_TAGS_ANY: Attribute = Attribute::new("not-tags-any", "standard-attr-tag").hidden().filter();
