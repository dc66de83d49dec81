//! Where free addresses were seen last.
//!
//! Only a hint: it saves looking at what is known to be full, and keeps operations that run at the same time in one
//! server from choosing the same address. It may be wrong, lost or out of date without harm, since the database's unique
//! keys decide. So it is never written down, and each server has its own.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use types::{NetworkId, SubnetId};

/// For so long an address that was handed out is not offered again: by then its transaction has ended.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// For so long addresses that were seen free are handed out without another look. Shorter than [`IN_FLIGHT`], so that what
/// this server has handed out meanwhile is known.
const SEEN: Duration = Duration::from_secs(1);
/// For so long after a lost race each allocation looks for itself: another server hands out addresses of the subnet.
const CONTENDED: Duration = Duration::from_secs(30);
/// So many freed or overlooked addresses are remembered for each subnet.
const GAPS: usize = 64;
/// Among so many of the next free addresses the choice falls when other servers contend.
const WIDEST: usize = 256;
/// Subnets remembered at most.
const SUBNETS: usize = 100_000;

/// The hints of all subnets, and which subnets networks had; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Hints(Arc<Mutex<HashMap<SubnetId, Hint>>>, Arc<Mutex<HashMap<NetworkId, Vec<SubnetId>>>>);

#[derive(Debug, Default)]
struct Hint {
    /// The id `ipamallocations` knows the subnet by.
    ipam_subnet: Option<String>,
    /// Offset behind which something was free; `None` before the first search.
    next: Option<u128>,
    /// Among how many free addresses one is drawn. It grows with every lost race and shrinks with every success.
    spread: usize,
    /// Addresses that are likely free though they lie before `next`.
    gaps: VecDeque<IpAddr>,
    /// Handed out by this server a moment ago.
    in_flight: HashSet<IpAddr>,
    /// The same, oldest first.
    ages: VecDeque<(Instant, IpAddr)>,
    /// A search came to the end of the pools and began again.
    wrapped: bool,
    /// What the last look found free beyond what was needed, and when.
    seen: Option<(Instant, Vec<IpAddr>)>,
    /// When another server was last faster.
    lost: Option<Instant>,
}

/// Where to begin a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// Offset; `None` when nothing is known.
    pub(super) next: Option<u128>,
    /// Among how many candidates to choose.
    pub(super) spread: usize,
    /// To be tried first: empty as long as there is room behind `next`, so that freed addresses rest a while.
    pub(super) gaps: Vec<IpAddr>,
}

impl Hints {
    fn with<T>(&self, subnet: SubnetId, act: impl FnOnce(&mut Hint) -> T) -> T {
        let mut hints = self.0.lock();
        if hints.len() >= SUBNETS && !hints.contains_key(&subnet) {
            hints.clear();
        }
        act(hints.entry(subnet).or_default())
    }

    /// The id `ipamallocations` knows a subnet by, if it was asked for before.
    pub(super) fn ipam_subnet(&self, subnet: SubnetId) -> Option<String> {
        self.with(subnet, |hint| hint.ipam_subnet.clone())
    }

    pub(super) fn set_ipam_subnet(&self, subnet: SubnetId, id: &str) {
        self.with(subnet, |hint| hint.ipam_subnet = Some(id.to_owned()));
    }

    /// Remembers which subnets a network has.
    pub(super) fn set_subnets(&self, network: NetworkId, subnets: impl Iterator<Item = SubnetId>) {
        let mut networks = self.1.lock();
        if networks.len() >= SUBNETS {
            networks.clear();
        }
        networks.insert(network, subnets.collect());
    }

    /// The ids `ipamallocations` knows the subnets of a network by, as far as they were asked for before.
    pub(super) fn ipam_subnets(&self, network: NetworkId) -> Vec<String> {
        let subnets = self.1.lock().get(&network).cloned().unwrap_or_default();
        subnets.into_iter().filter_map(|subnet| self.ipam_subnet(subnet)).collect()
    }

    pub(super) fn start(&self, subnet: SubnetId) -> Start {
        self.with(subnet, |hint| Start {
            next: hint.next,
            spread: hint.spread,
            gaps: if hint.wrapped { hint.gaps.iter().copied().collect() } else { Vec::new() },
        })
    }

