//! What agents are told of an event.
//!
//! A [`Telling`] is the event as agents need it: small enough to be stored with the change that caused it, and complete
//! as to what is gone when it is read again. The resource itself is not stored: who reads a telling from the database
//! tells of the resource as it is by then, which is what agents want to know.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    pin::Pin,
    sync::Arc,
};

use db::Conn;
use serde::{Deserialize, Serialize};
use types::{
    AddressGroupId, NetworkId, NetworkType, PortId, RouterId, SecurityGroupId, SubnetId, floatingip::FloatingIp,
    network::Network, port::FixedIp, port::Port, subnet::Subnet,
};

use super::{Event, Hosted, HostedRouter};
use crate::{
    Ctx, Error, Result, l2_population, provisioning,
    resource::{self, Resource, floatingip},
    rpc::{dhcp_agent, l2_agent, l3_agent, object},
};

/// What has happened, as agents need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum News {
    NetworkUpdated { id: NetworkId, mtu: bool },
    NetworkDeleted { id: NetworkId },
    SubnetCreated { id: SubnetId, network_id: NetworkId },
    SubnetUpdated { id: SubnetId, network_id: NetworkId },
    SubnetDeleted { id: SubnetId, network_id: NetworkId },
    PortCreated { id: PortId },
    PortUpdated { id: PortId, dhcp: bool, wiring: bool, groups: BTreeSet<SecurityGroupId> },
    PortBindingActivated { id: PortId, network_id: NetworkId, left: String, entered: String },
    PortDeleted { id: PortId, network_id: NetworkId, fixed_ips: Vec<FixedIp>, groups: BTreeSet<SecurityGroupId> },
    SecurityGroupRulesChanged { id: SecurityGroupId },
    AddressesChanged { id: AddressGroupId },
    ObjectChanged { kind: object::Kind, id: String },
    DhcpNetworkAdded { network_id: NetworkId, host: String },
    DhcpNetworkRemoved { network_id: NetworkId, host: String },
    DhcpAgentSwitched { host: String, admin_state_up: bool },
    TunnelEndDeleted { overlay: NetworkType, address: IpAddr },
    L2Population(l2_population::News),
    RouterChanged { id: RouterId },
    RoutersChanged { ids: Vec<RouterId> },
    RouterDeleted { id: RouterId },
    RouterHosted { router_id: RouterId, host: String },
    RouterUnhosted { router_id: RouterId, host: String },
    L3AgentSwitched { host: String, admin_state_up: bool },
}

/// The resource it is about, where it is at hand.
#[derive(Debug, Clone)]
enum Known {
    Network(Arc<Network>),
    Subnet(Arc<Subnet>),
    Port(Arc<Port>),
    Nothing,
}

/// Something that agents are to be told.
#[derive(Debug, Clone)]
pub(super) struct Telling {
    news: News,
    known: Known,
}

