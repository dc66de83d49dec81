//! The one loop that runs an operation again when its transaction lost against another.

use std::{future::Future, time::Duration};

use crate::{Error, Result};

/// How often an operation is run at most.
const ATTEMPTS: u32 = 10;

/// Runs the operation, and again while it loses against other transactions, a bounded number of times.
pub async fn retrying<T, F: Future<Output = Result<T>>>(operation: impl FnMut() -> F) -> Result<T> {
    retrying_if(Error::is_retryable, operation).await
}

/// [`retrying`] for operations with errors of their own.
pub async fn retrying_if<T, E, F>(is_retryable: impl Fn(&E) -> bool, mut operation: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempt = 1;
    loop {
        match operation().await {
            Err(error) if is_retryable(&error) && attempt < ATTEMPTS => {
                tracing::debug!("attempt {attempt} lost against another transaction, trying again");
                let backoff = Duration::from_millis(rand::random_range(1..=8 << attempt.min(6)));
                tokio::time::sleep(backoff).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}
