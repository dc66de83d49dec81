//! A rule as a tree, and its evaluation.

use std::fmt;

use serde_json::{Map, Value};

use super::{Credentials, Rules, rules::RuleId, text, text::Template};

/// How deep rules may refer to each other; deeper means in a circle.
pub(super) const DEPTH: usize = 64;

/// A rule as a tree.
#[derive(Debug, Clone)]
pub enum Check {
    /// `@` or an empty rule.
    Always,
    /// `!`
    Never,
    /// `not`
    Not(Box<Check>),
    /// `and`
    All(Vec<Check>),
    /// `or`
    Any(Vec<Check>),
    /// `rule:`, with the rule it means once all are known.
    Rule {
        /// The name in the text.
        name: String,
        /// The rule of that name, or the default rule.
        id: Option<RuleId>,
    },
    /// `role:`
    Role(Template),
    /// `project_id:%(…)s`: the caller's project owns the target, or the target's parent.
    Owner {
        /// The attribute that names the owner: `project_id`, or `network:project_id` of a parent.
        attribute: String,
    },
    /// `field:`: an attribute of the target has a value.
    Field(Field),
    /// Anything else: a credential or a literal compared with a text.
    Generic {
        /// What stands before the colon.
        subject: Subject,
        /// What it is compared with.
        text: Template,
    },
}

/// The left side of a generic check.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A literal, as the text it is compared as.
    Literal(String),
    /// A credential by its path.
    Path(Vec<String>),
}

/// What a `field:` check compares.
#[derive(Debug, Clone)]
pub struct Field {
    /// The resource in the text: it decides how the value is converted.
    pub resource: String,
    /// The attribute.
    pub attribute: String,
    /// What it must equal.
    pub value: Value,
    /// Instead of a value, what the beginning must match.
    pub pattern: Option<regex::Regex>,
}

/// What a rule is about: a resource, or the wish for one.
pub trait Target {
    /// Why a parent could not be looked up.
    type Error;

    /// An attribute.
    fn attribute(&self, name: &str) -> Option<&Value>;

    /// An attribute of the resource that the target belongs to; `None` when it belongs to none of that kind.
    fn parent(&self, resource: &str, attribute: &str) -> Result<Option<&Value>, Self::Error>;
}

/// Why a check has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault<E> {
    /// The owner of the target cannot be told.
    Owner {
        /// The check, as a rule has it.
        check: String,
        /// Why not.
        reason: String,
    },
    /// A parent could not be looked up.
    Parent(E),
}

impl Target for Map<String, Value> {
    type Error = std::convert::Infallible;

    fn attribute(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }

    fn parent(&self, _: &str, _: &str) -> Result<Option<&Value>, Self::Error> {
        Ok(None)
    }
}

/// Everything but the tree that an evaluation needs.
struct Case<'a, T> {
    rules: &'a Rules,
    target: &'a T,
    caller: &'a Credentials,
}

impl Check {
    /// Does the rule hold for this caller and target?
    pub fn holds<T: Target>(&self, rules: &Rules, target: &T, caller: &Credentials) -> Result<bool, Fault<T::Error>> {
        Case { rules, target, caller }.holds(self, DEPTH)
    }

    /// The answer when it does not depend on the target.
    pub fn known(&self, rules: &Rules, caller: &Credentials) -> Option<bool> {
        known(self, rules, caller, DEPTH)
    }

    /// The names of rules it refers to directly.
    pub(super) fn references(&self) -> Vec<&str> {
        match self {
            Self::Rule { name, .. } => vec![name],
            Self::Not(inner) => inner.references(),
            Self::All(inner) | Self::Any(inner) => inner.iter().flat_map(Self::references).collect(),
            _ => Vec::new(),
        }
    }

    /// Attributes of parents that it may ask for: resource and attribute.
    pub(super) fn parents<'a>(&'a self, rules: &'a Rules, depth: usize, out: &mut Vec<(&'a str, &'a str)>) {
        match self {
            Self::Not(inner) => inner.parents(rules, depth, out),
            Self::All(inner) | Self::Any(inner) => inner.iter().for_each(|check| check.parents(rules, depth, out)),
            Self::Rule { id: Some(id), .. } if depth > 0 => rules.check(*id).parents(rules, depth - 1, out),
            Self::Owner { attribute } => out.extend(attribute.split_once(':')),
            Self::Field(field) if field.resource == "networks" && field.attribute == "shared" => {
                out.push(("network", "shared"));
            }
            _ => {}
        }
    }

    /// Puts in which rules the names mean.
    pub(super) fn link(&mut self, find: &impl Fn(&str) -> Option<RuleId>) {
        match self {
            Self::Rule { name, id } => *id = find(name),
            Self::Not(inner) => inner.link(find),
            Self::All(inner) | Self::Any(inner) => inner.iter_mut().for_each(|check| check.link(find)),
            _ => {}
        }
    }
}

