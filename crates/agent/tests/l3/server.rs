//! A server that knows just enough: routers, which host serves them, and what became of their floating IPs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use oslo::{
    context::Context,
    messaging::{Bus, Failure, Incoming},
};
use parking_lot::Mutex;
use rpc::{
    l3::{self, FloatingIp, HaState, Router, RouterPort},
    l3_agent::{self, RouterHint, RouterRemoved},
    metadata::Filters,
    reports::{self, AgentState, Report, Status},
};
use serde_json::{Map, Value, json};
use types::{FloatingIpId, Mac, NetworkId, PortId, RouterId, SubnetId};

pub struct Server {
    pub bus: Bus,
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub struct Inner {
    pub routers: BTreeMap<RouterId, Router>,
    /// The hosts of each router.
    pub hosts: BTreeMap<RouterId, BTreeSet<String>>,
    pub statuses: BTreeMap<FloatingIpId, String>,
    pub calls: Vec<String>,
    pub reports: Vec<AgentState>,
    pub ha_states: BTreeMap<(String, RouterId), HaState>,
    /// The port of each host of an HA router.
    pub ha_ports: BTreeMap<(String, RouterId), RouterPort>,
    /// Calls of these methods fail.
    pub failing: BTreeSet<String>,
}

/// A subnet of a test: prefix and gateway, and what is advertised on it.
pub fn subnet(cidr: &str, gateway: Option<&str>, more: Value) -> Value {
    let mut subnet = json!({"id": SubnetId::random(), "cidr": cidr, "gateway_ip": gateway, "dns_nameservers": []});
    for (key, value) in more.as_object().into_iter().flatten() {
        subnet[key] = value.clone();
    }
    subnet
}

/// A port of a router with these addresses, each of the subnet beside it.
pub fn port(network: NetworkId, owner: &str, addresses: &[(&str, Value)]) -> RouterPort {
    let id = PortId::random();
    let bytes = id.to_string().into_bytes();
    let mac = Mac([0xfa, 0x16, 0x3e, bytes[0], bytes[1], bytes[2]]);
    let fixed: Vec<Value> = addresses
        .iter()
        .map(|(address, subnet)| {
            let prefix: IpNet = subnet["cidr"].as_str().unwrap().parse().unwrap();
            json!({"subnet_id": subnet["id"], "ip_address": address, "prefixlen": prefix.prefix_len()})
        })
        .collect();
    let subnets: Vec<&Value> = addresses.iter().map(|(_, subnet)| subnet).collect();
    serde_json::from_value(json!({
        "id": id, "network_id": network, "mac_address": mac, "device_owner": owner, "admin_state_up": true,
        "fixed_ips": fixed, "subnets": subnets, "extra_subnets": [], "address_scopes": {"4": null, "6": null},
        "mtu": 1450,
    }))
    .unwrap()
}

/// A router with these ports.
pub fn router(interfaces: Vec<RouterPort>, gateway: Option<RouterPort>) -> Router {
    let mut router: Router = serde_json::from_value(json!({"id": RouterId::random()})).unwrap();
    router.interfaces = interfaces;
    router.gw_port_id = gateway.as_ref().map(|port| port.id);
    router.gw_port = gateway;
    router
}

/// A floating IP of a fixed address.
pub fn floating(address: &str, fixed: &str) -> FloatingIp {
    serde_json::from_value(json!({
        "id": FloatingIpId::random(), "floating_ip_address": address, "fixed_ip_address": fixed,
        "floating_network_id": NetworkId::random(), "status": "DOWN",
    }))
    .unwrap()
}

impl Server {
    pub fn start(bus: Bus) -> Arc<Self> {
        let server = Arc::new(Self { bus, inner: Mutex::default() });
        let mut listener = server.bus.listen_all(&[l3::TOPIC, reports::TOPIC], "server");
        let callee = Arc::clone(&server);
        tokio::spawn(async move {
            while let Some(incoming) = listener.next().await {
                tokio::spawn(Arc::clone(&callee).answer(incoming));
            }
        });
        server
    }

    async fn answer(self: Arc<Self>, incoming: Incoming) {
        let Incoming { ctx, method, args, reply, .. } = incoming;
        let failing = {
            let mut inner = self.inner.lock();
            inner.calls.push(method.clone());
            inner.failing.contains(&method)
        };
        let answer = if failing {
            Err(Failure::neutron("DBError", "no luck"))
        } else if reports::INTERFACE.method(&method).is_some() {
            reports::dispatch(&*self, &ctx, &method, &args).await
        } else {
            l3::dispatch(&*self, &ctx, &method, &args).await
        };
        if let Some(reply) = reply {
            reply.send(answer);
        }
    }

