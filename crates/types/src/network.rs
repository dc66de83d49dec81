//! Networks.

use serde::Serialize;

use crate::{NetworkId, NetworkType, Segment, Standard, SubnetId};

/// A network as REST shows it.
#[derive(Debug, Clone, Serialize)]
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
    /// Always null here; upstream's address scopes of its subnet pools.
    pub ipv4_address_scope: Option<String>,
    /// Always null here; upstream's address scopes of its subnet pools.
    pub ipv6_address_scope: Option<String>,
    /// Encapsulation of its only segment; null when there are several.
    #[serde(rename = "provider:network_type")]
    pub provider_network_type: Option<NetworkType>,
    /// Physical network of its only segment.
    #[serde(rename = "provider:physical_network")]
    pub provider_physical_network: Option<String>,
    /// VLAN id, VNI or key of its only segment.
    #[serde(rename = "provider:segmentation_id")]
    pub provider_segmentation_id: Option<u32>,
    /// All segments when there are several.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "segments")]
    pub segments: Vec<Segment>,
    /// Always true without routed networks.
    pub l2_adjacency: bool,
    /// Description, tags, revision, timestamps.
    #[serde(flatten)]
    pub standard: Standard,
}

fn segments<S: serde::Serializer>(segments: &[Segment], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct ProviderSegment<'a> {
        #[serde(rename = "provider:network_type")]
        network_type: NetworkType,
        #[serde(rename = "provider:physical_network")]
        physical_network: Option<&'a str>,
        #[serde(rename = "provider:segmentation_id")]
        segmentation_id: Option<u32>,
    }
    serializer.collect_seq(segments.iter().map(|s| ProviderSegment {
        network_type: s.network_type,
        physical_network: s.physical_network.as_deref(),
        segmentation_id: s.segmentation_id,
    }))
}
