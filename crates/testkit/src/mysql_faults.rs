//! A proxy before a MySQL or MariaDB server that understands enough of its protocol to break chosen statements.
//!
//! It reads what a client sends, packet by packet, and knows the text of each statement, also of prepared ones and of
//! several in one text, which are parted by a semicolon and a line end. A [`Rule`] says which statement is broken and
//! how: answered with an error that the server did not give, or cut off, before the server sees it or after, with all
//! that travels in the same packet. The client must not use TLS.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// A text query, the preparation of a statement and its execution.
const QUERY: u8 = 0x03;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;
/// What parts the statements of one text.
const PARTING: &str = ";\n";

/// What happens to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this error, and the transaction is rolled back on the server, as Galera does.
    Error {
        /// Such as 1213.
        code: u16,
        /// Such as `40001`.
        state: &'static str,
        /// The text for people.
        message: &'static str,
    },
    /// The connection ends before the server sees it.
    CutBefore,
    /// The connection ends after the server did it, before its answer gets through.
    CutAfter,
}

/// Which statements are broken: after `skip` that match, `times` that match.
#[derive(Debug, Clone)]
pub struct Rule {
    /// A part of the statement's text; empty for any.
    pub contains: &'static str,
    /// Matches that pass unharmed first.
    pub skip: usize,
    /// Matches that are broken then.
    pub times: usize,
    /// How.
    pub fault: Fault,
}

/// The proxy; ends with its connections when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    statements: Vec<String>,
    flights: Vec<usize>,
    hits: usize,
}

impl FaultProxy {
    /// Listens on a free port of the loopback interface and forwards to the server.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { target, state: Mutex::default(), ended: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || {
                    let _ = Link::open(client, shared).and_then(Link::serve);
                });
            }
        });
        Ok(Self { address, shared })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks statements by these rules from now on, in place of those before; forgets what it has seen.
    pub fn set(&self, rules: Vec<Rule>) {
        *self.shared.state() = State { rules, ..State::default() };
    }

    /// The statements that clients sent since [`FaultProxy::set`].
    pub fn statements(&self) -> Vec<String> {
        self.shared.state().statements.clone()
    }

    /// How many statements each packet held that clients sent since [`FaultProxy::set`]: one for each round trip.
    pub fn flights(&self) -> Vec<usize> {
        self.shared.state().flights.clone()
    }

    /// How many were broken since [`FaultProxy::set`].
    pub fn hits(&self) -> usize {
        self.shared.state().hits
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to happen to one of the statements that travel together, and to which.
    fn fault(&self, text: &str) -> Option<(usize, Fault)> {
        self.state().flights.push(text.split(PARTING).count());
        text.split(PARTING).enumerate().find_map(|(at, statement)| Some((at, self.fault_of(statement)?)))
    }

    fn fault_of(&self, text: &str) -> Option<Fault> {
        let mut state = self.state();
        state.statements.push(text.to_owned());
        let rule = state.rules.iter_mut().find(|rule| rule.times > 0 && text.contains(rule.contains))?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= 1;
        let fault = rule.fault.clone();
        state.hits += 1;
        Some(fault)
    }
}

/// One client and its server.
struct Link {
    shared: Arc<Shared>,
    client: TcpStream,
    server: TcpStream,
    /// What the other direction must know.
    wanted: Arc<Mutex<Wanted>>,
}

/// What the server's next packet is for.
#[derive(Debug, Default)]
enum Next {
    #[default]
    Forward,
    /// The number of a statement that was prepared.
    Number(String),
    /// Replaced by this packet.
    Replace(Vec<u8>),
    /// The end.
    Cut,
}

#[derive(Debug, Default)]
struct Wanted {
    next: Next,
    prepared: HashMap<u32, String>,
}

