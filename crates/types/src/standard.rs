//! What every resource with a row in `standardattributes` carries.

use serde::{Deserialize, Serialize};

/// Description, tags, revision and timestamps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standard {
    /// Key of the row in `standardattributes`; never shown in REST.
    #[serde(skip)]
    pub standard_attr_id: i64,
    /// Free text; null for what is made beside a request, such as the rules of a new group.
    pub description: Option<String>,
    /// Bumped by every change of the resource or of what belongs to it.
    pub revision_number: i64,
    /// `YYYY-MM-DDTHH:MM:SSZ`, UTC.
    pub created_at: String,
    /// `YYYY-MM-DDTHH:MM:SSZ`, UTC.
    pub updated_at: String,
    /// Labels, in ascending order.
    pub tags: Vec<String>,
}
