//! The outside of a router: a port on an external network.

use std::sync::Arc;

use db::{Tx, floatingip as floatingip_rows, router as rows};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use types::{
    NetworkId,
    network::Network,
    port::{FixedIp, Port},
    router::{Gateway, Router},
};

use super::{refuse_overlap, route, subnets_by, vanished};
use crate::{
    Ctx, Refusal, Result,
    event::Event,
    ipam::{FixedIpRequest, owner},
    resource::{find, find_any, port, router_port, subnet::Subnet},
};

/// What a request says of the outside; without a network there shall be none.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// The external network.
    pub(super) network_id: Option<NetworkId>,
    #[serde(default)]
    external_fixed_ips: Vec<FixedIpRequest>,
    enable_snat: Option<bool>,
    qos_policy_id: Option<String>,
}

impl Wanted {
    /// Reads `external_gateway_info`, which has been checked.
    pub(super) fn given(info: &Value) -> Result<Self> {
        match info {
            Value::Object(members) if !members.is_empty() => serde_json::from_value(info.clone())
                .map_err(|_| Refusal::invalid_input("external_gateway_info is not understood").into()),
            _ => Ok(Self::default()),
        }
    }
}

/// Gives the router the outside that is wanted. The router's own row is left to be written by the caller.
pub(super) async fn set(
    ctx: &Ctx,
    tx: &mut Tx,
    router: &mut Router,
    wanted: &Wanted,
    events: &mut Vec<Event>,
) -> Result<()> {
    if let Some(policy) = &wanted.qos_policy_id {
        let message = format!("QoS policy {policy} could not be found.");
        return Err(Refusal::new(axum::http::StatusCode::NOT_FOUND, "QosPolicyNotFound", message).into());
    }
    let subnets = match wanted.network_id {
        Some(network) => external_subnets(ctx, tx, network, &wanted.external_fixed_ips).await?,
        None => Vec::new(),
    };
    route::check_with_gateway(ctx, tx, router, &subnets).await?;
    router.enable_snat = wanted.enable_snat.unwrap_or(ctx.config().l3.enable_snat_by_default);
    let current = router.external_gateway_info.as_ref().map(|gateway| gateway.network_id);
    match wanted.network_id {
        Some(network) if current == Some(network) => move_addresses(ctx, tx, router, wanted, events).await?,
        Some(network) => {
            clear(ctx, tx, router, events).await?;
            attach(ctx, tx, router, network, &subnets, wanted, events).await?;
        }
        None => clear(ctx, tx, router, events).await?,
    }
    if let Some(gateway) = &mut router.external_gateway_info {
        gateway.enable_snat = router.enable_snat;
    }
    Ok(())
}

/// The subnets of a network that a gateway with these addresses may be on.
async fn external_subnets(
    ctx: &Ctx,
    tx: &mut Tx,
    network: NetworkId,
    addresses: &[FixedIpRequest],
) -> Result<Vec<Subnet>> {
    let network: Network = find(ctx, tx, &network.to_string()).await?;
    if !network.router_external {
        let reason = format!("Network {} is not an external network", network.id);
        return Err(Refusal::bad_request_of("router", reason).into());
    }
    let subnets = subnets_by(ctx, tx, "network_id", vec![network.id.into()]).await?;
    let asked = addresses.iter().filter_map(|ip| ip.ip_address);
    match asked.into_iter().find(|ip| subnets.iter().any(|subnet| subnet.gateway_ip == Some(*ip))) {
        Some(ip) => {
            let reason = format!("External IP {ip} is the same as the gateway IP");
            Err(Refusal::bad_request_of("router", reason).into())
        }
        None => Ok(subnets),
    }
}

/// Takes the outside from the router.
pub(super) async fn clear(ctx: &Ctx, tx: &mut Tx, router: &mut Router, events: &mut Vec<Event>) -> Result<()> {
    let (Some(port), Some(gateway)) = (router.gw_port_id, router.external_gateway_info.take()) else {
        return Ok(());
    };
    if floatingip_rows::router_has_floatingips(tx, router.id).await? {
        let message = format!(
            "Gateway cannot be updated for router {}, since a gateway to external network {} is required by one or \
             more floating IPs.",
            router.id, gateway.network_id
        );
        return Err(Refusal::conflict("RouterExternalGatewayInUseByFloatingIp", message).into());
    }
    router.gw_port_id = None;
    rows::router_update(tx, router).await?;
    let port: Port = find_any(ctx, tx, &port.to_string()).await?;
    events.extend(port::remove_all(ctx, tx, vec![port]).await?);
    Ok(())
}

