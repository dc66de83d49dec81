//! The dependency arrows of `ARCHITECTURE.md`, held against what cargo says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// Which of our crates each crate may depend on. Adding to this list is a decision about the architecture.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("reconcile", &[]),
    ("oslo", &["types"]),
    ("rpc", &["types", "oslo"]),
    ("db", &["types"]),
    ("kernel", &["types", "reconcile"]),
    ("server", &["types", "oslo", "rpc", "db"]),
    ("agent", &["types", "oslo", "rpc", "kernel", "reconcile"]),
    ("bench", &["db", "types"]),
    ("testkit", &["types", "oslo", "rpc", "db", "server", "kernel", "agent"]),
];

/// Crates from elsewhere that a crate must stay free of, even through others.
const MUST_NOT_REACH: &[(&str, &[&str])] = &[
    ("isospin-types", &["tokio", "rusqlite", "sea-query", "axum", "hyper", "rtnetlink"]),
    ("isospin-server", &["rtnetlink", "nix", "netlink-packet-route"]),
    ("isospin-agent", &["rusqlite", "sea-query", "mysql_async", "tokio-postgres", "axum"]),
    ("isospin-reconcile", &["serde", "rtnetlink", "rusqlite"]),
];

fn metadata() -> serde_json::Value {
    // Only what this machine builds: packages for other platforms may not have been fetched.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Name of every package, with the names of those it depends on outside of tests.
fn dependencies(metadata: &serde_json::Value) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap()))
        .collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in nodes {
        let normal = node["deps"].as_array().unwrap().iter().filter(|dependency| {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            kinds.iter().any(|kind| kind["kind"].is_null())
        });
        let to = normal.map(|dependency| names[dependency["pkg"].as_str().unwrap()].to_owned());
        all.entry(names[node["id"].as_str().unwrap()].to_owned()).or_default().extend(to);
    }
    all
}

#[test]
fn our_crates_depend_only_where_they_may() {
    let all = dependencies(&metadata());
    let ours = |name: &str| name.strip_prefix("isospin-").map(str::to_owned);
    let known: BTreeMap<&str, &[&str]> = MAY_DEPEND_ON.iter().copied().collect();
    for (package, to) in &all {
        let Some(name) = ours(package) else { continue };
        let allowed = known.get(name.as_str()).unwrap_or_else(|| panic!("the crate {name} is not in the list"));
        for dependency in to.iter().filter_map(|to| ours(to)) {
            assert!(allowed.contains(&dependency.as_str()), "{name} depends on {dependency}");
        }
    }
    for (name, _) in MAY_DEPEND_ON {
        assert!(all.contains_key(&format!("isospin-{name}")), "the list names {name}, which does not exist");
    }
}

#[test]
fn crates_stay_free_of_what_is_not_theirs() {
    let all = dependencies(&metadata());
    for (package, forbidden) in MUST_NOT_REACH {
        let mut reached = BTreeSet::new();
        let mut open = vec![(*package).to_owned()];
        while let Some(next) = open.pop() {
            if reached.insert(next.clone()) {
                open.extend(all.get(&next).into_iter().flatten().cloned());
            }
        }
        for name in *forbidden {
            assert!(!reached.contains(*name), "{package} reaches {name}");
        }
    }
}
