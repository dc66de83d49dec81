//! Networks and routers of dead agents are given to living ones.
//!
//! Every half `agent_down_time` the bindings of agents that have been silent for twice that time are removed, without
//! telling the agent: should it come back, it finds no stale message. When the check itself comes late by more than
//! `agent_down_time` the clock has jumped or the machine slept; the agents then get time to report first.

use std::{sync::Arc, time::Duration};

use chrono::NaiveDateTime;
use db::{
    agent::{self, Agent},
    dhcp_binding, l3_binding,
    standard::now,
};
use types::{NetworkId, agent::kind};

use super::{choice, dhcp, l3};
use crate::{Ctx, Error, Parts, Result};

/// Looks after dead agents for as long as it is polled.
pub async fn run(parts: Arc<Parts>) {
    let down_time = parts.config.agent_down_time;
    let interval = (down_time / 2).max(Duration::from_secs(1));
    // Servers that start together do not check together, and agents report before the first check.
    tokio::time::sleep(interval + interval.mul_f64(rand::random())).await;
    let mut last = now();
    loop {
        let ctx = Ctx::system(Arc::clone(&parts));
        if is_late(last, now(), down_time) {
            tracing::warn!("the check of agents is late; waiting for them to report in case the clock was changed");
            tokio::time::sleep(choice::dead_limit(down_time)).await;
        }
        last = now();
        if let Err(error) = report_dead(&ctx).await {
            tracing::error!(%error, "could not look for dead agents");
        }
        if ctx.config().allow_automatic_dhcp_failover
            && let Err(error) = reschedule(&ctx).await
        {
            tracing::error!(%error, "could not take networks from dead DHCP agents");
        }
        if ctx.config().l3.allow_automatic_failover
            && let Err(error) = reschedule_routers(&ctx).await
        {
            tracing::error!(%error, "could not take routers from dead L3 agents");
        }
        tokio::time::sleep(interval).await;
    }
}

/// The last check was longer ago than it should be.
fn is_late(last: NaiveDateTime, now: NaiveDateTime, down_time: Duration) -> bool {
    (now - last).to_std().is_ok_and(|elapsed| elapsed > down_time)
}

/// Logs the enabled agents that are silent.
async fn report_dead(ctx: &Ctx) -> Result<()> {
    let mut conn = ctx.db().reader().await?;
    let (now, down_time) = (now(), ctx.config().agent_down_time);
    let agents = agent::agents(&mut conn, None, None).await?;
    for agent in agents.iter().filter(|a| a.admin_state_up) {
        if !choice::is_alive(agent.heartbeat_timestamp, now, down_time) {
            let (kind, host, last) = (&agent.agent_type, &agent.host, agent.heartbeat_timestamp);
            tracing::warn!("the {kind} on {host} is silent since {last} UTC");
        }
    }
    Ok(())
}

/// Takes the networks of dead DHCP agents from them and gives them to others, when there are any.
pub async fn reschedule(ctx: &Ctx) -> Result<()> {
    let dead = dead_bindings(ctx).await?;
    for (network, agent) in dead {
        let (host, silent) = (&agent.host, choice::dead_limit(ctx.config().agent_down_time));
        tracing::warn!(%network, "taken from the DHCP agent on {host}, which has been silent for {silent:?}");
        match dhcp::release(ctx, agent.id, network, false).await {
            // Another server was faster; giving the network away is still worth a try.
            Ok(()) | Err(Error::Refused(_)) => {}
            Err(error) => tracing::error!(%error, %network, "could not be taken from a dead DHCP agent"),
        }
        match dhcp::ensure(ctx, network).await {
            Ok(hosting) => {
                for recorded in hosting.new {
                    if let Err(error) = recorded.tell_now(ctx).await {
                        tracing::error!(%error, %network, "its new DHCP agent was not told");
                    }
                }
            }
            Err(error) => tracing::error!(%error, %network, "could not be given to another DHCP agent"),
        }
    }
    Ok(())
}

/// Takes the routers of dead L3 agents from them and gives them to others, when there are any. Highly available routers
/// look after themselves.
pub async fn reschedule_routers(ctx: &Ctx) -> Result<()> {
    let mut conn = ctx.db().reader().await?;
    let limit = choice::dead_limit(ctx.config().agent_down_time);
    let dead = l3_binding::bindings_of_silent_agents(&mut conn, now() - limit).await?;
    let agents = if dead.is_empty() { Vec::new() } else { agent::agents(&mut conn, Some(kind::L3), None).await? };
    drop(conn);
    let lives = |a: &Agent| choice::is_alive(a.heartbeat_timestamp, now(), ctx.config().agent_down_time);
    if !dead.is_empty() && !agents.iter().any(|agent| agent.admin_state_up && lives(agent)) {
        tracing::warn!("no L3 agent lives that could take over the routers of the dead ones");
        return Ok(());
    }
    for (router, agent) in dead {
        let host = &agent.host;
        tracing::warn!(%router, "taken from the L3 agent on {host}, which has been silent for {limit:?}");
        if let Err(error) = l3::fail_over(ctx, router, &agent).await {
            tracing::error!(%error, %router, "could not be given to another L3 agent");
        }
    }
    Ok(())
}

/// Bindings to agents that are dead and not just starting; none when no agent lives to take over.
async fn dead_bindings(ctx: &Ctx) -> Result<Vec<(NetworkId, Agent)>> {
    let mut conn = ctx.db().reader().await?;
    let cutoff = now() - choice::dead_limit(ctx.config().agent_down_time);
    let mut bindings = dhcp_binding::bindings_of_silent_agents(&mut conn, cutoff).await?;
    if bindings.is_empty() {
        return Ok(bindings);
    }
    let mut serving = agent::agents(&mut conn, Some(kind::DHCP), None).await?;
    dhcp::retain_serving(ctx, &mut conn, &mut serving).await?;
    if serving.is_empty() {
        tracing::warn!("no DHCP agent lives that could take over the networks of the dead ones");
        return Ok(Vec::new());
    }
    bindings.retain(|(_, agent)| !serving.iter().any(|s| s.id == agent.id));
    Ok(bindings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_late_after_agent_down_time() {
        let down_time = Duration::from_secs(75);
        let last = now();
        assert!(!is_late(last, last + Duration::from_secs(75), down_time));
        assert!(is_late(last, last + Duration::from_secs(76), down_time));
        assert!(!is_late(last, last - Duration::from_secs(500), down_time));
    }
}
