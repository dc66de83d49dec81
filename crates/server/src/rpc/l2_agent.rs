//! What the server tells L2 agents: hints, to all of them; each asks for details of what it has.

use std::{collections::BTreeSet, net::IpAddr};

use db::device;
use rpc::{l2_agent::Client, payload};
use types::{NetworkId, NetworkType, PortId, SecurityGroupId, Segment, network::Network, port::Port};

use crate::{Ctx, Result};

/// A network's MTU was given in a request.
pub async fn network_updated(ctx: &Ctx, network: &Network) -> Result<()> {
    Ok(client(ctx).network_update(&ctx.caller, payload::Network::from(network)).await?)
}

/// A network is gone.
pub async fn network_deleted(ctx: &Ctx, network: NetworkId) -> Result<()> {
    Ok(client(ctx).network_delete(&ctx.caller, network).await?)
}

/// A port was made, or its wiring or filtering changed. One that is bound to no segment is nobody's business yet.
pub async fn port_changed(ctx: &Ctx, port: &Port) -> Result<()> {
    let Some(segment) = bound_segment(ctx, port).await? else { return Ok(()) };
    let (network_type, id) = (Some(segment.network_type), segment.segmentation_id);
    let port = payload::Port::new(port.clone(), &ctx.config().dns_domain);
    Ok(client(ctx).port_update(&ctx.caller, port, network_type, id, segment.physical_network).await?)
}

/// The groups whose members differ by a change of a port.
pub fn groups_touched(before: &Port, after: &Port) -> BTreeSet<SecurityGroupId> {
    let addressed = before.fixed_ips != after.fixed_ips
        || before.allowed_address_pairs != after.allowed_address_pairs
        || before.mac_address != after.mac_address;
    let (was, is) = (groups(before), groups(after));
    if addressed { was.union(&is).copied().collect() } else { was.symmetric_difference(&is).copied().collect() }
}

/// Another binding of a port became the active one: its old host lets go of it, its new host takes it.
pub async fn binding_activated(
    ctx: &Ctx,
    port: PortId,
    network: NetworkId,
    old_host: &str,
    new_host: &str,
) -> Result<()> {
    client(ctx).binding_deactivate(&ctx.caller, port, old_host.to_owned(), network).await?;
    Ok(client(ctx).binding_activate(&ctx.caller, port, new_host.to_owned()).await?)
}

/// A port is gone.
pub async fn port_deleted(ctx: &Ctx, port: PortId) -> Result<()> {
    Ok(client(ctx).port_delete(&ctx.caller, port).await?)
}

/// Addresses of these groups' members changed.
pub async fn members_changed(ctx: &Ctx, groups: impl Iterator<Item = SecurityGroupId>) -> Result<()> {
    let groups: BTreeSet<SecurityGroupId> = groups.collect();
    if groups.is_empty() {
        return Ok(());
    }
    Ok(client(ctx).security_groups_member_updated(&ctx.caller, groups.into_iter().collect()).await?)
}

/// A host's end of an overlay is gone.
pub async fn tunnel_deleted(ctx: &Ctx, address: IpAddr, overlay: NetworkType) -> Result<()> {
    Ok(client(ctx).tunnel_delete(&ctx.caller, address, overlay).await?)
}

/// A rule of these groups was made or is gone, or what a rule names has changed.
pub async fn security_group_rules_changed(ctx: &Ctx, groups: Vec<SecurityGroupId>) -> Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    Ok(client(ctx).security_groups_rule_updated(&ctx.caller, groups).await?)
}

fn client(ctx: &Ctx) -> Client {
    Client::new(ctx.parts.bus.clone()).to_all()
}

fn groups(port: &Port) -> BTreeSet<SecurityGroupId> {
    port.security_groups.iter().copied().collect()
}

/// Whether agents have to wire or filter a port anew. A change of status alone is the agent's own news and not told back.
pub fn is_rewired(before: &Port, after: &Port) -> bool {
    let bound = |port: &Port| {
        let binding = &port.binding;
        (binding.host.clone(), binding.vnic_type.clone(), binding.vif_type.clone(), binding.profile.clone())
    };
    before.mac_address != after.mac_address
        || before.admin_state_up != after.admin_state_up
        || before.port_security_enabled != after.port_security_enabled
        || before.allowed_address_pairs != after.allowed_address_pairs
        || before.extra_dhcp_opts != after.extra_dhcp_opts
        || groups(before) != groups(after)
        || (before.fixed_ips != after.fixed_ips && !after.security_groups.is_empty())
        || bound(before) != bound(after)
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
