//! Rows of `standardattributes` and `tags`: what every described resource carries.

use std::collections::HashMap;

use chrono::{NaiveDateTime, Utc};
use sea_query::{Expr, ExprTrait, Query, SimpleExpr};
use types::Standard;

use crate::{Conn, DbError, Later, Row, Value, schema::tables, timestamp};

/// Name of the table.
pub const TABLE: &str = "standardattributes";

/// The columns a list selects, in the order [`standard_from_row`] reads them.
pub const COLUMNS: [&str; 5] = ["id", "description", "revision_number", "created_at", "updated_at"];

/// The attributes every resource with such a row can be filtered and sorted by.
pub(crate) const ATTRIBUTES: [&str; 4] = ["description", "revision_number", "created_at", "updated_at"];

/// Now, to the second, as the columns hold it.
pub fn now() -> NaiveDateTime {
    let now = Utc::now();
    chrono::DateTime::from_timestamp(now.timestamp(), 0).unwrap_or(now).naive_utc()
}

/// `YYYY-MM-DDTHH:MM:SSZ`, the API's form.
pub fn format_time(time: NaiveDateTime) -> String {
    timestamp::to_rest(time)
}

/// Reads the API's forms of a time.
pub fn parse_time(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim_end_matches('Z');
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
}

/// What a list selects behind [`COLUMNS`]: whether the row has tags.
pub(crate) fn is_tagged() -> SimpleExpr {
    let mut tags = Query::select();
    let same = Expr::col(("tags", "standard_attr_id")).equals((TABLE, "id"));
    tags.expr(Expr::cust("1")).from("tags").and_where(same);
    Expr::exists(tags)
}

/// The keys of those rows that have tags; [`COLUMNS`] begin at `start`.
pub(crate) fn tagged(rows: &[Row], start: usize) -> Result<Vec<i64>, DbError> {
    let mut keys = Vec::new();
    for row in rows {
        if row.get(start + COLUMNS.len())? {
            keys.push(row.get(start)?);
        }
    }
    Ok(keys)
}

/// Reads [`COLUMNS`] from position `start` on. Tags are loaded apart, by [`tags_of`].
pub fn standard_from_row(row: &Row, start: usize) -> Result<Standard, DbError> {
    let time = |index| Ok::<_, DbError>(row.get::<Option<NaiveDateTime>>(index)?.map(format_time).unwrap_or_default());
    Ok(Standard {
        standard_attr_id: row.get(start)?,
        description: row.get(start + 1)?,
        revision_number: row.get(start + 2)?,
        created_at: time(start + 3)?,
        updated_at: time(start + 4)?,
        tags: Vec::new(),
    })
}

/// Adds a row and returns what it now says. `revision` is what upstream arrives at by the end of the request.
pub async fn standard_insert(
    conn: &mut Conn,
    resource_type: &str,
    description: impl Into<Option<&str>>,
    revision: i64,
) -> Result<Standard, DbError> {
    let mut standard = new(description.into(), revision);
    let key = standard_insert_behind(conn, resource_type, &standard).await?;
    standard.standard_attr_id = conn.number(&key).await?;
    Ok(standard)
}

/// What a new row says; it has no key before [`standard_insert_behind`] has told it.
pub fn new(description: Option<&str>, revision: i64) -> Standard {
    let now = format_time(now());
    Standard {
        standard_attr_id: 0,
        description: description.map(str::to_owned),
        revision_number: revision,
        created_at: now.clone(),
        updated_at: now,
        tags: Vec::new(),
    }
}

/// Adds a new row, at the latest with the commit, and tells its key then.
pub async fn standard_insert_behind(
    conn: &mut Conn,
    resource_type: &str,
    standard: &Standard,
) -> Result<Later, DbError> {
    let now = now();
    let columns = ["resource_type", "description", "revision_number", "created_at", "updated_at"];
    let (description, revision) = (standard.description.as_deref(), standard.revision_number);
    let row = vec![resource_type.into(), description.into(), revision.into(), now.into(), now.into()];
    conn.insert_id_behind(&tables::STANDARDATTRIBUTES, &columns, row).await
}

