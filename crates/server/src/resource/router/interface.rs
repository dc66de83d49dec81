//! Ports by which a router is on networks.

use std::sync::Arc;

use axum::http::StatusCode;
use db::{Tx, floatingip as floatingip_rows, network as network_rows, router as rows, standard};
use serde_json::{Map, Value, json};
use types::{
    PortId, SubnetId,
    port::{FixedIp, Port},
    router::{Router, RouterInterface},
};

use super::{locked, ports_of, refuse_overlap, subnets_by};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
    ipam::owner,
    resource::{find, find_any, port, router_port, subnet::Subnet},
};

/// Which interface a request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named {
    port: Option<PortId>,
    subnet: Option<SubnetId>,
}

/// What became of a port that a request is about, and the subnets it is on by the request.
struct Attached {
    port: Port,
    subnets: Vec<Subnet>,
    event: Event,
}

/// What the ports of a router's interfaces are owned by.
pub(super) fn owner_of(router: &Router) -> &'static str {
    if router.ha { owner::HA_REPLICATED_INTERFACE } else { owner::ROUTER_INTERFACE }
}

/// Puts a router on a subnet by the address that the subnet has for its gateway, or makes a port the router's.
pub async fn add(ctx: &Ctx, id: &str, body: &Value) -> Result<RouterInterface> {
    let mut tx = ctx.db().begin().await?;
    let mut router = locked(ctx, &mut tx, id).await?;
    let named = Named::given(body)?;
    if named.port.is_some() && named.subnet.is_some() {
        return Err(Refusal::bad_request_of("router", "Cannot specify both subnet-id and port-id").into());
    }
    let attached = match (named.port, named.subnet) {
        (Some(port), _) => add_port(ctx, &mut tx, &router, port).await?,
        (None, Some(subnet)) => add_subnet(ctx, &mut tx, &router, subnet).await?,
        (None, None) => return Err(unnamed().into()),
    };
    standard::standard_touch(&mut tx, &mut router.standard).await?;
    let info = told(&router, &attached.port, attached.subnets.last(), &attached.subnets)?;
    let added = Event::RouterInterfaceAdded(Arc::new(info.clone()));
    let recorded = event::record(ctx, &mut tx, vec![attached.event, added]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(info)
}

/// Takes a router from a subnet, or takes a port from it.
pub async fn remove(ctx: &Ctx, id: &str, body: &Value) -> Result<RouterInterface> {
    let mut tx = ctx.db().begin().await?;
    let mut router = locked(ctx, &mut tx, id).await?;
    let named = Named::given(body)?;
    let removed = match (named.port, named.subnet) {
        (Some(port), subnet) => remove_port(ctx, &mut tx, &router, port, subnet).await?,
        (None, Some(subnet)) => remove_subnet(ctx, &mut tx, &router, subnet).await?,
        (None, None) => return Err(unnamed().into()),
    };
    standard::standard_touch(&mut tx, &mut router.standard).await?;
    let info = told(&router, &removed.port, removed.subnets.first(), &removed.subnets)?;
    let gone = Event::RouterInterfaceRemoved(Arc::new(info.clone()));
    let recorded = event::record(ctx, &mut tx, vec![removed.event, gone]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(info)
}

impl Named {
    fn given(body: &Value) -> Result<Self> {
        fn id<T: std::str::FromStr>(body: &Value, key: &str) -> Result<Option<T>> {
            let Some(value) = body.get(key) else { return Ok(None) };
            let text = match value {
                Value::Null => "None".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            match text.parse() {
                Ok(id) => Ok(Some(id)),
                Err(_) => Err(Refusal::bad_request_of("router", format!("'{text}' is not a valid UUID")).into()),
            }
        }
        let named = Self { port: id(body, "port_id")?, subnet: id(body, "subnet_id")? };
        if named.port.is_none() && named.subnet.is_none() { Err(unnamed().into()) } else { Ok(named) }
    }
}

fn unnamed() -> Refusal {
    Refusal::bad_request_of("router", "Either subnet_id or port_id must be specified")
}

fn told(router: &Router, port: &Port, one: Option<&Subnet>, all: &[Subnet]) -> Result<RouterInterface> {
    let one = one.ok_or_else(|| super::vanished("the subnet of a router's port"))?;
    Ok(RouterInterface {
        id: router.id,
        project_id: port.project_id.clone(),
        port_id: port.id,
        network_id: port.network_id,
        subnet_id: one.id,
        subnet_ids: all.iter().map(|subnet| subnet.id).collect(),
    })
}

// ===== adding =====

async fn add_port(ctx: &Ctx, tx: &mut Tx, router: &Router, id: PortId) -> Result<Attached> {
    let before: Port = find(ctx, tx, &id.to_string()).await?;
    if !before.device_id.is_empty() {
        let message = format!(
            "Unable to complete operation on port {id} for network {}. Port already has an attached device {}.",
            before.network_id, before.device_id
        );
        return Err(Refusal::conflict("PortInUse", message).into());
    }
    if before.fixed_ips.is_empty() {
        return Err(Refusal::bad_request_of("router", "Router port must have at least one fixed IP").into());
    }
    let on = before.fixed_ips.iter().map(|ip| ip.subnet_id.into()).collect();
    let mut subnets = subnets_by(ctx, tx, "id", on).await?;
    subnets.sort_by_key(|subnet| before.fixed_ips.iter().position(|ip| ip.subnet_id == subnet.id));
    subnets.iter().try_for_each(refuse_foreign_advertisements)?;
    let others = rows::router_ports(tx, &[router.id]).await?;
    if has_ipv6(&before.fixed_ips)
        && let Some(other) = others.iter().find(|p| p.network_id == before.network_id && has_ipv6(&p.fixed_ips))
    {
        let reason = format!(
            "Router already contains IPv6 port {} belonging to network id {}. Only one IPv6 port from the same network \
             subnet can be connected to a router.",
            other.port_id, other.network_id
        );
        return Err(Refusal::bad_request_of("router", reason.trim_end_matches('.')).into());
    }
    refuse_overlap(ctx, tx, &others, &subnets).await?;
    if before.fixed_ips.iter().filter(|ip| ip.ip_address.is_ipv4()).count() > 1 {
        return Err(Refusal::bad_request_of("router", "Cannot have multiple IPv4 subnets on router port").into());
    }
    refuse_outside_pools(ctx, &before, &subnets)?;
    let owner = owner_of(router);
    let body = Map::from_iter([("device_id".to_owned(), json!(router.id)), ("device_owner".to_owned(), json!(owner))]);
    let after = router_port::change(ctx, tx, &before, body).await?;
    rows::router_port_insert(tx, router.id, after.id, owner).await?;
    let event = Event::PortUpdated { before: Arc::new(before), after: Arc::new(after.clone()) };
    Ok(Attached { port: after, subnets, event })
}

async fn add_subnet(ctx: &Ctx, tx: &mut Tx, router: &Router, id: SubnetId) -> Result<Attached> {
    let subnet: Subnet = find(ctx, tx, &id.to_string()).await?;
    let Some(gateway) = subnet.gateway_ip else {
        return Err(Refusal::bad_request_of("router", "Subnet for router interface must have a gateway IP").into());
    };
    refuse_foreign_subnet(ctx, tx, &subnet).await?;
    refuse_foreign_advertisements(&subnet)?;
    let ports = rows::router_ports(tx, &[router.id]).await?;
    refuse_overlap(ctx, tx, &ports, std::slice::from_ref(&subnet)).await?;
    let address = json!({"subnet_id": subnet.id, "ip_address": gateway});
    let owner = owner_of(router);
    // All IPv6 prefixes of a network are on one port of the router.
    let shared = ports.iter().find(|port| {
        subnet.ip_version == 6
            && port.port_type == owner
            && port.network_id == subnet.network_id
            && has_ipv6(&port.fixed_ips)
    });
    if let Some(shared) = shared {
        let before: Port = find_any(ctx, tx, &shared.port_id.to_string()).await?;
        let mut wanted: Vec<Value> = before.fixed_ips.iter().map(|ip| json!(ip)).collect();
        wanted.push(address);
        let after = readdress(ctx, tx, &before, wanted).await?;
        let event = Event::PortUpdated { before: Arc::new(before), after: Arc::new(after.clone()) };
        return Ok(Attached { port: after, subnets: vec![subnet], event });
    }
    let body = json!({
        "project_id": router.project_id,
        "network_id": subnet.network_id,
        "fixed_ips": [address],
        "device_id": router.id,
        "device_owner": owner,
    });
    let port = router_port::insert(ctx, tx, body).await?;
    rows::router_port_insert(tx, router.id, port.id, owner).await?;
    let event = Event::PortCreated(Arc::new(port.clone()));
    Ok(Attached { port, subnets: vec![subnet], event })
}

async fn readdress(ctx: &Ctx, tx: &mut Tx, before: &Port, fixed_ips: Vec<Value>) -> Result<Port> {
    let body = Map::from_iter([("fixed_ips".to_owned(), fixed_ips.into())]);
    router_port::change(ctx, tx, before, body).await
}

fn has_ipv6(ips: &[FixedIp]) -> bool {
    ips.iter().any(|ip| ip.ip_address.is_ipv6())
}

/// Hosts of such a subnet listen to a router that is not ours.
fn refuse_foreign_advertisements(subnet: &Subnet) -> Result<()> {
    if subnet.ip_version == 6 && subnet.ipv6_ra_mode.is_none() && subnet.ipv6_address_mode.is_some() {
        let reason = format!(
            "IPv6 subnet {} configured to receive RAs from an external router cannot be added to Neutron Router",
            subnet.id
        );
        return Err(Refusal::bad_request_of("router", reason + ".").into());
    }
    Ok(())
}

/// A subnet of another project's can be added only where its network is shared with the caller's by name.
async fn refuse_foreign_subnet(ctx: &Ctx, tx: &mut Tx, subnet: &Subnet) -> Result<()> {
    if ctx.caller.is_admin || subnet.project_id == ctx.project_id() {
        return Ok(());
    }
    let projects = [ctx.project_id().to_owned()];
    let grants = network_rows::network_grants(tx, &[subnet.network_id.to_string()], &projects).await?;
    let by_name = |(_, action, target): &(String, String, String)| {
        action == network_rows::ACCESS_AS_SHARED && target == ctx.project_id()
    };
    if grants.iter().any(by_name) {
        return Ok(());
    }
    let reason = format!(
        "Cannot add interface to router because subnet {} is not owned by project making the request",
        subnet.id
    );
    Err(Refusal::bad_request_of("router", reason).into())
}

/// Who does not own a subnet may put a router only on addresses that anybody may have there.
fn refuse_outside_pools(ctx: &Ctx, port: &Port, subnets: &[Subnet]) -> Result<()> {
    if ctx.caller.is_admin {
        return Ok(());
    }
    for ip in &port.fixed_ips {
        let Some(subnet) = subnets.iter().find(|subnet| subnet.id == ip.subnet_id) else { continue };
        let pooled = subnet.allocation_pools.iter().any(|pool| (pool.start..=pool.end).contains(&ip.ip_address));
        if !pooled && subnet.project_id != ctx.project_id() {
            let reason = format!(
                "Cannot add interface to router because specified port {} has an IP address out of the allocation pool \
                 of subnet {}, which is not owned by the project making the request",
                port.id, subnet.id
            );
            return Err(Refusal::bad_request_of("router", reason).into());
        }
    }
    Ok(())
}

// ===== removing =====

async fn remove_port(
    ctx: &Ctx,
    tx: &mut Tx,
    router: &Router,
    id: PortId,
    subnet: Option<SubnetId>,
) -> Result<Attached> {
    let ports = ports_of(ctx, tx, router.id, Some(owner_of(router))).await?;
    let Some(port) = ports.into_iter().find(|port| port.id == id) else {
        let message = format!("Router {} does not have an interface with id {id}", router.id);
        return Err(Refusal::new(StatusCode::NOT_FOUND, "RouterInterfaceNotFound", message).into());
    };
    if let Some(subnet) = subnet.filter(|subnet| !port.fixed_ips.iter().any(|ip| ip.subnet_id == *subnet)) {
        let message = format!("Subnet on port {id} does not match the requested subnet {subnet}.");
        return Err(Refusal::bad_request("SubnetMismatchForPort", message).into());
    }
    let on = port.fixed_ips.iter().map(|ip| ip.subnet_id.into()).collect();
    let subnets = subnets_by(ctx, tx, "id", on).await?;
    for subnet in &subnets {
        refuse_if_needed(tx, router, subnet).await?;
    }
    let event = removed(ctx, tx, &port).await?;
    Ok(Attached { port, subnets, event })
}

async fn remove_subnet(ctx: &Ctx, tx: &mut Tx, router: &Router, id: SubnetId) -> Result<Attached> {
    let subnet: Subnet = find(ctx, tx, &id.to_string()).await?;
    let ports = ports_of(ctx, tx, router.id, Some(owner_of(router))).await?;
    if ports.iter().any(|port| port.network_id == subnet.network_id) {
        refuse_if_needed(tx, router, &subnet).await?;
    }
    let Some(port) = ports.into_iter().find(|port| port.fixed_ips.iter().any(|ip| ip.subnet_id == id)) else {
        let message = format!("Router {} has no interface on subnet {id}", router.id);
        return Err(Refusal::new(StatusCode::NOT_FOUND, "RouterInterfaceNotFoundForSubnet", message).into());
    };
    let event = if port.fixed_ips.len() > 1 {
        let kept = port.fixed_ips.iter().filter(|ip| ip.subnet_id != id).map(|ip| json!(ip)).collect();
        let after = readdress(ctx, tx, &port, kept).await?;
        Event::PortUpdated { before: Arc::new(port.clone()), after: Arc::new(after) }
    } else {
        removed(ctx, tx, &port).await?
    };
    Ok(Attached { port, subnets: vec![subnet], event })
}

async fn removed(ctx: &Ctx, tx: &mut Tx, port: &Port) -> Result<Event> {
    let mut events = port::remove_all(ctx, tx, vec![port.clone()]).await?;
    events.pop().ok_or_else(|| super::vanished("a router's port"))
}

/// Floating IPs and extra routes hold the interfaces by which they work.
async fn refuse_if_needed(tx: &mut Tx, router: &Router, subnet: &Subnet) -> Result<()> {
    let message = |by: &str| {
        format!(
            "Router interface for subnet {} on router {} cannot be deleted, as it is required by one or more {by}.",
            subnet.id, router.id
        )
    };
    if floatingip_rows::router_has_floatingips_on(tx, router.id, subnet.id).await? {
        return Err(Refusal::conflict("RouterInterfaceInUseByFloatingIP", message("floating IPs")).into());
    }
    if router.routes.iter().any(|route| subnet.cidr.contains(&route.nexthop)) {
        return Err(Refusal::conflict("RouterInterfaceInUseByRoute", message("routes")).into());
    }
    Ok(())
}
