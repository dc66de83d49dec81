//! All rules together: a service's defaults, replaced by the operator's.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Check, Credentials, Fault, FieldValue, FileRule, Language, ParseError, PolicyError, Target, check::DEPTH, parse,
};

/// Which tokens a rule may be used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Any: the rule is a building block of others.
    Any,
    /// Tokens of a project.
    Project,
}

/// A rule that a service brings.
#[derive(Debug, Clone, Copy)]
pub struct Default {
    /// Its name.
    pub name: &'static str,
    /// The rule.
    pub check: &'static str,
    /// Which tokens it may be used with.
    pub scope: Scope,
    /// What it was before.
    pub deprecated: Option<Deprecated>,
}

/// What a rule was in earlier releases.
#[derive(Debug, Clone, Copy)]
pub struct Deprecated {
    /// Its name then, which an operator's file may still use.
    pub name: &'static str,
    /// The rule then, which counts as well unless `enforce_new_defaults`.
    pub check: &'static str,
}

/// A rule among [`Rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleId(usize);

/// How rules are put together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode<'a> {
    pub(super) default_rule: &'a str,
    pub(super) enforce_new_defaults: bool,
    pub(super) enforce_scope: bool,
    pub(super) convert: FieldValue,
}

/// The rules in force.
#[derive(Debug)]
pub struct Rules {
    names: HashMap<String, usize>,
    checks: Vec<Check>,
    scopes: Vec<Scope>,
    default: Option<usize>,
    enforce_scope: bool,
    enforce_new_defaults: bool,
    warnings: Vec<String>,
}

impl Rules {
    pub(super) fn new(
        defaults: &[&[Default]],
        overrides: &BTreeMap<String, FileRule>,
        mode: Mode<'_>,
    ) -> Result<Self, PolicyError> {
        let mut parsed: BTreeMap<String, (Check, Scope)> = BTreeMap::new();
        for (name, rule) in overrides {
            let check = parse(&rule.rule, mode.convert).map_err(|source| rule.refuse(name, source))?;
            parsed.insert(name.clone(), (check, Scope::Any));
        }
        for default in defaults.iter().copied().flatten() {
            match parsed.get_mut(default.name) {
                Some((_, scope)) => *scope = default.scope,
                None => {
                    let check = of_default(default, overrides, mode)?;
                    parsed.insert(default.name.to_owned(), (check, default.scope));
                }
            }
        }
        let mut rules = Self {
            names: HashMap::with_capacity(parsed.len()),
            checks: Vec::with_capacity(parsed.len()),
            scopes: Vec::with_capacity(parsed.len()),
            default: None,
            enforce_scope: mode.enforce_scope,
            enforce_new_defaults: mode.enforce_new_defaults,
            warnings: Vec::new(),
        };
        for (name, (check, scope)) in parsed {
            rules.names.insert(name, rules.checks.len());
            rules.checks.push(check);
            rules.scopes.push(scope);
        }
        rules.default = rules.names.get(mode.default_rule).copied();
        rules.warn();
        rules.link();
        Ok(rules)
    }

    fn link(&mut self) {
        let mut checks = std::mem::take(&mut self.checks);
        for check in &mut checks {
            check.link(&|name| self.resolve(name));
        }
        self.checks = checks;
    }

    /// References to no rule, and in a circle, are told but do not stop a service. A rule in a circle holds for nobody.
    fn warn(&mut self) {
        let undefined = |at: &usize| self.checks[*at].references().iter().any(|to| !self.names.contains_key(*to));
        let mut undefined: Vec<&str> =
            self.names.iter().filter(|(_, at)| undefined(at)).map(|(n, _)| n.as_str()).collect();
        let mut circular: Vec<(&str, usize)> = self.names.iter().map(|(name, at)| (name.as_str(), *at)).collect();
        circular.retain(|(name, _)| self.is_circular(name));
        undefined.sort_unstable();
        circular.sort_unstable();
        let mut warnings = Vec::new();
        if !undefined.is_empty() {
            warnings.push(format!("Policies {} refer to a rule that is not defined.", undefined.join(", ")));
        }
        if !circular.is_empty() {
            let names: Vec<&str> = circular.iter().map(|(name, _)| *name).collect();
            warnings.push(format!("Policies {} refer to each other in a circle.", names.join(", ")));
        }
        let circular: Vec<usize> = circular.into_iter().map(|(_, at)| at).collect();
        for at in circular {
            self.checks[at] = Check::Never;
        }
        self.warnings = warnings;
    }

