//! How much is done of each test: the counts, and the times after which nothing new is begun.

use std::time::Duration;

/// The bounds of a run.
pub(crate) struct Plan {
    /// Numbers of clients at once.
    pub(crate) clients: &'static [usize],
    /// Ports created (and then deleted) for each number of clients.
    pub(crate) creates: usize,
    /// Ports and networks shown.
    pub(crate) shows: usize,
    /// Bulk requests of [`Plan::BULK`] ports.
    pub(crate) bulks: usize,
    /// Lists of [`Plan::PAGE`] ports.
    pub(crate) lists: usize,
    /// How long a test goes on at most.
    pub(crate) time: Duration,
    /// The sizes at which a growing network is measured.
    pub(crate) sizes: Vec<usize>,
    /// How long the network may grow at one endpoint.
    pub(crate) grow_time: Duration,
    /// How often an operation is measured at each size.
    pub(crate) samples: usize,
    /// Commits by hand for each number of clients.
    pub(crate) commits: usize,
}

impl Plan {
    /// Ports in one bulk request.
    pub(crate) const BULK: usize = 100;
    /// Ports in one full list.
    pub(crate) const PAGE: usize = 1000;

    /// Enough to trust, in about ten minutes for two endpoints of which one is slow.
    pub(crate) fn full() -> Self {
        Self {
            clients: &[1, 4, 16],
            creates: 2000,
            shows: 20_000,
            bulks: 16,
            lists: 200,
            time: Duration::from_secs(10),
            sizes: vec![100, 300, 1000, 3000, 10_000, 30_000, 100_000],
            grow_time: Duration::from_secs(180),
            samples: 10,
            commits: 4000,
        }
    }

    /// Enough to see whether something got worse.
    pub(crate) fn quick() -> Self {
        Self {
            clients: &[1, 4, 16],
            creates: 2000,
            shows: 15_000,
            bulks: 4,
            lists: 100,
            time: Duration::from_secs(2),
            sizes: vec![100, 300, 1000, 3000],
            grow_time: Duration::from_secs(12),
            samples: 5,
            commits: 5000,
        }
    }

    /// Cuts the growth where the user asks.
    pub(crate) fn limit_growth(&mut self, ports: Option<usize>, seconds: Option<u64>) {
        if let Some(ports) = ports {
            self.sizes.retain(|size| *size < ports);
            self.sizes.push(ports);
        }
        if let Some(seconds) = seconds {
            self.grow_time = Duration::from_secs(seconds);
        }
    }
}
