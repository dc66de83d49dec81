//! The commands as an operator meets them: names, arguments, exit codes, and what is said when something is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use testkit::wait;

const ISOSPIN: &str = env!("CARGO_BIN_EXE_isospin");

/// Runs the binary under a name, with no file of this machine within reach.
fn named(name: &str, arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(ISOSPIN);
    command.arg0(name).args(arguments).env_clear().env("HOME", dir).env("PATH", "/usr/sbin:/usr/bin").current_dir(dir);
    command.output().unwrap()
}

fn isospin(arguments: &[&str], dir: &Path) -> Output {
    named("isospin", arguments, dir)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A service that ends with its test.
struct Service(Child);

impl Service {
    /// Starts a standalone service without agents and reads the line that it prints when it answers.
    fn start(dir: &Path, arguments: &[&str]) -> (Self, String) {
        let mut command = Command::new(ISOSPIN);
        command.args(["standalone", "--api-only", "--bind", "127.0.0.1:0", "--state-dir"]).arg(dir).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap().split(';').next().unwrap().to_owned();
        (Self(child), address)
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end, with a limit.
    fn ended(mut self) -> i32 {
        let mut status = None;
        wait::until(Duration::from_secs(60), || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.expect("the service ends").code().unwrap_or(-1)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn wrong_arguments_are_2_and_help_is_0() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(code(&isospin(&["--help"], dir.path())), 0);
    assert_eq!(code(&isospin(&["--version"], dir.path())), 0);
    assert_eq!(code(&isospin(&[], dir.path())), 2);
    assert_eq!(code(&isospin(&["bogus"], dir.path())), 2);
    assert_eq!(code(&isospin(&["standalone", "--bind", "nowhere"], dir.path())), 2);
    assert_eq!(code(&named("neutron-server", &["--bogus"], dir.path())), 2);
}

#[test]
fn a_mistake_in_a_file_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            "[DEFAULT]\ncore_plugin = m12\n",
            "neutron-server: a.conf:2: [DEFAULT] core_plugin = m12: no such core plug-in; allowed: ml2; did you mean `ml2`?",
        ),
        (
            "[DEFAULT]\n\ndebug = maybe\n",
            "neutron-server: a.conf:3: [DEFAULT] debug = maybe: neither true nor false; allowed: true, yes, on, 1, false, no, \
             off, 0",
        ),
        (
            "debug = true\n",
            "neutron-server: a.conf:1: no section yet: a line such as [DEFAULT] must come first: \"debug = true\"",
        ),
        ("", "neutron-server: no database: set connection in [database] of a --config-file"),
        (
            "[DEFAULT]\nauth_strategy = keystone\n[database]\nconnection = sqlite:///a.sqlite\n",
            "neutron-server: default: [keystone_authtoken] auth_type = : auth_strategy is keystone, and nothing says how to \
             authenticate there; allowed: password, v3applicationcredential",
        ),
    ];
    for (text, message) in cases {
        std::fs::write(dir.path().join("a.conf"), text).unwrap();
        let output = named("neutron-server", &["--config-file", "a.conf"], dir.path());
        assert_eq!((err(&output).as_str(), code(&output)), (message, 2));
    }
    let output = named("neutron-server", &["--config-file", "missing.conf"], dir.path());
    assert_eq!(
        err(&output),
        "neutron-server: cannot read the configuration file missing.conf: no such file or directory"
    );
}

#[test]
fn an_unknown_option_is_a_warning_with_a_suggestion() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.conf"), "[DEFAULT]\ndns_domian = x\n").unwrap();
    let output = isospin(&["--config-file", "a.conf", "db", "current", "--url", "sqlite:///a.sqlite"], dir.path());
    assert!(
        err(&output).ends_with("a.conf:2: unknown option dns_domian in [DEFAULT], ignored; did you mean `dns_domain`?")
    );
}

#[test]
fn without_a_file_named_the_standard_ones_are_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".neutron")).unwrap();
    std::fs::write(dir.path().join(".neutron/neutron-server.conf"), "[DEFAULT]\nbind_port = web\n").unwrap();
    let output = named("neutron-server", &[], dir.path());
    assert!(err(&output).contains(".neutron/neutron-server.conf:2: [DEFAULT] bind_port = web: not a whole number"));
}

