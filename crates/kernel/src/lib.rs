//! The kernel and privilege perimeter: everything an agent does to the machine goes through here.
//!
//! | module | object | the kernel's interface |
//! |---|---|---|
//! | [`netns`] | named network namespaces | bind mounts of `/proc/…/ns/net`, as `ip netns` makes them |
//! | [`link`] | bridges, veth pairs, VLAN and VXLAN devices, taps | rtnetlink |
//! | [`addr`], [`route`] | addresses and routes | rtnetlink |
//! | [`neighbour`] | forwarding entries of VXLAN devices, neighbours | rtnetlink |
//! | [`qdisc`] | queueing disciplines | rtnetlink |
//! | [`announce`] | neighbours told where an address is | packet sockets |
//! | [`conntrack`] | tracked connections | ctnetlink |
//! | [`monitor`] | what happens to links and addresses | rtnetlink multicast |
//! | [`bpf`] | a cache of the ways of flows across bridges | bpf, TCX |
//! | [`nft`] | nftables: tables, chains, rules, sets | libnftables, in process |
//! | [`xtables`] | iptables, ebtables, ipset | their programs |
//! | [`sysctl`] | parameters of a namespace | `/proc/sys` |
//! | [`process`] | child processes | pidfd, `/proc` |
//! | [`checksum`] | who computes UDP checksums of a veth device | ethtool, iptables |
//! | [`file`], [`datagram`] | small files that programs read, single datagrams | files, sockets |
//! | [`socket`], [`user`] | listening sockets, who this process is | sockets, the user database |
//! | [`memory`] | what of the program stays in memory | `madvise` |
//!
//! [`host`] is the seam: the agents are written against its traits, and [`fake`] is a second kernel, in memory.
//! No program is run for what netlink can do. `unsafe` is allowed in this crate alone.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod addr;
pub mod announce;
pub mod bpf;
pub mod checksum;
pub mod conntrack;
pub mod datagram;
pub mod error;
pub mod fake;
pub mod file;
pub mod host;
pub mod link;
pub mod memory;
pub mod monitor;
pub mod neighbour;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod process;
pub mod qdisc;
pub mod route;
pub mod socket;
pub mod sysctl;
pub mod testing;
pub mod user;
pub mod xtables;

pub use addr::Address;
pub use bpf::{FlowCache, Flows};
pub use error::{Error, Result, existing_is_fine, missing_is_fine};
pub use host::{Host, Kernel};
pub use link::{Bridge, Kind, Link, LinkChange, NewKind, NewLink, Vxlan};
pub use monitor::{Event, Events};
pub use neighbour::{Forwarding, Neighbour};
pub use netlink::Netlink;
pub use netns::{Namespace, System};
pub use nix::errno::Errno;
pub use route::Route;
