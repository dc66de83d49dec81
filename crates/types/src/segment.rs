//! How a network is carried between hosts.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{NetworkId, SegmentId};

/// The encapsulation of a segment (`provider:network_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkType {
    /// Bridged inside one host only.
    Local,
    /// Untagged on a physical network.
    Flat,
    /// IEEE 802.1Q on a physical network; the segmentation id is the VLAN id.
    Vlan,
    /// RFC 7348; the segmentation id is the VNI.
    Vxlan,
    /// RFC 2784/2890; the segmentation id is the key.
    Gre,
    /// RFC 8926; the segmentation id is the VNI.
    Geneve,
}

impl NetworkType {
    /// Every type, in the order upstream lists its drivers.
    pub const ALL: [Self; 6] = [Self::Local, Self::Flat, Self::Vlan, Self::Gre, Self::Vxlan, Self::Geneve];

    /// The word used in the API, the database and configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Flat => "flat",
            Self::Vlan => "vlan",
            Self::Vxlan => "vxlan",
            Self::Gre => "gre",
            Self::Geneve => "geneve",
        }
    }

    /// Carried over IP between the hosts.
    pub fn is_tunnel(self) -> bool {
        matches!(self, Self::Vxlan | Self::Gre | Self::Geneve)
    }
}

impl fmt::Display for NetworkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NetworkType {
    type Err = UnknownNetworkType;

    fn from_str(text: &str) -> Result<Self, UnknownNetworkType> {
        Self::ALL.into_iter().find(|t| t.as_str() == text).ok_or_else(|| UnknownNetworkType(text.to_owned()))
    }
}

/// A word that names no network type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a network type")]
pub struct UnknownNetworkType(pub String);

/// One stretch of a network: its type and where on that type it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Id of the segment.
    pub id: SegmentId,
    /// The network it is part of.
    pub network_id: NetworkId,
    /// Its encapsulation.
    pub network_type: NetworkType,
    /// Name of the physical network, for flat and vlan.
    pub physical_network: Option<String>,
    /// VLAN id, VNI or key; none for flat and local.
    pub segmentation_id: Option<u32>,
    /// Position among the network's segments; the first is 0.
    pub segment_index: u32,
}
