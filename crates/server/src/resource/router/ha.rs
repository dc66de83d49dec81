//! Highly available routers: several agents have an instance of the router each, one of which routes.
//!
//! The instances of a project's routers talk on a network of their own, which is made with the first of these routers
//! and goes with the last. On it each router has a number, and each instance a port. The row that says which network is
//! a project's is locked by whoever takes a number or removes the network, so that neither happens under the other.

use std::sync::Arc;

use axum::http::StatusCode;
use db::{DbError, Tx, agent::Agent, ha_router as rows, l3_binding, router as router_rows};
use serde_json::{Map, Value, json};
use types::{
    NetworkId, RouterId,
    attribute::{Attributes, table},
    network::Network,
    router::Router,
};

use super::{ports_of, status, vanished};
use crate::{
    Ctx, Refusal, Result,
    event::{Event, HostedRouter},
    ipam::owner,
    resource::{find_any, network, port, router_port, subnet},
};

/// The numbers that VRRP has for virtual routers.
const NUMBERS: std::ops::RangeInclusive<u8> = 1..=254;

/// Makes a network the HA network of a project, which must have none.
pub async fn claim_network(tx: &mut Tx, project_id: &str, network: NetworkId) -> Result<()> {
    if rows::network_of_project(tx, project_id).await?.is_some() {
        let message = format!("Project {project_id} already has a HA network.");
        return Err(Refusal::conflict("DuplicatedHANetwork", message).into());
    }
    Ok(rows::network_insert(tx, project_id, network).await?)
}

/// Gives a router, whose row is not written yet or is written by the caller, its number on the HA network of its
/// project. Where all are taken the router is in `ERROR`, and no agent serves it.
pub(super) async fn join(ctx: &Ctx, tx: &mut Tx, router: &mut Router, events: &mut Vec<Event>) -> Result<()> {
    let network = ensure_network(ctx, tx, &router.project_id, events).await?;
    router.ha_vr_id = take_number(tx, network).await?;
    if router.ha_vr_id.is_none() {
        tracing::warn!(router = %router.id, "the project has as many HA routers as a network can hold");
        status::ERROR.clone_into(&mut router.status);
    }
    Ok(())
}

/// Takes the router's number, and the network if no other router of the project is highly available. Its ports are gone.
pub(super) async fn leave(ctx: &Ctx, tx: &mut Tx, router: &mut Router, events: &mut Vec<Event>) -> Result<()> {
    let Some(network) = rows::network_of_project(tx, &router.project_id).await? else { return Ok(()) };
    rows::network_lock(tx, network).await?;
    if let Some(number) = router.ha_vr_id.take() {
        rows::vr_id_delete(tx, network, number).await?;
    }
    if rows::has_other_routers(tx, &router.project_id, router.id).await?
        || !db::network::ports_in_use(tx, network, &network::AUTO_DELETE_OWNERS).await?.is_empty()
    {
        return Ok(());
    }
    rows::network_forget(tx, network).await?;
    let network: Network = find_any(ctx, tx, &network.to_string()).await?;
    events.extend(Box::pin(network::remove(ctx, tx, network)).await?);
    Ok(())
}

/// Makes a router highly available, or no longer so. Agents that served it are told, and others will be chosen.
pub(super) async fn switch(
    ctx: &Ctx,
    tx: &mut Tx,
    router: &mut Router,
    ha: bool,
    events: &mut Vec<Event>,
) -> Result<()> {
    if router.admin_state_up {
        let reason = "Cannot change HA attribute of active routers. Please set router admin_state_up to False prior to \
                      upgrade";
        return Err(Refusal::bad_request_of("router", reason).into());
    }
    for agent in l3_binding::agents_of_router(tx, router.id).await? {
        l3_binding::binding_delete(tx, router.id, agent.id).await?;
        let hosted = HostedRouter { router: router.id, agent: agent.id, host: agent.host };
        events.push(Event::RouterLeft(hosted));
    }
    let (from, to) = match ha {
        true => (owner::ROUTER_INTERFACE, owner::HA_REPLICATED_INTERFACE),
        false => (owner::HA_REPLICATED_INTERFACE, owner::ROUTER_INTERFACE),
    };
    for before in ports_of(ctx, tx, router.id, Some(from)).await? {
        let body = Map::from_iter([("device_owner".to_owned(), to.into())]);
        let after = router_port::change(ctx, tx, &before, body).await?;
        events.push(Event::PortUpdated { before: Arc::new(before), after: Arc::new(after) });
    }
    router_rows::router_port_types_set(tx, router.id, from, to).await?;
    router.ha = ha;
    router_rows::provider_replace(tx, router).await?;
    if ha {
        return join(ctx, tx, router, events).await;
    }
    let instances = ports_of(ctx, tx, router.id, Some(router_port::HA_INTERFACE)).await?;
    events.extend(port::remove_all(ctx, tx, instances).await?);
    router_rows::router_update(tx, router).await?;
    leave(ctx, tx, router, events).await
}

