//! Ports that DHCP answers for, on their way to the server, which holds them back until it knows.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use oslo::context::Context;
use parking_lot::Mutex;
use rpc::dhcp::READY_PORTS_CHUNK;
use tokio::sync::Notify;
use types::PortId;

use super::Agent;
use crate::chain;

/// Delay before a failed call is tried again; doubled by each further failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Ports to tell the server of.
#[derive(Debug, Default)]
pub(super) struct Ready {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Somebody waits for these: they are new or changed.
    urgent: BTreeSet<PortId>,
    /// These were there before the agent, or before it served their network.
    others: BTreeSet<PortId>,
}

impl Ready {
    pub(super) fn add(&self, ports: impl IntoIterator<Item = PortId>, urgent: bool) {
        let mut waiting = self.waiting.lock();
        if urgent {
            waiting.urgent.extend(ports)
        } else {
            waiting.others.extend(ports)
        }
        self.wake.notify_one();
    }

    /// The next chunk, urgent ones first.
    fn take(&self) -> Vec<PortId> {
        let mut waiting = self.waiting.lock();
        let mut chunk = Vec::new();
        while chunk.len() < READY_PORTS_CHUNK {
            let next = waiting.urgent.pop_first().or_else(|| waiting.others.pop_first());
            let Some(port) = next else { break };
            chunk.push(port);
        }
        chunk
    }
}

impl Agent {
    /// Tells the server for ever, one chunk after the other.
    pub(super) async fn tell_ready(self: Arc<Self>) {
        let mut delay = FIRST_RETRY;
        loop {
            let ports = self.ready.take();
            if ports.is_empty() {
                self.ready.wake.notified().await;
                continue;
            }
            match self.client.dhcp_ready_on_ports(&Context::admin(), ports.clone()).await {
                Ok(()) => delay = FIRST_RETRY,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "could not tell which ports are ready, again in {delay:?}");
                    self.ready.add(ports, false);
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(LAST_RETRY);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_bounded_and_urgent_ports_first() {
        let ready = Ready::default();
        let others: BTreeSet<PortId> = (0..100).map(|_| PortId::random()).collect();
        let urgent = PortId::random();
        ready.add(others.clone(), false);
        ready.add([urgent], true);
        let first = ready.take();
        assert_eq!(first.len(), READY_PORTS_CHUNK);
        assert_eq!(first[0], urgent);
        let second = ready.take();
        assert_eq!(first.len() + second.len(), 101);
        assert!(first[1..].iter().chain(&second).all(|port| others.contains(port)));
        assert!(ready.take().is_empty());
    }
}
