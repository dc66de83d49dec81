//! Security groups.

use std::sync::Arc;

use db::{
    Conn, Row, Tx,
    list::{ListQuery, Listing},
    security_group as rows, standard,
};
use types::{
    SecurityGroupId, SecurityGroupRuleId, Standard,
    attribute::{Attributes, ResourceTable, table::SECURITY_GROUP},
    default_security_group_rule::PARENT,
    security_group::SecurityGroupRule,
};

use super::{
    Condition, Resource,
    default_security_group_rule::{self, DefaultSecurityGroupRule},
    find, find_all,
};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
    quota,
};

pub use types::security_group::SecurityGroup;

/// Name of the group every project has from the start.
const DEFAULT_NAME: &str = "default";
const DEFAULT_DESCRIPTION: &str = "Default security group";

impl Resource for SecurityGroup {
    const TABLE: &'static ResourceTable = &SECURITY_GROUP;
    const LISTING: &'static Listing = &rows::GROUP_LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    async fn prepare(ctx: &Ctx, query: &ListQuery) -> Result<()> {
        prepare_default(ctx, query).await
    }

    async fn load(ctx: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::security_groups_from_rows(conn, rows, ctx.caller.project_id.as_deref()).await?)
    }

    /// Upstream does not look it up there.
    fn in_list(&mut self) {
        for rule in &mut self.security_group_rules {
            rule.belongs_to_default_sg = None;
        }
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        for given in &given {
            ensure_default(ctx, &mut tx, given.text("project_id").unwrap_or_default()).await?;
        }
        quota::check(ctx, &mut tx, "security_group", &given).await?;
        let mut groups = Vec::with_capacity(given.len());
        for given in &given {
            let group = New {
                project_id: given.text("project_id").unwrap_or_default(),
                name: given.text("name").unwrap_or_default(),
                description: given.text("description").unwrap_or_default(),
                stateful: given.bool("stateful"),
                default: false,
            };
            groups.push(insert(ctx, &mut tx, &group).await?);
        }
        let made = groups.iter().map(|group| Event::SecurityGroupCreated(Arc::new(group.clone()))).collect();
        let recorded = event::record(ctx, &mut tx, made).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(groups)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, condition: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let before: Self = find(ctx, &mut tx, id).await?;
        condition.check(&before.standard)?;
        let mut group = before.clone();
        if let Some(name) = given.text("name").filter(|name| *name != group.name) {
            if group.name == DEFAULT_NAME {
                let message = "Updating default security group not allowed.";
                return Err(Refusal::conflict("SecurityGroupCannotUpdateDefault", message).into());
            }
            name.clone_into(&mut group.name);
        }
        if let Some(stateful) = given.bool("stateful").filter(|stateful| *stateful != group.stateful) {
            if rows::security_group_is_used(&mut tx, group.id).await? {
                let message = format!("Security Group {} in use.", group.id);
                return Err(Refusal::conflict("SecurityGroupInUse", message).into());
            }
            group.stateful = stateful;
        }
        rows::security_group_update(&mut tx, &group).await?;
        if let Some(description) = given.text("description") {
            standard::standard_describe(&mut tx, &mut group.standard, description).await?;
        }
        if group != before {
            standard::standard_touch(&mut tx, &mut group.standard).await?;
        }
        let updated = Event::SecurityGroupUpdated(Arc::new(group.clone()));
        let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(group)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let group: Self = find(ctx, &mut tx, id).await?;
        condition.check(&group.standard)?;
        if rows::security_group_is_used(&mut tx, group.id).await? {
            let message = format!("Security Group {} in use.", group.id);
            return Err(Refusal::conflict("SecurityGroupInUse", message).into());
        }
        if group.name == DEFAULT_NAME && !ctx.caller.is_admin {
            let message = "Insufficient rights for removing default security group.";
            return Err(Refusal::conflict("SecurityGroupCannotRemoveDefault", message).into());
        }
        let mut events = delete_rules_about(ctx, &mut tx, &group).await?;
        rows::security_group_delete(&mut tx, &group).await?;
        events.push(Event::SecurityGroupDeleted(Arc::new(group)));
        let recorded = event::record(ctx, &mut tx, events).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// Rules of other groups that name this one as the other side go with it, and the agents of those groups hear of it.
async fn delete_rules_about(ctx: &Ctx, tx: &mut Tx, group: &SecurityGroup) -> Result<Vec<Event>> {
    let naming = ListQuery::default().matching("remote_group_id", group.id);
    let mut rules: Vec<SecurityGroupRule> = find_all(ctx, tx, &naming).await?;
    rules.retain(|rule| rule.security_group_id != group.id);
    let mut events = Vec::with_capacity(rules.len());
    for rule in rules {
        rows::security_group_rule_delete(tx, &rule).await?;
        events.push(Event::SecurityGroupRuleDeleted(Arc::new(rule)));
    }
    Ok(events)
}

/// A project that looks at its groups or their rules finds its default group there; administrators may look at those of
/// any project.
pub(super) async fn prepare_default(ctx: &Ctx, query: &ListQuery) -> Result<()> {
    let Some(own) = ctx.caller.project_id.as_deref() else { return Ok(()) };
    let named = query.filters.iter().find(|filter| ["project_id", "tenant_id"].contains(&filter.attribute.as_str()));
    let project_id = match named.and_then(|filter| filter.values.first()) {
        Some(db::Value::Text(project_id)) => project_id.as_str(),
        _ => own,
    };
    if project_id.is_empty() || (project_id != own && !ctx.caller.is_admin) {
        return Ok(());
    }
    if rows::default_group_of(&mut ctx.db().reader().await?, project_id).await?.is_some() {
        return Ok(());
    }
    let mut tx = ctx.db().begin().await?;
    ensure_default(ctx, &mut tx, project_id).await?;
    Ok(tx.commit().await?)
}

/// Makes the project's default group if it has none yet, and tells its id.
pub async fn ensure_default(ctx: &Ctx, tx: &mut Tx, project_id: &str) -> Result<SecurityGroupId> {
    if let Some(id) = rows::default_group_of(tx, project_id).await? {
        return Ok(id);
    }
    let group =
        New { project_id, name: DEFAULT_NAME, description: DEFAULT_DESCRIPTION, stateful: Some(true), default: true };
    Ok(insert(ctx, tx, &group).await?.id)
}

struct New<'a> {
    project_id: &'a str,
    name: &'a str,
    description: &'a str,
    /// As the project has chosen where the request does not say.
    stateful: Option<bool>,
    default: bool,
}

