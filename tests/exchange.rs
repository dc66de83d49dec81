//! Neutron 29 and ours on one database: they take turns, then they serve it together, and nobody who reads can tell which
//! of them answers.
//!
//! What they do is in `exchange/scenarios.yaml`, what is read in `exchange/reads.yaml`. It needs upstream's server, so it
//! is not among the other tests: `make test-exchange`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "exchange/reading.rs"]
mod reading;
#[path = "exchange/scenario.rs"]
mod scenario;
#[path = "exchange/upstream.rs"]
mod upstream;

use std::{collections::BTreeSet, process::Command, thread};

use serde_json::{Value, json};
use testkit::http::{Client, id, text};

use scenario::{Names, Scenario, Step};
use upstream::{PROGRAM, Place};

/// The agents that scenarios refer to. Those that wire ports reported last in a far future, so both servers take them for
/// alive, and that of routers too; that of DHCP long ago, so neither gives it networks by itself.
const AGENTS: &str = "\
INSERT INTO agents (id, agent_type, `binary`, topic, host, admin_state_up, created_at, started_at, heartbeat_timestamp, \
description, configurations, `load`, availability_zone, resource_versions, resources_synced) VALUES \
('00000000-0000-4000-8000-00000000000a', 'DHCP agent', 'neutron-dhcp-agent', 'dhcp_agent', 'host-a', 1, \
'2026-01-01 00:00:00', '2026-01-01 00:00:00', '2026-01-01 00:01:00', NULL, \
'{\\\"dhcp_driver\\\": \\\"neutron.agent.linux.dhcp.Dnsmasq\\\", \\\"networks\\\": 0}', 0, 'nova', NULL, NULL), \
('00000000-0000-4000-8000-00000000000b', 'Open vSwitch agent', 'neutron-openvswitch-agent', 'N/A', 'host-a', 1, \
'2026-01-01 00:00:00', '2026-01-01 00:00:00', '2099-01-01 00:01:00', NULL, \
'{\\\"tunnel_types\\\": [\\\"vxlan\\\"], \\\"bridge_mappings\\\": {\\\"physnet1\\\": \\\"br-ex\\\"}}', 0, NULL, \
'{\\\"Port\\\": \\\"1.10\\\"}', NULL), \
('00000000-0000-4000-8000-00000000000d', 'L3 agent', 'neutron-l3-agent', 'l3_agent', 'host-a', 1, \
'2026-01-01 00:00:00', '2026-01-01 00:00:00', '2099-01-01 00:01:00', NULL, \
'{\\\"agent_mode\\\": \\\"legacy\\\", \\\"handle_internal_only_routers\\\": true}', 0, 'nova', NULL, NULL), \
('00000000-0000-4000-8000-00000000000c', 'Open vSwitch agent', 'neutron-openvswitch-agent', 'N/A', 'host-b', 1, \
'2026-01-01 00:00:00', '2026-01-01 00:00:00', '2099-01-01 00:01:00', NULL, \
'{\\\"tunnel_types\\\": [\\\"vxlan\\\"], \\\"bridge_mappings\\\": {\\\"physnet1\\\": \\\"br-ex\\\"}}', 0, NULL, \
'{\\\"Port\\\": \\\"1.10\\\"}', NULL)";

/// All that went wrong, told at the end, so that one difference hides no other.
#[derive(Default)]
struct Report(Vec<String>);

impl Report {
    fn add(&mut self, phase: &str, problems: Vec<String>) {
        println!("{phase}: {}", if problems.is_empty() { "no difference".to_owned() } else { problems.join("\n") });
        self.0.extend(problems.into_iter().map(|problem| format!("{phase}: {problem}")));
    }
}

fn run(number: usize) -> Names {
    let fixed = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Names::from([
        fixed("run", &number.to_string()),
        fixed("dhcp_agent", "00000000-0000-4000-8000-00000000000a"),
        fixed("ovs_agent", "00000000-0000-4000-8000-00000000000b"),
    ])
}

/// One phase of every scenario.
fn perform(
    all: &[Scenario],
    phase: impl Fn(&Scenario) -> &[Step],
    clients: [&Client; 2],
    names: &mut [Names],
) -> Vec<String> {
    let mut failures = Vec::new();
    for (scenario, names) in all.iter().zip(names) {
        scenario::perform(&scenario.scenario, phase(scenario), clients, names, &mut failures);
    }
    failures
}

