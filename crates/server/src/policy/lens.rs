//! What a caller sees of resources that are shown to it.

use db::Conn;
use oslo::policy::RuleId;
use serde_json::{Map, Value};
use types::attribute::ResourceTable;

use super::{Guard, Parents, Subject};
use crate::{Error, Refusal, Result, resource::Resource};

/// Leaves out items and attributes that the caller may not see.
#[derive(Debug)]
pub struct Lens {
    guard: Guard,
    table: &'static ResourceTable,
    show: Option<RuleId>,
    /// The answer of `show` where it does not depend on the item.
    known: Option<bool>,
    /// Rules of attributes that are not known to hold.
    guarded: Vec<(&'static str, Option<RuleId>)>,
    /// Attributes to leave out, once the first item has told.
    hidden: Option<Vec<&'static str>>,
}

impl Lens {
    /// None where the caller sees everything.
    pub fn new<R: Resource>(guard: Option<Guard>) -> Option<Self> {
        let guard = guard?;
        let table = R::TABLE;
        let name = format!("get_{}", table.singular);
        let show = guard.rules.resolve(&name);
        let known = match guard.rules.wrong_scope(&name, &guard.caller) {
            Some(_) => Some(false),
            None => guard.rules.known(show, &guard.caller),
        };
        let mut guarded = Vec::new();
        for attribute in table.attributes.iter().filter(|attribute| attribute.visible) {
            let rule = guard.rules.find(&format!("{name}:{}", attribute.name));
            if rule.is_some() && guard.rules.known(rule, &guard.caller) != Some(true) {
                guarded.push((attribute.name, rule));
            }
        }
        if known == Some(true) && guarded.is_empty() {
            return None;
        }
        Some(Self { guard, table, show, known, guarded, hidden: None })
    }

    /// Whether no item at all can be seen.
    pub fn sees_nothing(&self) -> bool {
        self.known == Some(false)
    }

    /// Those of the items that the caller may see, with what it may see of them.
    pub async fn list<R: Resource>(&mut self, conn: &mut Conn, items: &[R]) -> Result<Vec<Map<String, Value>>> {
        let (targets, parents) = self.targets(conn, items).await?;
        let mut visible = Vec::with_capacity(targets.len());
        for target in targets {
            if self.sees(&Subject { attributes: &target, parents: &parents })? {
                visible.push(self.stripped::<R>(target));
            }
        }
        Ok(visible)
    }

    /// The item, or 404.
    pub async fn show<R: Resource>(&mut self, conn: &mut Conn, item: &R) -> Result<Map<String, Value>> {
        let mut visible = self.list(conn, std::slice::from_ref(item)).await?;
        visible.pop().ok_or_else(|| Refusal::hidden().into())
    }

    /// What the caller may see of what it has just made or changed.
    pub async fn answer<R: Resource>(&mut self, conn: &mut Conn, items: &[R]) -> Result<Vec<Map<String, Value>>> {
        let (targets, _) = self.targets(conn, items).await?;
        Ok(targets.into_iter().map(|target| self.stripped::<R>(target)).collect())
    }

    /// The items as rules see them, with what they belong to.
    async fn targets<R: Resource>(
        &mut self,
        conn: &mut Conn,
        items: &[R],
    ) -> Result<(Vec<Map<String, Value>>, Parents)> {
        let targets = items.iter().map(target).collect::<Result<Vec<_>>>()?;
        let mut rules: Vec<Option<RuleId>> = self.guarded.iter().map(|(_, rule)| *rule).collect();
        rules.push(self.show);
        let parents = self.guard.parents(conn, &rules, &targets.iter().collect::<Vec<_>>()).await?;
        if let Some(first) = targets.first() {
            self.settle(&Subject { attributes: first, parents: &parents })?;
        }
        Ok((targets, parents))
    }

    fn sees(&self, subject: &Subject<'_>) -> Result<bool> {
        match self.known {
            Some(known) => Ok(known),
            None => self.guard.holds(self.show, subject),
        }
    }

    /// The first item of an answer decides which attributes all of them show.
    fn settle(&mut self, first: &Subject<'_>) -> Result<()> {
        if self.hidden.is_some() {
            return Ok(());
        }
        let mut hidden = Vec::new();
        for (name, rule) in &self.guarded {
            if !self.guard.holds(*rule, first)? {
                hidden.push(*name);
                if *name == "project_id" && self.table.attribute("tenant_id").is_some() {
                    hidden.push("tenant_id");
                }
            }
        }
        self.hidden = Some(hidden);
        Ok(())
    }

    fn stripped<R: Resource>(&self, mut item: Map<String, Value>) -> Map<String, Value> {
        for name in self.hidden.iter().flatten().chain(R::UNSHOWN) {
            item.shift_remove(*name);
        }
        item
    }
}

/// A resource as rules see it.
pub(crate) fn target<R: Resource>(item: &R) -> Result<Map<String, Value>> {
    match serde_json::to_value(item) {
        Ok(Value::Object(mut target)) => {
            item.unshown(&mut target);
            Ok(target)
        }
        Ok(_) => Err(Error::Internal("a resource is no object".to_owned())),
        Err(error) => Err(Error::Internal(format!("a resource cannot be written as JSON: {error}"))),
    }
}
