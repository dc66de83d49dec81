//! The report: tables in Markdown, and how the numbers stand against the goals.

use std::fmt::Write as _;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::floor::Floor;
use crate::growth::{self, Point};
use crate::machine;
use crate::plan::Plan;
use crate::process::Facts;
use crate::stats::Sample;
use crate::throughput::{self, Test};

/// Everything that was measured.
pub(crate) struct Results {
    /// The endpoints' names; ours is first if it was started here.
    pub(crate) names: Vec<String>,
    /// When it began.
    pub(crate) begun: String,
    /// The numbers of clients.
    pub(crate) clients: &'static [usize],
    /// Single operations.
    pub(crate) throughput: Vec<Test>,
    /// Lists of a thousand.
    pub(crate) lists: Vec<Test>,
    /// The points of each endpoint.
    pub(crate) growth: Vec<Vec<Point>>,
    /// The rows by hand.
    pub(crate) floors: Vec<Floor>,
    /// Our server's start and memory, if it was started here.
    pub(crate) start: Option<Facts>,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new(endpoints: &[Endpoint], plan: &Plan) -> Self {
        Self {
            names: endpoints.iter().map(|endpoint| endpoint.name.clone()).collect(),
            begun: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            clients: plan.clients,
            throughput: Vec::new(),
            lists: Vec::new(),
            growth: Vec::new(),
            floors: Vec::new(),
            start: None,
        }
    }

    /// The sample of an operation at a number of clients, at the endpoint of that place.
    pub(crate) fn sample(&self, operation: &str, clients: usize, endpoint: usize) -> Option<&Sample> {
        let mut tests = self.throughput.iter().chain(&self.lists);
        let test = tests.find(|test| test.operation == operation && test.clients == clients)?;
        test.samples.get(endpoint)?.as_ref().filter(|sample| sample.count() > 0)
    }

    fn floor(&self, clients: usize) -> Option<&Sample> {
        let floor = self.floors.first()?;
        floor.samples.iter().find(|(number, _)| *number == clients).map(|(_, sample)| sample)
    }
}

/// The whole report.
pub(crate) fn markdown(results: &Results) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# Benchmark\n\n{}, {}.\n", results.begun, machine::description());
    write_throughput(&mut out, results);
    write_growth(&mut out, results);
    write_floor(&mut out, results);
    write_start(&mut out, results);
    if results.start.is_some() {
        write_goals(&mut out, results);
    }
    out
}

fn write_throughput(out: &mut String, results: &Results) {
    let _ = writeln!(out, "## Rates and latencies\n");
    let _ = write!(out, "| operation | clients |");
    for name in &results.names {
        let _ = write!(out, " {name}: /s | p50 ms | p90 ms | p99 ms |");
    }
    for other in results.names.iter().skip(1) {
        let _ = write!(out, " {} : {other} |", results.names[0]);
    }
    let _ = writeln!(out);
    let others = results.names.len().saturating_sub(1);
    let _ = writeln!(out, "|---|---:|{}{}", "---:|".repeat(4 * results.names.len()), "---:|".repeat(others));
    let mut complaints = Vec::new();
    for test in results.throughput.iter().chain(&results.lists) {
        let _ = write!(out, "| {} | {} |", test.operation, test.clients);
        for (sample, name) in test.samples.iter().zip(&results.names) {
            match sample {
                None => out.push_str(" – | – | – | – |"),
                Some(sample) => {
                    let mark = if sample.failures > 0 { "¹" } else { "" };
                    let _ = write!(out, " {}{mark} |", number(sample.rate()));
                    for percent in [50, 90, 99] {
                        let _ = write!(out, " {} |", milliseconds(sample.percentile(percent)));
                    }
                    if let Some(complaint) = &sample.complaint {
                        complaints.push(format!("{name}, {}: {} failed, {complaint}", test.operation, sample.failures));
                    }
                }
            }
        }
        let first = test.samples.first().and_then(Option::as_ref);
        for other in test.samples.iter().skip(1) {
            let _ = write!(out, " {} |", ratio(first.map(Sample::rate), other.as_ref().map(Sample::rate)));
        }
        let _ = writeln!(out);
    }
    let _ = writeln!(out);
    if results.throughput.iter().chain(&results.lists).any(|test| test.samples.iter().any(Option::is_none)) {
        let _ = writeln!(out, "– was left out: too slow at that endpoint to be measured within the time.\n");
    }
    for complaint in complaints {
        let _ = writeln!(out, "¹ {complaint}\n");
    }
}

fn write_growth(out: &mut String, results: &Results) {
    let _ = writeln!(out, "## Cost against the size of a network\n\n![growth](growth.svg)\n\nMedians, one client.\n");
    let _ = writeln!(out, "| endpoint | ports | create ms | bulk create 100 ms | list ≤ 1,000 ms | delete ms |");
    let _ = writeln!(out, "|---|---:|---:|---:|---:|---:|");
    for (name, points) in results.names.iter().zip(&results.growth) {
        for Point { ports, create, bulk, list, delete } in points {
            let cells = [create, bulk, list, delete].map(|duration| milliseconds(*duration));
            let _ = writeln!(out, "| {name} | {ports} | {} |", cells.join(" | "));
        }
    }
    let _ = writeln!(out);
}

