//! What a port waits for before it is `ACTIVE`, and the changes of its status.
//!
//! A bound port waits for its L2 agent to wire it and, where DHCP serves one of its addresses, for a DHCP agent to know
//! it. Each is a block in the database, added in the transaction that makes it necessary ([`block_wiring`],
//! [`block_dhcp`]) and released by the agent's news ([`release`]). Ports of the system wait for nothing.

use std::sync::Arc;

use db::{Conn, provisioning as rows};
use types::{NetworkId, PortId, port::Port};

use crate::{
    Ctx, Error, Result,
    binding::vif_type,
    event::{self, Event},
    resource,
    retry::retrying,
};

/// What can be waited for, by the words in `provisioningblocks.entity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entity {
    /// The L2 agent of the port's host.
    L2,
    /// A DHCP agent of the port's network.
    Dhcp,
}

/// Values of a port's status.
pub mod status {
    /// Wired and served.
    pub const ACTIVE: &str = "ACTIVE";
    /// Not wired, or disabled.
    pub const DOWN: &str = "DOWN";
    /// Being wired.
    pub const BUILD: &str = "BUILD";
}

/// Owners whose ports wait for nothing.
const NEVER_BLOCKED: [&str; 10] = [
    "",
    "network:router_interface",
    "network:router_interface_distributed",
    "network:ha_router_replicated_interface",
    "network:router_gateway",
    "network:router_centralized_snat",
    "network:dhcp",
    "network:floatingip_agent_gateway",
    "network:router_ha_interface",
    "network:floatingip",
];

/// What keeps a port from being wired.
const NOT_BOUND: [&str; 2] = [vif_type::UNBOUND, vif_type::BINDING_FAILED];

impl Entity {
    fn as_str(self) -> &'static str {
        match self {
            Self::L2 => "L2",
            Self::Dhcp => "DHCP",
        }
    }
}

/// Blocks a port that was just given a host until the agent there has wired it. Without an agent of a configured kind
/// on that host, dead or alive, nothing could release it, so there is no block.
pub async fn block_wiring(ctx: &Ctx, conn: &mut Conn, port: &Port) -> Result<()> {
    let host = port.binding.host.as_str();
    let owner = port.device_owner.as_str();
    if host.is_empty() || port.status == status::ACTIVE || NEVER_BLOCKED.contains(&owner) {
        return Ok(());
    }
    for mechanism in &ctx.config().ml2.mechanism_drivers {
        if mechanism.plugs(&port.binding.vnic_type)
            && db::agent::agent_on_host(conn, mechanism.agent_kind(), host).await?.is_some()
        {
            rows::block_add(conn, port.standard.standard_attr_id, Entity::L2.as_str()).await?;
            return Ok(());
        }
    }
    Ok(())
}

/// Blocks a port that was just made, or whose addresses or MAC changed, until a DHCP agent knows it; releases it when
/// DHCP serves none of its addresses.
pub async fn block_dhcp(conn: &mut Conn, port: &Port) -> Result<()> {
    if NEVER_BLOCKED.contains(&port.device_owner.as_str()) {
        return Ok(());
    }
    let id = port.standard.standard_attr_id;
    if rows::is_dhcp_served(conn, port.id, port.network_id).await? {
        rows::block_add(conn, id, Entity::Dhcp.as_str()).await?;
    } else {
        rows::block_remove(conn, id, Entity::Dhcp.as_str()).await?;
    }
    Ok(())
}

/// An agent has done its part. When nothing is left to wait for, a bound and enabled port becomes `ACTIVE`.
/// That the port is gone is no error.
pub async fn release(ctx: &Ctx, port: PortId, entity: Entity) -> Result<()> {
    // Two agents may be ready at the same moment, and each removal see the other's block: who looks again when both are
    // committed sees none.
    if release_one(ctx, port, entity).await? && is_waiting_for_nothing(ctx, port).await? {
        release_one(ctx, port, entity).await?;
    }
    Ok(())
}

async fn is_waiting_for_nothing(ctx: &Ctx, port: PortId) -> Result<bool> {
    let mut conn = ctx.db().reader().await?;
    let Some(port) = found(ctx, &mut conn, port).await? else { return Ok(false) };
    let blocks = rows::blocks(&mut conn, port.standard.standard_attr_id).await?;
    Ok(blocks.is_empty() && port.status != status::ACTIVE)
}

