//! Why a command ends without success, and with which exit code.

use std::fmt;

use oslo::config::ConfigError;

/// The end of a command that did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It was called or configured wrongly: exit code 2.
    Usage(String),
    /// It failed: exit code 1.
    Failed(String),
    /// It has told on its standard output how it went; this is the exit code.
    Told(u8),
}

impl Stop {
    /// It was called or configured wrongly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// It failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// It failed at something, for a reason that is an error of its own.
    pub(crate) fn because(message: impl fmt::Display, error: impl std::error::Error) -> Self {
        Self::Failed(format!("{message}: {}", chain(&error)))
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::Told(code) => *code,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
            Self::Told(code) => write!(f, "ended with {code}"),
        }
    }
}

impl From<ConfigError> for Stop {
    fn from(error: ConfigError) -> Self {
        let text = error.to_string();
        // Several mistakes stand below each other, so that each place is at the start of a line.
        Self::Usage(if text.contains('\n') { format!("the configuration is wrong:\n{text}") } else { text })
    }
}

impl From<oslo::log::LogError> for Stop {
    fn from(error: oslo::log::LogError) -> Self {
        Self::Usage(chain(&error))
    }
}

/// An error and its causes, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
