//! RBAC policies: a table for each kind of object that can be shared.

use std::collections::HashSet;

use types::{
    RbacPolicyId,
    rbac_policy::{ACCESS_AS_SHARED, ObjectType, RbacPolicy},
};
use uuid::Uuid;

use crate::{
    Conn, DbError, Row,
    list::{Listing, Scope, Source},
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

/// How policies of a kind of object are listed.
pub fn listing_of(kind: ObjectType) -> &'static Listing {
    match kind {
        ObjectType::Network => &NETWORK_LISTING,
        ObjectType::SecurityGroup => &SECURITY_GROUP_LISTING,
        ObjectType::AddressGroup => &ADDRESS_GROUP_LISTING,
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

/// Projects that use what may be shared: those with ports on a network or with a security group, and those whose rules
/// name an address group.
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
    };
    conn.sql(sql, vec![object.into()]).await?.iter().map(|row| row.get(0)).collect()
}

/// Whom an object is shared with.
pub async fn shared_with(conn: &mut Conn, kind: ObjectType, object: Uuid) -> Result<HashSet<String>, DbError> {
    rbac_targets(conn, kind, object, ACCESS_AS_SHARED).await
}
