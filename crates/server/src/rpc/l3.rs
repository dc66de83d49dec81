//! Routers for L3 agents, and what these say of them.

use std::collections::BTreeMap;

use db::{agent as agent_rows, ha_router, l3_binding, list::ListQuery};
use oslo::context::Context;
use rpc::{
    l3::{Callee, HaState, Router, RouterPort},
    metadata::Filters,
    payload,
};
use serde_json::{Map, Value, json};
use types::{FloatingIpId, NetworkId, PortId, RouterId, SubnetId, agent::kind, network::Network, port::Port};

use super::{Endpoint, RpcError, l3_router, metadata::list_query};
use crate::{
    Error, Result,
    binding::vif_type,
    ipam::owner,
    provisioning,
    resource::{self, Condition, Resource, floatingip, router_port},
    retry::retrying,
    schedule,
};

/// Upstream's names of what is served beside the core.
const SERVICES: [&str; 2] = ["CORE", "L3_ROUTER_NAT"];

impl Callee for Endpoint<'_> {
    type Error = RpcError;

    async fn sync_routers(
        &self,
        _: &Context,
        host: String,
        router_ids: Option<Vec<RouterId>>,
    ) -> Result<Vec<Router>, RpcError> {
        let ids = self.served(&host, router_ids.as_deref()).await?;
        let routers = l3_router::load(self.ctx, &ids, &host).await?;
        if self.bind_ports(&host, &routers).await? {
            return Ok(l3_router::load(self.ctx, &ids, &host).await?);
        }
        Ok(routers)
    }

    async fn get_router_ids(&self, _: &Context, host: String) -> Result<Vec<RouterId>, RpcError> {
        if self.ctx.config().l3.auto_schedule {
            schedule::l3::auto_schedule(self.ctx, &host).await?;
        }
        Ok(self.served(&host, None).await?)
    }

    async fn update_floatingip_statuses(
        &self,
        _: &Context,
        router_id: RouterId,
        fip_statuses: BTreeMap<FloatingIpId, String>,
    ) -> Result<(), RpcError> {
        let said: Vec<(FloatingIpId, String)> = fip_statuses.into_iter().collect();
        Ok(floatingip::set_statuses(self.ctx, router_id, &said).await?)
    }

    async fn get_ports_by_subnet(
        &self,
        _: &Context,
        _host: Option<String>,
        subnet_id: SubnetId,
    ) -> Result<Vec<Map<String, Value>>, RpcError> {
        let mut conn = self.ctx.db().reader().await?;
        let query = ListQuery::default().matching("fixed_ips.subnet_id", subnet_id);
        let ports = resource::find_all::<Port>(self.ctx, &mut conn, &query).await?;
        Ok(ports.into_iter().map(|port| short(payload::Port::new(port, &self.ctx.config().dns_domain))).collect())
    }

    /// There are no distributed routers, which alone need one.
    async fn get_agent_gateway_port(
        &self,
        _: &Context,
        _network_id: NetworkId,
        _host: String,
    ) -> Result<Option<RouterPort>, RpcError> {
        Ok(None)
    }

    async fn delete_agent_gateway_port(
        &self,
        _: &Context,
        host: String,
        network_id: NetworkId,
    ) -> Result<(), RpcError> {
        let query = ListQuery::default()
            .matching("network_id", network_id)
            .matching("device_owner", owner::FLOATING_IP_AGENT_GATEWAY)
            .matching("binding:host_id", host);
        let mut conn = self.ctx.db().reader().await?;
        let ports = resource::find_all::<Port>(self.ctx, &mut conn, &query).await?;
        drop(conn);
        for port in ports {
            let id = port.id.to_string();
            match retrying(|| Port::delete(self.ctx, &id, Condition::default())).await {
                Ok(()) | Err(Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn get_service_plugin_list(&self, _: &Context) -> Result<Vec<String>, RpcError> {
        Ok(SERVICES.map(str::to_owned).to_vec())
    }

    async fn update_all_ha_network_port_statuses(&self, _: &Context, host: String) -> Result<(), RpcError> {
        let mut conn = self.ctx.db().reader().await?;
        let ports = ha_router::active_ports_on_host(&mut conn, &host).await?;
        drop(conn);
        for port in ports {
            retrying(|| provisioning::set_status(self.ctx, port, provisioning::status::DOWN)).await?;
        }
        Ok(())
    }

    async fn get_host_ha_router_count(&self, _: &Context, host: String) -> Result<u64, RpcError> {
        let ids = self.served(&host, None).await?;
        let mut conn = self.ctx.db().reader().await?;
        let query = l3_router::of(&ids).matching("ha", true).matching("admin_state_up", true);
        let count = <types::router::Router as Resource>::LISTING.count(&mut conn, &query).await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn get_networks(
        &self,
        _: &Context,
        filters: Option<Filters>,
        fields: Option<Vec<String>>,
    ) -> Result<Vec<Map<String, Value>>, RpcError> {
        let query = list_query(filters.unwrap_or_default());
        if query.filters.iter().any(|filter| !Network::LISTING.can_filter(&filter.attribute)) {
            return Ok(Vec::new());
        }
        let mut conn = self.ctx.db().reader().await?;
        let networks = resource::find_all::<Network>(self.ctx, &mut conn, &query).await?;
        let shown = |network: &Network| {
            let Value::Object(mut members) = rpc::interface::encode(network) else { return Map::new() };
            if let Some(fields) = fields.as_ref().filter(|fields| !fields.is_empty()) {
                members.retain(|name, _| fields.contains(name));
            }
            members
        };
        Ok(networks.iter().map(shown).collect())
    }

    async fn update_ha_routers_states(
        &self,
        _: &Context,
        host: String,
        states: BTreeMap<RouterId, HaState>,
    ) -> Result<(), RpcError> {
        for (router, state) in states {
            if retrying(|| self.note_state(&host, router, state)).await? && state == HaState::Active {
                self.move_ports(&host, router).await?;
            }
        }
        Ok(())
    }
}

impl Endpoint<'_> {
    /// The routers that the agent on that host serves, of these or of all.
    async fn served(&self, host: &str, among: Option<&[RouterId]>) -> Result<Vec<RouterId>> {
        let mut conn = self.ctx.db().reader().await?;
        let Some(agent) = agent_rows::agent_on_host(&mut conn, kind::L3, host).await? else { return Ok(Vec::new()) };
        if !agent.admin_state_up {
            return Ok(Vec::new());
        }
        let mut ids = l3_binding::routers_of_agent(&mut conn, agent.id).await?;
        // An empty list asks for all, as upstream has it.
        if let Some(among) = among.filter(|among| !among.is_empty()) {
            ids.retain(|id| among.contains(id));
        }
        Ok(ids)
    }

    /// Binds what is not bound, or elsewhere; true when something was.
    ///
    /// Ports of an HA router are bound where it is active, once; they move when another instance becomes active.
    async fn bind_ports(&self, host: &str, routers: &[Router]) -> Result<bool> {
        let mut bound = false;
        for router in routers {
            let mut target = Some(host.to_owned());
            let ports: Vec<&RouterPort> = router.gw_port.iter().chain(&router.interfaces).collect();
            let due: Vec<&RouterPort> = ports
                .into_iter()
                .filter(|port| if router.ha { port.host.is_empty() } else { is_elsewhere(port, host) })
                .collect();
            if router.ha && !due.is_empty() {
                target = retrying(|| self.active_host(router.id)).await?;
            }
            for port in due {
                if let Some(target) = &target {
                    bound |= self.bind_port(port.id, target).await?;
                }
            }
            if let Some(port) = router.ha_interface.as_ref().filter(|port| is_elsewhere(port, host)) {
                bound |= self.bind_port(port.id, host).await?;
            }
        }
        Ok(bound)
    }

    async fn active_host(&self, router: RouterId) -> Result<Option<String>> {
        let mut tx = self.ctx.db().begin().await?;
        let host = resource::router::ha::active_host(self.ctx, &mut tx, router).await?;
        tx.commit().await?;
        Ok(host)
    }

    /// Binds a port to a host; false when it is gone.
    async fn bind_port(&self, port: PortId, host: &str) -> Result<bool> {
        match retrying(|| Box::pin(resource::port::bind_to(self.ctx, port, host))).await {
            Ok(()) => Ok(true),
            Err(Error::Refused(refusal)) => {
                tracing::debug!(%port, "not bound to {host}: {refusal}");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what an instance says of itself; false when the host has none.
    async fn note_state(&self, host: &str, router: RouterId, state: HaState) -> Result<bool> {
        let mut tx = self.ctx.db().begin().await?;
        let instances = ha_router::instances(&mut tx, &[router]).await?;
        let own = instances.iter().find(|instance| instance.host.as_deref() == Some(host));
        let Some(agent) = own.and_then(|instance| instance.agent_id) else { return Ok(false) };
        ha_router::state_set(&mut tx, router, agent, state.as_str()).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The router's ports follow the instance that became active.
    async fn move_ports(&self, host: &str, router: RouterId) -> Result<()> {
        let mut conn = self.ctx.db().reader().await?;
        let ports = db::router::router_ports(&mut conn, &[router]).await?;
        drop(conn);
        for port in ports.iter().filter(|port| port.port_type != router_port::HA_INTERFACE) {
            self.bind_port(port.port_id, host).await?;
        }
        Ok(())
    }
}

fn is_elsewhere(port: &RouterPort, host: &str) -> bool {
    let vif = port.rest.get("binding:vif_type").and_then(Value::as_str).unwrap_or_default();
    port.host != host || matches!(vif, vif_type::UNBOUND | vif_type::BINDING_FAILED)
}

/// A port without what says where it is plugged.
fn short(port: payload::Port) -> Map<String, Value> {
    let Value::Object(mut members) = json!(port) else { return Map::new() };
    members.retain(|name, _| !name.starts_with("binding:"));
    members
}
