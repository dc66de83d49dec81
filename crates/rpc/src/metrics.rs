//! What is counted of calls between server and agents, on both sides.

use std::time::Instant;

use oslo::messaging::CallError;
use oslo::metrics::{Counter, Family, Histogram, Page};

use crate::INTERFACES;

/// `method` and `outcome`.
type Outcome = [(&'static str, &'static str); 2];

static CALLS: Family<Outcome, Histogram> = Family::new();
static CASTS: Family<[(&str, &str); 1], Counter> = Family::new();
static SERVED: Family<Outcome, Histogram> = Family::new();

/// Counts a call that this process made and that has ended.
pub(crate) fn called<T>(method: &'static str, began: Instant, answer: &Result<T, CallError>) {
    let outcome = match answer {
        Ok(_) => "ok",
        Err(CallError::Remote(_)) => "remote_error",
        Err(CallError::Timeout { .. }) => "timeout",
        Err(CallError::Answer { .. }) => "bad_answer",
        Err(_) => "not_sent",
    };
    CALLS.of(&[("method", method), ("outcome", outcome)]).observe_since(began);
}

/// Counts a message that this process sent and wants no answer to.
pub(crate) fn cast(method: &'static str) {
    CASTS.of(&[("method", method)]).add(1);
}

/// Counts a message that this process has dealt with.
pub fn served(method: &str, began: Instant, well: bool) {
    let outcome = if well { "ok" } else { "error" };
    SERVED.of(&[("method", known(method)), ("outcome", outcome)]).observe_since(began);
}

/// Writes what was counted.
pub fn write(page: &mut Page) {
    page.family("isospin_rpc_call_seconds", "Time from a call to its answer, by its sender.", &CALLS);
    page.family("isospin_rpc_casts_total", "Messages sent that want no answer.", &CASTS);
    page.family("isospin_rpc_served_seconds", "Time that messages took their receiver.", &SERVED);
}

/// The name of a method of ours; others, of which a sender could make up any number, share one.
fn known(method: &str) -> &'static str {
    let all = INTERFACES.iter().flat_map(|interface| interface.methods);
    all.map(|known| known.name).find(|known| *known == method).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_outcome() {
        let began = Instant::now();
        called("m", began, &Ok(()));
        called::<()>("m", began, &Err(CallError::Unavailable { topic: "t".into() }));
        served("report_state", began, true);
        served("drop_everything", began, false);
        cast("port_update");
        let mut page = Page::default();
        write(&mut page);
        let text = page.into_text();
        for line in [
            "isospin_rpc_call_seconds_count{method=\"m\",outcome=\"ok\"} 1",
            "isospin_rpc_call_seconds_count{method=\"m\",outcome=\"not_sent\"} 1",
            "isospin_rpc_served_seconds_count{method=\"report_state\",outcome=\"ok\"} ",
            "isospin_rpc_served_seconds_count{method=\"unknown\",outcome=\"error\"} 1",
            "isospin_rpc_casts_total{method=\"port_update\"} ",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
