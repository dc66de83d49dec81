//! `PUT /v2.0/routers/{id}/<action>`: interfaces and extra routes of a router.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use types::router::Router;

use super::{Answer, Request};
use crate::{
    Ctx, Refusal, Result,
    policy::{self, Lens},
    resource::{
        self,
        router::{
            interface,
            route::{self, Change},
        },
    },
    retry::retrying,
};

/// What can be done to a router.
pub(super) const ACTIONS: [&str; 4] =
    ["add_router_interface", "remove_router_interface", "add_extraroutes", "remove_extraroutes"];

/// Does one of [`ACTIONS`].
pub(super) async fn answer(ctx: &Ctx, request: &Request, id: &str, action: &str) -> Result<Answer> {
    if request.method != Method::PUT {
        return Err(Refusal::method_not_allowed().into());
    }
    let body = Value::Object(request.object()?);
    if let Some(guard) = ctx.guard() {
        let mut conn = ctx.db().reader().await?;
        let router = resource::find::<Router>(ctx, &mut conn, id).await?;
        guard.require_of(&mut conn, action, &policy::target(&router)?).await?;
    }
    match action {
        "add_router_interface" => said(&retrying(|| interface::add(ctx, id, &body)).await?),
        "remove_router_interface" => said(&retrying(|| interface::remove(ctx, id, &body)).await?),
        "add_extraroutes" => shown(ctx, &retrying(|| route::change(ctx, id, &body, Change::Add)).await?).await,
        "remove_extraroutes" => shown(ctx, &retrying(|| route::change(ctx, id, &body, Change::Remove)).await?).await,
        _ => Err(Refusal::no_such_path().into()),
    }
}

fn said(interface: &types::router::RouterInterface) -> Result<Answer> {
    Answer::json(StatusCode::OK, interface)
}

/// The router, as far as the caller may see it.
async fn shown(ctx: &Ctx, router: &Router) -> Result<Answer> {
    let Some(mut lens) = Lens::new::<Router>(ctx.guard()) else {
        return Answer::json(StatusCode::OK, &json!({"router": router}));
    };
    let mut conn = ctx.db().reader().await?;
    let shown = lens.answer(&mut conn, std::slice::from_ref(router)).await?;
    Answer::json(StatusCode::OK, &json!({"router": shown.first()}))
}
