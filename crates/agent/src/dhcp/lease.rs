//! Leases: what dnsmasq noted, which of them have lost their holder, and how those are given back.
//!
//! dnsmasq refuses an address to its new holder while it remembers the old one. So a lease whose port went, or changed,
//! is released in its holder's name.

use std::net::{IpAddr, Ipv4Addr};

use types::Mac;

use super::desired::Holder;

/// Releases an IPv4 lease.
const RELEASE: &str = "dhcp_release";
/// Releases an IPv6 lease.
const RELEASE6: &str = "dhcp_release6";
/// What dnsmasq writes for a client that named no id.
const NO_ID: &str = "*";

/// A line of the lease file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: IpAddr,
    /// IPv4: the client's MAC. IPv6: its identity association.
    pub holder: String,
    /// IPv4: the client id, if it named one. IPv6: its DUID. Hexadecimal, separated by colons.
    pub client_id: Option<String>,
    /// IPv6: dnsmasq's own DUID.
    pub server_id: Option<String>,
}

/// The leases in a lease file; lines that are no leases are passed over.
pub fn parse(text: &str) -> Vec<Lease> {
    let server_id = text.lines().find_map(|line| line.strip_prefix("duid ")).map(|id| id.trim().to_owned());
    let lease = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, holder, address, _, client_id] => {
            let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
            Some(Lease {
                address,
                holder: holder.to_owned(),
                client_id: (client_id != NO_ID).then(|| client_id.to_owned()),
                server_id: server_id.clone().filter(|_| address.is_ipv6()),
            })
        }
        _ => None,
    };
    text.lines().filter_map(lease).collect()
}

/// The leases that nobody rightfully holds.
pub fn orphans(leases: Vec<Lease>, holders: &[Holder]) -> Vec<Lease> {
    leases.into_iter().filter(|lease| !holders.iter().any(|holder| holder.owns(lease))).collect()
}

impl Holder {
    fn owns(&self, lease: &Lease) -> bool {
        self.address == lease.address
            && (lease.address.is_ipv6()
                || lease.holder.parse() == Ok(self.mac)
                    && match (&self.client_id, &lease.client_id) {
                        (Some(wanted), Some(given)) => is_same_id(wanted, given),
                        // Neutron asks for no id, or dnsmasq has not seen the client yet.
                        _ => true,
                    })
    }
}

/// Whether the id of a port is what dnsmasq noted, which is always hexadecimal. Neutron's may be text, and clients may
/// put a zero before it, for "no hardware type".
fn is_same_id(wanted: &str, given: &str) -> bool {
    let as_text = wanted.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    let given = given.to_ascii_lowercase();
    let is = |id: &str| given == id || given.strip_prefix("00:") == Some(id);
    is(&as_text) || is(&wanted.to_ascii_lowercase())
}

impl Lease {
    /// The command that releases it, in the namespace of its dnsmasq. None when dnsmasq noted too little of it.
    pub fn release_command(&self, interface: &str) -> Option<Vec<String>> {
        let address = self.address.to_string();
        let words: Vec<&str> = match (self.address, &self.client_id, &self.server_id) {
            (IpAddr::V4(_), None, _) => vec![RELEASE, interface, &address, &self.holder],
            (IpAddr::V4(_), Some(id), _) => vec![RELEASE, interface, &address, &self.holder, id],
            (IpAddr::V6(_), Some(client), Some(server)) => {
                let (ip, iaid) = (["--ip", &address], ["--iaid", &self.holder]);
                let ids = ["--client-id", client, "--server-id", server];
                [&[RELEASE6, "--iface", interface][..], &ip, &ids, &iaid].concat()
            }
            (IpAddr::V6(_), ..) => return None,
        };
        Some(words.into_iter().map(str::to_owned).collect())
    }

