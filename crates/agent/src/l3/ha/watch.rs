//! Which host serves a router, seen in its namespace.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use kernel::{Event, Events, Namespace, Netlink};
use parking_lot::Mutex;
use rpc::l3::HaState;
use tokio::{sync::Notify, task::AbortHandle};
use types::RouterId;

use super::keepalived::Keepalived;

/// Changes that come so soon one after the other are told as one.
pub(in crate::l3) const CALM: Duration = Duration::from_millis(200);

/// A router that is watched, until this is dropped.
#[derive(Debug)]
pub(in crate::l3) struct Watch {
    /// The namespace that is watched: another one when it was deleted and made again.
    pub(in crate::l3) namespace: Option<(u64, u64)>,
    task: AbortHandle,
}

impl Watch {
    pub(in crate::l3) fn new(namespace: &Namespace, task: AbortHandle) -> Self {
        Self { namespace: namespace.identity(), task }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells `serving` whether this host serves: now, and whenever that changes. Ends when the namespace cannot be watched.
pub(in crate::l3) async fn watch(
    namespace: &Namespace,
    keepalived: &Keepalived,
    mut serving: impl FnMut(bool),
) -> Result<(), kernel::Error> {
    let mut events = Events::open(namespace)?;
    let inside = namespace.open()?;
    loop {
        serving(has_primary(&inside, &keepalived.device, keepalived.primary).await?);
        loop {
            match events.next().await {
                Event::Address(address) | Event::AddressGone(address) if address.net == keepalived.primary => break,
                Event::LinkGone(link) if link.name == keepalived.device => break,
                Event::Missed => break,
                _ => {}
            }
        }
    }
}

async fn has_primary(inside: &Netlink, device: &str, primary: IpNet) -> Result<bool, kernel::Error> {
    let Some(link) = inside.link(device).await? else { return Ok(false) };
    let addresses = inside.addresses().await?;
    Ok(addresses.iter().any(|address| address.link == link.index && address.net == primary))
}

/// What the server is to be told of the routers of this host.
#[derive(Debug, Default)]
pub(in crate::l3) struct Serving {
    waiting: Mutex<BTreeMap<RouterId, HaState>>,
    pub(in crate::l3) wake: Notify,
}

impl Serving {
    /// This host serves a router from now on, or no longer.
    pub(in crate::l3) fn changed(&self, router: RouterId, serves: bool) {
        let state = if serves { HaState::Active } else { HaState::Standby };
        self.waiting.lock().insert(router, state);
        self.wake.notify_one();
    }

    /// Everything that is to be told.
    pub(in crate::l3) fn take(&self) -> BTreeMap<RouterId, HaState> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// Puts back what was not told; what came meanwhile is newer.
    pub(in crate::l3) fn put_back(&self, states: BTreeMap<RouterId, HaState>) {
        let mut waiting = self.waiting.lock();
        for (router, state) in states {
            waiting.entry(router).or_insert(state);
        }
    }
}
