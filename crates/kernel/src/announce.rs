//! Telling neighbours where an address is now: a gratuitous ARP for IPv4, an unsolicited neighbour advertisement for
//! IPv6. Who had learnt another Ethernet address for it forgets that at once instead of after minutes.
//!
//! And asking where they are, once more than the kernel does, which asks only every second: see [`ask`].
//!
//! The frames are built here and sent by a packet socket opened inside the namespace, so neither `arping` nor a duplicate
//! address detection that has not ended yet stands in the way.

use std::{
    io,
    mem::size_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    libc,
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use types::Mac;

use crate::{Error, Namespace, Result};

const BROADCAST: Mac = Mac([0xff; 6]);
/// The Ethernet address of the group of all IPv6 nodes.
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const NEXT_HEADER_ICMPV6: u8 = 58;

/// Tells the neighbours of a device of these addresses. Some systems heed only requests and others only replies, so for
/// IPv4 both are sent.
pub fn announce(namespace: &Namespace, device: &str, mac: Mac, addresses: &[IpAddr]) -> Result<()> {
    let frames: Vec<Vec<u8>> = addresses.iter().flat_map(|address| frames(mac, *address)).collect();
    send_all(namespace, device, &frames)?.map_err(|error| Error::io("announce addresses on", device, &error))
}

/// Asks the neighbours of a device for addresses, each from one of its own of the same family. The kernel takes the answers
/// for those to its own questions.
pub fn ask(namespace: &Namespace, device: &str, mac: Mac, questions: &[(IpAddr, IpAddr)]) -> Result<()> {
    let question = |(from, to): &(IpAddr, IpAddr)| match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(arp(mac, *from, *to, ARP_REQUEST)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(solicitation(mac, *from, *to)),
        _ => None,
    };
    let frames: Vec<Vec<u8>> = questions.iter().filter_map(question).collect();
    send_all(namespace, device, &frames)?.map_err(|error| Error::io("ask neighbours on", device, &error))
}

fn send_all(namespace: &Namespace, device: &str, frames: &[Vec<u8>]) -> Result<io::Result<()>> {
    namespace.run(|| {
        let index = if_nametoindex(device).map_err(io::Error::from)?;
        // Protocol 0: it is to send only, and hears nothing.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        frames.iter().try_for_each(|frame| send(&socket, index, frame))
    })
}

#[allow(unsafe_code)]
fn send(socket: &OwnedFd, index: u32, frame: &[u8]) -> io::Result<()> {
    let place = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: u16::from_be_bytes([frame[12], frame[13]]).to_be(),
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    // SAFETY: both buffers outlive the call and are given with their own lengths.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            std::ptr::from_ref(&place).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn frames(mac: Mac, address: IpAddr) -> Vec<Vec<u8>> {
    match address {
        // Both the sender and the target are the address itself.
        IpAddr::V4(address) => [ARP_REQUEST, ARP_REPLY].map(|kind| arp(mac, address, address, kind)).into(),
        IpAddr::V6(address) => vec![advertisement(mac, address)],
    }
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(to.0);
    frame.extend(from.0);
    frame.extend(ethertype.to_be_bytes());
    frame
}

fn arp(mac: Mac, from: Ipv4Addr, to: Ipv4Addr, operation: u16) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    // Ethernet and IPv4, with addresses of 6 and 4 bytes.
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(mac.0);
    frame.extend(from.octets());
    frame.extend(if operation == ARP_REPLY { mac.0 } else { [0; 6] });
    frame.extend(to.octets());
    // The shortest frame that Ethernet has.
    frame.resize(60, 0);
    frame
}

fn advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    // Type 136, of a router, unsolicited, overriding what is known; then the target and its Ethernet address.
    let mut message = vec![136, 0, 0, 0, 0xa0, 0, 0, 0];
    message.extend(address.octets());
    message.extend([2, 1]);
    message.extend(mac.0);
    icmpv6((mac, address), (ALL_NODES_MAC, ALL_NODES), message)
}

/// To the group that whoever has the address is in.
fn solicitation(mac: Mac, from: Ipv6Addr, of: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = of.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(of.octets());
    message.extend([1, 1]);
    message.extend(mac.0);
    icmpv6((mac, from), (Mac([0x33, 0x33, 0xff, a, b, c]), group), message)
}

fn icmpv6(from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr), mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum(from.1, to.1, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);

    let mut frame = ethernet(to.0, from.0, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    // A hop limit of 255 says that no router has passed it on.
    frame.extend([NEXT_HEADER_ICMPV6, 255]);
    frame.extend(from.1.octets());
    frame.extend(to.1.octets());
    frame.extend(message);
    frame
}

/// The checksum of an ICMPv6 message, over the pseudo header too.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let mut bytes = Vec::with_capacity(40 + message.len());
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend([0, 0, 0, NEXT_HEADER_ICMPV6]);
    bytes.extend(message);
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0xfa, 0x16, 0x3e, 1, 2, 3]);

    #[test]
    fn an_arp_tells_the_address_to_all() {
        let address = Ipv4Addr::new(203, 0, 113, 5);
        let frame = arp(MAC, address, address, ARP_REPLY);
        assert_eq!(frame.len(), 60);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[12..22], [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
        assert_eq!(frame[22..32], [0xfa, 0x16, 0x3e, 1, 2, 3, 203, 0, 113, 5]);
        assert_eq!(frame[38..42], [203, 0, 113, 5]);
    }

    #[test]
    fn an_advertisement_has_a_right_checksum() {
        let address: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let frame = advertisement(MAC, address);
        assert_eq!(frame.len(), 14 + 40 + 32);
        // Over a message with its own checksum in place, the sum is nought.
        assert_eq!(checksum(address, ALL_NODES, &frame[54..]), 0);
    }

    #[test]
    fn a_solicitation_goes_to_the_group_of_the_address() {
        let (own, of): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::1".parse().unwrap(), "2001:db8::1:2345:6789".parse().unwrap());
        let frame = solicitation(MAC, own, of);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x45, 0x67, 0x89]);
        let group: Ipv6Addr = "ff02::1:ff45:6789".parse().unwrap();
        assert_eq!(frame[38..54], group.octets());
        assert_eq!(checksum(own, group, &frame[54..]), 0);
    }

    #[test]
    fn a_missing_device_is_named() {
        let error = announce(&Namespace::CURRENT, "no-such-link", MAC, &[]).unwrap_err();
        assert_eq!(error.to_string(), "cannot announce addresses on no-such-link");
        assert!(error.is_missing());
    }
}
