//! Prefixes from a pool for subnets.
//!
//! One server at a time allocates from a pool ([`rows::subnet_pool_lock`]): whoever loses runs again and sees what the
//! other has taken.

use std::net::IpAddr;

use db::{Conn, Tx, subnet_pool as rows};
use ipnet::IpNet;
use types::{NetworkId, attribute::Attributes};

use super::{SubnetPool, check, default_pool};
use crate::{
    Ctx, Refusal, Result,
    ipam::prefixes::{PrefixSet, first_within},
    resource::find,
};

/// The pool whose prefixes a delegating router would give.
const PREFIX_DELEGATION: &str = "prefix_delegation";

/// Which prefix a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Any of that length.
    Any(u8),
    /// This one.
    This(IpNet),
}

pub(in crate::resource) fn bad_request(reason: &str) -> crate::Error {
    Refusal::bad_request("BadRequest", format!("Bad subnets request: {reason}.")).into()
}

/// The pool that a new subnet is to be from, if it is to be from one.
pub(in crate::resource) async fn pool_of(ctx: &Ctx, tx: &mut Tx, given: &Attributes) -> Result<Option<SubnetPool>> {
    let cidr: Option<IpNet> = given.parsed("cidr");
    if cidr.is_some() && given.int("prefixlen").is_some() {
        return Err(bad_request("cidr and prefixlen must not be supplied together"));
    }
    let default = given.bool("use_default_subnetpool").unwrap_or(false);
    let pool = match given.text("subnetpool_id") {
        Some(_) if default => {
            return Err(bad_request("subnetpool_id and use_default_subnetpool cannot both be specified"));
        }
        // A prefix that is given needs no delegation.
        Some(PREFIX_DELEGATION) if cidr.is_some() => None,
        Some(PREFIX_DELEGATION) => return Err(refused_delegation(given)),
        Some(id) => Some(find::<SubnetPool>(ctx, tx, id).await?),
        None if default => {
            let version = match cidr {
                Some(cidr) => version_of(cidr.addr()),
                None => given.int("ip_version").unwrap_or_default(),
            };
            let missing = || bad_request(&format!("No default subnetpool found for IPv{version}"));
            Some(default_pool(ctx, tx, version).await?.ok_or_else(missing)?)
        }
        None => None,
    };
    match &pool {
        None if cidr.is_none() => Err(bad_request("a subnetpool must be specified in the absence of a cidr")),
        Some(_) if cidr.is_none() && given.list("allocation_pools").is_some() => {
            Err(bad_request("allocation_pools allowed only for specific subnet requests."))
        }
        Some(pool) if given.int("ip_version") != Some(pool.ip_version.into()) => {
            let asked = given.int("ip_version").unwrap_or_default();
            Err(bad_request(&format!("Cannot allocate IPv{asked} subnet from IPv{} subnet pool", pool.ip_version)))
        }
        _ => Ok(pool),
    }
}

fn version_of(address: IpAddr) -> i64 {
    if address.is_ipv4() { 4 } else { 6 }
}

fn refused_delegation(given: &Attributes) -> crate::Error {
    let mode = |name| given.text(name).is_some_and(|m| m == "slaac" || m == "dhcpv6-stateless");
    if given.int("ip_version") != Some(6) {
        bad_request("Prefix Delegation can only be used with IPv6 subnets.")
    } else if !mode("ipv6_ra_mode") {
        bad_request("IPv6 RA Mode must be SLAAC or Stateless for Prefix Delegation.")
    } else if !mode("ipv6_address_mode") {
        bad_request("IPv6 Address Mode must be SLAAC or Stateless for Prefix Delegation.")
    } else {
        bad_request("IPv6 prefix delegation is not served here; give a cidr")
    }
}

/// The prefix of a new subnet: as given, or of what the pool has left.
pub(in crate::resource) async fn prefix(tx: &mut Tx, pool: Option<&SubnetPool>, given: &Attributes) -> Result<IpNet> {
    let Some(pool) = pool else {
        let missing = || bad_request("a subnetpool must be specified in the absence of a cidr");
        return given.parsed::<IpNet>("cidr").map(|cidr| cidr.trunc()).ok_or_else(missing);
    };
    let wish = wish(pool, given)?;
    let length = match wish {
        Wish::Any(length) => length,
        Wish::This(prefix) => prefix.prefix_len(),
    };
    within_bounds(pool, length)?;
    rows::subnet_pool_lock(tx, pool.id).await?;
    let taken = rows::allocations(tx, pool.id).await?;
    within_quota(pool, length, &taken, given.text("project_id").unwrap_or_default())?;
    let v4 = pool.ip_version == 4;
    let all = PrefixSet::new(v4, pool.prefixes.iter().copied());
    let left = all.without(&PrefixSet::new(v4, taken.into_iter().map(|(prefix, _)| prefix)));
    match wish {
        Wish::Any(length) => smallest_fit(&left, length)
            .ok_or_else(|| unallocated(&format!("Insufficient prefix space to allocate subnet size /{length}"))),
        Wish::This(prefix) if left.contains(&PrefixSet::new(v4, [prefix])) => Ok(prefix),
        Wish::This(_) => Err(unallocated("Cannot allocate requested subnet from the available set of prefixes")),
    }
}

