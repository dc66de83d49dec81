//! `isospin demo`: the whole thing once, for real, with a story of what happened.
//!
//! It starts the standalone service on a fresh state directory, makes a network with two ports through the public API,
//! plugs two namespaces as instances, runs a real DHCP client in each, and lets one ping the other. Then it removes
//! everything it made and looks whether anything is left. It ends with 0 only if every step it told of succeeded.

mod cloud;
mod instance;
mod story;
mod traces;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kernel::System;
use serde_json::Value;

use super::Stop;
use super::agents;
use super::args::Common;
use super::edge::Edge;
use super::service::{self, Signals};
use super::standalone::{self, Standalone};
use cloud::Cloud;
use instance::Instance;
use story::Story;
use traces::Traces;

/// State of the demo when nothing else is said.
const STATE_DIR: &str = "/var/lib/isospin-demo";
/// Marks a state directory as the demo's, which it may empty.
const MARKER: &str = "isospin-demo";
/// The subnet of the demo. Its namespaces are all that knows of it, so it collides with nothing.
const CIDR: &str = "10.77.0.0/24";
/// The two instances.
const NAMES: [&str; 2] = ["isospin-demo-1", "isospin-demo-2"];
/// How long agents may take to report, and to remove what was deleted.
const PATIENCE: Duration = Duration::from_secs(15);

/// See it work: two instances get addresses and reach each other.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Fresh directory for the state of the service [default: /var/lib/isospin-demo]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where the API answers [default: 127.0.0.1:9696]
    #[arg(long, value_name = "ADDR:PORT")]
    bind: Option<SocketAddr>,
    /// Stay up until Ctrl-C, to look around
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(before: Common, args: Args) -> Result<(), Stop> {
    let given = args.state_dir.unwrap_or_else(|| STATE_DIR.into());
    let state_dir = std::path::absolute(&given).unwrap_or(given);
    agents::check(&agents::ONE_HOST)?;
    instance::check_programs()?;
    let interrupted = prepare(&state_dir)?;
    let mut sources = standalone::sources(&before.and(args.common), Some(&state_dir), args.bind);
    let log = state_dir.join("isospin.log");
    sources.defaults.insert(("DEFAULT", "log_file"), log.display().to_string());
    let mut edge = Edge::new("isospin", sources)?;
    let result = service::runtime(&edge)?.block_on(async {
        let mut signals = Signals::new()?;
        let demo = Demo { state_dir: &state_dir, interrupted, keep: args.keep };
        demo.perform(&mut edge, &mut signals).await
    });
    match result {
        Ok(()) => remove(&state_dir),
        // Nothing was started: there is nothing to look at, and nothing to clean up.
        Err(stop) if !state_dir.join(standalone::DATABASE).exists() => remove(&state_dir).and(Err(stop)),
        Err(stop) => Err(Stop::failed(format!("{stop}\nThe log of the service is {}.", log.display()))),
    }
}

/// What is asked for, and what there was before.
struct Demo<'a> {
    state_dir: &'a Path,
    interrupted: bool,
    keep: bool,
}

impl Demo<'_> {
    /// Starts the service, plays the scene, and removes what it made whether it went well or not.
    async fn perform(&self, edge: &mut Edge, signals: &mut Signals) -> Result<(), Stop> {
        let mut story = Story::new();
        story.title("Isospin: a network service, and its Linux bridge, DHCP and L3 agents in one process.");
        let mut service = story.step(Standalone::start(edge, false)).await?;
        let database =
            if self.interrupted { "the database of a demo that was cut short" } else { "a database made just now" };
        story.tell(&format!("the API answers on http://{}, on {database}", service.address));
        let cloud = Cloud::new(&self.state_dir.join("clouds.yaml"));
        let host = edge.config().host()?;
        let played = tokio::select! {
            played = self.scene(&mut story, &cloud, &host) => played,
            stop = service.ended() => Err(stop),
            () = signals.stop(edge) => Err(Stop::failed("interrupted")),
        };
        if let (Ok([one, two]), true) = (&played, self.keep) {
            invite(&story, &service, one, two);
            tokio::select! {
                () = signals.stop(edge) => {}
                stop = service.ended() => story.line(&stop.to_string()),
            }
        }
        let cleared = story.step(clean_up(&cloud, self.state_dir)).await;
        if cleared.is_ok() {
            story.tell("removed all of it; no device, namespace or process is left behind");
        }
        service::ending(signals, service.stop()).await;
        // What went wrong first is what matters.
        played.and(cleared)
    }

    /// What the demo shows.
    async fn scene(&self, story: &mut Story, cloud: &Cloud, host: &str) -> Result<[Instance; 2], Stop> {
        story.step(cloud.agents_alive(agents::ONE_HOST.len(), PATIENCE)).await?;
        story.tell("the Linux bridge, DHCP and L3 agents of this host have reported");
        if self.interrupted {
            story.step(clean_up(cloud, self.state_dir)).await?;
            story.tell("removed what the demo before had left");
        }
        let instances = create(story, cloud, host).await?;
        for instance in &instances {
            let active = async {
                instance.plug().await?;
                cloud.port_active(&instance.port.to_string(), PATIENCE).await
            };
            story.step(active).await?;
            let tap = instance.tap();
            story.tell(&format!("plugged {}: the device {tap} appeared, and the port is ACTIVE", instance.name));
        }
        for instance in &instances {
            let lease = story.step(instance.lease(self.state_dir)).await?;
            story.tell(&format!("{} got {lease} by DHCP, from udhcpc", instance.name));
        }
        let [one, two] = &instances;
        let answered = story.step(one.ping(two.address)).await?;
        story.tell(&format!("{} pings {}: {answered}", one.name, two.name));
        for table in ["net-list", "port-list", "agent-list"] {
            story.table(&format!("isospin client {table}"), &cloud.table(&[table]).await?);
        }
        story.line("");
        Ok(instances)
    }
}

