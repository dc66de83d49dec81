//! An operation's error as it travels to an agent.

use oslo::messaging::Failure;

use crate::{Error, Refusal};

/// What an endpoint fails with.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// A failure that is ready to be sent.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// An operation's error.
    #[error(transparent)]
    Operation(#[from] Error),
}

impl From<db::DbError> for RpcError {
    fn from(error: db::DbError) -> Self {
        Self::Operation(error.into())
    }
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> Self {
        Self::Operation(refusal.into())
    }
}

impl RpcError {
    /// Running the whole method again may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Operation(error) if error.is_retryable())
    }

    /// The `type` of a refusal.
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::Operation(Error::Refused(refusal)) => Some(&refusal.kind),
            _ => None,
        }
    }

    /// What is sent: refusals by their type, as exceptions of the module that agents rebuild; nothing about ourselves.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Failure(failure) => failure,
            Self::Operation(error) => {
                let refusal = error.into_refusal();
                Failure::neutron(refusal.kind, refusal.message)
            }
        }
    }
}
