//! Sets of addresses of one version, made of prefixes: what a subnet pool holds, and what is left of it.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::pools::{address, number};

/// A set of addresses, as ranges that neither overlap nor touch, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixSet {
    v4: bool,
    ranges: Vec<(u128, u128)>,
}

impl PrefixSet {
    /// All addresses of these prefixes. Those of the other version are left out.
    pub fn new(v4: bool, prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        let own = prefixes.into_iter().filter(|prefix| prefix.addr().is_ipv4() == v4);
        let mut ranges: Vec<(u128, u128)> = own.map(bounds).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self { v4, ranges: merged }
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for &(first, last) in &self.ranges {
            let mut from = Some(first);
            for &(cut, end) in other.ranges.iter().filter(|(cut, end)| *end >= first && *cut <= last) {
                if let Some(start) = from.filter(|start| *start < cut) {
                    left.push((start, cut - 1));
                }
                from = end.checked_add(1);
            }
            left.extend(from.filter(|start| *start <= last).map(|start| (start, last)));
        }
        Self { v4: self.v4, ranges: left }
    }

    /// Whether some address is in both.
    pub fn meets(&self, other: &Self) -> bool {
        let meets = |(first, last): &(u128, u128)| other.ranges.iter().any(|(cut, end)| end >= first && cut <= last);
        self.ranges.iter().any(meets)
    }

    /// Whether all addresses of the other are in this one.
    pub fn contains(&self, other: &Self) -> bool {
        let within =
            |(first, last): &(u128, u128)| self.ranges.iter().any(|(start, end)| start <= first && last <= end);
        other.ranges.iter().all(within)
    }

    /// The fewest prefixes that make up the set, in ascending order.
    pub fn prefixes(&self) -> Vec<IpNet> {
        let width: u32 = if self.v4 { 32 } else { 128 };
        let mut prefixes = Vec::new();
        for &(first, last) in &self.ranges {
            let mut next = Some(first);
            while let Some(start) = next.filter(|start| *start <= last) {
                // The largest block that begins here and does not end behind the range.
                let aligned = if start == 0 { width } else { start.trailing_zeros().min(width) };
                let room = (last - start).checked_add(1).map_or(width, u128::ilog2);
                let bits = aligned.min(room).min(width);
                prefixes.extend(prefix(start, width - bits, self.v4));
                next = 1_u128.checked_shl(bits).and_then(|size| start.checked_add(size));
            }
        }
        prefixes
    }
}

fn bounds(prefix: IpNet) -> (u128, u128) {
    (number(prefix.network()), number(prefix.broadcast()))
}

fn prefix(start: u128, length: u32, v4: bool) -> Option<IpNet> {
    let length = u8::try_from(length).ok()?;
    match address(start, v4) {
        std::net::IpAddr::V4(address) => Ipv4Net::new(address, length).ok().map(IpNet::V4),
        std::net::IpAddr::V6(address) => Ipv6Net::new(address, length).ok().map(IpNet::V6),
    }
}

/// The first prefix of that length in a block; none where the block is smaller.
pub fn first_within(block: IpNet, length: u8) -> Option<IpNet> {
    if block.prefix_len() > length {
        return None;
    }
    prefix(number(block.network()), length.into(), block.addr().is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(prefixes: &[&str]) -> PrefixSet {
        let v4 = !prefixes.iter().any(|prefix| prefix.contains(':'));
        PrefixSet::new(v4, prefixes.iter().map(|prefix| prefix.parse().unwrap()))
    }

    fn texts(set: &PrefixSet) -> Vec<String> {
        set.prefixes().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn neighbours_become_one() {
        assert_eq!(texts(&set(&["10.128.0.0/9", "10.0.0.0/9", "192.168.3.0/24"])), ["10.0.0.0/8", "192.168.3.0/24"]);
        assert_eq!(texts(&set(&["10.0.0.0/8", "10.3.0.0/16"])), ["10.0.0.0/8"]);
        assert_eq!(texts(&set(&["192.168.2.0/24", "192.168.3.0/24"])), ["192.168.2.0/23"]);
        assert_eq!(texts(&set(&["192.168.3.0/24", "192.168.4.0/24"])), ["192.168.3.0/24", "192.168.4.0/24"]);
    }

    #[test]
    fn what_is_cut_out_leaves_the_fewest_prefixes() {
        let left = set(&["172.16.0.0/16"]).without(&set(&["172.16.5.0/24"]));
        let wanted = [
            "172.16.0.0/22",
            "172.16.4.0/24",
            "172.16.6.0/23",
            "172.16.8.0/21",
            "172.16.16.0/20",
            "172.16.32.0/19",
            "172.16.64.0/18",
            "172.16.128.0/17",
        ];
        assert_eq!(texts(&left), wanted);
        assert!(set(&["10.0.0.0/8"]).without(&set(&["10.0.0.0/8"])).prefixes().is_empty());
        assert_eq!(texts(&set(&["10.0.0.0/8"]).without(&set(&["11.0.0.0/8"]))), ["10.0.0.0/8"]);
    }

    #[test]
    fn the_ends_of_all_addresses_are_no_trouble() {
        assert_eq!(texts(&set(&["0.0.0.0/0"])), ["0.0.0.0/0"]);
        assert_eq!(texts(&set(&["::/0"])), ["::/0"]);
        assert_eq!(texts(&set(&["::/0"]).without(&set(&["8000::/1"]))), ["::/1"]);
        assert_eq!(texts(&set(&["255.255.255.255/32", "255.255.255.254/32"])), ["255.255.255.254/31"]);
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128";
        assert_eq!(texts(&set(&["ffff::/16"]).without(&set(&["ffff::/17"]))), ["ffff:8000::/17"]);
        assert_eq!(texts(&set(&[last])), [last]);
    }

    #[test]
    fn sets_compare() {
        assert!(set(&["10.0.0.0/8"]).contains(&set(&["10.1.0.0/16", "10.2.0.0/16"])));
        assert!(!set(&["10.1.0.0/16"]).contains(&set(&["10.0.0.0/8"])));
        assert!(set(&["10.0.0.0/8"]).meets(&set(&["10.1.0.0/16"])));
        assert!(!set(&["10.0.0.0/8"]).meets(&set(&["11.0.0.0/8"])));
    }

    #[test]
    fn a_block_gives_its_first_prefix() {
        let block = "2001:db8::/48".parse().unwrap();
        assert_eq!(first_within(block, 64), Some("2001:db8::/64".parse().unwrap()));
        assert_eq!(first_within(block, 47), None);
    }
}
