//! Connections that the kernel tracks, and an end to some of them.
//!
//! What is established keeps its translation and its verdict whatever the rules say later. Where that is not wanted, as
//! when a floating IP goes to another instance, the connection has to be forgotten. Where another machine takes over, it
//! has to know the connection: see [`Changes`] and [`put`].

mod changes;
mod put;

pub use changes::{Change, Changes};
pub use put::put;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use crate::{Errno, Error, Namespace, Result};

/// `NFNL_SUBSYS_CTNETLINK` and its messages.
const GET: u16 = 0x0101;
const CHANGE: u16 = 0x0100;
const DELETE: u16 = 0x0102;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// Attributes.
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_MARK: u16 = 8;
const CTA_ID: u16 = 12;
const CTA_TUPLE_MASTER: u16 = 14;
const CTA_ZONE: u16 = 18;
const CTA_MARK_MASK: u16 = 21;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// `CTA_FILTER_F_CTA_IP_SRC` and `CTA_FILTER_F_CTA_IP_DST`: what of a tuple has to be the same.
const FILTER_SOURCE: u32 = 1;
const FILTER_DESTINATION: u32 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const NESTED: u16 = 0x8000;
/// Bits of a status.
const SEEN_REPLY: u32 = 1 << 1;
const ASSURED: u32 = 1 << 2;
/// The bits of an attribute's type that are its number.
const TYPE_MASK: u16 = 0x3fff;

const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
const BUFFER: usize = 1 << 16;

/// A tracked connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// As the first packet had it when it came in.
    pub original: Tuple,
    /// As the answers have it when they come in: other addresses than the original's where it is translated.
    pub reply: Tuple,
    /// The zone it is tracked in.
    pub zone: u16,
    /// Type and code of its first packet, of ICMP.
    pub icmp: Option<(u8, u8)>,
    /// What rules, or we, have noted on it.
    pub mark: u32,
    /// It came of another one, as a data connection of FTP does.
    pub is_related: bool,
    /// There were packets both ways.
    pub is_answered: bool,
    /// The kernel does not give it up for want of room.
    pub is_assured: bool,
    /// Seconds for which it is still remembered without a packet.
    pub timeout: u32,
    /// How far it has come, of TCP, by the kernel's numbers.
    pub tcp_state: Option<u8>,
    family: u8,
    /// What the kernel knows it by.
    identity: Vec<(u16, Vec<u8>)>,
}

impl Connection {
    /// A connection that no kernel knows yet.
    pub fn between(original: Tuple, reply: Tuple) -> Self {
        Self {
            original,
            reply,
            zone: 0,
            icmp: None,
            mark: 0,
            is_related: false,
            is_answered: false,
            is_assured: false,
            timeout: 0,
            tcp_state: None,
            family: family(if original.source.is_ipv6() { 6 } else { 4 }),
            identity: vec![(CTA_TUPLE_ORIG | NESTED, put::tuple(&original))],
        }
    }
}

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// From where.
    pub source: IpAddr,
    /// Where to.
    pub destination: IpAddr,
    /// Number of the IP protocol.
    pub protocol: u8,
    /// Port it is from, of the protocols that have ports.
    pub source_port: Option<u16>,
    /// Port it is to.
    pub destination_port: Option<u16>,
}

/// Which connections are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// Those of a family (4 or 6).
    All(u8),
    /// Those whose first packet came from there.
    From(IpAddr),
    /// Those whose first packet was sent there.
    To(IpAddr),
    /// Those of a family with a mark.
    Marked(u8, u32),
    /// Those of a family in a zone.
    InZone(u8, u16),
}

impl Which {
    fn family(&self) -> u8 {
        match self {
            Self::All(ip_version) | Self::Marked(ip_version, _) | Self::InZone(ip_version, _) => family(*ip_version),
            Self::From(address) | Self::To(address) => family(if address.is_ipv6() { 6 } else { 4 }),
        }
    }