/// Bumps the revision and the time of change, and keeps `standard` in step.
pub async fn standard_touch(conn: &mut Conn, standard: &mut Standard) -> Result<(), DbError> {
    let now = now();
    let binds = vec![now.into(), standard.standard_attr_id.into()];
    conn.sql("UPDATE standardattributes SET revision_number = revision_number + 1, updated_at = ? WHERE id = ?", binds)
        .await?;
    standard.revision_number += 1;
    standard.updated_at = format_time(now);
    Ok(())
}

/// Bumps the revision of the rows with these keys.
pub async fn standard_touch_ids(conn: &mut Conn, ids: &[i64]) -> Result<(), DbError> {
    /// Keys in one statement at most.
    const SOME: usize = 1000;
    for some in ids.chunks(SOME) {
        let keys = vec!["?"; some.len()].join(",");
        let text = format!(
            "UPDATE standardattributes SET revision_number = revision_number + 1, updated_at = ? WHERE id IN ({keys})"
        );
        let binds = std::iter::once(now().into()).chain(some.iter().map(|id| (*id).into())).collect();
        conn.execute(&text, binds).await?;
    }
    Ok(())
}

/// Replaces the description.
pub async fn standard_describe(conn: &mut Conn, standard: &mut Standard, description: &str) -> Result<(), DbError> {
    let binds = vec![description.into(), standard.standard_attr_id.into()];
    conn.sql("UPDATE standardattributes SET description = ? WHERE id = ?", binds).await?;
    standard.description = Some(description.to_owned());
    Ok(())
}

/// Removes the rows; whatever hangs on them goes too.
pub async fn standard_delete(conn: &mut Conn, ids: &[i64]) -> Result<(), DbError> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut delete = Query::delete();
    delete.from_table(TABLE).and_where(Expr::col("id").is_in(ids.iter().copied()));
    conn.delete(&delete).await.map(|_| ())
}

/// The tags of the rows with these keys, each list ascending.
pub async fn tags_of(conn: &mut Conn, ids: &[i64]) -> Result<HashMap<i64, Vec<String>>, DbError> {
    let mut tags: HashMap<i64, Vec<String>> = HashMap::new();
    if ids.is_empty() {
        return Ok(tags);
    }
    let mut select = tables::TAGS.select(&["standard_attr_id", "tag"]);
    select.and_where(Expr::col("standard_attr_id").is_in(ids.iter().copied()));
    for row in conn.select(&select).await? {
        tags.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    tags.values_mut().for_each(|list| list.sort_unstable());
    Ok(tags)
}

/// Makes `tags` the whole set of tags of the row.
pub async fn tags_replace(conn: &mut Conn, id: i64, tags: &[String]) -> Result<(), DbError> {
    conn.sql("DELETE FROM tags WHERE standard_attr_id = ?", vec![id.into()]).await?;
    tags_add(conn, id, tags).await
}

/// Adds tags that the row does not have yet.
pub async fn tags_add(conn: &mut Conn, id: i64, tags: &[String]) -> Result<(), DbError> {
    if tags.is_empty() {
        return Ok(());
    }
    let rows = tags.iter().map(|tag| vec![Value::from(id), tag.into()]).collect();
    conn.insert(&tables::TAGS, &["standard_attr_id", "tag"], rows).await
}

/// Removes one tag; false when the row did not have it.
pub async fn tag_remove(conn: &mut Conn, id: i64, tag: &str) -> Result<bool, DbError> {
    let mut delete = Query::delete();
    delete.from_table("tags").and_where(Expr::col("standard_attr_id").eq(id)).and_where(Expr::col("tag").eq(tag));
    Ok(conn.delete(&delete).await? > 0)
}
