//! Address groups and what is in them.

use std::collections::{HashMap, HashSet};

use sea_query::{Expr, ExprTrait, Query};
use types::{
    AddressGroupId,
    address_group::AddressGroup,
    rbac_policy::{ACCESS_AS_SHARED, ObjectType},
};

use crate::{
    Conn, DbError, Row,
    list::{Listing, Scope, Source},
    rbac_policy::shared_among,
    schema::tables,
    standard::{standard_delete, standard_from_row},
};

const COLUMNS: [&str; 3] = ["id", "name", "project_id"];

/// How address groups are listed.
pub static LISTING: Listing = Listing {
    table: &tables::ADDRESS_GROUPS,
    columns: &COLUMNS,
    standard: true,
    scope: Scope::Granted { key: "id", table: &tables::ADDRESSGROUPRBACS, actions: &[ACCESS_AS_SHARED] },
    attributes: &[("id", Source::Own("id")), ("name", Source::Own("name")), ("project_id", Source::Own("project_id"))],
};

/// Whole groups from the rows [`LISTING`] selected, in their order, as the project sees them that asks.
pub async fn address_groups_from_rows(
    conn: &mut Conn,
    rows: Vec<Row>,
    project_id: Option<&str>,
) -> Result<Vec<AddressGroup>, DbError> {
    let mut groups = rows.iter().map(address_group_from_row).collect::<Result<Vec<_>, _>>()?;
    if groups.is_empty() {
        return Ok(groups);
    }
    let ids: Vec<AddressGroupId> = groups.iter().map(|group| group.id).collect();
    let mut addresses = addresses_of(conn, &ids).await?;
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let shared = shared_among(conn, ObjectType::AddressGroup, &texts, project_id).await?;
    for group in &mut groups {
        group.addresses = addresses.remove(&group.id).unwrap_or_default();
        group.shared = shared.contains(&group.id.0);
    }
    Ok(groups)
}

fn address_group_from_row(row: &Row) -> Result<AddressGroup, DbError> {
    let project_id: String = row.get::<Option<String>>(2)?.unwrap_or_default();
    Ok(AddressGroup {
        id: row.get(0)?,
        name: row.get::<Option<String>>(1)?.unwrap_or_default(),
        tenant_id: project_id.clone(),
        project_id,
        addresses: Vec::new(),
        shared: false,
        standard: standard_from_row(row, COLUMNS.len())?,
    })
}

/// The addresses of each of these groups, in the order of their texts.
pub async fn addresses_of(
    conn: &mut Conn,
    groups: &[AddressGroupId],
) -> Result<HashMap<AddressGroupId, Vec<String>>, DbError> {
    let mut addresses: HashMap<AddressGroupId, Vec<String>> = HashMap::new();
    if groups.is_empty() {
        return Ok(addresses);
    }
    let mut select = tables::ADDRESS_ASSOCIATIONS.select(&["address_group_id", "address"]);
    select.and_where(Expr::col("address_group_id").is_in(groups.iter().map(ToString::to_string)));
    for row in conn.select(&select).await? {
        addresses.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    addresses.values_mut().for_each(|list| list.sort_unstable());
    Ok(addresses)
}

/// Adds a group, without its addresses. Its standard attributes have their row already.
pub async fn address_group_insert(conn: &mut Conn, group: &AddressGroup) -> Result<(), DbError> {
    let row =
        vec![group.id.into(), (&group.name).into(), (&group.project_id).into(), group.standard.standard_attr_id.into()];
    conn.insert(&tables::ADDRESS_GROUPS, &["id", "name", "project_id", "standard_attr_id"], vec![row]).await
}

/// Writes the name of a group.
pub async fn address_group_rename(conn: &mut Conn, group: &AddressGroup) -> Result<(), DbError> {
    let binds = vec![(&group.name).into(), group.id.into()];
    conn.execute("UPDATE address_groups SET name = ? WHERE id = ?", binds).await.map(|_| ())
}

/// Removes a group with its addresses.
pub async fn address_group_delete(conn: &mut Conn, group: &AddressGroup) -> Result<(), DbError> {
    for sql in [
        "DELETE FROM address_associations WHERE address_group_id = ?",
        "DELETE FROM addressgrouprbacs WHERE object_id = ?",
        "DELETE FROM address_groups WHERE id = ?",
    ] {
        conn.execute(sql, vec![group.id.into()]).await?;
    }
    standard_delete(conn, &[group.standard.standard_attr_id]).await
}

/// Adds addresses that the group does not have yet.
pub async fn addresses_add(conn: &mut Conn, group: AddressGroupId, addresses: &[String]) -> Result<(), DbError> {
    let rows = addresses.iter().map(|address| vec![address.into(), group.into()]).collect();
    conn.insert(&tables::ADDRESS_ASSOCIATIONS, &["address", "address_group_id"], rows).await
}

/// Removes addresses from the group.
pub async fn addresses_remove(conn: &mut Conn, group: AddressGroupId, addresses: &[String]) -> Result<(), DbError> {
    let mut delete = Query::delete();
    delete.from_table("address_associations").and_where(Expr::col("address_group_id").eq(group.to_string()));
    delete.and_where(Expr::col("address").is_in(addresses.iter().map(String::as_str)));
    conn.delete(&delete).await.map(|_| ())
}

/// Those of the groups that exist.
pub async fn address_groups_known(
    conn: &mut Conn,
    groups: &[AddressGroupId],
) -> Result<HashSet<AddressGroupId>, DbError> {
    let mut select = tables::ADDRESS_GROUPS.select(&["id"]);
    select.and_where(Expr::col("id").is_in(groups.iter().map(ToString::to_string)));
    conn.select(&select).await?.iter().map(|row| row.get(0)).collect()
}

/// Whether a rule of a security group names the group.
pub async fn address_group_is_used(conn: &mut Conn, group: AddressGroupId) -> Result<bool, DbError> {
    let sql = "SELECT id FROM securitygrouprules WHERE remote_address_group_id = ? LIMIT 1";
    Ok(!conn.sql(sql, vec![group.into()]).await?.is_empty())
}

/// The security groups whose rules name the group.
pub async fn security_groups_naming(
    conn: &mut Conn,
    group: AddressGroupId,
) -> Result<Vec<types::SecurityGroupId>, DbError> {
    let sql = "SELECT DISTINCT security_group_id FROM securitygrouprules WHERE remote_address_group_id = ?";
    conn.sql(sql, vec![group.into()]).await?.iter().map(|row| row.get(0)).collect()
}
