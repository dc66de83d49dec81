//! What every resource with a row in `standardattributes` carries.

use serde::{Deserialize, Serialize, Serializer};

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

/// For resources that cannot be tagged: all the rest.
pub(crate) fn untagged<S: Serializer>(standard: &Standard, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Untagged<'a> {
        description: &'a Option<String>,
        revision_number: i64,
        created_at: &'a str,
        updated_at: &'a str,
    }
    let Standard { description, revision_number, created_at, updated_at, .. } = standard;
    Untagged { description, revision_number: *revision_number, created_at, updated_at }.serialize(serializer)
}
