//! From a request body to checked, converted attributes.

use serde_json::{Map, Value};

use super::{Attribute, Convert, Default, ResourceTable};

/// Why a body is refused. The texts are the API's own, since clients and tests compare them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// 400 `HTTPBadRequest`: a required attribute is missing, an attribute is unknown, or may not be given here.
    #[error("{0}")]
    BadRequest(String),
    /// 400 `HTTPBadRequest`: a value is not what it must be.
    #[error("Invalid input for {attribute}. Reason: {reason}.")]
    Invalid {
        /// The attribute.
        attribute: String,
        /// What is wrong with it, without the final full stop.
        reason: String,
    },
    /// Another error with a type of its own.
    #[error("{message}")]
    Fault {
        /// HTTP status.
        status: u16,
        /// The `type` of the answer's `NeutronError`.
        kind: &'static str,
        /// The whole message.
        message: String,
    },
}

impl AttributeError {
    /// 400 `InvalidInput`, which puts words of its own around the reason.
    pub fn input(reason: String) -> Self {
        Self::fault("InvalidInput", format!("Invalid input for operation: {reason}."))
    }

    /// 400 of another type.
    pub fn fault(kind: &'static str, message: String) -> Self {
        Self::Fault { status: 400, kind, message }
    }

    /// HTTP status to answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) | Self::Invalid { .. } => 400,
            Self::Fault { status, .. } => *status,
        }
    }

    /// The `type` of the answer's `NeutronError`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::Invalid { .. } => "HTTPBadRequest",
            Self::Fault { kind, .. } => kind,
        }
    }
}

/// Whose resource a body makes, as far as the caller may say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owner<'a> {
    /// The caller's project; `None` without authentication.
    pub project_id: Option<&'a str>,
    /// The caller may make resources for other projects.
    pub may_be_other: bool,
}

/// Checked and converted attributes of one resource.
///
/// On create every attribute with a default has a value; one that is absent was left unset.
/// On update only what the client gave is there. `project_id` and `tenant_id` are always both there or both absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(pub Map<String, Value>);

/// What a request with a body does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Create,
    Update,
}

impl Attributes {
    /// Checks a create body (the object inside `{"network": …}`) and fills in defaults. The body must name the owner,
    /// or have been given to [`claim_for`] before.
    pub fn for_create(table: &ResourceTable, mut body: Map<String, Value>) -> Result<Self, AttributeError> {
        merge_project(&mut body)?;
        if table.attribute("project_id").is_some() && !body.contains_key("project_id") {
            return Err(no_project());
        }
        refuse_unknown(table, &body)?;
        fill_in(table, &mut body)?;
        settle(table, body, Verb::Create)
    }

    /// Checks an update body.
    pub fn for_update(table: &ResourceTable, mut body: Map<String, Value>) -> Result<Self, AttributeError> {
        merge_project(&mut body)?;
        refuse_unknown(table, &body)?;
        if let Some(fixed) = table.attributes.iter().find(|a| !a.update && body.contains_key(a.name)) {
            return Err(AttributeError::BadRequest(format!("Cannot update read-only attribute {}", fixed.name)));
        }
        settle(table, body, Verb::Update)
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

/// Says whose a resource is to be before its body is checked: the caller's unless the body names a project, which
/// must be the caller's own unless the caller may act for others.
pub fn claim_for(
    owner: Owner<'_>,
    table: &ResourceTable,
    body: &mut Map<String, Value>,
    is_create: bool,
) -> Result<(), AttributeError> {
    merge_project(body)?;
    if let Some(named) = body.get("project_id")
        && named.as_str() != owner.project_id
        && !owner.may_be_other
    {
        return Err(AttributeError::BadRequest(
            "Specifying 'project_id' other than the authenticated project in request is not allowed for the current \
             user."
                .into(),
        ));
    }
    if is_create && knows(table, "project_id") && !body.contains_key("project_id") {
        let project = owner.project_id.filter(|project| !project.is_empty()).ok_or_else(no_project)?;
        body.insert("project_id".into(), project.into());
        body.insert("tenant_id".into(), project.into());
    }
    Ok(())
}

fn no_project() -> AttributeError {
    AttributeError::BadRequest("Running without keystone AuthN requires that project_id is specified".into())
}

/// The owner has two names; a body may use either, or both if they agree.
fn merge_project(body: &mut Map<String, Value>) -> Result<(), AttributeError> {
    match (body.get("project_id"), body.get("tenant_id")) {
        (Some(project), None) => {
            let project = project.clone();
            body.insert("tenant_id".into(), project);
        }
        (None, Some(project)) => {
            let project = project.clone();
            body.insert("project_id".into(), project);
        }
        (Some(project), Some(tenant)) if project != tenant => {
            return Err(AttributeError::BadRequest("'project_id' and 'tenant_id' do not match".into()));
        }
        _ => {}
    }
    Ok(())
}

fn refuse_unknown(table: &ResourceTable, body: &Map<String, Value>) -> Result<(), AttributeError> {
    let unknown: Vec<&str> = body.keys().map(String::as_str).filter(|name| !knows(table, name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(AttributeError::BadRequest(format!("Unrecognized attribute(s) '{}'", unknown.join(", "))))
}

/// A table that has one name of the owner has both, whichever it lists.
fn knows(table: &ResourceTable, name: &str) -> bool {
    let twin = match name {
        "tenant_id" => "project_id",
        "project_id" => "tenant_id",
        _ => return table.attribute(name).is_some(),
    };
    table.attribute(name).is_some() || table.attribute(twin).is_some()
}

fn fill_in(table: &ResourceTable, body: &mut Map<String, Value>) -> Result<(), AttributeError> {
    for attribute in table.attributes {
        let given = body.contains_key(attribute.name);
        if !attribute.create {
            if given {
                let name = attribute.name;
                return Err(AttributeError::BadRequest(format!("Attribute '{name}' not allowed in POST")));
            }
        } else if !given {
            match attribute.default {
                Default::Unset => {}
                Default::Required => return Err(missing(attribute)),
                default => {
                    body.extend(default.value().map(|value| (attribute.name.to_owned(), value)));
                }
            }
        }
    }
    Ok(())
}

fn missing(attribute: &Attribute) -> AttributeError {
    let name = attribute.name;
    AttributeError::BadRequest(format!("Failed to parse request. Required attribute '{name}' not specified"))
}

/// Converts and checks what is there, in the table's order.
fn settle(table: &ResourceTable, mut body: Map<String, Value>, verb: Verb) -> Result<Attributes, AttributeError> {
    for attribute in table.attributes {
        let Some(value) = body.get_mut(attribute.name) else { continue };
        *value = attribute.convert.apply(value.take())?;
        attribute.check.apply(attribute.name, value)?;
    }
    // A null asks for any MAC address, which on create is what leaving it out does.
    if verb == Verb::Create {
        body.retain(|name, value| {
            !value.is_null() || table.attribute(name).is_none_or(|attribute| attribute.convert != Convert::Mac)
        });
    }
    Ok(Attributes(body))
}
