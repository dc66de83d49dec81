//! Resources as they travel: what REST shows, and the number of their row in `standardattributes`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use types::{
    Mac, NetworkId, PortId, SecurityGroupId, SegmentId, SubnetId, SubnetPoolId,
    port::{AddressPair, ExtraDhcpOpt, FixedIp},
    subnet::{AllocationPool, HostRoute, Ipv6Mode},
};

/// A port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Its id.
    pub id: PortId,
    /// Free text.
    #[serde(default)]
    pub name: String,
    /// The network it is on.
    pub network_id: NetworkId,
    /// The owner; empty for ports of the system.
    #[serde(default)]
    pub project_id: String,
    /// The owner, by its older name.
    #[serde(default)]
    pub tenant_id: String,
    /// Unique on its network.
    pub mac_address: Mac,
    /// Whether it forwards.
    #[serde(default = "default_true")]
    pub admin_state_up: bool,
    /// `ACTIVE`, `BUILD`, `DOWN` or `N/A`.
    #[serde(default)]
    pub status: String,
    /// What it is for.
    #[serde(default)]
    pub device_id: String,
    /// Which service owns that.
    #[serde(default)]
    pub device_owner: String,
    /// Row in `standardattributes`.
    #[serde(default)]
    pub standard_attr_id: i64,
    /// Its addresses.
    #[serde(default)]
    pub fixed_ips: Vec<FixedIp>,
    /// Other addresses it may use.
    #[serde(default)]
    pub allowed_address_pairs: Vec<AddressPair>,
    /// DHCP options of its own.
    #[serde(default)]
    pub extra_dhcp_opts: Vec<ExtraDhcpOpt>,
    /// Groups it is a member of.
    #[serde(default)]
    pub security_groups: Vec<SecurityGroupId>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// What kind of NIC is asked for.
    #[serde(rename = "binding:vnic_type", default)]
    pub vnic_type: String,
    /// What the compute service tells the driver.
    #[serde(rename = "binding:profile", default)]
    pub profile: Map<String, Value>,
    /// Host it is bound to.
    #[serde(rename = "binding:host_id", default)]
    pub host: String,
    /// How it is plugged.
    #[serde(rename = "binding:vif_type", default)]
    pub vif_type: String,
    /// Details of that.
    #[serde(rename = "binding:vif_details", default)]
    pub vif_details: Map<String, Value>,
    /// Whether groups and anti-spoofing apply.
    #[serde(default = "default_true")]
    pub port_security_enabled: bool,
    /// Its QoS policy.
    #[serde(default)]
    pub qos_policy_id: Option<String>,
    /// QoS policy of its network.
    #[serde(default)]
    pub qos_network_policy_id: Option<String>,
    /// Its host name, of the DNS extension.
    #[serde(default)]
    pub dns_name: String,
    /// Host names of its addresses; derived from them when empty.
    #[serde(default)]
    pub dns_assignment: Vec<DnsAssignment>,
    /// `immediate`, `deferred` or `none`.
    #[serde(default)]
    pub ip_allocation: String,
    /// Bandwidth it needs of Placement.
    #[serde(default)]
    pub resource_request: Option<Value>,
    /// Bumped by every change.
    #[serde(default)]
    pub revision_number: i64,
    /// `YYYY-MM-DDTHH:MM:SSZ`, UTC.
    #[serde(default)]
    pub created_at: String,
    /// `YYYY-MM-DDTHH:MM:SSZ`, UTC.
    #[serde(default)]
    pub updated_at: String,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A host name for an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAssignment {
    /// The address.
    pub ip_address: IpAddr,
    /// Its first label.
    pub hostname: String,
    /// With domain and closing dot.
    pub fqdn: String,
}

impl DnsAssignment {
    /// The name of an address that has no name of its own: `host-` and the address with dashes.
    pub fn of_address(ip_address: IpAddr, domain: &str) -> Self {
        let hostname = format!("host-{}", ip_address.to_string().replace(['.', ':'], "-"));
        let fqdn = match domain.trim_end_matches('.') {
            "" => format!("{hostname}."),
            domain => format!("{hostname}.{domain}."),
        };
        Self { ip_address, hostname, fqdn }
    }
}

