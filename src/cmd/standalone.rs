//! `isospin standalone`: everything on one machine, in one process, on an embedded database.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oslo::config::Sources;
use oslo::messaging::Bus;
use server::Parts;

use super::Stop;
use super::agents::{Agents, Configs};
use super::args::Common;
use super::database::Connection;
use super::db::sqlite_url;
use super::edge::Edge;
use super::metrics::{self, Shown};
use super::notify;
use super::service::{self, Server, Signals};

/// Where the API answers when nothing else is said.
const BIND: &str = "127.0.0.1:9696";
/// Where state is kept when nothing else is said.
const STATE_DIR: &str = "/var/lib/isospin";

/// The embedded database within the state directory.
pub(super) const DATABASE: &str = "isospin.sqlite";

/// Run everything on this machine: the API on an embedded database, and its agents.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for the database and the agents' files [default: /var/lib/isospin]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where the API answers [default: 127.0.0.1:9696]
    #[arg(long, value_name = "ADDR:PORT")]
    bind: Option<SocketAddr>,
    /// Start no agent; needs no root
    #[arg(long)]
    api_only: bool,
    #[command(flatten)]
    common: Common,
}

/// A service that runs.
pub(super) struct Standalone {
    server: Server,
    agents: Option<Agents>,
    bus: Bus,
    /// Where it answers.
    pub(super) address: SocketAddr,
    /// Its state.
    pub(super) state_dir: PathBuf,
    _metrics: Option<Shown>,
    _lock: File,
}

pub(super) fn run(before: Common, args: Args) -> Result<(), Stop> {
    let sources = sources(&before.and(args.common), args.state_dir.as_deref(), args.bind);
    let mut edge = Edge::new("isospin", sources)?;
    service::runtime(&edge)?.block_on(async {
        let mut signals = Signals::new()?;
        let mut service = Standalone::start(&edge, args.api_only).await?;
        let clouds = service.state_dir.join("clouds.yaml");
        let _ = writeln!(
            std::io::stdout(),
            "isospin answers on http://{}; OS_CLIENT_CONFIG_FILE={} openstack --os-cloud isospin network list",
            service.address,
            clouds.display()
        );
        service::started();
        let ended = tokio::select! {
            () = signals.stop(&mut edge) => Ok(()),
            stop = service.ended() => Err(stop),
        };
        notify::stopping();
        tracing::info!("stopping");
        service::ending(&mut signals, service.stop()).await;
        ended
    })
}

/// The sources of a standalone service: no file unless one is named, and defaults that need none.
pub(super) fn sources(common: &Common, state_dir: Option<&Path>, bind: Option<SocketAddr>) -> Sources {
    let mut sources = common.sources(Sources::default());
    let state = std::path::absolute(state_dir.unwrap_or(Path::new(STATE_DIR))).unwrap_or_else(|_| STATE_DIR.into());
    let (host, port) = BIND.rsplit_once(':').unwrap_or((BIND, "9696"));
    let defaults = [
        (("DEFAULT", "state_path"), state.display().to_string()),
        (("DEFAULT", "bind_host"), host.to_owned()),
        (("DEFAULT", "bind_port"), port.to_owned()),
        (("DEFAULT", "auth_strategy"), "noauth".to_owned()),
        (("DEFAULT", "core_plugin"), "ml2".to_owned()),
        (("ml2", "mechanism_drivers"), "linuxbridge,openvswitch".to_owned()),
        (("ml2", "extension_drivers"), "port_security".to_owned()),
        // A single host has nobody to tunnel to.
        (("vxlan", "enable_vxlan"), "false".to_owned()),
    ];
    sources.defaults.extend(defaults);
    if state_dir.is_some() {
        sources.overrides.insert(("DEFAULT", "state_path"), state.display().to_string());
    }
    if let Some(bind) = bind {
        sources.overrides.insert(("DEFAULT", "bind_host"), bind.ip().to_string());
        sources.overrides.insert(("DEFAULT", "bind_port"), bind.port().to_string());
    }
    sources
}