/// A gateway names the prefix that it is in.
fn wish(pool: &SubnetPool, given: &Attributes) -> Result<Wish> {
    if let Some(cidr) = given.parsed::<IpNet>("cidr") {
        return Ok(Wish::This(cidr.trunc()));
    }
    let asked = given.int("prefixlen").unwrap_or(pool.default_prefixlen.into());
    let (wildcard, width) = if pool.ip_version == 4 { ("0.0.0.0", 32) } else { ("::", 128) };
    let length = u8::try_from(asked)
        .ok()
        .filter(|length| *length <= width)
        .ok_or_else(|| Refusal::bad_request("AddrFormatError", format!("invalid IPNetwork {wildcard}/{asked}")))?;
    let gateway =
        given.parsed::<IpAddr>("gateway_ip").filter(|gateway| version_of(*gateway) == i64::from(pool.ip_version));
    Ok(match gateway.and_then(|gateway| IpNet::new(gateway, length).ok()) {
        Some(around) => Wish::This(around.trunc()),
        None => Wish::Any(length),
    })
}

fn within_bounds(pool: &SubnetPool, length: u8) -> Result<()> {
    let refuse = |kind: &str, bound: &str, limit: u8| {
        let message =
            format!("Unable to allocate subnet with prefix length {length}, {bound} allowed prefix is {limit}.");
        Err(Refusal::bad_request(kind, message).into())
    };
    if length > pool.max_prefixlen {
        return refuse("MaxPrefixSubnetAllocationError", "maximum", pool.max_prefixlen);
    }
    if length < pool.min_prefixlen {
        return refuse("MinPrefixSubnetAllocationError", "minimum", pool.min_prefixlen);
    }
    Ok(())
}

/// IPv4 is counted in addresses, IPv6 in prefixes of 64 bits, of which smaller ones are fractions.
fn within_quota(pool: &SubnetPool, length: u8, taken: &[(IpNet, String)], project_id: &str) -> Result<()> {
    let Some(quota) = pool.default_quota.filter(|quota| *quota > 0) else { return Ok(()) };
    let unit = if pool.ip_version == 4 { 32 } else { 64 };
    let units = |length: u8| 2_f64.powi(unit - i32::from(length));
    let used: f64 = taken.iter().filter(|(_, owner)| owner == project_id).map(|(p, _)| units(p.prefix_len())).sum();
    #[expect(clippy::cast_precision_loss, reason = "quotas are small numbers")]
    let limit = quota as f64;
    if used + units(length) > limit {
        let message = "Per-project subnet pool prefix quota exceeded.";
        return Err(Refusal::conflict("SubnetPoolQuotaExceeded", message).into());
    }
    Ok(())
}

/// Out of the smallest block that is large enough, so that large ones stay whole.
fn smallest_fit(left: &PrefixSet, length: u8) -> Option<IpNet> {
    let mut blocks = left.prefixes();
    blocks.sort_by_key(|block| std::cmp::Reverse(block.prefix_len()));
    blocks.into_iter().find_map(|block| first_within(block, length))
}

/// Upstream fails here as if it were the server's fault.
fn unallocated(reason: &str) -> crate::Error {
    Refusal::conflict("SubnetAllocationError", format!("Failed to allocate subnet: {reason}.")).into()
}

/// Either all subnets of a version on a network are from pools of one address scope, or from one pool, or from none.
pub(in crate::resource) async fn affinity(
    conn: &mut Conn,
    network: NetworkId,
    ip_version: u8,
    pool: Option<&SubnetPool>,
) -> Result<()> {
    let scopes = db::address_scope::scopes_of_networks(conn, &[network.to_string()]).await?;
    let scope = scopes.get(&(network, ip_version));
    if let (Some(scope), Some(pool)) = (scope, pool)
        && pool.address_scope_id != Some(*scope)
    {
        return Err(check::scopes_differ());
    }
    let id = pool.map(|pool| pool.id.to_string());
    let fits = |(version, from): &(u8, Option<String>)| match &id {
        Some(id) => scope.is_some() || *version != ip_version || from.as_ref() == Some(id),
        None => from.is_none() || *version != ip_version,
    };
    if rows::pools_on_network(conn, network).await?.iter().all(fits) {
        return Ok(());
    }
    let message = "Subnets hosted on the same network must be allocated from the same subnet pool.";
    Err(Refusal::bad_request("NetworkSubnetPoolAffinityError", message).into())
}
