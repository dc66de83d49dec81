//! The rules a subnet pool must obey. The texts are those clients of the API know.

use db::{Conn, Tx, subnet_pool as rows};
use ipnet::IpNet;
use types::attribute::Attributes;

use super::{SubnetPool, default_pool};
use crate::{
    Ctx, Error, Refusal, Result,
    ipam::prefixes::PrefixSet,
    resource::{address_scope::AddressScope, find, find_any},
};

/// Length of the largest prefix that a pool gives, unless it says otherwise.
fn least(ip_version: u8) -> i64 {
    if ip_version == 4 { 8 } else { 64 }
}

fn longest(ip_version: u8) -> i64 {
    if ip_version == 4 { 32 } else { 128 }
}

/// The one version of the prefixes.
pub(super) fn version_of(prefixes: &[IpNet]) -> Result<u8> {
    let Some(first) = prefixes.first() else {
        return Err(Refusal::bad_request("EmptySubnetPoolPrefixList", "Empty subnet pool prefix list.").into());
    };
    if prefixes.iter().any(|prefix| prefix.addr().is_ipv4() != first.addr().is_ipv4()) {
        return Err(mixed());
    }
    Ok(if first.addr().is_ipv4() { 4 } else { 6 })
}

pub(super) fn mixed() -> Error {
    Refusal::bad_request("PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.").into()
}

/// The lengths of prefixes that a pool gives.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) min: u8,
    pub(super) max: u8,
    pub(super) default: u8,
}

impl Bounds {
    /// Those of a new pool.
    pub(super) fn new(ip_version: u8, given: &Attributes) -> Result<Self> {
        let min = given.int("min_prefixlen").unwrap_or(least(ip_version));
        let max = given.int("max_prefixlen").unwrap_or(longest(ip_version));
        Self::checked(ip_version, min, max, given.int("default_prefixlen").unwrap_or(min))
    }

    /// Those of a pool as an update leaves them.
    pub(super) fn changed(pool: &SubnetPool, given: &Attributes) -> Result<Self> {
        let now = |name: &str, before: u8| given.int(name).unwrap_or(before.into());
        let min = now("min_prefixlen", pool.min_prefixlen);
        let max = now("max_prefixlen", pool.max_prefixlen);
        Self::checked(pool.ip_version, min, max, now("default_prefixlen", pool.default_prefixlen))
    }

    fn checked(ip_version: u8, min: i64, max: i64, default: i64) -> Result<Self> {
        ordered(("min_prefixlen", min), ("max_prefixlen", max), min <= max)?;
        ordered(("max_prefixlen", max), ("ip_version_max", longest(ip_version)), max <= longest(ip_version))?;
        ordered(("default_prefixlen", default), ("min_prefixlen", min), default >= min)?;
        ordered(("default_prefixlen", default), ("max_prefixlen", max), default <= max)?;
        let length = |length: i64| {
            u8::try_from(length).map_err(|_| Error::Internal(format!("{length} is no length of a prefix")))
        };
        Ok(Self { min: length(min)?, max: length(max)?, default: length(default)? })
    }
}

fn ordered(one: (&str, i64), other: (&str, i64), holds: bool) -> Result<()> {
    if holds {
        return Ok(());
    }
    let message = format!("Illegal prefix bounds: {}={}, {}={}.", one.0, one.1, other.0, other.1);
    Err(Refusal::bad_request("IllegalSubnetPoolPrefixBounds", message).into())
}

/// An update may add prefixes only; there is an action for taking some away.
pub(super) fn grown(pool: &SubnetPool, prefixes: &[IpNet]) -> Result<()> {
    let set = |prefixes: &[IpNet]| PrefixSet::new(pool.ip_version == 4, prefixes.iter().copied());
    match set(prefixes).contains(&set(&pool.prefixes)) {
        true => Ok(()),
        false => Err(illegal_prefixes("Existing prefixes must be a subset of the new prefixes")),
    }
}

