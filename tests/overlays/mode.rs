//! The ways of flooding, as operators set them.

use anyhow::Result;
use testkit::cloud::{Cloud, HOSTS};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By a multicast group for each VNI.
    Multicast,
    /// To every host that has a tunnel end.
    Everyone,
    /// By the server's entries.
    Population,
    /// The same, and hosts answer ARP and neighbour solicitations.
    Responder,
    /// By the server's entries, between IPv6 tunnel ends.
    PopulationV6,
}

impl Mode {
    pub(crate) const ALL: [Self; 5] =
        [Self::Multicast, Self::Everyone, Self::Population, Self::Responder, Self::PopulationV6];

    /// The tunnel end of a host, by its number from 0.
    pub(crate) fn end(self, host: usize) -> String {
        match self {
            Self::PopulationV6 => format!("fd00:99::{}", host + 11),
            _ => format!("10.99.0.{}", host + 11),
        }
    }

    /// What a network carries over wires of 1500.
    pub(crate) fn mtu(self) -> u64 {
        if self == Self::PopulationV6 { 1430 } else { 1450 }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Multicast => "vxlan_group = 239.1.0.0/16\n",
            Self::Everyone => "vxlan_group =\n",
            Self::Population | Self::PopulationV6 => "l2_population = true\n",
            Self::Responder => "l2_population = true\narp_responder = true\n",
        }
    }

    /// Has every host work in this way from now on.
    pub(crate) fn configure(self, cloud: &mut Cloud) -> Result<()> {
        for host in HOSTS {
            cloud.stop_agent(host, "linuxbridge")?;
        }
        for (number, host) in HOSTS.into_iter().enumerate() {
            let node = cloud.node(host);
            node.run(&format!("ip address replace fd00:99::{}/64 dev eth1 nodad", number + 11))?;
            node.write(
                "plugins/ml2/linuxbridge_agent.ini",
                format!(
                    "[linux_bridge]\nphysical_interface_mappings = public:eth2\n[vxlan]\nlocal_ip = {}\n{}\
                     [securitygroup]\nfirewall_driver = noop\n",
                    self.end(number),
                    self.options()
                ),
            )?;
        }
        HOSTS.into_iter().try_for_each(|host| cloud.start_agent(host, "linuxbridge"))
    }
}