    /// Has the kernel leave out the others, of which there may be hundreds of thousands.
    fn attributes(&self) -> Vec<(u16, Vec<u8>)> {
        let (address, flags) = match self {
            Self::All(_) => return Vec::new(),
            Self::Marked(_, mark) => {
                return vec![(CTA_MARK, mark.to_be_bytes().into()), (CTA_MARK_MASK, u32::MAX.to_be_bytes().into())];
            }
            Self::InZone(_, zone) => return vec![(CTA_ZONE, zone.to_be_bytes().into())],
            // Of addresses of IPv6 the kernel tells of all others.
            Self::From(address) | Self::To(address) if address.is_ipv6() => return Vec::new(),
            Self::From(address) => (address, FILTER_SOURCE),
            Self::To(address) => (address, FILTER_DESTINATION),
        };
        let mut filter = Vec::new();
        attribute(&mut filter, CTA_FILTER_ORIG_FLAGS, &flags.to_ne_bytes());
        let like =
            Tuple { source: *address, destination: *address, protocol: 0, source_port: None, destination_port: None };
        vec![(CTA_TUPLE_ORIG | NESTED, put::tuple(&like)), (CTA_FILTER | NESTED, filter)]
    }

    /// Kernels before 5.8 know no filter by address, and those before 6.8 none by zone.
    fn is(&self, connection: &Connection) -> bool {
        match self {
            Self::All(_) => true,
            Self::From(address) => connection.original.source == *address,
            Self::To(address) => connection.original.destination == *address,
            Self::Marked(_, mark) => connection.mark == *mark,
            Self::InZone(_, zone) => connection.zone == *zone,
        }
    }
}

/// The connections of a family (4 or 6) that are tracked in a namespace.
pub fn list(namespace: &Namespace, ip_version: u8) -> Result<Vec<Connection>> {
    find(namespace, Which::All(ip_version))
}

/// Some of the connections that are tracked in a namespace.
pub fn find(namespace: &Namespace, which: Which) -> Result<Vec<Connection>> {
    let request = message(GET, NLM_F_REQUEST | NLM_F_DUMP, which.family(), &which.attributes());
    let listed = namespace.run(|| exchange(&open()?, &request))?;
    let messages = listed.map_err(|error| Error::io("list", "connections", &error))?;
    let connections = messages.iter().filter_map(|message| parse(message));
    Ok(connections.filter(|connection| which.is(connection)).collect())
}

/// Has the kernel forget those connections of a family that `keep` does not want. Returns how many there were.
pub fn retain(namespace: &Namespace, ip_version: u8, keep: impl Fn(&Connection) -> bool) -> Result<usize> {
    let unwanted: Vec<Connection> =
        list(namespace, ip_version)?.into_iter().filter(|connection| !keep(connection)).collect();
    forget(namespace, &unwanted)?;
    Ok(unwanted.len())
}

/// Has the kernel forget connections.
pub fn forget(namespace: &Namespace, connections: &[Connection]) -> Result<()> {
    let request = |it: &Connection| message(DELETE, NLM_F_REQUEST | NLM_F_ACK, it.family, &it.identity);
    each(namespace, connections, request).map_err(|error| Error::io("end", "connections", &error))
}

/// Notes a number on connections, which rules can ask for.
pub fn mark(namespace: &Namespace, connections: &[Connection], mark: u32) -> Result<()> {
    let request = |it: &Connection| {
        // The kernel does not find an entry to change by its id.
        let named = it.identity.iter().filter(|(kind, _)| kind & TYPE_MASK != CTA_ID).cloned();
        let attributes: Vec<_> = named.chain([(CTA_MARK, mark.to_be_bytes().to_vec())]).collect();
        message(CHANGE, NLM_F_REQUEST | NLM_F_ACK, it.family, &attributes)
    };
    each(namespace, connections, request).map_err(|error| Error::io("mark", "connections", &error))
}

/// Asks one thing of each connection. One that ended by itself is fine.
fn each(
    namespace: &Namespace,
    connections: &[Connection],
    request: impl Fn(&Connection) -> Vec<u8> + Sync,
) -> io::Result<()> {
    if connections.is_empty() {
        return Ok(());
    }
    let done = namespace.run(|| {
        let socket = open()?;
        connections.iter().try_for_each(|connection| match exchange(&socket, &request(connection)) {
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(()),
            other => other.map(drop),
        })
    });
    done.unwrap_or_else(|error| Err(io::Error::from_raw_os_error(error.errno() as i32)))
}

