//! Tracked connections of a router, known to the hosts that wait.
//!
//! Who serves tells on the network of the hosts what happens to its connections, and all of them at its beginning, every
//! 25 seconds and when it is asked. Who waits has its kernel know them at once, so that nothing is left to do, and no packet
//! comes too early, when it takes over. What is not told any more is forgotten.
//!
//! `message` is the datagram, `listener` what is made of it; here is who speaks and who listens.

mod listener;
mod message;

use std::{
    cell::Cell,
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use kernel::{
    Namespace,
    conntrack::{self, Change, Changes, Connection, Tuple},
    socket,
};
use tokio::{
    net::UdpSocket,
    sync::watch::Receiver,
    time::{Instant, interval, sleep},
};

use crate::{chain, metadata::Secret};
use listener::{Heard, Listener, record};
use message::{Message, Record, Said, fit};

/// How often all connections are told: sooner than any that is in use would be given up.
const WHOLE_INTERVAL: Duration = Duration::from_secs(25);
/// How often is asked, and how often at most is answered.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// So many datagrams at once, and a pause for the others to take them.
const BURST: u32 = 32;
const PAUSE: Duration = Duration::from_millis(1);
/// The largest datagram there is.
const BUFFER: usize = 2048;
/// Delay before what failed is tried again.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How the hosts of a router tell each other of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// Address of this host among them.
    pub own: Ipv4Addr,
    /// The group that all of them are in.
    pub group: SocketAddrV4,
    /// What they sign with.
    pub key: Secret,
    /// So many connections at most.
    pub most: usize,
}

#[derive(Debug, thiserror::Error)]
enum HandoverError {
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    #[error("the hosts of the router cannot be spoken with")]
    Socket(#[from] io::Error),
}

/// The way to the other hosts.
struct Wire<'a> {
    socket: UdpSocket,
    namespace: &'a Namespace,
    handover: &'a Handover,
    session: u64,
    number: u64,
}

/// Keeps connections known for ever. `serves` says whether this host serves, once that is known.
pub(in crate::l3) async fn keep(
    namespace: &Namespace,
    device: &str,
    handover: &Handover,
    mut serves: Receiver<Option<bool>>,
) {
    let mut delay = FIRST_RETRY;
    loop {
        let began = Instant::now();
        let Err(error) = take_part(namespace, device, handover, &mut serves).await else { return };
        if began.elapsed() > LAST_RETRY {
            delay = FIRST_RETRY;
        }
        tracing::warn!(
            namespace = namespace.name(),
            error = chain(&error),
            "connections would not outlive this host, trying again in {delay:?}"
        );
        sleep(delay).await;
        delay = (delay * 2).min(LAST_RETRY);
    }
}

