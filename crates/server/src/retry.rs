//! The one loop that runs an operation again when its transaction lost against another.

use std::{future::Future, time::Duration};

use crate::Result;

/// How often an operation is run at most.
const ATTEMPTS: u32 = 10;

/// Runs the operation, and again while it loses against other transactions, a bounded number of times.
pub async fn retrying<T, F: Future<Output = Result<T>>>(mut operation: impl FnMut() -> F) -> Result<T> {
    let mut attempt = 1;
    loop {
        match operation().await {
            Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                tracing::debug!("attempt {attempt} lost against another transaction, trying again");
                let backoff = Duration::from_millis(rand::random_range(1..=8 << attempt.min(6)));
                tokio::time::sleep(backoff).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}
