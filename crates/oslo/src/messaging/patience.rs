//! How long callers wait for answers.
//!
//! A method whose call timed out is given twice the time from then on, up to a limit: servers that are slow are mostly
//! busy, and a call that is repeated too soon makes them busier. For the same reason the caller pauses, by chance, before
//! it learns of the timeout. The times are the process's, since all its callers wait for the same servers.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use parking_lot::Mutex;
use rand::Rng;

use super::{Bus, CallError, Target};
use crate::{
    config::{Config, ConfigError},
    context::Context,
};

static TIMES: LazyLock<Mutex<Times>> = LazyLock::new(Mutex::default);

/// The time of each method that has timed out.
#[derive(Debug)]
struct Times {
    response: Duration,
    most: Duration,
    raised: HashMap<String, Duration>,
}

impl Default for Times {
    fn default() -> Self {
        Self { response: Duration::from_secs(60), most: Duration::from_secs(600), raised: HashMap::new() }
    }
}

impl Times {
    fn of(&self, method: &str) -> Duration {
        self.raised.get(method).copied().unwrap_or(self.response).min(self.most)
    }

    /// Raises the time of a method that timed out; returns the new time, if it grew.
    fn raise(&mut self, method: &str, timed_out: Duration) -> Option<Duration> {
        let raised = (timed_out * 2).min(self.most);
        if raised <= self.of(method) {
            return None;
        }
        self.raised.insert(method.to_owned(), raised);
        Some(raised)
    }
}

/// Takes `rpc_response_timeout` and `rpc_response_max_timeout`, once at the start of a process.
pub fn configure(config: &Config) -> Result<(), ConfigError> {
    let response = config.get("DEFAULT", "rpc_response_timeout")?;
    let most = config.get("DEFAULT", "rpc_response_max_timeout")?;
    *TIMES.lock() = Times { response, most, raised: HashMap::new() };
    Ok(())
}

/// How long the next call of a method waits.
pub fn timeout(target: &Target, method: &str) -> Duration {
    TIMES.lock().of(&scoped(target, method))
}

/// Methods of the same name in different namespaces have times of their own.
fn scoped(target: &Target, method: &str) -> String {
    match &target.namespace {
        Some(namespace) => format!("{namespace}.{method}"),
        None => method.to_owned(),
    }
}

impl Bus {
    /// [`Bus::call`] with the method's own time. After a timeout it pauses, at most as long as that time or
    /// `rpc_response_timeout`, before it returns.
    pub async fn call_patiently(
        &self,
        ctx: &Context,
        target: &Target,
        version: &str,
        method: &str,
        args: serde_json::Value,
    ) -> Result<serde_json::Value, CallError> {
        let timeout = timeout(target, method);
        let answer = self.call(ctx, target, version, method, args, timeout).await;
        if matches!(answer, Err(CallError::Timeout { .. })) {
            tokio::time::sleep(pause(&scoped(target, method), timeout)).await;
        }
        answer
    }
}

/// Notes a timeout and draws the pause after it.
fn pause(method: &str, timed_out: Duration) -> Duration {
    let mut times = TIMES.lock();
    let pause = times.of(method).min(times.response).mul_f64(rand::rng().random_range(0.0..=1.0));
    tracing::error!(
        "'{method}' was not answered within {} s; the next attempt is in {} s. Servers that are up are too slow: \
         consider a greater rpc_response_timeout",
        timed_out.as_secs(),
        pause.as_secs()
    );
    if let Some(raised) = times.raise(method, timed_out) {
        tracing::warn!("calls of '{method}' now wait {} s, until this process is restarted", raised.as_secs());
    }
    pause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_double_up_to_a_limit() {
        let mut times = Times::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            let now = times.of("m");
            seen.push(now.as_secs());
            times.raise("m", now);
        }
        assert_eq!(seen, [60, 120, 240, 480, 600, 600]);
        assert_eq!(times.of("other"), Duration::from_secs(60));
        assert_eq!(times.raise("m", Duration::from_secs(60)), None, "a call that began before does not lower it");
    }

    #[test]
    fn namespaces_are_apart() {
        assert_eq!(scoped(&Target::topic("t"), "m"), "m");
        assert_eq!(scoped(&Target::topic("t").in_namespace("trunk"), "m"), "trunk.m");
    }
}