impl Standalone {
    /// Starts everything; when it returns, the API answers.
    pub(super) async fn start(edge: &Edge, api_only: bool) -> Result<Self, Stop> {
        let config = service::config(edge)?;
        let auth = service::auth(edge)?;
        let agents = if api_only { None } else { Some(Configs::of_one_host(edge)?) };
        let state_dir: PathBuf = edge.config().get("DEFAULT", "state_path")?;
        let lock = lock(&state_dir)?;
        let address = service::address(edge)?;
        let listener = service::listen(address).await?;
        let address = listener.local_addr().unwrap_or(address);
        let configured: Option<String> = edge.config().get("database", "connection")?;
        let url = configured.unwrap_or_else(|| sqlite_url(&state_dir));
        let database = Connection::new(edge, &url)?.open().await?;
        service::upgrade(&database).await?;
        let bus = Bus::in_process();
        let parts = Parts::new(database, bus.clone(), config).with_auth(auth);
        let parts = service::parts(edge, "isospin", parts).await?;
        let metrics = metrics::show(edge.config(), Some(Arc::clone(&parts))).await?;
        let server = Server::start(Some(listener), parts, edge.config().host()?);
        let agents = agents.map(|configs| Agents::start(configs, &bus));
        write_clouds(&state_dir, address)?;
        Ok(Self { server, agents, bus, address, state_dir, _metrics: metrics, _lock: lock })
    }

    /// Waits until some part cannot go on.
    pub(super) async fn ended(&mut self) -> Stop {
        match &mut self.agents {
            Some(agents) => agents.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Ends it: requests in progress first, then the agents. What they set up keeps working.
    pub(super) async fn stop(self) {
        self.server.drain().await;
        if let Some(agents) = self.agents {
            agents.stop().await;
        }
        self.bus.close();
    }
}

/// Makes the state directory and keeps a second service out of it.
fn lock(state_dir: &Path) -> Result<File, Stop> {
    let path = state_dir.join("isospin.lock");
    let file = std::fs::create_dir_all(state_dir)
        .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path));
    let file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Stop::failed(format!(
            "{} may not be written by this user; choose another directory with --state-dir",
            state_dir.display()
        )),
        _ => Stop::because(format!("cannot use {} as the state directory", state_dir.display()), error),
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Stop::failed(format!(
            "another isospin runs on {}; stop it, or choose another directory with --state-dir",
            state_dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(Stop::because(format!("cannot lock {}", path.display()), error)),
    }
}

/// Writes the file that OpenStack clients find the cloud `isospin` in.
fn write_clouds(state_dir: &Path, address: SocketAddr) -> Result<(), Stop> {
    let path = state_dir.join("clouds.yaml");
    std::fs::write(&path, clouds(reachable(address)))
        .map_err(|error| Stop::because(format!("cannot write {}", path.display()), error))
}

/// The address by which a client on this machine reaches a service that may listen on all.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    SocketAddr::new(ip, address.port())
}

fn clouds(address: SocketAddr) -> String {
    format!(
        "# Written by isospin at each start.\n\
         clouds:\n\
         \x20 isospin:\n\
         \x20   auth_type: none\n\
         \x20   auth:\n\
         \x20     endpoint: http://{address}/\n\
         \x20   network_endpoint_override: http://{address}/\n\
         \x20   network_api_version: \"2\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_to_a_state_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let text = lock(dir.path()).unwrap_err().to_string();
        assert!(text.starts_with("another isospin runs on "), "{text}");
        drop(held);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn arguments_win_over_the_defaults_of_the_subcommand() {
        let bind = "[::1]:1".parse().unwrap();
        let config = |sources| oslo::config::Config::load(sources).unwrap();
        let plain = config(sources(&Common::default(), None, None));
        assert_eq!(plain.get::<String>("DEFAULT", "state_path").unwrap(), STATE_DIR);
        assert_eq!(plain.get::<u16>("DEFAULT", "bind_port").unwrap(), 9696);
        let named = config(sources(&Common::default(), Some(Path::new("/s")), Some(bind)));
        assert_eq!(named.get::<String>("DEFAULT", "state_path").unwrap(), "/s");
        assert_eq!(named.get::<String>("DEFAULT", "bind_host").unwrap(), "::1");
    }

    #[test]
    fn a_client_reaches_a_service_on_all_addresses_by_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()).to_string(), "127.0.0.1:1");
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()).to_string(), "10.0.0.1:1");
    }
}
