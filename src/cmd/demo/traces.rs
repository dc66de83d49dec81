//! What resources leave on the host while they exist, and the wait until nothing of it is there any more.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kernel::System;
use serde_json::Value;
use types::{NetworkId, PortId, device};

use super::super::Stop;

/// How often the host is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Names that must not be there in the end.
pub(super) struct Traces {
    links: Vec<String>,
    namespaces: Vec<String>,
    /// Processes have this directory in their arguments.
    directory: PathBuf,
}

impl Traces {
    /// Those of networks and ports, as the API lists them, and of further namespaces.
    pub(super) fn of(networks: &[Value], ports: &[Value], namespaces: &[&str], directory: &Path) -> Self {
        let network_ids: Vec<NetworkId> = networks.iter().filter_map(id).collect();
        let port_ids: Vec<PortId> = ports.iter().filter_map(id).collect();
        let bridges = network_ids.iter().map(|network| device::bridge(*network));
        let taps = port_ids.iter().map(|port| device::tap(*port));
        let served = network_ids.iter().map(|network| device::dhcp_namespace(*network));
        Self {
            links: bridges.chain(taps).collect(),
            namespaces: served.chain(namespaces.iter().map(|name| (*name).to_owned())).collect(),
            directory: directory.to_owned(),
        }
    }

    /// Waits until none is there; what stays is named.
    pub(super) async fn gone(&self, system: &System, patience: Duration) -> Result<(), Stop> {
        let deadline = Instant::now() + patience;
        loop {
            let left = self.left(system).await.map_err(|error| Stop::because("cannot look at the host", error))?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Stop::failed(format!("left behind after {} s: {}", patience.as_secs(), left.join(", "))));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn left(&self, system: &System) -> kernel::Result<Vec<String>> {
        let mut left = Vec::new();
        for link in system.root().open()?.links().await? {
            if self.links.contains(&link.name) {
                left.push(format!("device {}", link.name));
            }
        }
        let known = self.namespaces.iter().filter(|name| system.namespace_exists(name));
        left.extend(known.map(|name| format!("namespace {name}")));
        left.extend(processes_with(&self.directory).into_iter().map(|pid| format!("process {pid}")));
        Ok(left)
    }
}

fn id<T: std::str::FromStr>(row: &Value) -> Option<T> {
    row["id"].as_str()?.parse().ok()
}

/// Other processes with a path below the directory among their arguments.
fn processes_with(directory: &Path) -> Vec<u32> {
    let needle = format!("{}/", directory.display());
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(&needle)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_follow_from_ids() {
        let network = json!({"id": "c9f7437f-ea19-4528-b2f5-3e84617e55ca"});
        let port = json!({"id": "fb41077e-fd2a-449c-8d40-6f18dabd4e3d"});
        let traces = Traces::of(&[network], &[port], &["one"], Path::new("/nowhere"));
        assert_eq!(traces.links, ["brqc9f7437f-ea", "tapfb41077e-fd"]);
        assert_eq!(traces.namespaces, ["qdhcp-c9f7437f-ea19-4528-b2f5-3e84617e55ca", "one"]);
        assert!(processes_with(Path::new("/nowhere")).is_empty());
    }
}
