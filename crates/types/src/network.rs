//! Networks.

use serde::{Serialize, Serializer};

use crate::{NetworkId, NetworkType, Segment, Standard, SubnetId};

/// A network as REST shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Free text, not unique.
    pub name: String,
    /// The owner.
    pub project_id: String,
    /// The owner, by its older name.
    pub tenant_id: String,
    /// Whether it forwards.
    pub admin_state_up: bool,
    /// `ACTIVE`, `BUILD`, `DOWN` or `ERROR`.
    pub status: String,
    /// Usable by every project.
    pub shared: bool,
    /// Its subnets.
    pub subnets: Vec<SubnetId>,
    /// Largest packet it carries, in bytes.
    pub mtu: u32,
    /// Default for its ports.
    pub port_security_enabled: bool,
    /// Leads outside.
    #[serde(rename = "router:external")]
    pub router_external: bool,
    /// Is the default external network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
    /// Zones its services should run in.
    pub availability_zone_hints: Vec<String>,
    /// Zones its DHCP agents run in.
    pub availability_zones: Vec<String>,
    /// The address scope of the pool that its IPv4 subnets are from.
    pub ipv4_address_scope: Option<String>,
    /// The address scope of the pool that its IPv6 subnets are from.
    pub ipv6_address_scope: Option<String>,
    /// Its segments by index. REST shows the only one as `provider:*`, several as `segments`.
    #[serde(flatten, serialize_with = "provider")]
    pub segments: Vec<Segment>,
    /// Whether its hosts reach each other without a router: no subnet of it belongs to one of its segments.
    pub l2_adjacency: bool,
    /// Description, tags, revision, timestamps.
    #[serde(flatten)]
    pub standard: Standard,
}

impl Default for Network {
    /// An empty network under a new id, to be filled in.
    fn default() -> Self {
        Self {
            id: NetworkId::random(),
            name: String::new(),
            project_id: String::new(),
            tenant_id: String::new(),
            admin_state_up: true,
            status: "ACTIVE".to_owned(),
            shared: false,
            subnets: Vec::new(),
            mtu: 0,
            port_security_enabled: true,
            router_external: false,
            is_default: None,
            availability_zone_hints: Vec::new(),
            availability_zones: Vec::new(),
            ipv4_address_scope: None,
            ipv6_address_scope: None,
            segments: Vec::new(),
            l2_adjacency: true,
            standard: Standard::default(),
        }
    }
}

#[derive(Serialize)]
struct Provider<'a> {
    #[serde(rename = "provider:network_type")]
    network_type: Option<NetworkType>,
    #[serde(rename = "provider:physical_network")]
    physical_network: Option<&'a str>,
    #[serde(rename = "provider:segmentation_id")]
    segmentation_id: Option<u32>,
}

impl<'a> From<&'a Segment> for Provider<'a> {
    fn from(segment: &'a Segment) -> Self {
        Self {
            network_type: Some(segment.network_type),
            physical_network: segment.physical_network.as_deref(),
            segmentation_id: segment.segmentation_id,
        }
    }
}

fn provider<S: Serializer>(segments: &[Segment], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Several<'a> {
        segments: Vec<Provider<'a>>,
    }
    match segments {
        [] => Provider { network_type: None, physical_network: None, segmentation_id: None }.serialize(serializer),
        [only] => Provider::from(only).serialize(serializer),
        several => Several { segments: several.iter().map(Provider::from).collect() }.serialize(serializer),
    }
}