impl Port {
    /// The port as REST has it, with the names that its addresses get in `domain`.
    pub fn new(port: types::port::Port, domain: &str) -> Self {
        Self {
            dns_assignment: port.fixed_ips.iter().map(|f| DnsAssignment::of_address(f.ip_address, domain)).collect(),
            id: port.id,
            name: port.name,
            network_id: port.network_id,
            project_id: port.project_id,
            tenant_id: port.tenant_id,
            mac_address: port.mac_address,
            admin_state_up: port.admin_state_up,
            status: port.status,
            device_id: port.device_id,
            device_owner: port.device_owner,
            standard_attr_id: port.standard.standard_attr_id,
            fixed_ips: port.fixed_ips,
            allowed_address_pairs: port.allowed_address_pairs,
            extra_dhcp_opts: port.extra_dhcp_opts,
            security_groups: port.security_groups,
            description: port.standard.description.unwrap_or_default(),
            vnic_type: port.binding.vnic_type,
            profile: port.binding.profile,
            host: port.binding.host,
            vif_type: port.binding.vif_type,
            vif_details: port.binding.vif_details,
            port_security_enabled: port.port_security_enabled,
            qos_policy_id: None,
            qos_network_policy_id: None,
            dns_name: String::new(),
            ip_allocation: port.ip_allocation.to_owned(),
            resource_request: None,
            revision_number: port.standard.revision_number,
            created_at: port.standard.created_at,
            updated_at: port.standard.updated_at,
            tags: port.standard.tags,
        }
    }
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Free text.
    #[serde(default)]
    pub name: String,
    /// The owner.
    #[serde(default)]
    pub project_id: String,
    /// The owner, by its older name.
    #[serde(default)]
    pub tenant_id: String,
    /// The network it is on.
    pub network_id: NetworkId,
    /// 4 or 6.
    pub ip_version: u8,
    /// The pool its prefix came from.
    #[serde(default)]
    pub subnetpool_id: Option<SubnetPoolId>,
    /// Whether DHCP serves it.
    pub enable_dhcp: bool,
    /// What routers advertise.
    #[serde(default)]
    pub ipv6_ra_mode: Option<Ipv6Mode>,
    /// How hosts get addresses.
    #[serde(default)]
    pub ipv6_address_mode: Option<Ipv6Mode>,
    /// Row in `standardattributes`.
    #[serde(default)]
    pub standard_attr_id: i64,
    /// Default gateway of its hosts.
    pub gateway_ip: Option<IpAddr>,
    /// Prefix.
    pub cidr: IpNet,
    /// What may be handed out.
    #[serde(default)]
    pub allocation_pools: Vec<AllocationPool>,
    /// Extra routes for its hosts.
    #[serde(default)]
    pub host_routes: Vec<HostRoute>,
    /// Name servers for its hosts.
    #[serde(default)]
    pub dns_nameservers: Vec<String>,
    /// As its network is.
    #[serde(default)]
    pub shared: bool,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// As its network is.
    #[serde(rename = "router:external", default)]
    pub router_external: bool,
    /// Device owners it is reserved for.
    #[serde(default)]
    pub service_types: Vec<String>,
    /// The segment it belongs to.
    #[serde(default)]
    pub segment_id: Option<SegmentId>,
    /// Bumped by every change.
    #[serde(default)]
    pub revision_number: i64,
    /// `YYYY-MM-DDTHH:MM:SSZ`, UTC.
    #[serde(default)]
    pub created_at: String,
    /// `YYYY-MM-DDTHH:MM:SSZ`, UTC.
    #[serde(default)]
    pub updated_at: String,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl From<types::subnet::Subnet> for Subnet {
    fn from(subnet: types::subnet::Subnet) -> Self {
        Self {
            id: subnet.id,
            name: subnet.name,
            project_id: subnet.project_id,
            tenant_id: subnet.tenant_id,
            network_id: subnet.network_id,
            ip_version: subnet.ip_version,
            subnetpool_id: subnet.subnetpool_id,
            enable_dhcp: subnet.enable_dhcp,
            ipv6_ra_mode: subnet.ipv6_ra_mode,
            ipv6_address_mode: subnet.ipv6_address_mode,
            standard_attr_id: subnet.standard.standard_attr_id,
            gateway_ip: subnet.gateway_ip,
            cidr: subnet.cidr,
            allocation_pools: subnet.allocation_pools,
            host_routes: subnet.host_routes,
            dns_nameservers: subnet.dns_nameservers,
            shared: subnet.shared,
            description: subnet.standard.description.unwrap_or_default(),
            router_external: subnet.router_external,
            service_types: subnet.service_types,
            segment_id: subnet.segment_id,
            revision_number: subnet.standard.revision_number,
            created_at: subnet.standard.created_at,
            updated_at: subnet.standard.updated_at,
            tags: subnet.standard.tags,
        }
    }
}

/// A network: what agents act on, and the rest of what REST shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Whether it forwards.
    pub admin_state_up: bool,
    /// Largest packet.
    pub mtu: u32,
    /// Row in `standardattributes`.
    #[serde(default)]
    pub standard_attr_id: i64,
    /// The other keys of REST.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl From<&types::network::Network> for Network {
    fn from(network: &types::network::Network) -> Self {
        let mut rest = match crate::interface::encode(network) {
            Value::Object(rest) => rest,
            _ => Map::new(),
        };
        for named in ["id", "admin_state_up", "mtu"] {
            rest.remove(named);
        }
        Self {
            id: network.id,
            admin_state_up: network.admin_state_up,
            mtu: network.mtu,
            standard_attr_id: network.standard.standard_attr_id,
            rest,
        }
    }
}

fn default_true() -> bool {
    true
}
