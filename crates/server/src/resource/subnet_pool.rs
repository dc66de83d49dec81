//! Subnet pools: prefixes from which subnets get theirs.
//!
//! [`check`] holds the rules a pool must obey, [`allocate`] takes prefixes from it.

pub mod allocate;
mod check;
mod prefixes;

use std::sync::Arc;

use db::{
    Conn, Row, Tx,
    list::{ListQuery, Listing},
    rbac_policy, standard, subnet_pool as rows,
};
use ipnet::IpNet;
use types::{
    Standard, SubnetPoolId,
    attribute::{Attributes, ResourceTable, table::SUBNET_POOL},
    rbac_policy::ObjectType,
};

use super::{Condition, Resource, find};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
    ipam::prefixes::PrefixSet,
    quota,
};

pub(super) use check::may_share;
pub use prefixes::{Change, change_prefixes, onboard};
pub use types::subnet_pool::SubnetPool;

impl Resource for SubnetPool {
    const TABLE: &'static ResourceTable = &SUBNET_POOL;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    async fn load(ctx: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::subnet_pools_from_rows(conn, rows, ctx.caller.project_id.as_deref()).await?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        quota::check(ctx, &mut tx, "subnetpool", &given).await?;
        let mut pools = Vec::with_capacity(given.len());
        for given in &given {
            pools.push(insert(ctx, &mut tx, given).await?);
        }
        let made = pools.iter().map(|pool| Event::SubnetPoolCreated(Arc::new(pool.clone()))).collect();
        let recorded = event::record(ctx, &mut tx, made).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(pools)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, condition: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let before: Self = find(ctx, &mut tx, id).await?;
        condition.check(&before.standard)?;
        let mut pool = before.clone();
        change(&mut pool, &given)?;
        write(ctx, &mut tx, &before, &mut pool).await?;
        let recorded = event::record(ctx, &mut tx, vec![Event::SubnetPoolUpdated(Arc::new(pool.clone()))]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(pool)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let pool: Self = find(ctx, &mut tx, id).await?;
        condition.check(&pool.standard)?;
        rows::subnet_pool_lock(&mut tx, pool.id).await?;
        if !rows::allocations(&mut tx, pool.id).await?.is_empty() {
            let message = "Unable to delete subnet pool: Subnet pool has existing allocations.";
            return Err(Refusal::bad_request("SubnetPoolDeleteError", message).into());
        }
        rows::subnet_pool_delete(&mut tx, &pool).await?;
        let recorded = event::record(ctx, &mut tx, vec![Event::SubnetPoolDeleted(Arc::new(pool))]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// The pool that requests for the default one of a version mean, as far as the caller sees it.
pub(super) async fn default_pool(ctx: &Ctx, conn: &mut Conn, ip_version: i64) -> Result<Option<SubnetPool>> {
    let mut query = ListQuery::default().matching("is_default", true).matching("ip_version", ip_version);
    SubnetPool::restrict(ctx, &mut query);
    let page = rows::LISTING.page(conn, &query).await?;
    Ok(SubnetPool::load(ctx, conn, page.rows).await?.into_iter().next())
}

async fn insert(ctx: &Ctx, tx: &mut Tx, given: &Attributes) -> Result<SubnetPool> {
    let mut pool = described(given)?;
    if pool.is_default {
        check::only_default(ctx, tx, &pool).await?;
    }
    check::scope(ctx, tx, &pool).await?;
    let description = given.text("description").unwrap_or_default();
    pool.standard = standard::standard_insert(tx, "subnetpools", description, 0).await?;
    rows::subnet_pool_insert(tx, &pool).await?;
    if pool.shared {
        rbac_policy::share_with_everyone(tx, ObjectType::SubnetPool, pool.id.0, &pool.project_id).await?;
    }
    Ok(pool)
}

fn described(given: &Attributes) -> Result<SubnetPool> {
    let project_id = given.text("project_id").unwrap_or_default().to_owned();
    let prefixes: Vec<IpNet> = given.typed("prefixes").unwrap_or_default();
    let ip_version = check::version_of(&prefixes)?;
    let bounds = check::Bounds::new(ip_version, given)?;
    Ok(SubnetPool {
        id: SubnetPoolId::random(),
        name: given.text("name").unwrap_or_default().to_owned(),
        tenant_id: project_id.clone(),
        project_id,
        prefixes: compact(ip_version, prefixes),
        ip_version,
        default_prefixlen: bounds.default,
        min_prefixlen: bounds.min,
        max_prefixlen: bounds.max,
        default_quota: given.int("default_quota"),
        address_scope_id: given.parsed("address_scope_id"),
        is_default: given.bool("is_default").unwrap_or_default(),
        shared: given.bool("shared").unwrap_or_default(),
        standard: Standard::default(),
    })
}

/// The fewest prefixes that hold the same, in the order of their texts, as they are read again.
fn compact(ip_version: u8, prefixes: Vec<IpNet>) -> Vec<IpNet> {
    in_order(PrefixSet::new(ip_version == 4, prefixes).prefixes())
}

fn in_order(mut prefixes: Vec<IpNet>) -> Vec<IpNet> {
    prefixes.sort_by_cached_key(ToString::to_string);
    prefixes
}

/// What an update says, on top of what there is.
fn change(pool: &mut SubnetPool, given: &Attributes) -> Result<()> {
    if let Some(prefixes) = given.typed::<Vec<IpNet>>("prefixes") {
        check::grown(pool, &prefixes)?;
        if check::version_of(&prefixes)? != pool.ip_version {
            return Err(check::mixed());
        }
        pool.prefixes = compact(pool.ip_version, prefixes);
    }
    let bounds = check::Bounds::changed(pool, given)?;
    (pool.min_prefixlen, pool.max_prefixlen, pool.default_prefixlen) = (bounds.min, bounds.max, bounds.default);
    if let Some(name) = given.text("name") {
        name.clone_into(&mut pool.name);
    }
    if let Some(description) = given.text("description") {
        pool.standard.description = Some(description.to_owned());
    }
    if let Some(quota) = given.int("default_quota") {
        pool.default_quota = Some(quota);
    }
    if let Some(is_default) = given.bool("is_default") {
        pool.is_default = is_default;
    }
    if given.contains("address_scope_id") {
        pool.address_scope_id = given.parsed("address_scope_id");
    }
    Ok(())
}

/// Checks and writes what was changed. Other prefixes alone do not count as a change of the pool's revision.
async fn write(ctx: &Ctx, tx: &mut Tx, before: &SubnetPool, pool: &mut SubnetPool) -> Result<()> {
    if pool.is_default && !before.is_default {
        check::only_default(ctx, tx, pool).await?;
    }
    check::may_change(ctx, tx, before).await?;
    check::scope(ctx, tx, pool).await?;
    if before.prefixes != pool.prefixes {
        rows::prefixes_replace(tx, pool).await?;
    }
    rows::subnet_pool_update(tx, pool).await?;
    if before.standard.description != pool.standard.description {
        let description = pool.standard.description.clone().unwrap_or_default();
        standard::standard_describe(tx, &mut pool.standard, &description).await?;
    }
    let own = |pool: &SubnetPool| SubnetPool {
        prefixes: Vec::new(),
        standard: Standard { description: pool.standard.description.clone(), ..Standard::default() },
        ..pool.clone()
    };
    if own(before) != own(pool) {
        standard::standard_touch(tx, &mut pool.standard).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
