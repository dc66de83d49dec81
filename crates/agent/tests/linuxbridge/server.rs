//! A server that knows the ports a test gives it and remembers what it was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use oslo::{
    context::Context,
    messaging::{Bus, Failure, Incoming},
};
use parking_lot::Mutex;
use rpc::{
    l2::{self, Details, Device, DeviceDown, DeviceList, PortDetails},
    l2_agent, l2_population,
    reports::{self, AgentState, Report},
    security_group::{Member, Rule, SecuredDevice, SecurityGroupInfo},
};
use serde_json::{Value, json};
use types::{Mac, NetworkId, NetworkType, PortId, SecurityGroupId, device};

/// The scripted server. It runs until the test's runtime ends.
pub struct Server {
    pub bus: Bus,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    ports: BTreeMap<String, PortDetails>,
    networks: BTreeSet<NetworkId>,
    asked: BTreeSet<String>,
    up: BTreeMap<String, u32>,
    down: BTreeSet<String>,
    report: Option<AgentState>,
    failures: u32,
    refreshes: u32,
    tunnels: Vec<(String, String)>,
    info: SecurityGroupInfo,
    asked_groups: Vec<Vec<String>>,
}

impl Server {
    pub fn start() -> Self {
        let bus = Bus::in_process();
        let known = Arc::new(Mutex::new(Known::default()));
        let mut listener = bus.listen_all(&[l2::TOPIC, reports::TOPIC], "server");
        let served = Arc::clone(&known);
        tokio::spawn(async move {
            while let Some(mut incoming) = listener.next().await {
                let reply = incoming.reply.take();
                let answer = answer(&mut served.lock(), &incoming);
                if let Some(reply) = reply {
                    reply.send(answer);
                }
            }
        });
        Self { bus, known }
    }

    /// A port bound to the agent's host.
    pub fn port(&self, network: NetworkId, network_type: NetworkType, physical: Option<&str>) -> PortId {
        let port = PortId::random();
        self.insert(port, network, network_type, physical);
        port
    }

    /// A port the server does not know yet.
    pub fn port_id_to_come(&self) -> PortId {
        PortId::random()
    }

    pub fn bind(&self, port: PortId, network: NetworkId) {
        self.insert(port, network, NetworkType::Local, None);
    }

    fn insert(&self, port: PortId, network: NetworkId, network_type: NetworkType, physical: Option<&str>) {
        let details = PortDetails {
            device: device::tap(port),
            network_id: network,
            port_id: port,
            mac_address: Mac([0xfa, 0x16, 0x3e, 0, 0, 1]),
            admin_state_up: true,
            network_type,
            segmentation_id: None,
            physical_network: physical.map(str::to_owned),
            mtu: Some(if physical.is_some() { 1500 } else { 1450 }),
            fixed_ips: Vec::new(),
            device_owner: "compute:nova".to_owned(),
            allowed_address_pairs: Vec::new(),
            port_security_enabled: true,
            qos_policy_id: None,
            qos_network_policy_id: None,
            profile: serde_json::Map::new(),
            propagate_uplink_status: false,
        };
        let mut known = self.known.lock();
        known.networks.insert(network);
        known.ports.insert(device::tap(port), details);
    }

    pub fn change(&self, port: PortId, change: impl FnOnce(&mut PortDetails)) {
        change(self.known.lock().ports.get_mut(&device::tap(port)).unwrap());
    }

    /// Gives a port groups, or turns its port security off.
    pub fn secure(&self, port: PortId, groups: &[SecurityGroupId], port_security: bool, provider: Vec<Rule>) {
        let secured = SecuredDevice {
            id: port.to_string(),
            device: device::tap(port),
            fixed_ips: Vec::new(),
            security_groups: groups.iter().map(ToString::to_string).collect(),
            security_group_rules: provider,
            security_group_source_groups: Vec::new(),
            security_group_remote_address_groups: Vec::new(),
            port_security_enabled: port_security,
            port: serde_json::Map::new(),
        };
        self.known.lock().info.devices.insert(port.to_string(), secured);
    }

    pub fn set_rules(&self, group: SecurityGroupId, rules: Vec<Rule>) {
        self.known.lock().info.security_groups.insert(group.to_string(), rules);
    }

