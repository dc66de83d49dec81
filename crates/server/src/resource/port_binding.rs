//! Bindings of a port to several hosts, for live migration: one is active, the others are ready to be.

use std::sync::Arc;

use axum::http::StatusCode;
use db::{
    Conn, Tx,
    port::{self as rows, HostBinding},
    standard,
};
use serde_json::{Value, json};
use types::{attribute::Attributes, port::Binding};

use super::{find, network::Network, port::Port};
use crate::{
    Ctx, Refusal, Result,
    binding::{self, Agents, vif_type},
    event::{self, Event, Recorded},
    provisioning,
};

const ACTIVE: &str = "ACTIVE";
const INACTIVE: &str = "INACTIVE";

/// A binding as REST shows it.
pub fn shown(binding: &HostBinding) -> Value {
    json!({
        "host": binding.binding.host,
        "vif_type": binding.binding.vif_type,
        "vnic_type": binding.binding.vnic_type,
        "status": binding.status,
        "profile": binding.binding.profile,
        "vif_details": binding.binding.vif_details,
    })
}

/// All bindings of the port.
pub async fn list(ctx: &Ctx, port_id: &str) -> Result<Vec<HostBinding>> {
    let mut conn = ctx.db().reader().await?;
    let port = migratable(ctx, &mut conn, port_id).await?;
    Ok(rows::bindings_by_port(&mut conn, port.id).await?)
}

/// The binding on a host.
pub async fn show(ctx: &Ctx, port_id: &str, host: &str) -> Result<HostBinding> {
    let mut conn = ctx.db().reader().await?;
    let port = migratable(ctx, &mut conn, port_id).await?;
    on_host(&mut conn, &port, host).await
}

/// Binds the port on a further host; inactive, unless the port has no active binding.
pub async fn create(ctx: &Ctx, port_id: &str, given: &Attributes) -> Result<HostBinding> {
    let mut tx = ctx.db().begin().await?;
    let port = migratable(ctx, &mut tx, port_id).await?;
    let host = given.text("host").unwrap_or_default();
    let bindings = rows::bindings_by_port(&mut tx, port.id).await?;
    refuse_second(&bindings, &port, host)?;
    let mut ready = port.clone();
    ready.binding = Binding {
        host: host.to_owned(),
        vnic_type: given.text("vnic_type").unwrap_or("normal").to_owned(),
        profile: given.object("profile").cloned().unwrap_or_default(),
        ..Binding::default()
    };
    let status = if bindings.iter().any(|b| b.status == ACTIVE) { INACTIVE } else { ACTIVE };
    store(ctx, &mut tx, &mut ready, status).await?;
    let binding = HostBinding { binding: ready.binding.clone(), status: status.to_owned() };
    let recorded = match status {
        ACTIVE => rewired(ctx, &mut tx, port, ready).await?,
        _ => event::record(ctx, &mut tx, Vec::new()).await?,
    };
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(binding)
}

/// Changes what the binding on a host asks for, and binds again.
pub async fn update(ctx: &Ctx, port_id: &str, host: &str, given: &Attributes) -> Result<HostBinding> {
    let mut tx = ctx.db().begin().await?;
    let port = migratable(ctx, &mut tx, port_id).await?;
    let current = on_host(&mut tx, &port, host).await?;
    let mut changed = port.clone();
    changed.binding = current.binding.clone();
    if let Some(host) = given.text("host").filter(|host| !host.is_empty()) {
        host.clone_into(&mut changed.binding.host);
    }
    if let Some(vnic_type) = given.text("vnic_type") {
        vnic_type.clone_into(&mut changed.binding.vnic_type);
    }
    if let Some(profile) = given.get("profile") {
        changed.binding.profile = profile.as_object().cloned().unwrap_or_default();
    }
    // One that stays as it is and is bound has nothing to do.
    if changed.binding == current.binding && current.binding.vif_type != vif_type::UNBOUND {
        return Ok(current);
    }
    if changed.binding.host != host {
        refuse_second(&rows::bindings_by_port(&mut tx, port.id).await?, &port, &changed.binding.host)?;
    }
    rows::binding_delete(&mut tx, port.id, host).await?;
    store(ctx, &mut tx, &mut changed, &current.status).await?;
    let binding = HostBinding { binding: changed.binding.clone(), status: current.status };
    let recorded = if binding.status == ACTIVE {
        rewired(ctx, &mut tx, port, changed).await?
    } else {
        // Nobody has to hear of what is not in use.
        standard::standard_touch(&mut tx, &mut changed.standard).await?;
        event::record(ctx, &mut tx, Vec::new()).await?
    };
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(binding)
}

