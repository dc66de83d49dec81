//! Security groups and anti-spoofing by real packets: the Linux bridge agent on the real kernel, each test on a machine of
//! its own, with a scripted server. Needs root.
//!
//! `ISOSPIN_TEST_FIREWALL` says which driver: `iptables`, the default here, or `nftables`, which needs a kernel that
//! tracks connections on bridges. What nftables does without tracking is tested on every kernel.
//! `ISOSPIN_TEST_FAST_PATH`, if set, has the tests of the fast path fail where the kernel cannot have it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, unreachable_pub)]

mod fast_path;
mod frames;
mod lab;
mod lifecycle;
#[allow(dead_code)]
#[path = "../linuxbridge/server.rs"]
mod server;
mod speed;
mod spoofing;
mod traffic;
mod updates;
