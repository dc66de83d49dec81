//! From what the server says of ports to the bridges, uplinks and taps this host must have. Pure.

use std::collections::BTreeMap;

use rpc::l2::PortDetails;
use types::{NetworkId, NetworkType, device};

use super::{
    Config,
    object::{Key, Uplink, Wanted},
};

/// MTU of a network whose details do not tell it.
const DEFAULT_MTU: u32 = 1500;
/// Longest part of an interface's name that a VLAN device's name takes over.
const VLAN_PREFIX: usize = 10;

/// How a network is carried on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carrier {
    /// Its bridge.
    pub bridge: String,
    /// The bridge is the operator's, from `bridge_mappings`.
    pub given: bool,
    /// The device that leads out of this host, and how it is made.
    pub uplink: Option<(String, Uplink)>,
    /// Its MTU.
    pub mtu: u32,
}

/// Why a port cannot be wired on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwirable {
    #[error("physical network '{0}' is in neither physical_interface_mappings nor bridge_mappings of this host")]
    UnmappedNetwork(String),
    #[error("network type '{0}' is not carried by Linux bridges; those are local, flat, vlan and vxlan")]
    Type(NetworkType),
    #[error("VXLAN is not enabled on this host: it has no local_ip, or enable_vxlan is false")]
    NoVxlan,
    #[error("a network of type '{0}' needs a segmentation id and, unless vxlan, a physical network")]
    Incomplete(NetworkType),
}

/// How the network of a port is carried.
pub(super) fn carrier(config: &Config, port: &PortDetails) -> Result<Carrier, Unwirable> {
    let incomplete = Unwirable::Incomplete(port.network_type);
    let physical = || port.physical_network.as_deref().ok_or(incomplete.clone());
    let segmentation_id = || port.segmentation_id.ok_or(incomplete.clone());
    let mut carrier = Carrier {
        bridge: device::bridge(port.network_id),
        given: false,
        uplink: None,
        mtu: port.mtu.filter(|mtu| *mtu > 0).unwrap_or(DEFAULT_MTU),
    };
    match port.network_type {
        NetworkType::Local => {}
        NetworkType::Flat | NetworkType::Vlan => {
            let physical = physical()?;
            if let Some(bridge) = config.bridge_mappings.get(physical) {
                carrier.bridge.clone_from(bridge);
                carrier.given = true;
                return Ok(carrier);
            }
            let interface = config.physical_interface_mappings.get(physical);
            let interface = interface.ok_or_else(|| Unwirable::UnmappedNetwork(physical.to_owned()))?;
            carrier.uplink = Some(match port.network_type {
                NetworkType::Flat => (interface.clone(), Uplink::Physical),
                _ => {
                    let id = u16::try_from(segmentation_id()?).map_err(|_| incomplete)?;
                    (vlan_device(interface, id), Uplink::Vlan { interface: interface.clone(), id })
                }
            });
        }
        NetworkType::Vxlan => {
            let overlay = config.vxlan.clone().ok_or(Unwirable::NoVxlan)?;
            let vni = segmentation_id()?;
            carrier.uplink = Some((device::vxlan(vni), Uplink::Vxlan { vni, overlay }));
        }
        other => return Err(Unwirable::Type(other)),
    }
    Ok(carrier)
}

/// Name of the VLAN device on an interface. A long interface name is cut and told apart by a hash, as upstream does.
pub(super) fn vlan_device(interface: &str, id: u16) -> String {
    if interface.len() <= VLAN_PREFIX {
        return format!("{interface}.{id}");
    }
    let hash = sha1_smol::Sha1::from(interface).hexdigest();
    let start: String = interface.chars().take(VLAN_PREFIX - 6).collect();
    format!("{start}{}.{id}", &hash[..6])
}

/// The objects of a network that has, or may soon have, ports here.
pub(super) fn network_objects(network: NetworkId, carrier: &Carrier) -> BTreeMap<Key, Wanted> {
    let mut objects = BTreeMap::new();
    let physical = matches!(carrier.uplink, Some((_, Uplink::Physical)));
    let bridge =
        if carrier.given { Wanted::GivenBridge } else { Wanted::Bridge { network, mtu: carrier.mtu, ipv6: physical } };
    objects.insert(Key::Bridge(carrier.bridge.clone()), bridge);
    if let Some((device, uplink)) = &carrier.uplink {
        let wanted = Wanted::Uplink { bridge: carrier.bridge.clone(), uplink: uplink.clone(), mtu: carrier.mtu };
        objects.insert(Key::Uplink(device.clone()), wanted);
    }
    objects
}

/// A port's tap in the bridge of its network.
pub(super) fn tap(carrier: &Carrier, port: &PortDetails) -> Wanted {
    Wanted::Tap { bridge: Some(carrier.bridge.clone()), mtu: carrier.mtu, up: port.admin_state_up }
}

#[cfg(test)]
pub(super) mod tests;