/// The active binding is another: the port waits for being wired by it.
async fn rewired(ctx: &Ctx, tx: &mut Tx, before: Port, mut after: Port) -> Result<Recorded> {
    provisioning::status::DOWN.clone_into(&mut after.status);
    rows::port_update(tx, &before, &after).await?;
    provisioning::block_wiring(ctx, tx, &after).await?;
    standard::standard_touch(tx, &mut after.standard).await?;
    let updated = Event::PortUpdated { before: Arc::new(before), after: Arc::new(after) };
    event::record(ctx, tx, vec![updated]).await
}

/// Makes the binding on a host the active one: the port lives there from now on.
pub async fn activate(ctx: &Ctx, port_id: &str, host: &str) -> Result<HostBinding> {
    let mut tx = ctx.db().begin().await?;
    let port = migratable(ctx, &mut tx, port_id).await?;
    let chosen = on_host(&mut tx, &port, host).await?;
    if chosen.status == ACTIVE {
        let message = format!("Binding for port {} on host {host} is already active.", port.id);
        return Err(Refusal::conflict("PortBindingAlreadyActive", message).into());
    }
    let mut left = port.binding.clone();
    vif_type::UNBOUND.clone_into(&mut left.vif_type);
    left.vif_details.clear();
    if rows::binding_delete(&mut tx, port.id, &left.host).await? {
        rows::bindings_insert(&mut tx, std::iter::once((port.id, &left)), INACTIVE).await?;
    }
    rows::binding_status_set(&mut tx, port.id, host, ACTIVE).await?;
    let mut moved = port.clone();
    moved.binding = chosen.binding;
    provisioning::status::DOWN.clone_into(&mut moved.status);
    rows::port_update(&mut tx, &port, &moved).await?;
    provisioning::block_wiring(ctx, &mut tx, &moved).await?;
    standard::standard_touch(&mut tx, &mut moved.standard).await?;
    let binding = HostBinding { binding: moved.binding.clone(), status: ACTIVE.to_owned() };
    let activated = Event::PortBindingActivated { before: Arc::new(port), after: Arc::new(moved) };
    let recorded = event::record(ctx, &mut tx, vec![activated]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(binding)
}

/// Removes the binding on a host.
pub async fn delete(ctx: &Ctx, port_id: &str, host: &str) -> Result<()> {
    let mut tx = ctx.db().begin().await?;
    let port = migratable(ctx, &mut tx, port_id).await?;
    on_host(&mut tx, &port, host).await?;
    rows::binding_delete(&mut tx, port.id, host).await?;
    Ok(tx.commit().await?)
}

fn refuse_second(bindings: &[HostBinding], port: &Port, host: &str) -> Result<()> {
    if bindings.iter().any(|b| b.binding.host == host) {
        let message = format!("Binding for port {} on host {host} already exists.", port.id);
        return Err(Refusal::conflict("PortBindingAlreadyExists", message).into());
    }
    Ok(())
}

/// Binds and writes the binding; 500 when no driver can, as the compute service expects.
async fn store(ctx: &Ctx, conn: &mut Conn, port: &mut Port, status: &str) -> Result<()> {
    let network: Network = find(ctx, conn, &port.network_id.to_string()).await?;
    let level = binding::bind(ctx, conn, &mut Agents::default(), port, &network.segments).await?;
    if port.binding.vif_type == vif_type::BINDING_FAILED {
        let (id, host) = (port.id, &port.binding.host);
        let message = format!("Binding for port {id} on host {host} could not be created or updated.");
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "PortBindingError", message).into());
    }
    rows::bindings_insert(conn, std::iter::once((port.id, &port.binding)), status).await?;
    if let Some(level) = level {
        rows::levels_insert(conn, &[level]).await?;
    }
    Ok(())
}

/// The port, if it is one that may have several bindings.
async fn migratable(ctx: &Ctx, conn: &mut Conn, id: &str) -> Result<Port> {
    let port: Port = find(ctx, conn, id).await?;
    if ["compute:", "manila:"].iter().any(|prefix| port.device_owner.starts_with(prefix)) {
        return Ok(port);
    }
    let message =
        format!("Bad port request: Invalid port {id}. Operation only valid on compute and shared filesystem ports.");
    Err(Refusal::bad_request("BadRequest", message).into())
}

async fn on_host(conn: &mut Conn, port: &Port, host: &str) -> Result<HostBinding> {
    let bindings = rows::bindings_by_port(conn, port.id).await?;
    bindings.into_iter().find(|b| b.binding.host == host).ok_or_else(|| {
        let message = format!("Binding for port {} for host {host} could not be found.", port.id);
        Refusal::new(StatusCode::NOT_FOUND, "PortBindingNotFound", message).into()
    })
}

#[cfg(test)]
mod tests;