    pub fn set_members(&self, group: SecurityGroupId, addresses: &[String]) {
        let of = |six: bool| addresses.iter().filter(move |address| address.contains(':') == six);
        let members = |six| of(six).map(|address| Member::Pair(address.clone(), None)).collect::<Vec<_>>();
        let by_type = BTreeMap::from([("IPv4".to_owned(), members(false)), ("IPv6".to_owned(), members(true))]);
        self.known.lock().info.sg_member_ips.insert(group.to_string(), by_type);
    }

    /// The devices of each question about groups, since the last call.
    pub fn take_asked_groups(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.known.lock().asked_groups)
    }

    pub async fn rules_updated(&self, group: SecurityGroupId) {
        self.notify().security_groups_rule_updated(&Context::admin(), vec![group]).await.unwrap();
    }

    pub async fn members_updated(&self, group: SecurityGroupId) {
        self.notify().security_groups_member_updated(&Context::admin(), vec![group]).await.unwrap();
    }

    /// Lets the next calls fail.
    pub fn fail(&self, times: u32) {
        self.known.lock().failures = times;
    }

    pub fn are_up(&self, ports: &[PortId]) -> bool {
        let known = self.known.lock();
        ports.iter().all(|port| known.up.contains_key(&device::tap(*port)))
    }

    pub fn are_down(&self, ports: &[PortId]) -> bool {
        let known = self.known.lock();
        ports.iter().all(|port| known.down.contains(&device::tap(*port)))
    }

    pub fn times_up(&self, port: PortId) -> u32 {
        self.known.lock().up.get(&device::tap(port)).copied().unwrap_or(0)
    }

    pub fn was_asked(&self, port: PortId) -> bool {
        self.was_asked_by_name(&device::tap(port))
    }

    pub fn was_asked_by_name(&self, name: &str) -> bool {
        self.known.lock().asked.contains(name)
    }

    /// Forgets what it was told.
    pub fn forget(&self) {
        let mut known = self.known.lock();
        known.up.clear();
        known.down.clear();
    }

    pub fn forget_network(&self, network: NetworkId) {
        self.known.lock().networks.remove(&network);
    }

    pub fn report(&self) -> Option<AgentState> {
        self.known.lock().report.clone()
    }

    /// How often it was asked to tell what is on other hosts.
    pub fn refreshes(&self) -> u32 {
        self.known.lock().refreshes
    }

    /// A host's tunnel end, which agents hear of when they ask.
    pub fn tunnel(&self, host: &str, address: &str) {
        self.known.lock().tunnels.push((host.to_owned(), address.to_owned()));
    }

    /// The tunnel ends it knows, as host and address.
    pub fn tunnels(&self) -> Vec<(String, String)> {
        self.known.lock().tunnels.clone()
    }

    pub async fn tunnel_update(&self, address: &str) {
        let address = address.parse().unwrap();
        self.notify().tunnel_update(&Context::admin(), address, NetworkType::Vxlan).await.unwrap();
    }

    pub async fn tunnel_delete(&self, address: &str) {
        let address = address.parse().unwrap();
        self.notify().tunnel_delete(&Context::admin(), address, NetworkType::Vxlan).await.unwrap();
    }

    /// Tells an agent of everything on other hosts.
    pub async fn fdb_everything(&self, host: &str, entries: l2_population::Entries) {
        let client = l2_population::Client::new(self.bus.clone()).to_server(host);
        client.add_fdb_entries(&Context::admin(), entries).await.unwrap();
    }

    /// A client that tells all agents of forwarding entries.
    pub fn fdb(&self) -> l2_population::Client {
        l2_population::Client::new(self.bus.clone()).to_all()
    }

    fn notify(&self) -> l2_agent::Client {
        l2_agent::Client::new(self.bus.clone()).to_all()
    }

    pub async fn network_delete(&self, network: NetworkId) {
        self.forget_network(network);
        self.notify().network_delete(&Context::admin(), network).await.unwrap();
    }

    pub async fn network_update(&self, network: NetworkId) {
        let network = serde_json::from_value(
            json!({"id": network, "name": "", "mtu": 1300, "admin_state_up": true, "status": "ACTIVE"}),
        )
        .unwrap();
        self.notify().network_update(&Context::admin(), network).await.unwrap();
    }

    pub async fn port_update(&self, port: PortId) {
        let network = self.known.lock().ports[&device::tap(port)].network_id;
        let body = json!({"id": port, "network_id": network, "mac_address": "fa:16:3e:00:00:01"});
        let port = serde_json::from_value(body).unwrap();
        self.notify().port_update(&Context::admin(), port, None, None, None).await.unwrap();
    }

    pub async fn binding_deactivate(&self, port: PortId, host: &str, network: NetworkId) {
        self.notify().binding_deactivate(&Context::admin(), port, host.to_owned(), network).await.unwrap();
    }

    pub async fn binding_activate(&self, port: PortId, host: &str) {
        self.notify().binding_activate(&Context::admin(), port, host.to_owned()).await.unwrap();
    }
}

