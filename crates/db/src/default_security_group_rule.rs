//! Templates of the rules that new security groups begin with.

use types::default_security_group_rule::DefaultSecurityGroupRule;

use crate::{
    Conn, DbError, Row,
    list::{ListQuery, Listing, Scope, Source},
    schema::tables,
    standard::{standard_delete, standard_from_row},
};

const COLUMNS: [&str; 11] = [
    "id",
    "ethertype",
    "direction",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_address_group_id",
    "remote_group_id",
    "used_in_default_sg",
    "used_in_non_default_sg",
];

/// How templates are listed; they belong to nobody, and everyone may see them.
pub static LISTING: Listing = Listing {
    table: &tables::SECURITYGROUPDEFAULTRULES,
    columns: &COLUMNS,
    standard: true,
    scope: Scope::Everything,
    attributes: &[
        ("id", Source::Own("id")),
        ("ethertype", Source::Own("ethertype")),
        ("direction", Source::Own("direction")),
        ("protocol", Source::Own("protocol")),
        ("port_range_min", Source::Own("port_range_min")),
        ("port_range_max", Source::Own("port_range_max")),
        ("remote_ip_prefix", Source::Own("remote_ip_prefix")),
        ("remote_address_group_id", Source::Own("remote_address_group_id")),
        ("remote_group_id", Source::Own("remote_group_id")),
        ("used_in_default_sg", Source::Own("used_in_default_sg")),
        ("used_in_non_default_sg", Source::Own("used_in_non_default_sg")),
    ],
};

/// Templates from the rows [`LISTING`] selected, in their order.
pub fn default_security_group_rules_from_rows(rows: &[Row]) -> Result<Vec<DefaultSecurityGroupRule>, DbError> {
    let template = |row: &Row| {
        let standard = standard_from_row(row, COLUMNS.len())?;
        Ok(DefaultSecurityGroupRule {
            id: row.get(0)?,
            ethertype: row.get::<Option<String>>(1)?.unwrap_or_default(),
            direction: row.get(2)?,
            protocol: row.get(3)?,
            port_range_min: row.get(4)?,
            port_range_max: row.get(5)?,
            remote_ip_prefix: row.get(6)?,
            remote_address_group_id: row.get(7)?,
            remote_group_id: row.get(8)?,
            description: standard.description.clone(),
            used_in_default_sg: row.get(9)?,
            used_in_non_default_sg: row.get(10)?,
            standard,
        })
    };
    rows.iter().map(template).collect()
}

/// The templates for new default groups, or for other new groups.
pub async fn templates(conn: &mut Conn, default_group: bool) -> Result<Vec<DefaultSecurityGroupRule>, DbError> {
    let used = if default_group { "used_in_default_sg" } else { "used_in_non_default_sg" };
    let page = LISTING.page(conn, &ListQuery::default().matching(used, true)).await?;
    default_security_group_rules_from_rows(&page.rows)
}

/// Adds a template. Its standard attributes have their row already.
pub async fn default_security_group_rule_insert(
    conn: &mut Conn,
    template: &DefaultSecurityGroupRule,
) -> Result<(), DbError> {
    let mut columns = COLUMNS.to_vec();
    columns.push("standard_attr_id");
    let row = vec![
        template.id.into(),
        (&template.ethertype).into(),
        (&template.direction).into(),
        template.protocol.clone().into(),
        template.port_range_min.into(),
        template.port_range_max.into(),
        template.remote_ip_prefix.clone().into(),
        template.remote_address_group_id.into(),
        template.remote_group_id.clone().into(),
        template.used_in_default_sg.into(),
        template.used_in_non_default_sg.into(),
        template.standard.standard_attr_id.into(),
    ];
    conn.insert(&tables::SECURITYGROUPDEFAULTRULES, &columns, vec![row]).await
}

/// Removes a template.
pub async fn default_security_group_rule_delete(
    conn: &mut Conn,
    template: &DefaultSecurityGroupRule,
) -> Result<(), DbError> {
    conn.execute("DELETE FROM securitygroupdefaultrules WHERE id = ?", vec![template.id.into()]).await?;
    standard_delete(conn, &[template.standard.standard_attr_id]).await
}
