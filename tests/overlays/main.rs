//! Overlay networks of three hosts, flooded in each of the ways there are: packets of full size pass unfragmented, networks
//! do not see each other, an agent that is killed costs no packet, a host that goes is forgotten everywhere, and nothing
//! is left behind. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

mod capture;
mod mode;
mod scene;

use std::time::Instant;

use mode::Mode;
use scene::Scene;
use testkit::cloud::Plan;

#[test]
fn three_hosts_share_networks_however_these_are_flooded() {
    let plan = Plan::new(env!("CARGO_BIN_EXE_isospin")).firewall("noop").l2_population();
    let mut cloud = plan.start().unwrap();
    for mode in Mode::ALL {
        let began = Instant::now();
        let passed = Scene::set(&mut cloud, mode).and_then(|mut scene| scene.play());
        passed.unwrap_or_else(|error| panic!("{mode:?}: {error:#}"));
        println!("{mode:?}: {:?}", began.elapsed());
    }
    // Answers to agents that were killed before they came.
    let errors = cloud.errors().into_iter().filter(|line| !line.contains("isospin.oslo.messaging.rabbit.reply"));
    assert_eq!(errors.collect::<Vec<_>>(), Vec::<String>::new());
    cloud.stop().unwrap();
}
