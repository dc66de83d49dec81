//! What L3 agents ask of the server: the routers they serve, with all that hangs on them.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use types::{
    FloatingIpId, Mac, NetworkId, PortId, RouterId, SubnetId, SubnetPoolId,
    subnet::{HostRoute, Ipv6Mode},
};

use crate::{metadata::Filters, payload::Port};

/// Topic of the server.
pub const TOPIC: &str = "q-l3-plugin";
/// Most router ids in one `sync_routers`.
pub const SYNC_CHUNK: usize = 256;
/// Fewest, when the server does not answer in time.
pub const SYNC_CHUNK_LEAST: usize = 32;

/// States of a floating IP, as agents report them.
pub mod floating_ip_status {
    /// Wired.
    pub const ACTIVE: &str = "ACTIVE";
    /// Not wired.
    pub const DOWN: &str = "DOWN";
    /// Could not be wired.
    pub const ERROR: &str = "ERROR";
}

/// A router with its ports and floating IPs, as one agent shall serve it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// Its id.
    pub id: RouterId,
    /// Free text.
    #[serde(default)]
    pub name: String,
    /// The owner.
    #[serde(default)]
    pub project_id: String,
    /// The owner, by its older name.
    #[serde(default)]
    pub tenant_id: String,
    /// Whether it forwards.
    #[serde(default = "default_true")]
    pub admin_state_up: bool,
    /// `ACTIVE` and others.
    #[serde(default)]
    pub status: String,
    /// Whether what leaves by the gateway gets the gateway's address.
    #[serde(default = "default_true")]
    pub enable_snat: bool,
    /// The gateway as REST shows it.
    #[serde(default)]
    pub external_gateway_info: Option<GatewayInfo>,
    /// Port of the gateway.
    #[serde(default)]
    pub gw_port_id: Option<PortId>,
    /// The gateway's port; the key is absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw_port: Option<RouterPort>,
    /// Host of the gateway port: the serving agent's, of an HA router the active one's.
    #[serde(default)]
    pub gw_port_host: Option<String>,
    /// Its ports on networks; the key is absent when there are none.
    #[serde(rename = "_interfaces", default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<RouterPort>,
    /// Ports of distributed routers where their traffic is translated.
    #[serde(rename = "_snat_router_interfaces", default)]
    pub snat_interfaces: Vec<RouterPort>,
    /// Ports of distributed routers where their floating IPs meet the outside.
    #[serde(rename = "_floatingip_agent_interfaces", default)]
    pub floating_ip_agent_interfaces: Vec<RouterPort>,
    /// Its floating IPs; the key is absent when there are none.
    #[serde(rename = "_floatingips", default, skip_serializing_if = "Vec::is_empty")]
    pub floating_ips: Vec<FloatingIp>,
    /// Its port among the instances of an HA router, on the asking host.
    #[serde(rename = "_ha_interface", default, skip_serializing_if = "Option::is_none")]
    pub ha_interface: Option<RouterPort>,
    /// What the asking host last said of itself, of an HA router.
    #[serde(rename = "_ha_state", default, skip_serializing_if = "Option::is_none")]
    pub ha_state: Option<HaState>,
    /// Several hosts serve it, one at a time.
    #[serde(default, deserialize_with = "or_default")]
    pub ha: bool,
    /// Number among the HA routers of its HA network; 0 when it is not one.
    #[serde(default, deserialize_with = "or_default")]
    pub ha_vr_id: u8,
    /// Its VRRP priority, where it is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Each host routes for its own instances.
    #[serde(default, deserialize_with = "or_default")]
    pub distributed: bool,
    /// Extra routes.
    #[serde(default)]
    pub routes: Vec<HostRoute>,
    /// Several gateways share the default route.
    #[serde(default, deserialize_with = "or_default")]
    pub enable_default_route_ecmp: bool,
    /// Gateways are watched.
    #[serde(default, deserialize_with = "or_default")]
    pub enable_default_route_bfd: bool,
    /// Neighbours are answered for.
    #[serde(default, deserialize_with = "or_default")]
    pub enable_ndp_proxy: bool,
    /// Zones it runs in.
    #[serde(default)]
    pub availability_zones: Vec<String>,
    /// Zones it should run in.
    #[serde(default)]
    pub availability_zone_hints: Vec<String>,
    /// Helpers of connection tracking.
    #[serde(default)]
    pub conntrack_helpers: Vec<Value>,
    /// Addresses with forwarded ports, as prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_forwardings_fip_set: Vec<String>,
    /// Floating IPs with forwarded ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fip_managed_by_port_forwardings: Vec<FloatingIpId>,
    /// Bumped by every change.
    #[serde(default)]
    pub revision_number: i64,
    /// The other keys of REST.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The outside of a router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayInfo {
    /// The external network.
    pub network_id: NetworkId,
    /// Addresses there.
    #[serde(default)]
    pub external_fixed_ips: Vec<types::port::FixedIp>,
    /// Whether what leaves gets one of them.
    #[serde(default = "default_true")]
    pub enable_snat: bool,
    /// QoS policy of its address; absent where the server has no QoS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos_policy_id: Option<String>,
}

