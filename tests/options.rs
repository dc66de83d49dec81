//! The tables of options and the code that reads them agree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use oslo::config::option::{Group, Opt, Status};
use oslo::config::options::CATALOG;

/// All source text but the tables.
fn sources(dir: &Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("config/options") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

fn source_text() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    sources(&root.join("src"), &mut text);
    for crate_name in ["oslo", "server", "agent"] {
        sources(&root.join("crates").join(crate_name).join("src"), &mut text);
    }
    text
}

fn with_status(status: Status) -> impl Iterator<Item = (&'static Group, &'static Opt)> {
    let each =
        CATALOG.iter().copied().flatten().flat_map(|group| group.options.iter().map(move |option| (group, option)));
    each.filter(move |(_, option)| option.status == status)
}

#[test]
fn what_the_tables_call_served_is_read() {
    let text = source_text();
    let is_read = |group: &Group, option: &Opt| {
        // Quotas are read by the name of their resource.
        let name = if group.name == "quotas" { option.name.trim_start_matches("quota_") } else { option.name };
        text.contains(&format!("\"{name}\""))
    };
    let unread: Vec<_> = with_status(Status::Served)
        .filter(|(group, option)| !is_read(group, option))
        .map(|(group, option)| format!("[{}] {}", group.name, option.name))
        .collect();
    assert!(unread.is_empty(), "nothing reads these: mark them idle(): {unread:?}");
}

#[test]
fn what_the_tables_call_idle_is_not_read() {
    let text = source_text();
    let read: Vec<_> = with_status(Status::Idle)
        .map(|(group, option)| format!("(\"{}\", \"{}\")", group.name, option.name))
        .filter(|call| ["get", ">"].iter().any(|before| text.contains(&format!("{before}{call}"))))
        .collect();
    assert!(read.is_empty(), "these are read: take their idle() away: {read:?}");
}
