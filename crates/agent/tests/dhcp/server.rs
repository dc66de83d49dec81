//! A server that knows just enough: networks, which host serves them, and ports.

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
    dhcp::{self, Body, FixedIpRequest, NetworkInfo, PortCreate, PortUpdate},
    dhcp_agent::{self, NetworkCreated, NetworkDeleted, NetworkRef, Payload, PortChanged, PortDeleted, WithNetwork},
    metadata::{self, Filters},
    payload::{DnsAssignment, Port, Subnet},
    reports::{self, AgentState, Report, Status},
};
use serde_json::{Map, Value, json};
use types::{NetworkId, PortId, SubnetId, port::FixedIp};

pub struct Server {
    pub bus: Bus,
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub struct Inner {
    pub networks: BTreeMap<NetworkId, Served>,
    pub ready: BTreeSet<PortId>,
    pub chunks: Vec<usize>,
    pub calls: Vec<String>,
    pub reports: Vec<AgentState>,
    /// The answer to the next report.
    pub status: Option<Status>,
    /// Calls of these methods fail.
    pub failing: BTreeSet<String>,
}

pub struct Served {
    pub info: NetworkInfo,
    pub hosts: BTreeSet<String>,
}

pub fn subnet(network: NetworkId, cidr: &str, more: Value) -> Subnet {
    let version = if cidr.contains(':') { 6 } else { 4 };
    let mut subnet = json!({
        "id": SubnetId::random(), "network_id": network, "ip_version": version, "enable_dhcp": true, "cidr": cidr,
        "gateway_ip": null,
    });
    for (key, value) in more.as_object().unwrap() {
        subnet[key] = value.clone();
    }
    serde_json::from_value(subnet).unwrap()
}

impl Server {
    pub fn start(bus: Bus) -> Arc<Self> {
        let server = Arc::new(Self { bus, inner: Mutex::default() });
        let mut listener = server.bus.listen_all(&[dhcp::TOPIC, reports::TOPIC], "server");
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
        } else if metadata::INTERFACE.method(&method).is_some() {
            metadata::dispatch(&*self, &ctx, &method, &args).await
        } else {
            dhcp::dispatch(&*self, &ctx, &method, &args).await
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

    /// A network with subnets, served by these hosts, which are not told.
    pub fn add_network(&self, hosts: &[&str], subnets: &[(&str, Value)]) -> NetworkId {
        let id = NetworkId::random();
        let subnets = subnets.iter().map(|(cidr, more)| subnet(id, cidr, more.clone())).collect();
        let info = NetworkInfo {
            id,
            project_id: "p".to_owned(),
            admin_state_up: true,
            mtu: 1450,
            subnets,
            non_local_subnets: Vec::new(),
            ports: Vec::new(),
        };
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.inner(|inner| inner.networks.insert(id, Served { info, hosts }));
        id
    }

    pub fn agents(&self, network: NetworkId) -> Vec<dhcp_agent::Client> {
        let hosts = self.inner(|inner| inner.networks[&network].hosts.clone());
        hosts.iter().map(|host| dhcp_agent::Client::new(self.bus.clone()).to_server(host)).collect()
    }

    pub async fn tell_created(&self, network: NetworkId) {
        for agent in self.agents(network) {
            let body = NetworkCreated { network: NetworkRef { id: network } };
            agent.network_create_end(&Context::admin(), Payload { body, priority: 0 }).await.unwrap();
        }
    }

    pub async fn tell_subnet(&self, network: NetworkId) {
        let subnet = self.inner(|inner| inner.networks[&network].info.subnets[0].clone());
        for agent in self.agents(network) {
            let subnet = WithNetwork { resource: subnet.clone(), network: None };
            let payload = Payload { body: dhcp_agent::SubnetChanged { subnet }, priority: 3 };
            agent.subnet_update_end(&Context::admin(), payload).await.unwrap();
        }
    }

    /// Deletes a network and tells every agent.
    pub async fn delete_network(&self, network: NetworkId) {
        self.inner(|inner| inner.networks.remove(&network));
        let agents = dhcp_agent::Client::new(self.bus.clone()).to_all();
        let payload = Payload { body: NetworkDeleted { network_id: network }, priority: 2 };
        agents.network_delete_end(&Context::admin(), payload).await.unwrap();
    }

    /// An instance's port with an address on each subnet.
    pub async fn create_port(&self, network: NetworkId, extra_dhcp_opts: Value) -> Port {
        let port = self.inner(|inner| {
            let subnets: Vec<SubnetId> = inner.networks[&network].info.subnets.iter().map(|s| s.id).collect();
            let wanted: Vec<FixedIpRequest> =
                subnets.iter().map(|id| FixedIpRequest { subnet_id: Some(*id), ip_address: None }).collect();
            let mut port = inner.port(network, &wanted, "compute:nova", "vm");
            port.extra_dhcp_opts = serde_json::from_value(extra_dhcp_opts).unwrap();
            inner.put(port.clone());
            port
        });
        self.tell_port(&port).await;
        port
    }

    pub async fn tell_port(&self, port: &Port) {
        for (index, agent) in self.agents(port.network_id).into_iter().enumerate() {
            let body = PortChanged { port: WithNetwork { resource: port.clone(), network: None } };
            let priority = if index == 0 { 5 } else { 6 };
            agent.port_create_end(&Context::admin(), Payload { body, priority }).await.unwrap();
        }
    }

    pub async fn delete_port(&self, port: &Port) {
        self.inner(|inner| inner.info(port.network_id).ports.retain(|other| other.id != port.id));
        for agent in self.agents(port.network_id) {
            let (port_id, network_id, fixed_ips) = (port.id, port.network_id, port.fixed_ips.clone());
            let payload = Payload { body: PortDeleted { port_id, network_id, fixed_ips }, priority: 6 };
            agent.port_delete_end(&Context::admin(), payload).await.unwrap();
        }
    }

    pub fn dhcp_ports(&self, network: NetworkId) -> Vec<Port> {
        let all = self.inner(|inner| inner.networks[&network].info.ports.clone());
        all.into_iter().filter(|port| port.device_owner == "network:dhcp").collect()
    }
}

impl Inner {
    pub fn info(&mut self, network: NetworkId) -> &mut NetworkInfo {
        &mut self.networks.get_mut(&network).unwrap().info
    }

