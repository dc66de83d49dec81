//! `GET /v2.0/rbac-policies`: policies about every kind of object in one list, which has no pages.

use axum::http::StatusCode;
use types::rbac_policy::{ObjectType, RbacPolicy};

use super::{Answer, Request, query, stream};
use crate::{
    Ctx, Result,
    policy::Lens,
    resource::{Resource, rbac_policy},
};

/// Answers a list request.
pub(super) async fn list(ctx: &Ctx, request: &Request) -> Result<Answer> {
    let mut asked = query::parse(RbacPolicy::TABLE, request, 0)?;
    asked.query.limit = None;
    let (about, rest) = asked.query.filters.into_iter().partition(|filter| filter.attribute == "object_type");
    asked.query.filters = rest;
    let about: Vec<db::list::Filter> = about;
    let wanted = |kind: &ObjectType| about.iter().all(|filter| filter.values.contains(&kind.as_str().into()));
    let kinds: Vec<ObjectType> = ObjectType::ALL.into_iter().filter(wanted).collect();
    let mut conn = ctx.db().reader().await?;
    let policies = rbac_policy::list(ctx, &mut conn, asked.query, &kinds).await?;
    let mut out = b"{\"rbac_policies\":[".to_vec();
    match Lens::new::<RbacPolicy>(ctx.guard()) {
        None => stream::write_items(&mut out, &policies, &asked.fields)?,
        Some(mut lens) => {
            stream::write_items(&mut out, &lens.list(&mut conn, &policies).await?, &asked.fields)?;
        }
    }
    out.extend_from_slice(b"]}");
    Ok(Answer::bytes(StatusCode::OK, out))
}
