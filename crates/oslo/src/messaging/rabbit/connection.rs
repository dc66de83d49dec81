//! A connection that comes back.
//!
//! A [`Link`] is one connection to any broker of a cluster, kept by a task from its first use until the link is closed.
//! Hosts are tried one after the other; after a round without success the wait grows as the settings say. Who needs the
//! connection waits for it; nobody is told of the attempts but the log.

use std::{io, net::Shutdown, os::fd::AsFd, sync::Arc, time::Duration};

use async_rs::TokioRuntime;
use futures_util::StreamExt;
use lapin::{
    Connection, ConnectionProperties, Event,
    protocol::AMQPErrorKind,
    tcp::AsyncTcpStream,
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism},
};
use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::{
    settings::{Login, RabbitSettings},
    tls::Tls,
    url::Host,
};

/// How long one attempt may take, with TLS and login.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How often a connection is looked at when it tells nothing by itself.
const LOOK: Duration = Duration::from_secs(5);
/// The largest frame. The client keeps buffers for 32 of them in each direction; larger messages take several frames.
const FRAME: u32 = 16 * 1024;

/// One connection to a cluster.
#[derive(Debug, Clone)]
pub(super) struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Arc<RabbitSettings>,
    tls: Option<Tls>,
    state: watch::Sender<State>,
    /// Someone had an error on the connection.
    suspect: Notify,
}

#[derive(Debug, Clone)]
enum State {
    /// Nobody has asked for it yet.
    Unused,
    /// There is none; why, if an attempt has failed.
    Absent(Option<Arc<str>>),
    Present(Live),
    Closed,
}

/// A connection, and the means to end it when it does not answer.
#[derive(Debug, Clone)]
pub(super) struct Live {
    connection: Arc<Connection>,
    socket: Socket,
    /// Set by who keeps the link, once the connection is of no more use.
    end: watch::Sender<bool>,
}

#[derive(Debug, Clone, Default)]
struct Socket(Arc<Mutex<Option<std::net::TcpStream>>>);

/// The link was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transport is closed")]
pub(super) struct Closed;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("no answer within {} s", ATTEMPT.as_secs())]
    Timeout,
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
}

impl Live {
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Ends it at once, without a word to the broker: everybody who uses it gets an error.
    pub(super) fn abandon(&self) {
        self.socket.shut_down();
    }

    /// Returns when the connection is of no more use. Operations are to be raced against it: the client does not end all
    /// of those that are under way when a connection breaks.
    pub(super) async fn ended(&self) {
        // It cannot be dropped without being set: this holds it too.
        let _ = self.end.subscribe().wait_for(|ended| *ended).await;
    }

    fn is_alive(&self) -> bool {
        self.connection.status().connected()
    }
}

impl Socket {
    fn keep(&self, stream: &impl AsFd) -> io::Result<()> {
        *self.0.lock() = Some(stream.as_fd().try_clone_to_owned()?.into());
        Ok(())
    }

    fn shut_down(&self) {
        if let Some(socket) = self.0.lock().take() {
            // One that is gone already is what is wanted.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Link {
    /// A link that connects when it is first needed.
    pub(super) fn new(settings: Arc<RabbitSettings>, tls: Option<Tls>) -> Self {
        let (state, _) = watch::channel(State::Unused);
        Self(Arc::new(Shared { settings, tls, state, suspect: Notify::new() }))
    }

    /// The connection, once there is one.
    pub(super) async fn get(&self) -> Result<Live, Closed> {
        self.start();
        let mut state = self.0.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Closed => return Err(Closed),
                State::Present(live) if live.is_alive() => return Ok(live.clone()),
                State::Present(_) => self.0.suspect.notify_one(),
                State::Unused | State::Absent(_) => {}
            }
            if state.changed().await.is_err() {
                return Err(Closed);
            }
        }
    }

    /// Tells that an operation failed, so that the connection is looked at.
    pub(super) fn suspect(&self) {
        self.0.suspect.notify_one();
    }

    /// Why there is no connection; `None` when there is one, or it was not tried yet.
    pub(super) fn problem(&self) -> Option<Arc<str>> {
        match &*self.0.state.borrow() {
            State::Absent(why) => why.clone(),
            _ => None,
        }
    }

    /// Closes the connection and opens none again.
    pub(super) async fn close(&self) {
        let before = self.0.state.send_replace(State::Closed);
        if let State::Present(live) = before {
            let _ = tokio::time::timeout(Duration::from_secs(1), live.connection.close(200, "OK".into())).await;
            live.abandon();
        }
    }

    /// Ends it without waiting for anything.
    pub(super) fn abandon(&self) {
        self.0.state.send_replace(State::Closed);
    }

    /// Starts the task that keeps the connection.
    fn start(&self) {
        let started = self.0.state.send_if_modified(|state| match state {
            State::Unused => {
                *state = State::Absent(None);
                true
            }
            _ => false,
        });
        if started {
            tokio::spawn(Arc::clone(&self.0).keep());
        }
    }
}

impl Shared {
    async fn keep(self: Arc<Self>) {
        let mut hosts = Hosts::new(&self.settings);
        let mut closed = self.state.subscribe();
        let connected = async {
            let mut again = false;
            loop {
                let live = self.connect(&mut hosts, again).await;
                if !self.set(State::Present(live.clone())) {
                    return;
                }
                self.watch(&live).await;
                if !self.set(State::Absent(None)) {
                    return;
                }
                again = true;
            }
        };
        tokio::select! {
            () = connected => {}
            _ = closed.wait_for(|state| matches!(state, State::Closed)) => {}
        }
    }

