//! The checks of one caller's requests.

use std::{fmt, sync::Arc};

use axum::http::StatusCode;
use db::Conn;
use oslo::{
    context::Context,
    policy::{Credentials, Fault, RuleId, Rules},
};
use serde_json::{Map, Value};
use types::attribute::{Attribute, Check, Default, ResourceTable};

use super::{Parents, Subject};
use crate::{Refusal, Result};

/// The rules in force and the caller they are applied to.
#[derive(Debug)]
pub struct Guard {
    pub(super) rules: Arc<Rules>,
    pub(super) caller: Credentials,
    project_id: Option<String>,
}

/// What must hold for a request: the rule of its action, and those of guarded attributes that it gives.
#[derive(Debug, PartialEq, Eq)]
struct Demand {
    action: String,
    attributes: Vec<Guarded>,
}

/// A guarded attribute, and the members of the objects in its list.
#[derive(Debug, PartialEq, Eq)]
struct Guarded {
    rule: String,
    members: Vec<String>,
}

impl Guard {
    pub(super) fn new(rules: Arc<Rules>, caller: &Context) -> Self {
        Self { rules, caller: Credentials::of(caller), project_id: caller.project_id.clone() }
    }

    /// The answer of a rule when it does not depend on its target.
    pub fn known(&self, rule: &str) -> Option<bool> {
        self.rules.known(self.rules.resolve(rule), &self.caller)
    }

    /// Does the rule hold for the caller?
    pub fn allows(&self, rule: &str, subject: &Subject<'_>) -> Result<bool> {
        if self.rules.wrong_scope(rule, &self.caller).is_some() {
            return Ok(false);
        }
        self.holds(self.rules.resolve(rule), subject)
    }

