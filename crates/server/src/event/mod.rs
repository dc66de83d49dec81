//! What follows a change: agents, the compute service and watchers of the API hear of it.
//!
//! An operation [records](record) its events in the transaction that causes them, commits, and [emits](Recorded::emit)
//! them. Who is told of an event, and by which function, is one `match` for each audience: [`tell`] for agents,
//! [`crate::nova`] for the compute service, [`crate::notification`] for watchers.
//!
//! Where the audience is outside this process, what it is to be told stands in the database as part of the transaction
//! until it has been told ([`outbox`]), so that no end of this process loses it; it may then be told twice, which all of
//! them take. Where nobody outside listens, nothing is written: an event of this process ends with it, and so do those
//! who listen.
//!
//! Events of one resource are told in the order in which they were emitted.

mod lane;
pub mod outbox;
mod tell;

use std::{net::IpAddr, sync::Arc};

use db::Tx;
use serde_json::Value;
use types::{
    AgentId, NetworkId, NetworkType, RouterId,
    address_group::AddressGroup,
    address_scope::AddressScope,
    agent::Agent,
    default_security_group_rule::DefaultSecurityGroupRule,
    default_statefulness::DefaultStatefulness,
    floatingip::FloatingIp,
    network::Network,
    network_segment::NetworkSegment,
    port::Port,
    router::{Router, RouterInterface},
    security_group::{SecurityGroup, SecurityGroupRule},
    subnet::Subnet,
    subnet_pool::SubnetPool,
};

use crate::{
    Ctx, Parts, Result, l2_population,
    notification::{self, Notice},
    nova::ServerEvent,
    provisioning::Entity,
    rpc::object,
};

use lane::Item;
pub use lane::Queue;
use outbox::{Audience, Stored};
use tell::Telling;