async fn insert(ctx: &Ctx, tx: &mut Tx, new: &New<'_>) -> Result<SecurityGroup> {
    let templates = default_security_group_rule::templates(tx, new.default).await?;
    let rules = i64::try_from(templates.len()).unwrap_or(i64::MAX);
    quota::check_one(ctx, tx, new.project_id, "security_group_rule", rules).await?;
    let stateful = match new.stateful {
        Some(stateful) => stateful,
        None => db::default_statefulness::default_statefulness_of(tx, new.project_id).await?,
    };
    let mut group = SecurityGroup {
        id: SecurityGroupId::random(),
        name: new.name.to_owned(),
        project_id: new.project_id.to_owned(),
        tenant_id: new.project_id.to_owned(),
        stateful,
        shared: false,
        security_group_rules: Vec::new(),
        standard: standard::standard_insert(tx, "securitygroups", new.description, 1).await?,
    };
    rows::security_group_insert(tx, &group).await?;
    if new.default {
        rows::default_group_set(tx, &group).await?;
    }
    for template in templates {
        let standard = standard::standard_insert(tx, "securitygrouprules", None, 0).await?;
        group.security_group_rules.push(from_template(&group, template, standard, new.default));
    }
    rows::security_group_rules_insert(tx, &group.security_group_rules).await?;
    Ok(group)
}

fn from_template(
    group: &SecurityGroup,
    template: DefaultSecurityGroupRule,
    standard: Standard,
    default: bool,
) -> SecurityGroupRule {
    SecurityGroupRule {
        id: SecurityGroupRuleId::random(),
        project_id: group.project_id.clone(),
        tenant_id: group.project_id.clone(),
        security_group_id: group.id,
        direction: template.direction,
        ethertype: template.ethertype,
        protocol: template.protocol,
        port_range_min: template.port_range_min,
        port_range_max: template.port_range_max,
        normalized_cidr: template.remote_ip_prefix.as_deref().and_then(rows::normalized),
        remote_ip_prefix: template.remote_ip_prefix,
        remote_group_id: match template.remote_group_id.as_deref() {
            Some(PARENT) => Some(group.id),
            other => other.and_then(|id| id.parse().ok()),
        },
        remote_address_group_id: template.remote_address_group_id,
        belongs_to_default_sg: Some(default),
        standard,
    }
}
