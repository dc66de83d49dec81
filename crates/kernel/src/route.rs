//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteProtocol, RouteScope,
        RouteType,
    },
};

use crate::{Netlink, Result, addr::family};

/// A route. It keeps the kernel's whole message, so that moving it to another link loses no attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(RouteMessage);

impl Route {
    /// A route of the main table to `destination`, out of the link with that index, by way of `gateway` if given.
    pub fn new(destination: IpNet, gateway: Option<IpAddr>, link: u32) -> Self {
        let mut message = RouteMessage::default();
        message.header.address_family = family(destination.addr());
        message.header.destination_prefix_length = destination.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        let on_link = gateway.is_none() && destination.addr().is_ipv4();
        message.header.scope = if on_link { RouteScope::Link } else { RouteScope::Universe };
        if destination.prefix_len() > 0 {
            message.attributes.push(RouteAttribute::Destination(destination.network().into()));
        }
        message.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        message.attributes.push(RouteAttribute::Oif(link));
        Self(message)
    }

    /// The default route of the gateway's family.
    pub fn default_via(gateway: IpAddr, link: u32) -> Self {
        let any = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let destination = if any.is_ipv4() { IpNet::V4(Default::default()) } else { IpNet::V6(Default::default()) };
        debug_assert_eq!(destination.addr(), any);
        Self::new(destination, Some(gateway), link)
    }

