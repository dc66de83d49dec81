//! How the numbers stand against the goals of the design, beside upstream's.

use std::fmt::Write as _;
use std::time::Duration;

use crate::growth;
use crate::report::{Results, number};
use crate::stats::Sample;
use crate::throughput;

/// What upstream's endpoint is called.
pub(crate) const UPSTREAM: &str = "upstream";

/// One line: a work, what was measured at each endpoint, and what is wanted.
struct Goal {
    work: String,
    wanted: &'static str,
    limit: Limit,
    measured: Vec<Option<f64>>,
}

/// What holds a goal.
#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Limit {
    fn is_held(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    /// How many times better one is than the other.
    fn ratio(self, one: f64, other: f64) -> f64 {
        match self {
            Self::AtLeast(_) => one / other,
            Self::AtMost(_) => other / one,
        }
    }
}

/// One table of all goals: upstream, ours, what is wanted, and how many times better ours is on upstream's database.
pub(crate) fn write(out: &mut String, results: &Results) {
    let upstream = results.names.iter().position(|name| name == UPSTREAM);
    let ours: Vec<usize> = (0..results.names.len()).filter(|at| Some(*at) != upstream).collect();
    // The last of ours is the one that was put beside upstream, on the same kind of database.
    let beside = upstream.zip(ours.last().copied());
    let columns: Vec<usize> = upstream.into_iter().chain(ours).collect();
    let _ = write!(out, "## Against the goals\n\n| work |");
    for at in &columns {
        let _ = write!(out, " {} |", results.names[*at]);
    }
    let _ = write!(out, " goal |");
    if let Some((upstream, ours)) = beside {
        let _ = write!(out, " {} : {} |", results.names[ours], results.names[upstream]);
    }
    let _ =
        writeln!(out, "\n|---|{}---|{}", "---:|".repeat(columns.len()), if beside.is_some() { "---:|" } else { "" });
    for Goal { work, wanted, limit, measured } in goals(results) {
        let _ = write!(out, "| {work} |");
        for at in &columns {
            let _ = match measured[*at] {
                None => write!(out, " – |"),
                Some(value) if Some(*at) == upstream || limit.is_held(value) => write!(out, " {} |", number(value)),
                Some(value) => write!(out, " **{}** |", number(value)),
            };
        }
        let _ = write!(out, " {wanted} |");
        if let Some((upstream, ours)) = beside {
            let _ = match measured[ours].zip(measured[upstream]) {
                Some((ours, upstream)) => write!(out, " {}× |", number(limit.ratio(ours, upstream))),
                None => write!(out, " – |"),
            };
        }
        let _ = writeln!(out);
    }
    let _ = writeln!(out, "\nWhat misses its goal is bold. Rates of showing are those at the best number of clients.");
}

fn goals(results: &Results) -> Vec<Goal> {
    let four = if results.clients.contains(&4) { 4 } else { 1 };
    let each = |measure: &dyn Fn(usize) -> Option<f64>| (0..results.names.len()).map(measure).collect::<Vec<_>>();
    let median = |operation, clients| {
        each(&|at| results.sample(operation, clients, at).and_then(Sample::median).map(in_milliseconds))
    };
    let rate = |at| results.sample(throughput::CREATE, four, at).map(Sample::rate);
    let best = |operation| {
        let clients = results.clients;
        each(&|at| {
            let rates = clients.iter().filter_map(|clients| results.sample(operation, *clients, at)).map(Sample::rate);
            rates.reduce(f64::max)
        })
    };
    let goal = |work: &str, wanted, limit, measured| Goal { work: work.to_owned(), wanted, limit, measured };
    let share = each(&|at| rate(at).zip(results.floor_of(at, four)).map(|(rate, floor)| rate / floor.rate()));
    let largest = results.growth.iter().filter_map(|points| points.last()).map(|point| point.ports).max();
    let grown = |at: usize| results.growth.get(at).and_then(|points| points.last());
    let in_largest = each(&|at| grown(at).and_then(|point| point.bulk).map(in_milliseconds));
    vec![
        goal("create a port, 4 clients, /s", "≥ 600", Limit::AtLeast(600.0), each(&rate)),
        goal("create a port, 4 clients, p50 ms", "≤ 6", Limit::AtMost(6.0), median(throughput::CREATE, four)),
        goal("create a port, 4 clients, share of the floor", "≥ 0.5", Limit::AtLeast(0.5), share),
        goal("bulk create 100 ports, ms", "≤ 150", Limit::AtMost(150.0), median(throughput::BULK, 1)),
        goal(
            &format!("the same in the largest network, up to {} ports, ms", largest.unwrap_or_default()),
            "≤ 150",
            Limit::AtMost(150.0),
            in_largest,
        ),
        goal("list 1,000 ports in full, ms", "≤ 10", Limit::AtMost(10.0), median(growth::LIST, 1)),
        goal("show a port, /s", "≥ 10,000", Limit::AtLeast(10_000.0), best(throughput::SHOW_PORT)),
        goal("show a network, /s", "≥ 10,000", Limit::AtLeast(10_000.0), best(throughput::SHOW_NETWORK)),
        goal(
            "start to first answer, ms",
            "≤ 100 on SQLite",
            Limit::AtMost(100.0),
            each(&|at| results.start_of(at).map(in_milliseconds)),
        ),
        goal(
            "resident memory, MiB",
            "≤ 30",
            Limit::AtMost(30.0),
            each(&|at| results.resident_of(at).map(in_mebibytes)),
        ),
    ]
}

fn in_milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// KiB as MiB.
fn in_mebibytes(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_is_more_of_what_there_should_be_more_of() {
        assert!(Limit::AtLeast(2.0).is_held(2.0) && !Limit::AtMost(2.0).is_held(2.1));
        assert!((Limit::AtLeast(1.0).ratio(600.0, 10.0) - 60.0).abs() < 1e-9);
        assert!((Limit::AtMost(1.0).ratio(10.0, 600.0) - 60.0).abs() < 1e-9);
    }
}
