//! L2 population: agents of overlays are told who is behind which tunnel, so that they need not flood to find out.
//!
//! | what happens | what is told |
//! |---|---|
//! | a port becomes active, one of the first two of its network on its host | that host: everything on other hosts; all: the port, and that the host wants what is flooded |
//! | a further port becomes active | all: the port |
//! | an agent asks for it (`refresh_tunnels`) | that host: everything on other hosts, also if that is nothing; all: everything on that host |
//! | a port is down, deleted, or left a host | all: it is gone; if it was the last, nothing more is to be flooded there |
//! | addresses of a bound port change | all: which went and which came |
//! | an agent is removed by an operator | all: everything on its host is gone |
//!
//! *Two* because two ports may become active at the same moment, each unseen by the other. Nothing is told of segments
//! that the host's agent does not tunnel. What the messages say is read when they are sent, in a number of queries that
//! does not depend on how many ports there are; messages about one network are sent one after the other.
//!
//! Upstream tells the same, with three differences: it sends the whole once for each port where an agent asks for it, says
//! nothing where nothing is on other hosts, and nothing when an agent is removed.

mod message;

use std::collections::BTreeSet;

use db::{
    Tx,
    l2_population::{self as rows, CENTRAL_SNAT, DISTRIBUTED_INTERFACE, HA_INTERFACE},
};
use rpc::l2_population::PortEntry;
use serde::{Deserialize, Serialize};
use types::{NetworkId, PortId, agent::Agent, port::Port};

use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
    provisioning::status,
};

pub(crate) use message::tell;

/// Something agents are to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum News {
    /// A port is active on a host.
    Opened { port: PortId, network_id: NetworkId, host: String, first: bool },
    /// A port is no longer active on a host. None of its addresses are told where it is on other hosts as well.
    Closed { network_id: NetworkId, host: String, entries: Vec<PortEntry> },
    /// A port of a highly available router is gone.
    RouterPortClosed { network_id: NetworkId, router: String },
    /// A port of a highly available router is on standby on a host, which still wants what is flooded.
    Standby { network_id: NetworkId, host: String, entries: Vec<PortEntry> },
    /// Addresses of a port on a host changed.
    Readdressed { network_id: NetworkId, host: String, before: Vec<PortEntry>, after: Vec<PortEntry> },
    /// The agent of a host asks for everything.
    Refreshed { network_id: NetworkId, host: String },
    /// The agent of a host is gone.
    AgentGone { host: String, tunnel_ip: String },
}

impl News {
    /// The network whose messages must keep their order.
    pub(crate) fn network(&self) -> Option<NetworkId> {
        match self {
            Self::Opened { network_id, .. }
            | Self::Closed { network_id, .. }
            | Self::RouterPortClosed { network_id, .. }
            | Self::Standby { network_id, .. }
            | Self::Readdressed { network_id, .. }
            | Self::Refreshed { network_id, .. } => Some(*network_id),
            Self::AgentGone { .. } => None,
        }
    }
}

/// What agents are to be told of these events, whose transaction has written its rows.
pub(crate) async fn news_of(ctx: &Ctx, tx: &mut Tx, events: &[Event]) -> Result<Vec<News>> {
    let mut news = Vec::new();
    if !ctx.config().ml2.l2_population {
        return Ok(news);
    }
    for event in events {
        match event {
            Event::PortProvisioned { after, .. } => news.push(opened(tx, after).await?),
            Event::PortUpdated { before, after } => {
                news.extend(readdressed(before, after));
                if before.status != status::ACTIVE && after.status == status::ACTIVE {
                    news.push(opened(tx, after).await?);
                }
                news.extend(closed_by_change(before, after));
            }
            Event::PortBindingActivated { before, .. } if before.status == status::ACTIVE => {
                news.extend(closed(before))
            }
            Event::PortDeleted(port) => news.extend(closed(port)),
            Event::AgentDeleted(agent) => news.extend(agent_gone(agent)),
            _ => {}
        }
    }
    Ok(news)
}

async fn opened(tx: &mut Tx, port: &Port) -> Result<News> {
    let (network_id, host) = (port.network_id, port.binding.host.clone());
    // Counted by the transaction that makes it active: of several at the same moment, none sees all the others.
    let first = matches!(rows::active_count(tx, network_id, &host).await?, 1 | 2);
    Ok(News::Opened { port: port.id, network_id, host, first })
}

