//! Tells the service manager how the service is, by systemd's protocol: a datagram to the socket that it named.
//!
//! Without a service manager nothing happens. There is no watchdog: what it would watch, that a timer still fires, says
//! little about whether requests are answered; `/healthcheck` is for that.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// It works.
pub(super) fn ready() {
    tell("READY=1");
}

/// It is about to end.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!("cannot tell the service manager {state}: {error}");
    }
}

fn send(socket: &OsStr, state: &str) -> std::io::Result<()> {
    let address = match socket.as_bytes() {
        // A name that starts with @ is not in the file system.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_told_on_either_kind_of_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("isospin-test-{}", std::process::id());
        let at = |address: SocketAddr| UnixDatagram::bind_addr(&address).unwrap();
        let sockets = [
            (path.clone().into_os_string(), at(SocketAddr::from_pathname(&path).unwrap())),
            (format!("@{name}").into(), at(SocketAddr::from_abstract_name(&name).unwrap())),
        ];
        for (socket, listener) in sockets {
            send(&socket, "READY=1").unwrap();
            let mut buffer = [0; 64];
            let length = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
        }
        assert!(send(OsStr::new("/nonexistent/socket"), "READY=1").is_err());
    }
}
