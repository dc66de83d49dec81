//! Connections that the kernel is to know although it saw no packet of theirs.

use std::{io, net::IpAddr};

use super::{
    ASSURED, CHANGE, CTA_MARK, CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE, CTA_STATUS, CTA_TIMEOUT,
    CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_TUPLE_REPLY, Connection, NESTED, NLM_F_ACK, NLM_F_REQUEST,
    SEEN_REPLY, Tuple, attribute, exchange, message, open,
};
use crate::{Errno, Error, Namespace, Result};

const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const CTA_NAT_SRC: u16 = 6;
const CTA_NAT_DST: u16 = 13;
const CTA_NAT_PROTO: u16 = 3;
const CTA_PROTOINFO_TCP_FLAGS: [u16; 2] = [4, 5];
const CONFIRMED: u32 = 1 << 3;
/// Windows are not looked at, as nobody here knows what they were.
const BE_LIBERAL: u8 = 8;

/// Has the kernel know connections of protocols with ports, with their translation. Of those that it knows it notes how
/// long they last and how far they are. Returns how many it refused.
pub fn put(namespace: &Namespace, connections: &[Connection]) -> Result<usize> {
    let done = namespace.run(|| {
        let socket = open()?;
        let refused = connections.iter().filter(|connection| {
            let made = exchange(&socket, &create(connection));
            match made.map_err(|error| error.raw_os_error()) {
                Err(Some(errno)) if errno == Errno::EEXIST as i32 => exchange(&socket, &update(connection)).is_err(),
                other => other.is_err(),
            }
        });
        Ok(refused.count())
    });
    done?.map_err(|error: io::Error| Error::io("put", "connections", &error))
}

fn create(it: &Connection) -> Vec<u8> {
    let (original, reply) = (&it.original, &it.reply);
    let mut attributes = vec![
        (CTA_TUPLE_ORIG | NESTED, tuple(original)),
        // The kernel translates it itself, as it is told to below.
        (CTA_TUPLE_REPLY | NESTED, tuple(&original.reversed())),
    ];
    attributes.extend(state(it));
    let source = (reply.destination, reply.destination_port);
    if source != (original.source, original.source_port) {
        attributes.push((CTA_NAT_SRC | NESTED, translation(source)));
    }
    let destination = (reply.source, reply.source_port);
    if destination != (original.destination, original.destination_port) {
        attributes.push((CTA_NAT_DST | NESTED, translation(destination)));
    }
    message(CHANGE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, it.family, &attributes)
}

fn update(it: &Connection) -> Vec<u8> {
    let mut attributes = vec![(CTA_TUPLE_ORIG | NESTED, tuple(&it.original))];
    attributes.extend(state(it));
    message(CHANGE, NLM_F_REQUEST | NLM_F_ACK, it.family, &attributes)
}

fn state(it: &Connection) -> Vec<(u16, Vec<u8>)> {
    let mut status = CONFIRMED;
    for (bit, holds) in [(SEEN_REPLY, it.is_answered), (ASSURED, it.is_assured)] {
        status |= if holds { bit } else { 0 };
    }
    let mut attributes = vec![
        (CTA_STATUS, status.to_be_bytes().to_vec()),
        (CTA_TIMEOUT, it.timeout.to_be_bytes().to_vec()),
        (CTA_MARK, it.mark.to_be_bytes().to_vec()),
    ];
    if let Some(state) = it.tcp_state {
        let (mut tcp, mut protocol) = (Vec::new(), Vec::new());
        attribute(&mut tcp, CTA_PROTOINFO_TCP_STATE, &[state]);
        for direction in CTA_PROTOINFO_TCP_FLAGS {
            attribute(&mut tcp, direction, &[BE_LIBERAL; 2]);
        }
        attribute(&mut protocol, CTA_PROTOINFO_TCP | NESTED, &tcp);
        attributes.push((CTA_PROTOINFO | NESTED, protocol));
    }
    attributes
}

