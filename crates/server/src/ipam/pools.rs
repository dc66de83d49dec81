//! Allocation pools as arithmetic: what a prefix offers, what a request may ask for, and which address stands where.
//!
//! Addresses are numbers (`u128`) with the version kept beside them. Nothing here looks at a database.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use types::subnet::AllocationPool;

use super::IpamError;

/// The address as a number.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

/// The number as an address of the version; an IPv4 number is cut to 32 bits.
pub fn address(number: u128, v4: bool) -> IpAddr {
    if v4 { IpAddr::V4(Ipv4Addr::from(number as u32)) } else { IpAddr::V6(Ipv6Addr::from(number)) }
}

/// First and last address of the prefix, with those that no host may have.
fn bounds(cidr: IpNet) -> (u128, u128) {
    (number(cidr.network()), number(cidr.broadcast()))
}

/// First and last address that a pool of this prefix may hold.
///
/// IPv4 leaves out the network and broadcast address where there are such (not in a /31 and /32), IPv6 the
/// subnet-router anycast address.
pub fn usable(cidr: IpNet) -> (u128, u128) {
    let (first, last) = bounds(cidr);
    match cidr {
        IpNet::V4(net) if net.prefix_len() <= 30 => (first + 1, last - 1),
        IpNet::V4(_) => (first, last),
        IpNet::V6(_) => (first.saturating_add(1), last),
    }
}

/// The gateway a subnet has when its creator names none: the first host in IPv4, the prefix' own address in IPv6.
pub fn default_gateway(cidr: IpNet) -> IpAddr {
    match cidr {
        IpNet::V4(_) => address(number(cidr.network()) + 1, true),
        IpNet::V6(_) => cidr.network(),
    }
}

/// The pools of a subnet whose creator names none: all that is usable, but the gateway.
pub fn generate(cidr: IpNet, gateway: Option<IpAddr>) -> Vec<AllocationPool> {
    let v4 = cidr.addr().is_ipv4();
    let pool = |start, end| AllocationPool { start: address(start, v4), end: address(end, v4) };
    if cidr.prefix_len() == cidr.max_prefix_len() {
        let (first, last) = bounds(cidr);
        return vec![pool(first, last)];
    }
    let (first, last) = usable(cidr);
    match gateway.filter(|g| g.is_ipv4() == v4).map(number).filter(|g| (first..=last).contains(g)) {
        None => vec![pool(first, last)],
        Some(gateway) => {
            let below = (first < gateway).then(|| pool(first, gateway - 1));
            let above = (gateway < last).then(|| pool(gateway + 1, last));
            below.into_iter().chain(above).collect()
        }
    }
}

/// Checks pools that a request names: well formed, inside the prefix, apart from each other.
pub fn validate(pools: &[AllocationPool], cidr: IpNet) -> Result<(), IpamError> {
    let v4 = cidr.addr().is_ipv4();
    for pool in pools {
        if pool.start.is_ipv4() != pool.end.is_ipv4() || pool.start > pool.end {
            let pool = format!("{{'start': '{}', 'end': '{}'}}", pool.start, pool.end);
            return Err(IpamError::InvalidAllocationPool { pool });
        }
    }
    let (first, last) = usable(cidr);
    for pool in pools {
        if pool.start.is_ipv4() != v4 {
            return Err(IpamError::InvalidAllocationPool { pool: text(pool) });
        }
        if number(pool.start) < first || number(pool.end) > last {
            return Err(IpamError::OutOfBoundsAllocationPool { pool: text(pool), cidr });
        }
    }
    for (i, left) in pools.iter().enumerate() {
        if let Some(right) = pools[i + 1..].iter().find(|right| left.start <= right.end && right.start <= left.end) {
            return Err(IpamError::OverlappingAllocationPools { first: text(left), second: text(right), cidr });
        }
    }
    Ok(())
}

/// Checks that no pool would hand out the gateway.
pub fn validate_gateway(gateway: IpAddr, pools: &[AllocationPool]) -> Result<(), IpamError> {
    match pools.iter().find(|pool| contains(pool, gateway)) {
        Some(pool) => Err(IpamError::GatewayConflictWithAllocationPools { gateway, pool: text(pool) }),
        None => Ok(()),
    }
}

/// Is the gateway an address that no host on the prefix can have? One outside of the prefix is taken to be on link.
pub fn gateway_is_invalid(cidr: IpNet, gateway: IpAddr) -> bool {
    cidr.addr().is_ipv4() && (gateway == cidr.network() || gateway == cidr.broadcast())
}

/// Is the address in the pool?
pub fn contains(pool: &AllocationPool, address: IpAddr) -> bool {
    pool.start.is_ipv4() == address.is_ipv4() && pool.start <= address && address <= pool.end
}

