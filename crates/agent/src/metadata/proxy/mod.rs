//! The proxies of this host's networks: tasks of this process where upstream has an haproxy each.
//!
//! A proxy listens inside the namespace of its network. It passes requests on to the metadata agent's socket in the
//! shape that upstream's haproxy does, so either agent may sit behind it: the network's id and the client's address are
//! put in, and whatever of that the client itself sent is taken out.
//!
//! An haproxy that a former agent left for the network is ended as soon as ours listens beside it; connections that it
//! has not taken yet come to us.

mod accept;
mod forward;
mod predecessor;
mod rate;

use std::{collections::HashMap, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use kernel::{Errno, Namespace, process::ProcessError, socket};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use types::NetworkId;

pub use rate::{Rate, Window};

use super::{ADDRESS_V4, ADDRESS_V6, PORT, Scope};
use rate::Limiter;

/// Connections of a network that may wait to be taken.
const BACKLOG: u32 = 512;

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

/// The proxy that a network shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What its requests are said to come from.
    pub scope: Scope,
    /// The interface that IPv6 clients reach it by; none when the network has no IPv6.
    pub interface: Option<String>,
}

/// Why a network has no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A former agent's haproxy does not end.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// The proxies of this host.
pub struct Proxies {
    config: Arc<Config>,
    networks: Mutex<HashMap<NetworkId, Proxy>>,
}

/// The proxy of a network.
struct Proxy {
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
}

/// What the connections of a network share.
struct Shared {
    config: Arc<Config>,
    scope: Mutex<Scope>,
    limiter: Option<Mutex<Limiter>>,
}

/// A socket that listens, and the task that takes its connections. Both end with the value.
struct Listener {
    place: Place,
    task: JoinHandle<()>,
}

/// Where a socket listens. A namespace or an interface that was made anew is another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    address: IpAddr,
    namespace: (u64, u64),
    interface: u32,
}

impl Proxies {
    /// None yet.
    pub fn new(config: Config) -> Self {
        Self { config: Arc::new(config), networks: Mutex::default() }
    }

    /// Gives a network the proxy that it shall have, or none. One that stands right is not disturbed. Must not be
    /// called for one network twice at once.
    pub async fn set(
        &self,
        network: NetworkId,
        namespace: &Namespace,
        wanted: Option<&Wanted>,
    ) -> Result<(), ProxyError> {
        let Some(wanted) = wanted else {
            self.networks.lock().remove(&network);
            predecessor::end(&self.config, &Scope::Network(network.to_string()), namespace).await?;
            return Ok(());
        };
        let former = self.networks.lock().remove(&network);
        let mut proxy = former.unwrap_or_else(|| Proxy::new(&self.config, &wanted.scope));
        let served = proxy.serve(namespace, wanted).await;
        self.networks.lock().insert(network, proxy);
        served
    }

    /// How many networks have one.
    pub fn len(&self) -> usize {
        self.networks.lock().len()
    }

    /// No network has one.
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
        let places = places(namespace, wanted)?;
        self.listeners.retain(|listener| places.contains(&listener.place) && !listener.task.is_finished());
        let first = self.listen(namespace, &places);
        // Whoever else has the port may have been the predecessor.
        let ended = predecessor::end(&self.shared.config, &wanted.scope, namespace).await;
        match first {
            Err(error) if error.errno() == Errno::EADDRINUSE => self.listen(namespace, &places)?,
            other => other?,
        }
        ended
    }

    /// Listens where it does not yet.
    fn listen(&mut self, namespace: &Namespace, places: &[Place]) -> Result<(), kernel::Error> {
        for place in places {
            if self.listeners.iter().any(|listener| listener.place == *place) {
                continue;
            }
            let listener = socket::listen_tcp(namespace, (place.address, PORT), place.interface, BACKLOG)?;
            let task = tokio::spawn(accept::serve(listener, Arc::clone(&self.shared)));
            self.listeners.push(Listener { place: *place, task });
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn places(namespace: &Namespace, wanted: &Wanted) -> Result<Vec<Place>, kernel::Error> {
    let missing = || kernel::Error::missing("find namespace", namespace.path().display().to_string());
    let identity = namespace.identity().ok_or_else(missing)?;
    let mut places = vec![Place { address: ADDRESS_V4, namespace: identity, interface: 0 }];
    if let Some(interface) = &wanted.interface {
        let interface = socket::interface_index(namespace, interface)?;
        places.push(Place { address: ADDRESS_V6, namespace: identity, interface });
    }
    Ok(places)
}