#[test]
#[ignore = "needs upstream's server: make test-exchange"]
fn servers_take_turns_and_share() {
    let (place, all, mut report) = (Place::new(), scenario::all(), Report::default());
    let names = |number| vec![run(number); all.len()];
    assert!(place.manage(&place.configuration_path(), &["upgrade", "heads"]).status.success());
    place.mariadb.query(AGENTS).unwrap();

    // Upstream creates, ours reads.
    let mut first = names(1);
    let upstream = place.upstream();
    let client = upstream.client();
    report.add("upstream creates", perform(&all, |scenario| &scenario.create, [&client; 2], &mut first));
    let theirs = reading::read(&client);
    println!("{} answers are compared each time", theirs.len());
    upstream.stop();
    let ours = place.ours();
    let client = ours.client();
    report.add("what upstream created", reading::differences(&theirs, &reading::read(&client)));

    // Ours changes and removes what upstream created, and creates; upstream reads.
    let mut second = names(2);
    report.add("ours changes", perform(&all, |scenario| &scenario.change, [&client; 2], &mut first));
    report.add("ours removes", perform(&all, |scenario| &scenario.remove, [&client; 2], &mut first));
    report.add("ours creates", perform(&all, |scenario| &scenario.create, [&client; 2], &mut second));
    let our_reading = reading::read(&client);
    drop(ours);
    let upstream = place.upstream();
    let client = upstream.client();
    let theirs = reading::read(&client);
    report.add("what ours changed, removed and created", reading::differences(&theirs, &our_reading));

    // Upstream changes and removes what ours created; ours reads, beside it from now on.
    report.add("upstream changes", perform(&all, |scenario| &scenario.change, [&client; 2], &mut second));
    report.add("upstream removes", perform(&all, |scenario| &scenario.remove, [&client; 2], &mut second));
    let ours = place.ours();
    let our_client = ours.client();
    let compare = || reading::differences(&reading::read(&client), &reading::read(&our_client));
    report.add("what upstream changed and removed", compare());

    // Both at once, turn by turn.
    let mut third = names(3);
    type Phase = fn(&Scenario) -> &[Step];
    let phases: [(&str, Phase); 3] = [
        ("both create", |scenario| &scenario.create),
        ("both change", |scenario| &scenario.change),
        ("both remove", |scenario| &scenario.remove),
    ];
    for (what, phase) in phases {
        report.add(what, perform(&all, phase, [&client, &our_client], &mut third));
    }
    report.add("what both did", compare());
    report.add("what both did at the same moment", contend(&client, &our_client));
    report.add("and then", compare());
    drop((upstream, ours));
    assert!(report.0.is_empty(), "{} problems:\n{}", report.0.len(), report.0.join("\n"));
}

/// Clients of both servers create ports on one subnet at once: no address, MAC or tunnel id is given twice, none of the
/// requests fails, and the revisions of a network that all of them change go up by one each time.
fn contend(upstream: &Client, ours: &Client) -> Vec<String> {
    const EACH: usize = 12;
    let network = id(&ours.create("networks", json!({"name": "contended"})).unwrap());
    upstream.create("subnets", json!({"network_id": network, "ip_version": 4, "cidr": "10.99.0.0/26"})).unwrap();
    let before = ours.show("networks", &network).unwrap()["revision_number"].as_i64().unwrap();
    let made: Vec<(Value, Value)> = thread::scope(|scope| {
        let workers: Vec<_> = [upstream, ours, upstream, ours]
            .into_iter()
            .enumerate()
            .map(|(worker, client)| {
                let (client, network) = (client.another(), &network);
                scope.spawn(move || {
                    let each = |number: usize| {
                        let name = format!("{worker}-{number}");
                        let port = client.create("ports", json!({"network_id": network, "name": name})).unwrap();
                        let other = client.create("networks", json!({"name": name})).unwrap();
                        (port, other)
                    };
                    (0..EACH).map(each).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let mut problems = Vec::new();
    let mut distinct = |what: &str, values: BTreeSet<String>| {
        if values.len() != 4 * EACH {
            problems.push(format!("{} of {} {what} are distinct", values.len(), 4 * EACH));
        }
    };
    distinct("addresses", made.iter().map(|(port, _)| port["fixed_ips"][0]["ip_address"].to_string()).collect());
    distinct("MACs", made.iter().map(|(port, _)| text(port, "mac_address")).collect());
    distinct("ids of tunnels", made.iter().map(|(_, net)| net["provider:segmentation_id"].to_string()).collect());
    for (number, client) in [ours, upstream, ours, upstream].into_iter().enumerate() {
        let name = json!({"name": format!("contended {number}")});
        let revision = client.update("networks", &network, name).unwrap()["revision_number"].as_i64();
        if revision != Some(before + 1 + number as i64) {
            problems.push(format!("change {number} of revision {before} gave {revision:?}"));
        }
    }
    problems
}

/// Each tool finds the other's database at the head and leaves it alone.
#[test]
#[ignore = "needs upstream's tool: make test-exchange"]
fn each_tool_knows_the_others_schema() {
    let place = Place::new();
    place
        .mariadb
        .query("CREATE DATABASE made_by_ours CHARACTER SET utf8; CREATE DATABASE made_by_theirs CHARACTER SET utf8")
        .unwrap();
    let file = |database: &str| {
        let path = place.configuration_path().with_file_name(format!("{database}.conf"));
        std::fs::write(&path, place.configuration(database)).unwrap();
        path
    };
    let (by_ours, by_theirs) = (file("made_by_ours"), file("made_by_theirs"));
    let ours = |path: &std::path::Path, words: &[&str]| {
        Command::new(PROGRAM).arg("db").arg("--config-file").arg(path).args(words).output().unwrap()
    };
    assert!(ours(&by_ours, &["upgrade", "heads"]).status.success());
    assert!(place.manage(&by_theirs, &["upgrade", "heads"]).status.success());
    for (path, database) in [(&by_ours, "made_by_ours"), (&by_theirs, "made_by_theirs")] {
        let tables = format!(
            "SELECT table_name, create_time FROM information_schema.tables WHERE table_schema = '{database}' ORDER BY 1"
        );
        let before = place.mariadb.query(&tables).unwrap();
        for words in [&["current"][..], &["heads"], &["has_offline_migrations"], &["upgrade", "head"], &["current"]] {
            let (their_answer, our_answer) = (place.manage(path, words), ours(path, words));
            assert_eq!(their_answer.status.code(), our_answer.status.code(), "{words:?}");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(text(&their_answer.stdout), text(&our_answer.stdout), "{words:?}");
        }
        assert_eq!(place.mariadb.query(&tables).unwrap(), before);
    }
}
