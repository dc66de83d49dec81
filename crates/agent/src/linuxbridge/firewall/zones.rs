//! Which zone the tracked connections of a bridge are in, so that networks with the same addresses are told apart.

use std::collections::{BTreeMap, BTreeSet};

use super::policy::Policy;

/// Zones below are left to other agents, which number them by VLAN.
const FIRST: u16 = 4097;

/// Zones by bridge. One that was given is not given again before the connections in it have been forgotten: else those
/// of one network would open ports of another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Zones(BTreeMap<String, u16>);

impl Zones {
    /// Gives every bridge of a port its zone. Those that a predecessor gave stay as they are, for its connections are in
    /// them.
    pub(super) fn choose(&mut self, policy: &Policy, predecessor: impl IntoIterator<Item = (String, u16)>) {
        if self.0.is_empty() {
            self.0.extend(predecessor);
        }
        for bridge in bridges(policy) {
            if self.0.contains_key(bridge) {
                continue;
            }
            let taken: BTreeSet<u16> = self.0.values().copied().collect();
            let free = (FIRST..=u16::MAX).find(|zone| !taken.contains(zone));
            self.0.extend(free.map(|zone| (bridge.clone(), zone)));
        }
    }

    pub(super) fn of(&self, bridge: &str) -> Option<u16> {
        self.0.get(bridge).copied()
    }

    /// Those of bridges that have ports.
    pub(super) fn used<'z>(&'z self, policy: &'z Policy) -> impl Iterator<Item = (&'z String, u16)> {
        let bridges = bridges(policy);
        self.0.iter().filter(move |(bridge, _)| bridges.contains(bridge)).map(|(bridge, zone)| (bridge, *zone))
    }

    /// Those of bridges that have no port any more.
    pub(super) fn abandoned(&self, policy: &Policy) -> BTreeSet<u16> {
        let used: BTreeSet<u16> = self.used(policy).map(|(_, zone)| zone).collect();
        self.0.values().copied().filter(|zone| !used.contains(zone)).collect()
    }

    /// Nothing is left in these.
    pub(super) fn release(&mut self, emptied: &BTreeSet<u16>) {
        self.0.retain(|_, zone| !emptied.contains(zone));
    }
}

fn bridges(policy: &Policy) -> BTreeSet<&String> {
    policy.ports.values().map(|port| &port.bridge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linuxbridge::firewall::model::{Mode, Port};

    fn policy(bridges: &[&str]) -> Policy {
        let port = |bridge: &&str| {
            let port = Port {
                bridge: (*bridge).to_owned(),
                mode: Mode::Filtered,
                mac: types::Mac([0; 6]),
                addresses: BTreeSet::new(),
                senders: Vec::new(),
                groups: Vec::new(),
                provider: Vec::new(),
            };
            (format!("tap-{bridge}"), port)
        };
        Policy { ports: bridges.iter().map(port).collect(), ..Policy::default() }
    }

    #[test]
    fn a_zone_is_given_again_only_when_its_connections_are_forgotten() {
        let mut zones = Zones::default();
        zones.choose(&policy(&["a", "b"]), []);
        assert_eq!((zones.of("a"), zones.of("b")), (Some(FIRST), Some(FIRST + 1)));
        let (next, empty) = (policy(&["b", "c"]), BTreeSet::from([FIRST]));
        zones.choose(&next, []);
        assert_eq!(zones.of("c"), Some(FIRST + 2));
        assert_eq!(zones.abandoned(&next), empty);
        assert_eq!(zones.used(&next).count(), 2);
        zones.release(&empty);
        zones.choose(&policy(&["d"]), []);
        assert_eq!(zones.of("d"), Some(FIRST));
    }

    #[test]
    fn zones_of_a_predecessor_stay_and_those_of_its_networks_that_went_are_abandoned() {
        let mut zones = Zones::default();
        let now = policy(&["a"]);
        zones.choose(&now, [("a".to_owned(), FIRST + 7), ("gone".to_owned(), FIRST)]);
        assert_eq!(zones.of("a"), Some(FIRST + 7));
        assert_eq!(zones.abandoned(&now), BTreeSet::from([FIRST]));
    }
}