    pub fn inner<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock())
    }

    pub fn calls_of(&self, method: &str) -> usize {
        self.inner(|inner| inner.calls.iter().filter(|call| *call == method).count())
    }

    pub fn status(&self, ip: FloatingIpId) -> Option<String> {
        self.inner(|inner| inner.statuses.get(&ip).cloned())
    }

    /// Changes a router and tells the hosts that serve it.
    pub async fn change(&self, id: RouterId, change: impl FnOnce(&mut Router)) {
        self.inner(|inner| change(inner.routers.get_mut(&id).unwrap()));
        self.tell(id).await;
    }

    /// Gives a router to hosts and tells them.
    pub async fn add(&self, router: &Router, hosts: &[&str]) {
        self.put(router, hosts);
        self.tell(router.id).await;
    }

    /// Gives a router to hosts.
    pub fn put(&self, router: &Router, hosts: &[&str]) {
        self.inner(|inner| {
            inner.routers.insert(router.id, router.clone());
            inner.hosts.insert(router.id, hosts.iter().map(|host| (*host).to_owned()).collect());
        });
    }

    pub async fn tell(&self, id: RouterId) {
        for host in self.inner(|inner| inner.hosts[&id].clone()) {
            let agent = l3_agent::Client::new(self.bus.clone()).to_server(&host);
            agent.routers_updated(&Context::admin(), vec![RouterHint::Id(id)]).await.unwrap();
        }
    }

    /// Deletes a router and tells every agent.
    pub async fn delete(&self, id: RouterId) {
        self.inner(|inner| (inner.routers.remove(&id), inner.hosts.remove(&id)));
        let agents = l3_agent::Client::new(self.bus.clone()).to_all();
        agents.router_deleted(&Context::admin(), id).await.unwrap();
    }

    /// Takes a router from a host and tells it.
    pub async fn take_from(&self, id: RouterId, host: &str) {
        self.inner(|inner| inner.hosts.get_mut(&id).unwrap().remove(host));
        let agent = l3_agent::Client::new(self.bus.clone()).to_server(host);
        agent.router_removed_from_agent(&Context::admin(), RouterRemoved { router_id: id }).await.unwrap();
    }
}

impl Inner {
    fn of_host(&self, host: &str) -> Vec<RouterId> {
        self.hosts.iter().filter(|(_, hosts)| hosts.contains(host)).map(|(id, _)| *id).collect()
    }
}

type Answer<T> = Result<T, Failure>;

impl l3::Callee for Server {
    type Error = Failure;

    async fn sync_routers(&self, _: &Context, host: String, router_ids: Option<Vec<RouterId>>) -> Answer<Vec<Router>> {
        Ok(self.inner(|inner| {
            let ours = inner.of_host(&host);
            let wanted = |id: &RouterId| router_ids.as_ref().is_none_or(|ids| ids.contains(id));
            let routers = ours.iter().filter(|id| wanted(id)).map(|id| inner.routers[id].clone());
            let active = routers.filter(|router| router.admin_state_up);
            let port = |id| inner.ha_ports.get(&(host.clone(), id)).cloned();
            active.map(|router| Router { ha_interface: port(router.id), ..router }).collect()
        }))
    }

    async fn get_router_ids(&self, _: &Context, host: String) -> Answer<Vec<RouterId>> {
        Ok(self.inner(|inner| inner.of_host(&host)))
    }

    async fn update_floatingip_statuses(
        &self,
        _: &Context,
        _: RouterId,
        fip_statuses: BTreeMap<FloatingIpId, String>,
    ) -> Answer<()> {
        self.inner(|inner| inner.statuses.extend(fip_statuses));
        Ok(())
    }

    async fn get_ports_by_subnet(
        &self,
        _: &Context,
        _: Option<String>,
        _: SubnetId,
    ) -> Answer<Vec<Map<String, Value>>> {
        Ok(Vec::new())
    }

    async fn get_agent_gateway_port(&self, _: &Context, _: NetworkId, _: String) -> Answer<Option<RouterPort>> {
        Ok(None)
    }

    async fn delete_agent_gateway_port(&self, _: &Context, _: String, _: NetworkId) -> Answer<()> {
        Ok(())
    }

    async fn get_service_plugin_list(&self, _: &Context) -> Answer<Vec<String>> {
        Ok(Vec::new())
    }

    async fn update_all_ha_network_port_statuses(&self, _: &Context, _: String) -> Answer<()> {
        Ok(())
    }

    async fn get_host_ha_router_count(&self, _: &Context, host: String) -> Answer<u64> {
        Ok(self.inner(|inner| inner.of_host(&host).iter().filter(|id| inner.routers[id].ha).count()) as u64)
    }

    async fn get_networks(
        &self,
        _: &Context,
        _: Option<Filters>,
        _: Option<Vec<String>>,
    ) -> Answer<Vec<Map<String, Value>>> {
        Ok(Vec::new())
    }

    async fn update_ha_routers_states(
        &self,
        _: &Context,
        host: String,
        states: BTreeMap<RouterId, HaState>,
    ) -> Answer<()> {
        self.inner(|inner| inner.ha_states.extend(states.into_iter().map(|(id, state)| ((host.clone(), id), state))));
        Ok(())
    }
}

impl reports::Callee for Server {
    type Error = Failure;

    async fn report_state(&self, _: &Context, agent_state: Report, _: String) -> Answer<Option<Status>> {
        self.inner(|inner| inner.reports.push(agent_state.agent_state));
        Ok(Some(Status::Alive))
    }

    async fn has_alive_neutron_server(&self, _: &Context) -> Answer<bool> {
        Ok(true)
    }

    async fn get_agents(
        &self,
        _: &Context,
        _: Option<String>,
        _: Option<String>,
        _: Option<bool>,
    ) -> Answer<Vec<reports::Agent>> {
        Ok(Vec::new())
    }

    async fn delete_agent(&self, _: &Context, _: String, _: String) -> Answer<()> {
        Ok(())
    }
}

/// An address from its text.
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
