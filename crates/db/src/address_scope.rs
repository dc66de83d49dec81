//! Address scopes.

use std::collections::HashMap;

use sea_query::{Expr, ExprTrait, SelectStatement};
use types::{
    AddressScopeId, NetworkId,
    address_scope::AddressScope,
    rbac_policy::{ACCESS_AS_SHARED, ObjectType},
};

use crate::{
    Conn, DbError, Row,
    list::{Listing, Scope, Source},
    rbac_policy::shared_among,
    schema::tables,
};

const COLUMNS: [&str; 4] = ["id", "name", "project_id", "ip_version"];

/// How address scopes are listed.
pub static LISTING: Listing = Listing {
    table: &tables::ADDRESS_SCOPES,
    columns: &COLUMNS,
    standard: false,
    scope: Scope::Granted { key: "id", table: &tables::ADDRESSSCOPERBACS, actions: &[ACCESS_AS_SHARED] },
    attributes: &[
        ("id", Source::Own("id")),
        ("name", Source::Own("name")),
        ("project_id", Source::Own("project_id")),
        ("ip_version", Source::Own("ip_version")),
        ("shared", Source::Granted { key: "id", table: &tables::ADDRESSSCOPERBACS, action: ACCESS_AS_SHARED }),
    ],
};

/// Whole scopes from the rows [`LISTING`] selected, in their order, as the project sees them that asks.
pub async fn address_scopes_from_rows(
    conn: &mut Conn,
    rows: Vec<Row>,
    project_id: Option<&str>,
) -> Result<Vec<AddressScope>, DbError> {
    let mut scopes = rows.iter().map(address_scope_from_row).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<String> = scopes.iter().map(|scope| scope.id.to_string()).collect();
    let shared = shared_among(conn, ObjectType::AddressScope, &ids, project_id).await?;
    for scope in &mut scopes {
        scope.shared = shared.contains(&scope.id.0);
    }
    Ok(scopes)
}

fn address_scope_from_row(row: &Row) -> Result<AddressScope, DbError> {
    let project_id: String = row.get::<Option<String>>(2)?.unwrap_or_default();
    Ok(AddressScope {
        id: row.get(0)?,
        name: row.get(1)?,
        tenant_id: project_id.clone(),
        project_id,
        shared: false,
        ip_version: row.get(3)?,
    })
}

/// Adds a scope.
pub async fn address_scope_insert(conn: &mut Conn, scope: &AddressScope) -> Result<(), DbError> {
    let row = vec![scope.id.into(), (&scope.name).into(), (&scope.project_id).into(), scope.ip_version.into()];
    conn.insert(&tables::ADDRESS_SCOPES, &COLUMNS, vec![row]).await
}

/// Writes the name of a scope.
pub async fn address_scope_rename(conn: &mut Conn, scope: &AddressScope) -> Result<(), DbError> {
    let binds = vec![(&scope.name).into(), scope.id.into()];
    conn.execute("UPDATE address_scopes SET name = ? WHERE id = ?", binds).await.map(|_| ())
}

/// Removes a scope.
pub async fn address_scope_delete(conn: &mut Conn, scope: AddressScopeId) -> Result<(), DbError> {
    for sql in ["DELETE FROM addressscoperbacs WHERE object_id = ?", "DELETE FROM address_scopes WHERE id = ?"] {
        conn.execute(sql, vec![scope.into()]).await?;
    }
    Ok(())
}

/// Whether a subnet pool belongs to the scope.
pub async fn address_scope_is_used(conn: &mut Conn, scope: AddressScopeId) -> Result<bool, DbError> {
    let sql = "SELECT id FROM subnetpools WHERE address_scope_id = ? LIMIT 1";
    Ok(!conn.sql(sql, vec![scope.into()]).await?.is_empty())
}

/// The address scopes of networks: those of the pools that their subnets are from, by version.
pub async fn scopes_of_networks(
    conn: &mut Conn,
    networks: &[String],
) -> Result<HashMap<(NetworkId, u8), AddressScopeId>, DbError> {
    scopes_read(&conn.select(&scopes_query(networks)).await?)
}

/// The query behind [`scopes_of_networks`].
pub(crate) fn scopes_query(networks: &[String]) -> SelectStatement {
    let mut select = tables::SUBNETS.select(&["network_id"]);
    for column in ["ip_version", "address_scope_id"] {
        select.expr(Expr::col(("subnetpools", column)));
    }
    select.inner_join("subnetpools", Expr::col(("subnetpools", "id")).equals(("subnets", "subnetpool_id")));
    select.and_where(Expr::col(("subnets", "network_id")).is_in(networks.iter().map(String::as_str)));
    select.and_where(Expr::col(("subnetpools", "address_scope_id")).is_not_null()).distinct();
    select
}

/// What [`scopes_query`] found, by network and IP version.
pub(crate) fn scopes_read(rows: &[Row]) -> Result<HashMap<(NetworkId, u8), AddressScopeId>, DbError> {
    rows.iter().map(|row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?))).collect()
}
