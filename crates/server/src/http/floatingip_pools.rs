//! `GET /v2.0/floatingip_pools`: where floating IPs may come from.

use axum::http::{Method, StatusCode};

use super::{Answer, Request, query, stream};
use crate::{Ctx, Refusal, Result, resource::floatingip};

/// The pools that the caller sees.
pub(super) async fn answer(ctx: &Ctx, request: &Request) -> Result<Answer> {
    if request.method != Method::GET {
        return Err(Refusal::method_not_allowed().into());
    }
    if let Some(guard) = ctx.guard() {
        guard.require("get_floatingip_pool")?;
    }
    let pools = floatingip::pools(ctx).await?;
    let mut out = b"{\"floatingip_pools\":[".to_vec();
    stream::write_items(&mut out, &pools, &query::fields(&request.query))?;
    out.extend_from_slice(b"]}");
    Ok(Answer::bytes(StatusCode::OK, out))
}
