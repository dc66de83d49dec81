//! `/v2.0/ports/<id>/bindings`: the bindings of a port that may have several.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use types::attribute::{Attributes, table::BINDING};

use super::{Answer, Request};
use crate::{Ctx, Refusal, Result, resource::port_binding, retry::retrying};

/// Answers any request below `bindings`.
pub(super) async fn answer(ctx: &Ctx, request: &Request, port: &str, rest: &[&str]) -> Result<Answer> {
    permit(ctx, request, port, rest).await?;
    match (rest, &request.method) {
        ([], &Method::GET) => {
            let mut bindings = port_binding::list(ctx, port).await?;
            if !allowed(ctx, "get_port_binding")? {
                bindings.clear();
            }
            let shown: Vec<Value> = bindings.iter().map(port_binding::shown).filter(|b| matches(b, request)).collect();
            Answer::json(StatusCode::OK, &json!({ "bindings": shown }))
        }
        ([], &Method::POST) => {
            let given = Attributes::for_create(&BINDING, given(request)?)?;
            let made = retrying(|| port_binding::create(ctx, port, &given)).await?;
            one(StatusCode::CREATED, &made)
        }
        ([host], &Method::GET) => one(StatusCode::OK, &port_binding::show(ctx, port, host).await?),
        ([host], &Method::PUT) => {
            let given = Attributes::for_update(&BINDING, given(request)?)?;
            one(StatusCode::OK, &retrying(|| port_binding::update(ctx, port, host, &given)).await?)
        }
        ([host, "activate"], &Method::PUT) => {
            one(StatusCode::OK, &retrying(|| port_binding::activate(ctx, port, host)).await?)
        }
        ([host], &Method::DELETE) => {
            retrying(|| port_binding::delete(ctx, port, host)).await?;
            Ok(Answer::empty(StatusCode::NO_CONTENT))
        }
        ([] | [_] | [_, "activate"], _) => Err(Refusal::method_not_allowed().into()),
        _ => Err(Refusal::no_such_path().into()),
    }
}

/// Bindings have no owner, so that their rules are about the caller alone. Upstream lets anyone activate a binding who
/// sees the port; here the rule for it holds.
async fn permit(ctx: &Ctx, request: &Request, port: &str, rest: &[&str]) -> Result<()> {
    let rule = match (rest, &request.method) {
        ([], &Method::POST) => {
            return ctx.guard().map_or(Ok(()), |guard| guard.require("create_port_binding"));
        }
        ([_], &Method::GET) => "get_port_binding",
        ([_], &Method::PUT) => "update_port_binding",
        ([_], &Method::DELETE) => "delete_port_binding",
        ([_, "activate"], &Method::PUT) => "activate",
        _ => return Ok(()),
    };
    if allowed(ctx, rule)? {
        return Ok(());
    }
    // Those who do not see the port learn no more than that.
    port_binding::list(ctx, port).await?;
    match allowed(ctx, "get_port_binding")? {
        true => Err(Refusal::forbidden("PolicyNotAuthorized", format!("rule:{rule} is disallowed by policy")).into()),
        false if request.method == Method::GET => Err(Refusal::hidden().into()),
        false => Err(Refusal::no_such_path().into()),
    }
}

fn allowed(ctx: &Ctx, rule: &str) -> Result<bool> {
    // A rule that asks for an owner holds for nobody.
    Ok(ctx.guard().is_none_or(|guard| guard.known(rule) == Some(true)))
}

fn one(status: StatusCode, binding: &db::port::HostBinding) -> Result<Answer> {
    Answer::json(status, &json!({ "binding": port_binding::shown(binding) }))
}

fn given(request: &Request) -> Result<Map<String, Value>> {
    match request.object()?.remove("binding") {
        Some(Value::Object(mut binding)) => {
            // The owner is the port's.
            binding.entry("project_id").or_insert_with(|| json!(""));
            if request.method == Method::PUT {
                binding.remove("project_id");
            }
            Ok(binding)
        }
        _ => Err(Refusal::malformed("Unable to find 'binding' in request body").into()),
    }
}

/// A port has few bindings, so they are filtered as they are shown.
fn matches(binding: &Value, request: &Request) -> bool {
    let filters = request.query.iter().filter(|(name, _)| BINDING.attribute(name).is_some_and(|a| a.filter));
    filters.into_iter().all(|(name, text)| binding[name].as_str().is_none_or(|value| value == text))
}
