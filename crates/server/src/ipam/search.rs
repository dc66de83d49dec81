//! Finding free addresses in a number of queries that does not grow with the subnet.
//!
//! One look at a window of candidates behind the hint is the rule, and what it shows beyond what was needed serves those who
//! come right after, without a look of their own: the unique keys say if it is no longer true. When the window is full, or
//! nothing is known yet, windows at distances 32, 64, 128 … follow until one has room, and a binary search between the
//! last full and the first free one, so a search costs O(log n) queries at worst. Only when all of that finds too
//! little, which is when the pools are nearly exhausted, is everything read; that answer is exact.

use std::{collections::HashSet, future::Future, net::IpAddr};

use types::SubnetId;

use super::{
    IpamError,
    hints::Hints,
    pools::{Pools, number},
};

/// Candidates looked at beyond what is needed.
const WINDOW: usize = 32;

/// What knows which addresses are taken: the database, or a model in tests.
pub(super) trait Taken {
    /// Those of these addresses that are taken.
    fn among(&mut self, addresses: &[IpAddr]) -> impl Future<Output = Result<Vec<IpAddr>, IpamError>> + Send;
    /// All that are taken.
    fn all(&mut self) -> impl Future<Output = Result<Vec<IpAddr>, IpamError>> + Send;
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) hints: &'a Hints,
    pub(super) subnet: SubnetId,
    pub(super) pools: &'a Pools,
    /// How many addresses are needed.
    pub(super) count: usize,
    /// The lowest rather than any.
    pub(super) lowest: bool,
    /// Not these, although the database may not show them as taken.
    pub(super) except: &'a HashSet<IpAddr>,
}

