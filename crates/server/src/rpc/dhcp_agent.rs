//! What the server tells DHCP agents.
//!
//! Agents that serve a network and are enabled are told, dead ones too: they may only be slow, and find the message
//! when they return. Nobody is told of a network that no agent serves; the making of a subnet or a port is what gives
//! it to one. The deletion of a network goes to all agents, as nobody knows any more who served it. What fails is told
//! again as a whole, by [`crate::event`]; agents take repetitions.

use db::{agent::Agent, dhcp_binding};
use rpc::{
    dhcp::RESERVED_DEVICE_ID,
    dhcp_agent::{
        AgentUpdated, Client, NetworkCreated, NetworkDeleted, NetworkRef, NetworkUpdated, Payload, PortChanged,
        PortDeleted, SubnetChanged, SubnetDeleted, WithNetwork, priority,
    },
    payload,
};
use types::{
    NetworkId, PortId, SubnetId,
    network::Network,
    port::{FixedIp, Port},
    subnet::Subnet,
};

use crate::{Ctx, Result, retry::retrying, schedule};

/// A network was given to the agent on that host.
pub async fn network_added(ctx: &Ctx, network: NetworkId, host: &str) -> Result<()> {
    let body = NetworkCreated { network: NetworkRef { id: network } };
    let payload = Payload { body, priority: priority::NETWORK_CREATE };
    to(ctx, host).network_create_end(&ctx.caller, payload).await?;
    Ok(())
}

/// A network was taken from the agent on that host.
pub async fn network_removed(ctx: &Ctx, network: NetworkId, host: &str) -> Result<()> {
    to(ctx, host).network_delete_end(&ctx.caller, network_gone(network)).await?;
    Ok(())
}

/// The agent on that host was enabled or disabled.
pub async fn agent_updated(ctx: &Ctx, host: &str, admin_state_up: bool) -> Result<()> {
    to(ctx, host).agent_updated(&ctx.caller, AgentUpdated { admin_state_up }).await?;
    Ok(())
}

/// A network changed.
pub async fn network_updated(ctx: &Ctx, network: &Network) -> Result<()> {
    for agent in told(ctx, network.id).await? {
        let body = NetworkUpdated { network: payload::Network::from(network) };
        let payload = Payload { body, priority: priority::NETWORK_UPDATE };
        to(ctx, &agent.host).network_update_end(&ctx.caller, payload).await?;
    }
    Ok(())
}

/// A network is gone.
pub async fn network_deleted(ctx: &Ctx, network: NetworkId) -> Result<()> {
    client(ctx).to_all().network_delete_end(&ctx.caller, network_gone(network)).await?;
    Ok(())
}

/// A subnet was made.
pub async fn subnet_created(ctx: &Ctx, subnet: &Subnet) -> Result<()> {
    for agent in served(ctx, subnet.network_id).await? {
        to(ctx, &agent.host).subnet_create_end(&ctx.caller, subnet_changed(subnet)).await?;
    }
    Ok(())
}

/// A subnet changed.
pub async fn subnet_updated(ctx: &Ctx, subnet: &Subnet) -> Result<()> {
    for agent in told(ctx, subnet.network_id).await? {
        to(ctx, &agent.host).subnet_update_end(&ctx.caller, subnet_changed(subnet)).await?;
    }
    Ok(())
}

/// A subnet is gone.
pub async fn subnet_deleted(ctx: &Ctx, subnet_id: SubnetId, network_id: NetworkId) -> Result<()> {
    for agent in told(ctx, network_id).await? {
        let body = SubnetDeleted { subnet_id, network_id };
        let payload = Payload { body, priority: priority::SUBNET_DELETE };
        to(ctx, &agent.host).subnet_delete_end(&ctx.caller, payload).await?;
    }
    Ok(())
}

/// A port was made. One of the agents, at random, is to serve it before other work.
pub async fn port_created(ctx: &Ctx, port: &Port) -> Result<()> {
    let agents = match port.device_id.as_str() {
        RESERVED_DEVICE_ID => told(ctx, port.network_id).await?,
        _ => served(ctx, port.network_id).await?,
    };
    if agents.is_empty() {
        return Ok(());
    }
    let first = rand::random_range(0..agents.len());
    for (i, agent) in agents.iter().enumerate() {
        let priority = if i == first { priority::PORT_CREATE_HIGH } else { priority::PORT_CREATE_LOW };
        to(ctx, &agent.host).port_create_end(&ctx.caller, port_changed(ctx, port, priority)).await?;
    }
    Ok(())
}

/// Whether what DHCP serves of a port changed.
pub fn is_concerned(before: &Port, after: &Port) -> bool {
    before.fixed_ips != after.fixed_ips
        || before.mac_address != after.mac_address
        || before.extra_dhcp_opts != after.extra_dhcp_opts
}

/// What DHCP serves of a port changed.
pub async fn port_updated(ctx: &Ctx, port: &Port) -> Result<()> {
    for agent in told(ctx, port.network_id).await? {
        let payload = port_changed(ctx, port, priority::PORT_UPDATE);
        to(ctx, &agent.host).port_update_end(&ctx.caller, payload).await?;
    }
    Ok(())
}

/// A port is gone.
pub async fn port_deleted(ctx: &Ctx, port_id: PortId, network_id: NetworkId, fixed_ips: &[FixedIp]) -> Result<()> {
    for agent in told(ctx, network_id).await? {
        let body = PortDeleted { port_id, network_id, fixed_ips: fixed_ips.to_vec() };
        let payload = Payload { body, priority: priority::PORT_DELETE };
        to(ctx, &agent.host).port_delete_end(&ctx.caller, payload).await?;
    }
    Ok(())
}

fn client(ctx: &Ctx) -> Client {
    Client::new(ctx.parts.bus.clone())
}

fn to(ctx: &Ctx, host: &str) -> Client {
    client(ctx).to_server(host)
}

fn network_gone(network_id: NetworkId) -> Payload<NetworkDeleted> {
    Payload { body: NetworkDeleted { network_id }, priority: priority::NETWORK_DELETE }
}

/// Agents look at the ids in it, so the network is not sent along.
fn subnet_changed(subnet: &Subnet) -> Payload<SubnetChanged> {
    let subnet = WithNetwork { resource: payload::Subnet::from(subnet.clone()), network: None };
    Payload { body: SubnetChanged { subnet }, priority: priority::SUBNET_UPDATE }
}

fn port_changed(ctx: &Ctx, port: &Port, priority: u8) -> Payload<PortChanged> {
    let resource = payload::Port::new(port.clone(), &ctx.config().dns_domain);
    Payload { body: PortChanged { port: WithNetwork { resource, network: None } }, priority }
}

/// The enabled agents of a network.
async fn told(ctx: &Ctx, network: NetworkId) -> Result<Vec<Agent>> {
    let mut conn = ctx.db().glance().await?;
    Ok(enabled(dhcp_binding::agents_of_network(&mut conn, network).await?))
}

/// The enabled agents of a network, which is given to some if it has too few. New ones are told of the network first.
async fn served(ctx: &Ctx, network: NetworkId) -> Result<Vec<Agent>> {
    let hosting = retrying(|| schedule::dhcp::ensure(ctx, network)).await?;
    for recorded in hosting.new {
        recorded.tell_now(ctx).await?;
    }
    Ok(enabled(hosting.agents))
}

fn enabled(mut agents: Vec<Agent>) -> Vec<Agent> {
    agents.retain(|agent| agent.admin_state_up);
    agents
}
