//! `/<plural>/<id>/tags`: labels of any resource that has standard attributes.

use axum::http::{Method, StatusCode};
use db::{Conn, Tx, standard};
use serde_json::{Value, json};
use types::{
    Standard,
    attribute::{
        AttributeError, Check,
        table::{TAG_LENGTH, TAGS_PER_RESOURCE},
    },
};

use super::{Answer, Request};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event, Recorded, Tagged},
    policy,
    resource::{self, Resource},
    retry::retrying,
};

/// Answers any request below `tags`.
pub(super) async fn answer<R: Resource>(ctx: &Ctx, request: &Request, id: &str, tag: &[&str]) -> Result<Answer> {
    permit::<R>(ctx, request, id, tag).await?;
    match (tag, &request.method) {
        ([], &Method::GET) => listed(&current::<R>(ctx, id).await?.tags),
        ([tag], &Method::GET) if current::<R>(ctx, id).await?.tags.iter().any(|t| t == tag) => {
            Ok(Answer::empty(StatusCode::NO_CONTENT))
        }
        ([tag], &Method::GET) => Err(no_such_tag(tag)),
        ([], &Method::PUT) => {
            let tags = given(request)?;
            let tagged = tagged::<R>(ctx, id, "update", Some(&tags));
            retrying(|| replace::<R>(ctx, id, tags.clone(), &tagged)).await?;
            listed(&tags)
        }
        ([], &Method::POST) => {
            let tags = given(request)?;
            let tagged = tagged::<R>(ctx, id, "create", Some(&tags));
            listed(&retrying(|| add::<R>(ctx, id, tags.clone(), &tagged)).await?)
        }
        ([tag], &Method::PUT) => {
            check(tag)?;
            let tags = vec![(*tag).to_owned()];
            let tagged = tagged::<R>(ctx, id, "create", Some(&tags));
            retrying(|| add::<R>(ctx, id, tags.clone(), &tagged)).await?;
            Answer::json(StatusCode::CREATED, &Value::Null)
        }
        ([], &Method::DELETE) => {
            let tagged = tagged::<R>(ctx, id, "delete_all", None);
            retrying(|| replace::<R>(ctx, id, Vec::new(), &tagged)).await?;
            Ok(Answer::empty(StatusCode::NO_CONTENT))
        }
        ([tag], &Method::DELETE) => {
            let tagged = tagged::<R>(ctx, id, "delete", Some(&[(*tag).to_owned()]));
            retrying(|| remove::<R>(ctx, id, tag, &tagged)).await?;
            Ok(Answer::empty(StatusCode::NO_CONTENT))
        }
        ([] | [_], _) => Err(Refusal::method_not_allowed().into()),
        _ => Err(Refusal::no_such_path().into()),
    }
}

/// Whether there is such a resource is told to everyone; what it carries, to those whom the rules name.
async fn permit<R: Resource>(ctx: &Ctx, request: &Request, id: &str, tag: &[&str]) -> Result<()> {
    let Some(guard) = ctx.guard() else { return Ok(()) };
    let verb = match (tag, &request.method) {
        ([] | [_], &Method::GET) => "get",
        ([], &Method::POST) => "create",
        ([] | [_], &Method::PUT) => "update",
        ([] | [_], &Method::DELETE) => "delete",
        _ => return Ok(()),
    };
    match tag {
        [] if matches!(verb, "create" | "update") => drop(given(request)?),
        [] => {}
        [tag, ..] => check(tag)?,
    }
    let rule = format!("{verb}_{}:tags", R::TABLE.singular);
    if guard.known(&rule) == Some(true) {
        return Ok(());
    }
    let mut conn = ctx.db().reader().await?;
    let target = policy::target(&resource::find_any::<R>(ctx, &mut conn, id).await?)?;
    guard.require_of(&mut conn, &rule, &target).await
}

/// What watchers are told of the change; they are told now that it begins.
fn tagged<R: Resource>(ctx: &Ctx, id: &str, action: &'static str, tags: Option<&[String]>) -> Tagged {
    let tags = tags.map(<[String]>::to_vec);
    let tagged = Tagged { parent: R::TABLE.plural, parent_id: id.to_owned(), action, tags };
    ctx.begin_tagging(&tagged);
    tagged
}

async fn recorded(ctx: &Ctx, tx: &mut Tx, tagged: &Tagged) -> Result<Recorded> {
    event::record(ctx, tx, vec![Event::Tagged(tagged.clone())]).await
}

