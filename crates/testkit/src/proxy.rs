//! A TCP proxy on the loopback interface that breaks connections on demand: what stands between a client and its server
//! when the network between them fails.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Forwards connections to one target until it is dropped, which ends them all.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    accepted: AtomicU64,
    refused: AtomicU64,
    to_target: AtomicU64,
    from_target: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    /// Both ends of each connection.
    streams: Vec<(TcpStream, TcpStream)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    #[default]
    Forward,
    Stall,
    Cut,
    Ended,
}

/// What went through so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Connections that were forwarded or stalled.
    pub accepted: u64,
    /// Connections that were closed at once.
    pub refused: u64,
    /// Bytes that clients sent.
    pub to_target: u64,
    /// Bytes that the target sent.
    pub from_target: u64,
}

impl Proxy {
    /// Listens on a free port and forwards what connects there.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            to_target: AtomicU64::new(0),
            from_target: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Ok(Self { address, shared })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops all connections and closes each new one at once, until [`Self::heal`].
    pub fn cut(&self) {
        self.shared.set(Mode::Cut);
    }

    /// Drops all connections; new ones are as before.
    pub fn drop_connections(&self) {
        self.shared.lock().hang_up();
    }

    /// Keeps connections and accepts new ones, but forwards nothing until [`Self::heal`]: what either side sends is
    /// taken and kept.
    pub fn stall(&self) {
        self.shared.set(Mode::Stall);
    }

    /// Forwards again, first what was kept.
    pub fn heal(&self) {
        self.shared.set(Mode::Forward);
    }

    /// What went through so far.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        Counters {
            accepted: read(&shared.accepted),
            refused: read(&shared.refused),
            to_target: read(&shared.to_target),
            from_target: read(&shared.from_target),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.set(Mode::Ended);
        // The accepting thread looks at the mode after each connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, mode: Mode) {
        let mut state = self.lock();
        state.mode = mode;
        if matches!(mode, Mode::Cut | Mode::Ended) {
            state.hang_up();
        }
        self.changed.notify_all();
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((client, _)) = listener.accept() {
            match self.lock().mode {
                Mode::Ended => return,
                Mode::Cut => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Mode::Forward | Mode::Stall => {}
            }
            self.accepted.fetch_add(1, Ordering::Relaxed);
            // A target that is away looks to the client like a connection that closes.
            let _ = self.connect(client);
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let target = TcpStream::connect(self.target)?;
        for stream in [&client, &target] {
            stream.set_nodelay(true)?;
        }
        let mut state = self.lock();
        if matches!(state.mode, Mode::Cut | Mode::Ended) {
            return Ok(());
        }
        state.streams.retain(|(client, _)| client.peer_addr().is_ok());
        state.streams.push((client.try_clone()?, target.try_clone()?));
        drop(state);
        self.copy(client.try_clone()?, target.try_clone()?, |shared| &shared.to_target);
        self.copy(target, client, |shared| &shared.from_target);
        Ok(())
    }

    fn copy(
        self: &Arc<Self>,
        mut from: TcpStream,
        mut to: TcpStream,
        counter: impl Fn(&Self) -> &AtomicU64 + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(size @ 1..) = from.read(&mut buffer) {
                if !shared.may_forward() {
                    break;
                }
                // Before the other side can know of it, so that it can look at the counters then.
                counter(&shared).fetch_add(size as u64, Ordering::Relaxed);
                if to.write_all(&buffer[..size]).is_err() {
                    break;
                }
            }
            // The end of one side is told to the other only when anything is.
            shared.may_forward();
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }

    /// Waits while stalled; tells whether to go on.
    fn may_forward(&self) -> bool {
        let mut state = self.lock();
        while state.mode == Mode::Stall {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.mode == Mode::Forward
    }
}

impl State {
    fn hang_up(&mut self) {
        for (client, target) in self.streams.drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = target.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A server that says everything back.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().take(3) {
                let mut stream = stream.unwrap();
                thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        address
    }

    fn client(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn says_back(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        Ok(answer.to_vec())
    }

    #[test]
    fn connections_stall_and_heal_and_are_cut() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut stream = client(&proxy);
        stream.write_all(b"ping").unwrap();
        assert_eq!(says_back(&mut stream).unwrap(), b"ping");

        proxy.stall();
        stream.write_all(b"wait").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert_eq!(says_back(&mut stream).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        proxy.heal();
        assert_eq!(says_back(&mut stream).unwrap(), b"wait");

        proxy.cut();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection is closed");
        assert!(!matches!(client(&proxy).read(&mut [0]), Ok(1..)), "so is a new one");
        proxy.heal();
        let mut stream = client(&proxy);
        stream.write_all(b"pong").unwrap();
        assert_eq!(says_back(&mut stream).unwrap(), b"pong");
        let counters = proxy.counters();
        assert_eq!((counters.accepted, counters.refused), (2, 1));
        assert_eq!((counters.to_target, counters.from_target), (12, 12));
    }
}
