//! Networks for DHCP agents, and the ports by which they serve them.

use std::collections::HashMap;

use db::{DbError, agent as agent_rows, dhcp_binding, list::ListQuery};
use oslo::context::Context;
use rpc::{
    dhcp::{Body, Callee, FixedIpRequest, NetworkInfo, PortCreate, PortUpdate, RESERVED_DEVICE_ID},
    metadata::Filters,
    payload,
};
use serde_json::{Map, Value, json};
use types::{
    NetworkId, PortId,
    agent::kind,
    attribute::{Attributes, table::PORT},
    device::dhcp_device_id,
    network::Network,
    port::Port,
    subnet::Subnet,
};

use super::{Endpoint, RpcError, metadata::list_query};
use crate::{
    Error, Refusal, Result,
    provisioning::{self, Entity},
    resource::{self, Condition, Resource},
    retry::retrying,
    schedule,
};

/// Owner of DHCP ports.
const DHCP_OWNER: &str = "network:dhcp";
/// Networks loaded together.
const CHUNK: usize = 500;

impl Callee for Endpoint<'_> {
    type Error = RpcError;

    async fn get_active_networks_info(
        &self,
        _: &Context,
        host: String,
        enable_dhcp_filter: Option<bool>,
    ) -> Result<Vec<NetworkInfo>, RpcError> {
        if self.ctx.config().network_auto_schedule {
            schedule::dhcp::auto_schedule(self.ctx, &host).await?;
        }
        let mut conn = self.ctx.db().reader().await?;
        let networks = match agent_rows::agent_on_host(&mut conn, kind::DHCP, &host).await? {
            Some(agent) if agent.admin_state_up => dhcp_binding::networks_of_agent(&mut conn, agent.id, true).await?,
            _ => Vec::new(),
        };
        drop(conn);
        Ok(self.infos(&networks, enable_dhcp_filter.unwrap_or(true)).await?)
    }

    async fn get_network_info(
        &self,
        _: &Context,
        network_id: NetworkId,
        _host: Option<String>,
    ) -> Result<Option<NetworkInfo>, RpcError> {
        Ok(self.infos(&[network_id], true).await?.pop())
    }

    async fn create_dhcp_port(
        &self,
        _: &Context,
        port: Body<PortCreate>,
        host: String,
    ) -> Result<Option<payload::Port>, RpcError> {
        let wanted = port.port;
        let mut body = Map::new();
        body.insert("name".into(), json!(wanted.name));
        body.insert("admin_state_up".into(), json!(wanted.admin_state_up));
        body.insert("device_id".into(), json!(wanted.device_id));
        body.insert("device_owner".into(), json!(DHCP_OWNER));
        body.insert("network_id".into(), json!(wanted.network_id));
        body.insert("project_id".into(), json!(wanted.project_id));
        body.insert("binding:host_id".into(), json!(host));
        body.insert("fixed_ips".into(), json!(wanted.fixed_ips));
        if let Some(mac) = wanted.mac_address {
            body.insert("mac_address".into(), json!(mac));
        }
        let created = match Attributes::for_create(&PORT, body) {
            Ok(given) => resource::port::create_unmetered(self.ctx, given).await,
            Err(error) => Err(error.into()),
        };
        self.unless_vanished(created.map(Some), wanted.fixed_ips.first()).await
    }

    async fn update_dhcp_port(
        &self,
        _: &Context,
        port_id: PortId,
        port: Body<PortUpdate>,
        host: String,
    ) -> Result<Option<payload::Port>, RpcError> {
        let wanted = port.port;
        let Some(current) = self.found(port_id).await? else { return Ok(None) };
        let own = dhcp_device_id(&host, wanted.network_id);
        if current.device_id != RESERVED_DEVICE_ID && current.device_id != own {
            return Ok(None);
        }
        if !self.serves(&host, wanted.network_id).await? {
            tracing::warn!(host, network = %wanted.network_id, "a DHCP agent wants a port on a network it does not serve");
            return Err(Refusal::not_found("Network", wanted.network_id).into());
        }
        let mut body = Map::new();
        body.insert("device_owner".into(), json!(DHCP_OWNER));
        body.insert("binding:host_id".into(), json!(host));
        if let Some(fixed_ips) = &wanted.fixed_ips {
            body.insert("fixed_ips".into(), json!(fixed_ips));
        }
        if let Some(device_id) = &wanted.device_id {
            body.insert("device_id".into(), json!(device_id));
        }
        let updated = match Attributes::for_update(&PORT, body) {
            Ok(given) => Port::update(self.ctx, &port_id.to_string(), given, Condition::default()).await,
            Err(error) => Err(error.into()),
        };
        let first = wanted.fixed_ips.as_ref().and_then(|ips| ips.first());
        self.unless_vanished(updated.map(Some), first).await
    }

    async fn get_dhcp_port(&self, _: &Context, port_id: PortId) -> Result<Option<payload::Port>, RpcError> {
        let port = self.found(port_id).await?;
        Ok(port.map(|port| payload::Port::new(port, &self.ctx.config().dns_domain)))
    }

    async fn release_dhcp_port(
        &self,
        _: &Context,
        network_id: NetworkId,
        device_id: String,
        _host: Option<String>,
    ) -> Result<(), RpcError> {
        let query = ListQuery::default().matching("network_id", network_id).matching("device_id", device_id);
        let mut conn = self.ctx.db().reader().await?;
        let ports = resource::find_all::<Port>(self.ctx, &mut conn, &query).await?;
        drop(conn);
        for port in ports {
            match Port::delete(self.ctx, &port.id.to_string(), Condition::default()).await {
                Ok(()) => {}
                Err(Error::Refused(refusal)) if refusal.kind == "PortNotFound" => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn dhcp_ready_on_ports(&self, _: &Context, port_ids: Vec<PortId>) -> Result<(), RpcError> {
        for port in port_ids {
            retrying(|| provisioning::release(self.ctx, port, Entity::Dhcp)).await?;
        }
        Ok(())
    }

    async fn get_networks(
        &self,
        _: &Context,
        filters: Option<Filters>,
        fields: Option<Vec<String>>,
    ) -> Result<Vec<Map<String, Value>>, RpcError> {
        let query = list_query(filters.unwrap_or_default());
        let mut conn = self.ctx.db().reader().await?;
        let networks = resource::find_all::<Network>(self.ctx, &mut conn, &query).await?;
        let fields = fields.unwrap_or_default();
        let project = |network: &Network| match rpc::interface::encode(&payload::Network::from(network)) {
            Value::Object(mut map) => {
                map.retain(|key, _| fields.is_empty() || fields.contains(key));
                map
            }
            _ => Map::new(),
        };
        Ok(networks.iter().map(project).collect())
    }
}

impl Endpoint<'_> {
    async fn found(&self, port: PortId) -> Result<Option<Port>> {
        let mut conn = self.ctx.db().reader().await?;
        let query = ListQuery::by_id(&port.to_string());
        Ok(resource::find_all::<Port>(self.ctx, &mut conn, &query).await?.pop())
    }

    async fn serves(&self, host: &str, network: NetworkId) -> Result<bool> {
        let mut conn = self.ctx.db().reader().await?;
        let agents = dhcp_binding::agents_of_network(&mut conn, network).await?;
        Ok(agents.iter().any(|agent| agent.host == host))
    }

    /// Networks with their subnets and ports, by id, in a number of queries that does not depend on how many there are.
    async fn infos(&self, networks: &[NetworkId], dhcp_only: bool) -> Result<Vec<NetworkInfo>> {
        let mut infos = Vec::with_capacity(networks.len());
        for chunk in networks.chunks(CHUNK) {
            let ids = || chunk.iter().map(Into::into).collect();
            let mut conn = self.ctx.db().reader().await?;
            let query = ListQuery::default().matching_any("id", ids());
            let found = resource::find_all::<Network>(self.ctx, &mut conn, &query).await?;
            let on = ListQuery::default().matching_any("network_id", ids());
            let subnets = resource::find_all::<Subnet>(self.ctx, &mut conn, &on).await?;
            let ports = resource::find_all::<Port>(self.ctx, &mut conn, &on).await?;
            drop(conn);
            infos.extend(self.assemble(found, subnets, ports, dhcp_only));
        }
        Ok(infos)
    }

    /// Subnets come by id, since agents number them by their position.
    fn assemble(
        &self,
        networks: Vec<Network>,
        subnets: Vec<Subnet>,
        ports: Vec<Port>,
        dhcp_only: bool,
    ) -> impl Iterator<Item = NetworkInfo> {
        let mut subnets_of: HashMap<NetworkId, Vec<payload::Subnet>> = HashMap::new();
        for subnet in subnets.into_iter().filter(|subnet| subnet.enable_dhcp || !dhcp_only) {
            subnets_of.entry(subnet.network_id).or_default().push(subnet.into());
        }
        let mut ports_of: HashMap<NetworkId, Vec<payload::Port>> = HashMap::new();
        for port in ports {
            let on = ports_of.entry(port.network_id).or_default();
            on.push(payload::Port::new(port, &self.ctx.config().dns_domain));
        }
        networks.into_iter().map(move |network| {
            let mut subnets = subnets_of.remove(&network.id).unwrap_or_default();
            subnets.sort_by_key(|subnet| subnet.id);
            NetworkInfo {
                id: network.id,
                project_id: network.project_id,
                admin_state_up: network.admin_state_up,
                mtu: network.mtu,
                subnets,
                non_local_subnets: Vec::new(),
                ports: ports_of.remove(&network.id).unwrap_or_default(),
            }
        })
    }

    /// That the network or the subnet vanished meanwhile is an ordinary answer: none.
    async fn unless_vanished(
        &self,
        result: Result<Option<Port>>,
        first: Option<&FixedIpRequest>,
    ) -> Result<Option<payload::Port>, RpcError> {
        let error = match result {
            Ok(port) => return Ok(port.map(|port| payload::Port::new(port, &self.ctx.config().dns_domain))),
            Err(error) => error,
        };
        let vanished = match &error {
            Error::Db(DbError::ForeignKey { .. }) => true,
            Error::Refused(refusal) => match refusal.kind.as_str() {
                "NetworkNotFound" | "SubnetNotFound" | "InvalidInput" | "PortNotFound" => true,
                "IpAddressGenerationFailure" => match first.and_then(|first| first.subnet_id) {
                    Some(subnet) => {
                        let mut conn = self.ctx.db().reader().await?;
                        !db::ipam::subnet_exists(&mut conn, subnet).await?
                    }
                    None => false,
                },
                _ => false,
            },
            _ => false,
        };
        if !vanished {
            return Err(error.into());
        }
        tracing::warn!(%error, "a DHCP port was not made or changed");
        Ok(None)
    }
}
