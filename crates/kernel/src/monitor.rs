//! What happens to links and addresses, as it happens.

use std::io;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt::RcvBufForce},
};
use tokio::{runtime::Handle, sync::mpsc};

use crate::{Address, Error, Link, Namespace, Result, addr, link};

/// Multicast groups of links and of addresses of both families, as bits.
const GROUPS: u32 = 1 << 0 | 1 << 4 | 1 << 8;
/// Bytes of events the kernel keeps for us: thousands of links at once.
const BUFFER: usize = 8 << 20;
/// Events that wait for the agent here. When it is full the kernel keeps them.
const QUEUE: usize = 1024;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A link is new or changed.
    Link(Link),
    /// A link went.
    LinkGone(Link),
    /// An address is new or changed.
    Address(Address),
    /// An address went.
    AddressGone(Address),
    /// Events were lost: only a full read tells what is.
    Missed,
}

/// The events of one namespace, from the moment it was opened.
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// Listens inside `namespace`. Must be called from within a tokio runtime.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        let failed = |error: io::Error| {
            let name = namespace.name().unwrap_or("the current namespace");
            Error::io("watch links in", name, &error)
        };
        let runtime = Handle::try_current().map_err(|error| failed(io::Error::other(error)))?;
        let opened = namespace.run(|| {
            let _inside = runtime.enter();
            socket()
        })?;
        let socket = opened.map_err(failed)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        runtime.spawn(forward(socket, sender));
        Ok(Self(receiver))
    }

    pub(crate) fn new(receiver: mpsc::Receiver<Event>) -> Self {
        Self(receiver)
    }

    /// The next event. Can be dropped and called again without losing one.
    pub async fn next(&mut self) -> Event {
        match self.0.recv().await {
            Some(event) => event,
            // The forwarding task ends only with the runtime.
            None => std::future::pending().await,
        }
    }

    /// The next event if one is waiting.
    pub fn waiting(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}

fn socket() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    // Beyond the system's limit takes CAP_NET_ADMIN; without it the usual size serves, and a loss is noticed.
    if setsockopt(socket.socket_ref(), RcvBufForce, &BUFFER).is_err() {
        let _ = socket.socket_ref().set_rx_buf_sz(BUFFER);
    }
    socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
    Ok(socket)
}

async fn forward(socket: TokioSocket, sender: mpsc::Sender<Event>) {
    while !sender.is_closed() {
        let received = tokio::select! {
            received = socket.recv_from_full() => received.map(|(datagram, _)| datagram),
            () = sender.closed() => return,
        };
        let events = match received {
            Ok(datagram) => parse(&datagram),
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => vec![Event::Missed],
            Err(error) => {
                tracing::error!("no more link events, only regular scans: {error}");
                return sender.closed().await;
            }
        };
        for event in events {
            if sender.send(event).await.is_err() {
                return;
            }
        }
    }
}

fn parse(mut datagram: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !datagram.is_empty() {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram) else {
            events.push(Event::Missed);
            break;
        };
        // Messages are padded to four bytes.
        let length = (message.header.length as usize).next_multiple_of(4).clamp(4, datagram.len());
        datagram = &datagram[length..];
        if let NetlinkPayload::InnerMessage(inner) = message.payload {
            events.extend(event(inner));
        }
    }
    events
}

fn event(message: RouteNetlinkMessage) -> Option<Event> {
    // A bridge tells of its ports under its own family; "deleted" there means that a port left it.
    let of_link =
        |message: &netlink_packet_route::link::LinkMessage| message.header.interface_family == AddressFamily::Unspec;
    match message {
        RouteNetlinkMessage::NewLink(message) if of_link(&message) => Some(Event::Link(link::parse(&message))),
        RouteNetlinkMessage::DelLink(message) if of_link(&message) => Some(Event::LinkGone(link::parse(&message))),
        RouteNetlinkMessage::NewAddress(message) => addr::parse(&message).map(Event::Address),
        RouteNetlinkMessage::DelAddress(message) => addr::parse(&message).map(Event::AddressGone),
        _ => None,
    }
}
