//! Ethernet addresses for ports: drawn at random behind a base, unique on the network.
//!
//! The unique key of `ports` on network and MAC decides; looking first only makes a collision rare. One query finds as
//! many as a bulk create needs, whatever the size of the network. A few among sixteen million need no look: one of them
//! is taken once in two hundred times in a network of a hundred thousand ports, and the operation runs again.

use std::collections::HashSet;

use db::Conn;
use types::{Mac, NetworkId};

use crate::ipam::IpamError;

/// MACs looked up in one statement at most.
const PROBE: usize = 1000;
/// So few are not looked up.
const FEW: usize = 2;

/// `count` MACs that no port of the network has. `base` gives the first three octets, or four when the fourth is not
/// zero; `tries` bounds how often we draw again for those that were taken.
pub async fn generate(
    conn: &mut Conn,
    network_id: NetworkId,
    base: [u8; 6],
    count: usize,
    tries: u32,
) -> Result<Vec<Mac>, IpamError> {
    let mut free: Vec<Mac> = Vec::with_capacity(count);
    for _ in 0..tries.max(1) {
        let drawn = draw(base, count - free.len(), &free);
        if drawn.len() == count && count <= FEW && base[3] == 0 {
            return Ok(drawn);
        }
        let mut taken = HashSet::new();
        for some in drawn.chunks(PROBE) {
            taken.extend(db::ipam::macs_taken(conn, network_id, some).await?);
        }
        free.extend(drawn.into_iter().filter(|mac| !taken.contains(mac)));
        if free.len() == count {
            return Ok(free);
        }
    }
    Err(IpamError::MacAddressGenerationFailure(network_id))
}

/// Refuses a MAC that a port of the network has.
pub async fn check_free(conn: &mut Conn, network_id: NetworkId, mac: Mac) -> Result<(), IpamError> {
    if db::ipam::macs_taken(conn, network_id, &[mac]).await?.is_empty() {
        Ok(())
    } else {
        Err(IpamError::MacAddressInUse { network_id, mac })
    }
}

/// Distinct random MACs that are not among `except`; fewer than `count` when the base leaves too few.
fn draw(base: [u8; 6], count: usize, except: &[Mac]) -> Vec<Mac> {
    let mut drawn: Vec<Mac> = Vec::with_capacity(count);
    let mut seen: HashSet<Mac> = except.iter().copied().collect();
    for _ in 0..count.saturating_mul(4).saturating_add(16) {
        if drawn.len() == count {
            break;
        }
        let [a, b, c, d, _, _] = base;
        let [x, y, z]: [u8; 3] = rand::random();
        let mac = Mac([a, b, c, if d == 0 { x } else { d }, y, z]);
        if seen.insert(mac) {
            drawn.push(mac);
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_kept() {
        let macs = draw([0xfa, 0x16, 0x3e, 0, 9, 9], 1000, &[]);
        assert_eq!(macs.iter().collect::<HashSet<_>>().len(), 1000);
        assert!(macs.iter().all(|m| m.0[..3] == [0xfa, 0x16, 0x3e]));
        assert!(macs.iter().any(|m| m.0[3] != 0));
        let macs = draw([0xfa, 0x16, 0x3e, 0x77, 0, 0], 100, &[]);
        assert!(macs.iter().all(|m| m.0[..4] == [0xfa, 0x16, 0x3e, 0x77]));
    }
}
