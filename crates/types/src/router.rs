//! Routers.

use serde::{Deserialize, Serialize};

use crate::{NetworkId, PortId, RouterId, Standard, port::FixedIp, subnet::HostRoute};

/// The outside of a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// The external network.
    pub network_id: NetworkId,
    /// Addresses there.
    pub external_fixed_ips: Vec<FixedIp>,
    /// Whether what leaves gets one of them.
    pub enable_snat: bool,
}

/// A router as REST shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Router {
    /// Its id.
    pub id: RouterId,
    /// Free text, not unique.
    pub name: String,
    /// The owner.
    pub project_id: String,
    /// The owner, by its older name.
    pub tenant_id: String,
    /// Whether it forwards.
    pub admin_state_up: bool,
    /// `ACTIVE`, or `ERROR` when it could not be made highly available.
    pub status: String,
    /// Its outside.
    pub external_gateway_info: Option<Gateway>,
    /// Routes besides those to its interfaces, in ascending order.
    pub routes: Vec<HostRoute>,
    /// Several hosts serve it, one at a time.
    pub ha: bool,
    /// Always false here; upstream's routers that are on every host.
    pub distributed: bool,
    /// Always null here; upstream's choice among several implementations.
    pub flavor_id: Option<String>,
    /// Zones its agents should run in.
    pub availability_zone_hints: Vec<String>,
    /// Zones its agents run in.
    pub availability_zones: Vec<String>,
    /// Port of its outside; not shown in REST.
    #[serde(skip)]
    pub gw_port_id: Option<PortId>,
    /// Its `enable_snat` column, which is shown only with a gateway.
    #[serde(skip)]
    pub enable_snat: bool,
    /// Number among the HA routers of its HA network; not shown in REST.
    #[serde(skip)]
    pub ha_vr_id: Option<u8>,
    /// Description, tags, revision, timestamps.
    #[serde(flatten)]
    pub standard: Standard,
}

/// What is said of an interface that was added or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterInterface {
    /// The router.
    pub id: RouterId,
    /// The owner of the port.
    pub project_id: String,
    /// The port.
    pub port_id: PortId,
    /// The network it is on.
    pub network_id: NetworkId,
    /// The last of its subnets.
    pub subnet_id: crate::SubnetId,
    /// All its subnets that were added or removed.
    pub subnet_ids: Vec<crate::SubnetId>,
}
