//! What the server tells L3 agents.
//!
//! Agents that serve a router, are enabled and live are told that it changed; which of it they see when they ask. A
//! router that no agent serves, or too few, is given to some before they are told. The end of a router goes to all
//! agents, as nobody knows any more who served it.

use std::time::Duration;

use db::{agent::Agent, standard::now};
use rpc::l3_agent::{AgentUpdated, Client, RouterHint, RouterRemoved};
use types::{RouterId, SubnetId, port::Port};

use crate::{
    Ctx, Result,
    ipam::owner,
    resource::router_port,
    retry::retrying,
    schedule::{self, choice},
};

/// How often an agent is called that does not answer, and how long each time.
const CALLS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(10);

/// A router changed, or something that hangs on it.
pub async fn router_updated(ctx: &Ctx, router: RouterId) -> Result<()> {
    let agents = retrying(|| schedule::l3::ensure(ctx, router)).await?;
    for agent in agents.iter().filter(|agent| hears(ctx, agent)) {
        to(ctx, &agent.host).routers_updated(&ctx.caller, vec![RouterHint::Id(router)]).await?;
    }
    Ok(())
}

/// A router is gone.
pub async fn router_deleted(ctx: &Ctx, router: RouterId) -> Result<()> {
    client(ctx).to_all().router_deleted(&ctx.caller, router).await?;
    Ok(())
}

/// A router was given to the agent on that host, which is to answer. One that does not will ask when it is back.
pub async fn router_hosted(ctx: &Ctx, router: RouterId, host: &str) -> Result<()> {
    for call in 1..=CALLS {
        match to(ctx, host).with_timeout(PATIENCE).router_added_to_agent(&ctx.caller, vec![router]).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::warn!(%router, "the L3 agent on {host} was not told of it ({call}): {error}"),
        }
    }
    Ok(())
}

/// A router was taken from the agent on that host.
pub async fn router_unhosted(ctx: &Ctx, router: RouterId, host: &str) -> Result<()> {
    to(ctx, host).router_removed_from_agent(&ctx.caller, RouterRemoved { router_id: router }).await?;
    Ok(())
}

/// The agent on that host was enabled or disabled.
pub async fn agent_updated(ctx: &Ctx, host: &str, admin_state_up: bool) -> Result<()> {
    to(ctx, host).agent_updated(&ctx.caller, AgentUpdated { admin_state_up }).await?;
    Ok(())
}

/// Addresses or MAC of a port changed, which may be a router's.
pub async fn port_updated(ctx: &Ctx, port: &Port) -> Result<()> {
    let routed = owner::is_router(&port.device_owner) || port.device_owner == router_port::HA_INTERFACE;
    match port.device_id.parse() {
        Ok(router) if routed => router_updated(ctx, router).await,
        _ => Ok(()),
    }
}

/// A subnet changed, which may be on a router.
pub async fn subnet_updated(ctx: &Ctx, subnet: SubnetId) -> Result<()> {
    let owners = [owner::ROUTER_INTERFACE, owner::HA_REPLICATED_INTERFACE, owner::DVR_INTERFACE, owner::ROUTER_GATEWAY];
    let mut conn = ctx.db().reader().await?;
    let routers = db::router::routers_on_subnet(&mut conn, subnet, &owners).await?;
    drop(conn);
    for router in routers {
        router_updated(ctx, router).await?;
    }
    Ok(())
}

fn client(ctx: &Ctx) -> Client {
    Client::new(ctx.parts.bus.clone())
}

fn to(ctx: &Ctx, host: &str) -> Client {
    client(ctx).to_server(host)
}

fn hears(ctx: &Ctx, agent: &Agent) -> bool {
    agent.admin_state_up && choice::is_alive(agent.heartbeat_timestamp, now(), ctx.config().agent_down_time)
}
