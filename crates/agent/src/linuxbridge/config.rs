//! What the operator sets, as the agent needs it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use ipnet::IpNet;
use kernel::System;

/// Options, with upstream's names and meanings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this host, as ports are bound to it.
    pub host: String,
    /// Interface of each physical network.
    pub physical_interface_mappings: BTreeMap<String, String>,
    /// Bridge of each physical network whose bridge is not ours to make.
    pub bridge_mappings: BTreeMap<String, String>,
    /// Settings of VXLAN networks; none when this host carries none.
    pub vxlan: Option<Overlay>,
    /// Time between state reports.
    pub report_interval: Duration,
    /// How long a bridge that lost its last port stays, when nobody says that its network is gone. A hypervisor may
    /// have made it for a port that is about to come.
    pub empty_bridge_grace: Duration,
    /// Names of agent extensions, for the report.
    pub extensions: Vec<String>,
    /// The file that gave the mappings, to name it when they are wrong.
    pub source: Option<String>,
    /// Security groups and anti-spoofing.
    pub firewall: Firewall,
    /// The machine to work on.
    pub system: System,
}

/// How this host enforces security groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// What they are enforced with.
    pub driver: FirewallDriver,
    /// Off: whatever the driver, nothing is filtered.
    pub enable: bool,
    /// Members of groups are in sets, where they otherwise are a rule each; of the iptables driver.
    pub ipset: bool,
    /// Connections are tracked; of the nftables driver. Off, every group counts as one without state, which is for
    /// tests on kernels that cannot track.
    pub tracking: bool,
    /// Packets of flows that just passed are not filtered one by one, where the kernel can.
    pub fast_path: bool,
}

/// Kinds of firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallDriver {
    /// nftables where the kernel can, else iptables.
    Auto,
    /// iptables, ebtables and ipset, as upstream's agent has them.
    Iptables,
    /// nftables in the bridge family.
    Nftables,
    /// None.
    Noop,
}

impl Default for Firewall {
    /// Upstream's: no driver.
    fn default() -> Self {
        Self { driver: FirewallDriver::Noop, enable: true, ipset: true, tracking: true, fast_path: true }
    }
}

impl FirewallDriver {
    /// What may be given as `firewall_driver`: our names first, then upstream's, old ones included.
    pub(crate) const NAMES: [(&str, Self); 9] = [
        ("auto", Self::Auto),
        ("iptables", Self::Iptables),
        ("nftables", Self::Nftables),
        ("noop", Self::Noop),
        ("iptables_hybrid", Self::Iptables),
        ("neutron.agent.linux.iptables_firewall.IptablesFirewallDriver", Self::Iptables),
        ("neutron.agent.linux.iptables_firewall.OVSHybridIptablesFirewallDriver", Self::Iptables),
        ("neutron.agent.firewall.NoopFirewallDriver", Self::Noop),
        ("neutron.agent.firewall:NoopFirewallDriver", Self::Noop),
    ];
}

/// How this host takes part in VXLAN networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Address of this host from which its tunnels start.
    pub local_ip: IpAddr,
    /// Multicast group that carries what is flooded, or a prefix from which each VNI takes the group of its number; none
    /// where nothing is to be multicast.
    pub group: Option<IpNet>,
    /// Groups of ranges of VNIs, which come first.
    pub group_ranges: Vec<GroupRange>,
    /// UDP destination port.
    pub port: u16,
    /// UDP source ports; (0, 0) leaves them to the kernel.
    pub source_ports: (u16, u16),
    /// Time to live; 0 leaves it to the kernel.
    pub ttl: u8,
    /// Type of service; 0 leaves it to the kernel.
    pub tos: u8,
    /// Forwarding entries come from the server.
    pub l2_population: bool,
    /// The host answers ARP for addresses behind tunnels.
    pub arp_responder: bool,
}

/// The multicast group of a range of VNIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRange {
    /// The group.
    pub group: IpAddr,
    /// First and last VNI.
    pub vnis: (u32, u32),
}

impl Config {
    /// Upstream's defaults: a host without physical networks and tunnels.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            physical_interface_mappings: BTreeMap::new(),
            bridge_mappings: BTreeMap::new(),
            vxlan: None,
            report_interval: Duration::from_secs(30),
            empty_bridge_grace: Duration::from_secs(300),
            extensions: Vec::new(),
            source: None,
            firewall: Firewall::default(),
            system: System::current(),
        }
    }
}

impl Overlay {
    /// The kernel's and upstream's defaults: multicast to 224.0.0.1, UDP port 8472.
    pub fn new(local_ip: IpAddr) -> Self {
        Self {
            local_ip,
            group: Some(IpNet::from(IpAddr::from([224, 0, 0, 1]))),
            group_ranges: Vec::new(),
            port: 8472,
            source_ports: (0, 0),
            ttl: 0,
            tos: 0,
            l2_population: false,
            arp_responder: false,
        }
    }

    /// The multicast group of a VNI: that of its range, else the group of its number within the prefix.
    pub fn group_of(&self, vni: u32) -> Option<IpAddr> {
        let range = self.group_ranges.iter().find(|range| (range.vnis.0..=range.vnis.1).contains(&vni));
        if let Some(range) = range {
            return Some(range.group);
        }
        Some(match self.group? {
            IpNet::V4(net) => {
                let group = u32::from(net.network()) | (vni & u32::from(net.hostmask()));
                IpAddr::from(group.to_be_bytes())
            }
            IpNet::V6(net) => {
                let group = u128::from(net.network()) | (u128::from(vni) & u128::from(net.hostmask()));
                IpAddr::from(group.to_be_bytes())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vni_has_the_group_of_its_range_or_of_its_number() {
        let mut overlay = Overlay::new([10, 0, 0, 1].into());
        assert_eq!(overlay.group_of(7), Some([224, 0, 0, 1].into()));
        overlay.group = Some("239.1.0.0/16".parse().unwrap());
        overlay.group_ranges = vec![GroupRange { group: [225, 0, 0, 1].into(), vnis: (100, 199) }];
        let groups = [5, 0x1_0203, 100, 199, 200].map(|vni| overlay.group_of(vni).unwrap().to_string());
        assert_eq!(groups, ["239.1.0.5", "239.1.2.3", "225.0.0.1", "225.0.0.1", "239.1.0.200"]);
        overlay.group = Some("ff05::100/120".parse().unwrap());
        assert_eq!(overlay.group_of(0x203).unwrap().to_string(), "ff05::103");
        overlay.group = None;
        assert_eq!(overlay.group_of(7), None);
    }
}