fn family(ip_version: u8) -> u8 {
    (if ip_version == 6 { nix::libc::AF_INET6 } else { nix::libc::AF_INET }) as u8
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn message(kind: u16, flags: u16, family: u8, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    // Family, version 0, no resource.
    bytes.extend([family, 0, 0, 0]);
    for (kind, value) in attributes {
        attribute(&mut bytes, *kind, value);
    }
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend(((value.len() + 4) as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Sends a request; the messages of the answer without their headers.
fn exchange(socket: &Socket, request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    socket.send(request, 0)?;
    let mut answers = Vec::new();
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        let received = socket.recv(&mut buffer, 0)?;
        let mut rest = &buffer[..received.min(buffer.len())];
        while rest.len() >= HEADER {
            let length = u32_at(rest, 0) as usize;
            if length < HEADER || length > rest.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let (kind, body) = (u16_at(rest, 4), &rest[HEADER..length]);
            match kind {
                NLMSG_DONE => return Ok(answers),
                NLMSG_ERROR => {
                    let code = i32::from_ne_bytes(four(body, 0));
                    return if code == 0 { Ok(answers) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => answers.push(body.to_vec()),
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}

fn parse(body: &[u8]) -> Option<Connection> {
    let family = *body.first()?;
    let attributes = attributes(body.get(FAMILY_HEADER..)?);
    let find = |kind: u16| attributes.iter().find(|(k, _)| k & TYPE_MASK == kind);
    let (original, reply) = (tuple(find(CTA_TUPLE_ORIG)?.1)?, tuple(find(CTA_TUPLE_REPLY)?.1)?);
    let zone =
        find(CTA_ZONE).filter(|(_, value)| value.len() >= 2).map_or(0, |(_, v)| u16::from_be_bytes([v[0], v[1]]));
    let named = [CTA_TUPLE_ORIG, CTA_ID, CTA_ZONE].into_iter().filter_map(find);
    let identity = named.map(|(kind, value)| (*kind, value.to_vec())).collect();
    let number = |kind: u16| find(kind).map_or(0, |(_, value)| u32::from_be_bytes(four(value, 0)));
    let status = number(CTA_STATUS);
    Some(Connection {
        original,
        reply,
        zone,
        icmp: icmp(find(CTA_TUPLE_ORIG)?.1),
        mark: number(CTA_MARK),
        is_related: find(CTA_TUPLE_MASTER).is_some(),
        is_answered: status & SEEN_REPLY != 0,
        is_assured: status & ASSURED != 0,
        timeout: number(CTA_TIMEOUT),
        tcp_state: find(CTA_PROTOINFO).and_then(|(_, value)| tcp_state(value)),
        family,
        identity,
    })
}

fn tcp_state(protocol: &[u8]) -> Option<u8> {
    let inner = |bytes, wanted| attributes(bytes).into_iter().find(|(kind, _)| kind & TYPE_MASK == wanted);
    let (_, tcp) = inner(protocol, CTA_PROTOINFO_TCP)?;
    inner(tcp, CTA_PROTOINFO_TCP_STATE)?.1.first().copied()
}

/// Type and code, which stand where others have ports: by numbers of their own for each family.
fn icmp(tuple: &[u8]) -> Option<(u8, u8)> {
    let parts = attributes(tuple);
    let protocol = attributes(parts.iter().find(|(kind, _)| kind & TYPE_MASK == CTA_TUPLE_PROTO)?.1);
    let byte = |kind: u16| protocol.iter().find(|(k, _)| k & TYPE_MASK == kind).and_then(|(_, v)| v.first().copied());
    byte(5).zip(byte(6)).or(byte(8).zip(byte(9)))
}

fn tuple(value: &[u8]) -> Option<Tuple> {
    let parts = attributes(value);
    let part = |kind: u16| parts.iter().find(|(k, _)| k & TYPE_MASK == kind).map(|(_, value)| attributes(value));
    let (addresses, protocol) = (part(CTA_TUPLE_IP)?, part(CTA_TUPLE_PROTO)?);
    let address = |v4: u16, v6: u16| {
        addresses.iter().find_map(|(kind, value)| match kind & TYPE_MASK {
            kind if kind == v4 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(*value).ok()?))),
            kind if kind == v6 => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(*value).ok()?))),
            _ => None,
        })
    };
    let detail = |kind: u16| protocol.iter().find(|(k, _)| k & TYPE_MASK == kind).map(|(_, value)| *value);
    let port = |kind: u16| detail(kind).filter(|v| v.len() >= 2).map(|v| u16::from_be_bytes([v[0], v[1]]));
    Some(Tuple {
        source: address(1, 3)?,
        destination: address(2, 4)?,
        protocol: *detail(1)?.first()?,
        source_port: port(2),
        destination_port: port(3),
    })
}

/// Attributes by their type, the nested ones as bytes.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = u16_at(bytes, 0) as usize;
        if length < 4 || length > bytes.len() {
            break;
        }
        found.push((u16_at(bytes, 2), &bytes[4..length]));
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    found
}

fn u16_at(bytes: &[u8], place: usize) -> u16 {
    u16::from_ne_bytes([bytes[place], bytes[place + 1]])
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    u32::from_ne_bytes(four(bytes, place))
}

fn four(bytes: &[u8], place: usize) -> [u8; 4] {
    let mut four = [0; 4];
    if let Some(found) = bytes.get(place..place + 4) {
        four.copy_from_slice(found);
    }
    four
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::{nft::Nft, testing::Machine};

    #[tokio::test]
    async fn those_are_found_that_are_asked_for() {
        let machine = Machine::new().await.unwrap();
        let namespace = machine.system.root();
        let between = |from: &str, to: &str, port: u16| {
            let tuple = Tuple {
                source: from.parse().unwrap(),
                destination: to.parse().unwrap(),
                protocol: 17,
                source_port: Some(1),
                destination_port: Some(port),
            };
            Connection { timeout: 60, ..Connection::between(tuple, tuple.reversed()) }
        };
        let mut marked = between("10.0.0.3", "10.0.0.4", 3);
        marked.mark = 7;
        let all = [
            between("10.0.0.1", "10.0.0.2", 1),
            between("10.0.0.2", "10.0.0.1", 2),
            marked,
            between("fd00::1", "fd00::2", 4),
            between("fd00::2", "fd00::1", 5),
        ];
        assert_eq!(put(&namespace, &all).unwrap(), 0);
        let found = |which| -> Vec<u16> {
            let mut ports: Vec<u16> =
                find(&namespace, which).unwrap().iter().filter_map(|it| it.original.destination_port).collect();
            ports.sort_unstable();
            ports
        };
        let address = |text: &str| text.parse().unwrap();
        assert_eq!(found(Which::All(4)), [1, 2, 3]);
        assert_eq!(found(Which::All(6)), [4, 5]);
        assert_eq!(found(Which::From(address("10.0.0.1"))), [1]);
        assert_eq!(found(Which::To(address("10.0.0.1"))), [2]);
        assert_eq!(found(Which::From(address("fd00::2"))), [5]);
        assert_eq!(found(Which::To(address("fd00::2"))), [4]);
        assert_eq!(found(Which::Marked(4, 7)), [3]);
        assert_eq!(found(Which::Marked(6, 7)), [0; 0]);
        assert_eq!(found(Which::InZone(4, 0)), [1, 2, 3]);
        assert_eq!(found(Which::InZone(4, 9)), [0; 0]);
    }

    #[tokio::test]
    async fn a_connection_is_seen_and_forgotten() {
        let machine = Machine::new().await.unwrap();
        let namespace = machine.system.root();
        // Nothing is tracked where no rule asks for it.
        let rules = "table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }";
        Nft::open(&namespace).unwrap().run(rules).unwrap();
        let ports = namespace.run(|| {
            let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
            let ports = sockets.each_ref().map(|socket| socket.local_addr().unwrap().port());
            sockets[0].send_to(b"x", ("127.0.0.1", ports[1])).unwrap();
            ports
        });
        let [from, to] = ports.unwrap();
        let connections = list(&namespace, 4).unwrap();
        let found = connections.iter().find(|connection| connection.original.destination_port == Some(to)).unwrap();
        assert_eq!((found.original.source_port, found.original.protocol), (Some(from), 17));
        assert_eq!((found.reply.source_port, found.reply.destination_port), (Some(to), Some(from)));
        assert_eq!((found.original.source, found.zone), (IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        let ended = retain(&namespace, 4, |connection| connection.original.source_port != Some(from)).unwrap();
        assert_eq!(ended, 1);
        assert!(!list(&namespace, 4).unwrap().contains(found));
        assert_eq!(retain(&namespace, 6, |_| true).unwrap(), 0);
    }
}
