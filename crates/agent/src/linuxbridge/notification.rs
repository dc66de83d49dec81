//! What the server's notifications mean to this agent: each is a hint about one port or network.

use std::net::IpAddr;

use oslo::{
    context::Context,
    messaging::{Failure, Incoming},
};
use parking_lot::Mutex;
use rpc::{
    l2_agent::{Callee, dispatch},
    l2_population,
    payload::{Network, Port},
};
use types::{NetworkId, NetworkType, PortId, SecurityGroupId};

use super::population;

/// Something may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hint {
    /// A port was changed or bound anew.
    Port(PortId),
    /// MTU or policy of a network changed.
    Network(NetworkId),
    /// A network went.
    NetworkDeleted(NetworkId),
    /// The port's binding on that host is not the active one any more.
    Deactivated(PortId, String),
    /// The port's binding on that host is the active one now.
    Activated(PortId, String),
    /// Forwarding entries of overlays came, went or changed.
    Population(population::News),
    /// A host's tunnel end came (true) or went.
    TunnelEnd(IpAddr, NetworkType, bool),
    /// Rules or members of these groups changed.
    Groups(Vec<String>),
}

/// Reads a notification; none if it does not concern this agent.
pub(super) async fn hint(incoming: &Incoming) -> Result<Option<Hint>, Failure> {
    if incoming.topic == l2_population::TOPIC {
        return Ok(population::read(incoming).await?.map(Hint::Population));
    }
    let reader = Reader::default();
    dispatch(&reader, &incoming.ctx, &incoming.method, &incoming.args).await?;
    Ok(reader.0.into_inner())
}

#[derive(Default)]
struct Reader(Mutex<Option<Hint>>);

impl Reader {
    fn is(&self, hint: Hint) -> Result<(), Failure> {
        *self.0.lock() = Some(hint);
        Ok(())
    }
}

impl Callee for Reader {
    type Error = Failure;

    async fn network_delete(&self, _: &Context, network: NetworkId) -> Result<(), Failure> {
        self.is(Hint::NetworkDeleted(network))
    }

    async fn network_update(&self, _: &Context, network: Network) -> Result<(), Failure> {
        self.is(Hint::Network(network.id))
    }

    async fn port_update(
        &self,
        _: &Context,
        port: Port,
        _: Option<NetworkType>,
        _: Option<u32>,
        _: Option<String>,
    ) -> Result<(), Failure> {
        self.is(Hint::Port(port.id))
    }

    async fn port_delete(&self, _: &Context, port: PortId) -> Result<(), Failure> {
        self.is(Hint::Port(port))
    }

    async fn binding_deactivate(&self, _: &Context, port: PortId, host: String, _: NetworkId) -> Result<(), Failure> {
        self.is(Hint::Deactivated(port, host))
    }

    async fn binding_activate(&self, _: &Context, port: PortId, host: String) -> Result<(), Failure> {
        self.is(Hint::Activated(port, host))
    }

    async fn security_groups_rule_updated(&self, _: &Context, ids: Vec<SecurityGroupId>) -> Result<(), Failure> {
        self.is(Hint::Groups(ids.iter().map(ToString::to_string).collect()))
    }

    async fn security_groups_member_updated(&self, _: &Context, ids: Vec<SecurityGroupId>) -> Result<(), Failure> {
        self.is(Hint::Groups(ids.iter().map(ToString::to_string).collect()))
    }

    async fn tunnel_update(&self, _: &Context, end: IpAddr, overlay: NetworkType) -> Result<(), Failure> {
        self.is(Hint::TunnelEnd(end, overlay, true))
    }

    async fn tunnel_delete(&self, _: &Context, end: IpAddr, overlay: NetworkType) -> Result<(), Failure> {
        self.is(Hint::TunnelEnd(end, overlay, false))
    }
}
