//! The one loop that runs an operation again when its transaction came to nothing: it lost against another one, or its
//! connection broke before the commit.
//!
//! A commit whose answer was lost is never repeated: it may have happened. The caller is told that the service is not
//! available now, and finds out by looking.

use std::{future::Future, sync::OnceLock, time::Duration};

use crate::{Error, Result};

/// The longest pause, as a power of two of milliseconds. With the default of 20 repetitions an operation gives up after
/// three seconds on average.
const LONGEST: u32 = 9;
/// Repetitions when none are set.
const DEFAULT: Policy = Policy { attempts: Some(20) };

static POLICY: OnceLock<Policy> = OnceLock::new();

/// How often operations are repeated.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Repetitions at most; `None` for as long as it takes.
    pub attempts: Option<u32>,
}

/// Sets the policy of this process. The first one counts.
pub fn set(policy: Policy) {
    let _ = POLICY.set(policy);
}

/// Runs the operation, and again while its transaction comes to nothing, a bounded number of times.
pub async fn retrying<T, F: Future<Output = Result<T>>>(operation: impl FnMut() -> F) -> Result<T> {
    retrying_if(Error::is_retryable, operation).await
}

/// [`retrying`] for operations with errors of their own.
pub async fn retrying_if<T, E, F>(is_retryable: impl Fn(&E) -> bool, operation: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    repeated(POLICY.get().unwrap_or(&DEFAULT).attempts, is_retryable, operation).await
}

async fn repeated<T, E, F>(
    attempts: Option<u32>,
    is_retryable: impl Fn(&E) -> bool,
    mut operation: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempt = 0;
    loop {
        match operation().await {
            Err(error) if is_retryable(&error) && attempts.is_none_or(|attempts| attempt < attempts) => {
                attempt += 1;
                tracing::debug!("the transaction came to nothing, trying again ({attempt})");
                tokio::time::sleep(pause(attempt)).await;
            }
            result => return result,
        }
    }
}

/// Any time up to a limit that doubles, so that those that met once do not meet again.
fn pause(attempt: u32) -> Duration {
    Duration::from_millis(rand::random_range(1..=2 << attempt.min(LONGEST - 1)))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn repetition_is_bounded() {
        let runs = Cell::new(0);
        let operation = || {
            runs.set(runs.get() + 1);
            async { Err::<(), _>(7) }
        };
        assert_eq!((repeated(Some(5), |_| true, operation).await, runs.get()), (Err(7), 6));
        assert!((1..100).all(|attempt| pause(attempt) <= Duration::from_millis(512)));
    }

    #[tokio::test]
    async fn what_is_not_retryable_ends_at_once() {
        let runs = Cell::new(0);
        let operation = || {
            runs.set(runs.get() + 1);
            async { Err::<(), _>(1) }
        };
        assert_eq!((retrying_if(|_| false, operation).await, runs.get()), (Err(1), 1));
    }
}
