//! The Linux bridge agent: puts the host's end of each port into the bridge of its network.
//!
//! What it promises:
//!
//! * **A port works milliseconds after its tap appears**, because the kernel says so and nobody polls. A tap that is
//!   replaced (another index under the same name) is wired anew.
//! * **Traffic is never disturbed by the agent itself**: it adopts the bridges and devices of the agent before,
//!   upstream's included, and changes only what is not as it should be.
//! * **The host stays reachable**: when an interface with addresses becomes the uplink of a bridge, its addresses and
//!   routes move to the bridge with all their attributes, and back when the bridge goes.
//! * **Nothing is removed before the server has answered for every tap once**, nor ever what is not ours.
//! * **One port or network that fails holds up no other.** It is tried again until it succeeds.
//!
//! How: [`desired`] turns the server's details into wanted objects, without touching anything. [`driver`] reads what
//! is and applies the difference; [`uplink`] moves addresses and routes. [`population`] knows who is behind which tunnel,
//! and [`forwarding`] does the same for the entries that say so. [`state`] remembers what was asked and told,
//! and [`agent`] is the loop.
//!
//! How a kernel object is recognised as ours, with nothing remembered:
//!
//! | object | is ours when | created | changed | removed |
//! |---|---|---|---|---|
//! | bridge `brq`+11 | its alias is the id of a network and its name is made of that id; or it has no alias yet but our link group | yes | yes; also adopted, by name, when a port of its network is here | when it holds nothing but uplinks of ours, and its network is gone or has had no port here for a while |
//! | bridge of `bridge_mappings` | never | no | no | no |
//! | physical interface | it is in `physical_interface_mappings` and in a bridge of ours | no | put into a bridge, with its addresses | taken out of the bridge before that goes |
//! | VLAN device `<interface>.<id>` | its name is made of its parent in `physical_interface_mappings` and its id, and it is in a bridge of ours | yes | yes | with its bridge |
//! | VXLAN device `vxlan-<vni>` | its name is made of its VNI, and it is in a bridge of ours or in none | yes | yes | with its bridge |
//! | permanent forwarding entries and neighbours of a VXLAN device | the device's name is made of its VNI, and its network is here, flooded by entries | yes | yes | when the server says that they went, or once it has told of everything |
//! | tap `tap`+11 | never: hypervisors and other agents make and remove taps | no | bridge, MTU, up or down, when the server says that its port is bound here | no |
//! | chains of iptables and ip6tables | their names begin with `neutron-linuxbri-`; `neutron-filter-top` when it leads only to those | yes | yes | when their tap is gone or no port of this host, the last of them with the last port |
//! | chains of ebtables | `neutronMAC-`, `neutronARP-` and a tap | yes | yes | likewise |
//! | sets of ipset | their names begin with `NIPv4` or `NIPv6` | yes | members | when no rule refers to them |
//! | table `bridge isospin_ports` of nftables | by its name | yes | yes | with the last port |
//! | programs `isospin_ingress` and `isospin_egress` of taps and uplinks, their maps | by their names | replaced | yes | with the filtered ports of the bridge; when this process ends they stay, and do nothing |
//!
//! What upstream's agent does that this one does not: QoS. What passes to and from ports is [`firewall`]'s, and [`fast_path`]
//! saves it most of the packets. Instances' taps that are in no bridge are wired too, since a hypervisor that plugs by `tap`
//! leaves that to us.

mod agent;
pub mod config;
mod desired;
mod driver;
mod fast_path;
mod firewall;
mod forwarding;
mod mode;
mod notification;
mod object;
mod population;
mod state;
mod uplink;

use std::net::IpAddr;

pub use agent::run;
pub use config::{Config, Firewall, FirewallDriver, GroupRange, Overlay};
pub use mode::Mode;

/// What ends the agent: things a person must put right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A mapping names something that this host does not have.
    #[error("{option}{file} maps physical network '{network}' to {what} '{name}', which does not exist on this host")]
    Mapping {
        /// The option.
        option: &'static str,
        /// " in <file>", where known.
        file: String,
        /// The physical network.
        network: String,
        /// "interface" or "bridge".
        what: &'static str,
        /// The name it is mapped to.
        name: String,
    },
    /// The tunnel address is not of this host.
    #[error(
        "local_ip{file} is {address}, which is not an address of this host; tunnels need one, or enable_vxlan = false"
    )]
    LocalIp {
        /// " in <file>", where known.
        file: String,
        /// The address.
        address: IpAddr,
    },
    /// The kernel cannot what the VXLAN options ask for.
    #[error("this kernel cannot do VXLAN with {what}; change the options of [vxlan], or set enable_vxlan = false")]
    Vxlan {
        /// How networks would be flooded.
        what: &'static str,
        /// What it refused.
        source: kernel::Error,
    },
    /// The firewall that the operator chose cannot work here.
    #[error("{0}")]
    Firewall(String),
    /// The kernel does not even let us look.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}
