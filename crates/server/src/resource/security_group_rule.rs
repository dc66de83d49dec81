//! Security group rules. What they may say is in [`check`].

pub(super) mod check;

use std::{collections::HashSet, sync::Arc};

use db::{
    Conn, Row, Tx,
    list::{ListQuery, Listing},
    security_group as rows, standard,
};
use types::{
    SecurityGroupId, Standard,
    attribute::{Attributes, ResourceTable, table::SECURITY_GROUP_RULE},
};

use super::{
    Condition, Resource,
    address_group::AddressGroup,
    find,
    security_group::{self, SecurityGroup},
};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
    quota,
};

pub use types::security_group::SecurityGroupRule;

impl Resource for SecurityGroupRule {
    const TABLE: &'static ResourceTable = &SECURITY_GROUP_RULE;
    const LISTING: &'static Listing = &rows::RULE_LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    /// Rules are seen whole, and policy leaves out those of others' groups; a list of all is asked for by project.
    fn restrict(ctx: &Ctx, query: &mut ListQuery) {
        query.viewer = ctx.viewer();
        query.viewer.scoped &= query.filters.is_empty();
    }

    async fn prepare(ctx: &Ctx, query: &ListQuery) -> Result<()> {
        security_group::prepare_default(ctx, query).await
    }

    async fn load(_: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::security_group_rules_from_rows(conn, rows).await?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        let mut rules = given.iter().map(described).collect::<Result<Vec<_>>>()?;
        let mut group = group_of(ctx, &mut tx, &given).await?;
        for rule in &mut rules {
            rule.security_group_id = group.id;
            check_remote(ctx, &mut tx, rule).await?;
        }
        refuse_duplicates(&group, &rules)?;
        quota::check(ctx, &mut tx, "security_group_rule", &given).await?;
        let default = rows::default_group_of(&mut tx, &group.project_id).await? == Some(group.id);
        for (rule, given) in rules.iter_mut().zip(&given) {
            let description = given.text("description").unwrap_or_default();
            rule.standard = standard::standard_insert(&mut tx, "securitygrouprules", description, 0).await?;
            rule.belongs_to_default_sg = Some(default);
        }
        rows::security_group_rules_insert(&mut tx, &rules).await?;
        standard::standard_touch(&mut tx, &mut group.standard).await?;
        let made = rules.iter().map(|rule| Event::SecurityGroupRuleCreated(Arc::new(rule.clone()))).collect();
        let recorded = event::record(ctx, &mut tx, made).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(rules)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, condition: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let mut rule: Self = find(ctx, &mut tx, id).await?;
        condition.check(&rule.standard)?;
        if let Some(description) = given.text("description") {
            standard::standard_describe(&mut tx, &mut rule.standard, description).await?;
            standard::standard_touch(&mut tx, &mut rule.standard).await?;
        }
        let updated = Event::SecurityGroupRuleUpdated(Arc::new(rule.clone()));
        let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(rule)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let rule: Self = find(ctx, &mut tx, id).await?;
        condition.check(&rule.standard)?;
        let mut group: SecurityGroup = find(ctx, &mut tx, &rule.security_group_id.to_string()).await?;
        rows::security_group_rule_delete(&mut tx, &rule).await?;
        standard::standard_touch(&mut tx, &mut group.standard).await?;
        let recorded = event::record(ctx, &mut tx, vec![Event::SecurityGroupRuleDeleted(Arc::new(rule))]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// The rule as the request describes it, with everything checked that needs no database.
fn described(given: &Attributes) -> Result<SecurityGroupRule> {
    let mut rule = check::conditions(given)?;
    if let Some(group) = group(given, "security_group_id")? {
        rule.security_group_id = group;
    }
    rule.remote_group_id = group(given, "remote_group_id")?;
    let address_group = |id: &str| id.parse().map_err(|_| Refusal::not_found("AddressGroup", id));
    rule.remote_address_group_id = given.text("remote_address_group_id").map(address_group).transpose()?;
    Ok(rule)
}

/// A group by its id; a text that is no id is the id of nothing.
fn group(given: &Attributes, name: &str) -> Result<Option<SecurityGroupId>> {
    let id = |text: &str| text.parse().map_err(|_| Refusal::not_found("SecurityGroup", text));
    Ok(given.text(name).map(id).transpose()?)
}

/// The one group that all rules of the request belong to.
async fn group_of(ctx: &Ctx, tx: &mut Tx, given: &[Attributes]) -> Result<SecurityGroup> {
    let ids: HashSet<&str> = given.iter().filter_map(|given| given.text("security_group_id")).collect();
    if ids.len() > 1 {
        let message = "Only allowed to update rules for one security profile at a time";
        return Err(Refusal::bad_request("SecurityGroupNotSingleGroupRules", message).into());
    }
    let projects: HashSet<&str> = given.iter().filter_map(|given| given.text("project_id")).collect();
    if projects.len() > 1 {
        let message = "Multiple project_ids in bulk security group rule create not allowed";
        return Err(Refusal::bad_request("SecurityGroupRulesNotSingleProject", message).into());
    }
    find(ctx, tx, ids.into_iter().next().unwrap_or_default()).await
}

async fn check_remote(ctx: &Ctx, tx: &mut Tx, rule: &SecurityGroupRule) -> Result<()> {
    if let Some(remote) = rule.remote_group_id.filter(|remote| *remote != rule.security_group_id) {
        find::<SecurityGroup>(ctx, tx, &remote.to_string()).await?;
    }
    if let Some(remote) = rule.remote_address_group_id {
        find::<AddressGroup>(ctx, tx, &remote.to_string()).await?;
    }
    Ok(())
}

/// What makes two rules the same, however they are written.
fn key(rule: &SecurityGroupRule) -> impl Eq + std::hash::Hash {
    (
        rule.direction.clone(),
        rule.ethertype.clone(),
        rule.protocol.as_deref().map(check::protocol_key),
        (rule.port_range_min, rule.port_range_max),
        (rule.remote_group_id, rule.remote_address_group_id),
        check::remote_prefix_key(rule.remote_ip_prefix.as_deref()).map(str::to_owned),
    )
}

fn refuse_duplicates(group: &SecurityGroup, rules: &[SecurityGroupRule]) -> Result<()> {
    let mut seen = HashSet::new();
    if !rules.iter().all(|rule| seen.insert(key(rule))) {
        let message = "Duplicate Security Group Rule in POST.";
        return Err(Refusal::conflict("DuplicateSecurityGroupRuleInPost", message).into());
    }
    match group.security_group_rules.iter().find(|rule| seen.contains(&key(rule))) {
        Some(rule) => {
            let message = format!("Security group rule already exists. Rule id is {}.", rule.id);
            Err(Refusal::conflict("SecurityGroupRuleExists", message).into())
        }
        None => Ok(()),
    }
}
