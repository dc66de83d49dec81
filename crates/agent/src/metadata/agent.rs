//! The metadata agent: listens on its socket, answers, and reports.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use kernel::{file, socket};
use oslo::{http::HttpError, messaging::Bus};
use rpc::reports::AgentState;
use serde_json::{Map, Value, json};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use types::agent::kind;

use super::{
    Config,
    connection::{self, Patience},
    handler::Handler,
};
use crate::report::{Heartbeat, Later};

/// Requests that are worked on at the same time; further ones wait.
const MOST: usize = 1024;
/// How long requests in progress may take to end when the agent ends.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// The pause after a connection could not be taken, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The peer is a proxy on this host, which waits for the instance itself.
const PATIENCE: Patience = Patience { request: Duration::from_secs(60), idle: None, stall: Duration::from_secs(60) };

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The socket cannot be made.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Runs the agent until `shutdown` completes.
pub async fn run(config: Config, bus: Bus, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    let handler = Arc::new(Handler::new(&config, bus.clone())?);
    socket::allow_many()?;
    let path = &config.metadata_proxy_socket;
    file::make_directory(path.parent().unwrap_or(Path::new("/")))?;
    let listener = socket::listen_unix(path, config.socket_mode, config.metadata_backlog)?;
    tracing::info!(socket = %path.display(), "serving metadata");
    let mut helpers = JoinSet::new();
    helpers.spawn(report(bus, state(&config), config.report_interval));
    let mut requests = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = requests.join_next() => {}
            stream = accept(&listener), if requests.len() < MOST => {
                let handler = Arc::clone(&handler);
                requests.spawn(connection::serve(stream, PATIENCE, move |request| {
                    let handler = Arc::clone(&handler);
                    async move { handler.answer(request).await }
                }));
            }
        }
    }
    drop((listener, helpers));
    let drained = async { while requests.join_next().await.is_some() {} };
    let _ = timeout(DRAIN_LIMIT, drained).await;
    Ok(())
}

async fn accept(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Reports while the agent runs. Nothing is to be fetched by an agent that remembers nothing, so the answers to later
/// reports are not waited for.
async fn report(bus: Bus, state: AgentState, interval: Duration) {
    let mut heartbeat = Heartbeat::start_with(bus, state, interval, Later::Cast);
    heartbeat.reported().await;
    heartbeat.started();
    loop {
        heartbeat.news().await;
    }
}

fn state(config: &Config) -> AgentState {
    let configurations = json!({
        "metadata_proxy_socket": config.metadata_proxy_socket,
        "nova_metadata_host": config.nova_metadata_host,
        "nova_metadata_port": config.nova_metadata_port,
        "log_agent_heartbeats": config.log_agent_heartbeats,
    });
    AgentState {
        binary: "neutron-metadata-agent".to_owned(),
        host: config.host.clone(),
        topic: "N/A".to_owned(),
        agent_type: kind::METADATA.to_owned(),
        configurations: match configurations {
            Value::Object(map) => map,
            _ => Map::new(),
        },
        ..AgentState::default()
    }
}