async fn replace<R: Resource>(ctx: &Ctx, id: &str, tags: Vec<String>, tagged: &Tagged) -> Result<()> {
    let mut tx = ctx.db().begin().await?;
    let mut standard = standard_of::<R>(ctx, &mut tx, id).await?;
    refuse_too_many::<R>(tags.len())?;
    standard::tags_replace(&mut tx, standard.standard_attr_id, &tags).await?;
    standard::standard_touch(&mut tx, &mut standard).await?;
    let recorded = recorded(ctx, &mut tx, tagged).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(())
}

/// Adds those that are new, and returns all.
async fn add<R: Resource>(ctx: &Ctx, id: &str, tags: Vec<String>, tagged: &Tagged) -> Result<Vec<String>> {
    let mut tx = ctx.db().begin().await?;
    let mut standard = standard_of::<R>(ctx, &mut tx, id).await?;
    let mut new: Vec<String> = tags.into_iter().filter(|t| !standard.tags.contains(t)).collect();
    refuse_too_many::<R>(standard.tags.len() + new.len())?;
    standard::tags_add(&mut tx, standard.standard_attr_id, &new).await?;
    standard::standard_touch(&mut tx, &mut standard).await?;
    let recorded = recorded(ctx, &mut tx, tagged).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    standard.tags.append(&mut new);
    standard.tags.sort_unstable();
    Ok(standard.tags)
}

async fn remove<R: Resource>(ctx: &Ctx, id: &str, tag: &str, tagged: &Tagged) -> Result<()> {
    let mut tx = ctx.db().begin().await?;
    let mut standard = standard_of::<R>(ctx, &mut tx, id).await?;
    if !standard::tag_remove(&mut tx, standard.standard_attr_id, tag).await? {
        return Err(no_such_tag(tag));
    }
    standard::standard_touch(&mut tx, &mut standard).await?;
    let recorded = recorded(ctx, &mut tx, tagged).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(())
}

async fn current<R: Resource>(ctx: &Ctx, id: &str) -> Result<Standard> {
    let mut conn = ctx.db().reader().await?;
    standard_of::<R>(ctx, &mut conn, id).await
}

async fn standard_of<R: Resource>(ctx: &Ctx, conn: &mut Conn, id: &str) -> Result<Standard> {
    let found: R = resource::find(ctx, conn, id).await?;
    found.standard().cloned().ok_or_else(|| Refusal::no_such_path().into())
}

fn listed(tags: &[String]) -> Result<Answer> {
    Answer::json(StatusCode::OK, &json!({ "tags": tags }))
}

fn no_such_tag(tag: &str) -> crate::Error {
    Refusal::new(StatusCode::NOT_FOUND, "TagNotFound", format!("Tag {tag} could not be found.")).into()
}

/// The `tags` member of the body: different texts of at most 255 characters.
fn given(request: &Request) -> Result<Vec<String>> {
    let mut body = request.document()?;
    let Some(mut tags) = body.as_object_mut().and_then(|body| body.remove("tags")) else {
        return Err(invalid("Invalid tags body"));
    };
    Check::UniqueStrings(TAG_LENGTH).apply("tags", &mut tags).map_err(|error| match error {
        AttributeError::Invalid { reason, .. } => invalid(reason),
        other => other.into(),
    })?;
    let tags = tags.as_array().into_iter().flatten().filter_map(|tag| tag.as_str().map(str::to_owned));
    let mut tags: Vec<String> = tags.collect();
    tags.sort_unstable();
    Ok(tags)
}

fn check(tag: &str) -> Result<()> {
    if tag.chars().count() > TAG_LENGTH {
        return Err(invalid(format!("'{tag}' exceeds maximum length of {TAG_LENGTH}")));
    }
    Ok(())
}

/// A resource carries so many tags and no more.
fn refuse_too_many<R: Resource>(count: usize) -> Result<()> {
    if count <= TAGS_PER_RESOURCE {
        return Ok(());
    }
    let message = format!(
        "Bad {} request: The number of tags exceed the per-resource limit of {TAGS_PER_RESOURCE}.",
        R::TABLE.plural
    );
    Err(Refusal::bad_request("BadRequest", message).into())
}

fn invalid(reason: impl std::fmt::Display) -> crate::Error {
    Refusal::invalid_input(reason).into()
}
