//! `PUT /v2.0/address-groups/<id>/add_addresses` and `…/remove_addresses`.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{Answer, Request};
use crate::{
    Ctx, Error, Refusal, Result, policy,
    resource::{
        self,
        address_group::{AddressGroup, Change, change_addresses},
    },
    retry::retrying,
};

/// Changes the addresses of a group. Upstream lets everyone do so who sees the group; here the rule of the action's name
/// holds.
pub(super) async fn change(ctx: &Ctx, request: &Request, group: &str, action: &str) -> Result<Answer> {
    if request.method != Method::PUT {
        return Err(Refusal::method_not_allowed().into());
    }
    let change = if action == "add_addresses" { Change::Add } else { Change::Remove };
    let asked = addresses(request.object()?)?;
    if let Some(guard) = ctx.guard().filter(|guard| guard.known(action) != Some(true)) {
        let mut conn = ctx.db().reader().await?;
        let current: AddressGroup = resource::find(ctx, &mut conn, group).await?;
        guard.require_of(&mut conn, action, &policy::target(&current)?).await?;
    }
    let changed = retrying(|| change_addresses(ctx, group, change, &asked)).await?;
    Answer::json(StatusCode::OK, &json!({ "address_group": whole(&changed)? }))
}

fn addresses(mut body: Map<String, Value>) -> Result<Vec<String>> {
    let not_a_list = || Refusal::malformed("Invalid input for addresses. Reason: it must be a list of prefixes.");
    let Some(Value::Array(list)) = body.remove("addresses") else { return Err(not_a_list().into()) };
    list.into_iter()
        .map(|item| match item {
            Value::String(text) => Ok(text),
            _ => Err(not_a_list().into()),
        })
        .collect()
}

/// Unlike its other answers, this one shows all there is.
fn whole(group: &AddressGroup) -> Result<Value> {
    let mut shown = serde_json::to_value(group).map_err(|error| Error::Internal(error.to_string()))?;
    if let Some(members) = shown.as_object_mut() {
        members.insert("shared".to_owned(), group.shared.into());
        members.insert("standard_attr_id".to_owned(), group.standard.standard_attr_id.into());
    }
    Ok(shown)
}