/// Something that has happened.
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
    /// Nothing is left that a port waits for.
    PortProvisioned {
        /// As it was.
        before: Arc<Port>,
        /// As it is now.
        after: Arc<Port>,
        /// What it waited for last.
        by: Entity,
    },
    /// A port was wired on a host it is not bound to, or not yet: an instance arrives there.
    PortWiredElsewhere(Arc<Port>),
    /// Another of a port's bindings became the active one.
    PortBindingActivated {
        /// On its old host.
        before: Arc<Port>,
        /// On its new host.
        after: Arc<Port>,
    },
    /// A port is gone.
    PortDeleted(Arc<Port>),
    /// A group was made.
    SecurityGroupCreated(Arc<SecurityGroup>),
    /// A group was changed, other than in its rules.
    SecurityGroupUpdated(Arc<SecurityGroup>),
    /// A group is gone.
    SecurityGroupDeleted(Arc<SecurityGroup>),
    /// A rule was added to a group.
    SecurityGroupRuleCreated(Arc<SecurityGroupRule>),
    /// A rule was described anew; it filters as before.
    SecurityGroupRuleUpdated(Arc<SecurityGroupRule>),
    /// A rule is gone.
    SecurityGroupRuleDeleted(Arc<SecurityGroupRule>),
    /// An address group was made.
    AddressGroupCreated(Arc<AddressGroup>),
    /// An address group was changed.
    AddressGroupUpdated {
        /// As it is now.
        group: Arc<AddressGroup>,
        /// Whether addresses came or went.
        addresses: bool,
    },
    /// An address group is gone.
    AddressGroupDeleted(Arc<AddressGroup>),
    /// A subnet pool was made.
    SubnetPoolCreated(Arc<SubnetPool>),
    /// A subnet pool was changed.
    SubnetPoolUpdated(Arc<SubnetPool>),
    /// A subnet pool is gone.
    SubnetPoolDeleted(Arc<SubnetPool>),
    /// An address scope was made.
    AddressScopeCreated(Arc<AddressScope>),
    /// An address scope was changed.
    AddressScopeUpdated(Arc<AddressScope>),
    /// An address scope is gone.
    AddressScopeDeleted(Arc<AddressScope>),
    /// A segment was added to a network.
    NetworkSegmentCreated(Arc<NetworkSegment>),
    /// A segment was named or described anew.
    NetworkSegmentUpdated(Arc<NetworkSegment>),
    /// A segment is gone.
    NetworkSegmentDeleted(Arc<NetworkSegment>),
    /// A template of rules was made.
    DefaultSecurityGroupRuleCreated(Arc<DefaultSecurityGroupRule>),
    /// A template of rules is gone.
    DefaultSecurityGroupRuleDeleted(Arc<DefaultSecurityGroupRule>),
    /// A project's new groups are stateful or stateless from now on.
    DefaultStatefulnessCreated(Arc<DefaultStatefulness>),
    /// The choice was changed.
    DefaultStatefulnessUpdated(Arc<DefaultStatefulness>),
    /// The choice is gone.
    DefaultStatefulnessDeleted(Arc<DefaultStatefulness>),
    /// The scheduler gave a network to a DHCP agent.
    DhcpNetworkScheduled(Hosted),
    /// An operator gave a network to a DHCP agent.
    DhcpNetworkAdded(Hosted),
    /// An operator took a network from a DHCP agent.
    DhcpNetworkRemoved(Hosted),
    /// A router was made.
    RouterCreated(Arc<Router>),
    /// A router was changed.
    RouterUpdated(Arc<Router>),
    /// A router is gone.
    RouterDeleted(Arc<Router>),
    /// A router is on another subnet.
    RouterInterfaceAdded(Arc<RouterInterface>),
    /// A router is no longer on a subnet.
    RouterInterfaceRemoved(Arc<RouterInterface>),
    /// An operator gave a router to an L3 agent.
    RouterHosted(HostedRouter),
    /// An operator took a router from an L3 agent.
    RouterUnhosted(HostedRouter),
    /// A router is no longer an L3 agent's by a change of its own.
    RouterLeft(HostedRouter),
    /// A floating IP was made.
    FloatingIpCreated {
        /// As it is.
        floatingip: Arc<FloatingIp>,
        /// The port that it stands for, where the compute service is to hear of it.
        inside: Vec<Arc<Port>>,
    },
    /// A floating IP was changed, by a request or with its port.
    FloatingIpUpdated {
        /// As it was.
        before: Arc<FloatingIp>,
        /// As it is now.
        after: Arc<FloatingIp>,
        /// The ports that it stood and stands for, where the compute service is to hear of it.
        inside: Vec<Arc<Port>>,
    },
    /// A floating IP is gone.
    FloatingIpDeleted {
        /// As it was.
        floatingip: Arc<FloatingIp>,
        /// The port that it stood for, where the compute service is to hear of it.
        inside: Vec<Arc<Port>>,
    },
    /// An operator changed an agent.
    AgentUpdated {
        /// As it is now.
        agent: Arc<Agent>,
        /// Whether it was enabled or disabled.
        switched: bool,
    },
    /// An operator had an agent forgotten.
    AgentDeleted(Arc<Agent>),
    /// A host's end of an overlay is gone for good.
    TunnelEndDeleted {
        /// The overlay.
        overlay: NetworkType,
        /// Its address.
        address: IpAddr,
    },
    /// The tags of a resource were changed.
    Tagged(Tagged),
}

/// A change of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The resource's collection, `networks`.
    pub parent: &'static str,
    /// The resource.
    pub parent_id: String,
    /// `create`, `update`, `delete` or `delete_all`.
    pub action: &'static str,
    /// The tags that were named.
    pub tags: Option<Vec<String>>,
}

/// A network on a DHCP agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosted {
    /// The network.
    pub network: NetworkId,
    /// The agent.
    pub agent: AgentId,
    /// Its host.
    pub host: String,
}

/// A router on an L3 agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostedRouter {
    /// The router.
    pub router: RouterId,
    /// The agent.
    pub agent: AgentId,
    /// Its host.
    pub host: String,
}

/// What a request does to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `POST`
    Create,
    /// `PUT`
    Update,
    /// `DELETE`
    Delete,
}

/// What one transaction has to tell, until it is committed and [emitted](Recorded::emit).
#[derive(Debug)]
#[must_use = "agents wait for it until another server finds it in the database"]
pub struct Recorded {
    agents: Vec<Stored<Telling>>,
    nova: Vec<Stored<ServerEvent>>,
    watchers: Vec<Stored<Notice>>,
}

