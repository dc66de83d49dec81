//! Security groups, their rules, and the default group of each project.

use std::collections::{HashMap, HashSet};

use sea_query::{Expr, ExprTrait, Query};
use types::{
    SecurityGroupId,
    security_group::{SecurityGroup, SecurityGroupRule},
};

use crate::{
    Conn, DbError, Row, Statement, Value,
    list::{ListQuery, Listing, Scope, Source, Viewer, targets},
    schema::tables,
    standard::{standard_delete, standard_from_row, tags_of},
};

/// `securitygrouprbacs.action` of a group that other projects may use.
const ACCESS_AS_SHARED: &str = "access_as_shared";

const GROUP_COLUMNS: [&str; 4] = ["id", "name", "project_id", "stateful"];

const RULE_COLUMNS: [&str; 11] = [
    "id",
    "project_id",
    "security_group_id",
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
    "remote_address_group_id",
];

/// How security groups are listed.
pub static GROUP_LISTING: Listing = Listing {
    table: &tables::SECURITYGROUPS,
    columns: &GROUP_COLUMNS,
    standard: true,
    scope: Scope::Granted { key: "id", table: &tables::SECURITYGROUPRBACS, actions: &[ACCESS_AS_SHARED] },
    attributes: &[
        ("id", Source::Own("id")),
        ("name", Source::Own("name")),
        ("project_id", Source::Own("project_id")),
        ("stateful", Source::Own("stateful")),
        ("shared", Source::Granted { key: "id", table: &tables::SECURITYGROUPRBACS, action: ACCESS_AS_SHARED }),
    ],
};

/// How rules are listed.
pub static RULE_LISTING: Listing = Listing {
    table: &tables::SECURITYGROUPRULES,
    columns: &RULE_COLUMNS,
    standard: true,
    scope: Scope::OfOwned { key: "security_group_id", table: &tables::SECURITYGROUPS },
    attributes: &[
        ("id", Source::Own("id")),
        ("project_id", Source::Own("project_id")),
        ("security_group_id", Source::Own("security_group_id")),
        ("direction", Source::Own("direction")),
        ("ethertype", Source::Own("ethertype")),
        ("protocol", Source::Own("protocol")),
        ("port_range_min", Source::Own("port_range_min")),
        ("port_range_max", Source::Own("port_range_max")),
        ("remote_ip_prefix", Source::Own("remote_ip_prefix")),
        ("normalized_cidr", Source::Own("remote_ip_prefix")),
        ("remote_group_id", Source::Own("remote_group_id")),
        ("remote_address_group_id", Source::Own("remote_address_group_id")),
    ],
};

/// Whole groups from the rows [`GROUP_LISTING`] selected, in their order, as the project sees them that asks.
pub async fn security_groups_from_rows(
    conn: &mut Conn,
    rows: Vec<Row>,
    project_id: Option<&str>,
) -> Result<Vec<SecurityGroup>, DbError> {
    let mut groups = rows.iter().map(group_from_row).collect::<Result<Vec<_>, _>>()?;
    if groups.is_empty() {
        return Ok(groups);
    }
    let ids: Vec<Value> = groups.iter().map(|group| group.id.into()).collect();
    let query = ListQuery::default().matching_any("security_group_id", ids);
    let rules = RULE_LISTING.page(conn, &query).await?.rows;
    let rules = security_group_rules_from_rows(conn, rules).await?;
    let mut by_group: HashMap<SecurityGroupId, Vec<SecurityGroupRule>> = HashMap::new();
    for rule in rules {
        by_group.entry(rule.security_group_id).or_default().push(rule);
    }
    let shared = shared_among(conn, &groups, project_id).await?;
    let standard_ids: Vec<i64> = groups.iter().map(|g| g.standard.standard_attr_id).collect();
    let mut tags = tags_of(conn, &standard_ids).await?;
    for group in &mut groups {
        group.security_group_rules = by_group.remove(&group.id).unwrap_or_default();
        group.shared = shared.contains(&group.id);
        group.standard.tags = tags.remove(&group.standard.standard_attr_id).unwrap_or_default();
    }
    Ok(groups)
}

