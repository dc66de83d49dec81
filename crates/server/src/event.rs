//! What follows a committed change: one closed list of events, one `match`.
//!
//! An operation commits first and emits afterwards. A reaction is a function called from [`emit`], so a reader can see
//! here everything that a change sets off.

use std::sync::Arc;

use types::{
    network::Network,
    port::Port,
    security_group::{SecurityGroup, SecurityGroupRule},
    subnet::Subnet,
};

use crate::{
    Ctx,
    rpc::{dhcp_agent, l2_agent},
};

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
    /// A port is gone.
    PortDeleted(Arc<Port>),
    /// A rule was added to a group.
    SecurityGroupRuleCreated(Arc<SecurityGroupRule>),
    /// A rule is gone.
    SecurityGroupRuleDeleted(Arc<SecurityGroupRule>),
    /// A group is gone.
    SecurityGroupDeleted(Arc<SecurityGroup>),
}

/// Sets off everything that follows from `event`. Failures are logged: the change itself stands.
pub async fn emit(ctx: &Ctx, event: Event) {
    match event {
        // A network alone needs no agent; its first subnet or port does.
        Event::NetworkCreated(_) | Event::SecurityGroupDeleted(_) => {}
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
        Event::SubnetUpdated(subnet) => dhcp_agent::subnet_updated(ctx, &subnet).await,
        Event::SubnetDeleted(subnet) => dhcp_agent::subnet_deleted(ctx, &subnet).await,
        Event::PortCreated(port) => {
            l2_agent::port_created(ctx, &port).await;
            dhcp_agent::port_created(ctx, &port).await;
        }
        Event::PortUpdated { before, after } => {
            l2_agent::port_updated(ctx, &before, &after).await;
            dhcp_agent::port_updated(ctx, &before, &after).await;
        }
        Event::PortDeleted(port) => {
            l2_agent::port_deleted(ctx, &port).await;
            dhcp_agent::port_deleted(ctx, &port).await;
        }
        Event::SecurityGroupRuleCreated(rule) | Event::SecurityGroupRuleDeleted(rule) => {
            l2_agent::security_group_rules_changed(ctx, rule.security_group_id).await;
        }
    }
}
