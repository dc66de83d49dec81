//! Sockets that somebody else connects to: TCP and multicast inside a namespace, and unix sockets that another user may
//! use.
//!
//! Only the opening happens inside the namespace, on a thread that lives for that one call (see [`crate::netns`]).

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::{
    net::if_::if_nametoindex,
    sys::{
        resource,
        socket::{setsockopt, sockopt},
    },
};
use tokio::{
    net::{TcpListener, TcpSocket, UdpSocket, UnixListener, UnixSocket},
    runtime::Handle,
};

use crate::{Error, Namespace, Result};

/// Bytes that the kernel keeps of what came to a group and was not read yet.
const GROUP_BUFFER: usize = 8 << 20;

/// The index of an interface in a namespace: another one when it was made anew under the same name.
pub fn interface_index(namespace: &Namespace, interface: &str) -> Result<u32> {
    let index = namespace.run(|| if_nametoindex(interface))?;
    index.map_err(|errno| Error::new("find link", interface, errno))
}

/// Listens on an address inside a namespace. A link-local address needs the index of its interface.
///
/// The port is shared with other sockets that share it, as haproxy's do, so one server can follow another without a
/// moment in which nobody listens. Must be called from within a tokio runtime.
pub fn listen_tcp(namespace: &Namespace, address: (IpAddr, u16), interface: u32, backlog: u32) -> Result<TcpListener> {
    let socket_address = match address {
        (IpAddr::V4(ip), port) => SocketAddr::from((ip, port)),
        (IpAddr::V6(ip), port) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, interface)),
    };
    let runtime = Handle::current();
    let listen = || -> io::Result<TcpListener> {
        let socket = if address.0.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(socket_address)?;
        let _entered = runtime.enter();
        socket.listen(backlog)
    };
    namespace.run(listen)?.map_err(|error| Error::io("listen on", socket_address.to_string(), &error))
}

/// Speaks and listens in a group of IPv4 on one device inside a namespace, on which it has the address `own`; nothing
/// leaves its link, nor comes back to who said it. Must be called from within a tokio runtime.
pub fn multicast(namespace: &Namespace, device: &str, own: Ipv4Addr, group: SocketAddrV4) -> Result<UdpSocket> {
    let runtime = Handle::current();
    let open = || -> io::Result<UdpSocket> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, group.port()))?;
        // With the device given, no route is needed, and nothing is heard from others.
        setsockopt(&socket, sockopt::BindToDevice, &OsString::from(device))?;
        if setsockopt(&socket, sockopt::RcvBufForce, &GROUP_BUFFER).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &GROUP_BUFFER);
        }
        socket.set_multicast_ttl_v4(1)?;
        socket.set_multicast_loop_v4(false)?;
        socket.join_multicast_v4(group.ip(), &own)?;
        socket.set_nonblocking(true)?;
        let _entered = runtime.enter();
        UdpSocket::from_std(socket)
    };
    namespace.run(open)?.map_err(|error| Error::io("join", format!("{group} on {device}"), &error))
}

/// Listens on a unix socket with these permissions. A socket that stands there already, as one that a former process
/// left, is replaced at one stroke: whoever connects reaches either that one or this one.
pub fn listen_unix(path: &Path, mode: u32, backlog: u32) -> Result<UnixListener> {
    let failed = |error: io::Error| Error::io("listen on", path.display().to_string(), &error);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listen = || {
        let socket = UnixSocket::new_stream()?;
        socket.bind(&temporary)?;
        fs::set_permissions(&temporary, Permissions::from_mode(mode))?;
        let listener = socket.listen(backlog)?;
        fs::rename(&temporary, path)?;
        Ok(listener)
    };
    listen().map_err(failed)
}

/// Allows this process as many open files as it may allow itself. Systems start services with 1,024 for the sake of
/// old programs, which a listening socket for each of many networks soon uses up.
pub fn allow_many() -> Result<()> {
    let failed = |errno| Error::new("raise", "the limit of open files", errno);
    let (soft, hard) = resource::getrlimit(resource::Resource::RLIMIT_NOFILE).map_err(failed)?;
    if soft >= hard {
        return Ok(());
    }
    resource::setrlimit(resource::Resource::RLIMIT_NOFILE, hard, hard).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use tokio::net::{TcpStream, UnixStream};

    use super::*;

    #[tokio::test]
    async fn two_servers_share_an_address_for_a_while() {
        let loopback = interface_index(&Namespace::CURRENT, "lo").unwrap();
        let first = listen_tcp(&Namespace::CURRENT, ([127, 0, 0, 1].into(), 0), loopback, 8).unwrap();
        let address = first.local_addr().unwrap();
        let second = listen_tcp(&Namespace::CURRENT, (address.ip(), address.port()), loopback, 8).unwrap();
        drop(first);
        let (client, accepted) = tokio::join!(TcpStream::connect(address), second.accept());
        assert_eq!(client.unwrap().local_addr().unwrap(), accepted.unwrap().1);
    }

    #[tokio::test]
    async fn a_unix_socket_takes_the_place_of_the_one_before() {
        let path = std::env::temp_dir().join(format!("isospin-socket-{}", std::process::id()));
        let first = listen_unix(&path, 0o644, 8).unwrap();
        let second = listen_unix(&path, 0o666, 8).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
        drop(first);
        let (client, accepted) = tokio::join!(UnixStream::connect(&path), second.accept());
        assert!(client.is_ok() && accepted.is_ok());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_missing_interface_is_named() {
        let error = interface_index(&Namespace::CURRENT, "no-such-link").unwrap_err();
        assert_eq!(error.to_string(), "cannot find link no-such-link");
        assert!(error.is_missing());
    }

    #[test]
    fn the_limit_of_open_files_is_raised() {
        allow_many().unwrap();
        let (soft, hard) = resource::getrlimit(resource::Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
