//! Subnet pools, their prefixes, and what is allocated from them.

use std::collections::HashMap;

use ipnet::IpNet;
use sea_query::{Expr, ExprTrait};
use types::{
    AddressScopeId, NetworkId, SubnetId, SubnetPoolId,
    rbac_policy::{ACCESS_AS_SHARED, ObjectType},
    subnet_pool::SubnetPool,
};
use uuid::Uuid;

use crate::{
    Conn, DbError, Row,
    list::{Listing, Scope, Source},
    rbac_policy::shared_among,
    schema::tables,
    standard::{standard_delete, standard_from_row, tags_of},
};

const COLUMNS: [&str; 10] = [
    "id",
    "name",
    "project_id",
    "ip_version",
    "default_prefixlen",
    "min_prefixlen",
    "max_prefixlen",
    "default_quota",
    "address_scope_id",
    "is_default",
];

/// How subnet pools are listed.
pub static LISTING: Listing = Listing {
    table: &tables::SUBNETPOOLS,
    columns: &COLUMNS,
    standard: true,
    scope: Scope::Granted { key: "id", table: &tables::SUBNETPOOLRBACS, actions: &[ACCESS_AS_SHARED] },
    attributes: &[
        ("id", Source::Own("id")),
        ("name", Source::Own("name")),
        ("project_id", Source::Own("project_id")),
        ("ip_version", Source::Own("ip_version")),
        ("default_prefixlen", Source::Own("default_prefixlen")),
        ("min_prefixlen", Source::Own("min_prefixlen")),
        ("max_prefixlen", Source::Own("max_prefixlen")),
        ("default_quota", Source::Own("default_quota")),
        ("address_scope_id", Source::Own("address_scope_id")),
        ("is_default", Source::Own("is_default")),
        ("shared", Source::Granted { key: "id", table: &tables::SUBNETPOOLRBACS, action: ACCESS_AS_SHARED }),
    ],
};