impl Telling {
    /// What agents have to hear of an event, if anything.
    pub(super) fn of(event: Event) -> Option<Self> {
        let (news, known) = match event {
            Event::NetworkUpdated { network, mtu } => {
                (News::NetworkUpdated { id: network.id, mtu }, Known::Network(network))
            }
            Event::NetworkDeleted(network) => (News::NetworkDeleted { id: network.id }, Known::Nothing),
            Event::SubnetCreated(subnet) => {
                (News::SubnetCreated { id: subnet.id, network_id: subnet.network_id }, Known::Subnet(subnet))
            }
            Event::SubnetUpdated(subnet) => {
                (News::SubnetUpdated { id: subnet.id, network_id: subnet.network_id }, Known::Subnet(subnet))
            }
            Event::SubnetDeleted(subnet) => {
                (News::SubnetDeleted { id: subnet.id, network_id: subnet.network_id }, Known::Nothing)
            }
            Event::PortCreated(port) => (News::PortCreated { id: port.id }, Known::Port(port)),
            Event::PortUpdated { before, after } => {
                let (dhcp, wiring) = (dhcp_agent::is_concerned(&before, &after), l2_agent::is_rewired(&before, &after));
                let groups = l2_agent::groups_touched(&before, &after);
                if !dhcp && !wiring && groups.is_empty() {
                    return None;
                }
                (News::PortUpdated { id: after.id, dhcp, wiring, groups }, Known::Port(after))
            }
            Event::PortBindingActivated { before, after } => {
                let (left, entered) = (before.binding.host.clone(), after.binding.host.clone());
                let (id, network_id) = (after.id, after.network_id);
                (News::PortBindingActivated { id, network_id, left, entered }, Known::Nothing)
            }
            Event::PortDeleted(port) => {
                let groups = port.security_groups.iter().copied().collect();
                let (id, network_id, fixed_ips) = (port.id, port.network_id, port.fixed_ips.clone());
                (News::PortDeleted { id, network_id, fixed_ips, groups }, Known::Nothing)
            }
            Event::SecurityGroupRuleCreated(rule) | Event::SecurityGroupRuleDeleted(rule) => {
                (News::SecurityGroupRulesChanged { id: rule.security_group_id }, Known::Nothing)
            }
            Event::SecurityGroupDeleted(group) => (News::SecurityGroupRulesChanged { id: group.id }, Known::Nothing),
            Event::AddressGroupUpdated { group, addresses: true } => {
                (News::AddressesChanged { id: group.id }, Known::Nothing)
            }
            Event::DhcpNetworkAdded(Hosted { network, host, .. })
            | Event::DhcpNetworkScheduled(Hosted { network, host, .. }) => {
                (News::DhcpNetworkAdded { network_id: network, host }, Known::Nothing)
            }
            Event::DhcpNetworkRemoved(Hosted { network, host, .. }) => {
                (News::DhcpNetworkRemoved { network_id: network, host }, Known::Nothing)
            }
            Event::AgentUpdated { agent, switched: true } if agent.agent_type == types::agent::kind::DHCP => {
                let (host, admin_state_up) = (agent.host.clone(), agent.admin_state_up);
                (News::DhcpAgentSwitched { host, admin_state_up }, Known::Nothing)
            }
            Event::TunnelEndDeleted { overlay, address } => {
                (News::TunnelEndDeleted { overlay, address }, Known::Nothing)
            }
            Event::AgentUpdated { agent, switched: true } if agent.agent_type == types::agent::kind::L3 => {
                let (host, admin_state_up) = (agent.host.clone(), agent.admin_state_up);
                (News::L3AgentSwitched { host, admin_state_up }, Known::Nothing)
            }
            // One without outside has nothing to do yet, unless it is to be had in several places.
            Event::RouterCreated(router) if router.ha || router.gw_port_id.is_some() => {
                (News::RouterChanged { id: router.id }, Known::Nothing)
            }
            Event::RouterUpdated(router) => (News::RouterChanged { id: router.id }, Known::Nothing),
            Event::RouterDeleted(router) => (News::RouterDeleted { id: router.id }, Known::Nothing),
            Event::RouterInterfaceAdded(interface) | Event::RouterInterfaceRemoved(interface) => {
                (News::RouterChanged { id: interface.id }, Known::Nothing)
            }
            Event::RouterHosted(HostedRouter { router, host, .. }) => {
                (News::RouterHosted { router_id: router, host }, Known::Nothing)
            }
            Event::RouterUnhosted(HostedRouter { router, host, .. })
            | Event::RouterLeft(HostedRouter { router, host, .. }) => {
                (News::RouterUnhosted { router_id: router, host }, Known::Nothing)
            }
            Event::FloatingIpCreated { floatingip, .. } | Event::FloatingIpDeleted { floatingip, .. } => {
                (carried_by(&[&floatingip])?, Known::Nothing)
            }
            Event::FloatingIpUpdated { before, after, .. } => (carried_by(&[&before, &after])?, Known::Nothing),
            // A network without subnets has nothing that an agent could do, a group without ports or rules neither, and
            // a change of status is the agent's own news.
            Event::NetworkCreated(_)
            | Event::RouterCreated(_)
            | Event::SecurityGroupCreated(_)
            | Event::SecurityGroupUpdated(_)
            | Event::SecurityGroupRuleUpdated(_)
            | Event::AddressGroupCreated(_)
            | Event::AddressGroupUpdated { .. }
            | Event::AddressGroupDeleted(_)
            | Event::SubnetPoolCreated(_)
            | Event::SubnetPoolUpdated(_)
            | Event::SubnetPoolDeleted(_)
            | Event::AddressScopeCreated(_)
            | Event::AddressScopeUpdated(_)
            | Event::AddressScopeDeleted(_)
            | Event::NetworkSegmentCreated(_)
            | Event::NetworkSegmentUpdated(_)
            | Event::NetworkSegmentDeleted(_)
            | Event::DefaultSecurityGroupRuleCreated(_)
            | Event::DefaultSecurityGroupRuleDeleted(_)
            | Event::DefaultStatefulnessCreated(_)
            | Event::DefaultStatefulnessUpdated(_)
            | Event::DefaultStatefulnessDeleted(_)
            | Event::PortProvisioned { .. }
            | Event::PortWiredElsewhere(_)
            | Event::AgentUpdated { .. }
            | Event::AgentDeleted(_)
            | Event::Tagged(_) => return None,
        };
        Some(Self { news, known })
    }

