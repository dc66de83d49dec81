//! A host whose agents are killed and started again: nothing is lost, nothing is touched, and it does not take long.
//! Needs root. `make bench-restart` is the same with many, and measures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

mod scene;
mod witness;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use scene::{Scene, Size};
use testkit::http::Client;
use witness::{Passed, Traffic, differences, everything};

const METRICS: &str = "127.0.0.1:9698";
const AGENTS: [&str; 3] = ["linuxbridge", "dhcp", "l3"];
const SETTLED: &str = "isospin_agent_settled_seconds";

/// With `FAST_PATH=false` without it.
fn configuration() -> String {
    let fast_path = std::env::var("FAST_PATH").unwrap_or_else(|_| "true".to_owned());
    format!(
        "service_plugins = router\n[quotas]\nquota_port = -1\nquota_network = -1\nquota_subnet = -1\n\
         quota_router = -1\nquota_floatingip = -1\n[securitygroup]\nenable_security_group = true\n\
         firewall_driver = auto\nfast_path = {fast_path}\n[isospin]\nmetrics_bind = {METRICS}\n"
    )
}

/// What a restart took.
struct Restart {
    /// From the start of the program until all its agents had nothing left to do.
    all: Duration,
    /// All that it counted until then.
    page: String,
    passed: Passed,
}

impl Restart {
    fn value(&self, series: &str) -> f64 {
        value(&self.page, series).unwrap_or_default()
    }

    /// Programs that were run, how often, and the seconds in them.
    fn programs(&self) -> BTreeMap<String, (f64, f64)> {
        let mut programs: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        let labelled = |line: &str, name: &str| {
            let (program, value) = line.strip_prefix(name)?.strip_prefix("{program=\"")?.split_once("\"} ")?;
            Some((program.to_owned(), value.parse::<f64>().ok()?))
        };
        for line in self.page.lines() {
            if let Some((program, runs)) = labelled(line, "isospin_program_runs_total") {
                programs.entry(program).or_default().0 = runs;
            } else if let Some((program, seconds)) = labelled(line, "isospin_program_seconds_total") {
                programs.entry(program).or_default().1 = seconds;
            }
        }
        programs
    }
}

fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn of_agent(name: &str, what: &str, agent: &str) -> String {
    format!("{name}_{what}{{agent=\"{agent}\"}}")
}

/// Kills all, starts all, and waits until nothing is left to do, under packets.
fn restart(scene: &mut Scene) -> Result<Restart> {
    let traffic = Traffic::start(scene)?;
    scene.host.service.kill()?;
    let began = Instant::now();
    scene.host.service.start()?;
    let client = Client::new(METRICS, scene.host.root());
    let mut page = String::new();
    let settled = |agent: &&str, page: &str| value(page, &of_agent(SETTLED, "count", agent)) == Some(1.0);
    let settled = scene.host.until("the agents have nothing left to do", || {
        page = client.send("GET", "/metrics", &[], None).map(|answer| answer.text()).unwrap_or_default();
        Ok(AGENTS.iter().all(|agent| settled(agent, &page)))
    });
    settled.with_context(|| page.clone())?;
    let all = began.elapsed();
    Ok(Restart { all, page, passed: traffic.stop().context("packets during a restart")? })
}

#[test]
fn a_restart_of_all_agents_loses_no_packet_and_touches_nothing() {
    let program = env!("CARGO_BIN_EXE_isospin");
    let size = Size { networks: 8, ports: 24, routers: 4 };
    let mut scene = Scene::build(program, &configuration(), size).unwrap();
    let before = everything(&scene).unwrap();
    assert_eq!(before.keys().filter(|name| name.starts_with("links in ")).count(), 1 + 8 + 4);
    let restarted = restart(&mut scene).unwrap();
    let after = everything(&scene).unwrap();
    assert_eq!(differences(&before, &after), [""; 0]);
    let passed = restarted.passed;
    assert_eq!(passed.lost, 0, "{passed:?}");
    assert!(passed.pings > 3 && passed.messages > 3, "{passed:?}");
    // All was found as it shall be: nothing was run to make it so, only to read what there is.
    let programs = restarted.programs();
    let reads = ["dnsmasq", "iptables-save", "ip6tables-save", "ebtables-save", "ipset"];
    assert!(
        programs.iter().all(|(program, (runs, _))| reads.contains(&program.as_str()) && *runs <= 1.0),
        "{programs:?}"
    );
    assert_eq!(scene.host.service.faults(), [""; 0]);
}