fn text(pool: &AllocationPool) -> String {
    format!("{}-{}", pool.start, pool.end)
}

/// The pools of one subnet as one ascending sequence of addresses, each found by its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pools {
    v4: bool,
    /// Ascending, apart from each other.
    ranges: Vec<(u128, u128)>,
    len: u128,
}

impl Pools {
    /// From stored pools, in any order.
    pub fn new(v4: bool, pools: &[AllocationPool]) -> Self {
        let mut ranges: Vec<_> = pools.iter().map(|p| (number(p.start), number(p.end))).collect();
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let len = ranges.iter().fold(0_u128, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)));
        Self { v4, ranges, len }
    }

    /// How many addresses there are.
    pub fn len(&self) -> u128 {
        self.len
    }

    /// There is no address at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address at an offset.
    pub fn at(&self, offset: u128) -> Option<IpAddr> {
        let mut rest = offset;
        for (first, last) in &self.ranges {
            if rest <= last - first {
                return Some(address(first + rest, self.v4));
            }
            rest -= last - first + 1;
        }
        None
    }

    /// At which offset an address stands; `None` when no pool holds it.
    pub fn offset(&self, address: IpAddr) -> Option<u128> {
        if address.is_ipv4() != self.v4 {
            return None;
        }
        let wanted = number(address);
        let mut before = 0;
        for (first, last) in &self.ranges {
            if (*first..=*last).contains(&wanted) {
                return Some(before + (wanted - first));
            }
            before += last - first + 1;
        }
        None
    }

    /// The addresses at `start` and the `count - 1` offsets behind it, as far as there are any.
    pub fn window(&self, start: u128, count: usize) -> Vec<IpAddr> {
        let mut out = Vec::with_capacity(count);
        let mut skip = start;
        for (first, last) in &self.ranges {
            let size = (last - first).saturating_add(1);
            if skip >= size {
                skip -= size;
                continue;
            }
            let take = (size - skip).min((count - out.len()) as u128);
            out.extend((0..take).map(|i| address(first + skip + i, self.v4)));
            skip = 0;
            if out.len() == count {
                break;
            }
        }
        out
    }

    /// The first `count` addresses that are not among `taken`, which is ascending.
    pub fn free(&self, taken: &[u128], count: usize) -> Vec<IpAddr> {
        let mut out = Vec::new();
        let mut taken = taken.iter().copied().peekable();
        for &(first, last) in &self.ranges {
            let mut next = Some(first);
            while let Some(candidate) = next.filter(|c| *c <= last) {
                if out.len() == count {
                    return out;
                }
                while taken.next_if(|t| *t < candidate).is_some() {}
                if taken.peek() != Some(&candidate) {
                    out.push(address(candidate, self.v4));
                }
                next = candidate.checked_add(1);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pools(text: &str) -> Vec<AllocationPool> {
        text.split_whitespace()
            .map(|range| {
                let (start, end) = range.split_once('-').unwrap();
                AllocationPool { start: ip(start), end: ip(end) }
            })
            .collect()
    }

    #[test]
    fn pools_go_round_the_gateway() {
        let cases = [
            ("10.0.0.0/24", Some("10.0.0.1"), "10.0.0.2-10.0.0.254"),
            ("10.0.0.0/24", Some("10.0.0.254"), "10.0.0.1-10.0.0.253"),
            ("10.0.0.0/24", Some("10.0.0.9"), "10.0.0.1-10.0.0.8 10.0.0.10-10.0.0.254"),
            ("10.0.0.0/24", Some("192.0.2.1"), "10.0.0.1-10.0.0.254"),
            ("10.0.0.0/24", None, "10.0.0.1-10.0.0.254"),
            ("10.0.0.0/30", Some("10.0.0.1"), "10.0.0.2-10.0.0.2"),
            ("10.0.0.0/31", Some("10.0.0.1"), "10.0.0.0-10.0.0.0"),
            ("10.0.0.7/32", Some("10.0.0.7"), "10.0.0.7-10.0.0.7"),
            ("2001:db8::/64", Some("2001:db8::"), "2001:db8::1-2001:db8::ffff:ffff:ffff:ffff"),
            ("2001:db8::/64", Some("2001:db8::1"), "2001:db8::2-2001:db8::ffff:ffff:ffff:ffff"),
            ("2001:db8::/126", None, "2001:db8::1-2001:db8::3"),
        ];
        for (cidr, gateway, expected) in cases {
            assert_eq!(generate(net(cidr), gateway.map(ip)), pools(expected), "{cidr} {gateway:?}");
        }
    }

    #[test]
    fn malformed_pools_are_named() {
        let message = |cidr, text| validate(&pools(text), net(cidr)).unwrap_err().to_string();
        assert_eq!(
            message("10.0.0.0/24", "10.0.0.9-10.0.0.3"),
            "The allocation pool {'start': '10.0.0.9', 'end': '10.0.0.3'} is not valid."
        );
        assert_eq!(message("10.0.0.0/24", "fe80::1-fe80::2"), "The allocation pool fe80::1-fe80::2 is not valid.");
        assert_eq!(
            message("10.0.0.0/24", "10.0.0.0-10.0.0.9"),
            "The allocation pool 10.0.0.0-10.0.0.9 spans beyond the subnet cidr 10.0.0.0/24."
        );
        assert_eq!(
            message("10.0.0.0/24", "10.0.0.1-10.0.0.9 10.0.0.20-10.0.0.30 10.0.0.9-10.0.0.11"),
            "Found overlapping allocation pools: 10.0.0.1-10.0.0.9 10.0.0.9-10.0.0.11 for subnet 10.0.0.0/24."
        );
        assert!(validate(&pools("10.0.0.20-10.0.0.30 10.0.0.1-10.0.0.9"), net("10.0.0.0/24")).is_ok());
        assert!(validate(&pools("10.0.0.0-10.0.0.1"), net("10.0.0.0/31")).is_ok());
    }

    #[test]
    fn a_gateway_is_outside_of_pools() {
        assert_eq!(
            validate_gateway(ip("10.0.0.5"), &pools("10.0.0.2-10.0.0.9")).unwrap_err().to_string(),
            "Gateway ip 10.0.0.5 conflicts with allocation pool 10.0.0.2-10.0.0.9."
        );
        assert!(validate_gateway(ip("10.0.0.1"), &pools("10.0.0.2-10.0.0.9")).is_ok());
        assert!(gateway_is_invalid(net("10.0.0.0/24"), ip("10.0.0.255")));
        assert!(!gateway_is_invalid(net("2001:db8::/64"), ip("2001:db8::")));
        assert!(!gateway_is_invalid(net("10.0.0.0/24"), ip("10.0.1.255")));
    }

    /// A few ranges inside 256 addresses, apart from each other.
    fn some_ranges() -> impl Strategy<Value = Vec<AllocationPool>> {
        prop::collection::btree_set(0_u8..=255, 0..10).prop_map(|cuts| {
            let cuts: Vec<u8> = cuts.into_iter().collect();
            let at = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
            cuts.chunks_exact(2).map(|pair| AllocationPool { start: at(pair[0]), end: at(pair[1]) }).collect()
        })
    }

    proptest! {
        #[test]
        fn a_sequence_is_the_set_of_its_addresses(ranges in some_ranges(), taken in prop::collection::btree_set(0_u8..=255, 0..256),
                                                  start in 0_u128..300, count in 1_usize..50) {
            let model: BTreeSet<IpAddr> = ranges
                .iter()
                .flat_map(|p| (number(p.start)..=number(p.end)).map(|n| address(n, true)))
                .collect();
            let sequence: Vec<IpAddr> = model.iter().copied().collect();
            let mut shuffled = ranges.clone();
            shuffled.reverse();
            let pools = Pools::new(true, &shuffled);
            prop_assert_eq!(pools.len(), model.len() as u128);
            for (i, address) in sequence.iter().enumerate() {
                prop_assert_eq!(pools.at(i as u128), Some(*address));
                prop_assert_eq!(pools.offset(*address), Some(i as u128));
            }
            prop_assert_eq!(pools.at(model.len() as u128), None);
            let window: Vec<IpAddr> = sequence.iter().copied().skip(start as usize).take(count).collect();
            prop_assert_eq!(pools.window(start, count), window);
            let taken: Vec<u128> = taken.into_iter().map(|t| number(IpAddr::V4(Ipv4Addr::new(10, 0, 0, t)))).collect();
            let free: Vec<IpAddr> = sequence.iter().copied().filter(|a| !taken.contains(&number(*a))).take(count).collect();
            prop_assert_eq!(pools.free(&taken, count), free);
        }

        #[test]
        fn generated_pools_pass_their_own_checks(octet in any::<u8>(), length in 1_u8..=32, gateway in any::<u32>()) {
            let cidr = IpNet::new(IpAddr::V4(Ipv4Addr::new(10, 0, octet, 0)), length).unwrap().trunc();
            let gateway = IpAddr::V4(Ipv4Addr::from(gateway));
            let pools = generate(cidr, Some(gateway));
            prop_assert!(validate(&pools, cidr).is_ok());
            if length < 32 {
                prop_assert!(validate_gateway(gateway, &pools).is_ok());
            }
        }
    }
}
