//! Runs many requests from several clients at once, within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::endpoint::{Call, Endpoint};
use crate::stats::Sample;

/// How hard to press.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Clients at once, each on a connection of its own.
    pub(crate) clients: usize,
    /// Requests in all.
    pub(crate) count: usize,
    /// When to begin nothing new. Each client sends one request in any case.
    pub(crate) time: Duration,
    /// Whether to keep the bodies of the answers.
    pub(crate) keep: bool,
}

/// What one client brings back.
#[derive(Default)]
struct Haul {
    latencies: Vec<Duration>,
    bodies: Vec<Bytes>,
    failures: usize,
    complaint: Option<String>,
}

/// Sends the calls that `make` gives for 0, 1, 2 … and measures each.
pub(crate) async fn run(
    endpoint: &Endpoint,
    load: Load,
    make: impl Fn(usize) -> Call + Send + Sync + 'static,
) -> anyhow::Result<(Sample, Vec<Bytes>)> {
    let next = Arc::new(AtomicUsize::new(0));
    let make = Arc::new(make);
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..load.clients {
        let (next, make, mut connection) = (Arc::clone(&next), Arc::clone(&make), endpoint.connection());
        clients.spawn(async move {
            let mut haul = Haul::default();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let tried = haul.latencies.len() + haul.failures;
                if index >= load.count || (tried > 0 && begin.elapsed() >= load.time) {
                    return haul;
                }
                let call = make(index);
                let sent = Instant::now();
                let result = connection.send(&call).await;
                let took = sent.elapsed();
                match result {
                    Ok((200..300, body)) => {
                        haul.latencies.push(took);
                        if load.keep {
                            haul.bodies.push(body);
                        }
                    }
                    Ok((status, body)) => {
                        haul.failures += 1;
                        let text = String::from_utf8_lossy(&body);
                        let text: String = text.chars().take(300).collect();
                        haul.complaint.get_or_insert(format!("{} {}: {status} {text}", call.method, call.path));
                    }
                    Err(error) => {
                        haul.failures += 1;
                        haul.complaint.get_or_insert(format!("{} {}: {error:#}", call.method, call.path));
                    }
                }
            }
        });
    }
    let hauls = clients.join_all().await;
    let wall = begin.elapsed();
    let mut all = Haul::default();
    for haul in hauls {
        all.latencies.extend(haul.latencies);
        all.bodies.extend(haul.bodies);
        all.failures += haul.failures;
        all.complaint = all.complaint.or(haul.complaint);
    }
    let mut sample = Sample::new(all.latencies, wall);
    (sample.failures, sample.complaint) = (all.failures, all.complaint);
    Ok((sample, all.bodies))
}
