//! The five verbs, for any resource.

use axum::http::StatusCode;
use db::list::{CHUNK, Items, ListQuery};
use serde::Serialize;
use serde_json::{Map, Value};
use types::attribute::{self, Attributes, body::Owner};

use super::{Answer, Request, chunks::Chunks, page, query, stream};
use crate::{
    Ctx, Error, Refusal, Result,
    event::Action,
    policy::{self, Lens},
    resource::{self, Resource},
    retry::retrying,
};

/// `GET /<plural>`
pub(super) async fn list<R: Resource>(ctx: &Ctx, request: &Request) -> Result<Answer> {
    let asked = query::parse(R::TABLE, request, ctx.config().pagination_max_limit)?;
    let mut query = asked.query;
    R::refine(ctx, &mut query)?;
    R::restrict(ctx, &mut query);
    let mut lens = Lens::new::<R>(ctx.guard());
    if lens.as_ref().is_some_and(Lens::sees_nothing) {
        return Ok(Answer::bytes(StatusCode::OK, format!("{{\"{}\":[]}}", R::TABLE.plural).into_bytes()));
    }
    retrying(|| R::prepare(ctx, &query)).await?;
    let mut conn = ctx.db().reader().await?;
    if let Some(marker) = &asked.marker {
        let position = R::LISTING.position(&mut conn, &query, marker).await?;
        query.after = Some(position.ok_or_else(|| Refusal::not_found(R::TABLE.noun, marker))?);
    }
    let Some(limit) = query.limit else {
        return Ok(Answer::stream(stream::all::<R>(ctx, conn, query, asked.fields, lens)));
    };
    let mut out = format!("{{\"{}\":[", R::TABLE.plural).into_bytes();
    let reverse = query.reverse;
    let mut shown = page::Shown { limit, count: 0, reverse, first: None, last: None };
    let mut chunks = Chunks::new(ctx, conn, query);
    while shown.count < limit {
        // Forth, a long page is read in chunks; back, it has to be turned round as a whole.
        let chunk = if reverse { limit } else { (limit - shown.count).min(CHUNK) };
        let items: Items<R> = chunks.next(chunk).await?;
        let ended = items.count < chunk || reverse;
        let missing = limit.saturating_sub(shown.count + items.count);
        if !ended && missing > 0 && lens.is_none() {
            chunks.read_ahead(missing.min(CHUNK));
        }
        let mut items = items.make()?;
        items.iter_mut().for_each(R::in_list);
        let mut part = Vec::new();
        match &mut lens {
            None => {
                stream::write_items(&mut part, &items, &asked.fields)?;
                shown.add(items.iter().map(R::id));
            }
            Some(lens) => {
                let items = lens.list(chunks.conn()?, &items).await?;
                stream::write_items(&mut part, &items, &asked.fields)?;
                shown.add(items.iter().map(|item| item["id"].as_str().unwrap_or_default().to_owned()));
            }
        }
        if out.last() != Some(&b'[') && !part.is_empty() {
            out.push(b',');
        }
        out.append(&mut part);
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
    let lens = Lens::new::<R>(ctx.guard());
    // Where rules have to be asked they see what the resource was seen in.
    let glance = R::AT_A_GLANCE && lens.is_none();
    let mut conn = if glance { ctx.db().glance().await? } else { ctx.db().reader().await? };
    let found: R = resource::find(ctx, &mut conn, id).await?;
    match lens {
        None => one::<R>(StatusCode::OK, &found, &fields),
        Some(mut lens) => one::<R>(StatusCode::OK, &lens.show(&mut conn, &found).await?, &fields),
    }
}

/// `POST /<plural>`, of one or of many.
pub(super) async fn create<R: Resource>(ctx: &Ctx, request: &Request) -> Result<Answer> {
    let mut body = request.object()?;
    let (singular, plural) = (R::TABLE.singular, R::TABLE.plural);
    // Where one is called as many are, what stands there tells.
    let is_bulk = body.get(plural).is_some_and(|given| plural != singular || given.is_array());
    let ctx = &*ctx.announcing(R::TABLE, Action::Create, is_bulk);
    let stated = ctx.stated(&body);
    if let Some(many) = is_bulk.then(|| body.remove(plural)).flatten() {
        let given = bulk(ctx, R::TABLE, many)?;
        ctx.begin(stated);
        may_create::<R>(ctx, &given).await?;
        let created = retrying(|| R::create(ctx, given.clone())).await?;
        let mut out = format!("{{\"{plural}\":[").into_bytes();
        match Lens::new::<R>(ctx.guard()) {
            None => stream::write_items(&mut out, &created, &[])?,
            Some(mut lens) => {
                let mut conn = ctx.db().reader().await?;
                stream::write_items(&mut out, &lens.answer(&mut conn, &created).await?, &[])?;
            }
        }
        out.extend_from_slice(b"]}");
        return Ok(Answer::bytes(StatusCode::CREATED, out));
    }
    let given = vec![checked(ctx, R::TABLE, member(&mut body, singular)?)?];
    ctx.begin(stated);
    may_create::<R>(ctx, &given).await?;
    let created = retrying(|| R::create(ctx, given.clone())).await?;
    let first = created.first().ok_or_else(|| Error::Internal("a create made nothing".to_owned()))?;
    changed(ctx, StatusCode::CREATED, first).await
}

async fn may_create<R: Resource>(ctx: &Ctx, given: &[Attributes]) -> Result<()> {
    let Some(guard) = ctx.guard() else { return Ok(()) };
    let given: Vec<&Map<String, Value>> = given.iter().map(|given| &given.0).collect();
    guard.create(async || Ok(ctx.db().reader().await?), R::TABLE, &given).await
}

/// What was made or changed, as far as the caller may see it.
async fn changed<R: Resource>(ctx: &Ctx, status: StatusCode, item: &R) -> Result<Answer> {
    let Some(mut lens) = Lens::new::<R>(ctx.guard()) else { return one::<R>(status, item, &[]) };
    let mut conn = ctx.db().reader().await?;
    let shown = lens.answer(&mut conn, std::slice::from_ref(item)).await?;
    let first = shown.first().ok_or_else(|| Error::Internal("an answer shows nothing".to_owned()))?;
    one::<R>(status, first, &[])
}

/// `PUT /<plural>/<id>`
pub(super) async fn update<R: Resource>(ctx: &Ctx, request: &Request, id: &str) -> Result<Answer> {
    let mut body = request.object()?;
    if body.contains_key(R::TABLE.plural) {
        return Err(Refusal::malformed("Bulk operation not supported").into());
    }
    let ctx = &*ctx.announcing(R::TABLE, Action::Update, false);
    let stated = ctx.stated_of(id, &body);
    let mut given = member(&mut body, R::TABLE.singular)?;
    attribute::body::claim_for(owner(ctx), R::TABLE, &mut given, false)?;
    let given = Attributes::for_update(R::TABLE, given)?;
    let condition = request.condition()?;
    ctx.begin(stated);
    if let Some(guard) = ctx.guard().filter(|guard| !guard.may_update_any(R::TABLE, &given.0)) {
        let mut conn = ctx.db().reader().await?;
        let current = policy::target(&resource::find::<R>(ctx, &mut conn, id).await?)?;
        guard.update(&mut conn, R::TABLE, &current, &given.0).await?;
    }
    let updated = retrying(|| R::update(ctx, id, given.clone(), condition)).await?;
    changed(ctx, StatusCode::OK, &updated).await
}

/// `DELETE /<plural>/<id>`
pub(super) async fn delete<R: Resource>(ctx: &Ctx, request: &Request, id: &str) -> Result<Answer> {
    let condition = request.condition()?;
    let ctx = &*ctx.announcing(R::TABLE, Action::Delete, false);
    ctx.begin_deleting(id);
    if let Some(guard) = ctx.guard().filter(|guard| !guard.may_delete_any(R::TABLE)) {
        let mut conn = ctx.db().reader().await?;
        let current = policy::target(&resource::find::<R>(ctx, &mut conn, id).await?)?;
        guard.delete(&mut conn, R::TABLE, &current).await?;
    }
    retrying(|| R::delete(ctx, id, condition)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

fn one<R: Resource>(status: StatusCode, item: &impl Serialize, fields: &[String]) -> Result<Answer> {
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
    attribute::body::claim_for(owner(ctx), table, &mut item, true)?;
    Ok(Attributes::for_create(table, item)?)
}

fn owner(ctx: &Ctx) -> Owner<'_> {
    Owner { project_id: ctx.caller.project_id.as_deref(), may_be_other: ctx.caller.can_set_project_id }
}
