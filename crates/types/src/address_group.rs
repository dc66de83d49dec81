//! Address groups: addresses under one name, for the rules of security groups.

use serde::Serialize;

use crate::{AddressGroupId, Standard};

/// An address group as REST shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AddressGroup {
    /// Its id.
    pub id: AddressGroupId,
    /// Free text, not unique.
    pub name: String,
    /// The owner.
    pub project_id: String,
    /// The owner, by its older name.
    pub tenant_id: String,
    /// Its addresses and prefixes, in the order of their texts.
    pub addresses: Vec<String>,
    /// Shared with other projects; rules ask for it, REST does not show it.
    #[serde(skip)]
    pub shared: bool,
    /// Description, revision, timestamps.
    #[serde(flatten, serialize_with = "crate::standard::untagged")]
    pub standard: Standard,
}
