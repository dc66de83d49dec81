//! What goes wrong in a call: failures that travel, and the errors a caller sees.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Module of the failures that the dispatcher itself raises.
pub const DISPATCHER_MODULE: &str = "oslo_messaging.rpc.dispatcher";
/// Module of the failures that Python clients of Neutron rebuild as exceptions.
pub const NEUTRON_MODULE: &str = "neutron_lib.exceptions";
/// Module of Python's own exceptions.
pub const BUILTINS_MODULE: &str = "builtins";
/// What Python adds to the class name of a failure that it relays.
const REMOTE_SUFFIX: &str = "_Remote";

/// An exception as it travels: receivers act on `class` and `module`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{class}: {message}")]
pub struct Failure {
    /// Name of the exception class.
    pub class: String,
    /// Python module of that class.
    pub module: String,
    /// Its text.
    #[serde(default)]
    pub message: String,
    /// What Python adds, for Python.
    #[serde(flatten)]
    pub detail: Box<FailureDetail>,
}

/// The parts of a failure that only a Python receiver uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDetail {
    /// Lines of a traceback; ours are empty.
    #[serde(default)]
    pub tb: Vec<String>,
    /// Positional arguments of the exception.
    #[serde(default)]
    pub args: Vec<Value>,
    /// Keyword arguments of the exception.
    #[serde(default)]
    pub kwargs: Map<String, Value>,
}

impl Failure {
    /// A failure without arguments.
    pub fn new(class: impl Into<String>, module: impl Into<String>, message: impl Into<String>) -> Self {
        Self { class: class.into(), module: module.into(), message: message.into(), detail: Box::default() }
    }

    /// An exception of the networking service, which Python agents rebuild.
    pub fn neutron(class: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(class, NEUTRON_MODULE, message)
    }

    /// No endpoint serves that version.
    pub fn unsupported_version(version: &str, method: &str) -> Self {
        let message = format!("Endpoint does not support RPC version {version}. Attempted method: {method}");
        Self::new("UnsupportedVersion", DISPATCHER_MODULE, message)
    }

    /// Endpoints serve the version, but none has the method.
    pub fn no_such_method(method: &str) -> Self {
        Self::new("NoSuchMethod", DISPATCHER_MODULE, format!("Endpoint does not support RPC method {method}"))
    }

    /// The arguments do not fit the method.
    pub fn bad_arguments(method: &str, why: impl std::fmt::Display) -> Self {
        Self::new("TypeError", BUILTINS_MODULE, format!("{method}(): {why}"))
    }

    /// The text that stands in a reply: JSON within the JSON.
    pub fn encode(&self) -> String {
        let mut failure = self.clone();
        failure.class = strip(&self.class).to_owned();
        serde_json::to_string(&failure).unwrap_or_default()
    }

    /// Reads the text of a reply. What is not understood becomes a failure that holds the text.
    pub fn decode(text: &str) -> Self {
        match serde_json::from_str::<Self>(text) {
            Ok(mut failure) => {
                failure.class = strip(&failure.class).to_owned();
                failure
            }
            Err(_) => Self::new("Exception", BUILTINS_MODULE, text),
        }
    }
}

fn strip(class: &str) -> &str {
    class.strip_suffix(REMOTE_SUFFIX).unwrap_or(class)
}

/// Why a call brought no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody answered in time.
    #[error("no answer to '{method}' from topic '{topic}' in time")]
    Timeout {
        /// The topic called.
        topic: String,
        /// The method called.
        method: String,
    },
    /// The other side failed.
    #[error("the other side failed")]
    Remote(#[from] Failure),
    /// The transport is closed, or the other side ended before it answered.
    #[error("the message transport is not available for topic '{topic}'")]
    Unavailable {
        /// The topic called.
        topic: String,
    },
    /// The message broker cannot be reached, or does not take the message.
    #[error("nothing can be sent to topic '{topic}': {why}")]
    Broker {
        /// The topic called.
        topic: String,
        /// Which broker, and what is wrong with it.
        why: String,
    },
    /// The answer is not of the expected shape.
    #[error("the answer to '{method}' is not understood: {why}")]
    Answer {
        /// The method called.
        method: String,
        /// What is wrong with the answer.
        why: String,
    },
}

impl CallError {
    /// The class of the exception at the other side, if it was one.
    pub fn remote_class(&self) -> Option<&str> {
        match self {
            Self::Remote(failure) => Some(&failure.class),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispatcher_failures_have_upstreams_words() {
        let version = Failure::unsupported_version("9.0", "sync");
        assert_eq!(
            version.to_string(),
            "UnsupportedVersion: Endpoint does not support RPC version 9.0. Attempted method: sync"
        );
        let method = Failure::no_such_method("sync");
        assert_eq!(method.message, "Endpoint does not support RPC method sync");
        assert_eq!(method.module, "oslo_messaging.rpc.dispatcher");
    }

    #[test]
    fn a_relayed_failure_keeps_its_class() {
        let text = r#"{"class":"NetworkNotFound_Remote","module":"neutron_lib.exceptions_Remote","message":"m","tb":["a"],"args":[],"kwargs":{"net_id":"n"}}"#;
        let failure = Failure::decode(text);
        assert_eq!(failure.class, "NetworkNotFound");
        assert_eq!(Failure::decode(&failure.encode()), failure);
        assert_eq!(Failure::decode("not json").message, "not json");
    }
}