fn answer(known: &mut Known, incoming: &Incoming) -> Result<Value, Failure> {
    if known.failures > 0 && incoming.method != "report_state" {
        known.failures -= 1;
        return Err(Failure::neutron("DBConnectionError", "no"));
    }
    let arg = |name: &str| incoming.args[name].clone();
    let devices = |name: &str| -> Vec<Device> { serde_json::from_value(arg(name)).unwrap_or_default() };
    let answer = match incoming.method.as_str() {
        "report_state" => {
            let report: Report = serde_json::from_value(arg("agent_state")).unwrap();
            let status = if known.report.is_some() { "alive" } else { "new" };
            known.report = Some(report.agent_state);
            json!(status)
        }
        "get_devices_details_list" => {
            let details = devices("devices").into_iter().map(|device| {
                let name = device.name().to_owned();
                known.asked.insert(name.clone());
                match known.ports.get(&name) {
                    Some(port) => Details::Port(Box::new(port.clone())),
                    None => Details::Absent { device: name, no_active_binding: false },
                }
            });
            serde_json::to_value(details.collect::<Vec<_>>()).unwrap()
        }
        "tunnel_sync" => {
            let text = |name: &str| arg(name).as_str().unwrap_or_default().to_owned();
            let (host, address) = (text("host"), text("tunnel_ip"));
            known.tunnels.retain(|(other, _)| *other != host);
            known.tunnels.push((host, address));
            let tunnel = |(host, ip): &(String, String)| json!({"host": host, "ip_address": ip, "udp_port": 4789});
            json!({"tunnels": known.tunnels.iter().map(tunnel).collect::<Vec<_>>()})
        }
        "security_group_info_for_devices" => {
            let asked: Vec<String> = serde_json::from_value(arg("devices")).unwrap();
            known.asked_groups.push(asked.clone());
            serde_json::to_value(groups_of(known, &asked)).unwrap()
        }
        "update_device_list" => {
            known.refreshes += u32::from(arg("refresh_tunnels") == true);
            let (up, down) = (devices("devices_up"), devices("devices_down"));
            for device in &up {
                known.down.remove(device.name());
                *known.up.entry(device.name().to_owned()).or_default() += 1;
            }
            let mut devices_down = Vec::new();
            for device in &down {
                known.down.insert(device.name().to_owned());
                devices_down.push(DeviceDown { device: device.name().to_owned(), exists: true });
            }
            let list = DeviceList { devices_up: up, devices_down, ..DeviceList::default() };
            serde_json::to_value(list).unwrap()
        }
        "get_network_details" => {
            let network: NetworkId = serde_json::from_value(arg("network")).unwrap();
            if !known.networks.contains(&network) {
                return Err(Failure::neutron("NetworkNotFound", format!("Network {network} could not be found.")));
            }
            json!({"id": network, "name": "", "mtu": 1450, "admin_state_up": true, "status": "ACTIVE"})
        }
        other => return Err(Failure::no_such_method(other)),
    };
    Ok(answer)
}

/// What the server says of the groups of devices: their rules, and the members of those that the rules name.
fn groups_of(known: &Known, asked: &[String]) -> SecurityGroupInfo {
    let mut info = SecurityGroupInfo::default();
    for name in asked {
        let Some(port) = known.ports.get(name).map(|port| port.port_id.to_string()) else { continue };
        let Some(secured) = known.info.devices.get(&port) else { continue };
        info.devices.insert(port, secured.clone());
        for group in &secured.security_groups {
            let rules = known.info.security_groups.get(group).cloned().unwrap_or_default();
            for rule in &rules {
                let named = rule.remote_group_id.iter().chain(&rule.remote_address_group_id);
                let members = named.filter_map(|id| Some((id.clone(), known.info.sg_member_ips.get(id)?.clone())));
                info.sg_member_ips.extend(members);
            }
            info.security_groups.insert(group.clone(), rules);
        }
    }
    info
}
