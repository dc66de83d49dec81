//! What sets the ports of routers and floating IPs apart from others: they are made and removed with what they serve.

use axum::http::StatusCode;
use db::{Tx, floatingip as floatingip_rows, router as rows};
use serde_json::{Map, Value};
use types::{
    NetworkId,
    attribute::{Attributes, table::PORT},
    port::Port,
};

use super::find_any;
use crate::{Ctx, Error, Refusal, Result, ipam::owner};

/// Owner of the ports by which the instances of an HA router know of each other.
pub const HA_INTERFACE: &str = "network:router_ha_interface";

/// Owners of ports that only go with what they serve.
const GUARDED: [&str; 5] =
    [owner::HA_REPLICATED_INTERFACE, owner::ROUTER_INTERFACE, owner::ROUTER_GATEWAY, owner::FLOATING_IP, HA_INTERFACE];

/// 409 for a port that goes with a router or a floating IP, as long as there is one.
pub(super) async fn refuse_deletion(tx: &mut Tx, port: &Port) -> Result<()> {
    if !GUARDED.contains(&port.device_owner.as_str()) {
        return Ok(());
    }
    let serves = if port.device_owner == owner::FLOATING_IP {
        floatingip_rows::floatingip_exists(tx, &port.device_id).await?
    } else {
        rows::router_exists(tx, &port.device_id).await?
    };
    if !serves {
        return Ok(());
    }
    let message = format!(
        "Port {} cannot be deleted directly via the port API: has device owner {}.",
        port.id, port.device_owner
    );
    Err(Refusal::conflict("ServicePortInUse", message).into())
}

/// 409 for who makes a port look like an interface of somebody else's router.
pub(super) async fn refuse_foreign_router(ctx: &Ctx, tx: &mut Tx, port: &Port) -> Result<()> {
    if ctx.caller.is_admin || port.device_id.is_empty() || !owner::is_router_interface(&port.device_owner) {
        return Ok(());
    }
    let router = match find_any::<super::router::Router>(ctx, tx, &port.device_id).await {
        Err(Error::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => return Ok(()),
        found => found?,
    };
    if router.project_id == port.project_id {
        return Ok(());
    }
    let message = format!(
        "The following device_id {} is not owned by your tenant or matches another tenants router.",
        port.device_id
    );
    Err(Refusal::conflict("DeviceIDNotOwnedByTenant", message).into())
}

/// 409 while routers have their gateway on the network.
pub(super) async fn refuse_gateways(tx: &mut Tx, network: NetworkId) -> Result<()> {
    if !rows::has_gateway_ports(tx, network).await? {
        return Ok(());
    }
    let message = format!(
        "External network {network} cannot be updated to be made non-external, since it has existing gateway ports."
    );
    Err(Refusal::conflict("ExternalNetworkInUse", message).into())
}

/// Makes a port of the network service itself, from what a request for it would say.
pub(super) async fn insert(ctx: &Ctx, tx: &mut Tx, body: Value) -> Result<Port> {
    let Value::Object(body) = body else { return Err(Error::Internal("a port's body is no object".to_owned())) };
    let given = Attributes::for_create(&PORT, body)?;
    // On the heap, as whoever makes a router's port has a long way behind it.
    let port = Box::pin(super::port::insert_all(&elevated(ctx), tx, std::slice::from_ref(&given))).await?.pop();
    port.ok_or_else(|| Error::Internal("a create made nothing".to_owned()))
}

/// Changes such a port, from what a request would say.
pub(super) async fn change(ctx: &Ctx, tx: &mut Tx, before: &Port, body: Map<String, Value>) -> Result<Port> {
    let given = Attributes::for_update(&PORT, body)?;
    Box::pin(super::port::change(&elevated(ctx), tx, before, &given)).await
}

/// The server itself, on behalf of the caller.
pub(super) fn elevated(ctx: &Ctx) -> Ctx {
    Ctx { parts: std::sync::Arc::clone(&ctx.parts), caller: ctx.caller.elevated(), announced: ctx.announced }
}
