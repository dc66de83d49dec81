//! What the hosts of a router tell each other of its connections, as datagrams. Pure.
//!
//! Each is signed with what only the hosts of the router know, has a number within the session of its sender, and carries
//! as many connections as a packet has room for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit, Mac as _};
use kernel::conntrack::{Connection, Tuple};
use sha2::Sha256;

/// The first bytes of each datagram: a name and a version.
const MAGIC: [u8; 5] = *b"ISCT\x01";
/// Bytes of connections in a datagram; with what is around them it fits into a packet on any tunnel.
const ROOM: usize = 1150;
const SIGNATURE: usize = 16;
/// A set bit of a record's first byte each.
const V6: u8 = 1;
const GONE: u8 = 2;
const ASSURED: u8 = 4;

/// What a datagram says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Drawn anew whenever a host begins to serve.
    pub(super) session: u64,
    /// One more than that of the datagram before.
    pub(super) number: u64,
    pub(super) said: Said,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// These changed.
    Changes(Vec<Record>),
    /// These are, and this is which part of all of them, of how many.
    Whole { part: u32, parts: u32, records: Vec<Record> },
    /// Whoever serves is to tell all of them.
    Question,
}

/// A connection, or that it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) gone: bool,
    pub(super) connection: Connection,
}

/// How many records at most fit into a datagram.
pub(super) fn fit(records: &[Record]) -> usize {
    let mut room = ROOM;
    let fits = |record: &&Record| {
        let size = if record.connection.original.source.is_ipv6() { 83 } else { 35 };
        let fits = room >= size;
        room = room.saturating_sub(size);
        fits
    };
    records.iter().take_while(fits).count()
}

impl Message {
    /// The signed datagram.
    pub(super) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let (kind, part, parts, records): (u8, u32, u32, &[Record]) = match &self.said {
            Said::Changes(records) => (1, 0, 0, records),
            Said::Whole { part, parts, records } => (2, *part, *parts, records),
            Said::Question => (3, 0, 0, &[]),
        };
        bytes.push(kind);
        bytes.extend(self.session.to_be_bytes());
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(part.to_be_bytes());
        bytes.extend(parts.to_be_bytes());
        records.iter().for_each(|record| record.encode(&mut bytes));
        if let Some(signature) = signature(key, &bytes) {
            bytes.extend(&signature.finalize().into_bytes()[..SIGNATURE]);
        }
        bytes
    }

    /// What a datagram says, if it is one of ours and whole.
    pub(super) fn decode(datagram: &[u8], key: &[u8]) -> Option<Self> {
        let (bytes, signed) = datagram.split_at_checked(datagram.len().checked_sub(SIGNATURE)?)?;
        signature(key, bytes)?.verify_truncated_left(signed).ok()?;
        let mut reader = Reader(bytes.strip_prefix(&MAGIC)?);
        let kind = reader.u8()?;
        let (session, number) = (reader.u64()?, reader.u64()?);
        let (part, parts) = (reader.u32()?, reader.u32()?);
        let mut records = Vec::new();
        while !reader.0.is_empty() {
            records.push(Record::decode(&mut reader)?);
        }
        let said = match kind {
            1 => Said::Changes(records),
            2 => Said::Whole { part, parts, records },
            3 => Said::Question,
            _ => return None,
        };
        Some(Self { session, number, said })
    }
}

fn signature(key: &[u8], bytes: &[u8]) -> Option<Hmac<Sha256>> {
    // A key may have any length, so there is always one.
    let mut signature = Hmac::<Sha256>::new_from_slice(key).ok()?;
    signature.update(bytes);
    Some(signature)
}

impl Record {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let it = &self.connection;
        let flags = [(V6, it.original.source.is_ipv6()), (GONE, self.gone), (ASSURED, it.is_assured)];
        bytes.push(flags.iter().map(|(bit, set)| if *set { *bit } else { 0 }).sum());
        bytes.push(it.original.protocol);
        bytes.push(it.tcp_state.unwrap_or(0));
        bytes.extend(it.timeout.to_be_bytes());
        bytes.extend(it.mark.to_be_bytes());
        for tuple in [&it.original, &it.reply] {
            for address in [tuple.source, tuple.destination] {
                match address {
                    IpAddr::V4(address) => bytes.extend(address.octets()),
                    IpAddr::V6(address) => bytes.extend(address.octets()),
                }
            }
            for port in [tuple.source_port, tuple.destination_port] {
                bytes.extend(port.unwrap_or(0).to_be_bytes());
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let (flags, protocol, state) = (reader.u8()?, reader.u8()?, reader.u8()?);
        let (timeout, mark) = (reader.u32()?, reader.u32()?);
        let v6 = flags & V6 != 0;
        let (original, reply) = (reader.tuple(v6, protocol)?, reader.tuple(v6, protocol)?);
        let mut connection = Connection::between(original, reply);
        (connection.is_answered, connection.is_assured) = (true, flags & ASSURED != 0);
        (connection.timeout, connection.mark) = (timeout, mark);
        connection.tcp_state = Some(state).filter(|state| *state != 0);
        Some(Self { gone: flags & GONE != 0, connection })
    }
}

/// The bytes that are still to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn address(&mut self, v6: bool) -> Option<IpAddr> {
        match v6 {
            true => self.take::<16>().map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
            false => self.take::<4>().map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        }
    }

    fn tuple(&mut self, v6: bool, protocol: u8) -> Option<Tuple> {
        Some(Tuple {
            source: self.address(v6)?,
            destination: self.address(v6)?,
            protocol,
            source_port: Some(self.u16()?),
            destination_port: Some(self.u16()?),
        })
    }
}
