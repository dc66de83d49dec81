//! Latencies summed up.

use std::time::Duration;

/// What a test took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// The latencies of the operations that succeeded, sorted.
    latencies: Vec<Duration>,
    /// From the first operation's begin to the last one's end.
    wall: Duration,
    /// How many failed.
    pub(crate) failures: usize,
    /// What the first failure said.
    pub(crate) complaint: Option<String>,
}

impl Sample {
    /// Sums latencies up.
    pub(crate) fn new(mut latencies: Vec<Duration>, wall: Duration) -> Self {
        latencies.sort_unstable();
        Self { latencies, wall, failures: 0, complaint: None }
    }

    /// How many succeeded.
    pub(crate) fn count(&self) -> usize {
        self.latencies.len()
    }

    /// Successes a second.
    pub(crate) fn rate(&self) -> f64 {
        let seconds = self.wall.as_secs_f64();
        if seconds > 0.0 { count(self.count()) / seconds } else { 0.0 }
    }

    /// The latency below which `percent` of a hundred lie; `None` without samples.
    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        self.latencies.get(rank - 1).copied()
    }

    /// The middle latency.
    pub(crate) fn median(&self) -> Option<Duration> {
        self.percentile(50)
    }
}

/// A count as a number to calculate with.
#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let sample = Sample::new((1..=200).rev().map(Duration::from_millis).collect(), Duration::from_secs(2));
        assert_eq!(sample.percentile(50), Some(Duration::from_millis(100)));
        assert_eq!(sample.percentile(99), Some(Duration::from_millis(198)));
        assert_eq!(sample.percentile(100), Some(Duration::from_millis(200)));
        assert!((sample.rate() - 100.0).abs() < 1e-9);
        assert_eq!(Sample::default().median(), None);
    }
}