    /// A route of the main table that several next hops share, each with the link it is reached by.
    pub fn shared(destination: IpNet, hops: &[(IpAddr, u32)]) -> Self {
        let mut route = Self::new(destination, None, 0);
        route.0.header.scope = RouteScope::Universe;
        route.0.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Oif(_)));
        let hops = hops.iter().map(|(gateway, link)| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = *link;
            hop.attributes.push(RouteAttribute::Gateway((*gateway).into()));
            hop
        });
        route.0.attributes.push(RouteAttribute::MultiPath(hops.collect()));
        route
    }

    /// Where it leads.
    pub fn destination(&self) -> Option<IpNet> {
        let header = &self.0.header;
        let any = match header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let address = self.find(|a| if let RouteAttribute::Destination(a) = a { ip(a) } else { None });
        IpNet::new(address.unwrap_or(any), header.destination_prefix_length).ok()
    }

    /// The next hop.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.find(|a| if let RouteAttribute::Gateway(a) = a { ip(a) } else { None })
    }

    /// The preferred source address.
    pub fn source(&self) -> Option<IpAddr> {
        self.find(|a| if let RouteAttribute::PrefSource(a) = a { ip(a) } else { None })
    }

    /// Its priority: the lower, the better.
    pub fn metric(&self) -> Option<u32> {
        self.find(|a| if let RouteAttribute::Priority(metric) = a { Some(*metric) } else { None })
    }

    /// The table it stands in.
    pub fn table(&self) -> u32 {
        self.find(|a| if let RouteAttribute::Table(table) = a { Some(*table) } else { None })
            .unwrap_or(self.0.header.table.into())
    }

    /// Index of the link it leaves by; none for one with several next hops.
    pub fn link(&self) -> Option<u32> {
        self.find(|a| if let RouteAttribute::Oif(link) = a { Some(*link) } else { None })
    }

    /// An ordinary unicast route that somebody set, rather than one the kernel derives from an address.
    pub fn is_set_by_hand(&self) -> bool {
        let header = &self.0.header;
        header.kind == RouteType::Unicast
            && !matches!(header.protocol, RouteProtocol::Kernel | RouteProtocol::IcmpRedirect)
    }

    /// A route of the main table that an administrator or an agent set, rather than one that a protocol or the kernel
    /// found.
    pub fn is_static(&self) -> bool {
        let header = &self.0.header;
        let fixed = matches!(header.protocol, RouteProtocol::Static | RouteProtocol::Boot);
        header.kind == RouteType::Unicast && fixed && self.table() == u32::from(RouteHeader::RT_TABLE_MAIN)
    }

    /// Its next hops, sorted: the gateway, if there is one, and the link.
    pub fn hops(&self) -> Vec<(Option<IpAddr>, u32)> {
        let gateway = |hop: &RouteNextHop| {
            hop.attributes.iter().find_map(|a| if let RouteAttribute::Gateway(a) = a { ip(a) } else { None })
        };
        let several = self.find(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => {
                Some(hops.iter().map(|hop| (gateway(hop), hop.interface_index)).collect())
            }
            _ => None,
        });
        let mut hops: Vec<_> =
            several.unwrap_or_else(|| self.link().map(|link| (self.gateway(), link)).into_iter().collect());
        hops.sort();
        hops
    }

    /// Whether one of its next hops leaves by that link.
    pub fn uses(&self, link: u32) -> bool {
        self.0.attributes.iter().any(|attribute| match attribute {
            RouteAttribute::Oif(index) => *index == link,
            RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| hop.interface_index == link),
            _ => false,
        })
    }

    /// The same route in every respect, but through `to` wherever it went through `from`.
    pub fn moved(mut self, from: u32, to: u32) -> Self {
        for attribute in &mut self.0.attributes {
            match attribute {
                RouteAttribute::Oif(index) if *index == from => *index = to,
                RouteAttribute::MultiPath(hops) => {
                    hops.iter_mut().filter(|hop| hop.interface_index == from).for_each(|hop| hop.interface_index = to);
                }
                _ => {}
            }
        }
        self
    }

    /// The same, in this table.
    pub fn in_table(mut self, table: u8) -> Self {
        self.0.header.table = table;
        self
    }

    /// The same, with this metric.
    pub fn with_metric(mut self, metric: u32) -> Self {
        self.0.attributes.push(RouteAttribute::Priority(metric));
        self
    }

    /// The same, with this preferred source.
    pub fn with_source(mut self, source: IpAddr) -> Self {
        self.0.attributes.push(RouteAttribute::PrefSource(source.into()));
        self
    }

    fn find<T>(&self, read: impl Fn(&RouteAttribute) -> Option<T>) -> Option<T> {
        self.0.attributes.iter().find_map(read)
    }

    /// The message without what the kernel tells but does not take.
    fn request(&self) -> RouteMessage {
        let mut message = self.0.clone();
        // The kernel tells what is left of a route's life in ticks and takes it in seconds.
        let left = self.find(|a| if let RouteAttribute::CacheInfo(cache) = a { Some(cache.expires) } else { None });
        message.attributes.retain(|a| !matches!(a, RouteAttribute::CacheInfo(_) | RouteAttribute::Expires(_)));
        let expires = left.filter(|ticks| *ticks > 0).map(|ticks| RouteAttribute::Expires(ticks / TICKS_PER_SECOND));
        message.attributes.extend(expires);
        message.header.flags &= RouteFlags::Onlink;
        message
    }

    pub(crate) fn object(&self) -> String {
        self.destination().map(|net| net.to_string()).unwrap_or_default()
    }
}

impl Netlink {
    /// Every route of both families, in every table but `local`.
    pub async fn routes(&self) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self.dump(RouteNetlinkMessage::GetRoute(message), ("list", "routes")).await?;
            routes.extend(answers.into_iter().filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(message) if message.header.table != TABLE_LOCAL => Some(Route(message)),
                _ => None,
            }));
        }
        Ok(routes)
    }

    /// Adds a route. Fails with `EEXIST` when one to the same destination with the same metric stands.
    pub async fn route_add(&self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route.request());
        self.change(message, NLM_F_CREATE | NLM_F_EXCL, ("add route to", &route.object())).await
    }

    /// Adds a route, or puts it in the place of the one to the same destination with the same metric, at one stroke.
    pub async fn route_replace(&self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route.request());
        self.change(message, NLM_F_CREATE | NLM_F_REPLACE, ("set route to", &route.object())).await
    }

    /// Deletes a route.
    pub async fn route_delete(&self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::DelRoute(route.request());
        self.change(message, 0, ("delete route to", &route.object())).await
    }
}

/// The table where the kernel notes the machine's own addresses.
const TABLE_LOCAL: u8 = 255;
/// The kernel's clock as user space sees it, the same on all architectures that matter here.
const TICKS_PER_SECOND: u32 = 100;

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