impl Link {
    fn open(client: TcpStream, shared: Arc<Shared>) -> io::Result<Self> {
        let server = TcpStream::connect(shared.target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok(Self { shared, client, server, wanted: Arc::default() })
    }

    /// Forwards both ways until one end is gone.
    fn serve(mut self) -> io::Result<()> {
        let (mut from, mut to) = (self.server.try_clone()?, self.client.try_clone()?);
        let wanted = Arc::clone(&self.wanted);
        let back = thread::spawn(move || {
            let _ = answers(&mut from, &mut to, &wanted);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
        let result = self.requests();
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
        let _ = back.join();
        result
    }

    fn requests(&mut self) -> io::Result<()> {
        while let Some(packet) = packet(&mut self.client)? {
            // Commands are the first packet of an exchange; others belong to the login.
            let text = if packet[3] == 0 { self.statement(&packet[4..]) } else { None };
            let fault = text.as_deref().and_then(|text| self.shared.fault(text));
            match fault {
                None => {
                    if packet[3] == 0 && packet.get(4) == Some(&PREPARE) {
                        let text = String::from_utf8_lossy(&packet[5..]).into_owned();
                        self.wanted().next = Next::Number(text);
                    }
                    self.server.write_all(&packet)?;
                }
                Some((_, Fault::CutBefore)) => return Ok(()),
                Some((_, Fault::CutAfter)) => {
                    self.wanted().next = Next::Cut;
                    self.server.write_all(&packet)?;
                }
                Some((at, Fault::Error { code, state, message })) if at > 0 => {
                    // The server does those before, and gives the error in the place of this one.
                    let text = text.unwrap_or_default();
                    let mut statements: Vec<&str> = text.split(PARTING).take(at).collect();
                    let signal = format!(
                        "BEGIN NOT ATOMIC ROLLBACK; \
                         SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = '{message}'; END"
                    );
                    statements.push(&signal);
                    let text = statements.join(PARTING);
                    self.server.write_all(&framed(0, &[&[QUERY], text.as_bytes()].concat()))?;
                }
                Some((_, Fault::Error { code, state, message })) => {
                    self.wanted().next = Next::Replace(error(code, state, message));
                    self.server.write_all(&framed(0, &[&[QUERY], b"ROLLBACK".as_slice()].concat()))?;
                }
            }
        }
        Ok(())
    }

    /// The text of what a command runs; the preparation of a statement runs nothing.
    fn statement(&self, command: &[u8]) -> Option<String> {
        match command {
            [QUERY, text @ ..] => Some(String::from_utf8_lossy(text).into_owned()),
            [EXECUTE, a, b, c, d, ..] => {
                let number = u32::from_le_bytes([*a, *b, *c, *d]);
                self.wanted().prepared.get(&number).cloned()
            }
            _ => None,
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forwards what the server sends, but for the packet that something else was wanted for.
fn answers(from: &mut TcpStream, to: &mut TcpStream, wanted: &Mutex<Wanted>) -> io::Result<()> {
    while let Some(packet) = packet(from)? {
        let mut wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut wanted.next) {
            Next::Forward => {}
            Next::Cut => return Ok(()),
            Next::Replace(other) => {
                to.write_all(&other)?;
                continue;
            }
            Next::Number(text) => {
                if let [0, a, b, c, d, ..] = packet[4..] {
                    wanted.prepared.insert(u32::from_le_bytes([a, b, c, d]), text);
                }
            }
        }
        drop(wanted);
        to.write_all(&packet)?;
    }
    Ok(())
}

/// One packet with its header: three bytes of length, one of sequence.
fn packet(from: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    if let Err(error) = from.read_exact(&mut header) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
    let mut packet = header.to_vec();
    packet.resize(4 + length, 0);
    from.read_exact(&mut packet[4..])?;
    Ok(Some(packet))
}

fn framed(sequence: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], sequence];
    packet.extend_from_slice(body);
    packet
}

fn error(code: u16, state: &str, message: &str) -> Vec<u8> {
    framed(1, &[&[0xff], &code.to_le_bytes()[..], b"#", state.as_bytes(), message.as_bytes()].concat())
}
