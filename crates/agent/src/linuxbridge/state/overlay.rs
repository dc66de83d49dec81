//! Which forwarding entries this host's VXLAN devices need, and when the server is to tell more.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use oslo::messaging::CallError;
use rpc::l2::Tunnels;
use tokio::time::Instant;
use types::NetworkId;

use super::State;
use crate::linuxbridge::{mode::Mode, object::Uplink, population::Entries};

/// Pause before all tunnel ends are asked for again after the server refused, or did not answer.
const RESYNC: Duration = Duration::from_secs(2);

impl State {
    /// The VXLAN devices whose entries may have changed, and which they shall have; none where nobody sets any.
    pub(in crate::linuxbridge) fn take_forwardings(&mut self) -> Vec<(String, Option<Entries>)> {
        self.population.retain(|network| self.networks.contains_key(network));
        let mut wanted = Vec::new();
        for network in self.population.take_changed() {
            let former = self.devices.remove(&network);
            let carried = self.networks.get(&network).and_then(|carried| carried.carrier.uplink.as_ref());
            let Some((device, Uplink::Vxlan { vni, overlay })) = carried else {
                wanted.extend(former.map(|device| (device, None)));
                continue;
            };
            let entries = match overlay.mode(*vni) {
                Mode::Multicast(_) => continue,
                Mode::Population => self.population.entries(network),
                Mode::Everyone => self.population.floods(),
            };
            self.devices.insert(network, device.clone());
            wanted.extend(former.filter(|former| former != device).map(|former| (former, None)));
            wanted.push((device.clone(), Some(entries)));
        }
        wanted
    }

    /// Whether there are any.
    pub(in crate::linuxbridge) fn has_forwardings(&self) -> bool {
        self.population.has_changed() || self.devices.keys().any(|network| !self.networks.contains_key(network))
    }

    /// Whether the server is to tell what is on other hosts, with the news of these taps. It counts as asked for.
    pub(super) fn refresh(&mut self, taps: &[String]) -> bool {
        if !self.config.vxlan.as_ref().is_some_and(|overlay| overlay.l2_population) {
            return false;
        }
        let now = Instant::now();
        let networks = self.networks_of(taps);
        let due = networks.iter().any(|network| self.population.is_refresh_due(*network));
        if due {
            networks.into_iter().for_each(|network| self.population.set_asked(network, Some(now)));
        }
        due
    }

    pub(super) fn networks_of(&self, taps: &[String]) -> BTreeSet<NetworkId> {
        let details = taps.iter().filter_map(|name| self.taps.get(name)?.details.as_ref());
        details.map(|details| details.network_id).collect()
    }

    /// This host's end of its tunnels, if all others are to be asked for now.
    pub(in crate::linuxbridge) fn take_tunnel_question(&mut self, now: Instant) -> Option<IpAddr> {
        let overlay = self.config.vxlan.as_ref()?;
        self.population.take_question(now).then_some(overlay.local_ip)
    }

    /// The server's answer to that.
    pub(in crate::linuxbridge) fn take_tunnels(&mut self, answer: Result<Tunnels, CallError>) {
        match answer {
            Ok(answer) => self.population.take_ends(answer.tunnels.into_iter().map(|tunnel| tunnel.ip_address)),
            Err(error) => {
                tracing::warn!("cannot learn the tunnel ends of other hosts: {}", crate::chain(&error));
                self.population.ask_for_ends(Instant::now() + RESYNC);
            }
        }
    }
}