/// Speaks or listens until that fails, or until nobody knows any more which it should be.
async fn take_part(
    namespace: &Namespace,
    device: &str,
    handover: &Handover,
    serves: &mut Receiver<Option<bool>>,
) -> Result<(), HandoverError> {
    let socket = socket::multicast(namespace, device, handover.own, handover.group)?;
    // Those that are put while this host waits are heard of too, once it serves.
    let mut changes = Changes::open(namespace)?;
    let mut wire = Wire { socket, namespace, handover, session: 0, number: 0 };
    loop {
        let role = *serves.borrow_and_update();
        // Whoever begins anew is not taken for who it was.
        (wire.session, wire.number) = (uuid::Uuid::new_v4().as_u64_pair().0, 0);
        let part = async {
            match role {
                Some(true) => speak(&mut changes, &mut wire).await,
                Some(false) => listen(&mut changes, &mut wire).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = part => return ended,
            changed = serves.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Tells what happens to the connections of this host.
async fn speak(changes: &mut Changes, wire: &mut Wire<'_>) -> Result<(), HandoverError> {
    let mut whole = interval(WHOLE_INTERVAL);
    let mut told = Instant::now();
    loop {
        tokio::select! {
            changes = changes.next() => {
                if changes.contains(&Change::Missed) {
                    whole.reset_immediately();
                }
                wire.tell(changes).await?;
            }
            _ = whole.tick() => {
                wire.tell_all().await?;
                told = Instant::now();
            }
            message = wire.hear() => if message?.said == Said::Question && told.elapsed() > ASK_INTERVAL / 2 {
                whole.reset_immediately();
            },
        }
    }
}

/// Has the kernel know what is told.
async fn listen(changes: &mut Changes, wire: &mut Wire<'_>) -> Result<(), HandoverError> {
    let mut listener = Listener::default();
    let mut asks = interval(ASK_INTERVAL);
    loop {
        tokio::select! {
            // They are its own doing.
            _ = changes.next() => {}
            _ = asks.tick() => if listener.lacks() {
                wire.say(Said::Question).await?;
            },
            message = wire.hear() => {
                if let Some(heard) = listener.take(message?, wire.handover.most)
                    && !follow(wire.namespace, heard).await?
                {
                    listener.differs();
                }
            }
        }
    }
}

/// Does what was heard. Returns false if connections had to go that are to be told of once more.
async fn follow(namespace: &Namespace, heard: Heard) -> Result<bool, HandoverError> {
    let namespace = namespace.clone();
    let work = move || {
        let (gone, now): (Vec<Record>, Vec<Record>) = heard.records.into_iter().partition(|record| record.gone);
        let connections = |records: Vec<Record>| records.into_iter().map(|it| it.connection).collect::<Vec<_>>();
        conntrack::forget(&namespace, &connections(gone))?;
        let refused = conntrack::put(&namespace, &connections(now))?;
        if refused > 0 {
            tracing::debug!(namespace = namespace.name(), refused, "the kernel does not take connections");
        }
        heard.all.map_or(Ok(true), |all| forget_others(&namespace, &all))
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Forgets what is not told of any more, or told of with another translation; false if there is some of the latter.
fn forget_others(namespace: &Namespace, all: &HashMap<Tuple, Tuple>) -> Result<bool, HandoverError> {
    let differs = Cell::new(false);
    for version in [4, 6] {
        conntrack::retain(namespace, version, |connection| match all.get(&connection.original) {
            Some(reply) if *reply == connection.reply => true,
            Some(_) => {
                differs.set(true);
                false
            }
            None => record(connection.clone()).is_none(),
        })?;
    }
    Ok(!differs.get())
}

impl Wire<'_> {
    async fn tell(&mut self, changes: Vec<Change>) -> io::Result<()> {
        let news = changes.into_iter().filter_map(|change| match change {
            Change::Now(connection) => record(connection),
            Change::Gone(connection) => {
                let has_ports = connection.original.source_port.is_some() && connection.zone == 0;
                has_ports.then_some(Record { gone: true, connection })
            }
            Change::Missed => None,
        });
        let news: Vec<Record> = news.collect();
        let mut rest = &news[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fit(rest).max(1));
            self.say(Said::Changes(now.to_vec())).await?;
            rest = later;
        }
        Ok(())
    }

    async fn tell_all(&mut self) -> Result<(), HandoverError> {
        let namespace = self.namespace.clone();
        let list = move || Ok([conntrack::list(&namespace, 4)?, conntrack::list(&namespace, 6)?].concat());
        let listed: Result<Vec<Connection>, kernel::Error> =
            tokio::task::spawn_blocking(list).await.map_err(io::Error::other)?;
        let mut records: Vec<Record> = listed?.into_iter().filter_map(record).filter(|record| !record.gone).collect();
        if records.len() > self.handover.most {
            tracing::warn!(
                count = records.len(),
                most = self.handover.most,
                "not all connections would outlive this host"
            );
            records.truncate(self.handover.most);
        }
        let mut parts = Vec::new();
        let mut rest = &records[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fit(rest).max(1));
            parts.push(now.to_vec());
            rest = later;
        }
        // That there is none is told too.
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let count = parts.len() as u32;
        for (part, records) in (0..).zip(parts) {
            self.say(Said::Whole { part, parts: count, records }).await?;
            if part % BURST == BURST - 1 {
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    async fn say(&mut self, said: Said) -> io::Result<()> {
        let message = Message { session: self.session, number: self.number, said };
        self.number += 1;
        let datagram = message.encode(self.handover.key.reveal());
        match self.socket.send_to(&datagram, self.handover.group).await {
            // While the device is down nobody hears anything; what is missed is asked for.
            Err(error) if matches!(error.kind(), io::ErrorKind::NetworkDown | io::ErrorKind::NetworkUnreachable) => {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// The next message of another host; what is none is passed over.
    async fn hear(&self) -> io::Result<Message> {
        let mut buffer = [0; BUFFER];
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((length, _)) => {
                    if let Some(message) = Message::decode(&buffer[..length], self.handover.key.reveal()) {
                        return Ok(message);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
                Err(error) => return Err(error),
            }
        }
    }
}