    /// As many addresses that were seen free a moment ago and that suit, ascending, marked as handed out; none if there are
    /// not so many.
    pub(super) fn recall(&self, subnet: SubnetId, count: usize, suits: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
        let now = Instant::now();
        self.with(subnet, |hint| {
            let Some((_, seen)) = hint.seen.as_mut().filter(|(at, _)| now.duration_since(*at) <= SEEN) else {
                return Vec::new();
            };
            seen.retain(|address| suits(address) && !hint.in_flight.contains(address));
            if seen.len() < count {
                return Vec::new();
            }
            let chosen = seen.drain(..count).collect::<Vec<_>>();
            hint.hand_out(now, &chosen);
            chosen
        })
    }

    /// This one is being taken.
    pub(super) fn unsee(&self, subnet: SubnetId, address: IpAddr) {
        self.with(subnet, |hint| {
            if let Some((_, seen)) = &mut hint.seen {
                seen.retain(|seen| *seen != address);
            }
        });
    }

    /// Chooses up to `count` of the free addresses, which are ascending, and marks them as handed out. Those handed out
    /// a moment ago are passed over unless `even_in_flight`.
    pub(super) fn choose(
        &self,
        subnet: SubnetId,
        free: &[IpAddr],
        count: usize,
        lowest: bool,
        even_in_flight: bool,
    ) -> Vec<IpAddr> {
        let now = Instant::now();
        self.with(subnet, |hint| {
            while let Some((_, old)) = hint.ages.pop_front_if(|(at, _)| now.duration_since(*at) > IN_FLIGHT) {
                hint.in_flight.remove(&old);
            }
            let passed_over = |a: &IpAddr| !even_in_flight && hint.in_flight.contains(a);
            let mut offered: Vec<IpAddr> = free.iter().copied().filter(|a| !passed_over(a)).collect();
            if !lowest && hint.spread > 0 {
                offered.truncate(count + hint.spread);
                shuffle(&mut offered);
            }
            let rest = offered.split_off(count.min(offered.len()));
            let alone = hint.spread == 0 && hint.lost.is_none_or(|lost| now.duration_since(lost) > CONTENDED);
            hint.seen = (alone && !lowest && !even_in_flight).then_some((now, rest));
            hint.hand_out(now, &offered);
            offered
        })
    }

    /// The next search begins at this offset.
    pub(super) fn advance(&self, subnet: SubnetId, next: u128) {
        self.with(subnet, |hint| {
            hint.next = Some(next);
            hint.spread -= hint.spread.div_ceil(16);
        });
    }

    /// The next search begins at this offset, unless it begins behind it anyway.
    pub(super) fn pass(&self, subnet: SubnetId, next: u128) {
        self.with(subnet, |hint| hint.next = hint.next.max(Some(next)));
    }

    /// There was no room behind the hint.
    pub(super) fn wrapped(&self, subnet: SubnetId) {
        self.with(subnet, |hint| hint.wrapped = true);
    }

    /// Another server took what was chosen here: choose more widely from now on.
    pub(super) fn lost_race(&self, subnet: SubnetId) {
        self.with(subnet, |hint| {
            hint.spread = (hint.spread * 2 + 8).min(WIDEST);
            (hint.seen, hint.lost) = (None, Some(Instant::now()));
        });
    }

    /// These are likely free.
    pub(super) fn add_gaps(&self, subnet: SubnetId, addresses: &[IpAddr]) {
        self.with(subnet, |hint| {
            for address in addresses {
                hint.in_flight.remove(address);
                if !hint.gaps.contains(address) {
                    hint.gaps.push_back(*address);
                }
                if hint.gaps.len() > GAPS {
                    hint.gaps.pop_front();
                }
            }
        });
    }

    /// These turned out to be taken.
    pub(super) fn remove_gaps(&self, subnet: SubnetId, addresses: &[IpAddr]) {
        self.with(subnet, |hint| hint.gaps.retain(|gap| !addresses.contains(gap)));
    }

    /// Forgets a subnet, or what was known of its pools.
    pub fn forget(&self, subnet: SubnetId) {
        self.0.lock().remove(&subnet);
    }
}

impl Hint {
    fn hand_out(&mut self, now: Instant, addresses: &[IpAddr]) {
        self.in_flight.extend(addresses);
        self.ages.extend(addresses.iter().map(|address| (now, *address)));
        if !self.gaps.is_empty() {
            self.gaps.retain(|gap| !addresses.contains(gap));
        }
    }
}

fn shuffle(addresses: &mut [IpAddr]) {
    for i in (1..addresses.len()).rev() {
        addresses.swap(i, rand::random_range(0..=i));
    }
}
