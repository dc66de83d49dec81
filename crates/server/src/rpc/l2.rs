//! Details of devices for L2 agents, and their news of what is wired.

use std::collections::HashMap;

use db::{device, list::ListQuery};
use oslo::context::Context;
use rpc::{
    l2::{Callee, Details, DetailsList, Device, DeviceDown, DeviceList, PortDetails, Tunnels},
    payload,
};
use types::{NetworkId, PortId, Segment, network::Network, port::Port};

use super::{Endpoint, RpcError, tunnel};
use crate::{
    Error, Result,
    binding::vif_type,
    l2_population,
    provisioning::{self, Entity, status},
    resource,
    retry::retrying,
};

/// What agents put before an id to name a device.
const DEVICE_PREFIXES: [&str; 3] = ["tap", "qvo", "sg-"];
/// Owners whose ports belong to instances.
const COMPUTE_OWNER: &str = "compute:";

impl Callee for Endpoint<'_> {
    type Error = RpcError;

    async fn get_device_details(
        &self,
        _: &Context,
        device: Device,
        _agent_id: Option<String>,
        host: Option<String>,
    ) -> Result<Details, RpcError> {
        let absent = Details::Absent { device: device.name().to_owned(), no_active_binding: false };
        Ok(self.details(&[device], host.as_deref()).await?.pop().unwrap_or(absent))
    }

    async fn get_devices_details_list(
        &self,
        _: &Context,
        devices: Vec<Device>,
        _agent_id: Option<String>,
        host: Option<String>,
    ) -> Result<Vec<Details>, RpcError> {
        Ok(self.details(&devices, host.as_deref()).await?)
    }

    async fn get_devices_details_list_and_failed_devices(
        &self,
        _: &Context,
        devices: Vec<Device>,
        _agent_id: Option<String>,
        host: Option<String>,
    ) -> Result<DetailsList, RpcError> {
        match retrying(|| self.details(&devices, host.as_deref())).await {
            Ok(details) => Ok(DetailsList { devices: details, failed_devices: Vec::new() }),
            Err(error) => {
                tracing::error!(%error, "no details for {} devices", devices.len());
                Ok(DetailsList { devices: Vec::new(), failed_devices: devices })
            }
        }
    }

    async fn get_network_details(
        &self,
        _: &Context,
        network: NetworkId,
        _agent_id: Option<String>,
        _host: Option<String>,
    ) -> Result<payload::Network, RpcError> {
        let mut conn = self.ctx.db().reader().await?;
        let network: Network = resource::find_any(self.ctx, &mut conn, &network.to_string()).await?;
        Ok(payload::Network::from(&network))
    }

    async fn update_device_up(
        &self,
        _: &Context,
        device: Device,
        _agent_id: Option<String>,
        host: Option<String>,
        refresh_tunnels: Option<bool>,
    ) -> Result<(), RpcError> {
        let network = self.device_up(&device, host.as_deref()).await?;
        Ok(self.refresh(network, refresh_tunnels, host.as_deref()).await?)
    }

    async fn update_device_down(
        &self,
        _: &Context,
        device: Device,
        _agent_id: Option<String>,
        host: Option<String>,
    ) -> Result<DeviceDown, RpcError> {
        Ok(self.device_down(&device, host.as_deref()).await?)
    }

    async fn update_device_list(
        &self,
        _: &Context,
        devices_up: Option<Vec<Device>>,
        devices_down: Option<Vec<Device>>,
        _agent_id: Option<String>,
        host: Option<String>,
        refresh_tunnels: Option<bool>,
    ) -> Result<DeviceList, RpcError> {
        let (mut list, mut networks) = (DeviceList::default(), Vec::new());
        for device in devices_up.unwrap_or_default() {
            match retrying(|| self.device_up(&device, host.as_deref())).await {
                Ok(network) => {
                    networks.extend(network);
                    list.devices_up.push(device);
                }
                Err(error) => list.failed_devices_up.push(failed(device, &error)),
            }
        }
        for device in devices_down.unwrap_or_default() {
            match retrying(|| self.device_down(&device, host.as_deref())).await {
                Ok(down) => list.devices_down.push(down),
                Err(error) => list.failed_devices_down.push(failed(device, &error)),
            }
        }
        retrying(|| self.refresh(networks.iter().copied(), refresh_tunnels, host.as_deref())).await?;
        Ok(list)
    }

    async fn tunnel_sync(
        &self,
        _: &Context,
        tunnel_ip: Option<String>,
        tunnel_type: Option<String>,
        host: Option<String>,
    ) -> Result<Tunnels, RpcError> {
        tunnel::sync(self.ctx, tunnel_ip, tunnel_type, host).await
    }

    async fn get_ports_by_vnic_type_and_host(
        &self,
        _: &Context,
        vnic_type: String,
        host: String,
    ) -> Result<Vec<payload::Port>, RpcError> {
        let mut conn = self.ctx.db().reader().await?;
        let ids = device::ports_on_host(&mut conn, &vnic_type, &host).await?;
        drop(conn);
        let domain = &self.ctx.config().dns_domain;
        Ok(self.ports(&ids).await?.into_values().map(|port| payload::Port::new(port, domain)).collect())
    }
}