fn group_from_row(row: &Row) -> Result<SecurityGroup, DbError> {
    let project_id: String = row.get::<Option<String>>(2)?.unwrap_or_default();
    Ok(SecurityGroup {
        id: row.get(0)?,
        name: row.get::<Option<String>>(1)?.unwrap_or_default(),
        tenant_id: project_id.clone(),
        project_id,
        stateful: row.get(3)?,
        shared: false,
        security_group_rules: Vec::new(),
        standard: standard_from_row(row, GROUP_COLUMNS.len())?,
    })
}

async fn shared_among(
    conn: &mut Conn,
    groups: &[SecurityGroup],
    project_id: Option<&str>,
) -> Result<HashSet<SecurityGroupId>, DbError> {
    let mut select = tables::SECURITYGROUPRBACS.select(&["object_id"]);
    select.and_where(Expr::col("object_id").is_in(groups.iter().map(|g| g.id.to_string())));
    select.and_where(Expr::col("action").eq(ACCESS_AS_SHARED));
    select.and_where(Expr::col("target_project").is_in(targets(project_id)));
    conn.select(&select).await?.iter().map(|row| row.get(0)).collect()
}

/// Whole rules from the rows [`RULE_LISTING`] selected, in their order.
pub async fn security_group_rules_from_rows(
    conn: &mut Conn,
    rows: Vec<Row>,
) -> Result<Vec<SecurityGroupRule>, DbError> {
    let mut rules = rows.iter().map(rule_from_row).collect::<Result<Vec<_>, _>>()?;
    if rules.is_empty() {
        return Ok(rules);
    }
    let groups: HashSet<String> = rules.iter().map(|rule| rule.security_group_id.to_string()).collect();
    let mut select = tables::DEFAULT_SECURITY_GROUP.select(&["security_group_id"]);
    select.and_where(Expr::col("security_group_id").is_in(groups));
    let default: HashSet<SecurityGroupId> =
        conn.select(&select).await?.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
    for rule in &mut rules {
        rule.belongs_to_default_sg = Some(default.contains(&rule.security_group_id));
    }
    Ok(rules)
}

fn rule_from_row(row: &Row) -> Result<SecurityGroupRule, DbError> {
    let project_id: String = row.get::<Option<String>>(1)?.unwrap_or_default();
    let remote_ip_prefix: Option<String> = row.get(8)?;
    Ok(SecurityGroupRule {
        id: row.get(0)?,
        tenant_id: project_id.clone(),
        project_id,
        security_group_id: row.get(2)?,
        direction: row.get::<Option<String>>(3)?.unwrap_or_default(),
        ethertype: row.get::<Option<String>>(4)?.unwrap_or_default(),
        protocol: row.get(5)?,
        port_range_min: row.get(6)?,
        port_range_max: row.get(7)?,
        normalized_cidr: remote_ip_prefix.as_deref().and_then(normalized),
        remote_ip_prefix,
        remote_group_id: row.get(9)?,
        remote_address_group_id: row.get(10)?,
        belongs_to_default_sg: Some(false),
        standard: standard_from_row(row, RULE_COLUMNS.len())?,
    })
}

/// The prefix with its host bits cleared.
pub fn normalized(prefix: &str) -> Option<String> {
    let network: ipnet::IpNet = match prefix.parse() {
        Ok(network) => network,
        Err(_) => prefix.parse::<std::net::IpAddr>().ok()?.into(),
    };
    Some(network.trunc().to_string())
}

