//! A device's wire: whole frames, sent as anybody could forge them, and seen as they come.

use std::{
    io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::libc;

use crate::{Error, Namespace, Result};

/// A packet socket on one device.
pub struct Wire {
    socket: OwnedFd,
    device: String,
}

impl Wire {
    /// The wire of `device` in `namespace`.
    pub fn open(namespace: &Namespace, device: &str) -> Result<Self> {
        let opened = namespace.run(|| {
            let index = nix::net::if_::if_nametoindex(device)?;
            packet_socket(index)
        })?;
        let socket = opened.map_err(|error| Error::io("open the wire of", device, &error))?;
        Ok(Self { socket, device: device.to_owned() })
    }

    /// Puts a frame on it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        nix::unistd::write(&self.socket, frame).map(drop).map_err(|errno| Error::new("send on", &self.device, errno))
    }

    /// The next frame that comes in and of which `wanted` says that it is the one; none if none comes in time.
    pub fn receive(&self, limit: Duration, mut wanted: impl FnMut(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        let mut buffer = vec![0; 65536];
        while Instant::now() < end {
            match nix::unistd::read(&self.socket, &mut buffer) {
                Ok(length) if wanted(&buffer[..length]) => return Some(buffer[..length].to_vec()),
                Ok(_) | Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

/// Waits 20 ms at most for a frame.
#[allow(unsafe_code)]
fn packet_socket(index: u32) -> io::Result<OwnedFd> {
    let every = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: a descriptor that is not negative is new and nobody else's; the address is a whole sockaddr_ll, of which
    // all bytes zero is a valid one, and the time a whole timeval; both live through the calls.
    unsafe {
        let raw = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(every));
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(raw);
        let mut address: libc::sockaddr_ll = zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = every;
        address.sll_ifindex = index as i32;
        let length = size_of::<libc::sockaddr_ll>() as u32;
        let wait = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
        let time = size_of::<libc::timeval>() as u32;
        let bound = libc::bind(raw, (&raw const address).cast(), length) == 0
            && libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const wait).cast(),
                time,
            ) == 0;
        if bound { Ok(socket) } else { Err(io::Error::last_os_error()) }
    }
}