/// A port of a router, with what the agent needs of its network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterPort {
    /// Its id.
    pub id: PortId,
    /// The network it is on.
    pub network_id: NetworkId,
    /// Unique on its network.
    pub mac_address: Mac,
    /// What it is of a router.
    #[serde(default)]
    pub device_owner: String,
    /// The router.
    #[serde(default)]
    pub device_id: String,
    /// Whether it forwards.
    #[serde(default = "default_true")]
    pub admin_state_up: bool,
    /// `ACTIVE`, `BUILD` or `DOWN`.
    #[serde(default)]
    pub status: String,
    /// Host it is bound to.
    #[serde(rename = "binding:host_id", default)]
    pub host: String,
    /// Its addresses.
    #[serde(default)]
    pub fixed_ips: Vec<PrefixedIp>,
    /// The subnets of its addresses.
    #[serde(default)]
    pub subnets: Vec<RouterSubnet>,
    /// The other subnets of its network.
    #[serde(default)]
    pub extra_subnets: Vec<RouterSubnet>,
    /// Address scopes by IP version.
    #[serde(default)]
    pub address_scopes: AddressScopes,
    /// Largest packet of its network.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// The other keys of REST.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl RouterPort {
    /// The port, with no more of its network yet than the number of its addresses: each of them is its own prefix.
    pub fn new(port: &Port) -> Self {
        let mut rest = match crate::interface::encode(port) {
            Value::Object(rest) => rest,
            _ => Map::new(),
        };
        for named in [
            "id",
            "network_id",
            "mac_address",
            "device_owner",
            "device_id",
            "admin_state_up",
            "status",
            "binding:host_id",
            "fixed_ips",
        ] {
            rest.remove(named);
        }
        Self {
            id: port.id,
            network_id: port.network_id,
            mac_address: port.mac_address,
            device_owner: port.device_owner.clone(),
            device_id: port.device_id.clone(),
            admin_state_up: port.admin_state_up,
            status: port.status.clone(),
            host: port.host.clone(),
            fixed_ips: port.fixed_ips.iter().map(PrefixedIp::host).collect(),
            subnets: Vec::new(),
            extra_subnets: Vec::new(),
            address_scopes: AddressScopes::default(),
            mtu: None,
            rest,
        }
    }
}

/// An address with the length of its subnet's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PrefixedIp {
    /// The subnet it is from.
    pub subnet_id: SubnetId,
    /// The address.
    pub ip_address: IpAddr,
    /// Of the subnet.
    pub prefixlen: u8,
}

impl PrefixedIp {
    fn host(ip: &types::port::FixedIp) -> Self {
        let prefixlen = if ip.ip_address.is_ipv4() { 32 } else { 128 };
        Self { subnet_id: ip.subnet_id, ip_address: ip.ip_address, prefixlen }
    }
}