    pub fn put(&mut self, port: Port) {
        let ports = &mut self.info(port.network_id).ports;
        ports.retain(|other| other.id != port.id);
        ports.push(port);
    }

    fn free_address(&self, network: NetworkId, subnet: SubnetId) -> IpAddr {
        let info = &self.networks[&network].info;
        let subnet = info.subnets.iter().find(|other| other.id == subnet).unwrap();
        let taken: BTreeSet<IpAddr> =
            info.ports.iter().flat_map(|port| &port.fixed_ips).map(|ip| ip.ip_address).collect();
        let mut addresses: Box<dyn Iterator<Item = IpAddr>> = match subnet.cidr {
            IpNet::V4(net) => Box::new(net.hosts().skip(1).map(IpAddr::V4)),
            IpNet::V6(net) => Box::new(net.hosts().skip(2).map(IpAddr::V6)),
        };
        addresses.find(|address| !taken.contains(address) && subnet.gateway_ip != Some(*address)).unwrap()
    }

    fn port(&self, network: NetworkId, wanted: &[FixedIpRequest], owner: &str, device: &str) -> Port {
        let id = PortId::random();
        let bytes = id.0.as_bytes();
        let mac = format!("fa:16:3e:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2]);
        let port = json!({
            "id": id, "network_id": network, "mac_address": mac, "status": "DOWN", "device_owner": owner,
            "device_id": device, "revision_number": 1,
        });
        let mut port: Port = serde_json::from_value(port).unwrap();
        self.set_addresses(&mut port, wanted);
        port
    }

    fn set_addresses(&self, port: &mut Port, wanted: &[FixedIpRequest]) {
        let address = |ip: &FixedIpRequest| {
            let subnet_id = ip.subnet_id.unwrap();
            FixedIp {
                subnet_id,
                ip_address: ip.ip_address.unwrap_or_else(|| self.free_address(port.network_id, subnet_id)),
            }
        };
        port.fixed_ips = wanted.iter().map(address).collect();
        let name = |ip: &FixedIp| DnsAssignment::of_address(ip.ip_address, "openstacklocal");
        port.dns_assignment = port.fixed_ips.iter().map(name).collect();
    }
}

impl reports::Callee for Server {
    type Error = Failure;

    async fn report_state(&self, _: &Context, agent_state: Report, _: String) -> Result<Option<Status>, Failure> {
        Ok(self.inner(|inner| {
            inner.reports.push(agent_state.agent_state);
            inner.status.take().or(Some(Status::Alive))
        }))
    }

    async fn has_alive_neutron_server(&self, _: &Context) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn get_agents(
        &self,
        _: &Context,
        _: Option<String>,
        _: Option<String>,
        _: Option<bool>,
    ) -> Result<Vec<reports::Agent>, Failure> {
        Ok(Vec::new())
    }

