//! Actions on a pool: prefixes are added or taken away, and the subnets of a network become its own.

use std::sync::Arc;

use db::{list::ListQuery, standard, subnet as subnet_rows, subnet_pool as rows};
use ipnet::IpNet;
use serde_json::{Value, json};
use types::network::Network;

use super::{SubnetPool, check, compact, in_order, write};
use crate::{
    Ctx, Error, Refusal, Result,
    event::{self, Event},
    ipam::prefixes::PrefixSet,
    resource::{find, find_all, subnet::Subnet},
};

/// What is done with prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `add_prefixes`
    Add,
    /// `remove_prefixes`: what is in use stays.
    Remove,
}

/// Adds prefixes to a pool or takes them away, and tells those it has then.
pub async fn change_prefixes(ctx: &Ctx, id: &str, change: Change, asked: &[String]) -> Result<Vec<IpNet>> {
    let asked = asked.iter().map(|text| prefix(text)).collect::<Result<Vec<_>>>()?;
    let mut tx = ctx.db().begin().await?;
    let before: SubnetPool = find(ctx, &mut tx, id).await?;
    let mut pool = before.clone();
    match change {
        Change::Add => {
            let all: Vec<IpNet> = pool.prefixes.iter().copied().chain(asked).collect();
            check::version_of(&all)?;
            pool.prefixes = compact(pool.ip_version, all);
        }
        Change::Remove => {
            let set = |prefixes: Vec<IpNet>| PrefixSet::new(pool.ip_version == 4, prefixes);
            let (all, removed) = (set(pool.prefixes.clone()), set(asked));
            rows::subnet_pool_lock(&mut tx, pool.id).await?;
            let taken = rows::allocations(&mut tx, pool.id).await?.into_iter().map(|(prefix, _)| prefix).collect();
            if all.meets(&removed) && set(taken).meets(&removed) {
                return Err(check::illegal_prefixes("One or more the prefixes to be removed is in use by a subnet."));
            }
            pool.prefixes = in_order(all.without(&removed).prefixes());
        }
    }
    write(ctx, &mut tx, &before, &mut pool).await?;
    let recorded = event::record(ctx, &mut tx, vec![Event::SubnetPoolUpdated(Arc::new(pool.clone()))]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(pool.prefixes)
}

fn prefix(text: &str) -> Result<IpNet> {
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    parsed
        .map(|prefix| prefix.trunc())
        .map_err(|_| Refusal::bad_request("AddrFormatError", format!("invalid IPNetwork {text}")).into())
}

/// Makes the subnets of a network, of the pool's version, the pool's, and their prefixes too; tells which they are.
pub async fn onboard(ctx: &Ctx, id: &str, network: Option<&str>) -> Result<Vec<Value>> {
    let network = network.ok_or_else(|| Refusal::invalid_input("network_id must be specified."))?;
    let mut tx = ctx.db().begin().await?;
    let network: Network = find(ctx, &mut tx, network).await?;
    if !ctx.caller.is_admin && ctx.caller.project_id.as_deref() != Some(network.project_id.as_str()) {
        return Err(Refusal::forbidden("NotAuthorized", "Not authorized.").into());
    }
    let before: SubnetPool = find(ctx, &mut tx, id).await?;
    rows::subnet_pool_lock(&mut tx, before.id).await?;
    let query =
        ListQuery::default().matching("network_id", network.id).matching("ip_version", i64::from(before.ip_version));
    let subnets: Vec<Subnet> = find_all(ctx, &mut tx, &query).await?;
    let set = |prefixes: Vec<IpNet>| PrefixSet::new(before.ip_version == 4, prefixes);
    let taken = set(rows::allocations(&mut tx, before.id).await?.into_iter().map(|(prefix, _)| prefix).collect());
    if let Some(subnet) = subnets.iter().find(|subnet| set(vec![subnet.cidr]).meets(&taken)) {
        return Err(check::illegal_update(format!(
            "Onboarding subnet {}: {} conflicts with allocated prefixes in subnet pool {}",
            subnet.id, subnet.cidr, before.id
        )));
    }
    let mut pool = before.clone();
    let all = pool.prefixes.iter().copied().chain(subnets.iter().map(|subnet| subnet.cidr)).collect();
    pool.prefixes = compact(pool.ip_version, all);
    write(ctx, &mut tx, &before, &mut pool).await?;
    let mut events = vec![Event::SubnetPoolUpdated(Arc::new(pool))];
    let mut onboarded = Vec::with_capacity(subnets.len());
    for mut subnet in subnets {
        rows::subnet_adopt(&mut tx, subnet.id, before.id).await?;
        standard::standard_touch(&mut tx, &mut subnet.standard).await?;
        subnet.subnetpool_id = Some(before.id);
        onboarded.push(json!({"id": subnet.id, "cidr": subnet.cidr}));
        events.push(Event::SubnetUpdated(Arc::new(subnet)));
    }
    if !onboarded.is_empty() {
        let key = subnet_rows::network_standard_id(&mut tx, network.id).await?;
        standard::standard_touch_ids(&mut tx, key.as_slice()).await.map_err(Error::from)?;
    }
    let recorded = event::record(ctx, &mut tx, events).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(onboarded)
}
