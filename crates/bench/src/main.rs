//! A load generator for any Neutron endpoint, and the floor it is measured against.
//!
//! Every test runs against all endpoints in turn before the next test starts, so that what else the machine does
//! falls on all of them alike. Everything is bounded in count and in time. The floor is the rows of one port,
//! committed by hand to the same kind of database: no server can be faster than that.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod endpoint;
mod floor;
mod goals;
mod growth;
mod load;
mod machine;
mod plan;
mod plot;
mod process;
mod report;
mod stats;
mod throughput;
mod workload;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::runtime::Handle;

use crate::endpoint::Endpoint;
use crate::floor::Floors;
use crate::plan::Plan;
use crate::process::{Running, Server};
use crate::report::Results;

/// Measures Neutron endpoints side by side: rates and latencies of ports and networks, cost against the size of a
/// network, and the same rows committed by hand.
#[derive(Parser)]
struct Arguments {
    /// An endpoint that is running, as NAME=URL; may be repeated
    #[arg(long = "endpoint", value_name = "NAME=URL")]
    endpoints: Vec<String>,
    /// An upstream Neutron that is running: the same as --endpoint upstream=URL
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The token to send to the endpoints
    #[arg(long, env = "OS_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Start this `isospin` on a fresh SQLite database and measure it first
    #[arg(long, value_name = "PROGRAM")]
    start: Option<PathBuf>,
    /// A database to commit the floor to, beside a fresh SQLite file; its schema is made if it is empty
    #[arg(long = "floor", value_name = "URL")]
    floors: Vec<String>,
    /// The process of an endpoint, whose memory is measured with that of its descendants; may be repeated
    #[arg(long = "process", value_name = "NAME=PID")]
    processes: Vec<String>,
    /// How long an endpoint took from its start to its first answer, in seconds; may be repeated
    #[arg(long = "started", value_name = "NAME=SECONDS")]
    started: Vec<String>,
    /// About one minute for one endpoint, with smaller networks
    #[arg(long)]
    quick: bool,
    /// The size the network grows to
    #[arg(long, value_name = "N")]
    max_ports: Option<usize>,
    /// The longest the network may grow at one endpoint, in seconds
    #[arg(long, value_name = "SECONDS")]
    grow_time: Option<u64>,
    /// Where the report and the plots go
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "isospin-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.endpoints.is_empty() && arguments.start.is_none() && arguments.upstream.is_none() {
        anyhow::bail!("nothing to measure: give --start PROGRAM, --endpoint NAME=URL or --upstream URL");
    }
    let mut plan = if arguments.quick { Plan::quick() } else { Plan::full() };
    plan.limit_growth(arguments.max_ports, arguments.grow_time);
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot make the directory {}", arguments.out.display()))?;

    // One thread makes the load, so that it takes as little as can be from the server under test.
    let generator = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let floors = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let results = generator.block_on(measure(arguments, &plan, floors.handle()))?;

    let report = report::markdown(&results);
    let path = arguments.out.join("report.md");
    std::fs::write(&path, &report).with_context(|| format!("cannot write {}", path.display()))?;
    for (name, svg) in [("growth.svg", plot::growth(&results)), ("rates.svg", plot::rates(&results))] {
        let path = arguments.out.join(name);
        std::fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    say(&format!("\n{report}\nWritten to {}: report.md, growth.svg, rates.svg", arguments.out.display()));
    Ok(())
}

async fn measure(arguments: &Arguments, plan: &Plan, runtime: &Handle) -> anyhow::Result<Results> {
    let mut endpoints = Vec::new();
    let mut server = None;
    if let Some(program) = &arguments.start {
        say(&format!("starting {}", program.display()));
        let started = Server::start(program).await?;
        endpoints.push(Endpoint::new("isospin", &started.url, None)?.passing());
        server = Some(started);
    }
    for (name, url) in named(&arguments.endpoints, "--endpoint")? {
        endpoints.push(Endpoint::new(name, url, arguments.token.clone())?);
    }
    if let Some(url) = &arguments.upstream {
        endpoints.push(Endpoint::new(goals::UPSTREAM, url, arguments.token.clone())?);
    }
    let mut results = Results::new(&endpoints, plan);
    for (name, process) in named(&arguments.processes, "--process")? {
        let process = process.parse().with_context(|| format!("--process {name}={process}: expected a number"))?;
        results.running_of(name)?.process = Some(process);
    }
    for (name, seconds) in named(&arguments.started, "--started")? {
        let seconds = seconds.parse().with_context(|| format!("--started {name}={seconds}: expected seconds"))?;
        results.running_of(name)?.started = Some(Duration::try_from_secs_f64(seconds)?);
    }
    let mut floors = Floors::lay(&arguments.floors, runtime).await?;
    results.throughput = throughput::measure(&endpoints, &mut floors, plan).await?;
    results.floors = floors.clear().await?;
    results.running.iter_mut().for_each(Running::look);
    if let Some(server) = &mut server {
        results.start = Some(server.facts());
    }
    (results.growth, results.lists) = growth::measure(&endpoints, plan).await?;
    results.running.iter_mut().for_each(Running::look);
    if let (Some(server), Some(start)) = (server, &mut results.start) {
        start.resident_grown = server.resident_kib();
        server.stop().await?;
    }
    Ok(results)
}

/// Arguments of the form NAME=VALUE.
fn named<'a>(given: &'a [String], option: &str) -> anyhow::Result<Vec<(&'a str, &'a str)>> {
    let pair = |text: &'a String| text.split_once('=').with_context(|| format!("{option} {text}: expected NAME=…"));
    given.iter().map(pair).collect()
}

/// Tells the person at the terminal how far it is.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
