//! Networks and the DHCP agents that serve them.

use std::collections::{HashMap, HashSet};

use db::{
    Conn, DbError,
    agent::{self, Agent},
    dhcp_binding,
    standard::now,
};
use rpc::dhcp::RESERVED_DEVICE_ID;
use serde_json::{Map, Value};
use types::{AgentId, NetworkId, agent::kind, device::dhcp_device_id};

use super::choice;
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event, Hosted, Recorded},
};

/// The agents of a network.
#[derive(Debug, Default)]
pub struct Hosting {
    /// All of them.
    pub agents: Vec<Agent>,
    /// The message to each that was only just given it, to be told before all else.
    pub new: Vec<Recorded>,
}

/// The agents that serve a network, after giving it to more of them if it has too few.
pub async fn ensure(ctx: &Ctx, network: NetworkId) -> Result<Hosting> {
    // Most often the first statement says all.
    let mut conn = ctx.db().glance().await?;
    let mut agents = dhcp_binding::agents_of_network(&mut conn, network).await?;
    let wanted = ctx.config().dhcp_agents_per_network;
    if agents.len() >= wanted || !ctx.config().network_auto_schedule {
        return Ok(Hosting { agents, new: Vec::new() });
    }
    // Again most often one statement, which needs no snapshot with the first: whoever binds looks again.
    drop(conn);
    let candidates = candidates(ctx, &mut ctx.db().glance().await?, network, &agents).await?;
    let chosen = choice::lightest(candidates, wanted - agents.len());
    if chosen.is_empty() {
        if agents.is_empty() {
            tracing::debug!(%network, "no DHCP agent can serve this network; tried again with its next port or subnet");
        }
        return Ok(Hosting { agents, new: Vec::new() });
    }
    let mut new = Vec::new();
    for agent in chosen {
        let hosted = Hosted { network, agent: agent.id, host: agent.host.clone() };
        if let Some(recorded) = bind(ctx, &hosted, wanted, Some(Event::DhcpNetworkScheduled(hosted.clone()))).await? {
            new.push(recorded);
            agents.push(agent);
        }
    }
    Ok(Hosting { agents, new })
}

/// Gives the agent on that host the networks that lack one, when it is enabled and alive.
pub async fn auto_schedule(ctx: &Ctx, host: &str) -> Result<()> {
    let mut conn = ctx.db().reader().await?;
    let Some(agent) = agent::agent_on_host(&mut conn, kind::DHCP, host).await? else { return Ok(()) };
    if !agent.admin_state_up || !choice::is_alive(agent.heartbeat_timestamp, now(), ctx.config().agent_down_time) {
        return Ok(());
    }
    let wanted = ctx.config().dhcp_agents_per_network;
    let unserved = dhcp_binding::unserved_networks(&mut conn, agent.id, wanted).await?;
    let ids: Vec<NetworkId> = unserved.iter().map(|u| u.network_id).collect();
    let hints = dhcp_binding::zone_hints(&mut conn, &ids).await?;
    drop(conn);
    for network in ids {
        let hints = hints.get(&network).map_or(&[][..], Vec::as_slice);
        if choice::in_zone(&agent, hints, &ctx.config().default_availability_zones) {
            // The agent is about to fetch what it serves, so it need not be told.
            let hosted = Hosted { network, agent: agent.id, host: agent.host.clone() };
            if let Some(recorded) = bind(ctx, &hosted, wanted, None).await? {
                recorded.emit(ctx).await;
            }
        }
    }
    Ok(())
}

/// The networks that an agent serves, or 404.
pub async fn networks_of_agent(ctx: &Ctx, agent: AgentId) -> Result<Vec<NetworkId>> {
    let mut conn = ctx.db().reader().await?;
    let networks = dhcp_binding::networks_of_agent(&mut conn, agent, false).await?;
    if networks.is_empty() && agent::agent_by_id(&mut conn, agent).await?.is_none() {
        return Err(Refusal::not_found("Agent", agent).into());
    }
    Ok(networks)
}

/// The agents that serve a network; none for one that does not exist.
pub async fn agents_of_network(ctx: &Ctx, network: NetworkId) -> Result<Vec<AgentId>> {
    let mut conn = ctx.db().reader().await?;
    Ok(dhcp_binding::agents_of_network(&mut conn, network).await?.iter().map(|agent| agent.id).collect())
}

/// An operator gives a network to an agent.
pub async fn add(ctx: &Ctx, agent: AgentId, network: NetworkId) -> Result<()> {
    let mut conn = ctx.db().reader().await?;
    if dhcp_binding::zone_hints(&mut conn, &[network]).await?.is_empty() {
        return Err(Refusal::not_found("Network", network).into());
    }
    let found = agent::agent_by_id(&mut conn, agent).await?.ok_or_else(|| Refusal::not_found("Agent", agent))?;
    if found.agent_type != kind::DHCP || !found.admin_state_up {
        let message = format!("Agent {agent} is not a valid DHCP Agent or has been disabled.");
        return Err(Refusal::new(axum::http::StatusCode::NOT_FOUND, "InvalidDHCPAgent", message).into());
    }
    drop(conn);
    let hosted = Hosted { network, agent, host: found.host };
    let limit = ctx.config().dhcp_agents_per_network;
    let Some(recorded) = bind(ctx, &hosted, limit, Some(Event::DhcpNetworkAdded(hosted.clone()))).await? else {
        let message = format!("The network {network} has been already hosted by the DHCP Agent {agent}.");
        return Err(Refusal::conflict("NetworkHostedByDHCPAgent", message).into());
    };
    recorded.emit(ctx).await;
    Ok(())
}

