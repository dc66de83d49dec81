//! Asking around: every machine answers under its name and says who asked, and many questions are asked at once.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket},
    os::fd::OwnedFd,
    str::FromStr,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use kernel::Namespace;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, UdpSocket},
    runtime::Runtime,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::model::Carries;

/// Ports that every machine answers on.
pub(crate) const SERVED: [u16; 2] = [80, 81];
/// How long an answer may take that should come, and how long one is waited for that should not.
const PATIENCE: Duration = Duration::from_millis(3000);
const DOUBT: Duration = Duration::from_millis(600);
/// After which time a question without an answer is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: IpAddr,
    pub(crate) carries: Carries,
    /// Whether an answer should come.
    pub(crate) expected: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Heard {
    Nothing,
    /// An echo reply does not say whose it is.
    Echo,
    /// The name of who answered, and the address that the question came from.
    Name(String, IpAddr),
}

pub(crate) struct Prober {
    runtime: Runtime,
    namespaces: BTreeMap<String, Namespace>,
    /// The source ports of questions over UDP, always the same, so that what a host remembers of a former question that
    /// was allowed is found out if it is not forgotten. Nothing that is translated on its way is asked so.
    ports: BTreeMap<(String, IpAddr, u16), u16>,
}

/// A socket in the namespace of who asks.
enum Opened {
    Tcp(TcpSocket, SocketAddr),
    Datagram(StdUdpSocket, Vec<u8>),
}

