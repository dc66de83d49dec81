//! Segments as a resource of their own: administrators add them to networks and take them away.

use serde::Serialize;

use crate::{NetworkId, NetworkType, SegmentId, Standard};

/// A segment as REST shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NetworkSegment {
    /// Its id.
    pub id: SegmentId,
    /// The network it is part of.
    pub network_id: NetworkId,
    /// Free text.
    pub name: Option<String>,
    /// Name of the physical network, for flat and vlan.
    pub physical_network: Option<String>,
    /// Its encapsulation.
    pub network_type: NetworkType,
    /// VLAN id, VNI or key; none for flat and local.
    pub segmentation_id: Option<u32>,
    /// Position among the network's segments; not shown.
    #[serde(skip)]
    pub segment_index: u32,
    /// Description, revision, timestamps.
    #[serde(flatten, serialize_with = "crate::standard::untagged")]
    pub standard: Standard,
}