    /// Changes the state, unless the link was closed meanwhile.
    fn set(&self, new: State) -> bool {
        self.state.send_if_modified(|state| match state {
            State::Closed => false,
            _ => {
                *state = new;
                true
            }
        })
    }

    /// Tries until there is a connection.
    async fn connect(&self, hosts: &mut Hosts, again: bool) -> Live {
        let reconnect = &self.settings.reconnect;
        if again {
            tokio::time::sleep(reconnect.delay + drawn(reconnect.splay)).await;
        }
        let mut wait = reconnect.start;
        loop {
            let host = hosts.next(&self.settings);
            match self.attempt(&host).await {
                Ok(live) => {
                    tracing::info!("connected to the message broker at {host}");
                    return live;
                }
                Err(error) => {
                    let why = format!("the message broker at {host} cannot be used: {}", chain(&error));
                    let pause = if hosts.is_round_over() { wait } else { Duration::ZERO };
                    tracing::error!("{why}; trying again in {} s", pause.as_secs_f32());
                    self.set(State::Absent(Some(why.into())));
                    tokio::time::sleep(pause).await;
                    if !pause.is_zero() {
                        wait = (wait + reconnect.step).min(reconnect.most);
                    }
                }
            }
        }
    }

    async fn attempt(&self, host: &Host) -> Result<Live, ConnectError> {
        let socket = Socket::default();
        let keep = socket.clone();
        let tls = self.tls.clone();
        let connect = async move |uri: AMQPUri, runtime: TokioRuntime| {
            let AMQPAuthority { host, port, .. } = uri.authority;
            let stream = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs((host.clone(), port))).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                keep.keep(plain.get_ref())?;
            }
            match &tls {
                None => Ok(stream),
                Some(tls) => Ok(stream.into_rustls(&tls.connector(), &host).await?),
            }
        };
        let runtime = TokioRuntime::tokio_current();
        let connecting = Connection::connector(self.uri(host), runtime, connect, self.properties());
        match tokio::time::timeout(ATTEMPT, connecting).await {
            Ok(connection) => {
                let connection = Arc::new(connection?);
                Ok(Live { connection, socket, end: watch::Sender::new(false) })
            }
            Err(_) => {
                // The client goes on in a thread of its own until its socket ends.
                socket.shut_down();
                Err(ConnectError::Timeout)
            }
        }
    }

    fn uri(&self, host: &Host) -> AMQPUri {
        let settings = &self.settings;
        let mechanism = match settings.login {
            Login::AmqPlain => SASLMechanism::AMQPlain,
            Login::Plain => SASLMechanism::Plain,
            Login::External => SASLMechanism::External,
            Login::RabbitCrDemo => SASLMechanism::RabbitCrDemo,
        };
        AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo { username: host.user.clone(), password: host.password.clone() },
                host: host.name.clone(),
                port: host.port,
            },
            vhost: settings.vhost.clone(),
            query: AMQPQueryString {
                frame_max: Some(FRAME),
                heartbeat: Some(settings.heartbeat),
                auth_mechanism: Some(mechanism),
                ..AMQPQueryString::default()
            },
        }
    }

    /// The name under which the broker lists the connection. What the client can do it tells by itself.
    fn properties(&self) -> ConnectionProperties {
        let name = format!("{}:{}:{}", self.settings.program, std::process::id(), Uuid::new_v4());
        ConnectionProperties::default().with_connection_name(name.into())
    }

    /// Returns when the connection is of no more use.
    async fn watch(&self, live: &Live) {
        let mut events = std::pin::pin!(live.connection.events_listener());
        while live.is_alive() {
            tokio::select! {
                event = events.next() => match event {
                    // Who has the channel tells.
                    Some(Event::Error(error)) if is_of_channel(&error) => continue,
                    Some(Event::Error(error)) => tracing::warn!("the message broker is lost: {}", chain(&error)),
                    Some(Event::ConnectionBlocked(why)) => tracing::error!("the message broker takes nothing: {why}"),
                    Some(Event::ConnectionUnblocked) => tracing::info!("the message broker takes messages again"),
                    Some(_) => continue,
                    None => break,
                },
                () = self.suspect.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        live.abandon();
        live.end.send_replace(true);
    }
}

/// Which host is next.
struct Hosts {
    order: Vec<usize>,
    at: usize,
    tried: usize,
}

impl Hosts {
    /// Servers that start together shall not all go to the first host.
    fn new(settings: &RabbitSettings) -> Self {
        let mut order: Vec<usize> = (0..settings.hosts.len()).collect();
        shuffle(&mut order);
        Self { order, at: 0, tried: 0 }
    }

    fn next(&mut self, settings: &RabbitSettings) -> Host {
        if self.at >= self.order.len() {
            self.at = 0;
            if settings.reconnect.shuffle {
                shuffle(&mut self.order);
            }
        }
        let index = self.order.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        self.tried += 1;
        settings.hosts.get(index).cloned().unwrap_or_else(|| Host::new("localhost", super::url::PORT))
    }

    fn is_round_over(&mut self) -> bool {
        let over = self.tried >= self.order.len();
        if over {
            self.tried = 0;
        }
        over
    }
}

fn shuffle(order: &mut [usize]) {
    let mut random = rand::rng();
    for last in (1..order.len()).rev() {
        order.swap(last, random.random_range(0..=last));
    }
}

/// A duration by chance, so that what many do at once they do not go on doing at once.
pub(super) fn drawn(most: Duration) -> Duration {
    most.mul_f64(rand::rng().random_range(0.0..=1.0))
}

/// Whether an error ends no more than a channel.
fn is_of_channel(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if matches!(error.kind(), AMQPErrorKind::Soft(_)))
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