impl Prober {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { runtime: Runtime::new()?, namespaces: BTreeMap::new(), ports: BTreeMap::new() })
    }

    /// Has a machine answer on its addresses, present and future.
    pub(crate) fn serve(&mut self, name: &str, namespace: &Namespace, addresses: &[IpAddr]) -> Result<()> {
        let _entered = self.runtime.enter();
        let handle = self.runtime.handle().clone();
        let open = || {
            let _entered = handle.enter();
            // Sockets stand before their addresses do, and members of the group of root may send echo requests.
            for (parameter, value) in [
                ("net/ipv4/ip_nonlocal_bind", "1"),
                ("net/ipv6/ip_nonlocal_bind", "1"),
                ("net/ipv4/ping_group_range", "0 0"),
            ] {
                std::fs::write(format!("/proc/sys/{parameter}"), value)?;
            }
            let mut opened = Vec::new();
            for address in addresses.iter().flat_map(|ip| SERVED.map(|port| SocketAddr::new(*ip, port))) {
                let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                let datagrams = StdUdpSocket::bind(address)?;
                datagrams.set_nonblocking(true)?;
                opened.push((socket.listen(1024)?, UdpSocket::from_std(datagrams)?));
            }
            io::Result::Ok(opened)
        };
        for (listener, datagrams) in namespace.run(open)?? {
            self.runtime.spawn(answer_streams(listener, name.to_owned()));
            self.runtime.spawn(answer_datagrams(datagrams, name.to_owned()));
        }
        self.namespaces.insert(name.to_owned(), namespace.clone());
        Ok(())
    }

    /// Asks all at once. `same_port` says of which questions the source port is to be the same every time.
    pub(crate) fn ask(
        &mut self,
        questions: &[Question<'_>],
        same_port: impl Fn(&Question<'_>) -> bool,
    ) -> Result<Vec<Heard>> {
        let mut by_machine: BTreeMap<&str, Vec<(usize, Question<'_>, u16)>> = BTreeMap::new();
        for (index, question) in questions.iter().enumerate() {
            let port = if same_port(question) { self.source_port(question) } else { 0 };
            by_machine.entry(question.from).or_default().push((index, *question, port));
        }
        let opened = thread::scope(|scope| {
            let open = |(from, questions)| {
                let namespace = &self.namespaces[from];
                scope.spawn(move || namespace.run(|| open_all(questions)))
            };
            let threads: Vec<_> = by_machine.into_iter().map(open).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().ok().context("a thread ended")?.map_err(Into::into))
                .collect()
        });
        let opened: Vec<Vec<_>> = Result::from_iter::<Vec<Result<_>>>(opened)?;
        let mut heard = vec![Heard::Nothing; questions.len()];
        self.runtime.block_on(async {
            let mut asking = JoinSet::new();
            for (index, expected, opened) in opened.into_iter().flatten() {
                let limit = if expected { PATIENCE } else { DOUBT };
                asking.spawn(async move { (index, timeout(limit, exchange(opened)).await) });
            }
            while let Some(asked) = asking.join_next().await {
                if let Ok((index, Ok(Ok(answer)))) = asked {
                    heard[index] = answer;
                }
            }
        });
        Ok(heard)
    }

    fn source_port(&mut self, question: &Question<'_>) -> u16 {
        let Carries::Udp { to, .. } = question.carries else { return 0 };
        let used = u16::try_from(self.ports.keys().filter(|(from, ..)| from == question.from).count());
        *self.ports.entry((question.from.to_owned(), question.to, to)).or_insert(20_000 + used.unwrap_or_default())
    }
}

async fn answer_streams(listener: TcpListener, name: String) {
    while let Ok((mut stream, from)) = listener.accept().await {
        let text = format!("{name} {}", from.ip());
        tokio::spawn(async move { stream.write_all(text.as_bytes()).await });
    }
}

async fn answer_datagrams(socket: UdpSocket, name: String) {
    let mut asked = [0; 64];
    loop {
        // An error is that of a former answer that could not be delivered.
        if let Ok((_, from)) = socket.recv_from(&mut asked).await {
            let _ = socket.send_to(format!("{name} {}", from.ip()).as_bytes(), from).await;
        }
    }
}

/// Runs in the namespace. A question that has no way out at all is not among those that come back.
fn open_all(questions: Vec<(usize, Question<'_>, u16)>) -> Vec<(usize, bool, Opened)> {
    let open = |(index, question, port): (usize, Question<'_>, u16)| {
        open(&question, port).ok().map(|opened| (index, question.expected, opened))
    };
    questions.into_iter().filter_map(open).collect()
}

fn open(question: &Question<'_>, port: u16) -> io::Result<Opened> {
    let any = if question.to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let (socket, to, words) = match question.carries {
        Carries::Tcp { to, .. } => {
            let socket = if question.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            return Ok(Opened::Tcp(socket, SocketAddr::new(question.to, to)));
        }
        Carries::Udp { to, .. } => (StdUdpSocket::bind((any, port))?, to, b"who".to_vec()),
        Carries::Echo { .. } => (echo_socket(question.to)?, 0, echo_request(question.to)),
    };
    socket.connect((question.to, to))?;
    socket.set_nonblocking(true)?;
    Ok(Opened::Datagram(socket, words))
}

/// A socket for echo requests. The kernel writes number and checksum.
fn echo_socket(to: IpAddr) -> io::Result<StdUdpSocket> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let opened: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
    Ok(opened.into())
}

fn echo_request(to: IpAddr) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    [&[kind, 0, 0, 0, 0, 0, 0, 1][..], b"isospin"].concat()
}

async fn exchange(opened: Opened) -> io::Result<Heard> {
    match opened {
        Opened::Tcp(socket, to) => {
            let mut stream = socket.connect(to).await?;
            let mut said = String::new();
            stream.read_to_string(&mut said).await?;
            Ok(named(said.as_bytes()))
        }
        Opened::Datagram(socket, words) => {
            let socket = UdpSocket::from_std(socket)?;
            let mut said = [0; 64];
            loop {
                // Whoever refuses now may answer the next time.
                let _ = socket.send(&words).await;
                match timeout(AGAIN, socket.recv(&mut said)).await {
                    Ok(Ok(length)) if matches!(said[0], 0 | 129) && length == words.len() => return Ok(Heard::Echo),
                    Ok(Ok(length)) => return Ok(named(&said[..length])),
                    Ok(Err(_)) => sleep(AGAIN).await,
                    Err(_) => {}
                }
            }
        }
    }
}

fn named(said: &[u8]) -> Heard {
    let said = String::from_utf8_lossy(said);
    match said.split_once(' ').map(|(name, address)| (name, IpAddr::from_str(address))) {
        Some((name, Ok(address))) => Heard::Name(name.to_owned(), address),
        _ => Heard::Nothing,
    }
}