    pub(super) fn holds(&self, rule: Option<RuleId>, subject: &Subject<'_>) -> Result<bool> {
        self.rules.holds(rule, subject, &self.caller).map_err(|fault| match fault {
            Fault::Parent(refusal) => refusal.into(),
            Fault::Owner { check, reason } => {
                let message = format!("Failed to check policy {check} because {reason}.");
                tracing::error!("{message}");
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "PolicyCheckError", message).into()
            }
        })
    }

    /// 403 unless the rule holds for what belongs to the caller's own project.
    pub fn require(&self, rule: &str) -> Result<()> {
        let mut own = Map::new();
        own.insert("project_id".to_owned(), self.project_id.clone().into());
        own.insert("tenant_id".to_owned(), self.project_id.clone().into());
        self.demand(Demand { action: rule.to_owned(), attributes: Vec::new() }, &own, &Parents::default())
    }

    /// 403 unless the rule holds for the resource.
    pub async fn require_of(&self, conn: &mut Conn, rule: &str, resource: &Map<String, Value>) -> Result<()> {
        let parents = self.parents(conn, &[self.rules.resolve(rule)], &[resource]).await?;
        self.demand(Demand { action: rule.to_owned(), attributes: Vec::new() }, resource, &parents)
    }

    /// 403 unless the caller may create each of these.
    pub async fn create(
        &self,
        conn: impl AsyncFnOnce() -> Result<Conn>,
        table: &ResourceTable,
        given: &[&Map<String, Value>],
    ) -> Result<()> {
        let action = format!("create_{}", table.singular);
        let demands: Vec<Demand> = given.iter().map(|given| Demand::of_create(table, action.clone(), given)).collect();
        if demands.iter().all(|demand| self.is_known(demand)) {
            return Ok(());
        }
        let rules: Vec<Option<RuleId>> = demands.iter().flat_map(|demand| self.rules_of(demand)).collect();
        let parents = match self.names_parents(&rules) {
            true => self.parents(&mut conn().await?, &rules, given).await?,
            false => Parents::default(),
        };
        for (demand, given) in demands.into_iter().zip(given) {
            self.demand(demand, given, &parents)?;
        }
        Ok(())
    }

    /// Whether the caller may update any resource by giving these attributes, whatever it is.
    pub fn may_update_any(&self, table: &ResourceTable, given: &Map<String, Value>) -> bool {
        !given.is_empty() && self.is_known(&Demand::of_update(table, given))
    }

    /// Whether the caller may delete any resource, whatever it is.
    pub fn may_delete_any(&self, table: &ResourceTable) -> bool {
        self.is_known(&Demand { action: format!("delete_{}", table.singular), attributes: Vec::new() })
    }

    /// 403, or 404 to those who may not see it, unless the caller may update the resource so.
    pub async fn update(
        &self,
        conn: &mut Conn,
        table: &ResourceTable,
        current: &Map<String, Value>,
        given: &Map<String, Value>,
    ) -> Result<()> {
        let mut target: Map<String, Value> = current.clone();
        target.retain(|name, _| table.attribute(name).is_none_or(needed_on_update));
        target.extend(given.clone());
        let demand = match given.is_empty() {
            // Nothing given looks like a create to upstream: everything that differs from its default is checked.
            true => Demand::of_create(table, format!("update_{}", table.singular), &target),
            false => Demand::of_update(table, given),
        };
        self.demand_or_hide(conn, table, demand, &target).await
    }

    /// 403, or 404 to those who may not see it, unless the caller may delete the resource.
    pub async fn delete(&self, conn: &mut Conn, table: &ResourceTable, current: &Map<String, Value>) -> Result<()> {
        let demand = Demand { action: format!("delete_{}", table.singular), attributes: Vec::new() };
        self.demand_or_hide(conn, table, demand, current).await
    }

    async fn demand_or_hide(
        &self,
        conn: &mut Conn,
        table: &ResourceTable,
        demand: Demand,
        target: &Map<String, Value>,
    ) -> Result<()> {
        let show = format!("get_{}", table.singular);
        let mut rules = self.rules_of(&demand);
        rules.push(self.rules.resolve(&show));
        let parents = self.parents(conn, &rules, &[target]).await?;
        let refused = match self.demand(demand, target, &parents) {
            Err(crate::Error::Refused(refusal)) if refusal.status == StatusCode::FORBIDDEN => refusal,
            other => return other,
        };
        let visible = self.allows(&show, &Subject { attributes: target, parents: &parents })?;
        Err(if visible { refused } else { Refusal::no_such_path() }.into())
    }

    /// 403 unless everything that the demand names holds.
    fn demand(&self, demand: Demand, target: &Map<String, Value>, parents: &Parents) -> Result<()> {
        // A rule of attributes has no scope, and with it the whole has none.
        if demand.attributes.is_empty()
            && let Some(scope) = self.rules.wrong_scope(&demand.action, &self.caller)
        {
            let (given, action) = (self.caller.scope(), &demand.action);
            let message =
                format!("rule:{action} requires a scope of ['{scope}'], request was made with {given} scope.");
            return Err(Refusal::forbidden("InvalidScope", message).into());
        }
        let subject = Subject { attributes: target, parents };
        for rule in self.rules_of(&demand) {
            if !self.holds(rule, &subject)? {
                return Err(
                    Refusal::forbidden("PolicyNotAuthorized", format!("{demand} is disallowed by policy")).into()
                );
            }
        }
        Ok(())
    }

    fn rules_of(&self, demand: &Demand) -> Vec<Option<RuleId>> {
        demand.names().map(|name| self.rules.resolve(name)).collect()
    }

    /// Whether it holds by the caller's roles alone.
    fn is_known(&self, demand: &Demand) -> bool {
        let scoped = demand.attributes.is_empty() && self.rules.wrong_scope(&demand.action, &self.caller).is_some();
        !scoped && demand.names().all(|name| self.known(name) == Some(true))
    }

    fn names_parents(&self, rules: &[Option<RuleId>]) -> bool {
        rules.iter().any(|rule| !self.rules.parents(*rule).is_empty())
    }

    /// The parents that these rules may ask for.
    pub(super) async fn parents(
        &self,
        conn: &mut Conn,
        rules: &[Option<RuleId>],
        resources: &[&Map<String, Value>],
    ) -> Result<Parents> {
        let mut named: Vec<(&str, &str)> = Vec::new();
        for rule in rules {
            if self.rules.known(*rule, &self.caller).is_none() {
                named.extend(self.rules.parents(*rule));
            }
        }
        Parents::load(conn, &named, resources).await
    }
}