#[test]
fn the_schema_is_made_once_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:///{}/n.sqlite", dir.path().display());
    std::fs::write(dir.path().join("n.conf"), format!("[database]\nconnection = {url}\n")).unwrap();
    let manage =
        |words: &[&str]| named("neutron-db-manage", &[&["--config-file", "n.conf"], words].concat(), dir.path());

    assert_eq!(code(&isospin(&["db", "check", "--url", &url], dir.path())), 1);
    assert_eq!(code(&manage(&["has_offline_migrations"])), 1, "an empty database lacks everything");
    let upgrade = |revision: &str, what: &str| {
        let output = manage(&["upgrade", revision]);
        assert_eq!(out(&output), "Running upgrade for neutron ...\nOK");
        assert!(err(&output).contains(what), "{}", err(&output));
    };
    upgrade("head", "the schema is created");
    for revision in ["heads", "2026.2", "c7f8d9e0f1a2", "expand@head", "2024.2"] {
        upgrade(revision, "nothing changed");
    }
    assert_eq!(
        out(&manage(&["current"])),
        "Running current for neutron ...\n5c85685d616d (head)\nc7f8d9e0f1a2 (head)\nOK"
    );
    assert_eq!(
        out(&manage(&["heads"])),
        "Running heads for neutron ...\n5c85685d616d (contract) (head)\nc7f8d9e0f1a2 (expand) (head)\nOK"
    );
    assert_eq!(
        out(&manage(&["check_migration"])),
        "Running branches for neutron ...\nkilo (branchpoint)\n     -> 30018084ec99 (contract)\n     \
         -> 599c6a226151 (expand)\n\nOK"
    );
    let history = out(&manage(&["history"]));
    assert!(history.contains("\na1b2c3d4e5f6 -> c7f8d9e0f1a2 (expand) (head), "), "{history}");
    assert!(history.contains("\nb12a3ef66e62 (89ab9a816d70) -> 97c25b0d2353 (contract), "), "{history}");
    assert!(history.contains("\n<base> -> kilo (branchpoint), "), "{history}");
    for phase in ["--expand", "--contract"] {
        let branch = phase.trim_start_matches('-');
        let said = out(&manage(&["upgrade", phase]));
        assert_eq!(said, format!("Running upgrade ({branch}) for neutron ...\nOK"));
    }
    for words in [&["upgrade"][..], &["upgrade", "--expand", "head"], &["upgrade", "+1"], &["upgrade", "-1"]] {
        assert_eq!(code(&manage(words)), 1, "{words:?}");
    }
    assert_eq!(code(&manage(&["downgrade", "x"])), 1);
    assert_eq!(code(&manage(&["has_offline_migrations"])), 0);
    assert_eq!(out(&isospin(&["db", "check", "--url", &url], dir.path())), "OK");
    assert_eq!(code(&manage(&["stamp", "head"])), 255);
    assert_eq!(code(&manage(&["stamp", "b1bca967e19d"])), 0);
    let refused = manage(&["upgrade", "head"]);
    assert!(code(&refused) == 1 && err(&refused).contains("b1bca967e19d"), "{}", err(&refused));
    assert_eq!(code(&manage(&["stamp", "heads"])), 0);
    assert_eq!(code(&isospin(&["db", "current"], dir.path())), 2, "no database is named");
    assert_eq!(code(&isospin(&["db", "current", "--url", "oracle://x/y"], dir.path())), 2);
}

#[test]
fn links_run_upstreams_programs() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    let bin_text = bin.to_str().unwrap();
    assert_eq!(out(&isospin(&["links", bin_text], dir.path())), format!("9 links made in {bin_text}, 0 there"));
    assert_eq!(out(&isospin(&["links", bin_text], dir.path())), format!("0 links made in {bin_text}, 9 there"));
    let agent = Command::new(bin.join("neutron-openvswitch-agent")).env("HOME", dir.path()).output().unwrap();
    assert_eq!(
        (err(&agent).as_str(), code(&agent)),
        ("neutron-openvswitch-agent: this version does not have this agent yet", 2)
    );
    let client = Command::new(bin.join("neutron")).arg("--version").output().unwrap();
    assert_eq!(code(&client), 0);
}