    /// The DHCPRELEASE that the client would send to `server`, for hosts without that command. IPv4 only.
    pub fn release_packet(&self, server: Ipv4Addr) -> Option<Vec<u8>> {
        let IpAddr::V4(address) = self.address else { return None };
        let mac: Mac = self.holder.parse().ok()?;
        // BOOTREQUEST, Ethernet, six bytes of hardware address, no hops; a transaction that nobody answers.
        let mut packet = vec![1, 1, 6, 0, 0x69, 0x73, 0x6f, 0x21];
        packet.extend([0; 4]);
        packet.extend(address.octets());
        packet.extend([0; 12]);
        packet.extend(mac.0);
        packet.resize(236, 0);
        packet.extend([0x63, 0x82, 0x53, 0x63]);
        packet.extend([53, 1, 7, 54, 4]);
        packet.extend(server.octets());
        if let Some(id) = self.client_id.as_deref().and_then(bytes) {
            packet.extend([61, u8::try_from(id.len()).ok()?]);
            packet.extend(id);
        }
        packet.push(255);
        packet.resize(packet.len().max(300), 0);
        Some(packet)
    }
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    hexadecimal.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "duid 00:01:00:01:2e:aa:bb:cc:fa:16:3e:00:00:01\n\
        0 fa:16:3e:00:00:02 10.0.0.2 * *\n\
        1790000000 fa:16:3e:00:00:03 10.0.0.3 host-10-0-0-3 01:fa:16:3e:00:00:03\n\
        1790000000 987654 2001:db8::4 host-2001-db8--4 00:01:00:01:2e:11:22:33:fa:16:3e:00:00:04\n\
        not a lease\n";

    fn holder(address: &str, mac: &str, client_id: Option<&str>) -> Holder {
        Holder { address: address.parse().unwrap(), mac: mac.parse().unwrap(), client_id: client_id.map(str::to_owned) }
    }

    fn orphaned(holders: &[Holder]) -> Vec<String> {
        orphans(parse(FILE), holders).iter().map(|lease| lease.address.to_string()).collect()
    }

    #[test]
    fn a_lease_without_a_matching_port_is_an_orphan() {
        let two = holder("10.0.0.2", "fa:16:3e:00:00:02", None);
        let three = holder("10.0.0.3", "fa:16:3e:00:00:03", None);
        let four = holder("2001:db8::4", "fa:16:3e:00:00:04", None);
        assert_eq!(orphaned(&[two.clone(), three.clone(), four.clone()]), Vec::<String>::new());
        assert_eq!(orphaned(&[two.clone(), four]), ["10.0.0.3"]);
        assert_eq!(orphaned(&[two, three]), ["2001:db8::4"]);
        // The address went to another port.
        let other = holder("10.0.0.3", "fa:16:3e:00:00:99", None);
        assert_eq!(orphaned(&[other]), ["10.0.0.2", "10.0.0.3", "2001:db8::4"]);
    }

    #[test]
    fn a_client_id_counts_when_the_port_names_one() {
        let lease = |id: &str| Lease {
            address: "10.0.0.3".parse().unwrap(),
            holder: "fa:16:3e:00:00:03".to_owned(),
            client_id: Some(id.to_owned()),
            server_id: None,
        };
        let named = holder("10.0.0.3", "fa:16:3e:00:00:03", Some("vm1"));
        assert!(named.owns(&lease("76:6d:31")));
        assert!(named.owns(&lease("00:76:6d:31")));
        assert!(!named.owns(&lease("76:6d:32")));
        let hexadecimal = holder("10.0.0.3", "fa:16:3e:00:00:03", Some("01:FA:16"));
        assert!(hexadecimal.owns(&lease("01:fa:16")));
        assert!(hexadecimal.owns(&Lease { client_id: None, ..lease("") }));
    }

    #[test]
    fn leases_are_released_in_the_clients_name() {
        let commands: Vec<String> =
            parse(FILE).iter().filter_map(|lease| lease.release_command("ns-1")).map(|words| words.join(" ")).collect();
        assert_eq!(
            commands,
            [
                "dhcp_release ns-1 10.0.0.2 fa:16:3e:00:00:02",
                "dhcp_release ns-1 10.0.0.3 fa:16:3e:00:00:03 01:fa:16:3e:00:00:03",
                "dhcp_release6 --iface ns-1 --ip 2001:db8::4 --client-id 00:01:00:01:2e:11:22:33:fa:16:3e:00:00:04 \
                 --server-id 00:01:00:01:2e:aa:bb:cc:fa:16:3e:00:00:01 --iaid 987654",
            ]
        );
    }

    #[test]
    fn the_packet_names_client_and_server() {
        let packet = parse(FILE)[1].release_packet(Ipv4Addr::new(10, 0, 0, 1)).unwrap();
        assert_eq!(packet.len(), 300);
        assert_eq!(packet[12..16], [10, 0, 0, 3]);
        assert_eq!(packet[28..34], [0xfa, 0x16, 0x3e, 0, 0, 3]);
        assert_eq!(packet[240..249], [53, 1, 7, 54, 4, 10, 0, 0, 1]);
        assert_eq!(packet[249..259], [61, 7, 1, 0xfa, 0x16, 0x3e, 0, 0, 3, 255]);
        assert_eq!(parse(FILE)[2].release_packet(Ipv4Addr::new(10, 0, 0, 1)), None);
    }
}
