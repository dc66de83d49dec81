//! memcached as a cache that may be shared with other services, over its text protocol.
//!
//! It is a cache and no more: whatever goes wrong, a value is not there and is not kept, and nobody waits long for that.
//! A server that failed is left alone for a while. Keys go to servers as python-memcached sends them, so that services in
//! Python find what is stored here and the other way round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;

/// The port of memcached where none is named.
const PORT: u16 = 11211;

/// The largest value that a server takes unless configured otherwise.
const LARGEST: usize = 1 << 20;

/// How often another server is looked for when the one for a key is down.
const TRIES: u32 = 10;

/// Which servers, and how they are used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port`, `inet:host:port`, `inet6:[address]:port`, `unix:path` or the path of a socket.
    pub servers: Vec<String>,
    /// The longest wait for a server.
    pub timeout: Duration,
    /// How long a server is left alone that failed.
    pub dead_retry: Duration,
    /// Connections to one server.
    pub pool: usize,
    /// How long an unused connection is kept.
    pub unused: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(3),
            dead_retry: Duration::from_secs(300),
            pool: 10,
            unused: Duration::from_secs(60),
        }
    }
}

/// A text that names no server.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` names no server of memcached")]
pub struct BadServer(String);

/// A client of all servers. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Memcached {
    servers: Arc<[Server]>,
}

#[derive(Debug)]
struct Server {
    address: Address,
    settings: Settings,
    permits: Semaphore,
    unused: Mutex<Vec<(Instant, Connection)>>,
    dead_until: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Tcp(String, u16),
    Unix(String),
}

/// What a server answers to a request.
#[derive(Clone, Copy)]
enum Answer {
    Value,
    Line,
}

/// What is common to both kinds of sockets.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

type Connection = BufStream<Box<dyn Stream>>;

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

impl Address {
    fn parse(text: &str) -> Result<Self, BadServer> {
        let bad = || BadServer(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text)) {
            return if path.is_empty() { Err(bad()) } else { Ok(Self::Unix(path.to_owned())) };
        }
        let rest = text.strip_prefix("inet6:").or_else(|| text.strip_prefix("inet:")).unwrap_or(text);
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| bad())?;
        if host.is_empty() || host.contains(char::is_whitespace) {
            Err(bad())
        } else {
            Ok(Self::Tcp(host.to_owned(), port))
        }
    }
}

impl Memcached {
    /// A client that connects when it is first used.
    pub fn new(settings: &Settings) -> Result<Self, BadServer> {
        let server = |text: &String| {
            Ok(Server {
                address: Address::parse(text.trim())?,
                settings: settings.clone(),
                permits: Semaphore::new(settings.pool.max(1)),
                unused: Mutex::default(),
                dead_until: Mutex::default(),
            })
        };
        Ok(Self { servers: settings.servers.iter().map(server).collect::<Result<_, _>>()? })
    }

    /// The value of a key, if a server has it.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        if !is_key(key) {
            return None;
        }
        let request = format!("get {key}\r\n").into_bytes();
        self.server(key)?.ask(&request, Answer::Value).await
    }

    /// Keeps a value for some time; `None` for as long as the server likes. A value that is too large is not kept.
    pub async fn set(&self, key: &str, value: &[u8], time: Option<Duration>) {
        if !is_key(key) || value.len() >= LARGEST {
            return;
        }
        let Some(server) = self.server(key) else { return };
        let mut request = format!("set {key} 0 {} {}\r\n", time.map_or(0, lifetime), value.len()).into_bytes();
        request.extend(value);
        request.extend(b"\r\n");
        server.ask(&request, Answer::Line).await;
    }

    /// The server for a key, or another one if that is down.
    fn server(&self, key: &str) -> Option<&Server> {
        let count = u32::try_from(self.servers.len()).ok().filter(|count| *count > 0)?;
        let mut hash = hash(key.as_bytes());
        for attempt in 0..TRIES {
            let server = self.servers.get(usize::try_from(hash % count).ok()?)?;
            if !server.is_dead() {
                return Some(server);
            }
            hash = self::hash(format!("{hash}{attempt}").as_bytes());
        }
        None
    }
}

impl Server {
    fn is_dead(&self) -> bool {
        self.dead_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// Sends a request and reads the value in its answer. A kept connection may have been closed by the server, so a
    /// failure on one is tried once on a new one; a further failure is the server's.
    async fn ask(&self, request: &[u8], answer: Answer) -> Option<Vec<u8>> {
        let limited = async {
            let _permit = self.permits.acquire().await.map_err(std::io::Error::other)?;
            if let Some(mut stream) = self.kept()
                && let Ok(done) = exchange(&mut stream, request, answer).await
            {
                return Ok((stream, done));
            }
            let mut stream = self.connect().await?;
            let done = exchange(&mut stream, request, answer).await?;
            Ok((stream, done))
        };
        let timeout = self.settings.timeout;
        let result = tokio::time::timeout(timeout, limited).await;
        match result.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok((stream, done)) => {
                self.unused.lock().push((Instant::now(), stream));
                if self.dead_until.lock().take().is_some() {
                    tracing::info!("memcached at {} answers again", self.address);
                }
                done
            }
            Err(error) => {
                self.bury(&error);
                None
            }
        }
    }

