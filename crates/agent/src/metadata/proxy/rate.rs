//! How often a client may ask: within a base window and within a burst window, counted as haproxy counts.
//!
//! The rate over a window is what came in the current period, and of what came in the one before as much as the window
//! still covers. Refused requests count as well.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use tokio::time::Instant;

/// Clients of a network that are counted.
const MOST: usize = 10_000;

/// So many requests in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The time.
    pub duration: Duration,
    /// The requests.
    pub limit: u32,
}

/// How often a client may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub base: Window,
    /// In the short run.
    pub burst: Window,
    /// It holds for IPv4 clients.
    pub ipv4: bool,
    /// It holds for IPv6 clients.
    pub ipv6: bool,
}

/// Counts the requests of each client of a network.
#[derive(Debug)]
pub(super) struct Limiter {
    rate: Rate,
    clients: HashMap<IpAddr, Client>,
}

#[derive(Debug)]
struct Client {
    base: Counter,
    burst: Counter,
    last: Instant,
}

#[derive(Debug)]
struct Counter {
    since: Instant,
    current: u32,
    previous: u32,
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, clients: HashMap::new() }
    }

    /// Counts a request. Whether it may be answered.
    pub(super) fn admits(&mut self, client: IpAddr, now: Instant) -> bool {
        if !(if client.is_ipv4() { self.rate.ipv4 } else { self.rate.ipv6 }) {
            return true;
        }
        if self.clients.len() >= MOST && !self.clients.contains_key(&client) {
            self.make_room(now);
        }
        let Rate { base, burst, .. } = self.rate;
        let client = self.clients.entry(client).or_insert_with(|| Client {
            base: Counter::new(now),
            burst: Counter::new(now),
            last: now,
        });
        client.last = now;
        let base_is_kept = client.base.count(now, base.duration) <= base.limit;
        let burst_is_kept = client.burst.count(now, burst.duration) <= burst.limit;
        base_is_kept && burst_is_kept
    }

    fn make_room(&mut self, now: Instant) {
        let longest = self.rate.base.duration.max(self.rate.burst.duration);
        self.clients.retain(|_, client| now.duration_since(client.last) < longest);
        if self.clients.len() >= MOST {
            self.clients.clear();
        }
    }
}

impl Counter {
    fn new(now: Instant) -> Self {
        Self { since: now, current: 0, previous: 0 }
    }

    /// Counts one more. The rate with it.
    fn count(&mut self, now: Instant, period: Duration) -> u32 {
        let elapsed = now.duration_since(self.since);
        if elapsed >= period * 2 {
            *self = Self::new(now);
        } else if elapsed >= period {
            *self = Self { since: self.since + period, current: 0, previous: self.current };
        }
        self.current = self.current.saturating_add(1);
        let covered = period.saturating_sub(now.duration_since(self.since)).as_secs_f64() / period.as_secs_f64();
        // The product is at most the count before.
        self.current.saturating_add((f64::from(self.previous) * covered) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(base: (u64, u32), burst: (u64, u32)) -> Rate {
        let window = |(seconds, limit)| Window { duration: Duration::from_secs(seconds), limit };
        Rate { base: window(base), burst: window(burst), ipv4: true, ipv6: false }
    }

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn admitted(limiter: &mut Limiter, client: IpAddr, now: Instant, requests: usize) -> usize {
        (0..requests).filter(|_| limiter.admits(client, now)).count()
    }

    #[test]
    fn each_client_has_its_own_count() {
        let mut limiter = Limiter::new(rate((10, 5), (10, 5)));
        let now = Instant::now();
        assert_eq!(admitted(&mut limiter, ONE, now, 8), 5);
        assert_eq!(admitted(&mut limiter, TWO, now, 8), 5);
        // Nothing is counted of the family that has no limit.
        assert_eq!(admitted(&mut limiter, "fe80::1".parse().unwrap(), now, 50), 50);
        assert_eq!(limiter.clients.len(), 2);
    }

    #[test]
    fn the_burst_window_is_kept_within_the_base_window() {
        let mut limiter = Limiter::new(rate((100, 20), (2, 3)));
        let start = Instant::now();
        for second in 0..40 {
            assert!(admitted(&mut limiter, ONE, start + Duration::from_secs(second * 4), 4) <= 3);
        }
        let mut limiter = Limiter::new(rate((100, 20), (2, 3)));
        let in_a_window: usize =
            (0..20).map(|n| admitted(&mut limiter, ONE, start + Duration::from_secs(n * 4), 3)).sum();
        assert_eq!(in_a_window, 20);
    }

    #[test]
    fn a_window_slides() {
        let mut limiter = Limiter::new(rate((10, 4), (10, 4)));
        let start = Instant::now();
        assert_eq!(admitted(&mut limiter, ONE, start, 4), 4);
        // Half of the former period still counts, as two.
        assert_eq!(admitted(&mut limiter, ONE, start + Duration::from_secs(15), 4), 2);
        assert_eq!(admitted(&mut limiter, ONE, start + Duration::from_secs(60), 9), 4);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut limiter = Limiter::new(rate((10, 5), (10, 5)));
        let now = Instant::now();
        for n in 0..25_000_u32 {
            limiter.admits(IpAddr::from(n.to_be_bytes()), now);
        }
        assert!(limiter.clients.len() <= MOST);
    }
}
