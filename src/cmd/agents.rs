//! Agents within a process: all of a host in the standalone service, or one.

use oslo::messaging::Bus;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Stop;
use super::agent::Kind;
use super::edge::Edge;
use super::service::told;
use super::stop::chain;

/// Capabilities that agents cannot do without, by their number in the kernel, and the names of them.
const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// The agents that every host of its own has.
pub(super) const ONE_HOST: [Kind; 3] = [Kind::Linuxbridge, Kind::Dhcp, Kind::L3];

/// The options of the agents that are to run. Read before anything starts, so that a mistake in them is what is told.
pub(super) struct Configs {
    linuxbridge: Option<::agent::linuxbridge::Config>,
    dhcp: Option<::agent::dhcp::Config>,
    l3: Option<::agent::l3::Config>,
    metadata: Option<::agent::metadata::Config>,
}

/// Agents that run.
pub(super) struct Agents {
    stop: watch::Sender<bool>,
    tasks: JoinSet<(&'static str, Result<(), String>)>,
}

impl Configs {
    /// Reads the options of these agents, and finds out whether this process and this machine can run them at all.
    pub(super) fn new(edge: &Edge, kinds: &[Kind]) -> Result<Self, Stop> {
        check(kinds)?;
        let config = edge.config();
        let mut configs = Self { linuxbridge: None, dhcp: None, l3: None, metadata: None };
        for kind in kinds {
            match kind {
                Kind::Linuxbridge => configs.linuxbridge = Some(::agent::linuxbridge::Config::from_oslo(config)?),
                Kind::Dhcp => configs.dhcp = Some(::agent::dhcp::Config::from_oslo(config)?),
                Kind::Metadata => configs.metadata = Some(::agent::metadata::Config::from_oslo(config)?),
                Kind::L3 => configs.l3 = Some(::agent::l3::Config::from_oslo(config)?),
                Kind::Openvswitch => return Err(Stop::usage("this version does not have this agent yet")),
            }
        }
        Ok(configs)
    }

    /// Those of a host that has everything.
    pub(super) fn of_one_host(edge: &Edge) -> Result<Self, Stop> {
        let on = |option| edge.config().get::<bool>("DEFAULT", option);
        match on("enable_isolated_metadata")? || on("force_metadata")? {
            true => Self::new(edge, &[Kind::Linuxbridge, Kind::Dhcp, Kind::L3, Kind::Metadata]),
            false => Self::new(edge, &ONE_HOST),
        }
    }
}

/// Whether this process and this machine can run these agents at all.
pub(super) fn check(kinds: &[Kind]) -> Result<(), Stop> {
    if kinds.iter().any(|kind| *kind != Kind::Metadata) {
        check_capabilities(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())?;
    }
    match kernel::process::which("dnsmasq") {
        None if kinds.contains(&Kind::Dhcp) => Err(Stop::failed(
            "dnsmasq is not installed, and instances get their addresses from it; install the package dnsmasq-base, or \
             run `isospin standalone --api-only`, which starts no agents",
        )),
        _ => Ok(()),
    }
}

impl Agents {
    /// Starts the agents of this host.
    pub(super) fn start(configs: Configs, bus: &Bus) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        if let Some(config) = configs.linuxbridge {
            let agent = ::agent::linuxbridge::run(config, bus.clone(), told(stopped.clone()));
            tasks.spawn(async move { ("Linux bridge agent", agent.await.map_err(|error| chain(&error))) });
        }
        if let Some(config) = configs.dhcp {
            let agent = ::agent::dhcp::run(config, bus.clone(), told(stopped.clone()));
            tasks.spawn(async move { ("DHCP agent", agent.await.map_err(|error| chain(&error))) });
        }
        if let Some(config) = configs.l3 {
            let agent = ::agent::l3::run(config, bus.clone(), told(stopped.clone()));
            tasks.spawn(async move { ("L3 agent", agent.await.map_err(|error| chain(&error))) });
        }
        if let Some(config) = configs.metadata {
            let agent = ::agent::metadata::run(config, bus.clone(), told(stopped));
            tasks.spawn(async move { ("metadata agent", agent.await.map_err(|error| chain(&error))) });
        }
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
