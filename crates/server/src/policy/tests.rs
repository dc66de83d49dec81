//! The defaults and what they answer, compared with what upstream's own policy engine was recorded to say
//! (`scripts/regenerate-policy-data`).

use std::{collections::BTreeMap, sync::Arc};

use oslo::{context::Context, policy::Scope};
use serde_json::{Map, Value, json};

use super::*;
use crate::testing;

const RULES: &str = include_str!("../../tests/data/policy/rules.tsv");
const MATRIX: &str = include_str!("../../tests/data/policy/matrix.tsv");
const DEFAULTS: &str = include_str!("../../tests/data/policy/policy-defaults.yaml");

const OWN: &str = "project-own";
const OTHER: &str = "project-other";
const THIRD: &str = "project-third";

/// The callers of the recordings, in the order of the matrix.
pub(super) const CALLERS: [(&str, &[&str], &str); 7] = [
    ("admin", &["admin", "manager", "member", "reader"], "project-admin"),
    ("manager", &["manager", "member", "reader"], OWN),
    ("member", &["member", "reader"], OWN),
    ("reader", &["reader"], OWN),
    ("other", &["member", "reader"], OTHER),
    ("service", &["service"], "project-service"),
    ("none", &[], OWN),
];

/// The networks and groups of the recordings.
pub(super) fn parents() -> Parents {
    Parents::made_up(&[
        ("own", OWN, None),
        ("other", OTHER, None),
        ("shared", THIRD, Some("access_as_shared")),
        ("external", THIRD, Some("access_as_external")),
    ])
}

pub(super) fn policy(enforce_new_defaults: bool) -> Policy {
    Policy::load(Settings { enforce_new_defaults, ..Settings::default() }).unwrap()
}

pub(super) fn caller(policy: &Policy, roles: &[&str], project: &str) -> Context {
    let mut caller = Context::user("u", project, roles.iter().map(|role| (*role).to_owned()).collect());
    policy.admit(&mut caller);
    caller
}

/// The recordings' kinds of target.
fn target(kind: &str) -> Map<String, Value> {
    let (project, network, more) = match kind {
        "own" => (OWN, "own", json!({})),
        "own-on-other" => (OWN, "other", json!({})),
        "own-on-shared" => (OWN, "shared", json!({})),
        "others-on-own" => (OTHER, "own", json!({})),
        "shared" => (THIRD, "shared", json!({"shared": true})),
        "external" => (THIRD, "external", json!({"router:external": true})),
        "device" => (OWN, "own", json!({"device_owner": "compute:nova", "target_project": "*", "target_tenant": "*"})),
        "router" => (OWN, "other", json!({"device_owner": "network:router_interface"})),
        other => panic!("no target {other}"),
    };
    let group = if kind == "own-on-other" { "other" } else { "own" };
    let mut target = json!({
        "id": "id", "name": "n", "device_owner": "", "target_project": OTHER, "target_tenant": OTHER, "shared": false,
        "router:external": false, "network_id": network, "security_group_id": group, "project_id": project,
        "tenant_id": project, "ext_parent:project_id": project,
    });
    target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    target.as_object().unwrap().clone()
}

#[test]
fn the_defaults_are_upstreams() {
    let ours: BTreeMap<String, Vec<String>> = defaults::ALL
        .iter()
        .copied()
        .flatten()
        .map(|rule| {
            let scope = if rule.scope == Scope::Project { "project" } else { "" };
            let (old, was) = rule.deprecated.map_or(("", ""), |old| (old.name, old.check));
            (rule.name.to_owned(), [rule.check, scope, old, was].map(str::to_owned).to_vec())
        })
        .collect();
    let theirs: BTreeMap<String, Vec<String>> = RULES
        .lines()
        .map(|line| {
            let mut columns = line.split('\t').map(str::to_owned);
            (columns.next().unwrap(), columns.collect())
        })
        .collect();
    assert_eq!(ours, theirs);
    let listed: BTreeMap<&str, &str> = DEFAULTS
        .lines()
        .map(|line| {
            let inner = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            inner.and_then(|inner| inner.split_once("\": \"")).unwrap_or_else(|| panic!("{line}"))
        })
        .collect();
    let checks: BTreeMap<&str, &str> = ours.iter().map(|(name, row)| (name.as_str(), row[0].as_str())).collect();
    assert_eq!(checks, listed);
}

#[test]
fn every_rule_answers_every_caller_as_upstream_does() {
    let parents = parents();
    let guards = [policy(true), policy(false)].map(|policy| {
        let rules = policy.rules().unwrap();
        CALLERS.map(|(name, roles, project)| {
            let caller = caller(&policy, roles, project);
            (name, caller.is_admin, Guard::new(Arc::clone(&rules), &caller))
        })
    });
    let mut compared = 0;
    for line in MATRIX.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [rule, kind, answers @ ..] = columns.as_slice() else { panic!("{line}") };
        let target = target(kind);
        let subject = Subject { attributes: &target, parents: &parents };
        for (guards, expected) in guards.iter().zip(answers) {
            for ((name, is_admin, guard), expected) in guards.iter().zip(expected.chars()) {
                let allowed = if *is_admin && !guard.rules.enforces_new_defaults() {
                    true
                } else {
                    let allowed = guard.allows(rule, &subject).unwrap();
                    assert!(guard.known(rule).is_none_or(|known| known == allowed), "{rule} for {name}");
                    allowed
                };
                assert_eq!(allowed, expected == '1', "{rule} on {kind} for {name}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, RULES.lines().count() * 8 * 2 * CALLERS.len());
}

#[test]
fn callers_are_what_their_roles_make_them() {
    let policy = policy(true);
    let flags = |roles: &[&str]| {
        let caller = caller(&policy, roles, OWN);
        (caller.is_admin, caller.is_service_role, caller.has_global_access, caller.can_set_project_id)
    };
    assert_eq!(flags(&["Admin"]), (true, false, true, true));
    assert_eq!(flags(&["service"]), (false, true, false, true));
    assert_eq!(flags(&["advsvc"]), (false, true, false, true));
    assert_eq!(flags(&["manager", "member"]), (false, false, false, false));
    let mut anyone = Context::user("u", "p", Vec::new());
    Policy::open().admit(&mut anyone);
    assert!(!anyone.is_admin);
}

#[tokio::test]
async fn without_authentication_there_is_nothing_to_check() {
    let ctx = testing::server(|_| {}).await;
    assert!(ctx.guard().is_none());
    let policy = policy(false);
    let admin = crate::Ctx { caller: caller(&policy, &["admin"], OWN), ..ctx };
    assert!(policy.guard(&admin).is_none(), "the older rules let administrators do everything");
}