impl Search<'_> {
    /// Up to `count` free addresses; fewer only when there are no more.
    pub(super) async fn run(&self, taken: &mut impl Taken) -> Result<Vec<IpAddr>, IpamError> {
        if self.pools.is_empty() || self.count == 0 {
            return Ok(Vec::new());
        }
        if !self.lowest {
            let suits = |a: &IpAddr| !self.except.contains(a) && self.pools.offset(*a).is_some();
            let recalled = self.hints.recall(self.subnet, self.count, suits);
            if let Some(last) = recalled.last().and_then(|last| self.pools.offset(*last)) {
                self.hints.pass(self.subnet, last + 1);
                return Ok(recalled);
            }
        }
        let start = self.hints.start(self.subnet);
        let mut found = Vec::new();
        self.try_gaps(&start.gaps, taken, &mut found).await?;
        let spread = if self.lowest { 0 } else { start.spread };
        let width = self.count + WINDOW + spread;
        match start.next {
            Some(next) if !self.lowest => {
                self.gallop(next, self.pools.len(), width, taken, &mut found).await?;
                if found.len() < self.count {
                    self.hints.wrapped(self.subnet);
                    self.gallop(0, next, width, taken, &mut found).await?;
                }
            }
            _ => self.first_room(width, taken, &mut found).await?,
        }
        if found.len() < self.count {
            self.exhaust(taken, &mut found).await?;
        }
        Ok(found)
    }

    fn missing(&self, found: &[IpAddr]) -> usize {
        self.count.saturating_sub(found.len())
    }

    /// The free ones of these.
    async fn free_among(&self, addresses: &[IpAddr], taken: &mut impl Taken) -> Result<Vec<IpAddr>, IpamError> {
        let taken: HashSet<IpAddr> = taken.among(addresses).await?.into_iter().collect();
        let is_free = |a: &&IpAddr| !taken.contains(*a) && !self.except.contains(*a);
        Ok(addresses.iter().filter(is_free).copied().collect())
    }

    /// Takes what is needed from a window, and tells whether that was enough.
    async fn take(
        &self,
        offset: u128,
        width: usize,
        taken: &mut impl Taken,
        found: &mut Vec<IpAddr>,
    ) -> Result<bool, IpamError> {
        let window = self.pools.window(offset, width);
        let free = self.free_among(&window, taken).await?;
        let free: Vec<IpAddr> = free.into_iter().filter(|a| !found.contains(a)).collect();
        let chosen = self.hints.choose(self.subnet, &free, self.missing(found), self.lowest, false);
        let left = free.iter().find(|a| !chosen.contains(a));
        let next = left.and_then(|a| self.pools.offset(*a)).unwrap_or(offset + window.len() as u128);
        found.extend(chosen);
        let enough = found.len() >= self.count;
        if enough && !self.lowest {
            self.hints.advance(self.subnet, next % self.pools.len().max(1));
        }
        Ok(enough)
    }

    /// Windows from `from` on at growing distances, as long as they begin before `to`.
    async fn gallop(
        &self,
        from: u128,
        to: u128,
        width: usize,
        taken: &mut impl Taken,
        found: &mut Vec<IpAddr>,
    ) -> Result<(), IpamError> {
        let mut distance = 0_u128;
        while self.missing(found) > 0 && from.saturating_add(distance) < to {
            self.take(from + distance, width, taken, found).await?;
            distance = if distance == 0 { width as u128 } else { distance.saturating_mul(2) };
        }
        Ok(())
    }

    /// Without a hint: a window near the lowest free address.
    async fn first_room(&self, width: usize, taken: &mut impl Taken, found: &mut Vec<IpAddr>) -> Result<(), IpamError> {
        let (mut full, mut distance) = (0_u128, 0_u128);
        // Windows that are full lie before `full`; the first that is not is at `distance`.
        while distance < self.pools.len() {
            if !self.free_among(&self.pools.window(distance, width), taken).await?.is_empty() {
                break;
            }
            full = distance + width as u128;
            distance = if distance == 0 { width as u128 } else { distance.saturating_mul(2) };
        }
        if distance >= self.pools.len() {
            return Ok(());
        }
        while distance.saturating_sub(full) > width as u128 {
            let middle = full + (distance - full) / 2;
            match self.free_among(&self.pools.window(middle, width), taken).await?.is_empty() {
                true => full = middle + width as u128,
                false => distance = middle,
            }
        }
        self.gallop(full.min(distance), self.pools.len(), width, taken, found).await
    }

    /// Addresses known to have become free behind the hint.
    async fn try_gaps(
        &self,
        gaps: &[IpAddr],
        taken: &mut impl Taken,
        found: &mut Vec<IpAddr>,
    ) -> Result<(), IpamError> {
        if gaps.is_empty() || self.lowest {
            return Ok(());
        }
        let mut inside: Vec<IpAddr> = gaps.iter().copied().filter(|a| self.pools.offset(*a).is_some()).collect();
        inside.sort_unstable();
        let free = self.free_among(&inside, taken).await?;
        let gone: Vec<IpAddr> = gaps.iter().copied().filter(|a| !free.contains(a)).collect();
        self.hints.remove_gaps(self.subnet, &gone);
        found.extend(self.hints.choose(self.subnet, &free, self.count, false, false));
        Ok(())
    }

    /// Reads all there is. Those in flight count as free here, for their transactions may still fail.
    async fn exhaust(&self, taken: &mut impl Taken, found: &mut Vec<IpAddr>) -> Result<(), IpamError> {
        let mut busy: Vec<u128> = taken.all().await?.into_iter().map(number).collect();
        busy.extend(found.iter().chain(self.except).map(|a| number(*a)));
        busy.sort_unstable();
        self.hints.wrapped(self.subnet);
        let wanted = self.missing(found);
        let free = self.pools.free(&busy, wanted + WINDOW);
        let chosen = self.hints.choose(self.subnet, &free, wanted, self.lowest, true);
        let left: Vec<IpAddr> = free.into_iter().filter(|a| !chosen.contains(a)).collect();
        self.hints.add_gaps(self.subnet, &left);
        found.extend(chosen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ipam::pools::generate;

    #[derive(Debug, Default)]
    struct Model {
        taken: BTreeSet<IpAddr>,
        queries: usize,
        full_reads: usize,
    }

    impl Taken for Model {
        async fn among(&mut self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, IpamError> {
            self.queries += 1;
            Ok(addresses.iter().copied().filter(|a| self.taken.contains(a)).collect())
        }

        async fn all(&mut self) -> Result<Vec<IpAddr>, IpamError> {
            self.full_reads += 1;
            Ok(self.taken.iter().copied().collect())
        }
    }

    fn pools_of(cidr: &str) -> Pools {
        let cidr: ipnet::IpNet = cidr.parse().unwrap();
        Pools::new(cidr.addr().is_ipv4(), &generate(cidr, None))
    }

    fn allocate(model: &mut Model, hints: &Hints, pools: &Pools, count: usize, lowest: bool) -> Vec<IpAddr> {
        let subnet = SubnetId(uuid::Uuid::nil());
        let except = HashSet::new();
        let search = Search { hints, subnet, pools, count, lowest, except: &except };
        let found = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(search.run(model)).unwrap();
        for address in &found {
            assert!(pools.offset(*address).is_some(), "{address} is in no pool");
            assert!(model.taken.insert(*address), "{address} was taken");
        }
        found
    }

    #[test]
    fn a_pool_gives_exactly_its_size() {
        let (pools, hints, mut model) = (pools_of("10.0.0.0/26"), Hints::default(), Model::default());
        for _ in 0..62 {
            assert_eq!(allocate(&mut model, &hints, &pools, 1, false).len(), 1);
        }
        assert!(allocate(&mut model, &hints, &pools, 1, false).is_empty());
        let freed: IpAddr = "10.0.0.17".parse().unwrap();
        model.taken.remove(&freed);
        assert_eq!(allocate(&mut model, &hints, &pools, 1, false), [freed]);
    }

    #[test]
    fn one_look_serves_those_who_come_right_after() {
        let (pools, hints, mut model) = (pools_of("10.0.0.0/8"), Hints::default(), Model::default());
        let first = pools.window(0, 50_000);
        model.taken.extend(first);
        allocate(&mut model, &hints, &pools, 1, false);
        assert!(model.queries < 32, "a cold start took {} queries", model.queries);
        model.queries = 0;
        for _ in 0..1000 {
            allocate(&mut model, &hints, &pools, 1, false);
        }
        assert!(model.queries <= 40, "1000 allocations took {} queries", model.queries);
        model.queries = 0;
        allocate(&mut model, &hints, &pools, 500, false);
        assert!(model.queries <= 2, "500 at once took {} queries", model.queries);
        assert_eq!(model.full_reads, 0);
        assert_eq!(model.taken.last(), pools.at(51_500).as_ref(), "the pool fills without holes");
    }

    #[test]
    fn who_lost_a_race_looks_again() {
        let (pools, hints, mut model) = (pools_of("10.0.0.0/24"), Hints::default(), Model::default());
        let subnet = SubnetId(uuid::Uuid::nil());
        allocate(&mut model, &hints, &pools, 1, false);
        // Another server takes some of what was seen free, somebody here names one.
        model.taken.extend(pools.window(1, 8));
        let named = pools.at(9).unwrap();
        model.taken.insert(named);
        hints.unsee(subnet, named);
        let recalled = hints.recall(subnet, 1, |_| true);
        assert_eq!(recalled, pools.window(1, 1), "it cannot be known here");
        hints.lost_race(subnet);
        let before = model.queries;
        for _ in 0..5 {
            allocate(&mut model, &hints, &pools, 1, false);
        }
        assert_eq!(model.queries, before + 5, "each looks for itself");
        assert!(hints.recall(subnet, 1, |_| true).is_empty());
    }

    #[test]
    fn what_was_seen_is_free_and_suits() {
        let (pools, hints, mut model) = (pools_of("10.0.0.0/24"), Hints::default(), Model::default());
        let subnet = SubnetId(uuid::Uuid::nil());
        allocate(&mut model, &hints, &pools, 1, false);
        hints.unsee(subnet, pools.at(1).unwrap());
        let (third, fourth) = (pools.at(2).unwrap(), pools.at(3).unwrap());
        assert_eq!(hints.recall(subnet, 1, |address| *address != third), [fourth]);
        assert!(hints.recall(subnet, 100, |_| true).is_empty(), "there are not so many");
    }

    #[test]
    fn services_get_the_lowest() {
        let (pools, hints, mut model) = (pools_of("10.0.0.0/24"), Hints::default(), Model::default());
        allocate(&mut model, &hints, &pools, 40, false);
        let low: IpAddr = "10.0.0.9".parse().unwrap();
        model.taken.remove(&low);
        let hints = Hints::default();
        assert_eq!(allocate(&mut model, &hints, &pools, 1, true), [low]);
    }

    #[test]
    fn a_large_v6_subnet_is_no_different() {
        let (pools, hints, mut model) = (pools_of("2001:db8::/64"), Hints::default(), Model::default());
        assert_eq!(allocate(&mut model, &hints, &pools, 200, false).len(), 200);
        assert_eq!(model.queries, 2);
    }

    proptest! {
        /// Whatever is taken and freed, what is free is found, and nothing twice.
        #[test]
        fn what_is_free_is_found(prefix in 24_u8..=30, taken in prop::collection::vec(any::<u8>(), 0..200),
                                 steps in prop::collection::vec((0_usize..20, any::<bool>(), any::<prop::sample::Index>(), any::<bool>()), 1..30)) {
            let pools = pools_of(&format!("10.0.0.0/{prefix}"));
            let hints = Hints::default();
            let mut model = Model::default();
            let size = pools.len() as usize;
            model.taken.extend(taken.iter().filter_map(|t| pools.at(u128::from(*t))));
            for (count, free_one, index, lowest) in steps {
                let before = model.taken.len();
                let found = allocate(&mut model, &hints, &pools, count, lowest);
                prop_assert_eq!(found.len(), count.min(size - before));
                if free_one && !model.taken.is_empty() {
                    let gone = *index.get(&model.taken.iter().copied().collect::<Vec<_>>());
                    model.taken.remove(&gone);
                    hints.add_gaps(SubnetId(uuid::Uuid::nil()), &[gone]);
                }
            }
        }
    }
}