#[test]
#[ignore = "a measurement: make bench-restart"]
fn five_hundred_ports_a_hundred_networks_and_fifty_routers() {
    let program = std::env::var("ISOSPIN_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_isospin").to_owned());
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let size = Size { networks: 100, ports: 500, routers: 50 };
    let began = Instant::now();
    let mut scene = Scene::build(&program, &configuration(), size).unwrap();
    println!("{size:?} made in {:.1} s", began.elapsed().as_secs_f64());
    if configuration().contains("fast_path = true") {
        until_all_take_part(&scene, size.ports);
        println!("all take part in the fast path after {:.1} s", began.elapsed().as_secs_f64());
    }
    let before = everything(&scene).unwrap();
    let restarts: Vec<Restart> = (0..rounds).map(|_| restart(&mut scene).unwrap()).collect();
    let changed = differences(&before, &everything(&scene).unwrap());
    let text = markdown(&restarts, changed.len());
    println!("{text}");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench");
    fs::create_dir_all(&target).unwrap();
    fs::write(target.join("restart.md"), text).unwrap();
    assert_eq!(changed, [""; 0]);
    let lost: u32 = restarts.iter().map(|restart| restart.passed.lost).sum();
    assert_eq!(lost, 0);
}

/// Waits until the programs of the fast path are at all ports, to which they are put one after the other.
fn until_all_take_part(scene: &Scene, ports: usize) {
    let client = Client::new(METRICS, scene.host.root());
    let devices = of_agent("isospin_fast_path", "devices", "linuxbridge");
    let all = || {
        let page = client.send("GET", "/metrics", &[], None).map(|answer| answer.text()).unwrap_or_default();
        value(&page, &devices).is_some_and(|devices| devices as usize >= ports)
    };
    assert!(testkit::wait::until(Duration::from_secs(300), all), "all ports take part in the fast path");
}

fn markdown(restarts: &[Restart], changed: usize) -> String {
    let mut text =
        String::from("## Restart: 500 ports, 100 networks, 50 routers\n\n| | median s | longest s |\n|---|---|---|\n");
    let mut row = |name: &str, of: &dyn Fn(&Restart) -> f64| {
        let mut values: Vec<f64> = restarts.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let (median, longest) = (values[values.len() / 2], values[values.len() - 1]);
        let _ = writeln!(text, "| {name} | {median:.3} | {longest:.3} |");
    };
    row("all three agents in sync, from the start of the program", &|restart| restart.all.as_secs_f64());
    for agent in AGENTS {
        let sum = of_agent(SETTLED, "sum", agent);
        row(&format!("{agent}: in sync, from its start"), &|restart| restart.value(&sum));
        let sum = of_agent("isospin_agent_sync_seconds", "sum", agent);
        row(&format!("{agent}: of that, to know what it serves"), &|restart| restart.value(&sum));
    }
    row("processor time of the program until then", &|restart| restart.value("process_cpu_seconds_total"));
    let programs: std::collections::BTreeSet<String> =
        restarts.iter().flat_map(|restart| restart.programs().into_keys()).collect();
    for program in &programs {
        let of = |restart: &Restart| restart.programs().get(program).copied().unwrap_or_default();
        let runs = restarts.iter().map(|restart| of(restart).0).fold(0.0, f64::max);
        row(&format!("in {program}, {runs} runs"), &|restart| of(restart).1);
    }
    let sum = |of: &dyn Fn(&Passed) -> u64| restarts.iter().map(|restart| of(&restart.passed)).sum::<u64>();
    let _ = writeln!(
        text,
        "\n{} pings in all, {} lost; {} messages by TCP, {} segments sent twice; {changed} things changed in the kernel.",
        sum(&|passed| passed.pings.into()),
        sum(&|passed| passed.lost.into()),
        sum(&|passed| passed.messages as u64),
        sum(&|passed| passed.resent),
    );
    text
}