impl Action {
    /// Its name in the event types of notifications.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl Event {
    /// The resource that this event is about, as REST shows it, if it is one of that name and the event that action.
    pub(crate) fn shown(&self, singular: &str, action: Action) -> Option<Value> {
        fn json(value: &impl serde::Serialize) -> Option<Value> {
            serde_json::to_value(value).ok()
        }
        match (singular, action, self) {
            ("network", Action::Create, Self::NetworkCreated(network))
            | ("network", Action::Update, Self::NetworkUpdated { network, .. })
            | ("network", Action::Delete, Self::NetworkDeleted(network)) => json(&**network),
            ("subnet", Action::Create, Self::SubnetCreated(subnet))
            | ("subnet", Action::Update, Self::SubnetUpdated(subnet))
            | ("subnet", Action::Delete, Self::SubnetDeleted(subnet)) => json(&**subnet),
            ("port", Action::Create, Self::PortCreated(port))
            | ("port", Action::Update, Self::PortUpdated { after: port, .. })
            | ("port", Action::Delete, Self::PortDeleted(port)) => json(&**port),
            ("security_group", Action::Create, Self::SecurityGroupCreated(group))
            | ("security_group", Action::Update, Self::SecurityGroupUpdated(group))
            | ("security_group", Action::Delete, Self::SecurityGroupDeleted(group)) => json(&**group),
            ("security_group_rule", Action::Create, Self::SecurityGroupRuleCreated(rule))
            | ("security_group_rule", Action::Update, Self::SecurityGroupRuleUpdated(rule))
            | ("security_group_rule", Action::Delete, Self::SecurityGroupRuleDeleted(rule)) => json(&**rule),
            ("address_group", Action::Create, Self::AddressGroupCreated(group))
            | ("address_group", Action::Update, Self::AddressGroupUpdated { group, .. })
            | ("address_group", Action::Delete, Self::AddressGroupDeleted(group)) => json(&**group),
            ("subnetpool", Action::Create, Self::SubnetPoolCreated(pool))
            | ("subnetpool", Action::Update, Self::SubnetPoolUpdated(pool))
            | ("subnetpool", Action::Delete, Self::SubnetPoolDeleted(pool)) => json(&**pool),
            ("address_scope", Action::Create, Self::AddressScopeCreated(scope))
            | ("address_scope", Action::Update, Self::AddressScopeUpdated(scope))
            | ("address_scope", Action::Delete, Self::AddressScopeDeleted(scope)) => json(&**scope),
            ("segment", Action::Create, Self::NetworkSegmentCreated(segment))
            | ("segment", Action::Update, Self::NetworkSegmentUpdated(segment))
            | ("segment", Action::Delete, Self::NetworkSegmentDeleted(segment)) => json(&**segment),
            ("default_security_group_rule", Action::Create, Self::DefaultSecurityGroupRuleCreated(template))
            | ("default_security_group_rule", Action::Delete, Self::DefaultSecurityGroupRuleDeleted(template)) => {
                json(&**template)
            }
            ("security_groups_default_statefulness", Action::Create, Self::DefaultStatefulnessCreated(choice))
            | ("security_groups_default_statefulness", Action::Update, Self::DefaultStatefulnessUpdated(choice))
            | ("security_groups_default_statefulness", Action::Delete, Self::DefaultStatefulnessDeleted(choice)) => {
                json(&**choice)
            }
            ("router", Action::Create, Self::RouterCreated(router))
            | ("router", Action::Update, Self::RouterUpdated(router))
            | ("router", Action::Delete, Self::RouterDeleted(router)) => json(&**router),
            ("floatingip", Action::Create, Self::FloatingIpCreated { floatingip, .. })
            | ("floatingip", Action::Update, Self::FloatingIpUpdated { after: floatingip, .. })
            | ("floatingip", Action::Delete, Self::FloatingIpDeleted { floatingip, .. }) => json(&**floatingip),
            ("agent", Action::Update, Self::AgentUpdated { agent, .. })
            | ("agent", Action::Delete, Self::AgentDeleted(agent)) => json(&**agent),
            _ => None,
        }
    }
}

