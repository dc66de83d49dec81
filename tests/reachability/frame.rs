//! Ethernet frames by hand, with right checksums: what is dropped is dropped for what it says.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) type Mac = [u8; 6];

pub(super) const BROADCAST: Mac = [0xff; 6];
pub(super) const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Where a frame goes, and as whose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) from: Mac,
    pub(super) to: Mac,
}

/// Addresses and ports of a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends<A> {
    pub(super) from: (A, u16),
    pub(super) to: (A, u16),
}

pub(super) fn mac(text: &str) -> Mac {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// The link-local address that is made of a MAC.
pub(super) fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

fn ethernet(link: Link, kind: [u8; 2], body: &[u8]) -> Vec<u8> {
    [&link.to[..], &link.from, &kind, body].concat()
}

/// The same frame with a VLAN tag.
pub(super) fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0x00], &vlan.to_be_bytes(), &frame[12..]].concat()
}

fn sum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)])));
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    (!u16::try_from(total).unwrap()).to_be_bytes()
}

fn length(body: &[u8]) -> [u8; 2] {
    u16::try_from(body.len()).unwrap().to_be_bytes()
}

fn with_sum(mut body: Vec<u8>, at: usize, pseudo: &[&[u8]]) -> Vec<u8> {
    let parts = [pseudo, &[body.as_slice()]].concat();
    let sum = sum(&parts);
    body[at..at + 2].copy_from_slice(&sum);
    body
}

fn datagram(ports: (u16, u16), words: &[u8]) -> Vec<u8> {
    let total = u16::try_from(words.len() + 8).unwrap();
    [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes(), &total.to_be_bytes(), &[0, 0], words].concat()
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, fragment: u16, body: &[u8]) -> Vec<u8> {
    let total = u16::try_from(body.len() + 20).unwrap();
    let head = [
        &[0x45, 0][..],
        &total.to_be_bytes(),
        &[0x15, 0x0b],
        &fragment.to_be_bytes(),
        &[64, UDP, 0, 0],
        &from.octets(),
        &to.octets(),
    ];
    [with_sum(head.concat(), 10, &[]).as_slice(), body].concat()
}

fn udp4_body(ends: Ends<Ipv4Addr>, words: &[u8]) -> Vec<u8> {
    let body = datagram((ends.from.1, ends.to.1), words);
    let size = length(&body);
    with_sum(body, 6, &[&ends.from.0.octets(), &ends.to.0.octets(), &[0, UDP], &size])
}

pub(super) fn udp4(link: Link, ends: Ends<Ipv4Addr>, words: &[u8]) -> Vec<u8> {
    ethernet(link, IPV4, &ipv4(ends.from.0, ends.to.0, 0, &udp4_body(ends, words)))
}

/// The same in two fragments.
pub(super) fn udp4_fragments(link: Link, ends: Ends<Ipv4Addr>, words: &[u8]) -> Vec<Vec<u8>> {
    const MORE: u16 = 0x2000;
    let body = udp4_body(ends, words);
    let (first, second) = body.split_at(16);
    let fragment = |offset: u16, body: &[u8]| ethernet(link, IPV4, &ipv4(ends.from.0, ends.to.0, offset, body));
    vec![fragment(MORE, first), fragment(2, second)]
}

fn ipv6(link: Link, ends: (Ipv6Addr, Ipv6Addr), next: u8, hops: u8, body: &[u8]) -> Vec<u8> {
    let head = [&[0x60, 0, 0, 0][..], &length(body), &[next, hops], &ends.0.octets(), &ends.1.octets(), body];
    ethernet(link, IPV6, &head.concat())
}

fn pseudo6<'a>(ends: &'a ([u8; 16], [u8; 16]), size: &'a [u8], next: &'a [u8]) -> [&'a [u8]; 5] {
    [&ends.0, &ends.1, size, &[0, 0, 0], next]
}

pub(super) fn udp6(link: Link, ends: Ends<Ipv6Addr>, words: &[u8]) -> Vec<u8> {
    let body = datagram((ends.from.1, ends.to.1), words);
    let (size, addresses) = (length(&body), (ends.from.0.octets(), ends.to.0.octets()));
    let body = with_sum(body, 6, &pseudo6(&addresses, &size, &[UDP]));
    ipv6(link, (ends.from.0, ends.to.0), UDP, 64, &body)
}

fn icmpv6(link: Link, from: Ipv6Addr, to: Ipv6Addr, body: Vec<u8>) -> Vec<u8> {
    let (size, addresses) = (length(&body), (from.octets(), to.octets()));
    let body = with_sum(body, 2, &pseudo6(&addresses, &size, &[ICMPV6]));
    ipv6(link, (from, to), ICMPV6, 255, &body)
}

/// An option that nobody knows, with eight bytes for words at most.
fn option(words: &[u8]) -> Vec<u8> {
    let mut option = [&[253, 2][..], words].concat();
    option.resize(16, 0);
    option
}

const EVERY_NODE: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Says to all that an address is at a MAC.
pub(super) fn neighbour_advertisement(link: Link, from: Ipv6Addr, of: Ipv6Addr, words: &[u8]) -> Vec<u8> {
    let head = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &of.octets(), &[2, 1], &link.from, &option(words)];
    icmpv6(link, from, EVERY_NODE, head.concat())
}

/// Says to all that there is a router.
pub(super) fn router_advertisement(link: Link, from: Ipv6Addr, words: &[u8]) -> Vec<u8> {
    let head = [&[134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0][..], &[1, 1], &link.from, &option(words)];
    icmpv6(link, from, EVERY_NODE, head.concat())
}

/// Says that an address is at a MAC. What is beyond the 28 bytes of ARP fills up the frame.
pub(super) fn arp(link: Link, reply: bool, of: Ipv4Addr, to: Ipv4Addr, words: &[u8]) -> Vec<u8> {
    let body = [
        &[0, 1, 8, 0, 6, 4, 0, if reply { 2 } else { 1 }][..],
        &link.from,
        &of.octets(),
        if reply { &link.to } else { &[0; 6] },
        &to.octets(),
        words,
    ];
    ethernet(link, ARP, &body.concat())
}