impl Endpoint<'_> {
    /// The details of many devices in a number of queries that does not depend on how many. A port asked for by the
    /// host it is bound to is from now on being wired.
    async fn details(&self, devices: &[Device], host: Option<&str>) -> Result<Vec<Details>> {
        let found = self.resolve(devices).await?;
        let ids: Vec<PortId> = found.values().copied().collect();
        let mut ports = self.ports(&ids).await?;
        for port in ports.values_mut() {
            if is_waiting_for_binding(port)
                && let Some(bound) = resource::port::bind_again(self.ctx, port.id).await?
            {
                *port = bound;
            }
        }
        let networks = self.networks(&ports).await?;
        let mut conn = self.ctx.db().reader().await?;
        let bound = device::bound_segments(&mut conn, &ids).await?;
        drop(conn);
        let mut answer = Vec::with_capacity(devices.len());
        for device in devices {
            let port = found.get(device).and_then(|id| ports.get(id));
            let network = port.and_then(|port| networks.get(&port.network_id));
            let segment = port.zip(network).and_then(|(port, network)| {
                let segment = bound.get(&(port.id, port.binding.host.clone()))?;
                network.segments.iter().find(|s| s.id == *segment)
            });
            let details = match (port, network, segment) {
                (Some(port), Some(network), Some(segment)) => details(device, host, port, network, segment),
                _ => Details::Absent { device: device.name().to_owned(), no_active_binding: false },
            };
            if let (Details::Port(_), Some(port)) = (&details, port) {
                self.being_wired(port, host).await?;
            }
            answer.push(details);
        }
        Ok(answer)
    }

    /// `BUILD`, or `DOWN` when disabled, if it is asked for by its own host.
    async fn being_wired(&self, port: &Port, host: Option<&str>) -> Result<()> {
        let status = if port.admin_state_up { status::BUILD } else { status::DOWN };
        let own = host.is_none_or(|host| host.is_empty() || host == port.binding.host);
        if own && port.status != status {
            provisioning::set_status(self.ctx, port.id, status).await?;
        }
        Ok(())
    }

    /// The network of the port, if it is wired where it is bound to.
    async fn device_up(&self, device: &Device, host: Option<&str>) -> Result<Option<NetworkId>> {
        let Some(port) = self.port(device).await? else { return Ok(None) };
        if let Some(host) = host.filter(|host| *host != port.binding.host) {
            tracing::debug!(port = %port.id, host, "wired on a host it is not bound to");
            l2_population::replica_wired(self.ctx, &port, host).await?;
            return provisioning::wired_elsewhere(self.ctx, &port).await.map(|()| None);
        }
        provisioning::release(self.ctx, port.id, Entity::L2).await?;
        Ok(Some(port.network_id))
    }

    /// The host's agent does not know what is behind tunnels, or no longer for sure.
    async fn refresh(
        &self,
        networks: impl IntoIterator<Item = NetworkId>,
        wanted: Option<bool>,
        host: Option<&str>,
    ) -> Result<()> {
        match host.filter(|_| wanted == Some(true)) {
            Some(host) => l2_population::refresh(self.ctx, networks.into_iter().collect(), host).await,
            None => Ok(()),
        }
    }

    /// A device that is not bound to the host does exist, as far as that host is told.
    async fn device_down(&self, device: &Device, host: Option<&str>) -> Result<DeviceDown> {
        let name = device.name().to_owned();
        let port = self.port(device).await?;
        let elsewhere = host.is_some_and(|host| port.as_ref().is_none_or(|port| port.binding.host != host));
        if let (Some(port), Some(host)) = (&port, host) {
            l2_population::replica_lost(self.ctx, port, host).await?;
        }
        let exists = match port {
            _ if elsewhere => true,
            Some(port) => match provisioning::wiring_lost(self.ctx, port.id).await {
                // It was deleted meanwhile, and what it waits for could not be written.
                Err(_) if self.port(device).await?.is_none() => false,
                lost => lost?,
            },
            None => false,
        };
        Ok(DeviceDown { device: name, exists })
    }

    pub(super) async fn port(&self, device: &Device) -> Result<Option<Port>> {
        let found = self.resolve(std::slice::from_ref(device)).await?;
        let ids: Vec<PortId> = found.into_values().collect();
        Ok(self.ports(&ids).await?.into_values().next())
    }

    /// The ports that the devices stand for.
    pub(super) async fn resolve<'d>(&self, devices: &'d [Device]) -> Result<HashMap<&'d Device, PortId>> {
        let mut conn = self.ctx.db().reader().await?;
        let prefixes: Vec<&str> = devices.iter().map(|device| id_part(device.name())).collect();
        let by_prefix = device::ports_by_prefix(&mut conn, &prefixes).await?;
        let mut found = HashMap::with_capacity(devices.len());
        for device in devices {
            let port = match device {
                Device::Name(name) => by_prefix.get(id_part(name)).copied(),
                Device::Pci(mac, slot) => match by_prefix.get(id_part(mac)) {
                    Some(port) => Some(*port),
                    None => device::port_by_pci_slot(&mut conn, mac, slot).await?,
                },
            };
            if let Some(port) = port {
                found.insert(device, port);
            }
        }
        Ok(found)
    }

    pub(super) async fn ports(&self, ids: &[PortId]) -> Result<HashMap<PortId, Port>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let query = ListQuery::default().matching_any("id", ids.iter().map(Into::into).collect());
        let mut conn = self.ctx.db().reader().await?;
        let ports = resource::find_all::<Port>(self.ctx, &mut conn, &query).await?;
        Ok(ports.into_iter().map(|port| (port.id, port)).collect())
    }

    async fn networks(&self, ports: &HashMap<PortId, Port>) -> Result<HashMap<NetworkId, Network>> {
        let mut ids: Vec<NetworkId> = ports.values().map(|port| port.network_id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let query = ListQuery::default().matching_any("id", ids.iter().map(Into::into).collect());
        let mut conn = self.ctx.db().reader().await?;
        let networks = resource::find_all::<Network>(self.ctx, &mut conn, &query).await?;
        Ok(networks.into_iter().map(|network| (network.id, network)).collect())
    }
}