pub(super) fn illegal_prefixes(reason: &str) -> Error {
    Refusal::bad_request("IllegalSubnetPoolPrefixUpdate", format!("Illegal update to prefixes: {reason}.")).into()
}

pub(super) fn illegal_update(reason: impl std::fmt::Display) -> Error {
    Refusal::bad_request("IllegalSubnetPoolUpdate", format!("Illegal subnetpool update : {reason}.")).into()
}

/// There is one default pool of each version.
pub(super) async fn only_default(ctx: &Ctx, conn: &mut Conn, pool: &SubnetPool) -> Result<()> {
    match default_pool(ctx, conn, pool.ip_version.into()).await? {
        None => Ok(()),
        Some(_) => Err(Refusal::invalid_input(
            "A default subnetpool for this IP family has already been set. Only one default may exist per IP family",
        )
        .into()),
    }
}

/// A pool in somebody else's scope stays as it is.
pub(super) async fn may_change(ctx: &Ctx, tx: &mut Tx, pool: &SubnetPool) -> Result<()> {
    let Some(scope) = pool.address_scope_id else { return Ok(()) };
    if ctx.caller.is_admin {
        return Ok(());
    }
    let owner: AddressScope = find(ctx, tx, &scope.to_string()).await?;
    if ctx.caller.project_id.as_deref() == Some(owner.project_id.as_str()) {
        return Ok(());
    }
    Err(illegal_update(format!(
        "subnetpool {} cannot be updated when associated with shared address scope {scope}",
        pool.id
    )))
}

/// May the pool be in the scope that it names?
pub(super) async fn scope(ctx: &Ctx, tx: &mut Tx, pool: &SubnetPool) -> Result<()> {
    let Some(id) = pool.address_scope_id else { return Ok(()) };
    let scope: AddressScope = find(ctx, tx, &id.to_string()).await?;
    if scope.ip_version != pool.ip_version {
        let message = format!(
            "Illegal subnetpool association: subnetpool {} cannot associate with address scope {id} because subnetpool \
             ip_version is not {}.",
            pool.id, scope.ip_version
        );
        return Err(Refusal::bad_request("IllegalSubnetPoolIpVersionAssociationToAddressScope", message).into());
    }
    if rows::shares_a_network(tx, pool.id, pool.ip_version).await? {
        return Err(scopes_differ());
    }
    let set = |prefixes: Vec<IpNet>| PrefixSet::new(pool.ip_version == 4, prefixes);
    if set(rows::prefixes_in_scope(tx, id, pool.id).await?).meets(&set(pool.prefixes.clone())) {
        let message =
            "Failed to associate address scope: subnetpools within an address scope must have unique prefixes.";
        return Err(Refusal::conflict("AddressScopePrefixConflict", message).into());
    }
    Ok(())
}

/// All subnets of a version on a network are of one scope.
pub(super) fn scopes_differ() -> Error {
    let message = "Subnets of the same address family hosted on the same network must all participate in the same \
                   address scope.";
    Refusal::bad_request("NetworkAddressScopeAffinityError", message).into()
}

/// A pool is shared with whom its scope is shared.
pub(in crate::resource) async fn may_share(ctx: &Ctx, tx: &mut Tx, pool: &str, target: &str) -> Result<()> {
    let pool: SubnetPool = find_any(ctx, tx, pool).await?;
    let Some(scope) = pool.address_scope_id else { return Ok(()) };
    let kind = types::rbac_policy::ObjectType::AddressScope;
    let shared = db::rbac_policy::shared_with(tx, kind, scope.0).await?;
    if shared.contains(target) || shared.contains(types::rbac_policy::EVERYONE) {
        return Ok(());
    }
    Err(Refusal::invalid_input(format!(
        "Failed to create RBAC policy on object {} because target project doesn't have access to associated address \
         scope.",
        pool.id
    ))
    .into())
}
