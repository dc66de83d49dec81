//! Ports.

use db::Tx;
use types::NetworkId;

use crate::{Ctx, Result, event::Event};

/// Removes every port of a network about to be deleted; the events are to be emitted after the commit.
pub async fn delete_all_of_network(_ctx: &Ctx, _tx: &mut Tx, _network: NetworkId) -> Result<Vec<Event>> {
    Ok(Vec::new())
}
