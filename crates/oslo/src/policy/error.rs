//! What can be wrong with a rule or a file of rules.

use std::{fmt, path::PathBuf};

/// What a check may be, as messages list it.
const ALLOWED: &str = "`@`, `!`, `role:<name>`, `rule:<rule>`, `field:<resource>:<attribute>=<value>`, \
                       `project_id:%(<attribute>)s` or `<credential>:<value>`, combined by `and`, `or`, `not` and \
                       parentheses";

/// Why a rule's text means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Where in the rule, in characters from 1.
    pub position: usize,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}; a rule is made of {ALLOWED}", self.position, self.reason)
    }
}

impl std::error::Error for ParseError {}

/// Why a file of rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("the policy file {} cannot be read", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is no YAML or JSON mapping of rule names to rules.
    #[error("the policy file {} must map names of rules to rules: {reason}", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its place.
        reason: String,
    },
    /// A rule means nothing.
    #[error("{}, line {line}, rule \"{rule}\"", file.display())]
    Rule {
        /// The file.
        file: PathBuf,
        /// The line where the rule begins.
        line: u64,
        /// The rule's name.
        rule: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// A rule that the service brings itself means nothing.
    #[error("the default of rule \"{rule}\"")]
    Default {
        /// The rule's name.
        rule: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
}

impl PolicyError {
    /// The error with what led to it, on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}
