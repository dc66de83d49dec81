//! Templates of the rules that new security groups begin with; they belong to the cloud.

use std::{collections::HashSet, sync::Arc};

use db::{
    Conn, Row, Tx, default_security_group_rule as rows,
    list::{ListQuery, Listing},
    standard,
};
use types::{
    DefaultSecurityGroupRuleId, Standard,
    attribute::{Attributes, ResourceTable, table::DEFAULT_SECURITY_GROUP_RULE},
    default_security_group_rule::PARENT,
};

use super::{
    Condition, Resource, address_group::AddressGroup, find, find_any, security_group::SecurityGroup,
    security_group_rule::check,
};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
};

pub use types::default_security_group_rule::DefaultSecurityGroupRule;

impl Resource for DefaultSecurityGroupRule {
    const TABLE: &'static ResourceTable = &DEFAULT_SECURITY_GROUP_RULE;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    async fn load(_: &Ctx, _: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::default_security_group_rules_from_rows(&rows)?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        let mut templates = Vec::with_capacity(given.len());
        for given in &given {
            let mut template = described(ctx, &mut tx, given).await?;
            refuse_duplicate(&mut tx, &template).await?;
            let description = template.description.as_deref();
            template.standard = standard::standard_insert(&mut tx, "securitygroupdefaultrules", description, 0).await?;
            rows::default_security_group_rule_insert(&mut tx, &template).await?;
            templates.push(template);
        }
        let made = templates.iter().map(|made| Event::DefaultSecurityGroupRuleCreated(Arc::new(made.clone())));
        let recorded = event::record(ctx, &mut tx, made.collect()).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(templates)
    }

    /// Nothing of a template can be changed, and what is given has been refused before.
    async fn update(ctx: &Ctx, id: &str, _: Attributes, condition: Condition) -> Result<Self> {
        let template: Self = find(ctx, &mut ctx.db().reader().await?, id).await?;
        condition.check(&template.standard)?;
        Ok(template)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let template: Self = find(ctx, &mut tx, id).await?;
        condition.check(&template.standard)?;
        rows::default_security_group_rule_delete(&mut tx, &template).await?;
        let gone = Event::DefaultSecurityGroupRuleDeleted(Arc::new(template));
        let recorded = event::record(ctx, &mut tx, vec![gone]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// The template as the request describes it. Unlike upstream's, it can only name groups that exist: one that does not
/// would keep every new group from being made.
async fn described(ctx: &Ctx, tx: &mut Tx, given: &Attributes) -> Result<DefaultSecurityGroupRule> {
    let rule = check::conditions(given)?;
    let remote_group_id = given.text("remote_group_id").map(str::to_owned);
    if let Some(group) = remote_group_id.as_deref().filter(|group| *group != PARENT) {
        find_any::<SecurityGroup>(ctx, tx, group).await?;
    }
    let remote_address_group_id = match given.text("remote_address_group_id") {
        Some(id) => Some(find_any::<AddressGroup>(ctx, tx, id).await?.id),
        None => None,
    };
    Ok(DefaultSecurityGroupRule {
        id: DefaultSecurityGroupRuleId::random(),
        ethertype: rule.ethertype,
        direction: rule.direction,
        protocol: rule.protocol,
        port_range_min: rule.port_range_min,
        port_range_max: rule.port_range_max,
        remote_ip_prefix: rule.remote_ip_prefix,
        remote_address_group_id,
        remote_group_id,
        description: given.text("description").map(str::to_owned),
        used_in_default_sg: given.bool("used_in_default_sg").unwrap_or_default(),
        used_in_non_default_sg: given.bool("used_in_non_default_sg").unwrap_or_default(),
        standard: Standard::default(),
    })
}

/// As upstream has it, a template must differ from those for groups other than the default ones, whatever it is for.
async fn refuse_duplicate(tx: &mut Tx, template: &DefaultSecurityGroupRule) -> Result<()> {
    let others = rows::LISTING.page(tx, &ListQuery::default().matching("used_in_non_default_sg", true)).await?;
    let others = rows::default_security_group_rules_from_rows(&others.rows)?;
    match others.iter().find(|other| key(other) == key(template)) {
        Some(other) => {
            let message = format!("Default Security group rule already exists. Rule id is {}.", other.id);
            Err(Refusal::conflict("DefaultSecurityGroupRuleExists", message).into())
        }
        None => Ok(()),
    }
}

fn key(template: &DefaultSecurityGroupRule) -> impl Eq {
    (
        (template.direction.clone(), template.ethertype.clone()),
        template.protocol.as_deref().map(check::protocol_key),
        (template.port_range_min, template.port_range_max),
        (template.remote_group_id.clone(), template.remote_address_group_id),
        check::remote_prefix_key(template.remote_ip_prefix.as_deref()).map(str::to_owned),
    )
}

/// The templates for a new group whose other side still exists: one whose group is gone would match more than was meant.
pub(super) async fn templates(tx: &mut Tx, default_group: bool) -> Result<Vec<DefaultSecurityGroupRule>> {
    let mut templates = rows::templates(tx, default_group).await?;
    let named: Vec<String> =
        templates.iter().filter_map(|template| template.remote_group_id.clone()).filter(|id| id != PARENT).collect();
    let groups: HashSet<String> = match named.as_slice() {
        [] => HashSet::new(),
        named => db::security_group::security_group_owners(tx, named).await?.into_keys().collect(),
    };
    let named: Vec<_> = templates.iter().filter_map(|template| template.remote_address_group_id).collect();
    let address_groups = match named.as_slice() {
        [] => HashSet::new(),
        named => db::address_group::address_groups_known(tx, named).await?,
    };
    templates.retain(|template| {
        template.remote_group_id.as_ref().is_none_or(|id| id == PARENT || groups.contains(id))
            && template.remote_address_group_id.is_none_or(|id| address_groups.contains(&id))
    });
    Ok(templates)
}
