//! The hosts' ends of overlays.

use std::net::IpAddr;

use db::tunnel::{self as rows, Endpoint as Row};
use rpc::{
    l2::{Tunnel, Tunnels},
    l2_agent,
};
use types::NetworkType;

use super::RpcError;
use crate::{Ctx, Error, Refusal, Result};

/// UDP port of VXLAN between Open vSwitch hosts.
const VXLAN_UDP_PORT: u16 = 4789;

/// Registers a host's end and tells all agents of it, this one too; all ends in return.
pub(super) async fn sync(
    ctx: &Ctx,
    tunnel_ip: Option<String>,
    tunnel_type: Option<String>,
    host: Option<String>,
) -> Result<Tunnels, RpcError> {
    let ip = address(ctx, tunnel_ip.as_deref(), host.as_deref())?;
    let overlay = overlay(ctx, tunnel_type.as_deref(), ip, host.as_deref())?;
    let host = host.unwrap_or_default();
    let (moved, ends) = register(ctx, overlay, ip, &host).await?;
    let agents = l2_agent::Client::new(ctx.parts.bus.clone()).to_all();
    // The agent asks again when it is told that this failed; all others ask when they start.
    if let Some(former) = moved {
        agents.tunnel_delete(&ctx.caller, former, overlay).await.map_err(Error::from)?;
    }
    agents.tunnel_update(&ctx.caller, ip, overlay).await.map_err(Error::from)?;
    let tunnel = |end: Row| {
        let ip_address = end.ip_address.parse().ok()?;
        Some(Tunnel { ip_address, udp_port: end.udp_port, host: end.host.unwrap_or_default() })
    };
    Ok(Tunnels { tunnels: ends.into_iter().filter_map(tunnel).collect() })
}

fn overlay(ctx: &Ctx, tunnel_type: Option<&str>, ip: IpAddr, host: Option<&str>) -> Result<NetworkType> {
    let Some(word) = tunnel_type.filter(|word| !word.is_empty()) else {
        return Err(Refusal::invalid_input("Network type value needed by the ML2 plugin").into());
    };
    let overlay = word.parse::<NetworkType>().ok().filter(|overlay| overlay.is_tunnel());
    overlay.filter(|overlay| ctx.config().ml2.type_drivers.contains(overlay)).ok_or_else(|| {
        let host = host.unwrap_or("legacy mode (no host provided by agent)");
        let reason = format!("Network type value {word} not supported, host: {host} with tunnel IP: {ip}");
        Refusal::invalid_input(reason).into()
    })
}

fn address(ctx: &Ctx, tunnel_ip: Option<&str>, host: Option<&str>) -> Result<IpAddr> {
    let Some(text) = tunnel_ip.filter(|text| !text.is_empty()) else {
        return Err(Refusal::invalid_input("Tunnel IP value needed by the ML2 plugin").into());
    };
    let wanted = ctx.config().ml2.overlay_ip_version;
    let ip: Option<IpAddr> = text.parse().ok();
    ip.filter(|ip| ip.is_ipv4() == (wanted == 4)).ok_or_else(|| {
        let host = host.unwrap_or("None");
        let reason = format!(
            "Tunnel IP version does not match ML2 overlay_ip_version: {wanted}, host: {host}, tunnel_ip: {text}"
        );
        Refusal::invalid_input(reason).into()
    })
}

/// Makes `ip` the one end of the host. An end that another host had at this address goes silently; a former end of this
/// host is returned, to be told. All ends are returned as well.
async fn register(ctx: &Ctx, overlay: NetworkType, ip: IpAddr, host: &str) -> Result<(Option<IpAddr>, Vec<Row>)> {
    let mut tx = ctx.db().begin().await?;
    let ends = rows::endpoints(&mut tx, overlay).await?;
    let address = ip.to_string();
    let at_address = ends.iter().find(|end| end.ip_address == address);
    if at_address.is_some_and(|end| end.host.as_deref() == Some(host)) {
        return Ok((None, ends));
    }
    let of_host = ends.iter().find(|end| end.host.as_deref() == Some(host));
    for former in at_address.into_iter().chain(of_host) {
        rows::endpoint_delete(&mut tx, overlay, &former.ip_address).await?;
    }
    let moved = match at_address {
        None => of_host.and_then(|end| end.ip_address.parse().ok()),
        Some(_) => None,
    };
    rows::endpoint_insert(&mut tx, overlay, &address, host, VXLAN_UDP_PORT).await?;
    let ends = rows::endpoints(&mut tx, overlay).await?;
    tx.commit().await?;
    Ok((moved, ends))
}