fn readdressed(before: &Port, after: &Port) -> Option<News> {
    let (network_id, host) = (before.network_id, before.binding.host.clone());
    if host.is_empty() || before.fixed_ips == after.fixed_ips || is_replicated(after) {
        return None;
    }
    let (was, is) = (entries(before), entries(after));
    let missing_in = |those: &[PortEntry], these: &[PortEntry]| -> Vec<PortEntry> {
        let mac = after.mac_address.to_string();
        let gone = these.iter().filter(|(_, address)| !those.iter().any(|(_, other)| other == address));
        gone.map(|(_, address)| (mac.clone(), address.clone())).collect()
    };
    let (before, after) = (missing_in(&is, &was), missing_in(&was, &is));
    let changed = !before.is_empty() || !after.is_empty();
    changed.then_some(News::Readdressed { network_id, host, before, after })
}

fn closed_by_change(before: &Port, after: &Port) -> Option<News> {
    if after.status != status::DOWN || is_replicated(after) {
        return None;
    }
    match before.binding.host == after.binding.host {
        true => closed(after).filter(|_| before.status != status::DOWN),
        // It was moved; until it is wired there, it is nowhere.
        false => closed(before).filter(|_| before.status == status::ACTIVE),
    }
}

fn closed(port: &Port) -> Option<News> {
    let (network_id, host) = (port.network_id, port.binding.host.clone());
    if port.device_owner == HA_INTERFACE {
        return Some(News::RouterPortClosed { network_id, router: port.device_id.clone() });
    }
    let entries = if has_one_place(port) { entries(port) } else { Vec::new() };
    (!host.is_empty()).then_some(News::Closed { network_id, host, entries })
}

fn agent_gone(agent: &Agent) -> Option<News> {
    let tunnel_ip = agent.configurations.get("tunneling_ip")?.as_str()?.to_owned();
    Some(News::AgentGone { host: agent.host.clone(), tunnel_ip })
}

/// The agent of a host asks for everything about these networks.
pub(crate) async fn refresh(ctx: &Ctx, networks: BTreeSet<NetworkId>, host: &str) -> Result<()> {
    let refreshed = |network_id| News::Refreshed { network_id, host: host.to_owned() };
    tell_of(ctx, networks.into_iter().map(refreshed).collect()).await
}

/// A port was wired on a host that it is not bound to. One of a highly available router stands by there.
pub(crate) async fn replica_wired(ctx: &Ctx, port: &Port, host: &str) -> Result<()> {
    if !ctx.config().ml2.l2_population || !is_replicated(port) {
        return Ok(());
    }
    let (port, network_id) = (port.id, port.network_id);
    let count = rows::active_count(&mut ctx.db().reader().await?, network_id, host).await?;
    tell_of(ctx, vec![News::Opened { port, network_id, host: host.to_owned(), first: count < 3 }]).await
}

/// A port went from a host that it is not bound to.
pub(crate) async fn replica_lost(ctx: &Ctx, port: &Port, host: &str) -> Result<()> {
    if !is_replicated(port) || port.binding.host == host {
        return Ok(());
    }
    let (network_id, host, entries) = (port.network_id, host.to_owned(), entries(port));
    tell_of(ctx, vec![News::Standby { network_id, host, entries }]).await
}

/// Tells agents what follows from no change of a resource.
async fn tell_of(ctx: &Ctx, news: Vec<News>) -> Result<()> {
    if !ctx.config().ml2.l2_population || news.is_empty() {
        return Ok(());
    }
    let mut tx = ctx.db().begin().await?;
    let recorded = event::record_population(ctx, &mut tx, news).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(())
}

/// 400 for another MAC of an active port: agents would keep sending to the old one.
pub(crate) fn refuse_other_mac(ctx: &Ctx, port: &Port) -> Result<()> {
    if ctx.config().ml2.l2_population && port.status == status::ACTIVE {
        return Err(Refusal::invalid_input(format!("unable to modify mac_address of ACTIVE port {}", port.id)).into());
    }
    Ok(())
}

/// MAC and address, for each address.
fn entries(port: &Port) -> Vec<PortEntry> {
    let mac = port.mac_address.to_string();
    port.fixed_ips.iter().map(|fixed| (mac.clone(), fixed.ip_address.to_string())).collect()
}

/// Its addresses are on one host, where frames for them can be sent.
fn has_one_place(port: &Port) -> bool {
    port.device_owner != DISTRIBUTED_INTERFACE && !is_replicated(port)
}

fn is_replicated(port: &Port) -> bool {
    port.device_owner == HA_INTERFACE
}

/// Owners whose ports may be on several hosts.
fn may_be_replicated(device_owner: &str) -> bool {
    [HA_INTERFACE, CENTRAL_SNAT].contains(&device_owner)
}

#[cfg(test)]
mod tests;
