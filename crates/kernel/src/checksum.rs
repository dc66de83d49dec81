//! UDP checksums that are whole when a packet leaves a veth device.
//!
//! A veth pair lets the sender leave the checksum to hardware that does not exist. Inside the host nobody minds, but a
//! DHCP client that reads raw packets, as most do, sees a wrong sum and drops the answer. Two remedies:
//!
//! * [`compute`] switches the offload off, so that the kernel puts the sum in. It needs no program, works on every
//!   kernel and is what makes clients work.
//! * [`add_fill_rules`] adds the `CHECKSUM --checksum-fill` rules under upstream's chain names, for an agent of the
//!   other kind that takes the namespace over. Where iptables is missing they are left out and nothing is lost.

use std::{
    io,
    mem::{size_of, zeroed},
    net::UdpSocket,
    os::fd::AsRawFd,
    time::Duration,
};

use nix::libc;

use crate::{
    Error, Namespace, Result,
    process::{self, ProcessError},
};

const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// Ports that DHCP clients listen on, by the program that makes rules for that family.
const FILLS: [(&str, u16); 2] = [("iptables-restore", 68), ("ip6tables-restore", 546)];
const RULES_LIMIT: Duration = Duration::from_secs(10);

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Whether the kernel computes the checksums of what leaves this device.
pub fn is_computed(namespace: &Namespace, device: &str) -> Result<bool> {
    Ok(ethtool(namespace, device, ETHTOOL_GTXCSUM, 0)? == 0)
}

/// Makes the kernel compute the checksums of what leaves this device.
pub fn compute(namespace: &Namespace, device: &str) -> Result<()> {
    ethtool(namespace, device, ETHTOOL_STXCSUM, 0).map(drop)
}

/// Makes the rules that fill checksums in towards DHCP clients the only ones of the mangle table. Returns whether they are there: not without iptables.
pub async fn add_fill_rules(namespace: &Namespace) -> std::result::Result<bool, ProcessError> {
    let mut added = true;
    for (program, port) in FILLS {
        let command = [program, "--wait"].map(str::to_owned);
        match process::run_with_input(Some(namespace), &command, &fill_rules(port), RULES_LIMIT).await {
            Ok(()) => {}
            Err(ProcessError::NotInstalled(_)) => added = false,
            Err(error) => return Err(error),
        }
    }
    Ok(added)
}

fn fill_rules(port: u16) -> String {
    let wrap = "neutron-dhcp-age-POSTROUTING";
    format!(
        "*mangle\n:{wrap} - [0:0]\n-A POSTROUTING -j {wrap}\n\
         -A {wrap} -p udp -m udp --dport {port} -j CHECKSUM --checksum-fill\nCOMMIT\n"
    )
}

fn ethtool(namespace: &Namespace, device: &str, command: u32, data: u32) -> Result<u32> {
    let asked = namespace.run(|| {
        // Any socket will do; it only says in which namespace the device is looked up.
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        request(&socket, device, command, data)
    })?;
    asked.map_err(|error| Error::io("set checksums of", device, &error))
}

#[allow(unsafe_code)]
fn request(socket: &UdpSocket, device: &str, command: u32, data: u32) -> io::Result<u32> {
    let mut value = EthtoolValue { command, data };
    // SAFETY: all bytes zero is a valid ifreq, whose fields are integers, characters and pointers.
    let mut request: libc::ifreq = unsafe { zeroed() };
    let name = device.as_bytes();
    if name.len() >= size_of::<[libc::c_char; libc::IFNAMSIZ]>() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request and the value it points to live through the call, and the kernel writes no more than the
    // eight bytes that these two commands exchange.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_upstreams() {
        let expected = "*mangle
:neutron-dhcp-age-POSTROUTING - [0:0]
-A POSTROUTING -j neutron-dhcp-age-POSTROUTING
-A neutron-dhcp-age-POSTROUTING -p udp -m udp --dport 68 -j CHECKSUM --checksum-fill
COMMIT
";
        assert_eq!(fill_rules(68), expected);
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = is_computed(&Namespace::CURRENT, "ns-absent").unwrap_err();
        assert_eq!(error.to_string(), "cannot set checksums of ns-absent");
        assert!(error.is_missing());
    }
}
