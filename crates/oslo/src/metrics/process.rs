//! What the kernel says of this process.

use super::Page;

/// Ticks a second in which the kernel tells times to programs.
const TICKS: f64 = 100.0;

pub(super) fn write(page: &mut Page) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kib) = number_after(&status, "VmRSS:") {
        let help = "Memory of this process that is in RAM.";
        page.value("process_resident_memory_bytes", "gauge", help, kib * 1024.0);
    }
    if let Some(threads) = number_after(&status, "Threads:") {
        page.value("process_threads", "gauge", "Threads of this process.", threads);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.value("process_open_fds", "gauge", "Open files of this process.", open.count());
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some((processor, started)) = times(&stat) {
        let help = "Processor time that this process used.";
        page.value("process_cpu_seconds_total", "counter", help, processor);
        if let Some(boot) = boot_time() {
            let help = "When this process was started, in seconds since 1970.";
            page.value("process_start_time_seconds", "gauge", help, boot + started);
        }
    }
    let help = "The version of this program.";
    page.gauges("isospin_build_info", help, [([("version", env!("CARGO_PKG_VERSION"))], 1.0)]);
}

fn number_after(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Processor time, and the start after boot, both in seconds.
fn times(stat: &str) -> Option<(f64, f64)> {
    // The second field is a name in parentheses, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(((ticks(11)? + ticks(12)?) / TICKS, ticks(19)? / TICKS))
}

fn boot_time() -> Option<f64> {
    number_after(&std::fs::read_to_string("/proc/stat").ok()?, "btime")
}
