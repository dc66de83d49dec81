//! The proxies of this host's networks and routers: tasks of this process where upstream has an haproxy each.
//!
//! A proxy listens inside the namespace of its network or router. It passes requests on to the metadata agent's socket in the
//! shape that upstream's haproxy does, so either agent may sit behind it: the id of network or router and the client's
//! address are put in, and whatever of that the client itself sent is taken out.
//!
//! An haproxy that a former agent left there is ended as soon as ours listens beside it; connections that it
//! has not taken yet come to us.

mod accept;
mod forward;
mod predecessor;
mod rate;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use kernel::{Errno, Namespace, process::ProcessError, socket};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

pub use rate::{Rate, Window};

use super::{ADDRESS_V4, ADDRESS_V6, PORT, Scope};
use rate::Limiter;

/// Connections of a network that may wait to be taken.
const BACKLOG: u32 = 512;
/// Every address of both families.
const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Options of the proxies.
#[derive(Debug, Clone)]
pub struct Config {
    /// The metadata agent's socket.
    pub metadata_proxy_socket: PathBuf,
    /// Below which upstream's agents keep the files of their haproxies.
    pub state_path: PathBuf,
    /// How often a client may ask; none for as often as it likes.
    pub rate: Option<Rate>,
    /// How long to wait for the metadata agent to take a connection.
    pub timeout_connect: Duration,
    /// How long a client may take for another piece of an answer.
    pub timeout_client: Duration,
    /// How long the metadata agent may take.
    pub timeout_server: Duration,
    /// How long a client may take for a request.
    pub timeout_http_request: Duration,
    /// How long a client may take until its next request.
    pub timeout_http_keep_alive: Duration,
}

impl Config {
    /// Upstream's defaults.
    pub fn new(state_path: impl Into<PathBuf>) -> Self {
        let state_path = state_path.into();
        Self {
            metadata_proxy_socket: state_path.join("metadata_proxy"),
            state_path,
            rate: None,
            timeout_connect: Duration::from_secs(30),
            timeout_client: Duration::from_secs(32),
            timeout_server: Duration::from_secs(32),
            timeout_http_request: Duration::from_secs(30),
            timeout_http_keep_alive: Duration::from_secs(30),
        }
    }
}

/// The proxy that a network or router shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What its requests are said to come from.
    pub scope: Scope,
    /// Where it takes them.
    pub place: Place,
}

/// Where a proxy takes requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At the addresses of the service, which the namespace has.
    Service {
        /// The interface that IPv6 clients reach it by; none when the network has no IPv6.
        interface: Option<String>,
    },
    /// At this port of every address: a router passes what is meant for the service on to it.
    Port(u16),
}

/// Why a network or router has no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A former agent's haproxy does not end.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// The proxies of an agent.
pub struct Proxies {
    config: Arc<Config>,
    owners: Mutex<HashMap<Scope, Proxy>>,
}

/// The proxy of a network or router.
struct Proxy {
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
}

/// What the connections of a proxy share.
struct Shared {
    config: Arc<Config>,
    scope: Mutex<Scope>,
    limiter: Option<Mutex<Limiter>>,
}

/// A socket that listens, and the task that takes its connections. Both end with the value.
struct Listener {
    socket: Socket,
    task: JoinHandle<()>,
}

/// A socket's place. A namespace or an interface that was made anew is another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    namespace: (u64, u64),
    interface: u32,
}

impl Proxies {
    /// None yet.
    pub fn new(config: Config) -> Self {
        Self { config: Arc::new(config), owners: Mutex::default() }
    }

    /// Gives a network or router the proxy that it shall have, or none. One that stands right is not disturbed. Must
    /// not be called for one owner twice at once.
    pub async fn set(&self, owner: &Scope, namespace: &Namespace, wanted: Option<&Wanted>) -> Result<(), ProxyError> {
        let Some(wanted) = wanted else {
            self.owners.lock().remove(owner);
            return predecessor::end(&self.config, owner, namespace).await;
        };
        let former = self.owners.lock().remove(owner);
        let mut proxy = former.unwrap_or_else(|| Proxy::new(&self.config, &wanted.scope));
        let served = proxy.serve(namespace, wanted).await;
        self.owners.lock().insert(owner.clone(), proxy);
        served
    }

    /// How many networks and routers have one.
    pub fn len(&self) -> usize {
        self.owners.lock().len()
    }

    /// Nobody has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Proxy {
    fn new(config: &Arc<Config>, scope: &Scope) -> Self {
        let limiter = config.rate.clone().map(|rate| Mutex::new(Limiter::new(rate)));
        let shared = Shared { config: Arc::clone(config), scope: Mutex::new(scope.clone()), limiter };
        Self { shared: Arc::new(shared), listeners: Vec::new() }
    }

    async fn serve(&mut self, namespace: &Namespace, wanted: &Wanted) -> Result<(), ProxyError> {
        self.shared.scope.lock().clone_from(&wanted.scope);
        let sockets = sockets(namespace, &wanted.place)?;
        self.listeners.retain(|listener| sockets.contains(&listener.socket) && !listener.task.is_finished());
        let first = self.listen(namespace, &sockets);
        // Whoever else has the port may have been the predecessor.
        let ended = predecessor::end(&self.shared.config, &wanted.scope, namespace).await;
        match first {
            Err(error) if error.errno() == Errno::EADDRINUSE => self.listen(namespace, &sockets)?,
            other => other?,
        }
        ended
    }

    /// Listens where it does not yet.
    fn listen(&mut self, namespace: &Namespace, sockets: &[Socket]) -> Result<(), kernel::Error> {
        for socket in sockets {
            if self.listeners.iter().any(|listener| listener.socket == *socket) {
                continue;
            }
            let Socket { address, port, interface, .. } = *socket;
            let listener = match socket::listen_tcp(namespace, (address, port), interface, BACKLOG) {
                // A kernel without IPv6.
                Err(error) if address == ANY && error.errno() == Errno::EAFNOSUPPORT => {
                    socket::listen_tcp(namespace, (IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), interface, BACKLOG)
                }
                other => other,
            };
            let task = tokio::spawn(accept::serve(listener?, Arc::clone(&self.shared)));
            self.listeners.push(Listener { socket: *socket, task });
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn sockets(namespace: &Namespace, place: &Place) -> Result<Vec<Socket>, kernel::Error> {
    let missing = || kernel::Error::missing("find namespace", namespace.path().display().to_string());
    let identity = namespace.identity().ok_or_else(missing)?;
    let socket = |address, port, interface| Socket { address, port, namespace: identity, interface };
    Ok(match place {
        Place::Port(port) => vec![socket(ANY, *port, 0)],
        Place::Service { interface: None } => vec![socket(ADDRESS_V4, PORT, 0)],
        Place::Service { interface: Some(interface) } => {
            let index = socket::interface_index(namespace, interface)?;
            vec![socket(ADDRESS_V4, PORT, 0), socket(ADDRESS_V6, PORT, index)]
        }
    })
}