/// As much of a subnet as routing needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterSubnet {
    /// Its id.
    pub id: SubnetId,
    /// Its prefix.
    pub cidr: IpNet,
    /// Default gateway of its hosts.
    #[serde(default)]
    pub gateway_ip: Option<IpAddr>,
    /// Name servers for its hosts.
    #[serde(default)]
    pub dns_nameservers: Vec<String>,
    /// What is advertised on it.
    #[serde(default)]
    pub ipv6_ra_mode: Option<Ipv6Mode>,
    /// The pool its prefix came from.
    #[serde(default)]
    pub subnetpool_id: Option<SubnetPoolId>,
}

/// The address scopes of a port's network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressScopes {
    /// Of its IPv4 subnets.
    #[serde(rename = "4", default)]
    pub ipv4: Option<String>,
    /// Of its IPv6 subnets.
    #[serde(rename = "6", default)]
    pub ipv6: Option<String>,
}

/// A floating IP that a router carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FloatingIp {
    /// Its id.
    pub id: FloatingIpId,
    /// The address outside.
    pub floating_ip_address: IpAddr,
    /// The external network.
    pub floating_network_id: NetworkId,
    /// The router.
    #[serde(default)]
    pub router_id: Option<RouterId>,
    /// The port inside.
    #[serde(default)]
    pub port_id: Option<PortId>,
    /// The address inside; none when only some ports are forwarded.
    #[serde(default)]
    pub fixed_ip_address: Option<IpAddr>,
    /// Address scope of the address inside.
    #[serde(default)]
    pub fixed_ip_address_scope: Option<String>,
    /// One of [`floating_ip_status`].
    #[serde(default)]
    pub status: String,
    /// QoS policy.
    #[serde(default)]
    pub qos_policy_id: Option<String>,
    /// Host of the port inside, where the router is distributed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Host it is migrating to, where the router is distributed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dest_host: Option<String>,
    /// Realised where a distributed router translates, not on the host of the port.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dvr_snat_bound: bool,
    /// The other keys of REST.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What an instance of an HA router says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HaState {
    /// It routes.
    #[serde(alias = "master", alias = "primary")]
    Active,
    /// It waits.
    #[serde(alias = "backup")]
    Standby,
    /// Not known.
    #[serde(alias = "fault")]
    Unknown,
}

impl HaState {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Unknown => "unknown",
        }
    }
}

interface! {
    version "1.13";
    calls {
        /// The routers that the agent on that host serves, of these ids or all; binds their ports to the host.
        sync_routers "1.0" on TOPIC: (host: String, router_ids: Option<Vec<RouterId>>) -> Vec<Router>;
        /// Their ids; schedules some to the host before.
        get_router_ids "1.9" on TOPIC: (host: String) -> Vec<RouterId>;
        /// What became of the floating IPs of a router.
        update_floatingip_statuses "1.1" on TOPIC: (router_id: RouterId, fip_statuses: BTreeMap<FloatingIpId, String>) -> ();
        /// The ports with an address of that subnet, without what says where they are plugged.
        get_ports_by_subnet "1.2" on TOPIC: (host: Option<String>, subnet_id: SubnetId) -> Vec<Map<String, Value>>;
        /// The port by which floating IPs of distributed routers leave a host, made if missing.
        get_agent_gateway_port "1.2" on TOPIC: (network_id: NetworkId, host: String) -> Option<RouterPort>;
        /// Deletes that port.
        delete_agent_gateway_port "1.7" on TOPIC: (host: String, network_id: NetworkId) -> ();
        /// Upstream's names of the services that the server has.
        get_service_plugin_list "1.3" on TOPIC: () -> Vec<String>;
        /// The agent starts: HA ports of its host are down.
        update_all_ha_network_port_statuses "1.10" on TOPIC: (host: String) -> ();
        /// How many HA routers the host serves.
        get_host_ha_router_count "1.11" on TOPIC: (host: String) -> u64;
        /// The networks that fit all filters, as REST shows them.
        get_networks "1.12" on TOPIC: (filters: Option<Filters>, fields: Option<Vec<String>>) -> Vec<Map<String, Value>>;
    }
    casts {
        /// What the host's instances of HA routers became.
        update_ha_routers_states "1.5" on TOPIC: (host: String, states: BTreeMap<RouterId, HaState>);
    }
}

fn default_true() -> bool {
    true
}

/// Null is as good as absent.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
