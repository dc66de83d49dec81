//! The kernel objects the agent looks after: what names them, what they shall be and what they are.

use kernel::{Kind, Link};
use types::{NetworkId, device};

use super::config::Overlay;

/// The group of the bridges we make (`ip link show`), given in the request that makes them.
pub(super) const GROUP: u32 = u32::from_be_bytes(*b"\0iso");

/// A kernel object by kind and name. The order is that of dependency: a bridge stands before what is put into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// The bridge of a network.
    Bridge(String),
    /// The device by which a bridge reaches other hosts.
    Uplink(String),
    /// The host's end of a port.
    Tap(String),
}

/// What an object shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A bridge of ours.
    Bridge {
        /// Its network, noted on the bridge for whoever comes after us.
        network: NetworkId,
        /// The network's MTU.
        mtu: u32,
        /// The host itself may speak IPv6 on it: only where it has the host's own addresses.
        ipv6: bool,
    },
    /// A bridge the operator made.
    GivenBridge,
    /// An uplink in a bridge.
    Uplink {
        /// The bridge.
        bridge: String,
        /// What it is.
        uplink: Uplink,
        /// The network's MTU.
        mtu: u32,
    },
    /// A tap, in a bridge or in none.
    Tap {
        /// The bridge; none where another host's binding is the active one.
        bridge: Option<String>,
        /// The network's MTU.
        mtu: u32,
        /// The port's admin state.
        up: bool,
    },
    /// To stay as it is, whatever it is.
    Kept,
}

/// How a bridge reaches other hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Uplink {
    /// An interface of the host, untagged, with all its addresses.
    Physical,
    /// A VLAN device on an interface of the host.
    Vlan {
        /// The interface.
        interface: String,
        /// VLAN id.
        id: u16,
    },
    /// A VXLAN device.
    Vxlan {
        /// VXLAN network identifier.
        vni: u32,
        /// The host's settings.
        overlay: Overlay,
    },
}

/// What an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Actual {
    /// The link.
    pub link: Link,
    /// The bridge it is in.
    pub bridge: Option<String>,
    /// The host has addresses or routes on it.
    pub addressed: bool,
    /// Of a bridge: it bears our mark and has no ports but uplinks of ours. Of an uplink: the same of its bridge.
    pub lone: bool,
}

impl Actual {
    /// A link in no bridge.
    pub(super) fn alone(link: Link) -> Self {
        Self { link, bridge: None, addressed: false, lone: false }
    }
}

impl Key {
    /// The link's name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Bridge(name) | Self::Uplink(name) | Self::Tap(name) => name,
        }
    }
}

/// A tap of a port: `tap` and the first 11 characters of a UUID. `tap0`, which somebody made for himself, is none; the
/// server would take it for any port whose id starts with 0.
pub(super) fn is_tap(name: &str) -> bool {
    is_derived(name, device::TAP_PREFIX)
}

/// The network a bridge was made for, if it bears our mark: the network's id as alias, which its name must agree with.
pub(super) fn network_of(bridge: &Link) -> Option<NetworkId> {
    let network = bridge.alias.as_ref()?.parse().ok()?;
    let marked = matches!(bridge.kind, Kind::Bridge(_)) && bridge.name == device::bridge(network);
    marked.then_some(network)
}

/// A bridge whose maker was stopped before it could give it the alias.
pub(super) fn is_half_made(link: &Link) -> bool {
    matches!(link.kind, Kind::Bridge(_)) && is_bridge_name(&link.name) && link.alias.is_none() && link.group == GROUP
}

/// A bridge of a network, by its name.
pub(super) fn is_bridge_name(name: &str) -> bool {
    is_derived(name, device::BRIDGE_PREFIX)
}

/// The link is a VXLAN device as we, or a predecessor, name them.
pub(super) fn is_vxlan(link: &Link) -> bool {
    matches!(&link.kind, Kind::Vxlan(vxlan) if link.name == device::vxlan(vxlan.vni))
}

fn is_derived(name: &str, prefix: &str) -> bool {
    let Some(id) = name.strip_prefix(prefix) else { return false };
    id.len() == device::ID_PART
        && id.bytes().enumerate().all(|(place, byte)| match place {
            8 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}
