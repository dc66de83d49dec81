//! What an agent tells of itself: how long ports take to be wired, how long it takes to be in sync, how much it serves.

use std::time::Duration;

use kernel::{bpf::Counts, process::Spent};

use oslo::metrics::{Family, Gauge, Histogram, Page};

/// `agent`
type Agent = [(&'static str, &'static str); 1];

static WIRING: Family<Agent, Histogram> = Family::new();
static SYNC: Family<Agent, Histogram> = Family::new();
static SETTLED: Family<Agent, Histogram> = Family::new();
static WORK: Family<Agent, Histogram> = Family::new();
static SERVED: Family<Agent, Gauge> = Family::new();
static SENT_ON: Family<Agent, Gauge> = Family::new();
static LEARNT: Family<Agent, Gauge> = Family::new();
static FAST_DEVICES: Family<Agent, Gauge> = Family::new();

/// A port is wired and the server knows: so long after its tap appeared.
pub(crate) fn wired(agent: &'static str, time: Duration) {
    WIRING.of(&[("agent", agent)]).observe(time);
}

/// The agent knows everything that it is to serve: so long after it began to ask.
pub(crate) fn synced(agent: &'static str, time: Duration) {
    SYNC.of(&[("agent", agent)]).observe(time);
}

/// For the first time nothing is left to do: so long after the agent began.
pub(crate) fn settled(agent: &'static str, time: Duration) {
    SETTLED.of(&[("agent", agent)]).observe(time);
}

/// The kernel was brought in line once, in so long.
pub(crate) fn worked(agent: &'static str, time: Duration) {
    WORK.of(&[("agent", agent)]).observe(time);
}

/// So many ports or networks are served.
pub(crate) fn serves(agent: &'static str, number: usize) {
    SERVED.of(&[("agent", agent)]).set(i64::try_from(number).unwrap_or(i64::MAX));
}

/// What the fast path has done until now.
pub(crate) fn sent_on(counts: Counts) {
    let set = |family: &Family<Agent, Gauge>, count: u64| {
        family.of(&[("agent", "linuxbridge")]).set(i64::try_from(count).unwrap_or(i64::MAX));
    };
    set(&SENT_ON, counts.sent);
    set(&LEARNT, counts.learnt);
    set(&FAST_DEVICES, counts.devices as u64);
}

/// Writes what the agents of this process tell.
pub fn write(page: &mut Page) {
    let help = "Time from the appearance of a tap to the server's knowledge that its port is wired.";
    page.family("isospin_port_wiring_seconds", help, &WIRING);
    let help = "Time that an agent took to fetch all that it is to serve.";
    page.family("isospin_agent_sync_seconds", help, &SYNC);
    let help = "Time from the start of an agent until for the first time it had nothing left to do.";
    page.family("isospin_agent_settled_seconds", help, &SETTLED);
    let help = "Time to bring the kernel in line: a pass over what may differ, or one network of DHCP.";
    page.family("isospin_agent_work_seconds", help, &WORK);
    let help = "Ports that the Linux bridge agent, or networks that the DHCP agent, serves.";
    page.family("isospin_agent_served", help, &SERVED);
    let help = "Frames that took the fast path of the firewall, as of the last half minute.";
    page.family("isospin_fast_path_frames", help, &SENT_ON);
    let help = "Times that a flow was let onto the fast path, or had to prove itself again.";
    page.family("isospin_fast_path_flows", help, &LEARNT);
    let help = "Taps and uplinks that take part in the fast path, as of the last half minute.";
    page.family("isospin_fast_path_devices", help, &FAST_DEVICES);
    let programs = kernel::process::spent();
    let each = |what: fn(&Spent) -> f64| {
        programs.iter().map(move |(name, spent)| (vec![("program", name.clone())], what(spent)))
    };
    let help = "Programs run until they ended or went into the background.";
    page.counters("isospin_program_runs_total", help, each(|spent| spent.runs as f64));
    let help = "Time that programs were waited for.";
    page.counters("isospin_program_seconds_total", help, each(|spent| spent.time.as_secs_f64()));
}
