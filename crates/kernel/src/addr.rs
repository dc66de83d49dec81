//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, CacheInfo},
};

pub use netlink_packet_route::address::{AddressFlags, AddressProtocol, AddressScope};

use crate::{Netlink, Result};

/// An address of a link, with all that must survive when it moves to another link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    /// The address and the length of its prefix.
    pub net: IpNet,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Its broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// How far it is valid; only global ones concern other machines.
    pub scope: AddressScope,
    /// The kernel's flags.
    pub flags: AddressFlags,
    /// Label of an IPv4 address: the link's name, or that and a suffix.
    pub label: Option<String>,
    /// Seconds until it is no longer preferred, and no longer valid; none for ever.
    pub lifetime: Option<(u32, u32)>,
    /// Metric of the route to its prefix.
    pub metric: Option<u32>,
    /// Who set it.
    pub protocol: Option<AddressProtocol>,
}

impl Address {
    /// A lasting global address with the usual broadcast address, usable at once (no duplicate address detection).
    pub fn new(link: u32, net: IpNet) -> Self {
        let broadcast = match net {
            IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast()),
            _ => None,
        };
        Self {
            link,
            net,
            peer: None,
            broadcast,
            scope: AddressScope::Universe,
            flags: AddressFlags::Permanent | AddressFlags::Nodad,
            label: None,
            lifetime: None,
            metric: None,
            protocol: None,
        }
    }

    /// Neither link-local nor of this machine alone.
    pub fn is_global(&self) -> bool {
        self.scope == AddressScope::Universe
    }

    fn message(&self) -> AddressMessage {
        let settable = AddressFlags::Nodad
            | AddressFlags::Homeaddress
            | AddressFlags::Managetempaddr
            | AddressFlags::Noprefixroute
            | AddressFlags::Mcautojoin;
        let mut message = AddressMessage::default();
        message.header.family = family(self.net.addr());
        message.header.prefix_len = self.net.prefix_len();
        message.header.index = self.link;
        message.header.scope = self.scope;
        message.header.flags = AddressHeaderFlags::from_bits_retain((self.flags & settable).bits() as u8);
        let attributes = &mut message.attributes;
        attributes.push(AddressAttribute::Local(self.net.addr()));
        attributes.push(AddressAttribute::Address(self.peer.unwrap_or(self.net.addr())));
        attributes.push(AddressAttribute::Flags(self.flags & settable));
        attributes.extend(self.broadcast.map(AddressAttribute::Broadcast));
        attributes.extend(self.label.clone().map(AddressAttribute::Label));
        attributes.extend(self.metric.map(AddressAttribute::RoutePriority));
        attributes.extend(self.protocol.map(AddressAttribute::Protocol));
        attributes.extend(self.lifetime.map(|(preferred, valid)| {
            let mut cache = CacheInfo::default();
            cache.ifa_preferred = preferred;
            cache.ifa_valid = valid;
            AddressAttribute::CacheInfo(cache)
        }));
        message
    }
}

impl Netlink {
    /// Every address of every link.
    pub async fn addresses(&self) -> Result<Vec<Address>> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump(message, ("list", "addresses")).await?;
        let addresses = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => parse(&message),
            _ => None,
        });
        Ok(addresses.collect())
    }

    /// Gives a link an address, or changes the attributes of one it has.
    pub async fn address_set(&self, address: &Address) -> Result<()> {
        let message = RouteNetlinkMessage::NewAddress(address.message());
        self.change(message, NLM_F_CREATE | NLM_F_REPLACE, ("set address", &address.net.to_string())).await
    }

    /// Takes an address from its link.
    pub async fn address_delete(&self, address: &Address) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.net.addr());
        message.header.prefix_len = address.net.prefix_len();
        message.header.index = address.link;
        message.attributes.push(AddressAttribute::Local(address.net.addr()));
        let message = RouteNetlinkMessage::DelAddress(message);
        self.change(message, 0, ("delete address", &address.net.to_string())).await
    }
}

pub(crate) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

pub(crate) fn parse(message: &AddressMessage) -> Option<Address> {
    let header = &message.header;
    let (mut local, mut remote) = (None, None);
    let mut address = Address {
        flags: AddressFlags::from_bits_retain(header.flags.bits().into()),
        scope: header.scope,
        broadcast: None,
        ..Address::new(header.index, IpNet::from(IpAddr::from([0, 0, 0, 0])))
    };
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => remote = Some(*ip),
            AddressAttribute::Broadcast(ip) => address.broadcast = Some(*ip),
            AddressAttribute::Flags(flags) => address.flags = *flags,
            AddressAttribute::Label(label) => address.label = Some(label.clone()),
            AddressAttribute::RoutePriority(metric) => address.metric = Some(*metric),
            AddressAttribute::Protocol(protocol) => address.protocol = Some(*protocol),
            AddressAttribute::CacheInfo(cache) if cache.ifa_valid != u32::MAX => {
                address.lifetime = Some((cache.ifa_preferred, cache.ifa_valid));
            }
            _ => {}
        }
    }
    // IPv6 has a local address only when it differs from the remote one.
    let ip = local.or(remote)?;
    address.net = IpNet::new(ip, header.prefix_len).ok()?;
    address.peer = remote.filter(|remote| *remote != ip);
    Some(address)
}
