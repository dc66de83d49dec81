//! What the server tells L2 agents: hints, to all of them; each asks for details of what it has.

use std::collections::BTreeSet;

use db::device;
use rpc::{l2_agent::Client, payload};
use types::{NetworkId, SecurityGroupId, Segment, network::Network, port::Port};

use crate::{Ctx, Result};

/// A network's MTU was given in a request.
pub async fn network_updated(ctx: &Ctx, network: &Network) {
    client(ctx).network_update(&ctx.caller, payload::Network::from(network)).await;
}

/// A network is gone.
pub async fn network_deleted(ctx: &Ctx, network: NetworkId) {
    client(ctx).network_delete(&ctx.caller, network).await;
}

/// A port was made.
pub async fn port_created(ctx: &Ctx, port: &Port) {
    tell_port(ctx, port).await;
    tell_members(ctx, port.security_groups.iter().copied().collect()).await;
}

/// A port changed; told only if its wiring or its filtering did.
pub async fn port_updated(ctx: &Ctx, before: &Port, after: &Port) {
    if is_rewired(before, after) {
        tell_port(ctx, after).await;
    }
    let addressed = before.fixed_ips != after.fixed_ips
        || before.allowed_address_pairs != after.allowed_address_pairs
        || before.mac_address != after.mac_address;
    let (was, is): (BTreeSet<_>, BTreeSet<_>) =
        (before.security_groups.iter().copied().collect(), after.security_groups.iter().copied().collect());
    let groups =
        if addressed { was.union(&is).copied().collect() } else { was.symmetric_difference(&is).copied().collect() };
    tell_members(ctx, groups).await;
}

/// Another binding of a port became the active one: its old host lets go of it, its new host takes it.
pub async fn binding_activated(ctx: &Ctx, before: &Port, after: &Port) {
    let old_host = before.binding.host.clone();
    client(ctx).binding_deactivate(&ctx.caller, before.id, old_host, before.network_id).await;
    client(ctx).binding_activate(&ctx.caller, after.id, after.binding.host.clone()).await;
}

/// A port is gone.
pub async fn port_deleted(ctx: &Ctx, port: &Port) {
    client(ctx).port_delete(&ctx.caller, port.id).await;
    tell_members(ctx, port.security_groups.iter().copied().collect()).await;
}

/// A rule of a group was made or is gone.
pub async fn security_group_rules_changed(ctx: &Ctx, group: SecurityGroupId) {
    client(ctx).security_groups_rule_updated(&ctx.caller, vec![group]).await;
}

fn client(ctx: &Ctx) -> Client {
    Client::new(ctx.parts.bus.clone()).to_all()
}

async fn tell_members(ctx: &Ctx, groups: BTreeSet<SecurityGroupId>) {
    if !groups.is_empty() {
        client(ctx).security_groups_member_updated(&ctx.caller, groups.into_iter().collect()).await;
    }
}

/// A change of status alone is the agent's own news and not told back.
fn is_rewired(before: &Port, after: &Port) -> bool {
    let bound = |port: &Port| {
        let binding = &port.binding;
        (binding.host.clone(), binding.vnic_type.clone(), binding.vif_type.clone(), binding.profile.clone())
    };
    let groups = |port: &Port| port.security_groups.iter().copied().collect::<BTreeSet<_>>();
    before.mac_address != after.mac_address
        || before.admin_state_up != after.admin_state_up
        || before.port_security_enabled != after.port_security_enabled
        || before.allowed_address_pairs != after.allowed_address_pairs
        || before.extra_dhcp_opts != after.extra_dhcp_opts
        || groups(before) != groups(after)
        || (before.fixed_ips != after.fixed_ips && !after.security_groups.is_empty())
        || bound(before) != bound(after)
}

/// Ports that are bound to no segment are nobody's business yet.
async fn tell_port(ctx: &Ctx, port: &Port) {
    match bound_segment(ctx, port).await {
        Ok(Some(segment)) => {
            let (network_type, id) = (Some(segment.network_type), segment.segmentation_id);
            let port = payload::Port::new(port.clone(), &ctx.config().dns_domain);
            client(ctx).port_update(&ctx.caller, port, network_type, id, segment.physical_network).await;
        }
        Ok(None) => {}
        Err(error) => tracing::error!(%error, port = %port.id, "L2 agents were not told of a change"),
    }
}

async fn bound_segment(ctx: &Ctx, port: &Port) -> Result<Option<Segment>> {
    if port.binding.host.is_empty() {
        return Ok(None);
    }
    let mut conn = ctx.db().reader().await?;
    let bound = device::bound_segments(&mut conn, &[port.id]).await?;
    let Some(segment) = bound.get(&(port.id, port.binding.host.clone())) else { return Ok(None) };
    let segments = db::segment::segments_of(&mut conn, &[port.network_id.to_string()]).await?;
    Ok(segments.into_values().flatten().find(|s| s.id == *segment))
}
