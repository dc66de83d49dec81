//! The HTTP side of the API: it knows attribute tables and verbs, and no resource by name outside [`dispatch`].

mod address_groups;
mod answer;
mod availability_zones;
pub mod caller;
mod chunks;
mod dhcp_schedule;
mod discovery;
mod dispatch;
mod floatingip_pools;
pub mod healthcheck;
mod ip_availability;
mod l3_schedule;
pub(crate) mod metrics;
mod page;
mod port_bindings;
mod query;
mod quota;
mod rbac_policies;
mod request;
mod router_actions;
mod stream;
mod subnet_pools;
mod tags;
mod verb;

#[cfg(test)]
mod tests;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{State, connect_info::Connected},
    serve::{IncomingStream, Listener},
};
use tokio::net::{TcpListener, TcpStream};

use crate::ctx::Parts;

pub use answer::Answer;
#[cfg(test)]
pub(crate) use dispatch::answer as answer_request;
pub use request::Request;

/// The two ends of a client's connection.
#[derive(Debug, Clone, Copy)]
struct Peer {
    remote: SocketAddr,
    local: Option<SocketAddr>,
}

/// Accepts connections that send at once: else the end of a long list would wait for the client to acknowledge what came
/// before, which may take it 40 ms.
struct Prompt(TcpListener);

impl Listener for Prompt {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, remote) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection may be slow");
        }
        (stream, remote)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Prompt>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Prompt>) -> Self {
        Self { remote: *stream.remote_addr(), local: stream.io().local_addr().ok() }
    }
}

/// How long requests in flight may take to end once shutdown has begun.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves the API on `listener` until `shutdown` ends, then lets requests in flight finish, for at most ten seconds.
pub async fn serve(
    listener: TcpListener,
    parts: Arc<Parts>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .fallback(|State(parts): State<Arc<Parts>>, request: axum::extract::Request| async move {
            dispatch::answer(parts, request).await
        })
        .with_state(parts);
    let (began, draining) = tokio::sync::oneshot::channel();
    let signal = async move {
        shutdown.await;
        let _ = began.send(());
    };
    let service = router.into_make_service_with_connect_info::<Peer>();
    let serving = axum::serve(Prompt(listener), service).with_graceful_shutdown(signal);
    tokio::select! {
        done = serving => done,
        () = async { let _ = draining.await; tokio::time::sleep(DRAIN).await } => Ok(()),
    }
}
