//! Routers.
//!
//! What belongs to a router beside its own rows has files of its own: its outside ([`gateway`]), its ports on networks
//! ([`interface`]), its extra routes ([`route`]) and, if several hosts are to serve it, what that takes ([`ha`]). Each
//! operation locks the router's row before it looks at anything, so that what it finds stays so.

mod gateway;
pub mod ha;
pub mod interface;
pub mod route;

use std::sync::Arc;

use axum::http::StatusCode;
use db::{Conn, Row, Tx, list::ListQuery, list::Listing, router as rows, router::RouterPort, standard};
use ipnet::IpNet;
use serde_json::Value;
use types::{
    NetworkId, RouterId, Standard, SubnetId,
    attribute::{Attributes, ResourceTable, table::ROUTER},
    port::Port,
};

use super::{Condition, Resource, find, find_all, subnet::Subnet};
use crate::{
    Ctx, Error, Refusal, Result,
    event::{self, Event},
    ipam::owner,
    quota,
};

pub use types::router::Router;

pub use gateway::reach;

/// Revision upstream arrives at when it has made a router.
const NEW_REVISION: i64 = 1;

/// Values of a router's status.
pub mod status {
    /// Agents may serve it.
    pub const ACTIVE: &str = "ACTIVE";
    /// It was to be highly available, for which its project has too many.
    pub const ERROR: &str = "ERROR";
}