/// Records, as part of the transaction, who is to be told what. To be called when the rows that changed are written, so
/// that those who change the same resource record one after the other.
pub async fn record(ctx: &Ctx, tx: &mut Tx, events: Vec<Event>) -> Result<Recorded> {
    let nova = ctx.parts.nova.as_ref().map(|nova| nova.events_of(ctx, &events)).unwrap_or_default();
    let notices = if ctx.parts.notifier.is_some() { notification::ends(ctx, &events) } else { Vec::new() };
    let population = l2_population::news_of(ctx, tx, &events).await?.into_iter().map(Telling::of_population);
    let objects: Vec<Telling> = match ctx.parts.takers.any(ctx, tx).await? {
        true => events.iter().flat_map(object::changed).map(|(kind, id)| Telling::of_object(kind, id)).collect(),
        false => Vec::new(),
    };
    let agents = events.into_iter().filter_map(Telling::of).chain(population).chain(objects).collect();
    let outbox = ctx.parts.outbox.as_deref();
    Ok(Recorded {
        agents: outbox::store(outbox, ctx, tx, Audience::Agents, agents).await?,
        nova: outbox::store(outbox, ctx, tx, Audience::Nova, nova).await?,
        watchers: outbox::store(outbox, ctx, tx, Audience::Watchers, notices).await?,
    })
}

/// Records what agents of overlays are to be told that follows from no event.
pub(crate) async fn record_population(ctx: &Ctx, tx: &mut Tx, news: Vec<l2_population::News>) -> Result<Recorded> {
    let agents = news.into_iter().map(Telling::of_population).collect();
    let agents = outbox::store(ctx.parts.outbox.as_deref(), ctx, tx, Audience::Agents, agents).await?;
    Ok(Recorded { agents, nova: Vec::new(), watchers: Vec::new() })
}

impl Recorded {
    /// Hands it on, now that the transaction is committed. Telling it happens beside the request.
    pub async fn emit(self, ctx: &Ctx) {
        let parts = &ctx.parts;
        for stored in self.agents {
            let Some(receipt) = parts.receipt_unless_behind(stored.row) else { continue };
            for telling in stored.items {
                let ctx = Ctx::of(Arc::clone(parts), ctx.caller.clone());
                parts.events.push(Item { ctx, telling, receipt: receipt.clone() }).await;
            }
        }
        for stored in self.nova {
            let Some(receipt) = parts.receipt_unless_behind(stored.row) else { continue };
            if let Some(nova) = &parts.nova {
                stored.items.into_iter().for_each(|event| nova.push(event, receipt.clone()));
            }
        }
        for stored in self.watchers {
            let Some(receipt) = parts.receipt_unless_behind(stored.row) else { continue };
            if let Some(notifier) = &parts.notifier {
                stored.items.into_iter().for_each(|notice| notifier.push(&ctx.caller, notice, receipt.clone()));
            }
        }
    }
}

impl Recorded {
    /// Tells agents at once and not beside the request, for what others are about to be told after it.
    pub async fn tell_now(self, ctx: &Ctx) -> Result<()> {
        for stored in self.agents {
            let receipt = ctx.parts.receipt_unless_behind(stored.row).flatten();
            for telling in stored.items {
                if let Err(error) = telling.tell_boxed(ctx).await {
                    receipt.iter().for_each(|receipt| receipt.leave());
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Tells what is emitted, and what other servers could not, until it is dropped.
pub async fn follow(parts: Arc<Parts>) {
    let nova = async {
        if let Some(nova) = &parts.nova {
            nova.run().await;
        }
    };
    let watchers = async {
        if let Some(notifier) = &parts.notifier {
            notifier.run().await;
        }
    };
    let outbox = async {
        if let Some(outbox) = &parts.outbox {
            outbox.run(&parts).await;
        }
    };
    tokio::join!(parts.events.follow(), nova, watchers, outbox);
}

/// Waits a little until what was emitted has been told, before the server ends. What is not told by then is left to
/// other servers, or to the next start.
pub async fn drain(parts: &Parts) {
    if let Some(outbox) = &parts.outbox {
        outbox.drain(parts).await;
    }
}

/// Follows up the events emitted so far.
#[cfg(test)]
pub(crate) async fn settle(ctx: &Ctx) {
    ctx.parts.events.settle().await;
}

#[cfg(test)]
mod tests;
