//! Whether the way out works, as the host that serves finds out for keepalived. Pure.
//!
//! keepalived runs a script of ours every few seconds. Where the gateways outside do not answer it twice, the host gives
//! the router up, and another one takes it. Who waits has no address to ask from, and is always well.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use crate::l3::desired::Hop;

/// How many answers in a row must be missing, or there again, before it counts.
pub(super) const IN_A_ROW: u8 = 2;
/// Seconds that an answer may take.
const PATIENCE: u8 = 1;

/// A script that a keepalived runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name in keepalived's file.
    pub name: String,
    /// Where it is.
    pub file: PathBuf,
    /// What it does; none where nothing is to be checked, or there is no way out.
    pub text: Option<String>,
    /// Seconds between two runs.
    pub interval: u32,
}

impl Check {
    /// The check of the router of that number: every next hop of its default routes answers.
    pub(super) fn new(
        number: u8,
        directory: &Path,
        primary: (&IpNet, &str),
        routes: &BTreeMap<IpNet, Vec<Hop>>,
        interval: u32,
    ) -> Self {
        let default = routes.iter().filter(|(net, _)| net.prefix_len() == 0 && interval > 0).flat_map(|(_, hops)| hops);
        let gateways: Vec<(IpAddr, &str)> =
            default.filter_map(|hop| Some((hop.gateway?, hop.device.as_str()))).collect();
        let file = directory.join(format!("ha_check_script_{number}.sh"));
        let text = (!gateways.is_empty()).then(|| text(primary, &gateways));
        Self { name: format!("ha_health_check_{number}"), file, text, interval }
    }
}

fn text((address, device): (&IpNet, &str), gateways: &[(IpAddr, &str)]) -> String {
    let mut text = String::from("#!/bin/sh\n");
    let _ = writeln!(text, "ip -oneline address show dev {device} | grep -qF ' {address} ' || exit 0");
    for (gateway, device) in gateways {
        let _ = writeln!(text, "ping -q -n -c 1 -w {PATIENCE} -I {device} {gateway} >/dev/null 2>&1 || exit 1");
    }
    text
}