    /// What agents of overlays have to hear.
    pub(super) fn of_population(news: l2_population::News) -> Self {
        Self { news: News::L2Population(news), known: Known::Nothing }
    }

    /// That an object is to be pushed to those who keep a copy of it.
    pub(super) fn of_object(kind: object::Kind, id: String) -> Self {
        Self { news: News::ObjectChanged { kind, id }, known: Known::Nothing }
    }

    /// Names the resource whose events must keep their order.
    pub(super) fn key(&self) -> usize {
        let mut hasher = DefaultHasher::new();
        match &self.news {
            News::NetworkUpdated { id: network_id, .. }
            | News::NetworkDeleted { id: network_id }
            | News::SubnetCreated { network_id, .. }
            | News::SubnetUpdated { network_id, .. }
            | News::SubnetDeleted { network_id, .. }
            | News::DhcpNetworkAdded { network_id, .. }
            | News::DhcpNetworkRemoved { network_id, .. } => network_id.hash(&mut hasher),
            News::PortCreated { id }
            | News::PortUpdated { id, .. }
            | News::PortBindingActivated { id, .. }
            | News::PortDeleted { id, .. } => id.hash(&mut hasher),
            News::SecurityGroupRulesChanged { id } => id.hash(&mut hasher),
            News::AddressesChanged { id } => id.hash(&mut hasher),
            News::ObjectChanged { id, .. } => id.hash(&mut hasher),
            News::DhcpAgentSwitched { host, .. } | News::L3AgentSwitched { host, .. } => host.hash(&mut hasher),
            News::TunnelEndDeleted { address, .. } => address.hash(&mut hasher),
            News::L2Population(news) => news.network().hash(&mut hasher),
            News::RouterChanged { id: router_id }
            | News::RouterDeleted { id: router_id }
            | News::RouterHosted { router_id, .. }
            | News::RouterUnhosted { router_id, .. } => router_id.hash(&mut hasher),
            News::RoutersChanged { ids } => ids.hash(&mut hasher),
        }
        usize::try_from(hasher.finish() >> 32).unwrap_or_default()
    }