/// Creates a network and two ports on it.
async fn create(story: &mut Story, cloud: &Cloud, host: &str) -> Result<[Instance; 2], Stop> {
    let network = story.step(cloud.create(&["net-create", "demo"])).await?;
    story.tell(&format!("created the network demo, MTU {}", network["mtu"]));
    story.step(cloud.create(&["subnet-create", "--name", "demo", "demo", CIDR])).await?;
    story.tell(&format!("created its subnet {CIDR} with DHCP"));
    let [one, two] = NAMES;
    Ok([create_port(story, cloud, host, one).await?, create_port(story, cloud, host, two).await?])
}

async fn create_port(story: &mut Story, cloud: &Cloud, host: &str, name: &'static str) -> Result<Instance, Stop> {
    let words = ["port-create", "--name", name, "demo", "--binding:host_id", host, "--device-owner", "compute:demo"];
    let port = story.step(cloud.create(&words)).await?;
    let instance = Instance::of_port(name, &port)?;
    story.tell(&format!("created the port {name}: {}, {}", instance.address, instance.mac));
    Ok(instance)
}

fn invite(story: &Story, service: &Standalone, one: &Instance, two: &Instance) {
    let clouds = service.state_dir.join("clouds.yaml");
    let program = std::env::current_exe().unwrap_or_else(|_| "isospin".into());
    story.line("It stays up until Ctrl-C. To look around from another terminal:");
    story.line(&format!("  export OS_CLIENT_CONFIG_FILE={} OS_CLOUD=isospin", clouds.display()));
    story.line("  openstack --os-cloud isospin port list");
    story.line(&format!("  {} client net-list", program.display()));
    story.line(&format!("  ip netns exec {} ping {}", one.name, two.address));
    story.line("");
}

/// Deletes every resource of the demo's own service, then waits until the agents have followed.
async fn clean_up(cloud: &Cloud, state_dir: &Path) -> Result<(), Stop> {
    let system = System::current();
    let networks = cloud.list(&["net-list", "-c", "id"]).await?;
    let ports = cloud.list(&["port-list", "-c", "id", "-c", "device_owner"]).await?;
    let traces = Traces::of(&networks, &ports, &NAMES, &state_dir.join("dhcp"));
    for name in NAMES {
        system.namespace_delete(name).map_err(|error| Stop::because(format!("cannot remove {name}"), error))?;
    }
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    for port in ports.iter().filter(|port| text(port, "device_owner") != "network:dhcp") {
        cloud.delete("port-delete", &text(port, "id")).await?;
    }
    for network in &networks {
        cloud.delete("net-delete", &text(network, "id")).await?;
    }
    traces.gone(&system, PATIENCE).await
}

/// Makes the state directory, and tells whether an interrupted demo left its state there.
fn prepare(state_dir: &Path) -> Result<bool, Stop> {
    let failed = |error| Stop::because(format!("cannot use {} as the state directory", state_dir.display()), error);
    std::fs::create_dir_all(state_dir).map_err(failed)?;
    let marker = state_dir.join(MARKER);
    let ours = marker.exists();
    if !ours && std::fs::read_dir(state_dir).map_err(failed)?.next().is_some() {
        return Err(Stop::usage(format!(
            "{} is not empty; the demo needs a fresh directory, give it one with --state-dir",
            state_dir.display()
        )));
    }
    std::fs::write(&marker, "The demo may remove everything in this directory.\n").map_err(failed)?;
    Ok(ours && state_dir.join(standalone::DATABASE).exists())
}

fn remove(state_dir: &Path) -> Result<(), Stop> {
    std::fs::remove_dir_all(state_dir)
        .map_err(|error| Stop::because(format!("cannot remove {}", state_dir.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_holds_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("thesis.tex"), "").unwrap();
        let text = prepare(&other).unwrap_err().to_string();
        assert!(
            text.ends_with("is not empty; the demo needs a fresh directory, give it one with --state-dir"),
            "{text}"
        );

        let fresh = dir.path().join("fresh");
        assert!(!prepare(&fresh).unwrap());
        assert!(!prepare(&fresh).unwrap(), "an empty directory of ours is fresh");
        std::fs::write(fresh.join(standalone::DATABASE), "").unwrap();
        assert!(prepare(&fresh).unwrap(), "a database of ours is what an interrupted demo left");
        remove(&fresh).unwrap();
        assert!(!fresh.exists());
    }
}
