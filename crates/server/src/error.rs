//! What an operation can end in, and its one translation to an HTTP answer.
//!
//! A [`Refusal`] is part of the API: clients compare its status, type and message, so its texts are the API's own.
//! Everything else is our fault or the machine's; it is logged once, here at the edge, and the client is told no more
//! than that it happened.

use axum::http::StatusCode;
use db::DbError;
use types::attribute::AttributeError;

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is refused, as the API documents.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error("the database refused an operation")]
    Db(#[from] DbError),
    /// The message transport failed.
    #[error("a message could not be sent")]
    Bus(#[from] oslo::messaging::CallError),
    /// Something that cannot happen did.
    #[error("{0}")]
    Internal(String),
}

/// A refusal as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// `type` of the `NeutronError` body.
    pub kind: String,
    /// `message` of the `NeutronError` body.
    pub message: String,
}

impl Error {
    /// Running the whole operation again may succeed.
    ///
    /// So it may after a duplicate or a parent that is missing: operations look before they write, so another transaction
    /// wrote in between, and the next look finds what it wrote. A node of Galera says too that a parent is missing when it
    /// has undone a transaction, the parent's insertion included, in favour of another node's.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Db(error) => {
                error.is_retryable() || error.is_duplicate(&[]) || matches!(error, DbError::ForeignKey { .. })
            }
            _ => false,
        }
    }

    /// The answer to give, and whether the error is news to the operator.
    pub fn into_refusal(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Db(
                error @ (DbError::Unavailable { .. }
                | DbError::Busy { .. }
                | DbError::Conflict { .. }
                | DbError::Lost { .. }
                | DbError::CommitLost { .. }),
            ) => {
                log(&error);
                Refusal::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "HTTPServiceUnavailable",
                    "The server is currently unavailable. Please try again at a later time.",
                )
            }
            other => {
                log(&other);
                Refusal::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "HTTPInternalServerError",
                    "Request Failed: internal server error while processing your request.",
                )
            }
        }
    }
}

fn log(error: &dyn std::error::Error) {
    tracing::error!("{}", chain(error));
}

/// The error with everything that led to it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Type of the answer for what a caller may not see; its body calls it `HTTPNotFound`.
const HIDDEN: &str = "HTTPNotFound (hidden)";

/// What the API says where it has nothing better to say.
const NOT_COMPLIED: &str =
    "The server could not comply with the request since it is either malformed or otherwise incorrect.";

impl Refusal {
    /// Any refusal.
    pub fn new(status: StatusCode, kind: &str, message: impl Into<String>) -> Self {
        Self { status, kind: kind.to_owned(), message: message.into() }
    }

    /// 404 `<Noun>NotFound`.
    pub fn not_found(noun: &str, id: impl std::fmt::Display) -> Self {
        let spoken = spoken(noun);
        let message = match noun {
            "SecurityGroup" | "SecurityGroupRule" => format!("{spoken} {id} does not exist"),
            "DefaultSecurityGroupRule" => format!("Default Security Group rule {id} does not exist"),
            "Router" | "FloatingIP" => format!("{spoken} {id} could not be found"),
            "RbacPolicy" => format!("RBAC policy of type unknown with ID {id} not found"),
            _ => format!("{spoken} {id} could not be found."),
        };
        Self::new(StatusCode::NOT_FOUND, &format!("{noun}NotFound"), message)
    }

    /// 404 for a path that names nothing.
    pub fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "HTTPNotFound", "The resource could not be found.")
    }

    /// 404 for what the caller may not see. Unlike other refusals its body is bare.
    pub fn hidden() -> Self {
        Self::new(StatusCode::NOT_FOUND, HIDDEN, "The resource could not be found.")
    }

    /// Whether it is told by itself instead of inside `NeutronError`.
    pub fn is_bare(&self) -> bool {
        self.kind == HIDDEN
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "HTTPMethodNotAllowed", NOT_COMPLIED)
    }

    /// 406: the client takes no JSON.
    pub fn not_acceptable() -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "HTTPNotAcceptable", NOT_COMPLIED)
    }

    /// 400 for what is not text where text must be.
    pub fn not_text() -> Self {
        Self::malformed(NOT_COMPLIED)
    }

    /// 400 of the HTTP layer itself.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::bad_request("HTTPBadRequest", message)
    }

    /// 400 with a type of its own.
    pub fn bad_request(kind: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    /// 400 `InvalidInput`; `reason` without its final full stop.
    pub fn invalid_input(reason: impl std::fmt::Display) -> Self {
        Self::bad_request("InvalidInput", format!("Invalid input for operation: {reason}."))
    }

    /// 400 `BadRequest` of an operation on a resource; `reason` without its final full stop.
    pub fn bad_request_of(resource: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad_request("BadRequest", format!("Bad {resource} request: {reason}."))
    }

    /// 409 with a type of its own.
    pub fn conflict(kind: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind, message)
    }

    /// 403 `PolicyNotAuthorized` or another type.
    pub fn forbidden(kind: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, kind, message)
    }
}

/// `SecurityGroupRule` as messages put it: `Security group rule`.
fn spoken(noun: &str) -> String {
    if noun == "FloatingIP" {
        return "Floating IP".to_owned();
    }
    let mut text = String::with_capacity(noun.len() + 4);
    for (i, c) in noun.char_indices() {
        if i > 0 && c.is_uppercase() {
            text.push(' ');
            text.extend(c.to_lowercase());
        } else {
            text.push(c);
        }
    }
    text
}

impl From<AttributeError> for Error {
    fn from(error: AttributeError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Self::Refused(Refusal::new(status, error.kind(), error.to_string()))
    }
}
