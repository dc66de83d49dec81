//! Routers as L3 agents see them: with their ports, the subnets of these, and the floating IPs they carry.
//!
//! However many routers are asked for, the number of queries is the same.

use std::collections::HashMap;

use db::{
    Conn, agent::Agent, ha_router, ha_router::Instance, l3_binding, list::ListQuery, router as rows, router::RouterPort,
};
use rpc::{
    l3::{self, AddressScopes, GatewayInfo, HaState, PrefixedIp, RouterSubnet},
    payload,
};
use serde_json::{Map, Value, json};
use types::{
    NetworkId, PortId, RouterId, SubnetId, floatingip::FloatingIp, network::Network, port::Port, router::Router,
    subnet::Subnet,
};

use crate::{Ctx, Result, ipam::owner, resource};

/// Routers loaded together.
const CHUNK: usize = 250;

/// What stands behind the routers that are asked for, loaded once for all of them.
struct World {
    attached: Vec<RouterPort>,
    ports: HashMap<PortId, Port>,
    subnets: HashMap<NetworkId, Vec<Subnet>>,
    scopes: HashMap<SubnetId, String>,
    mtus: HashMap<NetworkId, u32>,
    floatingips: HashMap<RouterId, Vec<FloatingIp>>,
    agents: HashMap<RouterId, Vec<Agent>>,
    instances: Vec<Instance>,
    dns_domain: String,
}

/// The routers of a list.
pub(super) fn of(ids: &[RouterId]) -> ListQuery {
    ListQuery::default().matching_any("id", ids.iter().map(Into::into).collect())
}

/// These routers, as far as they are enabled, as the agent on that host serves them.
pub(super) async fn load(ctx: &Ctx, ids: &[RouterId], host: &str) -> Result<Vec<l3::Router>> {
    let mut conn = ctx.db().reader().await?;
    let mut out = Vec::with_capacity(ids.len());
    for some in ids.chunks(CHUNK) {
        let query = of(some).matching("admin_state_up", true);
        let routers: Vec<Router> = resource::find_all(ctx, &mut conn, &query).await?;
        let world = World::load(ctx, &mut conn, &routers).await?;
        out.extend(routers.into_iter().filter_map(|router| world.seen(router, host)));
    }
    Ok(out)
}

impl World {
    async fn load(ctx: &Ctx, conn: &mut Conn, routers: &[Router]) -> Result<Self> {
        let ids: Vec<RouterId> = routers.iter().map(|router| router.id).collect();
        let mut attached = rows::router_ports(conn, &ids).await?;
        let known: Vec<PortId> = attached.iter().map(|port| port.port_id).collect();
        for (router, port) in routers.iter().filter_map(|router| Some((router, router.gw_port_id?))) {
            // A gateway of before the table of routers' ports.
            if let Some(gateway) = router.external_gateway_info.as_ref().filter(|_| !known.contains(&port)) {
                attached.push(RouterPort {
                    router_id: router.id,
                    port_id: port,
                    network_id: gateway.network_id,
                    port_type: owner::ROUTER_GATEWAY.to_owned(),
                    fixed_ips: gateway.external_fixed_ips.clone(),
                });
            }
        }
        let ports: Vec<Port> = all(ctx, conn, "id", attached.iter().map(|p| p.port_id.into()).collect()).await?;
        let mut networks: Vec<NetworkId> = attached.iter().map(|port| port.network_id).collect();
        networks.sort_unstable();
        networks.dedup();
        let values = || networks.iter().map(Into::into).collect::<Vec<db::Value>>();
        let mut subnets: HashMap<NetworkId, Vec<Subnet>> = HashMap::new();
        for subnet in all::<Subnet>(ctx, conn, "network_id", values()).await? {
            subnets.entry(subnet.network_id).or_default().push(subnet);
        }
        let mtus = all::<Network>(ctx, conn, "id", values()).await?;
        let carried = all::<FloatingIp>(ctx, conn, "router_id", ids.iter().map(Into::into).collect()).await?;
        let mut floatingips: HashMap<RouterId, Vec<FloatingIp>> = HashMap::new();
        for floatingip in carried {
            if let Some(router) = floatingip.router_id {
                floatingips.entry(router).or_default().push(floatingip);
            }
        }
        Ok(Self {
            scopes: db::subnet::address_scopes_on(conn, &networks).await?,
            agents: l3_binding::agents_of_routers(conn, &ids).await?,
            instances: ha_router::instances(conn, &ids).await?,
            ports: ports.into_iter().map(|port| (port.id, port)).collect(),
            mtus: mtus.into_iter().map(|network| (network.id, network.mtu)).collect(),
            dns_domain: ctx.config().dns_domain.clone(),
            attached,
            subnets,
            floatingips,
        })
    }

