//! Address groups: addresses under one name, for the rules of security groups.

use std::{collections::BTreeSet, sync::Arc};

use db::{Conn, Row, Tx, address_group as rows, list::Listing, standard};
use ipnet::IpNet;
use serde_json::{Map, Value};
use types::{
    AddressGroupId, Standard,
    attribute::{Attributes, ResourceTable, table::ADDRESS_GROUP},
};

use super::{Condition, Resource, find};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
};

pub use types::address_group::AddressGroup;

impl Resource for AddressGroup {
    const TABLE: &'static ResourceTable = &ADDRESS_GROUP;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    const UNSHOWN: &'static [&'static str] = &["shared"];

    fn unshown(&self, target: &mut Map<String, Value>) {
        target.insert("shared".to_owned(), self.shared.into());
    }

    async fn load(ctx: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::address_groups_from_rows(conn, rows, ctx.caller.project_id.as_deref()).await?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        let mut groups = Vec::with_capacity(given.len());
        for given in &given {
            groups.push(insert(&mut tx, given).await?);
        }
        let made = groups.iter().map(|group| Event::AddressGroupCreated(Arc::new(group.clone()))).collect();
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
        if let Some(name) = given.text("name") {
            name.clone_into(&mut group.name);
        }
        rows::address_group_rename(&mut tx, &group).await?;
        if let Some(description) = given.text("description") {
            standard::standard_describe(&mut tx, &mut group.standard, description).await?;
        }
        if group != before {
            standard::standard_touch(&mut tx, &mut group.standard).await?;
        }
        let updated = Event::AddressGroupUpdated { group: Arc::new(group.clone()), addresses: false };
        let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(group)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let group: Self = find(ctx, &mut tx, id).await?;
        condition.check(&group.standard)?;
        if rows::address_group_is_used(&mut tx, group.id).await? {
            let message = format!("Address group {} is in use on one or more security group rules.", group.id);
            return Err(Refusal::conflict("AddressGroupInUse", message).into());
        }
        rows::address_group_delete(&mut tx, &group).await?;
        let recorded = event::record(ctx, &mut tx, vec![Event::AddressGroupDeleted(Arc::new(group))]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

async fn insert(tx: &mut Tx, given: &Attributes) -> Result<AddressGroup> {
    let project_id = given.text("project_id").unwrap_or_default().to_owned();
    let asked: Vec<String> = given.typed("addresses").unwrap_or_default();
    let addresses = prefixes(&asked)?;
    let description = given.text("description").unwrap_or_default();
    // Upstream counts each address as a change of the group.
    let revision = i64::try_from(addresses.len()).unwrap_or(i64::MAX);
    let group = AddressGroup {
        id: AddressGroupId::random(),
        name: given.text("name").unwrap_or_default().to_owned(),
        tenant_id: project_id.clone(),
        project_id,
        addresses: addresses.into_iter().collect(),
        shared: false,
        standard: standard::standard_insert(tx, "address_groups", description, revision).await?,
    };
    rows::address_group_insert(tx, &group).await?;
    rows::addresses_add(tx, group.id, &group.addresses).await?;
    Ok(group)
}

/// What is done to the addresses of a group, by the name of the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `add_addresses`: none of them may be there yet.
    Add,
    /// `remove_addresses`: all of them must be there.
    Remove,
}

/// Adds addresses to a group or removes them, all or none.
pub async fn change_addresses(ctx: &Ctx, id: &str, change: Change, asked: &[String]) -> Result<AddressGroup> {
    let mut tx = ctx.db().begin().await?;
    let mut group: AddressGroup = find(ctx, &mut tx, id).await?;
    let asked = prefixes(asked)?;
    let present: BTreeSet<String> = group.addresses.iter().cloned().collect();
    let changed: Vec<String> = asked.iter().cloned().collect();
    match change {
        Change::Add => {
            refuse_any(asked.intersection(&present), |list| {
                let message = format!("Addresses {list} already exist in the address group {}.", group.id);
                Refusal::bad_request("AddressesAlreadyExist", message)
            })?;
            rows::addresses_add(&mut tx, group.id, &changed).await?;
            group.addresses = present.union(&asked).cloned().collect();
        }
        Change::Remove => {
            refuse_any(asked.difference(&present), |list| {
                let message = format!("Addresses {list} not found in the address group {}.", group.id);
                Refusal::new(axum::http::StatusCode::NOT_FOUND, "AddressesNotFound", message)
            })?;
            rows::addresses_remove(&mut tx, group.id, &changed).await?;
            group.addresses = present.difference(&asked).cloned().collect();
        }
    }
    for _ in &changed {
        standard::standard_touch(&mut tx, &mut group.standard).await?;
    }
    let updated = Event::AddressGroupUpdated { group: Arc::new(group.clone()), addresses: !changed.is_empty() };
    let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(group)
}

fn refuse_any<'a>(wrong: impl Iterator<Item = &'a String>, refusal: impl FnOnce(String) -> Refusal) -> Result<()> {
    let wrong: Vec<String> = wrong.map(|address| format!("'{address}'")).collect();
    if wrong.is_empty() { Ok(()) } else { Err(refusal(format!("[{}]", wrong.join(", "))).into()) }
}

/// The prefixes meant, each once, with their host bits cleared.
fn prefixes(asked: &[String]) -> Result<BTreeSet<String>> {
    let prefix = |text: &String| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        network
            .map(|network| network.trunc().to_string())
            .map_err(|_| Refusal::bad_request("AddrFormatError", format!("invalid IPNetwork {text}")).into())
    };
    asked.iter().map(prefix).collect()
}

#[cfg(test)]
mod tests;
