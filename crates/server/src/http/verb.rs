//! The five verbs, for any resource.

use axum::http::StatusCode;
use db::list::{CHUNK, ListQuery};
use serde_json::{Map, Value, json};
use types::attribute::Attributes;

use super::{Answer, Request, page, query, stream};
use crate::{
    Ctx, Error, Refusal, Result,
    resource::{self, Resource},
    retry::retrying,
};

/// `GET /<plural>`
pub(super) async fn list<R: Resource>(ctx: &Ctx, request: &Request) -> Result<Answer> {
    let asked = query::parse(R::TABLE, request, ctx.config().pagination_max_limit)?;
    let mut query = asked.query;
    R::refine(ctx, &mut query)?;
    let mut conn = ctx.db().reader().await?;
    if let Some(marker) = &asked.marker {
        let position = R::LISTING.position(&mut conn, &query, marker).await?;
        query.after = Some(position.ok_or_else(|| Refusal::not_found(R::TABLE.noun, marker))?);
    }
    let Some(limit) = query.limit else {
        return Ok(Answer::stream(stream::all::<R>(ctx, conn, query, asked.fields)));
    };
    let mut out = format!("{{\"{}\":[", R::TABLE.plural).into_bytes();
    let mut shown = page::Shown { limit, count: 0, reverse: query.reverse, first: None, last: None };
    while shown.count < limit {
        // Forth, a long page is read in chunks; back, it has to be turned round as a whole.
        let chunk = if query.reverse { limit } else { (limit - shown.count).min(CHUNK) };
        query.limit = Some(chunk);
        let rows = R::LISTING.page(&mut conn, &query).await?;
        let ended = (rows.rows.len() as u64) < chunk;
        query.after = rows.last;
        let items = R::load(ctx, &mut conn, rows.rows).await?;
        if shown.count > 0 && !items.is_empty() {
            out.push(b',');
        }
        stream::write_items(&mut out, &items, &asked.fields)?;
        shown.add(&items);
        if ended {
            break;
        }
    }
    out.push(b']');
    let links = page::links(request, &shown);
    if !links.is_empty() {
        out.extend_from_slice(format!(",\"{}_links\":{}", R::TABLE.plural, Value::from(links)).as_bytes());
    }
    out.push(b'}');
    Ok(Answer::bytes(StatusCode::OK, out))
}

/// `GET /<plural>/<id>`
pub(super) async fn show<R: Resource>(ctx: &Ctx, request: &Request, id: &str) -> Result<Answer> {
    let fields = query::fields(&request.query);
    query::filters(R::TABLE, &request.query, &mut ListQuery::default())?;
    let mut conn = ctx.db().reader().await?;
    let found: R = resource::find(ctx, &mut conn, id).await?;
    one(StatusCode::OK, &found, &fields)
}

/// `POST /<plural>`, of one or of many.
pub(super) async fn create<R: Resource>(ctx: &Ctx, request: &Request) -> Result<Answer> {
    let mut body = request.object()?;
    let (singular, plural) = (R::TABLE.singular, R::TABLE.plural);
    if let Some(many) = body.remove(plural) {
        let given = bulk(ctx, R::TABLE, many)?;
        let created = retrying(|| R::create(ctx, given.clone())).await?;
        let mut out = format!("{{\"{plural}\":[").into_bytes();
        stream::write_items(&mut out, &created, &[])?;
        out.extend_from_slice(b"]}");
        return Ok(Answer::bytes(StatusCode::CREATED, out));
    }
    let given = vec![checked(ctx, R::TABLE, member(&mut body, singular)?)?];
    let created = retrying(|| R::create(ctx, given.clone())).await?;
    let first = created.first().ok_or_else(|| Error::Internal("a create made nothing".to_owned()))?;
    one(StatusCode::CREATED, first, &[])
}

/// `PUT /<plural>/<id>`
pub(super) async fn update<R: Resource>(ctx: &Ctx, request: &Request, id: &str) -> Result<Answer> {
    let mut body = request.object()?;
    if body.contains_key(R::TABLE.plural) {
        return Err(Refusal::malformed("Bulk operation not supported").into());
    }
    let given = Attributes::for_update(R::TABLE, member(&mut body, R::TABLE.singular)?)?;
    let condition = request.condition()?;
    let updated = retrying(|| R::update(ctx, id, given.clone(), condition)).await?;
    one(StatusCode::OK, &updated, &[])
}

/// `DELETE /<plural>/<id>`
pub(super) async fn delete<R: Resource>(ctx: &Ctx, request: &Request, id: &str) -> Result<Answer> {
    let condition = request.condition()?;
    retrying(|| R::delete(ctx, id, condition)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

fn one<R: Resource>(status: StatusCode, item: &R, fields: &[String]) -> Result<Answer> {
    let mut out = format!("{{\"{}\":", R::TABLE.singular).into_bytes();
    stream::write_item(&mut out, item, fields)?;
    out.push(b'}');
    Ok(Answer::bytes(status, out))
}

fn member(body: &mut Map<String, Value>, name: &str) -> Result<Map<String, Value>> {
    match body.remove(name) {
        Some(Value::Object(attributes)) => Ok(attributes),
        None | Some(Value::Null) => Err(Refusal::malformed(format!("Unable to find '{name}' in request body")).into()),
        Some(_) => Err(Refusal::malformed(format!("Object '{name}' contains invalid data")).into()),
    }
}

fn bulk(ctx: &Ctx, table: &types::attribute::ResourceTable, many: Value) -> Result<Vec<Attributes>> {
    // What no client may create at all, such as agents, it may not create in bulk.
    if !table.attributes.iter().any(|attribute| attribute.create) {
        return Err(Refusal::malformed("Bulk operation not supported").into());
    }
    let items = match many {
        Value::Array(items) if !items.is_empty() => items,
        Value::Object(members) if !members.is_empty() => vec![Value::from("")],
        Value::String(text) if !text.is_empty() => vec![Value::from("")],
        Value::Null | Value::Bool(false) | Value::Array(_) | Value::Object(_) | Value::String(_) => {
            return Err(Refusal::malformed("Resources required").into());
        }
        Value::Bool(true) | Value::Number(_) => return Err(Refusal::malformed("Body contains invalid data").into()),
    };
    let one = |item| match item {
        Value::Object(mut wrapped) if wrapped.contains_key(table.singular) => {
            // Upstream takes both `{"name": …}` and `{"network": {"name": …}}` as items of a bulk create.
            checked(ctx, table, member(&mut wrapped, table.singular)?)
        }
        Value::Object(item) => checked(ctx, table, item),
        Value::String(_) | Value::Array(_) => {
            Err(Refusal::malformed(format!("Object '{}' contains invalid data", table.singular)).into())
        }
        _ => Err(Refusal::malformed("Body contains invalid data").into()),
    };
    items.into_iter().map(one).collect()
}

/// Validated, with the owner filled in: the caller's project when the body names none.
fn checked(ctx: &Ctx, table: &types::attribute::ResourceTable, mut item: Map<String, Value>) -> Result<Attributes> {
    if !item.contains_key("project_id") && !item.contains_key("tenant_id") && table.attribute("project_id").is_some() {
        item.insert("project_id".to_owned(), json!(ctx.project_id()));
    }
    Ok(Attributes::for_create(table, item)?)
}