/// Gives an agent an instance of the router: a port on the HA network.
pub async fn add_instance(
    ctx: &Ctx,
    tx: &mut Tx,
    router: &mut Router,
    agent: &Agent,
    events: &mut Vec<Event>,
) -> Result<()> {
    let network = ensure_network(ctx, tx, &router.project_id, events).await?;
    if router.ha_vr_id.is_none() {
        // The server that made the router left its number to be taken by now.
        let number = take_number(tx, network).await?;
        router.ha_vr_id = Some(number.ok_or_else(|| no_number(router.id))?);
        router_rows::router_update(tx, router).await?;
    }
    let body = json!({
        "project_id": "",
        "network_id": network,
        "device_id": router.id,
        "device_owner": router_port::HA_INTERFACE,
        "name": format!("HA port project {}", router.project_id),
    });
    let port = router_port::insert(ctx, tx, body).await?;
    router_rows::router_port_insert(tx, router.id, port.id, router_port::HA_INTERFACE).await?;
    rows::instance_insert(tx, router.id, agent.id, port.id).await?;
    events.push(Event::PortCreated(Arc::new(port)));
    Ok(())
}

/// Takes its instance of the router from an agent.
pub async fn remove_instance(
    ctx: &Ctx,
    tx: &mut Tx,
    router: RouterId,
    agent: &Agent,
    events: &mut Vec<Event>,
) -> Result<()> {
    let instances = rows::instances(tx, &[router]).await?;
    for instance in instances.iter().filter(|instance| instance.agent_id == Some(agent.id)) {
        let port = find_any(ctx, tx, &instance.port_id.to_string()).await?;
        events.extend(port::remove_all(ctx, tx, vec![port]).await?);
    }
    Ok(())
}

fn no_number(router: RouterId) -> Refusal {
    let message = format!(
        "No more Virtual Router Identifier (VRID) available when creating router {router}. The limit of number of HA \
         Routers per project is 254."
    );
    Refusal::new(StatusCode::CONFLICT, "NoVRIDAvailable", message)
}

/// A free number, taken at random as keepalived's packets of a router that went may still be about.
async fn take_number(tx: &mut Tx, network: NetworkId) -> Result<Option<u8>> {
    let taken = rows::vr_ids(tx, network).await?;
    let free: Vec<u8> = NUMBERS.filter(|number| !taken.contains(number)).collect();
    if free.is_empty() {
        return Ok(None);
    }
    let number = free.get(rand::random_range(0..free.len())).copied();
    if let Some(number) = number {
        rows::vr_id_insert(tx, network, number).await?;
    }
    Ok(number)
}

/// The HA network of a project, made if it has none, and locked.
async fn ensure_network(ctx: &Ctx, tx: &mut Tx, project_id: &str, events: &mut Vec<Event>) -> Result<NetworkId> {
    if let Some(network) = rows::network_of_project(tx, project_id).await? {
        return match rows::network_lock(tx, network).await? {
            true => Ok(network),
            false => Err(vanished("the HA network")),
        };
    }
    let own = router_port::elevated(ctx);
    let l3 = &ctx.config().l3;
    let mut body = object(json!({"name": format!("HA network project {project_id}"), "project_id": ""}));
    if let Some(kind) = &l3.ha_network_type {
        body.insert("provider:network_type".to_owned(), json!(kind));
    }
    if let Some(physical) = &l3.ha_network_physical_name {
        body.insert("provider:physical_network".to_owned(), json!(physical));
    }
    let given = Attributes::for_create(&table::NETWORK, body)?;
    let network = Box::pin(network::insert(&own, tx, &given)).await?;
    match rows::network_insert(tx, project_id, network.id).await {
        // Another server makes it in this moment.
        Err(DbError::Duplicate { .. }) => return Err(vanished("the project's lack of an HA network")),
        inserted => inserted?,
    }
    let body = object(json!({
        "network_id": network.id,
        "project_id": "",
        "name": format!("HA subnet project {project_id}"),
        "ip_version": 4,
        "cidr": l3.ha_net_cidr.to_string(),
        "enable_dhcp": false,
        "gateway_ip": null,
    }));
    let given = Attributes::for_create(&table::SUBNET, body)?;
    let subnet = Box::pin(subnet::insert(&own, tx, &given)).await?;
    let id = network.id;
    events.push(Event::NetworkCreated(Arc::new(find_any(&own, tx, &id.to_string()).await?)));
    events.push(Event::SubnetCreated(Arc::new(subnet)));
    Ok(id)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// The host of the instance that routes, among living agents; what dead ones said last is corrected.
///
/// When no agent lives, what was said last may still hold, for all that is known: it becomes `unknown`.
pub async fn active_host(ctx: &Ctx, tx: &mut Tx, router: RouterId) -> Result<Option<String>> {
    use rpc::l3::HaState;
    let now = db::standard::now();
    let instances = rows::instances(tx, &[router]).await?;
    let mut agents = Vec::new();
    for instance in &instances {
        if let Some(id) = instance.agent_id
            && let Some(agent) = db::agent::agent_by_id(tx, id).await?
        {
            let alive = crate::schedule::choice::is_alive(agent.heartbeat_timestamp, now, ctx.config().agent_down_time);
            agents.push((agent, alive, instance.state.as_str()));
        }
    }
    let active = |state: &str| state == HaState::Active.as_str();
    let any_alive = agents.iter().any(|(agent, alive, _)| *alive && agent.admin_state_up);
    for (agent, alive, state) in &agents {
        if active(state) && !(*alive && agent.admin_state_up) {
            let corrected = if any_alive { HaState::Standby } else { HaState::Unknown };
            rows::state_set(tx, router, agent.id, corrected.as_str()).await?;
        }
    }
    let living = agents.iter().find(|(agent, alive, state)| *alive && agent.admin_state_up && active(state));
    Ok(living.map(|(agent, ..)| agent.host.clone()))
}
