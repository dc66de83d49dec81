//! What the server's notifications mean to this agent: each is a hint about some routers.

use oslo::{context::Context, messaging::Failure};
use parking_lot::Mutex;
use rpc::{
    l3_agent::{AgentUpdated, ArpChange, Callee, RouterHint, RouterRemoved, dispatch},
    payload::Network,
};
use serde_json::Value;
use types::{NetworkId, RouterId};

/// Something may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hint {
    /// These routers are new here or changed.
    Routers(Vec<RouterId>),
    /// This one is ours no longer.
    Removed(RouterId),
    /// MTU of a network changed.
    Network(NetworkId),
    /// Anything.
    All,
}

/// Reads a notification; none if it does not concern routers like ours.
pub(super) async fn hint(ctx: &Context, method: &str, args: &Value) -> Result<Option<Hint>, Failure> {
    let reader = Reader::default();
    dispatch(&reader, ctx, method, args).await?;
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

    async fn router_added_to_agent(&self, _: &Context, payload: Vec<RouterId>) -> Result<(), Failure> {
        self.is(Hint::Routers(payload))
    }

    async fn routers_updated(&self, _: &Context, routers: Vec<RouterHint>) -> Result<(), Failure> {
        self.is(Hint::Routers(routers.into_iter().map(RouterHint::id).collect()))
    }

    async fn router_deleted(&self, _: &Context, router_id: RouterId) -> Result<(), Failure> {
        self.is(Hint::Removed(router_id))
    }

    async fn router_removed_from_agent(&self, _: &Context, payload: RouterRemoved) -> Result<(), Failure> {
        self.is(Hint::Removed(payload.router_id))
    }

    async fn add_arp_entry(&self, _: &Context, _: ArpChange) -> Result<(), Failure> {
        Ok(())
    }

    async fn del_arp_entry(&self, _: &Context, _: ArpChange) -> Result<(), Failure> {
        Ok(())
    }

    async fn fipnamespace_delete_on_ext_net(&self, _: &Context, _: NetworkId) -> Result<(), Failure> {
        Ok(())
    }

    async fn agent_updated(&self, _: &Context, _: AgentUpdated) -> Result<(), Failure> {
        self.is(Hint::All)
    }

    async fn network_update(&self, _: &Context, network: Network) -> Result<(), Failure> {
        self.is(Hint::Network(network.id))
    }
}
