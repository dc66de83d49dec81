//! Actions on subnet pools: `add_prefixes`, `remove_prefixes` and `onboard_network_subnets`.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Request};
use crate::{
    Ctx, Refusal, Result, policy,
    resource::{
        self,
        subnet_pool::{Change, SubnetPool, change_prefixes, onboard},
    },
    retry::retrying,
};

/// The actions, which are the names of their rules too.
pub(super) const ACTIONS: [&str; 3] = ["add_prefixes", "remove_prefixes", "onboard_network_subnets"];

/// Does one of them. Upstream lets everyone do so who sees the pool; here the rule of the action's name holds.
pub(super) async fn act(ctx: &Ctx, request: &Request, pool: &str, action: &str) -> Result<Answer> {
    if request.method != Method::PUT {
        return Err(Refusal::no_such_path().into());
    }
    let body = request.object()?;
    if let Some(guard) = ctx.guard().filter(|guard| guard.known(action) != Some(true)) {
        let mut conn = ctx.db().reader().await?;
        let current: SubnetPool = resource::find(ctx, &mut conn, pool).await?;
        guard.require_of(&mut conn, action, &policy::target(&current)?).await?;
    }
    let change = match action {
        "add_prefixes" => Change::Add,
        "remove_prefixes" => Change::Remove,
        _ => {
            let network = body.get("network_id").and_then(Value::as_str);
            return Answer::json(StatusCode::OK, &retrying(|| onboard(ctx, pool, network)).await?);
        }
    };
    let invalid = || Refusal::malformed("Request body contains invalid data");
    let listed = body.get("prefixes").and_then(Value::as_array).filter(|list| !list.is_empty()).ok_or_else(invalid)?;
    let asked: Option<Vec<String>> = listed.iter().map(|prefix| prefix.as_str().map(str::to_owned)).collect();
    let asked = asked.ok_or_else(invalid)?;
    let prefixes = retrying(|| change_prefixes(ctx, pool, change, &asked)).await?;
    Answer::json(StatusCode::OK, &json!({ "prefixes": prefixes }))
}
