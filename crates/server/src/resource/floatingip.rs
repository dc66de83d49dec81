//! Floating IPs.
//!
//! The address outside is held by a port on the external network that goes with the floating IP. What it stands for is
//! worked out in [`association`].

mod association;

use std::{collections::BTreeSet, sync::Arc};

use db::{
    Conn, Row, Tx, floatingip as rows, list::ListQuery, list::Listing, provisioning, router as router_rows, standard,
};
use serde_json::{Map, Value, json};
use types::{
    FloatingIpId, NetworkId, PortId, RouterId, Standard,
    attribute::{Attributes, ResourceTable, table::FLOATINGIP},
    network::Network,
    port::Port,
};

use super::{Condition, Resource, find, find_all, find_any, port, router_port, subnet::Subnet};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
    ipam::{FixedIpRequest, owner},
    quota,
};

pub use types::floatingip::{FloatingIp, FloatingIpPool};

/// Revision upstream arrives at when it has made a floating IP.
const NEW_REVISION: i64 = 0;
/// Status of ports that are never wired.
const NOT_APPLICABLE: &str = "N/A";

impl Resource for FloatingIp {
    const TABLE: &'static ResourceTable = &FLOATINGIP;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    async fn load(_: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::floatingips_from_rows(conn, rows).await?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        quota::check(ctx, &mut tx, "floatingip", &given).await?;
        let mut floatingips = Vec::with_capacity(given.len());
        let mut events = Vec::new();
        for given in &given {
            let floatingip = insert(ctx, &mut tx, given, &mut events).await?;
            let inside = inside(ctx, &mut tx, &[floatingip.port_id]).await?;
            events.push(Event::FloatingIpCreated { floatingip: Arc::new(floatingip.clone()), inside });
            floatingips.push(floatingip);
        }
        let recorded = event::record(ctx, &mut tx, events).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(floatingips)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, condition: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let before: Self = find(ctx, &mut tx, id).await?;
        condition.check(&before.standard)?;
        let mut after = before.clone();
        if ["port_id", "fixed_ip_address", "router_id"].iter().any(|name| given.contains(name)) {
            let wanted = association::wanted(&before, &given)?;
            association::apply(ctx, &mut tx, &mut after, wanted).await?;
            rows::floatingip_update(&mut tx, &after).await?;
        }
        if let Some(description) = given.text("description") {
            standard::standard_describe(&mut tx, &mut after.standard, description).await?;
        }
        if after != before {
            standard::standard_touch(&mut tx, &mut after.standard).await?;
        }
        let inside = inside(ctx, &mut tx, &[before.port_id, after.port_id]).await?;
        let changed = Event::FloatingIpUpdated { before: Arc::new(before), after: Arc::new(after.clone()), inside };
        let recorded = event::record(ctx, &mut tx, vec![changed]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(after)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let floatingip: Self = find(ctx, &mut tx, id).await?;
        condition.check(&floatingip.standard)?;
        let mut events = Vec::new();
        remove(ctx, &mut tx, floatingip, &mut events).await?;
        let recorded = event::record(ctx, &mut tx, events).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// Writes one new floating IP, with the port that holds its address.
async fn insert(ctx: &Ctx, tx: &mut Tx, given: &Attributes, events: &mut Vec<Event>) -> Result<FloatingIp> {
    let network_id = given.text("floating_network_id").unwrap_or_default();
    let network: Network = find(ctx, tx, network_id).await?;
    refuse_unsuited(ctx, tx, &network).await?;
    let id = FloatingIpId::random();
    let mut body = json!({
        "project_id": "",
        "network_id": network.id,
        "device_id": id,
        "device_owner": owner::FLOATING_IP,
    });
    if let Some(fixed_ip) = requested(given) {
        body["fixed_ips"] = json!([fixed_ip]);
    }
    let mut port = router_port::insert(ctx, tx, body).await?;
    provisioning::port_status_set(tx, port.id, NOT_APPLICABLE).await?;
    NOT_APPLICABLE.clone_into(&mut port.status);
    let address = port.fixed_ips.iter().map(|ip| ip.ip_address).find(std::net::IpAddr::is_ipv4);
    let Some(floating_ip_address) = address else {
        let message = format!("Unable to find any IP address on external network {}.", network.id);
        return Err(Refusal::bad_request("ExternalIpAddressExhausted", message).into());
    };
    let project_id = given.text("project_id").unwrap_or_default().to_owned();
    let mut floatingip = FloatingIp {
        id,
        tenant_id: project_id.clone(),
        project_id,
        floating_ip_address,
        floating_network_id: network.id,
        router_id: None,
        port_id: None,
        fixed_ip_address: None,
        status: rpc::l3::floating_ip_status::DOWN.to_owned(),
        port_details: None,
        floating_port_id: port.id,
        last_known_router_id: None,
        standard: Standard::default(),
    };
    let wanted = association::wanted(&floatingip, given)?;
    association::apply(ctx, tx, &mut floatingip, wanted).await?;
    let description = given.text("description").unwrap_or_default();
    floatingip.standard = standard::standard_insert(tx, "floatingips", description, NEW_REVISION).await?;
    rows::floatingip_insert(tx, &floatingip).await?;
    events.push(Event::PortCreated(Arc::new(port)));
    Ok(floatingip)
}

async fn refuse_unsuited(ctx: &Ctx, tx: &mut Tx, network: &Network) -> Result<()> {
    if !network.router_external {
        let reason = format!("Network {} is not a valid external network", network.id);
        return Err(Refusal::bad_request_of("floatingip", reason).into());
    }
    let query = ListQuery::default().matching("network_id", network.id).matching("ip_version", 4);
    let subnets: Vec<Subnet> = find_all(ctx, tx, &query).await?;
    if subnets.is_empty() {
        let reason = format!("Network {} does not contain any IPv4 subnet", network.id);
        return Err(Refusal::bad_request_of("floatingip", reason).into());
    }
    Ok(())
}

/// The address, or the subnet, that is asked for.
fn requested(given: &Attributes) -> Option<Map<String, Value>> {
    let mut fixed_ip = Map::new();
    for (name, key) in [("subnet_id", "subnet_id"), ("floating_ip_address", "ip_address")] {
        fixed_ip.extend(given.text(name).map(|text| (key.to_owned(), text.into())));
    }
    (!fixed_ip.is_empty()).then_some(fixed_ip)
}

/// Removes a floating IP with the port that holds its address.
async fn remove(ctx: &Ctx, tx: &mut Tx, floatingip: FloatingIp, events: &mut Vec<Event>) -> Result<()> {
    let inside = inside(ctx, tx, &[floatingip.port_id]).await?;
    let held: Port = find_any(ctx, tx, &floatingip.floating_port_id.to_string()).await?;
    standard::standard_delete(tx, &[floatingip.standard.standard_attr_id]).await?;
    events.extend(port::remove_all(ctx, tx, vec![held]).await?);
    events.push(Event::FloatingIpDeleted { floatingip: Arc::new(floatingip), inside });
    Ok(())
}

/// Removes the floating IPs of a network about to be deleted that stand for nothing.
pub(super) async fn remove_idle_on(ctx: &Ctx, tx: &mut Tx, network: NetworkId) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let query = ListQuery::default().matching("floating_network_id", network).matching("port_id", db::Value::Null);
    let idle: Vec<FloatingIp> = find_all(ctx, tx, &query).await?;
    for floatingip in idle {
        remove(ctx, tx, floatingip, &mut events).await?;
    }
    Ok(events)
}

/// The floating IPs of a port about to be deleted stand for nothing from now on. Only administrators may delete a port
/// that somebody else's floating IP stands for.
pub(super) async fn leave_port(ctx: &Ctx, tx: &mut Tx, port: &Port) -> Result<Vec<Event>> {
    let floatingips: Vec<FloatingIp> = find_all(ctx, tx, &ListQuery::default().matching("port_id", port.id)).await?;
    let seen = |floatingip: &FloatingIp| ctx.caller.is_admin || floatingip.project_id == ctx.project_id();
    if !floatingips.iter().all(seen) {
        let message = format!(
            "Unable to complete the operation on port {} because the port still has an associated floating IP.",
            port.id
        );
        return Err(Refusal::conflict("FipAssociated", message).into());
    }
    let mut events = Vec::with_capacity(floatingips.len());
    for before in floatingips {
        let mut after = before.clone();
        association::dissolve(&mut after);
        rows::floatingip_update(tx, &after).await?;
        standard::standard_touch(tx, &mut after.standard).await?;
        let (before, after) = (Arc::new(before), Arc::new(after));
        events.push(Event::FloatingIpUpdated { before, after, inside: Vec::new() });
    }
    Ok(events)
}

/// The address that a floating IP stands for cannot be taken from its port.
pub(super) async fn refuse_address_change(tx: &mut Tx, port: &Port, given: &Attributes) -> Result<()> {
    let standing = rows::addresses_of_port(tx, port.id).await?;
    let wanted: Vec<FixedIpRequest> = given.typed("fixed_ips").unwrap_or_default();
    let kept = |address: &std::net::IpAddr| {
        let on = port.fixed_ips.iter().find(|ip| ip.ip_address == *address).map(|ip| ip.subnet_id);
        wanted.iter().any(|ip| match ip.ip_address {
            Some(named) => named == *address,
            // Naming the subnet alone keeps what the port has there.
            None => ip.subnet_id.is_some() && ip.subnet_id == on && !ip.delete_subnet,
        })
    };
    if standing.iter().all(kept) {
        return Ok(());
    }
    let reason = format!(
        "Cannot update the fixed_ips of the port {}, because its original fixed_ip has been associated to a floating ip",
        port.id
    );
    Err(Refusal::bad_request_of("port", reason).into())
}

/// The ports inside, for the compute service to hear of.
async fn inside(ctx: &Ctx, tx: &mut Tx, ports: &[Option<PortId>]) -> Result<Vec<Arc<Port>>> {
    if ctx.parts.nova.is_none() {
        return Ok(Vec::new());
    }
    let ids: BTreeSet<PortId> = ports.iter().copied().flatten().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let query = ListQuery::default().matching_any("id", ids.into_iter().map(Into::into).collect());
    let ports: Vec<Port> = find_all(ctx, tx, &query).await?;
    Ok(ports.into_iter().map(Arc::new).collect())
}

/// Says what became of floating IPs that a router carries. Those that it carried last, and that no router carries any
/// more, are `DOWN` whatever is said.
pub async fn set_statuses(ctx: &Ctx, router: RouterId, said: &[(FloatingIpId, String)]) -> Result<()> {
    let mut tx = ctx.db().begin().await?;
    for (id, status) in said {
        rows::floatingip_status_set(&mut tx, *id, status).await?;
    }
    rows::carried_last_set(&mut tx, router, rpc::l3::floating_ip_status::DOWN).await?;
    tx.commit().await?;
    Ok(())
}

/// Where floating IPs may come from, as far as the caller sees the external networks.
pub async fn pools(ctx: &Ctx) -> Result<Vec<FloatingIpPool>> {
    let mut conn = ctx.db().reader().await?;
    let query = ListQuery { viewer: ctx.viewer(), ..ListQuery::default() };
    let page = Network::LISTING.page(&mut conn, &query.matching("router:external", true)).await?;
    let networks: Vec<String> = page.rows.iter().map(|row| row.get(0)).collect::<Result<_, db::DbError>>()?;
    let pools = rows::pools(&mut conn, &networks).await?;
    let project_id = ctx.caller.project_id.clone();
    let pool = |(subnet_id, subnet_name, network_id, cidr)| FloatingIpPool {
        subnet_id,
        subnet_name,
        project_id: project_id.clone(),
        tenant_id: project_id.clone(),
        network_id,
        cidr,
    };
    Ok(pools.into_iter().map(pool).collect())
}

/// The routers that an association concerns.
pub(crate) fn routers_of(floatingips: &[&FloatingIp]) -> Vec<RouterId> {
    let ids: BTreeSet<RouterId> = floatingips.iter().filter_map(|floatingip| floatingip.router_id).collect();
    ids.into_iter().collect()
}

/// Keeps a router from being changed under an association; false when it is gone.
async fn lock_router(tx: &mut Tx, router: RouterId) -> Result<bool> {
    Ok(router_rows::router_lock(tx, router).await?.is_some())
}