    /// The router as the agent on that host serves it. An HA router that has no instance there is not to be seen.
    fn seen(&self, router: Router, host: &str) -> Option<l3::Router> {
        let own = self.instances.iter().find(|i| i.router_id == router.id && i.host.as_deref() == Some(host));
        let ha_interface = own.and_then(|instance| self.port(instance.port_id));
        if router.ha && ha_interface.is_none() {
            tracing::debug!(router = %router.id, "{host} has no instance of this router");
            return None;
        }
        let ports = |wanted: &dyn Fn(&str) -> bool| -> Vec<l3::RouterPort> {
            let attached = self.attached.iter().filter(|port| port.router_id == router.id && wanted(&port.port_type));
            attached.filter_map(|port| self.port(port.port_id)).collect()
        };
        let gw_port = router.gw_port_id.and_then(|port| self.port(port));
        let gateway = router.external_gateway_info.as_ref().map(|gateway| GatewayInfo {
            network_id: gateway.network_id,
            external_fixed_ips: gateway.external_fixed_ips.clone(),
            enable_snat: gateway.enable_snat,
            qos_policy_id: None,
        });
        let rest = rest_of(&router);
        Some(l3::Router {
            id: router.id,
            gw_port_host: gw_port.is_some().then(|| self.gateway_host(&router)).flatten(),
            gw_port,
            interfaces: ports(&|kind| kind == owner::ROUTER_INTERFACE || kind == owner::HA_REPLICATED_INTERFACE),
            snat_interfaces: Vec::new(),
            floating_ip_agent_interfaces: Vec::new(),
            floating_ips: self.floatingips.get(&router.id).into_iter().flatten().map(|f| self.floatingip(f)).collect(),
            ha_state: own.map(|instance| state(&instance.state)),
            ha_interface,
            ha_vr_id: router.ha_vr_id.unwrap_or_default(),
            priority: None,
            external_gateway_info: gateway,
            gw_port_id: router.gw_port_id,
            enable_snat: router.enable_snat,
            name: router.name,
            project_id: router.project_id,
            tenant_id: router.tenant_id,
            admin_state_up: router.admin_state_up,
            status: router.status,
            ha: router.ha,
            distributed: router.distributed,
            routes: router.routes,
            enable_default_route_ecmp: false,
            enable_default_route_bfd: false,
            enable_ndp_proxy: false,
            availability_zones: router.availability_zones,
            availability_zone_hints: router.availability_zone_hints,
            conntrack_helpers: Vec::new(),
            port_forwardings_fip_set: Vec::new(),
            fip_managed_by_port_forwardings: Vec::new(),
            revision_number: router.standard.revision_number,
            rest,
        })
    }

    /// Where what enters by the gateway is routed: at the only agent, or at the instance that is active.
    fn gateway_host(&self, router: &Router) -> Option<String> {
        if router.ha {
            let active = |i: &&Instance| i.router_id == router.id && i.state == HaState::Active.as_str();
            return self.instances.iter().find(active).and_then(|instance| instance.host.clone());
        }
        self.agents.get(&router.id).and_then(|agents| agents.first()).map(|agent| agent.host.clone())
    }

