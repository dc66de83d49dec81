//! Why Keystone, or a service behind it, could not be asked.

use crate::http::HttpError;

/// Why there is no token, no endpoint or no answer. Cheap to clone, because all who wait for one answer get it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeystoneError {
    /// The request did not get through.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Keystone does not take the credentials.
    #[error("Keystone refuses {who}: {reason} (HTTP {status}); check the name, the password and the project")]
    Refused {
        /// Who tried to authenticate.
        who: String,
        /// The HTTP status.
        status: u16,
        /// What Keystone says.
        reason: String,
    },
    /// An answer that is none of those that can be expected.
    #[error("{peer} gave HTTP {status} where {wanted} was asked for: {reason}")]
    Unexpected {
        /// Whom we asked.
        peer: String,
        /// What we wanted.
        wanted: &'static str,
        /// The HTTP status.
        status: u16,
        /// What the answer says.
        reason: String,
    },
    /// Version 3 is not served there.
    #[error("{url} does not lead to version 3 of the identity API; check auth_url")]
    NoVersion {
        /// Where it was looked for.
        url: String,
    },
    /// The catalogue has no such service.
    #[error("the catalogue has no {interfaces} endpoint of the service {service}{place}")]
    NoEndpoint {
        /// The type of the service.
        service: String,
        /// The interfaces that would do.
        interfaces: String,
        /// The region, if one was asked for.
        place: String,
    },
}

impl KeystoneError {
    /// The same request may succeed later without anybody changing anything here.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Http(error) => !matches!(error, HttpError::Url { .. } | HttpError::Certificates { .. }),
            Self::Unexpected { status, .. } => *status >= 500 || *status == 429,
            Self::Refused { .. } | Self::NoVersion { .. } | Self::NoEndpoint { .. } => false,
        }
    }
}