    /// Does the rule, by what it refers to, come back to itself?
    fn is_circular(&self, name: &str) -> bool {
        let mut seen: HashSet<&str> = HashSet::new();
        let mut open: Vec<&str> = vec![name];
        while let Some(next) = open.pop() {
            let Some(at) = self.names.get(next) else { continue };
            for to in self.checks[*at].references() {
                if to == name {
                    return true;
                }
                if seen.insert(to) {
                    open.push(to);
                }
            }
        }
        false
    }

    /// What an operator should know of the rules.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The rule of that name.
    pub fn find(&self, name: &str) -> Option<RuleId> {
        self.names.get(name).copied().map(RuleId)
    }

    /// The rule of that name, or else the default rule.
    pub fn resolve(&self, name: &str) -> Option<RuleId> {
        self.names.get(name).copied().or(self.default).map(RuleId)
    }

    /// Names of all rules.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Whether the rules of earlier releases have been left behind.
    pub fn enforces_new_defaults(&self) -> bool {
        self.enforce_new_defaults
    }

    pub(super) fn check(&self, id: RuleId) -> &Check {
        &self.checks[id.0]
    }

    /// Does the rule hold? One that does not exist holds for nobody.
    pub fn holds<T: Target>(
        &self,
        id: Option<RuleId>,
        target: &T,
        caller: &Credentials,
    ) -> Result<bool, Fault<T::Error>> {
        id.map_or(Ok(false), |id| self.check(id).holds(self, target, caller))
    }

    /// The answer when it does not depend on the target.
    pub fn known(&self, id: Option<RuleId>, caller: &Credentials) -> Option<bool> {
        id.map_or(Some(false), |id| self.check(id).known(self, caller))
    }

    /// Attributes of parents that the rule may ask for: resource and attribute.
    pub fn parents(&self, id: Option<RuleId>) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        if let Some(id) = id {
            self.check(id).parents(self, DEPTH, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The only scope that the rule's tokens may have, when the caller's is another.
    pub fn wrong_scope(&self, name: &str, caller: &Credentials) -> Option<&'static str> {
        let at = *self.names.get(name).filter(|_| self.enforce_scope)?;
        (self.scopes[at] == Scope::Project && caller.scope() != "project").then_some("project")
    }
}

/// What a default means beside the operator's rules: an older name in a file stands for it, and the older rule counts as
/// well until it is left behind.
fn of_default(default: &Default, overrides: &BTreeMap<String, FileRule>, mode: Mode<'_>) -> Result<Check, PolicyError> {
    let one = |text: &str| {
        parse(&Language::Text(text.to_owned()), mode.convert)
            .map_err(|source: ParseError| PolicyError::Default { rule: default.name.to_owned(), source })
    };
    let check = one(default.check)?;
    let Some(deprecated) = default.deprecated else { return Ok(check) };
    if deprecated.name != default.name
        && let Some(rule) = overrides.get(deprecated.name)
    {
        let alias = Language::Text(format!("rule:{}", default.name));
        let same = Language::Text(deprecated.check.to_owned());
        if rule.rule != same && rule.rule != alias {
            return parse(&rule.rule, mode.convert).map_err(|source| rule.refuse(deprecated.name, source));
        }
    }
    if !mode.enforce_new_defaults && deprecated.check != default.check {
        return Ok(Check::Any(vec![check, one(deprecated.check)?]));
    }
    Ok(check)
}
