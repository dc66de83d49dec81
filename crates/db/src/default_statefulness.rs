//! Whether the security groups of a project are stateful where their creation does not say.

use types::default_statefulness::DefaultStatefulness;

use crate::{
    Conn, DbError, Row,
    list::{Listing, Scope, Source},
    schema::tables,
};

const COLUMNS: [&str; 3] = ["id", "project_id", "stateful"];

/// How choices are listed.
pub static LISTING: Listing = Listing {
    table: &tables::SECURITY_GROUPS_DEFAULT_STATEFULNESS,
    columns: &COLUMNS,
    standard: false,
    scope: Scope::Owned,
    attributes: &[
        ("id", Source::Own("id")),
        ("project_id", Source::Own("project_id")),
        ("stateful", Source::Own("stateful")),
    ],
};

/// Choices from the rows [`LISTING`] selected, in their order.
pub fn default_statefulness_from_rows(rows: &[Row]) -> Result<Vec<DefaultStatefulness>, DbError> {
    let choice =
        |row: &Row| Ok(DefaultStatefulness { id: row.get(0)?, project_id: row.get(1)?, stateful: row.get(2)? });
    rows.iter().map(choice).collect()
}

/// What holds for new groups of a project: its own choice, else the one for all, else stateful.
pub async fn default_statefulness_of(conn: &mut Conn, project_id: &str) -> Result<bool, DbError> {
    let sql = "SELECT project_id, stateful FROM security_groups_default_statefulness \
               WHERE project_id = ? OR project_id IS NULL";
    let rows = conn.sql(sql, vec![project_id.into()]).await?;
    let choices = rows.iter().map(|row| Ok((row.get::<Option<String>>(0)?.is_some(), row.get(1)?)));
    let choices = choices.collect::<Result<Vec<(bool, bool)>, DbError>>()?;
    Ok(choices.into_iter().max_by_key(|(own, _)| *own).is_none_or(|(_, stateful)| stateful))
}

/// Whether the project, or all projects together, have a choice.
pub async fn default_statefulness_exists(conn: &mut Conn, project_id: Option<&str>) -> Result<bool, DbError> {
    let (sql, binds) = match project_id {
        Some(project) => {
            ("SELECT id FROM security_groups_default_statefulness WHERE project_id = ?", vec![project.into()])
        }
        None => ("SELECT id FROM security_groups_default_statefulness WHERE project_id IS NULL", Vec::new()),
    };
    Ok(!conn.sql(sql, binds).await?.is_empty())
}

/// Adds a choice.
pub async fn default_statefulness_insert(conn: &mut Conn, choice: &DefaultStatefulness) -> Result<(), DbError> {
    let row = vec![choice.id.into(), choice.project_id.clone().into(), choice.stateful.into()];
    conn.insert(&tables::SECURITY_GROUPS_DEFAULT_STATEFULNESS, &COLUMNS, vec![row]).await
}

/// Changes a choice.
pub async fn default_statefulness_update(conn: &mut Conn, choice: &DefaultStatefulness) -> Result<(), DbError> {
    let sql = "UPDATE security_groups_default_statefulness SET stateful = ? WHERE id = ?";
    conn.execute(sql, vec![choice.stateful.into(), choice.id.into()]).await.map(|_| ())
}

/// Removes a choice.
pub async fn default_statefulness_delete(conn: &mut Conn, choice: &DefaultStatefulness) -> Result<(), DbError> {
    let sql = "DELETE FROM security_groups_default_statefulness WHERE id = ?";
    conn.execute(sql, vec![choice.id.into()]).await.map(|_| ())
}
