//! Takes the connections of one network, so many at a time of all and of each client.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{Id, JoinError, JoinSet},
    time::sleep,
};

use super::{Shared, forward};
use crate::metadata::connection::{self, Patience};

/// Connections of a network on one address; further ones wait until one ends.
const MOST: usize = 256;
/// Those of one client; further ones are closed, so that a single client keeps no other waiting.
const MOST_OF_ONE: usize = 32;
/// The pause after a connection could not be taken, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections that are open, and whose.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    clients: HashMap<Id, IpAddr>,
    counts: HashMap<IpAddr, usize>,
}

/// Takes connections for as long as it is let run; all end with it.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = Open::default();
    loop {
        tokio::select! {
            Some(ended) = open.tasks.join_next_with_id() => open.ended(ended),
            accepted = listener.accept(), if open.tasks.len() < MOST => match accepted {
                Ok((stream, peer)) => open.take(stream, peer.ip().to_canonical(), &shared),
                Err(error) => {
                    tracing::debug!(%error, "cannot take a metadata connection");
                    sleep(PAUSE).await;
                }
            },
        }
    }
}

impl Open {
    fn take(&mut self, stream: TcpStream, client: IpAddr, shared: &Arc<Shared>) {
        let count = self.counts.entry(client).or_default();
        if *count >= MOST_OF_ONE {
            tracing::debug!(%client, "a client has too many metadata connections");
            return;
        }
        *count += 1;
        let shared = Arc::clone(shared);
        let patience = Patience {
            request: shared.config.timeout_http_request,
            idle: Some(shared.config.timeout_http_keep_alive),
            stall: shared.config.timeout_client,
        };
        let task = self.tasks.spawn(async move {
            let handle = |request| forward::forward(&shared, client, request);
            connection::serve(stream, patience, handle).await;
        });
        self.clients.insert(task.id(), client);
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        let Some(client) = self.clients.remove(&id) else { return };
        if let Some(count) = self.counts.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&client);
            }
        }
        if self.counts.is_empty() {
            // A network is silent most of the time, and there may be thousands.
            *self = Self::default();
        }
    }
}