/// What upstream loads of a resource to check its update: the rest does not count unless it is given.
fn needed_on_update(attribute: &Attribute) -> bool {
    attribute.required_by_policy || attribute.name == "id" || attribute.default == Default::Required
}

impl Demand {
    fn of_create(table: &ResourceTable, action: String, given: &Map<String, Value>) -> Self {
        let set = |attribute: &&Attribute| match (given.get(attribute.name), attribute.default.value()) {
            (None, _) => false,
            (Some(value), Some(default)) => *value != default,
            (Some(_), None) => true,
        };
        Self::new(table, action, given, set)
    }

    fn of_update(table: &ResourceTable, given: &Map<String, Value>) -> Self {
        let action = format!("update_{}", table.singular);
        Self::new(table, action, given, |attribute| given.contains_key(attribute.name))
    }

    fn new(
        table: &ResourceTable,
        action: String,
        given: &Map<String, Value>,
        set: impl Fn(&&Attribute) -> bool,
    ) -> Self {
        let guarded = table.attributes.iter().filter(|attribute| attribute.enforce_policy).filter(set);
        let attributes = guarded
            .map(|attribute| {
                let rule = format!("{action}:{}", attribute.name);
                let value = given.get(attribute.name);
                let items = value.and_then(Value::as_array).into_iter().flatten();
                // Only of gateways does the reference know the members of the object.
                let object = value.filter(|_| attribute.check == Check::GatewayInfo);
                let members = items.chain(object).filter_map(Value::as_object).flat_map(Map::keys);
                Guarded { members: members.map(|member| format!("{rule}:{member}")).collect(), rule }
            })
            .collect();
        Self { action, attributes }
    }

    /// All rules, in the order in which they are checked.
    fn names(&self) -> impl Iterator<Item = &str> {
        let attributes = self.attributes.iter();
        let guarded = attributes.flat_map(|a| std::iter::once(&a.rule).chain(&a.members)).map(String::as_str);
        std::iter::once(self.action.as_str()).chain(guarded)
    }
}

impl fmt::Display for Demand {
    /// As clients are told: each attribute is joined to what stands before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&"(".repeat(self.attributes.len()))?;
        write!(f, "rule:{}", self.action)?;
        for attribute in &self.attributes {
            if attribute.members.is_empty() {
                write!(f, " and rule:{})", attribute.rule)?;
            } else {
                write!(f, " and (rule:{} and (rule:{})))", attribute.rule, attribute.members.join(" and rule:"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;
    use types::attribute::table;

    use super::*;
    use crate::{
        Error,
        policy::tests::{CALLERS, caller, parents, policy},
    };

    /// Requests with guarded attributes, and what upstream tells each caller.
    const REQUESTS: &str = include_str!("../../tests/data/policy/requests.json");

    fn told(guard: &Guard, demand: Demand, target: &Map<String, Value>) -> String {
        match guard.demand(demand, target, &parents()) {
            Ok(()) => String::new(),
            Err(Error::Refused(refusal)) => refusal.message,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn requests_are_refused_as_upstream_refuses_them() {
        let requests: Vec<Value> = serde_json::from_str(REQUESTS).unwrap();
        assert!(requests.len() > 45);
        let policy = policy(true);
        for request in &requests {
            let action = request["action"].as_str().unwrap();
            let (verb, singular) = action.split_once('_').unwrap();
            let table = table::ALL.iter().find(|table| table.singular == singular).unwrap();
            let given = request["given"].as_object().unwrap();
            let mut target = request["current"].as_object().cloned().unwrap_or_default();
            target.extend(given.clone());
            let mut callers: Vec<(&str, Context)> =
                CALLERS.into_iter().map(|(name, roles, project)| (name, caller(&policy, roles, project))).collect();
            let mut system = caller(&policy, &["admin"], "");
            (system.project_id, system.system_scope) = (None, Some("all".to_owned()));
            callers.push(("system", system));
            for (name, caller) in callers {
                let guard = Guard::new(policy.rules().unwrap(), &caller);
                let demand = match verb {
                    "create" => Demand::of_create(table, action.to_owned(), given),
                    _ => Demand::of_update(table, given),
                };
                assert_eq!(request["told"][name], told(&guard, demand, &target), "{name}: {request}");
            }
        }
    }
}
