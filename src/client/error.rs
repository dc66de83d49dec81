//! What can go wrong in the client, and how it is told.

/// A failure, worded for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The command line does not fit the command.
    #[error("{0}")]
    Usage(String),
    /// Anything the client itself refuses.
    #[error("{0}")]
    Refused(String),
    /// Nothing has that name or id.
    #[error("{0}")]
    NotFound(String),
    /// Several things have that name.
    #[error("Multiple {resource} matches found for name '{name}', use an ID to be more specific.")]
    NoUniqueMatch {
        /// The kind of thing looked for.
        resource: &'static str,
        /// The name they share.
        name: String,
    },
    /// The server answered with an error.
    #[error("{message}")]
    Server {
        /// The HTTP status.
        status: u16,
        /// Its message, with the request id.
        message: String,
    },
    /// The server could not be reached.
    #[error("Unable to establish connection to {url}: {reason}")]
    Connect {
        /// Where.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The output could not be written.
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
}

impl ClientError {
    /// The exit status that goes with it.
    pub(super) fn exit_status(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }

    /// Whether it says that the thing asked for is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::Server { status: 404, .. })
    }
}
