//! The report: tables in Markdown, and how the numbers stand against the goals.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;

use crate::endpoint::Endpoint;
use crate::floor::Floor;
use crate::goals;
use crate::growth::Point;
use crate::machine;
use crate::plan::Plan;
use crate::process::{Facts, Running};
use crate::stats::Sample;
use crate::throughput::Test;

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
    /// What is known of the processes of each endpoint.
    pub(crate) running: Vec<Running>,
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
            running: endpoints.iter().map(|_| Running::default()).collect(),
        }
    }

    /// The sample of an operation at a number of clients, at the endpoint of that place.
    pub(crate) fn sample(&self, operation: &str, clients: usize, endpoint: usize) -> Option<&Sample> {
        let mut tests = self.throughput.iter().chain(&self.lists);
        let test = tests.find(|test| test.operation == operation && test.clients == clients)?;
        test.samples.get(endpoint)?.as_ref().filter(|sample| sample.count() > 0)
    }

    /// The floor of the database an endpoint of ours is on: the one that was started here is on SQLite, and the name of
    /// any other ends with that of its database.
    pub(crate) fn floor_of(&self, endpoint: usize, clients: usize) -> Option<&Sample> {
        let name = self.names.get(endpoint)?.to_lowercase();
        let is_its = |floor: &&Floor| match self.start {
            Some(_) if endpoint == 0 => floor.name == "SQLite",
            _ => name.ends_with(&floor.name.to_lowercase()),
        };
        let floor = self.floors.iter().find(is_its)?;
        floor.samples.iter().find(|(number, _)| *number == clients).map(|(_, sample)| sample)
    }
}

impl Results {
    /// What is known of the processes of the endpoint of that name.
    pub(crate) fn running_of(&mut self, name: &str) -> anyhow::Result<&mut Running> {
        let at = self.names.iter().position(|other| other == name);
        at.and_then(|at| self.running.get_mut(at)).with_context(|| format!("no endpoint is called '{name}'"))
    }

    /// From the start of an endpoint's server to its first answer.
    pub(crate) fn start_of(&self, endpoint: usize) -> Option<Duration> {
        match &self.start {
            Some(start) if endpoint == 0 => Some(start.second_start),
            _ => self.running.get(endpoint)?.started,
        }
    }

    /// The most resident memory seen of an endpoint's processes, in KiB.
    pub(crate) fn resident_of(&self, endpoint: usize) -> Option<u64> {
        match &self.start {
            Some(start) if endpoint == 0 => {
                [start.resident_idle, start.resident_serving, start.resident_grown].into_iter().max().flatten()
            }
            _ => self.running.get(endpoint)?.resident,
        }
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
    goals::write(&mut out, results);
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