    /// Leaves the server alone for a while, and says so once.
    fn bury(&self, error: &std::io::Error) {
        let retry = self.settings.dead_retry;
        let before = self.dead_until.lock().replace(Instant::now() + retry);
        self.unused.lock().clear();
        if before.is_none() {
            let seconds = retry.as_secs();
            tracing::warn!("memcached at {} does not answer ({error}); done without for {seconds} s", self.address);
        }
    }

    fn kept(&self) -> Option<Connection> {
        let mut unused = self.unused.lock();
        let too_old = |since: &Instant| since.elapsed() >= self.settings.unused;
        unused.retain(|(since, _)| !too_old(since));
        unused.pop().map(|(_, stream)| stream)
    }

    async fn connect(&self) -> std::io::Result<Connection> {
        let stream: Box<dyn Stream> = match &self.address {
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        Ok(BufStream::with_capacity(4096, 4096, stream))
    }
}

/// Whether a server takes the key: a space or a line end in it would be another command.
fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= 250 && key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Seconds from now, or a point in time where they are many.
fn lifetime(time: Duration) -> u64 {
    const MONTH: u64 = 30 * 24 * 3600;
    let seconds = time.as_secs().max(1);
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    if seconds <= MONTH { seconds } else { now() + seconds }
}

async fn exchange(stream: &mut Connection, request: &[u8], answer: Answer) -> std::io::Result<Option<Vec<u8>>> {
    stream.write_all(request).await?;
    stream.flush().await?;
    match answer {
        Answer::Value => read_value(stream).await,
        Answer::Line => read_line(stream).await.map(|_| None),
    }
}

async fn read_line(stream: &mut Connection) -> std::io::Result<String> {
    let mut line = String::new();
    // A proper line is short; what is not ends at this length.
    (&mut *stream).take(1024).read_line(&mut line).await?;
    match line.strip_suffix("\r\n") {
        Some(line) if !line.starts_with("ERROR") && !line.starts_with("CLIENT_ERROR") => Ok(line.to_owned()),
        _ => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it does not speak the protocol of memcached")),
    }
}

async fn read_value(stream: &mut Connection) -> std::io::Result<Option<Vec<u8>>> {
    let line = read_line(stream).await?;
    let words: Vec<&str> = line.split(' ').collect();
    let &["VALUE", _, _, length, ..] = words.as_slice() else { return Ok(None) };
    let length: usize = length.parse().map_err(std::io::Error::other)?;
    if length > 64 * LARGEST {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut value = vec![0; length + 2];
    stream.read_exact(&mut value).await?;
    value.truncate(length);
    read_line(stream).await?;
    Ok(Some(value))
}

/// The hash by which python-memcached chooses a server.
fn hash(key: &[u8]) -> u32 {
    ((crc32(key) >> 16) & 0x7fff).max(1)
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_to_the_servers_that_python_memcached_chooses() {
        assert_eq!((hash(b"a"), hash(b"tokens/x"), hash(b"1230")), (26807, 17067, 7310));
        assert_eq!(hash(b"tokens/abc"), 30021);
        assert_eq!(hash(b"300210"), 9549);
    }

    #[test]
    fn servers_are_written_in_many_ways() {
        let tcp = |host: &str, port| Ok(Address::Tcp(host.to_owned(), port));
        assert_eq!(Address::parse("192.168.56.11:11211"), tcp("192.168.56.11", 11211));
        assert_eq!(Address::parse("cache"), tcp("cache", 11211));
        assert_eq!(Address::parse("inet:cache:1"), tcp("cache", 1));
        assert_eq!(Address::parse("inet6:[::1]:2"), tcp("::1", 2));
        assert_eq!(Address::parse("[::1]"), tcp("::1", 11211));
        assert_eq!(Address::parse("unix:/run/m"), Ok(Address::Unix("/run/m".into())));
        assert_eq!(Address::parse("/run/m"), Ok(Address::Unix("/run/m".into())));
        assert_eq!(Address::parse("host:port").unwrap_err().to_string(), "`host:port` names no server of memcached");
        assert!(Address::parse("").is_err() && Address::parse("unix:").is_err());
    }

    #[test]
    fn keys_cannot_smuggle_commands() {
        assert!(is_key("tokens/b'Eh1gAbyjAElThDiovEW+bQ=='"));
        assert!(!is_key("a b") && !is_key("a\r\nflush_all") && !is_key("") && !is_key(&"a".repeat(251)));
    }

    #[test]
    fn long_lives_are_points_in_time() {
        assert_eq!(lifetime(Duration::from_secs(300)), 300);
        assert_eq!(lifetime(Duration::ZERO), 1, "0 would be for ever");
        assert!(lifetime(Duration::from_secs(40 * 24 * 3600)) > 1_700_000_000);
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_left_alone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let settings = Settings { servers: vec![address], ..Settings::default() };
        let client = Memcached::new(&settings).unwrap();
        client.set("a", b"b", None).await;
        assert_eq!(client.get("a").await, None);
        assert!(client.server("a").is_none(), "it is not even asked");
    }

    #[tokio::test]
    async fn a_server_that_is_silent_costs_its_timeout_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let servers = vec![listener.local_addr().unwrap().to_string()];
        let settings = Settings { servers, timeout: Duration::from_secs(1), ..Settings::default() };
        let client = Memcached::new(&settings).unwrap();
        let began = Instant::now();
        for _ in 0..20 {
            assert_eq!(client.get("a").await, None);
        }
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
