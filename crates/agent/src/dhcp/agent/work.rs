//! What is done for one network: ask, get a port, set up, watch, and take away.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use oslo::{context::Context, messaging::CallError};
use rpc::{
    dhcp::{Body, FixedIpRequest, NetworkInfo, PortCreate, PortUpdate},
    payload::Port,
};
use types::{NetworkId, PortId, SubnetId, device};

use super::{Agent, state::Merged};
use crate::{
    chain,
    dhcp::{
        desired::{self, PortStep, Service},
        driver::DriverError,
        queue::{Update, Work},
    },
    metadata::{Scope, proxy::ProxyError},
};

/// Why a network could not be set up or taken away.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Metadata(#[from] ProxyError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the server gives no port on the network")]
    NoPort,
    #[error("the DHCP port has no address on subnet {0}")]
    NoAddress(SubnetId),
}

impl Agent {
    /// Does what waits for a network. What fails is noted to be tried again.
    pub(super) async fn work(self: &Arc<Self>, network: NetworkId, work: Work) {
        let (disable, began) = (work.disable, Instant::now());
        let result = match disable {
            true => self.disable(network).await,
            false => self.enable(network, work).await,
        };
        match result {
            Ok(()) => crate::metrics::worked("dhcp", began.elapsed()),
            Err(error) => self.failed(network, disable, &error),
        }
    }

    async fn enable(self: &Arc<Self>, network: NetworkId, work: Work) -> Result<(), WorkError> {
        let own = self.device_id(network);
        let merged = self.state.lock().merge(network, work.ports, &own);
        if work.fetch || merged == Merged::Doubtful {
            let host = Some(self.config.host.clone());
            match self.client.get_network_info(&Context::admin(), network, host).await? {
                Some(info) => self.state.lock().set(info),
                None => return self.disable(network).await,
            }
        }
        let Some(mut info) = self.state.lock().network(network) else { return Ok(()) };
        if !desired::is_served(&info) {
            return self.disable(network).await;
        }
        let port = self.port(&info).await?;
        if let Some(with_port) = self.state.lock().network(network) {
            info = with_port;
        }
        let service = Service::new(&info, &port, &self.config);
        drop(info);
        self.driver.reconcile(&service).await?;
        self.watch(network)?;
        self.serve_metadata(&service).await;
        let (urgent, ready) = self.state.lock().succeeded(network, service.tap);
        self.ready.add(urgent, true);
        self.ready.add(ready, false);
        Ok(())
    }

    /// Instances get their addresses even where they do not get metadata.
    async fn serve_metadata(&self, service: &Service) {
        let namespace = self.config.system.namespace(&service.namespace);
        let served = self.metadata.set(&scope(service.network), &namespace, service.metadata.as_ref()).await;
        let mut state = self.state.lock();
        let Some(failures) = state.metadata_failures(service.network, served.is_err()) else { return };
        if let Err(error) = served {
            let text = chain(&error);
            match failures {
                1 => tracing::warn!(network = %service.network, error = text, "cannot serve metadata; trying again"),
                _ => tracing::debug!(network = %service.network, error = text, failures, "cannot serve metadata again"),
            }
            state.queue.retry(service.network, Update::Check, self.delay(failures));
        }
    }

    /// Takes away what a network has here. The directory goes last: while it stands, a later agent knows that the port
    /// may not have been given back.
    async fn disable(&self, network: NetworkId) -> Result<(), WorkError> {
        let was_served = self.state.lock().remove(network);
        if !was_served && !self.driver.has(network) {
            return Ok(());
        }
        let namespace = self.config.system.namespace(&device::dhcp_namespace(network));
        self.metadata.set(&scope(network), &namespace, None).await?;
        self.driver.tear_down(network).await?;
        let host = Some(self.config.host.clone());
        match self.client.release_dhcp_port(&Context::admin(), network, self.device_id(network), host).await {
            Err(CallError::Remote(failure)) => {
                tracing::debug!(%network, error = %failure, "the port was not given back, its network may be gone");
            }
            other => other?,
        }
        self.driver.forget(network)?;
        tracing::info!(%network, "no longer serving DHCP");
        Ok(())
    }

