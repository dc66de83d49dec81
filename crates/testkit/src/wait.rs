//! Waiting in a test, never without a limit.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks at a condition until it holds or the limit is over; tells whether it held. Blocks the thread: not for async
/// tests.
#[allow(clippy::disallowed_methods)]
pub fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}
