//! What can be wrong with a configuration, in words that say where and what would be right.

use std::fmt;
use std::path::PathBuf;

use super::ini::{Place, SyntaxError};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file was named and cannot be read.
    #[error("cannot read the configuration file {}: {}", .file.display(), plain(.source))]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory was named and cannot be listed.
    #[error("cannot read the configuration directory {}: {}", .dir.display(), plain(.source))]
    Dir {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a file is nothing that belongs there.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// Values that their options do not allow, all that were found.
    #[error("{}", lines(.0))]
    Values(Vec<BadValue>),
}

/// A value that its option does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    /// Where it was written.
    pub origin: Origin,
    /// The section.
    pub group: String,
    /// The option.
    pub name: String,
    /// What was written, or stars for a secret.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub allowed: String,
    /// The value that was probably meant.
    pub meant: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The option's own default, or that of the subcommand.
    Default,
    /// A line of a file.
    File(Place),
    /// An environment variable.
    Environment(String),
    /// The command line.
    CommandLine,
}

/// Something that does not stop the program and that an operator wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What.
    pub text: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => place.fmt(f),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, group, name, value, problem, allowed, meant } = self;
        let value = value.replace('\n', " ");
        write!(f, "{origin}: [{group}] {name} = {value}: {problem}; allowed: {allowed}")?;
        match meant {
            Some(meant) => write!(f, "; did you mean `{meant}`?"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// The system's words without its error number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

fn lines(values: &[BadValue]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
