//! Subnets.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{NetworkId, SegmentId, Standard, SubnetId, SubnetPoolId};

/// A range of addresses that may be handed out, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AllocationPool {
    /// First address.
    pub start: IpAddr,
    /// Last address.
    pub end: IpAddr,
}

/// A route that DHCP hands to hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostRoute {
    /// Where to.
    pub destination: IpNet,
    /// Via which address.
    pub nexthop: IpAddr,
}

/// How IPv6 addresses or advertisements are given (`ipv6_address_mode`, `ipv6_ra_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipv6Mode {
    /// Addresses by router advertisement alone.
    Slaac,
    /// Addresses and options by DHCPv6.
    #[serde(rename = "dhcpv6-stateful")]
    Dhcpv6Stateful,
    /// Addresses by router advertisement, options by DHCPv6.
    #[serde(rename = "dhcpv6-stateless")]
    Dhcpv6Stateless,
}

impl Ipv6Mode {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slaac => "slaac",
            Self::Dhcpv6Stateful => "dhcpv6-stateful",
            Self::Dhcpv6Stateless => "dhcpv6-stateless",
        }
    }

    /// The mode of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Slaac, Self::Dhcpv6Stateful, Self::Dhcpv6Stateless].into_iter().find(|m| m.as_str() == text)
    }

    /// Hosts form the address themselves, from prefix and MAC.
    pub fn is_auto_address(self) -> bool {
        self != Self::Dhcpv6Stateful
    }
}

/// A subnet as REST shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Free text, not unique.
    pub name: String,
    /// The owner.
    pub project_id: String,
    /// The owner, by its older name.
    pub tenant_id: String,
    /// The network it is on.
    pub network_id: NetworkId,
    /// 4 or 6.
    pub ip_version: u8,
    /// Prefix in CIDR form.
    pub cidr: IpNet,
    /// Default gateway of its hosts.
    pub gateway_ip: Option<IpAddr>,
    /// What may be handed out, ascending.
    pub allocation_pools: Vec<AllocationPool>,
    /// Name servers for its hosts, in order of preference.
    pub dns_nameservers: Vec<String>,
    /// Extra routes for its hosts.
    pub host_routes: Vec<HostRoute>,
    /// Whether DHCP serves it.
    pub enable_dhcp: bool,
    /// What routers advertise.
    pub ipv6_ra_mode: Option<Ipv6Mode>,
    /// How hosts get addresses.
    pub ipv6_address_mode: Option<Ipv6Mode>,
    /// The pool its prefix came from.
    pub subnetpool_id: Option<SubnetPoolId>,
    /// Device owners it is reserved for; empty means all.
    pub service_types: Vec<String>,
    /// The segment it belongs to in a routed network.
    pub segment_id: Option<SegmentId>,
    /// As its network is.
    #[serde(rename = "router:external")]
    pub router_external: bool,
    /// As its network is; not shown in REST.
    #[serde(skip)]
    pub shared: bool,
    /// Description, tags, revision, timestamps.
    #[serde(flatten)]
    pub standard: Standard,
}