/// It has a host, but no driver could bind it there, perhaps because the agent had not reported yet.
fn is_waiting_for_binding(port: &Port) -> bool {
    !port.binding.host.is_empty()
        && matches!(port.binding.vif_type.as_str(), vif_type::UNBOUND | vif_type::BINDING_FAILED)
}

/// What is left of a device's name without its prefix: the beginning of an id.
fn id_part(name: &str) -> &str {
    DEVICE_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

fn details(device: &Device, host: Option<&str>, port: &Port, network: &Network, segment: &Segment) -> Details {
    let device = device.name().to_owned();
    if port.device_owner.starts_with(COMPUTE_OWNER) && host != Some(port.binding.host.as_str()) {
        return Details::Absent { device, no_active_binding: true };
    }
    Details::Port(Box::new(PortDetails {
        device,
        network_id: port.network_id,
        port_id: port.id,
        mac_address: port.mac_address,
        admin_state_up: port.admin_state_up,
        network_type: segment.network_type,
        segmentation_id: segment.segmentation_id,
        physical_network: segment.physical_network.clone(),
        mtu: Some(network.mtu),
        fixed_ips: port.fixed_ips.clone(),
        device_owner: port.device_owner.clone(),
        allowed_address_pairs: port.allowed_address_pairs.clone(),
        port_security_enabled: port.port_security_enabled,
        qos_policy_id: None,
        qos_network_policy_id: None,
        profile: port.binding.profile.clone(),
        propagate_uplink_status: false,
    }))
}

fn failed(device: Device, error: &Error) -> Device {
    tracing::error!(%error, device = device.name(), "news of a device was not taken; the agent will send it again");
    device
}
