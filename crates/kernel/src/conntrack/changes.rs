//! What happens to connections, as it happens.

use std::io;

use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use tokio::runtime::Handle;

use super::{CHANGE, Connection, DELETE, HEADER, parse, u16_at, u32_at};
use crate::{Errno, Error, Namespace, Result};

/// `NFNLGRP_CONNTRACK_UPDATE` and `NFNLGRP_CONNTRACK_DESTROY`, as bits. A new connection is nothing until it is answered,
/// which is an update.
const GROUPS: u32 = 1 << 1 | 1 << 2;
/// Bytes of changes that the kernel keeps for us; it takes them only as there are some.
const BUFFER: usize = 8 << 20;

/// One thing that happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is so now.
    Now(Connection),
    /// It ended.
    Gone(Connection),
    /// Something was lost: only a list tells what is.
    Missed,
}

/// The changes in one namespace, from the moment it was opened.
pub struct Changes(TokioSocket);

impl Changes {
    /// Listens inside `namespace`, with room for the changes that nobody has taken yet. Must be called from within a tokio
    /// runtime.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::io("watch connections in", namespace.name().unwrap_or("the current namespace"), &error)
        };
        let runtime = Handle::try_current().map_err(|error| failed(io::Error::other(error)))?;
        let opened = namespace.run(|| {
            let _inside = runtime.enter();
            let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
            if setsockopt(socket.socket_ref(), RcvBufForce, &BUFFER).is_err() {
                let _ = socket.socket_ref().set_rx_buf_sz(BUFFER);
            }
            socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
            Ok(socket)
        })?;
        opened.map(Self).map_err(failed)
    }

    /// What happened next. Can be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Vec<Change> {
        match self.0.recv_from_full().await {
            Ok((datagram, _)) => read(&datagram),
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => vec![Change::Missed],
            Err(error) => {
                tracing::error!("no more changes of connections: {error}");
                std::future::pending().await
            }
        }
    }
}

fn read(mut datagram: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    while datagram.len() >= HEADER {
        let length = u32_at(datagram, 0) as usize;
        if length < HEADER || length > datagram.len() {
            changes.push(Change::Missed);
            break;
        }
        let (kind, body) = (u16_at(datagram, 4), &datagram[HEADER..length]);
        let connection = parse(body);
        changes.extend(match kind {
            CHANGE => connection.map(Change::Now),
            DELETE => connection.map(Change::Gone),
            _ => None,
        });
        datagram = &datagram[length.next_multiple_of(4).min(datagram.len())..];
    }
    changes
}
