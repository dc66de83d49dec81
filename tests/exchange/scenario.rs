//! The list of scenarios, and how their steps are performed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use testkit::http::{Client, id};

/// What is created, changed and removed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) scenario: String,
    pub(crate) create: Vec<Step>,
    #[serde(default)]
    pub(crate) change: Vec<Step>,
    #[serde(default)]
    pub(crate) remove: Vec<Step>,
}

/// One request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    post: Option<String>,
    put: Option<String>,
    delete: Option<String>,
    #[serde(default)]
    with: Option<Value>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(rename = "as")]
    name: Option<String>,
    expect: Option<u16>,
}

/// The names that a run of a scenario has given.
pub(crate) type Names = BTreeMap<String, String>;

pub(crate) fn all() -> Vec<Scenario> {
    serde_saphyr::from_str(include_str!("scenarios.yaml")).unwrap()
}

/// Performs steps; those of an even number through one client, of an odd number through the other.
pub(crate) fn perform(
    what: &str,
    steps: &[Step],
    clients: [&Client; 2],
    names: &mut Names,
    failures: &mut Vec<String>,
) {
    for (number, step) in steps.iter().enumerate() {
        if let Err(problem) = step.perform(clients[number % 2], names) {
            failures.push(format!("{what}: {problem}"));
        }
    }
}

impl Step {
    fn perform(&self, client: &Client, names: &mut Names) -> Result<(), String> {
        let (method, path) = match (&self.post, &self.put, &self.delete) {
            (Some(path), None, None) => ("POST", path),
            (None, Some(path), None) => ("PUT", path),
            (None, None, Some(path)) => ("DELETE", path),
            _ => return Err(format!("not one method: {self:?}")),
        };
        let path = replaced(path, names);
        let mut body = match (&self.with, &self.body) {
            (Some(attributes), _) => Some(json!({ singular(&path): attributes })),
            (None, body) => body.clone(),
        };
        if let Some(body) = &mut body {
            replace(body, names);
        }
        let answer = match &body {
            Some(body) => client.json(method, &format!("/v2.0/{path}"), body),
            None => client.send(method, &format!("/v2.0/{path}"), &[], None),
        };
        let answer = answer.map_err(|error| format!("{method} {path}: {error:#}"))?;
        let good = self.expect.map_or((200..300).contains(&answer.status), |status| status == answer.status);
        if !good {
            return Err(format!("{method} {path} {body:?} was answered {}: {}", answer.status, answer.text()));
        }
        if let (Some(name), None) = (&self.name, self.expect) {
            let made = answer.json().as_object().and_then(|object| object.values().next().map(id)).unwrap_or_default();
            names.insert(name.clone(), made);
        }
        Ok(())
    }
}

/// `security-groups/1` → `security_group`; `rbac-policies` → `rbac_policy`.
fn singular(path: &str) -> String {
    let collection = path.split('/').next().unwrap_or_default().replace('-', "_");
    match collection.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => collection.trim_end_matches('s').to_owned(),
    }
}

/// Names of more letters first, so that none is taken for a longer one.
fn replaced(text: &str, names: &Names) -> String {
    let mut keys: Vec<&String> = names.keys().collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
    keys.iter().fold(text.to_owned(), |text, key| text.replace(&format!("${key}"), &names[*key]))
}

fn replace(value: &mut Value, names: &Names) {
    match value {
        Value::String(text) => *text = replaced(text, names),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, names)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, names)),
        _ => {}
    }
}