/// To one address and one port.
fn translation((address, port): (IpAddr, Option<u16>)) -> Vec<u8> {
    let (mut bytes, mut ports) = (Vec::new(), Vec::new());
    let (kinds, address) = match address {
        IpAddr::V4(address) => ([1, 2], address.octets().to_vec()),
        IpAddr::V6(address) => ([4, 5], address.octets().to_vec()),
    };
    for kind in kinds {
        attribute(&mut bytes, kind, &address);
    }
    if let Some(port) = port {
        for kind in [1, 2] {
            attribute(&mut ports, kind, &port.to_be_bytes());
        }
        attribute(&mut bytes, CTA_NAT_PROTO | NESTED, &ports);
    }
    bytes
}

/// What the kernel knows one direction by.
pub(super) fn tuple(it: &Tuple) -> Vec<u8> {
    let (mut bytes, mut addresses, mut protocol) = (Vec::new(), Vec::new(), Vec::new());
    for (address, kinds) in [(it.source, [1, 3]), (it.destination, [2, 4])] {
        match address {
            IpAddr::V4(address) => attribute(&mut addresses, kinds[0], &address.octets()),
            IpAddr::V6(address) => attribute(&mut addresses, kinds[1], &address.octets()),
        }
    }
    attribute(&mut protocol, 1, &[it.protocol]);
    for (port, kind) in [(it.source_port, 2), (it.destination_port, 3)] {
        if let Some(port) = port {
            attribute(&mut protocol, kind, &port.to_be_bytes());
        }
    }
    attribute(&mut bytes, CTA_TUPLE_IP | NESTED, &addresses);
    attribute(&mut bytes, CTA_TUPLE_PROTO | NESTED, &protocol);
    bytes
}

impl Tuple {
    /// The direction of the answers, if nothing is translated.
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conntrack::{Change, Changes, forget, list},
        testing::Machine,
    };

    fn tuple(source: (&str, u16), destination: (&str, u16)) -> Tuple {
        Tuple {
            source: source.0.parse().unwrap(),
            destination: destination.0.parse().unwrap(),
            protocol: 6,
            source_port: Some(source.1),
            destination_port: Some(destination.1),
        }
    }

    #[tokio::test]
    async fn translated_connections_are_put_changed_heard_of_and_forgotten() {
        let machine = Machine::new().await.unwrap();
        let namespace = machine.system.root();
        let (inside, outside) = (("10.0.0.5", 4000), ("203.0.113.1", 80));
        let pairs = [
            // By SNAT, by a floating IP from outside, and not at all.
            (tuple(inside, outside), tuple(outside, ("203.0.113.10", 61234))),
            (tuple(outside, ("203.0.113.31", 22)), tuple(("10.0.0.6", 22), outside)),
            (tuple(("fd00::5", 4000), ("fd01::1", 80)), tuple(("fd01::1", 80), ("fd00::5", 4000))),
        ];
        let connections = pairs.map(|(original, reply)| Connection {
            is_answered: true,
            is_assured: true,
            timeout: 1000,
            tcp_state: Some(3),
            ..Connection::between(original, reply)
        });
        let mut changes = Changes::open(&namespace).unwrap();
        assert_eq!(put(&namespace, &connections).unwrap(), 0);
        let known = || [4, 6].into_iter().flat_map(|version| list(&namespace, version).unwrap()).collect::<Vec<_>>();
        let same = |one: &Connection, other: &Connection| {
            (one.original, one.reply, one.tcp_state, one.is_answered, one.is_assured)
                == (other.original, other.reply, other.tcp_state, other.is_answered, other.is_assured)
        };
        let all = known();
        assert_eq!(all.len(), 3, "{all:#?}");
        for connection in &connections {
            assert!(all.iter().any(|it| same(it, connection) && (990..=1000).contains(&it.timeout)), "{all:#?}");
        }
        let older = connections.clone().map(|it| Connection { timeout: 50, tcp_state: Some(4), ..it });
        assert_eq!(put(&namespace, &older).unwrap(), 0);
        assert!(known().iter().all(|it| it.tcp_state == Some(4) && it.timeout <= 50), "{:#?}", known());
        forget(&namespace, &connections).unwrap();
        assert!(known().is_empty());
        let mut gone = Vec::new();
        while gone.len() < 3 {
            for change in changes.next().await {
                match change {
                    Change::Gone(it) => gone.push(it.original),
                    Change::Now(it) => assert!(connections.iter().any(|known| known.original == it.original)),
                    Change::Missed => panic!("nothing was too much"),
                }
            }
        }
        assert!(connections.iter().all(|it| gone.contains(&it.original)));
    }
}