/// True when a block was removed and others, as far as is seen, are left.
async fn release_one(ctx: &Ctx, port: PortId, entity: Entity) -> Result<bool> {
    let mut tx = ctx.db().begin().await?;
    let Some(before) = found(ctx, &mut tx, port).await? else { return Ok(false) };
    let id = before.standard.standard_attr_id;
    let mut removed = rows::block_remove(&mut tx, id, entity.as_str()).await?;
    let mut waits_for = rows::blocks(&mut tx, id).await?;
    // DHCP may have been switched off by a server that was killed before it could say so.
    let dhcp = Entity::Dhcp.as_str();
    if waits_for.iter().any(|block| block == dhcp) && !rows::is_dhcp_served(&mut tx, port, before.network_id).await? {
        removed |= rows::block_remove(&mut tx, id, dhcp).await?;
        waits_for.retain(|block| block != dhcp);
    }
    let ready = before.admin_state_up
        && before.status != status::ACTIVE
        && !NOT_BOUND.contains(&before.binding.vif_type.as_str())
        && waits_for.is_empty();
    if !ready {
        if removed {
            tx.commit().await?;
        }
        return Ok(removed && !waits_for.is_empty());
    }
    let after = write_status(&mut tx, &before, status::ACTIVE).await?;
    let provisioned = Event::PortProvisioned { before: Arc::new(before), after: Arc::new(after), by: entity };
    let recorded = event::record(ctx, &mut tx, vec![provisioned]).await?;
    tx.commit().await?;
    tracing::info!(%port, "port is wired and served");
    recorded.emit(ctx).await;
    Ok(false)
}

/// Sets the status that an agent's news means. False when the port is gone.
pub async fn set_status(ctx: &Ctx, port: PortId, status: &str) -> Result<bool> {
    let mut tx = ctx.db().begin().await?;
    let Some(before) = found(ctx, &mut tx, port).await? else { return Ok(false) };
    if before.status == status {
        return Ok(true);
    }
    let after = write_status(&mut tx, &before, status).await?;
    let changed = Event::PortUpdated { before: Arc::new(before), after: Arc::new(after) };
    let recorded = event::record(ctx, &mut tx, vec![changed]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(true)
}

/// A port was wired on a host that it is not bound to: its instance migrates there. That changes nothing here, but the
/// compute service waits for it.
pub async fn wired_elsewhere(ctx: &Ctx, port: &Port) -> Result<()> {
    if ctx.parts.nova.is_none() {
        return Ok(());
    }
    let mut tx = ctx.db().begin().await?;
    let recorded = event::record(ctx, &mut tx, vec![Event::PortWiredElsewhere(Arc::new(port.clone()))]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(())
}

/// The L2 agent says that a port is no longer wired: it is `DOWN`, and waits for being wired again, whatever other news
/// of it comes late. False when the port is gone.
pub async fn wiring_lost(ctx: &Ctx, port: PortId) -> Result<bool> {
    let mut tx = ctx.db().begin().await?;
    let Some(before) = found(ctx, &mut tx, port).await? else { return Ok(false) };
    let after = match before.status.as_str() {
        status::DOWN => before.clone(),
        _ => write_status(&mut tx, &before, status::DOWN).await?,
    };
    block_wiring(ctx, &mut tx, &after).await?;
    let changed = before.status != after.status;
    let lost = Event::PortUpdated { before: Arc::new(before), after: Arc::new(after) };
    let recorded = event::record(ctx, &mut tx, if changed { vec![lost] } else { Vec::new() }).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(true)
}

/// Releases the ports of a network that wait for a DHCP agent in vain, because DHCP was switched off on their subnets.
pub async fn release_unserved(ctx: &Ctx, network: NetworkId) {
    let waiting = async {
        let mut conn = ctx.db().reader().await?;
        let mut unserved = Vec::new();
        for port in rows::ports_blocked(&mut conn, network, Entity::Dhcp.as_str()).await? {
            if !rows::is_dhcp_served(&mut conn, port, network).await? {
                unserved.push(port);
            }
        }
        Ok::<_, Error>(unserved)
    };
    let ports = match waiting.await {
        Ok(ports) => ports,
        Err(error) => return tracing::error!(%network, "ports that wait for DHCP were not looked at: {error}"),
    };
    for port in ports {
        if let Err(error) = retrying(|| release(ctx, port, Entity::Dhcp)).await {
            tracing::error!(%port, "the port still waits for DHCP: {error}");
        }
    }
}

async fn found(ctx: &Ctx, conn: &mut Conn, port: PortId) -> Result<Option<Port>> {
    match resource::find_any::<Port>(ctx, conn, &port.to_string()).await {
        Ok(port) => Ok(Some(port)),
        Err(Error::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write_status(conn: &mut Conn, before: &Port, status: &str) -> Result<Port> {
    let mut after = before.clone();
    status.clone_into(&mut after.status);
    rows::port_status_set(conn, after.id, status).await?;
    db::standard::standard_touch(conn, &mut after.standard).await?;
    Ok(after)
}
