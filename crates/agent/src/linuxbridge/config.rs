//! What the operator sets, as the agent needs it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

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
    /// The machine to work on.
    pub system: System,
}

/// How this host takes part in VXLAN networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Address of this host from which its tunnels start.
    pub local_ip: IpAddr,
    /// Multicast group that carries what is flooded.
    pub group: Option<IpAddr>,
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
            system: System::current(),
        }
    }
}

impl Overlay {
    /// The kernel's and upstream's defaults: multicast to 224.0.0.1, UDP port 8472.
    pub fn new(local_ip: IpAddr) -> Self {
        Self {
            local_ip,
            group: Some(IpAddr::from([224, 0, 0, 1])),
            port: 8472,
            source_ports: (0, 0),
            ttl: 0,
            tos: 0,
            l2_population: false,
            arp_responder: false,
        }
    }
}