/// Whole pools from the rows [`LISTING`] selected, in their order, as the project sees them that asks.
pub async fn subnet_pools_from_rows(
    conn: &mut Conn,
    rows: Vec<Row>,
    project_id: Option<&str>,
) -> Result<Vec<SubnetPool>, DbError> {
    let mut pools = rows.iter().map(subnet_pool_from_row).collect::<Result<Vec<_>, _>>()?;
    if pools.is_empty() {
        return Ok(pools);
    }
    let ids: Vec<String> = pools.iter().map(|pool| pool.id.to_string()).collect();
    let standard_ids: Vec<i64> = pools.iter().map(|pool| pool.standard.standard_attr_id).collect();
    let mut select = tables::SUBNETPOOLPREFIXES.select(&["subnetpool_id", "cidr"]);
    select.and_where(Expr::col("subnetpool_id").is_in(ids.iter().map(String::as_str)));
    select.order_by("cidr", sea_query::Order::Asc);
    let mut prefixes: HashMap<SubnetPoolId, Vec<IpNet>> = HashMap::new();
    for row in conn.select(&select).await? {
        prefixes.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    let shared = shared_among(conn, ObjectType::SubnetPool, &ids, project_id).await?;
    let mut tags = tags_of(conn, &standard_ids).await?;
    for pool in &mut pools {
        pool.prefixes = prefixes.remove(&pool.id).unwrap_or_default();
        pool.shared = shared.contains(&pool.id.0);
        pool.standard.tags = tags.remove(&pool.standard.standard_attr_id).unwrap_or_default();
    }
    Ok(pools)
}

fn subnet_pool_from_row(row: &Row) -> Result<SubnetPool, DbError> {
    let project_id: String = row.get::<Option<String>>(2)?.unwrap_or_default();
    Ok(SubnetPool {
        id: row.get(0)?,
        name: row.get::<Option<String>>(1)?.unwrap_or_default(),
        tenant_id: project_id.clone(),
        project_id,
        prefixes: Vec::new(),
        ip_version: row.get(3)?,
        default_prefixlen: row.get(4)?,
        min_prefixlen: row.get(5)?,
        max_prefixlen: row.get(6)?,
        default_quota: row.get(7)?,
        address_scope_id: row.get(8)?,
        is_default: row.get(9)?,
        shared: false,
        standard: standard_from_row(row, COLUMNS.len())?,
    })
}

/// Adds a pool with its prefixes. Its standard attributes have their row already.
pub async fn subnet_pool_insert(conn: &mut Conn, pool: &SubnetPool) -> Result<(), DbError> {
    let mut columns = COLUMNS.to_vec();
    columns.extend(["hash", "standard_attr_id"]);
    let row = vec![
        pool.id.into(),
        (&pool.name).into(),
        (&pool.project_id).into(),
        pool.ip_version.into(),
        pool.default_prefixlen.into(),
        pool.min_prefixlen.into(),
        pool.max_prefixlen.into(),
        pool.default_quota.into(),
        pool.address_scope_id.into(),
        pool.is_default.into(),
        Uuid::new_v4().into(),
        pool.standard.standard_attr_id.into(),
    ];
    conn.insert(&tables::SUBNETPOOLS, &columns, vec![row]).await?;
    prefixes_insert(conn, pool.id, &pool.prefixes).await
}

async fn prefixes_insert(conn: &mut Conn, pool: SubnetPoolId, prefixes: &[IpNet]) -> Result<(), DbError> {
    let rows = prefixes.iter().map(|prefix| vec![(*prefix).into(), pool.into()]).collect();
    conn.insert(&tables::SUBNETPOOLPREFIXES, &["cidr", "subnetpool_id"], rows).await
}

/// Writes what can be changed of a pool, except its prefixes and standard attributes.
pub async fn subnet_pool_update(conn: &mut Conn, pool: &SubnetPool) -> Result<(), DbError> {
    let sql = "UPDATE subnetpools SET name = ?, default_prefixlen = ?, min_prefixlen = ?, max_prefixlen = ?, \
               default_quota = ?, address_scope_id = ?, is_default = ? WHERE id = ?";
    let binds = vec![
        (&pool.name).into(),
        pool.default_prefixlen.into(),
        pool.min_prefixlen.into(),
        pool.max_prefixlen.into(),
        pool.default_quota.into(),
        pool.address_scope_id.into(),
        pool.is_default.into(),
        pool.id.into(),
    ];
    conn.execute(sql, binds).await.map(|_| ())
}

/// Makes these all the prefixes of a pool. The time of change moves, the revision does not.
pub async fn prefixes_replace(conn: &mut Conn, pool: &mut SubnetPool) -> Result<(), DbError> {
    conn.execute("DELETE FROM subnetpoolprefixes WHERE subnetpool_id = ?", vec![pool.id.into()]).await?;
    prefixes_insert(conn, pool.id, &pool.prefixes).await?;
    let now = crate::standard::now();
    let binds = vec![now.into(), pool.standard.standard_attr_id.into()];
    conn.execute("UPDATE standardattributes SET updated_at = ? WHERE id = ?", binds).await?;
    pool.standard.updated_at = crate::standard::format_time(now);
    Ok(())
}

/// Removes a pool.
pub async fn subnet_pool_delete(conn: &mut Conn, pool: &SubnetPool) -> Result<(), DbError> {
    for sql in [
        "DELETE FROM subnetpoolrbacs WHERE object_id = ?",
        "DELETE FROM subnetpoolprefixes WHERE subnetpool_id = ?",
        "DELETE FROM subnetpools WHERE id = ?",
    ] {
        conn.execute(sql, vec![pool.id.into()]).await?;
    }
    standard_delete(conn, &[pool.standard.standard_attr_id]).await
}

/// Lets one server at a time allocate from a pool: whoever read the mark that another has replaced since loses against
/// it, and runs its operation again.
pub async fn subnet_pool_lock(conn: &mut Conn, pool: SubnetPoolId) -> Result<(), DbError> {
    let rows = conn.sql("SELECT hash FROM subnetpools WHERE id = ?", vec![pool.into()]).await?;
    let mark: String = rows.first().map_or(Ok(String::new()), |row| row.get(0))?;
    let binds = vec![Uuid::new_v4().into(), pool.into(), mark.into()];
    match conn.execute("UPDATE subnetpools SET hash = ? WHERE id = ? AND hash = ?", binds).await? {
        0 => Err(DbError::Conflict { source: "another server allocates from the subnet pool".into() }),
        _ => Ok(()),
    }
}

/// What is allocated from a pool, and by whom.
pub async fn allocations(conn: &mut Conn, pool: SubnetPoolId) -> Result<Vec<(IpNet, String)>, DbError> {
    let sql = "SELECT cidr, project_id FROM subnets WHERE subnetpool_id = ?";
    let rows = conn.sql(sql, vec![pool.into()]).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get::<Option<String>>(1)?.unwrap_or_default()))).collect()
}

/// The prefixes of the other pools of an address scope.
pub async fn prefixes_in_scope(
    conn: &mut Conn,
    scope: AddressScopeId,
    except: SubnetPoolId,
) -> Result<Vec<IpNet>, DbError> {
    let sql = "SELECT p.cidr FROM subnetpoolprefixes p JOIN subnetpools s ON s.id = p.subnetpool_id \
               WHERE s.address_scope_id = ? AND s.id <> ?";
    conn.sql(sql, vec![scope.into(), except.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Whether a network with a subnet from the pool has others of that version that are not.
pub async fn shares_a_network(conn: &mut Conn, pool: SubnetPoolId, ip_version: u8) -> Result<bool, DbError> {
    let sql = "SELECT id FROM subnets WHERE ip_version = ? AND (subnetpool_id IS NULL OR subnetpool_id <> ?) \
               AND network_id IN (SELECT network_id FROM subnets WHERE subnetpool_id = ?) LIMIT 1";
    Ok(!conn.sql(sql, vec![ip_version.into(), pool.into(), pool.into()]).await?.is_empty())
}

/// The version of each subnet of a network, and the pool that it is from, by name: it may be no pool of ours.
pub async fn pools_on_network(conn: &mut Conn, network: NetworkId) -> Result<Vec<(u8, Option<String>)>, DbError> {
    let sql = "SELECT ip_version, subnetpool_id FROM subnets WHERE network_id = ?";
    conn.sql(sql, vec![network.into()]).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Says that a subnet is from a pool.
pub async fn subnet_adopt(conn: &mut Conn, subnet: SubnetId, pool: SubnetPoolId) -> Result<(), DbError> {
    let sql = "UPDATE subnets SET subnetpool_id = ? WHERE id = ?";
    conn.execute(sql, vec![pool.into(), subnet.into()]).await.map(|_| ())
}
