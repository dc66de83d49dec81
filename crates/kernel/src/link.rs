//! Links: bridges, veth pairs, VLAN and VXLAN devices, taps and hardware.

mod message;

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};
use types::Mac;

use crate::{Namespace, Netlink, Result};

pub(crate) use message::parse;

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index: a link that is deleted and made again under the same name has another one.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Switched on by the administrator (`IFF_UP`).
    pub up: bool,
    /// Index of the bridge (or bond) it is a port of.
    pub master: Option<u32>,
    /// Index of the link below a VLAN device, or of the other end of a veth pair (in that end's namespace).
    pub parent: Option<u32>,
    /// Free text (`ip link set … alias`).
    pub alias: Option<String>,
    /// The group it is in; 0 unless somebody set another.
    pub group: u32,
}

/// What a link is, with the data of the kinds that the agents make themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Without a software kind: hardware and the loopback.
    Hardware,
    /// A bridge.
    Bridge(Bridge),
    /// One end of a virtual cable.
    Veth,
    /// A TUN or TAP device.
    Tun,
    /// An IEEE 802.1Q device with this VLAN id on its parent.
    Vlan(u16),
    /// A VXLAN device.
    Vxlan(Vxlan),
    /// Anything else, by the kernel's word.
    Other(String),
}

/// Settings of a bridge. Times are in hundredths of a second, as in the kernel's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridge {
    /// Runs the spanning tree protocol.
    pub stp: bool,
    /// How long a new port listens and learns before it forwards.
    pub forward_delay: u32,
    /// How long a learnt address is kept.
    pub ageing: u32,
}

/// Settings of a VXLAN device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vxlan {
    /// VXLAN network identifier.
    pub vni: u32,
    /// Index of the link the packets leave by.
    pub device: Option<u32>,
    /// Multicast group, or single remote, for flooding.
    pub group: Option<IpAddr>,
    /// Source address of the packets.
    pub local: Option<IpAddr>,
    /// UDP destination port.
    pub port: u16,
    /// Range of UDP source ports; (0, 0) leaves it to the kernel.
    pub source_ports: (u16, u16),
    /// Time to live of the packets; 0 leaves it to the kernel.
    pub ttl: u8,
    /// Type of service of the packets; 1 inherits.
    pub tos: u8,
    /// Answers ARP from its neighbour table.
    pub proxy: bool,
}

/// A link to create, with everything it shall have from its first moment.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// Its name.
    pub name: String,
    /// What to make.
    pub kind: NewKind,
    /// Its first settings.
    pub settings: LinkChange,
}

/// The kinds of link that can be created.
#[derive(Debug, Clone)]
pub enum NewKind {
    /// A bridge with these settings.
    Bridge(Bridge),
    /// A VLAN device on the link with this index.
    Vlan {
        /// Index of the link below.
        parent: u32,
        /// VLAN id.
        id: u16,
    },
    /// A VXLAN device.
    Vxlan(Vxlan),
    /// A veth pair; the link itself is one end and this is the other.
    Veth {
        /// Name of the other end.
        peer: String,
        /// First settings of the other end, its namespace among them.
        settings: Box<LinkChange>,
    },
    /// A link that swallows what it is given; for tests.
    Dummy,
}

/// Settings to change; what is `None` stays. The kernel takes them all in one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Ethernet address.
    pub mac: Option<Mac>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// Up or down.
    pub up: Option<bool>,
    /// `Some(None)` takes it out of its bridge, `Some(Some(index))` puts it into one.
    pub master: Option<Option<u32>>,
    /// Free text. The kernel does not take it in a creation, so there it costs a second request.
    pub alias: Option<String>,
    /// A number to tell links by.
    pub group: Option<u32>,
    /// Settings of a bridge.
    pub bridge: Option<Bridge>,
    /// The namespace to move it to.
    pub namespace: Option<Namespace>,
}

// ===== impl Bridge =====

impl Default for Bridge {
    /// A bridge that forwards at once: no spanning tree, no delay, the kernel's own ageing.
    fn default() -> Self {
        Self { stp: false, forward_delay: 0, ageing: 30_000 }
    }
}

// ===== impl LinkChange =====

impl LinkChange {
    /// Switched up, nothing else.
    pub fn up() -> Self {
        Self { up: Some(true), ..Self::default() }
    }

    /// Nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same, with this Ethernet address.
    pub fn with_mac(self, mac: Mac) -> Self {
        Self { mac: Some(mac), ..self }
    }

    /// The same, with this MTU.
    pub fn with_mtu(self, mtu: u32) -> Self {
        Self { mtu: Some(mtu), ..self }
    }

    /// The same, in the bridge with this index.
    pub fn with_master(self, master: u32) -> Self {
        Self { master: Some(Some(master)), ..self }
    }

    /// The same, in this namespace.
    pub fn in_namespace(self, namespace: &Namespace) -> Self {
        Self { namespace: Some(namespace.clone()), ..self }
    }
}

// ===== impl Netlink =====

impl Netlink {
    /// Every link.
    pub async fn links(&self) -> Result<Vec<Link>> {
        let answers = self.dump(RouteNetlinkMessage::GetLink(message::listing()), ("list", "links")).await?;
        let links = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Some(parse(&message)),
            _ => None,
        });
        Ok(links.collect())
    }

    /// The link of that name, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<Link>> {
        let answer = self.get(RouteNetlinkMessage::GetLink(message::named(name)), ("read link", name)).await?;
        Ok(answer.and_then(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Some(parse(&message)),
            _ => None,
        }))
    }

    /// Creates a link (or a pair). Fails with `EEXIST` when the name is taken.
    pub async fn link_create(&self, link: &NewLink) -> Result<()> {
        let (message, _files) = message::create(link)?;
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.change(RouteNetlinkMessage::NewLink(message), flags, ("create link", &link.name)).await?;
        // The kernel takes no alias in a creation, and the far end of a pair cannot come up before the pair is whole.
        let alias = LinkChange { alias: link.settings.alias.clone(), ..LinkChange::default() };
        self.link_set(&link.name, &alias).await?;
        match &link.kind {
            NewKind::Veth { peer, settings } if settings.up == Some(true) => {
                let inside = settings.namespace.as_ref().map(Self::open).transpose()?;
                inside.as_ref().unwrap_or(self).link_set(peer, &LinkChange::up()).await
            }
            _ => Ok(()),
        }
    }

    /// Changes settings of the link of that name. An empty change asks nothing of the kernel.
    pub async fn link_set(&self, name: &str, change: &LinkChange) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        let (message, _file) = message::change(name, change)?;
        self.change(RouteNetlinkMessage::NewLink(message), 0, ("change link", name)).await
    }

    /// Deletes the link of that name (and the other end of a pair).
    pub async fn link_delete(&self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.change(RouteNetlinkMessage::DelLink(message), 0, ("delete link", name)).await
    }
}
