//! Frames as a forger would make them, with right checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use types::Mac;

pub const BROADCAST: Mac = Mac([0xff; 6]);

fn ethernet(from: Mac, to: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0[..], &kind.to_be_bytes()[..], payload].concat()
}

/// The Internet checksum.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

pub fn arp(from: Mac, (claimed_mac, claimed): (Mac, Ipv4Addr), operation: u16, target: Ipv4Addr) -> Vec<u8> {
    let payload = [
        &[0, 1, 8, 0, 6, 4][..],
        &operation.to_be_bytes()[..],
        &claimed_mac.0[..],
        &claimed.octets()[..],
        &[0; 6][..],
        &target.octets()[..],
    ]
    .concat();
    ethernet(from, BROADCAST, 0x0806, &payload)
}

fn ipv4((from, to): (Ipv4Addr, Ipv4Addr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0];
    header.extend(from.octets());
    header.extend(to.octets());
    let check = sum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&check);
    header.extend(payload);
    header
}

fn ipv6((from, to): (Ipv6Addr, Ipv6Addr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 255];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// A payload with its checksum, over the addresses too, put in.
fn checked((from, to): (IpAddr, IpAddr), protocol: u8, mut payload: Vec<u8>, place: usize) -> Vec<u8> {
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let length = (payload.len() as u16).to_be_bytes();
    let mut whole = [bytes(from), bytes(to), vec![0, protocol, length[0], length[1]]].concat();
    whole.extend(&payload);
    let check = sum(&whole).to_be_bytes();
    payload[place..place + 2].copy_from_slice(&check);
    payload
}

pub fn udp((from_mac, to_mac): (Mac, Mac), from: (IpAddr, u16), to: (IpAddr, u16), data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len() as u16).to_be_bytes();
    let mut header = [from.1.to_be_bytes(), to.1.to_be_bytes(), length, [0, 0]].concat();
    header.extend(data);
    let payload = checked((from.0, to.0), 17, header, 6);
    match (from.0, to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet(from_mac, to_mac, 0x0800, &ipv4((from, to), 17, &payload)),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet(from_mac, to_mac, 0x86dd, &ipv6((from, to), 17, &payload)),
        _ => panic!("two families"),
    }
}

/// An ICMPv6 message to a multicast group.
pub fn icmp6(from_mac: Mac, (from, to): (Ipv6Addr, Ipv6Addr), message: &[u8]) -> Vec<u8> {
    let payload = checked((from.into(), to.into()), 58, message.to_vec(), 2);
    let [.., a, b, c, d] = to.octets();
    ethernet(from_mac, Mac([0x33, 0x33, a, b, c, d]), 0x86dd, &ipv6((from, to), 58, &payload))
}

/// A neighbour solicitation (135) or advertisement (136) for a target.
pub fn neighbour(kind: u8, target: Ipv6Addr, option: Option<Mac>) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, if kind == 136 { 0x20 } else { 0 }, 0, 0, 0];
    message.extend(target.octets());
    if let Some(mac) = option {
        message.extend([if kind == 136 { 2 } else { 1 }, 1]);
        message.extend(mac.0);
    }
    message
}
