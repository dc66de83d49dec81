//! What follows a committed change: one closed list of events, one `match`.
//!
//! An operation commits first and emits afterwards. A reaction is a function called from `react`, so a reader can see
//! here everything that a change sets off.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use types::{
    network::Network,
    port::Port,
    security_group::{SecurityGroup, SecurityGroupRule},
    subnet::Subnet,
};

use crate::{
    Ctx, provisioning,
    rpc::{dhcp_agent, l2_agent},
};

/// Events that may wait to be followed up before requests have to wait for them.
const WAITING: usize = 16_384;

/// Something that has happened and is committed.
#[derive(Debug, Clone)]
pub enum Event {
    /// A network was made.
    NetworkCreated(Arc<Network>),
    /// A network was changed; `mtu` says whether its MTU was given.
    NetworkUpdated {
        /// As it is now.
        network: Arc<Network>,
        /// Whether the request named the MTU.
        mtu: bool,
    },
    /// A network is gone.
    NetworkDeleted(Arc<Network>),
    /// A subnet was made.
    SubnetCreated(Arc<Subnet>),
    /// A subnet was changed.
    SubnetUpdated(Arc<Subnet>),
    /// A subnet is gone.
    SubnetDeleted(Arc<Subnet>),
    /// A port was made.
    PortCreated(Arc<Port>),
    /// A port was changed, by a request or by its agent.
    PortUpdated {
        /// As it was.
        before: Arc<Port>,
        /// As it is now.
        after: Arc<Port>,
    },
    /// Another of a port's bindings became the active one.
    PortBindingActivated {
        /// On its old host.
        before: Arc<Port>,
        /// On its new host.
        after: Arc<Port>,
    },
    /// A port is gone.
    PortDeleted(Arc<Port>),
    /// A rule was added to a group.
    SecurityGroupRuleCreated(Arc<SecurityGroupRule>),
    /// A rule is gone.
    SecurityGroupRuleDeleted(Arc<SecurityGroupRule>),
    /// A group is gone.
    SecurityGroupDeleted(Arc<SecurityGroup>),
}

/// Events on their way from the operations to [`follow`].
#[derive(Debug)]
pub struct Queue {
    sender: mpsc::Sender<(Ctx, Event)>,
    receiver: Mutex<mpsc::Receiver<(Ctx, Event)>>,
}

impl Default for Queue {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

/// Hands on an event whose change is committed. What follows from it happens beside the request, in the order in which
/// events were emitted.
pub async fn emit(ctx: &Ctx, event: Event) {
    if ctx.parts.events.sender.send((ctx.clone(), event)).await.is_err() {
        tracing::error!("an event was lost: nobody follows events any more");
    }
}

/// Follows up events until it is dropped.
pub async fn follow(queue: &Queue) {
    let mut receiver = queue.receiver.lock().await;
    while let Some((ctx, event)) = receiver.recv().await {
        let span = oslo::log::request_span(&ctx.caller);
        tracing::Instrument::instrument(react(&ctx, event), span).await;
    }
}

/// Follows up the events emitted so far.
#[cfg(test)]
pub(crate) async fn settle(ctx: &Ctx) {
    let mut receiver = ctx.parts.events.receiver.lock().await;
    while let Ok((ctx, event)) = receiver.try_recv() {
        react(&ctx, event).await;
    }
}

/// Everything that a change sets off.
async fn react(ctx: &Ctx, event: Event) {
    match event {
        // A network without subnets has nothing that an agent could do.
        Event::NetworkCreated(_) => {}
        Event::NetworkUpdated { network, mtu } => {
            dhcp_agent::network_updated(ctx, &network).await;
            if mtu {
                l2_agent::network_updated(ctx, &network).await;
            }
        }
        Event::NetworkDeleted(network) => {
            dhcp_agent::network_deleted(ctx, network.id).await;
            l2_agent::network_deleted(ctx, network.id).await;
        }
        Event::SubnetCreated(subnet) => dhcp_agent::subnet_created(ctx, &subnet).await,
        Event::SubnetUpdated(subnet) => {
            dhcp_agent::subnet_updated(ctx, &subnet).await;
            if !subnet.enable_dhcp {
                provisioning::release_unserved(ctx, subnet.network_id).await;
            }
        }
        Event::SubnetDeleted(subnet) => {
            dhcp_agent::subnet_deleted(ctx, &subnet).await;
            provisioning::release_unserved(ctx, subnet.network_id).await;
        }
        Event::PortCreated(port) => {
            dhcp_agent::port_created(ctx, &port).await;
            l2_agent::port_created(ctx, &port).await;
        }
        Event::PortUpdated { before, after } => {
            dhcp_agent::port_updated(ctx, &before, &after).await;
            l2_agent::port_updated(ctx, &before, &after).await;
        }
        Event::PortBindingActivated { before, after } => {
            l2_agent::binding_activated(ctx, &before, &after).await;
        }
        Event::PortDeleted(port) => {
            dhcp_agent::port_deleted(ctx, &port).await;
            l2_agent::port_deleted(ctx, &port).await;
        }
        Event::SecurityGroupRuleCreated(rule) | Event::SecurityGroupRuleDeleted(rule) => {
            l2_agent::security_group_rules_changed(ctx, rule.security_group_id).await;
        }
        Event::SecurityGroupDeleted(group) => l2_agent::security_group_rules_changed(ctx, group.id).await,
    }
}
