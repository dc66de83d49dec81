//! What a link knows of who is behind it: forwarding entries of VXLAN devices and neighbours (ARP and ND entries).
//!
//! Only permanent entries are read, which somebody set; what the kernel learns by itself comes and goes with traffic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
};
use types::Mac;

use crate::{Netlink, Result, addr::family};

/// The MAC of entries that say where frames go that are for all, or for an unknown MAC.
pub const FLOOD: Mac = Mac([0; 6]);

/// An entry of a VXLAN device: frames to this MAC are sent to this host. A MAC leads to one host, but [`FLOOD`] to any
/// number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Forwarding {
    /// Index of the VXLAN device.
    pub link: u32,
    /// Destination of the frames.
    pub mac: Mac,
    /// The host's end of the tunnel.
    pub remote: IpAddr,
}

/// A neighbour on a link. One on a VXLAN device with `proxy` is answered for by this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    /// Index of the link.
    pub link: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: Mac,
}

impl Forwarding {
    /// `00:00:00:00:00:00 to 10.0.0.2`
    pub(crate) fn object(&self) -> String {
        format!("{} to {}", self.mac, self.remote)
    }

    fn message(&self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = self.link;
        message.header.state = NeighbourState::Permanent;
        message.header.flags = NeighbourFlags::Own;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(self.mac.0.to_vec()));
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::from(self.remote)));
        message
    }

    fn parse(message: &NeighbourMessage) -> Option<Self> {
        let header = &message.header;
        let permanent = u16::from(header.state) & u16::from(NeighbourState::Permanent) != 0;
        if !permanent || !header.flags.contains(NeighbourFlags::Own) {
            return None;
        }
        let (mac, remote) = attributes(message);
        Some(Self { link: header.ifindex, mac: mac?, remote: remote? })
    }
}

impl Neighbour {
    /// `10.0.0.2`
    pub(crate) fn object(&self) -> String {
        self.address.to_string()
    }

    fn message(&self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family(self.address);
        message.header.ifindex = self.link;
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::from(self.address)));
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(self.mac.0.to_vec()));
        message
    }

    fn parse(message: &NeighbourMessage) -> Option<Self> {
        if message.header.state != NeighbourState::Permanent {
            return None;
        }
        let (mac, address) = attributes(message);
        Some(Self { link: message.header.ifindex, address: address?, mac: mac? })
    }
}

impl Netlink {
    /// The permanent forwarding entries of every VXLAN device that lead to other hosts.
    pub async fn forwardings(&self) -> Result<Vec<Forwarding>> {
        let answers = self.listing(AddressFamily::Bridge, "forwarding entries").await?;
        Ok(answers.iter().filter_map(Forwarding::parse).collect())
    }

    /// Adds an entry; one for a single MAC takes the place of the one that led elsewhere. That it stands is success.
    pub async fn forwarding_set(&self, entry: &Forwarding) -> Result<()> {
        let message = RouteNetlinkMessage::NewNeighbour(entry.message());
        let mode = if entry.mac == FLOOD { NLM_F_APPEND } else { NLM_F_REPLACE };
        self.change(message, NLM_F_CREATE | mode, ("forward", &entry.object())).await
    }

    /// Removes an entry; `ENOENT` when there is none for its MAC.
    pub async fn forwarding_delete(&self, entry: &Forwarding) -> Result<()> {
        let message = RouteNetlinkMessage::DelNeighbour(entry.message());
        self.change(message, 0, ("stop forwarding", &entry.object())).await
    }

    /// The permanent neighbours of every link, of both families.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>> {
        let mut neighbours = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let answers = self.listing(family, "neighbours").await?;
            neighbours.extend(answers.iter().filter_map(Neighbour::parse));
        }
        Ok(neighbours)
    }

    /// The addresses that somebody wants to reach on a link and that nobody has answered for yet.
    pub async fn unanswered(&self, link: u32) -> Result<Vec<IpAddr>> {
        let open = u16::from(NeighbourState::Incomplete) | u16::from(NeighbourState::Failed);
        let mut addresses = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let answers = self.listing(family, "neighbours").await?;
            let of_link = answers.iter().filter(|entry| entry.header.ifindex == link);
            let asked = of_link.filter(|entry| u16::from(entry.header.state) & open != 0);
            addresses.extend(asked.filter_map(|entry| attributes(entry).1));
        }
        Ok(addresses)
    }

    /// Adds a neighbour, or gives the one with its address another MAC. One with an IPv6 address needs a link on which
    /// IPv6 is enabled.
    pub async fn neighbour_set(&self, neighbour: &Neighbour) -> Result<()> {
        let message = RouteNetlinkMessage::NewNeighbour(neighbour.message());
        self.change(message, NLM_F_CREATE | NLM_F_REPLACE, ("set neighbour", &neighbour.object())).await
    }

    /// Removes a neighbour; `ENOENT` when there is none.
    pub async fn neighbour_delete(&self, neighbour: &Neighbour) -> Result<()> {
        let message = RouteNetlinkMessage::DelNeighbour(neighbour.message());
        self.change(message, 0, ("delete neighbour", &neighbour.object())).await
    }

    async fn listing(&self, family: AddressFamily, what: &'static str) -> Result<Vec<NeighbourMessage>> {
        let mut message = NeighbourMessage::default();
        message.header.family = family;
        let answers = self.dump(RouteNetlinkMessage::GetNeighbour(message), ("list", what)).await?;
        let entries = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message) => Some(message),
            _ => None,
        });
        Ok(entries.collect())
    }
}

/// MAC and address of an entry. The address of a forwarding entry has no family of its own: its length tells.
fn attributes(message: &NeighbourMessage) -> (Option<Mac>, Option<IpAddr>) {
    let (mut mac, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(octets) => mac = octets.as_slice().try_into().ok().map(Mac),
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::V4(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::V6(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Other(octets)) => address = ip_of(octets),
            _ => {}
        }
    }
    (mac, address)
}

fn ip_of(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))).ok()
}
