//! Real virtual machines on taps that our agents wire, however their hypervisor plugs them in: on an isolated network of the
//! standalone service, and in a cloud of three hosts, on a tenant's network behind a router and on the provider's. They
//! need an emulator and a kernel, so this is not among the other tests: `make test-vm`. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

mod isolated;
mod routed;
mod tools;

use tools::Plugging;

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");

#[test]
#[ignore = "needs an emulator: make test-vm"]
fn a_machine_that_nova_puts_into_the_bridge_is_served() {
    isolated::a_machine_is_served(Plugging::Bridge);
}

#[test]
#[ignore = "needs an emulator: make test-vm"]
fn a_machine_whose_tap_the_agent_wires_is_served() {
    isolated::a_machine_is_served(Plugging::Tap);
}

#[test]
#[ignore = "needs an emulator: make test-vm"]
fn a_tenants_machine_that_nova_puts_into_the_bridge_is_published_and_guarded() {
    routed::machines_are_served(Plugging::Bridge);
}

#[test]
#[ignore = "needs an emulator: make test-vm"]
fn a_tenants_machine_whose_tap_the_agent_wires_is_published_and_guarded() {
    routed::machines_are_served(Plugging::Tap);
}
