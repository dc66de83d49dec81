//! Address scopes: within one, addresses are unique, so that it can be routed without translation.

use serde::Serialize;

use crate::AddressScopeId;

/// An address scope as REST shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddressScope {
    /// Its id.
    pub id: AddressScopeId,
    /// Free text, not unique.
    pub name: String,
    /// The owner.
    pub project_id: String,
    /// The owner, by its older name.
    pub tenant_id: String,
    /// Usable by other projects.
    pub shared: bool,
    /// 4 or 6.
    pub ip_version: u8,
}
