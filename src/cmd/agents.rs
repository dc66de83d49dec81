//! The agents of the standalone service, in its process.

use oslo::messaging::Bus;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Stop;
use super::edge::Edge;
use super::service::told;
use super::stop::chain;

/// Capabilities that agents cannot do without, by their number in the kernel, and the names of them.
const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// The options of the agents. Read before anything starts, so that a mistake in them is what is told.
pub(super) struct Configs {
    linuxbridge: ::agent::linuxbridge::Config,
    dhcp: ::agent::dhcp::Config,
}

/// Agents that run.
pub(super) struct Agents {
    stop: watch::Sender<bool>,
    tasks: JoinSet<(&'static str, Result<(), String>)>,
}

impl Configs {
    /// Reads the options, and finds out whether this process and this machine can run agents at all.
    pub(super) fn new(edge: &Edge) -> Result<Self, Stop> {
        check()?;
        Ok(Self {
            linuxbridge: ::agent::linuxbridge::Config::from_oslo(edge.config())?,
            dhcp: ::agent::dhcp::Config::from_oslo(edge.config())?,
        })
    }
}

/// Whether this process and this machine can run agents at all.
pub(super) fn check() -> Result<(), Stop> {
    check_capabilities(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())?;
    match kernel::process::which("dnsmasq") {
        Some(_) => Ok(()),
        None => Err(Stop::failed(
            "dnsmasq is not installed, and instances get their addresses from it; install the package dnsmasq-base, or \
             run `isospin standalone --api-only`, which starts no agents",
        )),
    }
}

impl Agents {
    /// Starts the agents of this host.
    pub(super) fn start(configs: Configs, bus: &Bus) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let linuxbridge = ::agent::linuxbridge::run(configs.linuxbridge, bus.clone(), told(stopped.clone()));
        tasks.spawn(async move { ("Linux bridge agent", linuxbridge.await.map_err(|error| chain(&error))) });
        let dhcp = ::agent::dhcp::run(configs.dhcp, bus.clone(), told(stopped));
        tasks.spawn(async move { ("DHCP agent", dhcp.await.map_err(|error| chain(&error))) });
        Self { stop, tasks }
    }

    /// Waits until an agent ends by itself, which none does unless it cannot go on.
    pub(super) async fn ended(&mut self) -> Stop {
        match self.tasks.join_next().await {
            Some(Ok((name, Err(error)))) => Stop::failed(format!("the {name} cannot run: {error}")),
            Some(Ok((name, Ok(())))) => Stop::failed(format!("the {name} ended")),
            Some(Err(error)) => Stop::failed(format!("an agent ended: {error}")),
            None => std::future::pending().await,
        }
    }

    /// Has the agents stop; what they set up keeps working.
    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok((name, Err(error))) = ended {
                tracing::error!("the {name} ended: {error}");
            }
        }
    }
}

/// Looks for what agents may do in the text of `/proc/self/status`.
fn check_capabilities(status: &str) -> Result<(), Stop> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    let missing: Vec<_> = CAPABILITIES.iter().filter(|(bit, _)| held >> bit & 1 == 0).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Stop::failed(format!(
        "agents make bridges and namespaces, which needs root ({} missing); run as root, or \
         run `isospin standalone --api-only`, which starts no agents",
        missing.join(" and ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_recognised_by_what_it_may_do() {
        assert!(check_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n").is_ok());
        let text = check_capabilities("CapEff:\t0000000000001000\n").unwrap_err().to_string();
        assert!(text.contains("(CAP_SYS_ADMIN missing)"), "{text}");
        assert!(check_capabilities("").is_err());
    }
}
