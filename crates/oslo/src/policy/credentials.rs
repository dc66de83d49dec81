//! What rules may ask of a caller.

use serde_json::{Map, Value};

use super::text;
use crate::context::Context;

/// A caller as rules see it.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Names of roles, in lower case.
    roles: Vec<String>,
    /// Everything by name, as the language's generic checks find it.
    values: Map<String, Value>,
}

impl Credentials {
    /// The caller of a request.
    pub fn of(context: &Context) -> Self {
        // The older spelling of the owner is answered by the same value.
        let mut values = context.to_policy_values();
        if let Some(scope) = values.get("system_scope").filter(|scope| !scope.is_null()).cloned() {
            values.insert("system".to_owned(), scope);
        }
        Self { roles: context.roles.iter().map(|role| role.to_lowercase()).collect(), values }
    }

    /// Does the caller hold the role? Case does not count.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| *held == role.to_lowercase())
    }

    /// One value.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(if name == "tenant_id" { "project_id" } else { name })
    }

    /// The value by its name as the target of a check, for rules about the caller alone.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Does a value on the path equal the text? Lists are searched.
    pub(super) fn matches(&self, path: &[String], wanted: &str) -> bool {
        fn find(value: &Value, path: &[String], wanted: &str) -> bool {
            let Some((name, rest)) = path.split_first() else { return text::plain(value) == wanted };
            match value.get(name) {
                None => false,
                Some(Value::Array(items)) => items.iter().any(|item| find(item, rest, wanted)),
                Some(found) => find(found, rest, wanted),
            }
        }
        let Some((name, rest)) = path.split_first() else { return false };
        match self.value(name) {
            None => false,
            Some(Value::Array(items)) => items.iter().any(|item| find(item, rest, wanted)),
            Some(found) => find(found, rest, wanted),
        }
    }

    /// `system`, `domain` or `project`: what the caller's token is for.
    pub fn scope(&self) -> &'static str {
        let set = |name: &str| self.values.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        match () {
            () if set("system") => "system",
            () if set("domain_id") => "domain",
            () => "project",
        }
    }
}
