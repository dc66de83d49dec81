//! Extra routes of a router.

use std::{net::IpAddr, sync::Arc};

use axum::http::StatusCode;
use db::{Tx, router as rows, router::RouterPort, standard};
use ipnet::IpNet;
use serde_json::Value;
use types::{
    attribute::{Attributes, table::ROUTER},
    router::Router,
    subnet::HostRoute,
};

use super::{locked, subnets_by};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
    quota,
    resource::subnet::Subnet,
};

/// What is done with the routes that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The router gets them beside those it has.
    Add,
    /// The router has them no longer.
    Remove,
}

/// The routes of a request, which have been checked, each once and in order.
pub(super) fn given(list: &[Value]) -> Vec<HostRoute> {
    let mut routes: Vec<HostRoute> =
        list.iter().filter_map(|route| serde_json::from_value(route.clone()).ok()).collect();
    routes.sort_unstable();
    routes.dedup();
    routes
}

/// Adds or removes routes in one step, whatever others do to the router meanwhile.
pub async fn change(ctx: &Ctx, id: &str, body: &Value, change: Change) -> Result<Router> {
    let list = body.pointer("/router/routes").cloned();
    let list = list.ok_or_else(|| Refusal::invalid_input("routes are missing"))?;
    let checked = Attributes::for_update(&ROUTER, [("routes".to_owned(), list)].into_iter().collect())?;
    let named = given(checked.list("routes").unwrap_or_default());
    let mut tx = ctx.db().begin().await?;
    let before = locked(ctx, &mut tx, id).await?;
    let mut routes = before.routes.clone();
    match change {
        Change::Add => routes.extend(named),
        Change::Remove => routes.retain(|route| !named.contains(route)),
    }
    routes.sort_unstable();
    routes.dedup();
    let mut router = before.clone();
    replace(ctx, &mut tx, &mut router, routes).await?;
    if router.routes != before.routes {
        standard::standard_touch(&mut tx, &mut router.standard).await?;
    }
    let recorded = event::record(ctx, &mut tx, vec![Event::RouterUpdated(Arc::new(router.clone()))]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(router)
}

/// Makes these the routes of the router.
pub(super) async fn replace(ctx: &Ctx, tx: &mut Tx, router: &mut Router, routes: Vec<HostRoute>) -> Result<()> {
    let ports = rows::router_ports(tx, &[router.id]).await?;
    let on = ports.iter().flat_map(|port| &port.fixed_ips).map(|ip| ip.subnet_id.into()).collect();
    let cidrs: Vec<IpNet> = subnets_by(ctx, tx, "id", on).await?.iter().map(|subnet| subnet.cidr).collect();
    check(&routes, &cidrs, &addresses(&ports))?;
    let more = i64::try_from(routes.len()).unwrap_or(i64::MAX);
    quota::check_one(ctx, tx, &router.project_id, "router_route", more).await?;
    rows::routes_update(tx, router.id, &router.routes, &routes).await?;
    router.routes = routes;
    Ok(())
}

/// The next hops of a router must stay within its reach when its outside changes to these subnets.
pub(super) async fn check_with_gateway(ctx: &Ctx, tx: &mut Tx, router: &Router, outside: &[Subnet]) -> Result<()> {
    if router.routes.is_empty() {
        return Ok(());
    }
    let mut ports = rows::router_ports(tx, &[router.id]).await?;
    ports.retain(|port| Some(port.port_id) != router.gw_port_id);
    let on = ports.iter().flat_map(|port| &port.fixed_ips).map(|ip| ip.subnet_id.into()).collect();
    let inside = subnets_by(ctx, tx, "id", on).await?;
    let cidrs: Vec<IpNet> = inside.iter().chain(outside).map(|subnet| subnet.cidr).collect();
    check(&router.routes, &cidrs, &addresses(&ports))
}

fn addresses(ports: &[RouterPort]) -> Vec<IpAddr> {
    ports.iter().flat_map(|port| &port.fixed_ips).map(|ip| ip.ip_address).collect()
}

/// A next hop is on a prefix of the router, and not the router itself.
fn check(routes: &[HostRoute], cidrs: &[IpNet], own: &[IpAddr]) -> Result<()> {
    for route in routes {
        if !cidrs.iter().any(|cidr| cidr.contains(&route.nexthop)) {
            return Err(invalid(routes, "the nexthop is not connected with router"));
        }
        if own.contains(&route.nexthop) {
            return Err(invalid(routes, "the nexthop is used by router"));
        }
    }
    Ok(())
}

fn invalid(routes: &[HostRoute], reason: &str) -> crate::Error {
    let spoken: Vec<String> = routes
        .iter()
        .map(|route| format!("{{'destination': '{}', 'nexthop': '{}'}}", route.destination, route.nexthop))
        .collect();
    let message = format!("Invalid format for routes: [{}], {reason}", spoken.join(", "));
    Refusal::new(StatusCode::BAD_REQUEST, "InvalidRoutes", message).into()
}