    fn port(&self, id: PortId) -> Option<l3::RouterPort> {
        let port = self.ports.get(&id)?;
        let mut seen = l3::RouterPort::new(&payload::Port::new(port.clone(), &self.dns_domain));
        let subnets = self.subnets.get(&port.network_id).map(Vec::as_slice).unwrap_or_default();
        let on = |subnet: &&Subnet| port.fixed_ips.iter().any(|ip| ip.subnet_id == subnet.id);
        seen.fixed_ips = port
            .fixed_ips
            .iter()
            .filter_map(|ip| {
                let subnet = subnets.iter().find(|subnet| subnet.id == ip.subnet_id)?;
                let prefixlen = subnet.cidr.prefix_len();
                Some(PrefixedIp { subnet_id: ip.subnet_id, ip_address: ip.ip_address, prefixlen })
            })
            .collect();
        seen.subnets = subnets.iter().filter(on).map(router_subnet).collect();
        let is_outside = port.device_owner == owner::ROUTER_GATEWAY;
        let segment = subnets.iter().find(on).and_then(|subnet| subnet.segment_id);
        // Of a routed network the gateway is on one segment only.
        let beside = |subnet: &&Subnet| !on(subnet) && (!is_outside || subnet.segment_id == segment);
        seen.extra_subnets = subnets.iter().filter(beside).map(router_subnet).collect();
        seen.address_scopes = self.scopes_of(subnets);
        seen.mtu = self.mtus.get(&port.network_id).copied();
        Some(seen)
    }

    fn scopes_of(&self, subnets: &[Subnet]) -> AddressScopes {
        let of = |version: u8| {
            let scoped = subnets.iter().filter(|subnet| subnet.ip_version == version);
            scoped.filter_map(|subnet| self.scopes.get(&subnet.id)).next_back().cloned()
        };
        AddressScopes { ipv4: of(4), ipv6: of(6) }
    }

    fn floatingip(&self, floatingip: &FloatingIp) -> l3::FloatingIp {
        let mut rest = members(floatingip);
        for named in
            ["id", "floating_ip_address", "floating_network_id", "router_id", "port_id", "fixed_ip_address", "status"]
        {
            rest.remove(named);
        }
        rest.insert("standard_attr_id".to_owned(), floatingip.standard.standard_attr_id.into());
        rest.insert("qos_network_policy_id".to_owned(), Value::Null);
        rest.insert("port_forwardings".to_owned(), json!([]));
        l3::FloatingIp {
            id: floatingip.id,
            floating_ip_address: floatingip.floating_ip_address,
            floating_network_id: floatingip.floating_network_id,
            router_id: floatingip.router_id,
            port_id: floatingip.port_id,
            fixed_ip_address: floatingip.fixed_ip_address,
            fixed_ip_address_scope: self.scope_inside(floatingip),
            status: floatingip.status.clone(),
            qos_policy_id: None,
            host: None,
            dest_host: None,
            dvr_snat_bound: false,
            rest,
        }
    }

    /// The address scope of the subnet that the address inside is from: one that the router is on.
    fn scope_inside(&self, floatingip: &FloatingIp) -> Option<String> {
        let network = floatingip.port_details.as_ref()?.network_id;
        let address = floatingip.fixed_ip_address?;
        let subnets = self.subnets.get(&network)?;
        let subnet = subnets.iter().find(|subnet| subnet.cidr.contains(&address))?;
        self.scopes.get(&subnet.id).cloned()
    }
}

async fn all<R: resource::Resource>(
    ctx: &Ctx,
    conn: &mut Conn,
    attribute: &str,
    values: Vec<db::Value>,
) -> Result<Vec<R>> {
    if values.is_empty() {
        return Ok(Vec::new());
    }
    resource::find_all(ctx, conn, &ListQuery::default().matching_any(attribute, values)).await
}

fn router_subnet(subnet: &Subnet) -> RouterSubnet {
    RouterSubnet {
        id: subnet.id,
        cidr: subnet.cidr,
        gateway_ip: subnet.gateway_ip,
        dns_nameservers: subnet.dns_nameservers.clone(),
        ipv6_ra_mode: subnet.ipv6_ra_mode,
        subnetpool_id: subnet.subnetpool_id,
    }
}

fn state(text: &str) -> HaState {
    [HaState::Active, HaState::Standby].into_iter().find(|state| state.as_str() == text).unwrap_or(HaState::Unknown)
}

/// What REST shows of a router beside what is typed here.
fn rest_of(router: &Router) -> Map<String, Value> {
    let mut rest = Map::new();
    let shown = members(router);
    for name in ["description", "flavor_id", "created_at", "updated_at", "tags"] {
        rest.insert(name.to_owned(), shown.get(name).cloned().unwrap_or_default());
    }
    rest
}

fn members(value: &impl serde::Serialize) -> Map<String, Value> {
    match rpc::interface::encode(value) {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
