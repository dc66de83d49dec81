//! Whether the security groups of a project are stateful where their creation does not say.

use serde::Serialize;

use crate::DefaultStatefulnessId;

/// A choice as REST shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DefaultStatefulness {
    /// Its id.
    pub id: DefaultStatefulnessId,
    /// The project, or null for all projects that have no choice of their own.
    pub project_id: Option<String>,
    /// Whether their new groups are stateful.
    pub stateful: bool,
}