fn known(check: &Check, rules: &Rules, caller: &Credentials, depth: usize) -> Option<bool> {
    match check {
        Check::Always => Some(true),
        Check::Never => Some(false),
        Check::Not(inner) => known(inner, rules, caller, depth).map(|truth| !truth),
        Check::All(inner) => decided(inner, rules, caller, depth, false),
        Check::Any(inner) => decided(inner, rules, caller, depth, true),
        Check::Rule { id, .. } => match id {
            Some(id) if depth > 0 => known(rules.check(*id), rules, caller, depth - 1),
            _ => Some(false),
        },
        Check::Role(role) => role.constant().map(|role| caller.has_role(role)),
        Check::Owner { .. } | Check::Field(_) => None,
        Check::Generic { subject, text } => text.constant().map(|text| compare(subject, caller, text)),
    }
}

/// `or` is decided by one that holds, `and` by one that does not; otherwise all must be known.
fn decided(checks: &[Check], rules: &Rules, caller: &Credentials, depth: usize, by: bool) -> Option<bool> {
    let mut all_known = true;
    for check in checks {
        match known(check, rules, caller, depth) {
            Some(truth) if truth == by => return Some(by),
            Some(_) => {}
            None => all_known = false,
        }
    }
    all_known.then_some(!by)
}

fn compare(subject: &Subject, caller: &Credentials, text: &str) -> bool {
    match subject {
        Subject::Literal(literal) => literal == text,
        Subject::Path(path) => caller.matches(path, text),
    }
}

impl<T: Target> Case<'_, T> {
    fn holds(&self, check: &Check, depth: usize) -> Result<bool, Fault<T::Error>> {
        Ok(match check {
            Check::Always => true,
            Check::Never => false,
            Check::Not(inner) => !self.holds(inner, depth)?,
            Check::All(inner) => {
                for check in inner {
                    if !self.holds(check, depth)? {
                        return Ok(false);
                    }
                }
                true
            }
            Check::Any(inner) => {
                for check in inner {
                    if self.holds(check, depth)? {
                        return Ok(true);
                    }
                }
                false
            }
            Check::Rule { id, .. } => match id {
                Some(id) if depth > 0 => self.holds(self.rules.check(*id), depth - 1)?,
                _ => false,
            },
            Check::Role(role) => role.fill(self.target).is_some_and(|role| self.caller.has_role(&role)),
            Check::Owner { attribute } => self.owns(attribute)?,
            Check::Field(field) => self.field(field)?,
            Check::Generic { subject, text } => {
                text.fill(self.target).is_some_and(|text| compare(subject, self.caller, &text))
            }
        })
    }

    fn owns(&self, attribute: &str) -> Result<bool, Fault<T::Error>> {
        let fault = |reason: String| Fault::Owner { check: format!("project_id:%({attribute})s"), reason };
        let owner = match self.target.attribute(attribute) {
            Some(owner) => owner,
            None => {
                let parts = attribute.split_once(':').or_else(|| attribute.split_once('_'));
                let Some((resource, field)) = parts else {
                    return Err(fault(format!("Unable to find resource name in {attribute}")));
                };
                self.target.parent(resource, field).map_err(Fault::Parent)?.ok_or_else(|| {
                    fault(format!(
                        "Unable to verify match:%({attribute})s as the parent resource: {resource} was not found"
                    ))
                })?
            }
        };
        Ok(self.caller.value("project_id").is_some_and(|project| text::plain(project) == text::plain(owner)))
    }

    fn field(&self, field: &Field) -> Result<bool, Fault<T::Error>> {
        let value = match self.target.attribute(&field.attribute) {
            Some(value) => Some(value),
            // A port or a subnet is as shared as its network.
            None if field.resource == "networks" && field.attribute == "shared" => {
                self.target.parent("network", "shared").map_err(Fault::Parent)?
            }
            None => None,
        };
        Ok(match (value, &field.pattern) {
            (None | Some(Value::Null), _) => false,
            (Some(value), Some(pattern)) => value.as_str().is_some_and(|text| pattern.is_match(text)),
            (Some(value), None) => text::same(value, &field.value),
        })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut joined = |checks: &[Check], word: &str| {
            let checks: Vec<String> = checks.iter().map(Check::to_string).collect();
            write!(f, "({})", checks.join(word))
        };
        match self {
            Self::Always => f.write_str("@"),
            Self::Never => f.write_str("!"),
            Self::Not(inner) => write!(f, "not {inner}"),
            Self::All(checks) => joined(checks, " and "),
            Self::Any(checks) => joined(checks, " or "),
            Self::Rule { name, .. } => write!(f, "rule:{name}"),
            Self::Role(_) => f.write_str("role:…"),
            Self::Owner { attribute } => write!(f, "project_id:%({attribute})s"),
            Self::Field(field) => write!(f, "field:{}:{}", field.resource, field.attribute),
            Self::Generic { .. } => f.write_str("…"),
        }
    }
}