/// An operator takes a network from an agent; its port there is kept for the next one.
pub async fn remove(ctx: &Ctx, agent: AgentId, network: NetworkId) -> Result<()> {
    release(ctx, agent, network, true).await
}

/// Takes a network from an agent, telling it or not.
pub(super) async fn release(ctx: &Ctx, agent: AgentId, network: NetworkId, tell: bool) -> Result<()> {
    let mut tx = ctx.db().begin().await?;
    let found = agent::agent_by_id(&mut tx, agent).await?.ok_or_else(|| Refusal::not_found("Agent", agent))?;
    if !dhcp_binding::binding_delete(&mut tx, network, agent).await? {
        let message = format!("The network {network} is not hosted by the DHCP agent {agent}.");
        return Err(Refusal::conflict("NetworkNotHostedByDhcpAgent", message).into());
    }
    let device_id = dhcp_device_id(&found.host, network);
    dhcp_binding::dhcp_port_rename(&mut tx, &device_id, RESERVED_DEVICE_ID).await?;
    let removed = Event::DhcpNetworkRemoved(Hosted { network, agent, host: found.host });
    let recorded = event::record(ctx, &mut tx, if tell { vec![removed] } else { Vec::new() }).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(())
}

/// Takes a free place on the network for the agent; nothing when there is none, or it has one already. That the network
/// or the agent vanished meanwhile is no error either: there is nothing to serve, or nobody. An operator may exceed the
/// limit.
async fn bind(ctx: &Ctx, hosted: &Hosted, limit: usize, event: Option<Event>) -> Result<Option<Recorded>> {
    let Hosted { network, agent, .. } = *hosted;
    let exceed = matches!(event, Some(Event::DhcpNetworkAdded(_)));
    let mut tx = ctx.db().begin().await?;
    let taken = dhcp_binding::binding_indexes(&mut tx, network).await?;
    let Some(index) = choice::vacant_index(&taken, limit, exceed) else { return Ok(None) };
    match dhcp_binding::binding_insert(&mut tx, network, agent, index).await {
        Ok(()) => {}
        Err(DbError::Duplicate { .. } | DbError::ForeignKey { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let recorded = event::record(ctx, &mut tx, event.into_iter().collect()).await?;
    tx.commit().await?;
    tracing::info!(%network, %agent, index, "network given to a DHCP agent");
    Ok(Some(recorded))
}

/// The enabled agents that do not serve the network yet, are alive or starting, in a wanted zone, and on a host that
/// reaches it.
async fn candidates(ctx: &Ctx, conn: &mut Conn, network: NetworkId, hosting: &[Agent]) -> Result<Vec<Agent>> {
    let mut agents = agent::agents(conn, Some(kind::DHCP), None).await?;
    agents.retain(|a| a.admin_state_up && !hosting.iter().any(|hosting| hosting.id == a.id));
    if agents.is_empty() {
        return Ok(agents);
    }
    let hints = dhcp_binding::zone_hints(conn, &[network]).await?.remove(&network).unwrap_or_default();
    let defaults = &ctx.config().default_availability_zones;
    agents.retain(|a| choice::in_zone(a, &hints, defaults));
    retain_serving(ctx, conn, &mut agents).await?;
    if agents.is_empty() {
        return Ok(agents);
    }
    let hosts = hosts_reaching(ctx, conn, network).await?;
    agents.retain(|a| hosts.contains(&a.host));
    Ok(agents)
}

/// Keeps the agents that are alive, or silent because they are starting.
pub(super) async fn retain_serving(ctx: &Ctx, conn: &mut Conn, agents: &mut Vec<Agent>) -> Result<()> {
    let (now, down_time) = (now(), ctx.config().agent_down_time);
    let alive = |a: &Agent| choice::is_alive(a.heartbeat_timestamp, now, down_time);
    let counts = if agents.iter().all(alive) { HashMap::new() } else { dhcp_binding::network_counts(conn).await? };
    let networks = |a: &Agent| counts.get(&a.id).copied().unwrap_or_default();
    agents.retain(|a| alive(a) || choice::is_starting(a.started_at, networks(a), now, down_time));
    Ok(())
}

/// The hosts with an L2 agent, alive or not, that carries one of the network's segments.
async fn hosts_reaching(ctx: &Ctx, conn: &mut Conn, network: NetworkId) -> Result<HashSet<String>> {
    let segments = db::segment::segments_of(conn, &[network.to_string()]).await?.remove(&network).unwrap_or_default();
    let mut hosts = HashSet::new();
    for mechanism in &ctx.config().ml2.mechanism_drivers {
        for agent in agent::agents(conn, Some(mechanism.agent_kind()), None).await? {
            let configurations: Map<String, Value> = serde_json::from_str(&agent.configurations).unwrap_or_default();
            if segments.iter().any(|segment| choice::carries(&configurations, segment)) {
                hosts.insert(agent.host);
            }
        }
    }
    Ok(hosts)
}