/// The owners of groups, by the groups' ids.
pub async fn security_group_owners(
    conn: &mut Conn,
    ids: &[String],
) -> Result<HashMap<String, Option<String>>, DbError> {
    let mut select = tables::SECURITYGROUPS.select(&["id", "project_id"]);
    select.and_where(Expr::col("id").is_in(ids.iter().map(String::as_str)));
    conn.select(&select).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Those of the groups that a project may put on its ports: its own, and those shared with it.
pub async fn security_groups_usable(
    conn: &mut Conn,
    groups: &[SecurityGroupId],
    project_id: &str,
) -> Result<HashSet<SecurityGroupId>, DbError> {
    let viewer = Viewer { project_id: Some(project_id.to_owned()), scoped: true };
    let ids = groups.iter().map(|id| (*id).into()).collect();
    let query = ListQuery { viewer, ..ListQuery::default() }.matching_any("id", ids);
    GROUP_LISTING.page(conn, &query).await?.rows.iter().map(|row| row.get(0)).collect()
}

/// Adds a group, without its rules. Its standard attributes have their row already.
pub async fn security_group_insert(conn: &mut Conn, group: &SecurityGroup) -> Result<(), DbError> {
    let row = vec![
        group.id.into(),
        (&group.name).into(),
        (&group.project_id).into(),
        group.stateful.into(),
        group.standard.standard_attr_id.into(),
    ];
    let columns = ["id", "name", "project_id", "stateful", "standard_attr_id"];
    conn.insert(&tables::SECURITYGROUPS, &columns, vec![row]).await
}

/// Writes what can be changed of a group.
pub async fn security_group_update(conn: &mut Conn, group: &SecurityGroup) -> Result<(), DbError> {
    let sql = "UPDATE securitygroups SET name = ?, stateful = ? WHERE id = ?";
    conn.execute(sql, vec![(&group.name).into(), group.stateful.into(), group.id.into()]).await.map(|_| ())
}

/// Removes a group with its rules.
pub async fn security_group_delete(conn: &mut Conn, group: &SecurityGroup) -> Result<(), DbError> {
    for sql in [
        "DELETE FROM default_security_group WHERE security_group_id = ?",
        "DELETE FROM securitygrouprbacs WHERE object_id = ?",
        "DELETE FROM securitygrouprules WHERE security_group_id = ?",
        "DELETE FROM securitygroups WHERE id = ?",
    ] {
        conn.execute(sql, vec![group.id.into()]).await?;
    }
    let mut standard = vec![group.standard.standard_attr_id];
    standard.extend(group.security_group_rules.iter().map(|rule| rule.standard.standard_attr_id));
    standard_delete(conn, &standard).await
}

/// Whether ports, or rules of other groups, refer to the group.
pub async fn security_group_is_used(conn: &mut Conn, group: SecurityGroupId) -> Result<bool, DbError> {
    let ports = "SELECT port_id FROM securitygroupportbindings WHERE security_group_id = ? LIMIT 1";
    Ok(!conn.sql(ports, vec![group.into()]).await?.is_empty())
}

/// The query behind [`default_group_of`].
pub fn default_group_query(project_id: &str) -> Statement {
    let text = "SELECT security_group_id FROM default_security_group WHERE project_id = ?";
    Statement::new(text, vec![project_id.into()])
}

/// The project's default group.
pub async fn default_group_of(conn: &mut Conn, project_id: &str) -> Result<Option<SecurityGroupId>, DbError> {
    conn.ask(default_group_query(project_id)).await?.first().map(|row| row.get(0)).transpose()
}

/// Makes a group the project's default.
pub async fn default_group_set(conn: &mut Conn, group: &SecurityGroup) -> Result<(), DbError> {
    let row = vec![(&group.project_id).into(), group.id.into()];
    conn.insert(&tables::DEFAULT_SECURITY_GROUP, &["project_id", "security_group_id"], vec![row]).await
}

/// Adds rules. Their standard attributes have their rows already.
pub async fn security_group_rules_insert(conn: &mut Conn, rules: &[SecurityGroupRule]) -> Result<(), DbError> {
    let mut columns = RULE_COLUMNS.to_vec();
    columns.push("standard_attr_id");
    let row = |rule: &SecurityGroupRule| {
        vec![
            rule.id.into(),
            (&rule.project_id).into(),
            rule.security_group_id.into(),
            (&rule.direction).into(),
            (&rule.ethertype).into(),
            rule.protocol.clone().into(),
            rule.port_range_min.into(),
            rule.port_range_max.into(),
            rule.remote_ip_prefix.clone().into(),
            rule.remote_group_id.into(),
            rule.remote_address_group_id.into(),
            rule.standard.standard_attr_id.into(),
        ]
    };
    conn.insert(&tables::SECURITYGROUPRULES, &columns, rules.iter().map(row).collect()).await
}

/// Removes a rule.
pub async fn security_group_rule_delete(conn: &mut Conn, rule: &SecurityGroupRule) -> Result<(), DbError> {
    let mut delete = Query::delete();
    delete.from_table("securitygrouprules").and_where(Expr::col("id").eq(rule.id.to_string()));
    conn.delete(&delete).await?;
    standard_delete(conn, &[rule.standard.standard_attr_id]).await
}