    /// The agent's port on the network, with an address on each of its subnets.
    async fn port(&self, network: &NetworkInfo) -> Result<Port, WorkError> {
        let id = self.device_id(network.id);
        let port = match desired::port_step(network, &id) {
            PortStep::Keep(port) => return Ok(*port),
            PortStep::Update(port, addresses) => self.update_port(network, port, Some(addresses), None).await?,
            PortStep::Create(addresses) => self.create_port(network, id, addresses).await?,
            PortStep::Adopt(port) => {
                let adopted = self.update_port(network, port, None, Some(id.clone())).await?;
                match adopted {
                    Some(port) => Some(port),
                    // Another agent was faster.
                    None => self.create_port(network, id, desired::any_addresses(network)).await?,
                }
            }
        };
        let mut port = port.ok_or(WorkError::NoPort)?;
        if !desired::missing_subnets(network, &port).is_empty() {
            port = self.client.get_dhcp_port(&Context::admin(), port.id).await?.ok_or(WorkError::NoPort)?;
        }
        self.state.lock().put_port(network.id, port.clone());
        match desired::missing_subnets(network, &port).first() {
            Some(subnet) => Err(WorkError::NoAddress(*subnet)),
            None => Ok(port),
        }
    }

    async fn create_port(
        &self,
        network: &NetworkInfo,
        device_id: String,
        fixed_ips: Vec<FixedIpRequest>,
    ) -> Result<Option<Port>, CallError> {
        let port = PortCreate {
            name: String::new(),
            admin_state_up: true,
            device_id,
            network_id: network.id,
            project_id: network.project_id.clone(),
            fixed_ips,
            mac_address: None,
        };
        self.client.create_dhcp_port(&Context::admin(), Body { port }, self.config.host.clone()).await
    }

    async fn update_port(
        &self,
        network: &NetworkInfo,
        port: PortId,
        fixed_ips: Option<Vec<FixedIpRequest>>,
        device_id: Option<String>,
    ) -> Result<Option<Port>, CallError> {
        let body = Body { port: PortUpdate { network_id: network.id, fixed_ips, device_id } };
        self.client.update_dhcp_port(&Context::admin(), port, body, self.config.host.clone()).await
    }

    fn device_id(&self, network: NetworkId) -> String {
        desired::device_id(&self.config.host, network)
    }

    /// Has the end of a network's dnsmasq noticed.
    fn watch(self: &Arc<Self>, network: NetworkId) -> Result<(), DriverError> {
        let Some(process) = self.driver.process(network)? else {
            // It ended between its start and now. One delay applies to all that die young.
            let mut state = self.state.lock();
            state.watch(network, 0);
            state.died(network, 0);
            return Ok(());
        };
        if self.state.lock().watch(network, process.pid()) {
            let agent = Arc::downgrade(self);
            let mut watchers = self.watchers.lock();
            while watchers.try_join_next().is_some() {}
            watchers.spawn(async move {
                process.exited().await;
                if let Some(agent) = agent.upgrade() {
                    agent.state.lock().died(network, process.pid());
                    agent.wake.notify_one();
                }
            });
        }
        Ok(())
    }

    fn failed(&self, network: NetworkId, disable: bool, error: &WorkError) {
        let mut state = self.state.lock();
        let failures = state.failed(network);
        let text = chain(error);
        if failures == 1 {
            tracing::warn!(%network, error = text, "could not set up or take away DHCP; trying again");
        } else {
            tracing::debug!(%network, error = text, failures, "could not set up or take away DHCP again");
        }
        let class = match error {
            WorkError::Call(error) => error.remote_class(),
            _ => None,
        };
        match class {
            // The network may have been taken from this agent without its having been told.
            Some("NetworkNotFound") if failures == 1 => self.resync.notify_one(),
            // Whatever frees an address or makes a new one is told, and then it is tried again.
            Some("IpAddressGenerationFailure") => {}
            _ => {
                let update = if disable { Update::Disable } else { Update::Fetch };
                state.queue.retry(network, update, self.delay(failures));
            }
        }
    }

    fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.config.resync_throttle.saturating_mul(1 << doublings).min(self.config.resync_interval)
    }
}

/// Whose proxy that of a network is.
fn scope(network: NetworkId) -> Scope {
    Scope::Network(network.to_string())
}
