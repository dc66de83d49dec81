//! The limit on lines: at most so many in so long, and one that says that more were dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tracing::Level;

use super::settings::Rate;

/// Counts lines, when there is a limit.
#[derive(Debug)]
pub(super) struct Limiter {
    limited: AtomicBool,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    rate: Option<Rate>,
    began: Instant,
    lines: u64,
}

impl Limiter {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        let window = Window { rate, began: Instant::now(), lines: 0 };
        Self { limited: AtomicBool::new(rate.is_some()), window: Mutex::new(window) }
    }

    pub(super) fn set(&self, rate: Option<Rate>) {
        *self.window.lock() = Window { rate, began: Instant::now(), lines: 0 };
        self.limited.store(rate.is_some(), Ordering::Relaxed);
    }

    /// Whether a line of that level is written; the first that is not is replaced by the text given.
    pub(super) fn passes(&self, level: Level) -> Option<Option<String>> {
        if !self.limited.load(Ordering::Relaxed) {
            return Some(None);
        }
        let mut window = self.window.lock();
        let Some(rate) = window.rate else { return Some(None) };
        if rate.except.is_some_and(|except| level <= except) {
            return Some(None);
        }
        if window.began.elapsed() >= rate.interval {
            window.began = Instant::now();
            window.lines = 0;
        }
        window.lines += 1;
        match window.lines {
            lines if lines <= rate.burst => Some(None),
            lines if lines == rate.burst + 1 => Some(Some(format!(
                "Logging rate limit: drop after {} records/{} sec",
                rate.burst,
                rate.interval.as_secs()
            ))),
            _ => None,
        }
    }
}
