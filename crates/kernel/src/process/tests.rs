use std::{fs, path::PathBuf, time::Instant};

use super::*;
use crate::testing::Machine;

/// A program that goes into the background, as dnsmasq does: its own session, a pid file, and the first process ends.
struct Daemon {
    pid_file: PathBuf,
    owner: String,
}

impl Daemon {
    async fn start(namespace: Option<&Namespace>, name: &str, before: &str) -> Self {
        let owner = format!("{name}-{}", std::process::id());
        let pid_file = std::env::temp_dir().join(format!("isospin-process-{owner}.pid"));
        let _ = fs::remove_file(&pid_file);
        let background = format!(
            "setsid sh -c '{before} echo $$ > {file}.new && mv {file}.new {file}; while :; do sleep 0.05; done' {owner} </dev/null >/dev/null 2>&1 &\n\
             while [ ! -s {file} ]; do sleep 0.01; done",
            file = pid_file.display()
        );
        run(namespace, &command(&["sh", "-c", &background]), Duration::from_secs(10)).await.unwrap();
        Self { pid_file, owner }
    }

    fn find(&self) -> Option<Process> {
        Process::find(&self.pid_file, &self.owner).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = fs::read_to_string(&self.pid_file).ok().and_then(|text| text.trim().parse().ok());
        if let Some(process) = pid.and_then(|pid| Process::of_pid(pid, &self.owner).ok().flatten()) {
            let _ = process.signal(Signal::SIGKILL);
        }
        let _ = fs::remove_file(&self.pid_file);
    }
}

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn a_process_is_found_by_pid_file_and_owner() {
    let daemon = Daemon::start(None, "found", "").await;
    let process = daemon.find().expect("lives");
    assert!(process.arguments().contains(&daemon.owner));
    assert!(process.is_in(&Namespace::CURRENT));
    assert!(Process::find(&daemon.pid_file, "another owner").unwrap().is_none());
    process.terminate(TERMINATE_GRACE).await.unwrap();
    assert!(daemon.find().is_none());
}

#[tokio::test]
async fn a_process_that_lost_its_pid_file_is_found_by_an_argument() {
    let daemon = Daemon::start(None, "lost", "").await;
    let found: Vec<i32> = Process::search(&daemon.owner).iter().map(Process::pid).collect();
    assert_eq!(found, [daemon.find().expect("lives").pid()]);
    assert!(Process::search(&daemon.owner[..3]).is_empty());
}

#[tokio::test]
async fn the_end_of_a_process_of_another_parent_is_an_event() {
    let daemon = Daemon::start(None, "event", "").await;
    let process = daemon.find().expect("lives");
    assert!(timeout(Duration::from_millis(50), process.exited()).await.is_err());
    assert!(!process.has_exited());
    daemon.find().expect("lives").signal(Signal::SIGKILL).unwrap();
    timeout(Duration::from_secs(5), process.exited()).await.expect("noticed");
    assert!(process.has_exited());
    process.signal(Signal::SIGTERM).unwrap();
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_after_the_grace() {
    let daemon = Daemon::start(None, "stubborn", "trap \"\" TERM;").await;
    let process = daemon.find().expect("lives");
    let before = Instant::now();
    process.terminate(Duration::from_millis(200)).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(200));
    assert!(daemon.find().is_none());
}

#[tokio::test]
async fn pids_that_prove_nothing_are_not_ours() {
    let file = std::env::temp_dir().join(format!("isospin-process-none-{}.pid", std::process::id()));
    for text in ["", "word", "-1", "0", "1", "4194304999", "4194303"] {
        fs::write(&file, text).unwrap();
        assert!(Process::find(&file, "").unwrap().is_none(), "{text:?}");
    }
    fs::remove_file(&file).unwrap();
    assert!(Process::find(&file, "").unwrap().is_none());
}

#[tokio::test]
async fn a_program_is_born_in_its_namespace() {
    let machine = Machine::new().await.unwrap();
    let namespace = machine.system.namespace_create("inside").unwrap();
    let daemon = Daemon::start(Some(&namespace), "inside", "").await;
    let process = daemon.find().expect("lives");
    assert!(process.is_in(&namespace));
    assert!(!process.is_in(&Namespace::CURRENT));
    // Another namespace under the old name is not where the process is.
    machine.system.namespace_delete("inside").unwrap();
    assert!(!process.is_in(&namespace));
    machine.system.namespace_create("inside").unwrap();
    assert!(!process.is_in(&namespace));
    process.terminate(TERMINATE_GRACE).await.unwrap();
}

#[tokio::test]
async fn failures_say_what_failed_and_why() {
    let limit = Duration::from_secs(30);
    let error = run(None, &command(&["isospin-no-such-program"]), limit).await.unwrap_err();
    assert_eq!(error.to_string(), "the program 'isospin-no-such-program' is not installed");
    let error = run(None, &command(&["sh", "-c", "echo no luck >&2; exit 3"]), limit).await.unwrap_err();
    assert_eq!(error.to_string(), "'sh' failed with exit status: 3: no luck");
    let error = run(None, &command(&["sleep", "60"]), Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error.to_string(), "'sleep' did not finish within 200ms");
}

#[tokio::test]
async fn a_program_reads_its_input() {
    let limit = Duration::from_secs(5);
    run_with_input(None, &command(&["grep", "-q", "needle"]), "hay\nneedle\n", limit).await.unwrap();
    assert!(run_with_input(None, &command(&["grep", "-q", "needle"]), "hay\n", limit).await.is_err());
}

#[test]
fn a_process_that_dies_young_is_started_ever_later() {
    let mut respawn = Respawn::default();
    let young = Duration::from_secs(1);
    let delays: Vec<u128> = (0..12).map(|_| respawn.delay(young).as_millis()).collect();
    assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
    assert_eq!(respawn.delay(Duration::from_secs(60)), Duration::ZERO);
    assert_eq!(respawn.delay(young), Duration::ZERO);
}

#[test]
fn programs_are_found_beyond_the_path() {
    assert!(find_program("sh", OsStr::new("")).is_some());
    assert!(find_program("/bin/sh", OsStr::new("")).is_some());
    assert!(find_program("/etc/passwd", OsStr::new("")).is_none());
}