    /// Tells the agents. What is gone by now is told by the event of its end.
    pub(super) async fn tell(&self, ctx: &Ctx) -> Result<()> {
        match &self.news {
            News::NetworkUpdated { id, mtu } => {
                let Some(network) = self.network(ctx, *id).await? else { return Ok(()) };
                dhcp_agent::network_updated(ctx, &network).await?;
                if *mtu {
                    l2_agent::network_updated(ctx, &network).await?;
                }
                Ok(())
            }
            News::NetworkDeleted { id } => {
                dhcp_agent::network_deleted(ctx, *id).await?;
                l2_agent::network_deleted(ctx, *id).await
            }
            News::SubnetCreated { id, .. } => match self.subnet(ctx, *id).await? {
                Some(subnet) => dhcp_agent::subnet_created(ctx, &subnet).await,
                None => Ok(()),
            },
            News::SubnetUpdated { id, .. } => {
                let Some(subnet) = self.subnet(ctx, *id).await? else { return Ok(()) };
                dhcp_agent::subnet_updated(ctx, &subnet).await?;
                l3_agent::subnet_updated(ctx, subnet.id).await?;
                if !subnet.enable_dhcp {
                    provisioning::release_unserved(&own(ctx), subnet.network_id).await;
                }
                Ok(())
            }
            News::SubnetDeleted { id, network_id } => {
                dhcp_agent::subnet_deleted(ctx, *id, *network_id).await?;
                provisioning::release_unserved(&own(ctx), *network_id).await;
                Ok(())
            }
            News::PortCreated { id } => {
                let Some(port) = self.port(ctx, *id).await? else { return Ok(()) };
                dhcp_agent::port_created(ctx, &port).await?;
                l2_agent::port_changed(ctx, &port).await?;
                l2_agent::members_changed(ctx, port.security_groups.iter().copied()).await
            }
            News::PortUpdated { id, dhcp, wiring, groups } => {
                if let Some(port) = self.port(ctx, *id).await? {
                    if *dhcp {
                        dhcp_agent::port_updated(ctx, &port).await?;
                    }
                    if *wiring {
                        l2_agent::port_changed(ctx, &port).await?;
                    }
                    if *dhcp {
                        l3_agent::port_updated(ctx, &port).await?;
                    }
                }
                l2_agent::members_changed(ctx, groups.iter().copied()).await
            }
            News::PortBindingActivated { id, network_id, left, entered } => {
                l2_agent::binding_activated(ctx, *id, *network_id, left, entered).await
            }
            News::PortDeleted { id, network_id, fixed_ips, groups } => {
                dhcp_agent::port_deleted(ctx, *id, *network_id, fixed_ips).await?;
                l2_agent::port_deleted(ctx, *id).await?;
                l2_agent::members_changed(ctx, groups.iter().copied()).await
            }
            News::SecurityGroupRulesChanged { id } => l2_agent::security_group_rules_changed(ctx, vec![*id]).await,
            News::ObjectChanged { kind, id } => object::push(ctx, *kind, id).await,
            News::AddressesChanged { id } => {
                let mut conn = ctx.db().reader().await?;
                let groups = db::address_group::security_groups_naming(&mut conn, *id).await?;
                drop(conn);
                l2_agent::security_group_rules_changed(ctx, groups).await
            }
            News::DhcpNetworkAdded { network_id, host } => dhcp_agent::network_added(ctx, *network_id, host).await,
            News::DhcpNetworkRemoved { network_id, host } => dhcp_agent::network_removed(ctx, *network_id, host).await,
            News::RouterChanged { id } => l3_agent::router_updated(ctx, *id).await,
            News::RoutersChanged { ids } => {
                for id in ids {
                    l3_agent::router_updated(ctx, *id).await?;
                }
                Ok(())
            }
            News::RouterDeleted { id } => l3_agent::router_deleted(ctx, *id).await,
            News::RouterHosted { router_id, host } => l3_agent::router_hosted(ctx, *router_id, host).await,
            News::RouterUnhosted { router_id, host } => l3_agent::router_unhosted(ctx, *router_id, host).await,
            News::L3AgentSwitched { host, admin_state_up } => l3_agent::agent_updated(ctx, host, *admin_state_up).await,
            News::DhcpAgentSwitched { host, admin_state_up } => {
                dhcp_agent::agent_updated(ctx, host, *admin_state_up).await
            }
            News::TunnelEndDeleted { overlay, address } => l2_agent::tunnel_deleted(ctx, *address, *overlay).await,
            News::L2Population(news) => l2_population::tell(ctx, news).await,
        }
    }

    /// [`Self::tell`], for what is told while something else is, and where the type of all that would be too deep for the
    /// compiler.
    pub(super) fn tell_boxed<'a>(&'a self, ctx: &'a Ctx) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(self.tell(ctx))
    }

    async fn network(&self, ctx: &Ctx, id: NetworkId) -> Result<Option<Arc<Network>>> {
        match &self.known {
            Known::Network(network) => Ok(Some(Arc::clone(network))),
            _ => current(ctx, &id.to_string()).await,
        }
    }

    async fn subnet(&self, ctx: &Ctx, id: SubnetId) -> Result<Option<Arc<Subnet>>> {
        match &self.known {
            Known::Subnet(subnet) => Ok(Some(Arc::clone(subnet))),
            _ => current(ctx, &id.to_string()).await,
        }
    }

    async fn port(&self, ctx: &Ctx, id: PortId) -> Result<Option<Arc<Port>>> {
        match &self.known {
            Known::Port(port) => Ok(Some(Arc::clone(port))),
            _ => current(ctx, &id.to_string()).await,
        }
    }
}

/// The routers that carry these floating IPs have to hear of them.
fn carried_by(floatingips: &[&FloatingIp]) -> Option<News> {
    match floatingip::routers_of(floatingips).as_slice() {
        [] => None,
        [id] => Some(News::RouterChanged { id: *id }),
        ids => Some(News::RoutersChanged { ids: ids.to_vec() }),
    }
}

/// The same request, by the server itself, which sees everything.
fn own(ctx: &Ctx) -> Ctx {
    Ctx::of(Arc::clone(&ctx.parts), ctx.caller.elevated())
}

/// The resource as it is now.
async fn current<R: Resource>(ctx: &Ctx, id: &str) -> Result<Option<Arc<R>>> {
    let mut conn: Conn = ctx.db().reader().await?;
    match resource::find::<R>(&own(ctx), &mut conn, id).await {
        Ok(found) => Ok(Some(Arc::new(found))),
        Err(Error::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Serialize for Telling {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.news.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Telling {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(Self { news: News::deserialize(deserializer)?, known: Known::Nothing })
    }
}