    async fn delete_agent(&self, _: &Context, _: String, _: String) -> Result<(), Failure> {
        Ok(())
    }
}

impl dhcp::Callee for Server {
    type Error = Failure;

    async fn get_active_networks_info(
        &self,
        _: &Context,
        host: String,
        _: Option<bool>,
    ) -> Result<Vec<NetworkInfo>, Failure> {
        Ok(self.inner(|inner| {
            let ours = inner.networks.values().filter(|served| served.hosts.contains(&host));
            ours.map(|served| served.info.clone()).collect()
        }))
    }

    async fn get_network_info(
        &self,
        _: &Context,
        network: NetworkId,
        _: Option<String>,
    ) -> Result<Option<NetworkInfo>, Failure> {
        Ok(self.inner(|inner| {
            let mut info = inner.networks.get(&network)?.info.clone();
            info.subnets.retain(|subnet| subnet.enable_dhcp);
            Some(info)
        }))
    }

    async fn create_dhcp_port(
        &self,
        _: &Context,
        body: Body<PortCreate>,
        host: String,
    ) -> Result<Option<Port>, Failure> {
        let wanted = body.port;
        Ok(self.inner(|inner| {
            inner.networks.get(&wanted.network_id)?;
            let mut port = inner.port(wanted.network_id, &wanted.fixed_ips, "network:dhcp", &wanted.device_id);
            port.host = host;
            inner.put(port.clone());
            Some(port)
        }))
    }

    async fn update_dhcp_port(
        &self,
        _: &Context,
        id: PortId,
        body: Body<PortUpdate>,
        host: String,
    ) -> Result<Option<Port>, Failure> {
        let change = body.port;
        Ok(self.inner(|inner| {
            let info = &inner.networks.get(&change.network_id)?.info;
            let mut port = info.ports.iter().find(|port| port.id == id)?.clone();
            if port.host != host && port.device_id != dhcp::RESERVED_DEVICE_ID {
                return None;
            }
            if let Some(wanted) = &change.fixed_ips {
                inner.set_addresses(&mut port, wanted);
            }
            port.device_id = change.device_id.unwrap_or(port.device_id);
            port.host = host;
            port.revision_number += 1;
            inner.put(port.clone());
            Some(port)
        }))
    }

    async fn get_dhcp_port(&self, _: &Context, id: PortId) -> Result<Option<Port>, Failure> {
        let all = |inner: &mut Inner| {
            inner.networks.values().flat_map(|served| served.info.ports.clone()).collect::<Vec<_>>()
        };
        Ok(self.inner(all).into_iter().find(|port| port.id == id))
    }

    async fn release_dhcp_port(
        &self,
        _: &Context,
        network: NetworkId,
        device: String,
        _: Option<String>,
    ) -> Result<(), Failure> {
        self.inner(|inner| {
            if let Some(served) = inner.networks.get_mut(&network) {
                served.info.ports.retain(|port| port.device_id != device);
            }
        });
        Ok(())
    }

    async fn dhcp_ready_on_ports(&self, _: &Context, ports: Vec<PortId>) -> Result<(), Failure> {
        self.inner(|inner| {
            inner.chunks.push(ports.len());
            inner.ready.extend(ports);
        });
        Ok(())
    }

    async fn get_networks(
        &self,
        _: &Context,
        _: Option<rpc::metadata::Filters>,
        _: Option<Vec<String>>,
    ) -> Result<Vec<Map<String, Value>>, Failure> {
        Ok(Vec::new())
    }
}

impl metadata::Callee for Server {
    type Error = Failure;

    /// By network, and by address or Ethernet address.
    async fn get_ports(&self, _: &Context, filters: Option<Filters>) -> Result<Vec<Port>, Failure> {
        let filters = filters.unwrap_or_default();
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let networks = texts(&filters["network_id"]);
        let has = |port: &Port| match filters.get("mac_address") {
            Some(macs) => texts(macs).contains(&port.mac_address.to_string()),
            None => {
                let addresses = texts(&filters["fixed_ips"]["ip_address"]);
                port.fixed_ips.iter().any(|ip| addresses.contains(&ip.ip_address.to_string()))
            }
        };
        let ports = |inner: &mut Inner| {
            let served = inner.networks.iter().filter(|(id, _)| networks.contains(&id.to_string()));
            served.flat_map(|(_, served)| served.info.ports.clone()).filter(has).collect()
        };
        Ok(self.inner(ports))
    }
}