fn write_floor(out: &mut String, results: &Results) {
    let _ = writeln!(out, "## The floor: the rows of one port, committed and read by hand\n");
    let _ = writeln!(out, "| database | what | clients | /s | p50 ms | p99 ms |");
    let _ = writeln!(out, "|---|---|---:|---:|---:|---:|");
    for floor in &results.floors {
        for (what, samples) in [("commit", &floor.samples), ("read", &floor.reads)] {
            for (clients, sample) in samples {
                let (rate, p50, p99) = (sample.rate(), sample.median(), sample.percentile(99));
                let (rate, p50, p99) = (number(rate), milliseconds(p50), milliseconds(p99));
                let _ = writeln!(out, "| {} | {what} | {clients} | {rate} | {p50} | {p99} |", floor.name);
            }
        }
    }
    let _ = writeln!(out);
}

fn write_start(out: &mut String, results: &Results) {
    let Some(start) = &results.start else { return };
    let mib = |kib: Option<u64>| kib.map_or_else(|| "–".to_owned(), |kib| format!("{} MiB", kib.div_ceil(1024)));
    let _ = writeln!(out, "## Start and memory\n\n| what | measured |\n|---|---:|");
    let first = milliseconds(Some(start.first_start));
    let second = milliseconds(Some(start.second_start));
    let _ = writeln!(out, "| start to first answer, creating the database | {first} ms |");
    let _ = writeln!(out, "| start to first answer | {second} ms |");
    let _ = writeln!(out, "| resident after the start | {} |", mib(start.resident_idle));
    let _ = writeln!(out, "| resident after the tests above | {} |", mib(start.resident_serving));
    let _ = writeln!(out, "| resident after the network grew | {} |\n", mib(start.resident_grown));
}

/// One goal: what it is about, the number, whether it is held.
struct Goal {
    what: &'static str,
    goal: &'static str,
    measured: String,
    held: Option<bool>,
}

fn write_goals(out: &mut String, results: &Results) {
    let _ = writeln!(out, "## Against the goals\n\n| goal | | measured at {} | held |", results.names[0]);
    let _ = writeln!(out, "|---|---|---:|---|");
    for Goal { what, goal, measured, held } in goals(results) {
        let held = match held {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        let _ = writeln!(out, "| {what} | {goal} | {measured} | {held} |");
    }
}

fn goals(results: &Results) -> Vec<Goal> {
    let four = if results.clients.contains(&4) { 4 } else { 1 };
    let create = results.sample(throughput::CREATE, four, 0);
    let bulk = results.sample(throughput::BULK, 1, 0).and_then(Sample::median);
    let list = results.sample(growth::LIST, 1, 0).and_then(Sample::median);
    let mut goals = vec![
        at_least("create a port, 4 clients", "≥ 600 /s", create.map(Sample::rate), 600.0),
        at_most("create a port, 4 clients, p50", "≤ 6 ms", create.and_then(Sample::median), 6.0),
    ];
    let share = create.map(Sample::rate).zip(results.floor(four)).map(|(rate, floor)| rate / floor.rate());
    goals.push(at_least("create a port, share of the floor", "≥ 0.5", share, 0.5));
    goals.push(at_most("bulk create 100 ports", "≤ 150 ms", bulk, 150.0));
    let largest = results.growth.first().and_then(|points| points.last()).and_then(|point| point.bulk);
    goals.push(at_most("bulk create 100 ports in the largest network", "≤ 150 ms", largest, 150.0));
    goals.push(at_most("list 1,000 ports in full", "≤ 10 ms", list, 10.0));
    for (what, operation) in [("show a port", throughput::SHOW_PORT), ("show a network", throughput::SHOW_NETWORK)] {
        let rates =
            results.clients.iter().filter_map(|clients| results.sample(operation, *clients, 0)).map(Sample::rate);
        let best = rates.reduce(f64::max);
        goals.push(at_least(what, "≥ 10,000 /s", best, 10_000.0));
    }
    if let Some(start) = &results.start {
        goals.push(at_most("start to first answer", "≤ 100 ms", Some(start.second_start), 100.0));
        let most = [start.resident_idle, start.resident_serving, start.resident_grown].into_iter().max().flatten();
        let measured = most.map_or_else(|| "–".to_owned(), |kib| format!("{} MiB", kib.div_ceil(1024)));
        goals.push(Goal {
            what: "resident memory",
            goal: "≤ 30 MiB",
            measured,
            held: most.map(|kib| kib <= 30 * 1024),
        });
    }
    goals
}

fn at_least(what: &'static str, goal: &'static str, measured: Option<f64>, least: f64) -> Goal {
    let text = measured.map_or_else(|| "–".to_owned(), number);
    Goal { what, goal, measured: text, held: measured.map(|measured| measured >= least) }
}

fn at_most(what: &'static str, goal: &'static str, measured: Option<Duration>, most: f64) -> Goal {
    let held = measured.map(|measured| measured.as_secs_f64() * 1e3 <= most);
    Goal { what, goal, measured: format!("{} ms", milliseconds(measured)), held }
}

/// A duration in milliseconds with three digits that count.
pub(crate) fn milliseconds(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "–".to_owned(), |duration| number(duration.as_secs_f64() * 1e3))
}

/// A number with about three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value {
        _ if value >= 100.0 => grouped(&format!("{value:.0}")),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ if value >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn grouped(digits: &str) -> String {
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn ratio(one: Option<f64>, other: Option<f64>) -> String {
    match (one, other) {
        (Some(one), Some(other)) if other > 0.0 => format!("{}×", number(one / other)),
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(0.5), "0.50");
        assert_eq!(ratio(Some(600.0), Some(10.0)), "60.0×");
        assert_eq!(ratio(None, Some(1.0)), "–");
        assert_eq!(milliseconds(Some(Duration::from_micros(1500))), "1.50");
    }
}
