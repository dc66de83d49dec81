//! The DHCP agent on real kernels, with real dnsmasq and real clients. Needs root, dnsmasq, udhcpc,
//! dhclient, curl and haproxy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs, unreachable_pub)]

mod lab;
mod lease;
mod lifecycle;
mod messages;
mod metadata;
mod nova;
mod scale;
mod server;