#[test]
fn agents_that_cannot_run_say_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let output = isospin(&["agent", "openvswitch"], dir.path());
    assert!(err(&output).contains("does not have this agent yet"), "{}", err(&output));
    assert_eq!(code(&output), 2);
    // By default it is to make tunnels, and is not told from which address.
    let output = isospin(&["agent", "linuxbridge"], dir.path());
    assert!(err(&output).contains("[vxlan] local_ip"), "{}", err(&output));
    assert_eq!(code(&output), 2);
}

#[test]
fn a_standalone_service_answers_and_ends_with_what_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let log = dir.path().join("a.log");
    let (service, address) = Service::start(&state, &["--log-file", log.to_str().unwrap()]);
    let networks = get(&address, "/v2.0/networks");
    assert!(networks.contains("{\"networks\":[]}"), "{networks}");
    let clouds = std::fs::read_to_string(state.join("clouds.yaml")).unwrap();
    assert!(clouds.contains(&format!("endpoint: http://{address}/\n")), "{clouds}");

    let second = isospin(&["standalone", "--api-only", "--state-dir", state.to_str().unwrap()], dir.path());
    assert!(err(&second).starts_with("isospin: another isospin runs on "), "{}", err(&second));
    let other = dir.path().join("other");
    let arguments = ["standalone", "--api-only", "--bind", &address, "--state-dir", other.to_str().unwrap()];
    let second = isospin(&arguments, dir.path());
    assert!(err(&second).contains(" is in use: another service answers there"), "{}", err(&second));
    assert_eq!(code(&second), 1);

    // A connection that is kept open does not keep the service from ending.
    let _idle = TcpStream::connect(&address).unwrap();
    service.signal("TERM");
    assert_eq!(service.ended(), 0);
    assert!(std::fs::read_to_string(log).unwrap().trim_end().ends_with("[-] stopping"));
}

#[test]
fn hangup_opens_the_log_anew_and_takes_what_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let [log, moved, conf] = ["a.log", "a.log.1", "a.conf"].map(|name| dir.path().join(name));
    std::fs::write(&conf, "[DEFAULT]\ndebug = false\n").unwrap();
    let arguments = ["--config-file", conf.to_str().unwrap(), "--log-file", log.to_str().unwrap()];
    let (service, _) = Service::start(&dir.path().join("state"), &arguments);
    std::fs::rename(&log, &moved).unwrap();
    std::fs::write(&conf, "[DEFAULT]\ndebug = true\ndns_domain = example.org\nbind_port = 1\n").unwrap();
    service.signal("HUP");
    let mut text = String::new();
    wait::until(Duration::from_secs(60), || {
        text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("which waits for a restart\n")
    });
    assert!(text.contains("INFO isospin.cmd.edge [-] [DEFAULT] debug is now true\n"), "{text}");
    assert!(text.contains("[DEFAULT] dns_domain is to be example.org, which waits for a restart\n"), "{text}");
    assert!(!text.contains("bind_port"), "the command line still says it: {text}");
    service.signal("INT");
    assert_eq!(service.ended(), 0);
}

#[test]
fn the_sample_file_loads() {
    let dir = tempfile::tempdir().unwrap();
    let sample = isospin(&["config", "sample"], dir.path());
    std::fs::write(dir.path().join("a.conf"), &sample.stdout).unwrap();
    let output = isospin(&["db", "--config-file", "a.conf", "current", "--url", "sqlite:///a.sqlite"], dir.path());
    assert_eq!((err(&output).as_str(), code(&output)), ("", 0));
}

/// The demo in a network and a `/run` of its own. Needs root.
#[test]
fn the_demo_succeeds_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let script = "mount -t tmpfs none /run && ip link set lo up && \"$0\" demo --state-dir \"$1\" --bind 127.0.0.1:19696 \
                  && ls /run/netns && ip -brief link";
    for _ in 0..2 {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", script, ISOSPIN]).arg(&state);
        let output = command.output().unwrap();
        assert_eq!(code(&output), 0, "{}\n{}", out(&output), err(&output));
        let text = out(&output);
        assert!(text.contains("pings isospin-demo-2: 5 of 5 answered"), "{text}");
        let (_, after) = text.split_once("no device, namespace or process is left behind").unwrap();
        assert_eq!(after.trim().lines().count(), 1, "only the loopback is left: {after}");
        assert!(!state.exists());
    }
}