impl Resource for Router {
    const TABLE: &'static ResourceTable = &ROUTER;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    async fn load(_: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::routers_from_rows(conn, rows).await?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        quota::check(ctx, &mut tx, "router", &given).await?;
        let mut routers = Vec::with_capacity(given.len());
        let mut events = Vec::new();
        for given in &given {
            let router = insert(ctx, &mut tx, given, &mut events).await?;
            events.push(Event::RouterCreated(Arc::new(router.clone())));
            routers.push(router);
        }
        let recorded = event::record(ctx, &mut tx, events).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(routers)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, condition: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let before = match given.contains("ha") {
            true => locked_with_ha_network(ctx, &mut tx, id).await?,
            false => locked(ctx, &mut tx, id).await?,
        };
        condition.check(&before.standard)?;
        refuse_distributed(&given)?;
        let mut events = Vec::new();
        let mut router = before.clone();
        change_plain(&mut router, &given);
        if let Some(ha) = given.bool("ha").filter(|ha| *ha != before.ha) {
            ha::switch(ctx, &mut tx, &mut router, ha, &mut events).await?;
        }
        if given.contains("routes") {
            route::replace(ctx, &mut tx, &mut router, route::given(given.list("routes").unwrap_or_default())).await?;
        }
        if let Some(info) = given.get("external_gateway_info") {
            gateway::set(ctx, &mut tx, &mut router, &gateway::Wanted::given(info)?, &mut events).await?;
        }
        rows::router_update(&mut tx, &router).await?;
        if let Some(description) = given.text("description") {
            standard::standard_describe(&mut tx, &mut router.standard, description).await?;
        }
        if router != before {
            standard::standard_touch(&mut tx, &mut router.standard).await?;
        }
        events.push(Event::RouterUpdated(Arc::new(router.clone())));
        let recorded = event::record(ctx, &mut tx, events).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(router)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let mut router = locked_with_ha_network(ctx, &mut tx, id).await?;
        condition.check(&router.standard)?;
        refuse_if_used(&mut tx, &router).await?;
        let whole = router.clone();
        let mut events = Vec::new();
        gateway::clear(ctx, &mut tx, &mut router, &mut events).await?;
        rows::router_update(&mut tx, &router).await?;
        let ports = ports_of(ctx, &mut tx, router.id, None).await?;
        events.extend(super::port::remove_all(ctx, &mut tx, ports).await?);
        if router.ha {
            ha::leave(ctx, &mut tx, &mut router, &mut events).await?;
        }
        rows::router_delete(&mut tx, &router).await?;
        events.push(Event::RouterDeleted(Arc::new(whole)));
        let recorded = event::record(ctx, &mut tx, events).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// The router with this id that the caller may see, locked against others.
async fn locked(ctx: &Ctx, tx: &mut Tx, id: &str) -> Result<Router> {
    if let Ok(router) = id.parse::<RouterId>() {
        rows::router_lock(tx, router).await?;
    }
    find(ctx, tx, id).await
}

/// The same, where the HA network of its project may go with the router.
async fn locked_with_ha_network(ctx: &Ctx, tx: &mut Tx, id: &str) -> Result<Router> {
    if let Ok(router) = id.parse::<RouterId>()
        && rows::router_lock(tx, router).await?.is_some()
    {
        db::ha_router::network_lock_of(tx, router).await?;
    }
    find(ctx, tx, id).await
}

/// Writes one new router with its outside.
async fn insert(ctx: &Ctx, tx: &mut Tx, given: &Attributes, events: &mut Vec<Event>) -> Result<Router> {
    refuse_distributed(given)?;
    if let Some(flavor) = given.text("flavor_id") {
        let message = format!("Flavor {flavor} could not be found.");
        return Err(Refusal::new(StatusCode::NOT_FOUND, "FlavorNotFound", message).into());
    }
    let project_id = given.text("project_id").unwrap_or_default().to_owned();
    let mut router = Router {
        id: RouterId::random(),
        name: given.text("name").unwrap_or_default().to_owned(),
        tenant_id: project_id.clone(),
        project_id,
        admin_state_up: given.bool("admin_state_up").unwrap_or(true),
        status: status::ACTIVE.to_owned(),
        external_gateway_info: None,
        routes: Vec::new(),
        ha: given.bool("ha").unwrap_or(ctx.config().l3.ha),
        distributed: false,
        flavor_id: None,
        availability_zone_hints: given.typed("availability_zone_hints").unwrap_or_default(),
        availability_zones: Vec::new(),
        gw_port_id: None,
        enable_snat: ctx.config().l3.enable_snat_by_default,
        ha_vr_id: None,
        standard: Standard::default(),
    };
    super::agent::check_zones(tx, "router", &router.availability_zone_hints).await?;
    if router.ha {
        ha::join(ctx, tx, &mut router, events).await?;
    }
    let description = given.text("description").unwrap_or_default();
    router.standard = standard::standard_insert(tx, "routers", description, NEW_REVISION).await?;
    rows::router_insert(tx, &router).await?;
    let wanted = gateway::Wanted::given(given.get("external_gateway_info").unwrap_or(&Value::Null))?;
    if wanted.network_id.is_some() {
        gateway::set(ctx, tx, &mut router, &wanted, events).await?;
        rows::router_update(tx, &router).await?;
        standard::standard_touch(tx, &mut router.standard).await?;
    }
    Ok(router)
}

fn change_plain(router: &mut Router, given: &Attributes) {
    if let Some(name) = given.text("name") {
        name.clone_into(&mut router.name);
    }
    if let Some(up) = given.bool("admin_state_up") {
        router.admin_state_up = up;
    }
}

/// There are no distributed routers here.
fn refuse_distributed(given: &Attributes) -> Result<()> {
    match given.bool("distributed") {
        Some(true) => Err(Refusal::bad_request_of("router", "Distributed routers are not supported").into()),
        _ => Ok(()),
    }
}

async fn refuse_if_used(tx: &mut Tx, router: &Router) -> Result<()> {
    let ports = rows::router_ports(tx, &[router.id]).await?;
    let attached: Vec<String> = ports
        .iter()
        .filter(|port| port.port_type == interface::owner_of(router))
        .map(|port| port.port_id.to_string())
        .collect();
    if attached.is_empty() {
        return Ok(());
    }
    let message = format!("Router {} has ports still attached: {}", router.id, attached.join(", "));
    Err(Refusal::conflict("RouterInUse", message).into())
}

/// The ports of a router, of one type or of all.
async fn ports_of(ctx: &Ctx, tx: &mut Tx, router: RouterId, port_type: Option<&str>) -> Result<Vec<Port>> {
    let ports = rows::router_ports(tx, &[router]).await?;
    let of_type = |port: &&RouterPort| port_type.is_none_or(|wanted| port.port_type == wanted);
    let ids: Vec<db::Value> = ports.iter().filter(of_type).map(|port| port.port_id.into()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    find_all(ctx, tx, &ListQuery::default().matching_any("id", ids)).await
}

/// A router is on each prefix once, and its prefixes lie apart: refuses subnets that are in the way of those it is on.
/// By its gateway it is on all subnets of the external network.
async fn refuse_overlap(ctx: &Ctx, tx: &mut Tx, ports: &[RouterPort], new: &[Subnet]) -> Result<()> {
    let mut on: Vec<SubnetId> = Vec::new();
    let mut outside: Vec<NetworkId> = Vec::new();
    for port in ports {
        for ip in &port.fixed_ips {
            if new.iter().any(|subnet| subnet.id == ip.subnet_id) {
                let reason = format!("Router already has a port on subnet {}", ip.subnet_id);
                return Err(Refusal::bad_request_of("router", reason).into());
            }
            on.push(ip.subnet_id);
        }
        if port.port_type == owner::ROUTER_GATEWAY && !port.fixed_ips.is_empty() {
            outside.push(port.network_id);
        }
    }
    let mut there = subnets_by(ctx, tx, "id", on.iter().map(Into::into).collect()).await?;
    let beside = subnets_by(ctx, tx, "network_id", outside.iter().map(Into::into).collect()).await?;
    there.extend(beside.into_iter().filter(|subnet| !on.contains(&subnet.id)));
    for old in &there {
        for new in new {
            refuse_overlapping(old, new)?;
        }
    }
    Ok(())
}

fn refuse_overlapping(old: &Subnet, new: &Subnet) -> Result<()> {
    if !overlaps(old.cidr, new.cidr) {
        return Ok(());
    }
    let reason = format!("Cidr {} of subnet {} overlaps with cidr {} of subnet {}", new.cidr, new.id, old.cidr, old.id);
    Err(Refusal::bad_request_of("router", reason).into())
}

fn overlaps(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

async fn subnets_by(ctx: &Ctx, tx: &mut Tx, attribute: &str, values: Vec<db::Value>) -> Result<Vec<Subnet>> {
    if values.is_empty() {
        return Ok(Vec::new());
    }
    find_all(ctx, tx, &ListQuery::default().matching_any(attribute, values)).await
}

/// The owner's words for a port that should be there and is not.
fn vanished(what: impl std::fmt::Display) -> Error {
    Error::Db(db::DbError::Conflict { source: format!("{what} vanished meanwhile").into() })
}

#[cfg(test)]
mod tests;
