//! What the server tells DHCP agents.
//!
//! Agents that serve a network and are enabled are told, dead ones too: they may only be slow, and find the message
//! when they return. Nobody is told of a network that no agent serves; the making of a subnet or a port is what gives
//! it to one. The deletion of a network goes to all agents, as nobody knows any more who served it. A failure here is
//! logged: the change itself stands, and agents fetch everything again when they have doubts.

use db::{agent::Agent, dhcp_binding};
use rpc::{
    dhcp::RESERVED_DEVICE_ID,
    dhcp_agent::{
        AgentUpdated, Client, NetworkCreated, NetworkDeleted, NetworkRef, NetworkUpdated, Payload, PortChanged,
        PortDeleted, SubnetChanged, SubnetDeleted, WithNetwork, priority,
    },
    payload,
};
use types::{NetworkId, network::Network, port::Port, subnet::Subnet};

use crate::{Ctx, Result, schedule};

/// A network was given to the agent on that host.
pub async fn network_added(ctx: &Ctx, network: NetworkId, host: &str) {
    let body = NetworkCreated { network: NetworkRef { id: network } };
    let payload = Payload { body, priority: priority::NETWORK_CREATE };
    to(ctx, host).network_create_end(&ctx.caller, payload).await;
}

/// A network was taken from the agent on that host.
pub async fn network_removed(ctx: &Ctx, network: NetworkId, host: &str) {
    to(ctx, host).network_delete_end(&ctx.caller, network_gone(network)).await;
}

/// The agent on that host was enabled or disabled.
pub async fn agent_updated(ctx: &Ctx, host: &str, admin_state_up: bool) {
    to(ctx, host).agent_updated(&ctx.caller, AgentUpdated { admin_state_up }).await;
}

/// A network changed.
pub async fn network_updated(ctx: &Ctx, network: &Network) {
    for agent in told(ctx, network.id).await {
        let body = NetworkUpdated { network: payload::Network::from(network) };
        let payload = Payload { body, priority: priority::NETWORK_UPDATE };
        to(ctx, &agent.host).network_update_end(&ctx.caller, payload).await;
    }
}

/// A network is gone.
pub async fn network_deleted(ctx: &Ctx, network: NetworkId) {
    client(ctx).to_all().network_delete_end(&ctx.caller, network_gone(network)).await;
}

/// A subnet was made.
pub async fn subnet_created(ctx: &Ctx, subnet: &Subnet) {
    for agent in served(ctx, subnet.network_id).await {
        to(ctx, &agent.host).subnet_create_end(&ctx.caller, subnet_changed(subnet)).await;
    }
}

/// A subnet changed.
pub async fn subnet_updated(ctx: &Ctx, subnet: &Subnet) {
    for agent in told(ctx, subnet.network_id).await {
        to(ctx, &agent.host).subnet_update_end(&ctx.caller, subnet_changed(subnet)).await;
    }
}

/// A subnet is gone.
pub async fn subnet_deleted(ctx: &Ctx, subnet: &Subnet) {
    for agent in told(ctx, subnet.network_id).await {
        let body = SubnetDeleted { subnet_id: subnet.id, network_id: subnet.network_id };
        let payload = Payload { body, priority: priority::SUBNET_DELETE };
        to(ctx, &agent.host).subnet_delete_end(&ctx.caller, payload).await;
    }
}

/// A port was made. One of the agents, at random, is to serve it before other work.
pub async fn port_created(ctx: &Ctx, port: &Port) {
    let agents = match port.device_id.as_str() {
        RESERVED_DEVICE_ID => told(ctx, port.network_id).await,
        _ => served(ctx, port.network_id).await,
    };
    if agents.is_empty() {
        return;
    }
    let first = rand::random_range(0..agents.len());
    for (i, agent) in agents.iter().enumerate() {
        let priority = if i == first { priority::PORT_CREATE_HIGH } else { priority::PORT_CREATE_LOW };
        to(ctx, &agent.host).port_create_end(&ctx.caller, port_changed(ctx, port, priority)).await;
    }
}

/// A port changed; told only if what DHCP serves of it did.
pub async fn port_updated(ctx: &Ctx, before: &Port, after: &Port) {
    let same = before.fixed_ips == after.fixed_ips
        && before.mac_address == after.mac_address
        && before.extra_dhcp_opts == after.extra_dhcp_opts;
    if same {
        return;
    }
    for agent in told(ctx, after.network_id).await {
        let payload = port_changed(ctx, after, priority::PORT_UPDATE);
        to(ctx, &agent.host).port_update_end(&ctx.caller, payload).await;
    }
}

/// A port is gone.
pub async fn port_deleted(ctx: &Ctx, port: &Port) {
    for agent in told(ctx, port.network_id).await {
        let body = PortDeleted { port_id: port.id, network_id: port.network_id, fixed_ips: port.fixed_ips.clone() };
        let payload = Payload { body, priority: priority::PORT_DELETE };
        to(ctx, &agent.host).port_delete_end(&ctx.caller, payload).await;
    }
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
async fn told(ctx: &Ctx, network: NetworkId) -> Vec<Agent> {
    let agents = async {
        let mut conn = ctx.db().reader().await?;
        Ok(dhcp_binding::agents_of_network(&mut conn, network).await?)
    };
    enabled(network, agents.await)
}

/// The enabled agents of a network, which is given to some if it has too few. New ones are told of the network first.
async fn served(ctx: &Ctx, network: NetworkId) -> Vec<Agent> {
    let hosting = schedule::dhcp::ensure(ctx, network).await;
    if let Ok(hosting) = &hosting {
        for agent in &hosting.new {
            network_added(ctx, network, &agent.host).await;
        }
    }
    enabled(network, hosting.map(|hosting| hosting.agents))
}

fn enabled(network: NetworkId, agents: Result<Vec<Agent>>) -> Vec<Agent> {
    match agents {
        Ok(mut agents) => {
            agents.retain(|agent| agent.admin_state_up);
            agents
        }
        Err(error) => {
            tracing::error!(%error, %network, "DHCP agents were not told of a change");
            Vec::new()
        }
    }
}