async fn attach(
    ctx: &Ctx,
    tx: &mut Tx,
    router: &mut Router,
    network: NetworkId,
    subnets: &[Subnet],
    wanted: &Wanted,
    events: &mut Vec<Event>,
) -> Result<()> {
    let ports = rows::router_ports(tx, &[router.id]).await?;
    refuse_overlap(ctx, tx, &ports, subnets).await?;
    let mut body = json!({
        "project_id": "",
        "network_id": network,
        "device_id": router.id,
        "device_owner": owner::ROUTER_GATEWAY,
    });
    if !wanted.external_fixed_ips.is_empty() {
        body["fixed_ips"] = requests(&wanted.external_fixed_ips);
    }
    let port = router_port::insert(ctx, tx, body).await?;
    rows::router_port_insert(tx, router.id, port.id, owner::ROUTER_GATEWAY).await?;
    router.gw_port_id = Some(port.id);
    router.external_gateway_info = Some(Gateway {
        network_id: network,
        external_fixed_ips: port.fixed_ips.clone(),
        enable_snat: router.enable_snat,
    });
    events.push(Event::PortCreated(Arc::new(port)));
    Ok(())
}

/// Changes the addresses of the gateway, if the request names others than it has.
async fn move_addresses(
    ctx: &Ctx,
    tx: &mut Tx,
    router: &mut Router,
    wanted: &Wanted,
    events: &mut Vec<Event>,
) -> Result<()> {
    let (Some(port), Some(gateway)) = (router.gw_port_id, &mut router.external_gateway_info) else {
        return Ok(());
    };
    if !differ(&gateway.external_fixed_ips, &wanted.external_fixed_ips) {
        return Ok(());
    }
    let before: Port = find_any(ctx, tx, &port.to_string()).await?;
    let after = readdress(ctx, tx, &before, requests(&wanted.external_fixed_ips)).await?;
    gateway.external_fixed_ips.clone_from(&after.fixed_ips);
    events.push(Event::PortUpdated { before: Arc::new(before), after: Arc::new(after) });
    Ok(())
}

async fn readdress(ctx: &Ctx, tx: &mut Tx, before: &Port, fixed_ips: Value) -> Result<Port> {
    let body = Map::from_iter([("fixed_ips".to_owned(), fixed_ips)]);
    router_port::change(ctx, tx, before, body).await
}

/// Whether other subnets or other addresses are asked for than there are.
fn differ(current: &[FixedIp], wanted: &[FixedIpRequest]) -> bool {
    if wanted.is_empty() {
        return false;
    }
    let sorted = |mut list: Vec<String>| {
        list.sort_unstable();
        list.dedup();
        list
    };
    let subnets = sorted(current.iter().map(|ip| ip.subnet_id.to_string()).collect());
    let wanted_subnets = sorted(wanted.iter().filter_map(|ip| ip.subnet_id).map(|id| id.to_string()).collect());
    let addresses = sorted(current.iter().map(|ip| ip.ip_address.to_string()).collect());
    let wanted_addresses = sorted(wanted.iter().filter_map(|ip| ip.ip_address).map(|ip| ip.to_string()).collect());
    subnets != wanted_subnets || addresses != wanted_addresses
}

fn requests(ips: &[FixedIpRequest]) -> Value {
    let request = |ip: &FixedIpRequest| {
        let mut members = Map::new();
        members.extend(ip.subnet_id.map(|id| ("subnet_id".to_owned(), id.to_string().into())));
        members.extend(ip.ip_address.map(|ip| ("ip_address".to_owned(), ip.to_string().into())));
        Value::Object(members)
    };
    ips.iter().map(request).collect()
}

/// A subnet is new on an external network: gateways there without an address of its IP version get one.
pub async fn reach(ctx: &Ctx, tx: &mut Tx, subnet: &Subnet) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    if !subnet.router_external {
        return Ok(events);
    }
    for id in rows::routers_with_gateway_on(tx, subnet.network_id).await? {
        let Some(key) = rows::router_lock(tx, id).await? else { continue };
        let ports = rows::router_ports(tx, &[id]).await?;
        let Some(gateway) = ports.iter().find(|port| port.port_type == owner::ROUTER_GATEWAY) else { continue };
        let of_version = |ip: &FixedIp| ip.ip_address.is_ipv4() == (subnet.ip_version == 4);
        if gateway.fixed_ips.len() > 1 || gateway.fixed_ips.iter().any(of_version) {
            continue;
        }
        let before: Port = find_any(ctx, tx, &gateway.port_id.to_string()).await.map_err(|_| vanished("a gateway"))?;
        let mut wanted: Vec<Value> = before.fixed_ips.iter().map(|ip| json!(ip)).collect();
        if wanted.iter().any(|ip| ip["subnet_id"] == json!(subnet.id)) {
            continue;
        }
        wanted.push(json!({"subnet_id": subnet.id}));
        let after = readdress(ctx, tx, &before, wanted.into()).await?;
        db::standard::standard_touch_ids(tx, &[key]).await?;
        events.push(Event::PortUpdated { before: Arc::new(before), after: Arc::new(after) });
    }
    Ok(events)
}
