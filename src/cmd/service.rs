//! The life of a service: it starts, answers until it is told to stop, and lets go of what it holds.
//!
//! SIGTERM and SIGINT end it after the requests in progress, SIGHUP has it read again what can be read again. A second
//! SIGTERM or SIGINT ends it at once.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use db::{Database, migrate};
use oslo::messaging::notifier::Notifier;
use server::config::Config;
use server::http::caller::Strategy;
use server::{Parts, notification, nova};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::db::database_failed;
use super::edge::Edge;
use super::stop::chain;
use super::{Stop, notify};

/// The signals that a service listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on. Before this, a signal ends the process.
    pub(super) fn new() -> Result<Self, Stop> {
        let listen = |kind| signal(kind).map_err(|error| Stop::because("cannot listen to signals", error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the signal to stop and follows SIGHUP until then.
    pub(super) async fn stop(&mut self, edge: &mut Edge) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => edge.reload(),
            }
        }
    }
}

/// A runtime with a thread for each processor, or as many as `api_workers` says.
pub(super) fn runtime(edge: &Edge) -> Result<tokio::runtime::Runtime, Stop> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers @ 1..) = edge.config().get::<Option<usize>>("DEFAULT", "api_workers")? {
        builder.worker_threads(workers);
    }
    builder.on_thread_park(kernel::memory::give_back_freed);
    builder.enable_all().build().map_err(|error| Stop::because("cannot start", error))
}

/// `bind_host` and `bind_port`.
pub(super) fn address(edge: &Edge) -> Result<SocketAddr, Stop> {
    let host: String = edge.config().get("DEFAULT", "bind_host")?;
    let port: u16 = edge.config().get("DEFAULT", "bind_port")?;
    let found = (host.as_str(), port).to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| {
        let problem = "no address of this name is known";
        edge.config().refuse("DEFAULT", "bind_host", problem, &["an address of this machine, 0.0.0.0 for all"]).into()
    })
}

/// Takes the address on which the API will answer.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, Stop> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Stop::failed(format!(
            "{address} is in use: another service answers there; stop it, or choose another port with --bind"
        )),
        _ => Stop::because(format!("cannot listen on {address}"), error),
    })
}

/// How callers are known. Who relies on Keystone and has not said how to ask it gets no service.
pub(super) fn auth(edge: &Edge) -> Result<Strategy, Stop> {
    Ok(Strategy::from_oslo(edge.config())?)
}

/// Creates the schema where there is none.
pub(super) async fn upgrade(database: &Database) -> Result<(), Stop> {
    if migrate::upgrade(database).await.map_err(database_failed)? {
        tracing::info!("created the database schema");
    }
    Ok(())
}

/// The parts of a server, with those outside the deployment who are told of changes: the compute service and the
/// watchers of the API.
pub(super) async fn parts(edge: &Edge, program: &str, mut parts: Parts) -> Result<Arc<Parts>, Stop> {
    let config = edge.config();
    let notifier = Notifier::from_config(config, program, &parts.bus).map_err(|error| Stop::usage(chain(&error)))?;
    if notifier.is_enabled() {
        parts = parts.with_notifier(notification::Notifier::new(&config.host()?, notifier));
    }
    if let Some(nova) = nova::Notifier::from_oslo(config)? {
        parts = parts.with_nova(nova);
    }
    parts.prepare().await.map_err(database_failed)?;
    Ok(Arc::new(parts))
}

/// A server that works, until it is told to stop.
pub(super) struct Server {
    stop: watch::Sender<bool>,
    http: Option<JoinHandle<std::io::Result<()>>>,
    background: JoinHandle<()>,
    parts: Arc<Parts>,
}

impl Server {
    /// Answers on a listener, if it is given one, and serves agents from now on. `host` is its name towards them.
    pub(super) fn start(listener: Option<TcpListener>, parts: Arc<Parts>, host: String) -> Self {
        let (stop, stopped) = watch::channel(false);
        let background = Arc::clone(&parts);
        Self {
            stop,
            parts: Arc::clone(&parts),
            background: tokio::spawn(async move { server::background(background, &host).await }),
            http: listener.map(|listener| tokio::spawn(server::http::serve(listener, parts, told(stopped)))),
        }
    }

    /// Accepts no more requests, waits for those in progress and, for a moment, for what follows them.
    pub(super) async fn drain(self) {
        self.stop.send_replace(true);
        match self.http {
            None => {}
            Some(http) => match http.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("the API ended: {error}"),
                Err(error) => tracing::error!("the API ended: {error}"),
            },
        }
        server::event::drain(&self.parts).await;
        self.background.abort();
        let _ = self.background.await;
    }
}

/// Waits until a stop is told.
pub(super) async fn told(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Tells the service manager that it works, and lets go of what only the start needed.
pub(super) fn started() {
    notify::ready();
    if let Err(error) = kernel::memory::forget_program() {
        tracing::debug!("{}", chain(&error));
    }
}

/// Runs an ending that a further signal may cut short.
pub(super) async fn ending(signals: &mut Signals, ending: impl Future<Output = ()>) {
    tokio::select! {
        () = ending => {}
        _ = signals.terminate.recv() => tracing::warn!("stopped at once by a second signal"),
        _ = signals.interrupt.recv() => tracing::warn!("stopped at once by a second signal"),
    }
}

/// The options of the server. Read before anything starts, so that a mistake in them is what is told.
pub(super) fn config(edge: &Edge) -> Result<Config, Stop> {
    Ok(Config::from_oslo(edge.config())?)
}
