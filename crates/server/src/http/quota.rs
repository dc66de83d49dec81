//! `/v2.0/quotas`: the limits of projects.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{Answer, Request};
use crate::{Ctx, Refusal, Result, quota, retry::retrying};

/// Answers a request below `/v2.0/quotas`.
pub(super) async fn answer(ctx: &Ctx, request: &Request, rest: &[&str]) -> Result<Answer> {
    permit(ctx, request, rest)?;
    match (rest, &request.method) {
        ([], &Method::GET) => Ok(json_answer(&json!({"quotas": quota::list(ctx).await?}))),
        ([], &Method::POST) => {
            let message = "POST requests are not supported on this resource.";
            Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "HTTPNotImplemented", message).into())
        }
        (["tenant"], &Method::GET) => Ok(json_answer(&json!({"tenant": {"tenant_id": ctx.project_id()}}))),
        (["project"], &Method::GET) => Ok(json_answer(&json!({"project": {"project_id": ctx.project_id()}}))),
        ([project], &Method::GET) => limits(quota::show(ctx, project).await?),
        ([_, "default"], &Method::GET) => limits(quota::defaults(ctx)),
        ([project, "details"], &Method::GET) => limits(quota::details(ctx, project).await?),
        ([project], &Method::PUT) => {
            let given = member(request)?;
            limits(retrying(|| quota::update(ctx, project, given.clone())).await?)
        }
        ([project], &Method::DELETE) => {
            retrying(|| quota::delete(ctx, project)).await?;
            Ok(Answer::empty(StatusCode::NO_CONTENT))
        }
        ([] | [_], _) => Err(Refusal::method_not_allowed().into()),
        _ => Err(Refusal::no_such_path().into()),
    }
}

/// Everyone sees the limits of its own project; the rest is for whom the rules name.
fn permit(ctx: &Ctx, request: &Request, rest: &[&str]) -> Result<()> {
    let Some(guard) = ctx.guard() else { return Ok(()) };
    let own = |project: &str| ctx.caller.project_id.as_deref() == Some(project);
    match (rest, &request.method) {
        ([], &Method::GET) => guard.require("get_quota"),
        (["tenant" | "project"], &Method::GET) => Ok(()),
        ([project] | [project, "default"], &Method::GET) if !own(project) => guard.require("get_quota"),
        ([project, "details"], &Method::GET) if !own(project) && !ctx.caller.is_admin => {
            let message = "User does not have admin privileges: Only admin is authorized to access quotas for another \
                           project.";
            Err(Refusal::forbidden("AdminRequired", message).into())
        }
        ([_], &Method::PUT) => guard.require("update_quota"),
        ([_], &Method::DELETE) => guard.require("delete_quota"),
        _ => Ok(()),
    }
}

fn member(request: &Request) -> Result<Map<String, Value>> {
    let mut body = request.document()?;
    match body.as_object_mut().and_then(|body| body.remove("quota")) {
        Some(Value::Object(given)) => Ok(given),
        None | Some(Value::Null) => Err(Refusal::malformed("Unable to find 'quota' in request body").into()),
        Some(_) => Err(Refusal::malformed("Object 'quota' contains invalid data").into()),
    }
}

fn limits(limits: Map<String, Value>) -> Result<Answer> {
    Ok(json_answer(&json!({"quota": limits})))
}

fn json_answer(value: &Value) -> Answer {
    Answer::bytes(StatusCode::OK, value.to_string().into_bytes())
}
