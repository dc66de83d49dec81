//! Three hosts, two tenants with the same addresses: who reaches whom is worked out from what the API says (`model`) and
//! asked of packets (`probe`), by ICMP, TCP and UDP over IPv4 and IPv6, before and after random changes (`change`).
//!
//! `ISOSPIN_CHANGES` is how many changes are made, `ISOSPIN_SEED` the seed of them, which is 1 unless said otherwise,
//! `ISOSPIN_HA` how many of the two routers are HA routers, which the seed says otherwise; a failure prints all. Needs
//! root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

mod change;
mod ending;
mod frame;
mod membership;
mod model;
mod probe;
mod scene;
mod spoofing;

use std::time::Instant;

use change::Change;
use scene::{Parts, Scene};
use testkit::{
    cloud::{HOSTS, Plan},
    dice::Dice,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
/// A host of an HA router that dies is replaced after three of these.
const COMMON: &str = "[DEFAULT]\nha_vrrp_advert_int = 1\n";

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn packets_do_what_the_api_says_through_random_changes() {
    let changes = variable("ISOSPIN_CHANGES").unwrap_or(8);
    let seed = variable("ISOSPIN_SEED").unwrap_or(1);
    let ha = variable("ISOSPIN_HA").unwrap_or(seed % 3);
    println!("ISOSPIN_SEED={seed} ISOSPIN_CHANGES={changes} ISOSPIN_HA={ha}");
    let parts = Parts { filtered: true, routed: true, ha: usize::try_from(ha).unwrap() };
    let plan = Plan::new(PROGRAM).agent(HOSTS[0], "l3").agent(HOSTS[1], "l3").common(COMMON);
    let mut scene = Scene::start(plan, parts).unwrap();
    let (asked, took) = scene.settles().unwrap();
    println!("{asked} questions are answered as the model says after {took:?}");
    let mut dice = Dice(seed);
    let mut told = Vec::new();
    let began = Instant::now();
    while told.len() < usize::try_from(changes).unwrap() {
        let Some(what) = Change::choose(&mut dice, &scene).make(&mut scene, &mut dice).unwrap() else { continue };
        println!("{:4}: {what}", told.len() + 1);
        told.push(what);
        match scene.settles() {
            Ok((asked, took)) => println!("      {asked} questions, {took:?}"),
            Err(error) => panic!("seed {seed}, {ha} HA routers, after\n  {}\n{error:#}", told.join("\n  ")),
        }
    }
    println!("{changes} changes in {:?}", began.elapsed());
    let cloud =
        scene.end(&mut dice).unwrap_or_else(|error| panic!("seed {seed}, {ha} HA routers, at the end: {error:#}"));
    assert_eq!(cloud.errors(), Vec::<String>::new());
}

#[test]
fn nobody_is_pretended_to_be() {
    spoofing::run("auto").unwrap();
}

/// `ISOSPIN_PROGRAM`: the program that is measured, if not the one that this was built with.
#[test]
#[ignore = "a measurement: make bench-members"]
fn a_new_member_of_a_large_group_is_let_in_at_once() {
    let program = std::env::var("ISOSPIN_PROGRAM").unwrap_or_else(|_| PROGRAM.to_owned());
    membership::run_all(&program).unwrap();
}
