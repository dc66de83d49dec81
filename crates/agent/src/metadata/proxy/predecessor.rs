//! The haproxy that upstream's agent ran for a network: ended once we serve in its place.

use std::{path::PathBuf, time::Duration};

use kernel::{
    Namespace, file,
    process::{Process, Signal, TERMINATE_GRACE},
    sysctl,
};
use tokio::time::timeout;

use super::{Config, ProxyError};
use crate::metadata::Scope;

/// How long it may take to finish what it has begun.
const FINISH: Duration = Duration::from_secs(3);
/// Has connections that a closed socket has not taken yet go to another one on its address.
const MIGRATE: &str = "net/ipv4/tcp_migrate_req";

/// The files of an haproxy.
struct Files {
    configuration: PathBuf,
    pid: PathBuf,
}

impl Files {
    fn of(config: &Config, id: &str) -> Self {
        Self {
            configuration: config.state_path.join("ns-metadata-proxy").join(format!("{id}.conf")),
            pid: config.state_path.join("external/pids").join(format!("{id}.pid.haproxy")),
        }
    }

    /// The process that runs by these files.
    fn process(&self, id: &str) -> Result<Option<Process>, ProxyError> {
        match Process::find(&self.pid, id)? {
            Some(process) => Ok(Some(process)),
            None => Ok(Process::search(&self.configuration.display().to_string()).pop()),
        }
    }
}

/// Ends the haproxy that serves a network or router from this namespace, if there is one, and removes its files. It
/// takes no more connections at once, and finishes those that it has.
pub(super) async fn end(config: &Config, scope: &Scope, namespace: &Namespace) -> Result<(), ProxyError> {
    let id = scope.id();
    let files = Files::of(config, id);
    if !file::exists(&files.configuration) && !file::exists(&files.pid) {
        return Ok(());
    }
    if let Some(process) = files.process(id)? {
        // That of a router may be the L3 agent's, in another namespace.
        if matches!(scope, Scope::Router(_)) && !process.is_in(namespace) {
            return Ok(());
        }
        let _ = sysctl::write(namespace, MIGRATE, "1");
        tracing::info!(id, pid = process.pid(), "taking over from haproxy");
        process.signal(Signal::SIGUSR1)?;
        if timeout(FINISH, process.exited()).await.is_err() {
            process.terminate(TERMINATE_GRACE).await?;
        }
    }
    file::remove(&files.configuration)?;
    Ok(file::remove(&files.pid)?)
}
