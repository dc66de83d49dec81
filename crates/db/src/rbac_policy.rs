//! RBAC policies: a table for each kind of object that can be shared.

use std::collections::HashSet;

use sea_query::{Expr, ExprTrait};
use types::{
    RbacPolicyId,
    rbac_policy::{ACCESS_AS_SHARED, EVERYONE, ObjectType, RbacPolicy},
};
use uuid::Uuid;

use crate::{
    Conn, DbError, Row,
    list::{Listing, Scope, Source, targets},
    schema::{Table, tables},
};

const COLUMNS: [&str; 5] = ["id", "project_id", "action", "object_id", "target_project"];

/// What can be filtered and sorted by.
const ATTRIBUTES: &[(&str, Source)] = &[
    ("id", Source::Own("id")),
    ("project_id", Source::Own("project_id")),
    ("action", Source::Own("action")),
    ("object_id", Source::Own("object_id")),
    ("target_tenant", Source::Own("target_project")),
];

const fn listing(table: &'static Table) -> Listing {
    Listing { table, columns: &COLUMNS, standard: false, scope: Scope::Owned, attributes: ATTRIBUTES }
}

/// How policies of networks are listed.
pub static NETWORK_LISTING: Listing = listing(&tables::NETWORKRBACS);
/// How policies of security groups are listed.
pub static SECURITY_GROUP_LISTING: Listing = listing(&tables::SECURITYGROUPRBACS);
/// How policies of address groups are listed.
pub static ADDRESS_GROUP_LISTING: Listing = listing(&tables::ADDRESSGROUPRBACS);

/// How policies of address scopes are listed.
pub static ADDRESS_SCOPE_LISTING: Listing = listing(&tables::ADDRESSSCOPERBACS);
/// How policies of subnet pools are listed.
pub static SUBNET_POOL_LISTING: Listing = listing(&tables::SUBNETPOOLRBACS);

/// How policies of a kind of object are listed.
pub fn listing_of(kind: ObjectType) -> &'static Listing {
    match kind {
        ObjectType::Network => &NETWORK_LISTING,
        ObjectType::SecurityGroup => &SECURITY_GROUP_LISTING,
        ObjectType::AddressGroup => &ADDRESS_GROUP_LISTING,
        ObjectType::AddressScope => &ADDRESS_SCOPE_LISTING,
        ObjectType::SubnetPool => &SUBNET_POOL_LISTING,
    }
}

/// Policies from the rows that [`listing_of`] their kind selected.
pub fn rbac_policies_from_rows(kind: ObjectType, rows: &[Row]) -> Result<Vec<RbacPolicy>, DbError> {
    let policy = |row: &Row| {
        Ok(RbacPolicy {
            id: row.get(0)?,
            project_id: row.get::<Option<String>>(1)?.unwrap_or_default(),
            tenant_id: row.get::<Option<String>>(1)?.unwrap_or_default(),
            action: row.get(2)?,
            object_id: row.get(3)?,
            target_tenant: row.get(4)?,
            object_type: kind,
        })
    };
    rows.iter().map(policy).collect()
}

/// Adds a policy.
pub async fn rbac_policy_insert(conn: &mut Conn, policy: &RbacPolicy) -> Result<(), DbError> {
    let row = vec![
        policy.id.into(),
        (&policy.project_id).into(),
        (&policy.action).into(),
        policy.object_id.into(),
        (&policy.target_tenant).into(),
    ];
    conn.insert(listing_of(policy.object_type).table, &COLUMNS, vec![row]).await
}

/// Changes whom a policy is for.
pub async fn rbac_policy_update(conn: &mut Conn, policy: &RbacPolicy) -> Result<(), DbError> {
    let sql = format!("UPDATE {} SET target_project = ? WHERE id = ?", listing_of(policy.object_type).table.name);
    conn.execute(&sql, vec![(&policy.target_tenant).into(), policy.id.into()]).await.map(|_| ())
}

/// Removes a policy.
pub async fn rbac_policy_delete(conn: &mut Conn, kind: ObjectType, id: RbacPolicyId) -> Result<(), DbError> {
    let sql = format!("DELETE FROM {} WHERE id = ?", listing_of(kind).table.name);
    conn.execute(&sql, vec![id.into()]).await.map(|_| ())
}

/// Whom an action on an object is granted to.
pub async fn rbac_targets(
    conn: &mut Conn,
    kind: ObjectType,
    object: Uuid,
    action: &str,
) -> Result<HashSet<String>, DbError> {
    let table = listing_of(kind).table.name;
    let sql = format!("SELECT target_project FROM {table} WHERE object_id = ? AND action = ?");
    conn.sql(&sql, vec![object.into(), action.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Projects that use what may be shared: those with ports on a network or with a security group, those whose rules name
/// an address group, those with pools in an address scope, and those with subnets from a pool.
pub async fn projects_using(conn: &mut Conn, kind: ObjectType, object: Uuid) -> Result<HashSet<String>, DbError> {
    let sql = match kind {
        ObjectType::Network => "SELECT DISTINCT project_id FROM ports WHERE network_id = ? AND project_id <> ''",
        ObjectType::SecurityGroup => {
            "SELECT DISTINCT ports.project_id FROM ports \
             INNER JOIN securitygroupportbindings ON securitygroupportbindings.port_id = ports.id \
             WHERE securitygroupportbindings.security_group_id = ? AND ports.project_id <> ''"
        }
        ObjectType::AddressGroup => {
            "SELECT DISTINCT project_id FROM securitygrouprules WHERE remote_address_group_id = ? AND project_id <> ''"
        }
        ObjectType::AddressScope => {
            "SELECT DISTINCT project_id FROM subnetpools WHERE address_scope_id = ? AND project_id <> ''"
        }
        ObjectType::SubnetPool => {
            "SELECT DISTINCT project_id FROM subnets WHERE subnetpool_id = ? AND project_id <> ''"
        }
    };
    conn.sql(sql, vec![object.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Whom an object is shared with.
pub async fn shared_with(conn: &mut Conn, kind: ObjectType, object: Uuid) -> Result<HashSet<String>, DbError> {
    rbac_targets(conn, kind, object, ACCESS_AS_SHARED).await
}

/// Those of the objects that are shared with the project, or with everyone.
pub(crate) async fn shared_among(
    conn: &mut Conn,
    kind: ObjectType,
    ids: &[String],
    project_id: Option<&str>,
) -> Result<HashSet<Uuid>, DbError> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let mut select = listing_of(kind).table.select(&["object_id"]);
    select.and_where(Expr::col("object_id").is_in(ids.iter().map(String::as_str)));
    select.and_where(Expr::col("action").eq(ACCESS_AS_SHARED));
    select.and_where(Expr::col("target_project").is_in(targets(project_id)));
    conn.select(&select).await?.iter().map(|row| row.get(0)).collect()
}

/// Shares an object with everyone.
pub async fn share_with_everyone(
    conn: &mut Conn,
    kind: ObjectType,
    object: Uuid,
    project_id: &str,
) -> Result<(), DbError> {
    let policy = RbacPolicy {
        id: RbacPolicyId::random(),
        project_id: project_id.to_owned(),
        tenant_id: project_id.to_owned(),
        action: ACCESS_AS_SHARED.to_owned(),
        object_id: object,
        target_tenant: EVERYONE.to_owned(),
        object_type: kind,
    };
    rbac_policy_insert(conn, &policy).await
}
