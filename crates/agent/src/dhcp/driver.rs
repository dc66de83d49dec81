//! Reads what a network has on this host, and brings it to what it shall have.
//!
//! [`plan`] decides; this file reads and does. Every step may find its work done already, and may be done again after
//! it was cut short.

mod plan;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use kernel::{
    Address, LinkChange, Namespace, Netlink, Route, checksum, datagram, file, missing_is_fine,
    process::{self, Process, ProcessError, Signal, TERMINATE_GRACE},
    sysctl,
};
use parking_lot::Mutex;
use types::{NetworkId, device};

use super::{
    Config,
    desired::{Gateway, Service},
    dnsmasq, files,
    lease::{self, Lease},
};
use crate::interface::Pair;

pub use plan::{Running, State, Step, plan};

/// How long dnsmasq may take to go into the background, and a release to be sent.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How often a lease is released before it is given up, and the time that dnsmasq has to note each release.
const RELEASE_TRIES: usize = 3;
const RELEASE_PAUSE: Duration = Duration::from_millis(300);
/// How finely that time is watched.
const RELEASE_POLL: Duration = Duration::from_millis(20);
/// How often a plan may uncover another one, as when an address takes its routes along.
const ROUNDS: usize = 3;
/// The files that are compared; `leases` is dnsmasq's own.
const FILES: [&str; 5] = ["interface", "host", "addn_hosts", "opts", "leases"];
const PORT_DHCP: u16 = 67;

/// What went wrong on this host.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// There is no dnsmasq.
    #[error("dnsmasq is not installed: install the package dnsmasq-base (Debian, Ubuntu) or dnsmasq (elsewhere)")]
    DnsmasqMissing,
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A program failed.
    #[error(transparent)]
    Process(ProcessError),
    /// What was done did not last.
    #[error("the DHCP server of network {0} does not stay as it is made")]
    Unsettled(NetworkId),
}

/// The DHCP servers of this host.
pub struct Driver {
    config: Arc<Config>,
    host: Netlink,
    /// The dnsmasq of each network that has read the files as they are; forgotten by a restart, which then has it read
    /// them once more.
    read: Mutex<HashMap<NetworkId, i32>>,
}

impl From<ProcessError> for DriverError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::NotInstalled(program) if program == dnsmasq::PROGRAM => Self::DnsmasqMissing,
            other => Self::Process(other),
        }
    }
}

impl Driver {
    /// The DHCP servers of the configured machine.
    pub fn new(config: Arc<Config>) -> Result<Self, DriverError> {
        let host = config.system.root().open()?;
        Ok(Self { config, host, read: Mutex::default() })
    }

    /// The networks that have something here, by their directories.
    pub fn networks(&self) -> Result<Vec<NetworkId>, DriverError> {
        let names = file::list(&self.config.dhcp_confs)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Whether a network has something here.
    pub fn has(&self, network: NetworkId) -> bool {
        file::exists(&self.config.directory(network))
    }

    /// The dnsmasq of a network, if it lives.
    pub fn process(&self, network: NetworkId) -> Result<Option<Process>, DriverError> {
        let pid_file = self.config.directory(network).join("pid");
        Ok(Process::find(&pid_file, &network.to_string())?)
    }

    /// Brings a network to what it shall have. Returns whether anything had to be done.
    pub async fn reconcile(&self, service: &Service) -> Result<bool, DriverError> {
        for round in 0..=ROUNDS {
            let state = self.state(service.network, &service.tap, &service.interface).await?;
            let steps = plan(service, &state);
            if steps.is_empty() {
                return Ok(round > 0);
            }
            tracing::debug!(network = %service.network, ?steps, "changing the DHCP server");
            let only_files = !steps.iter().any(Step::may_uncover_another);
            self.follow(service, steps).await?;
            if only_files {
                return Ok(true);
            }
        }
        Err(DriverError::Unsettled(service.network))
    }

    /// Takes away all but the directory, by which a later agent would know that there is more to do.
    pub async fn tear_down(&self, network: NetworkId) -> Result<(), DriverError> {
        self.read.lock().remove(&network);
        self.end_all(network).await?;
        let name = device::dhcp_namespace(network);
        let interface = file::read(&self.config.directory(network).join("interface"))?;
        if let Some(port) = interface.as_deref().and_then(|name| name.strip_prefix(device::DHCP_INTERFACE_PREFIX)) {
            missing_is_fine(self.host.link_delete(&format!("{}{port}", device::TAP_PREFIX)).await)?;
        }
        if let Some(netlink) = enter(&self.config.system.namespace(&name))? {
            for link in netlink.links().await?.iter().filter(|link| link.kind == kernel::Kind::Veth) {
                missing_is_fine(netlink.link_delete(&link.name).await)?;
            }
        }
        Ok(self.config.system.namespace_delete(&name)?)
    }

    /// Takes away the directory.
    pub fn forget(&self, network: NetworkId) -> Result<(), DriverError> {
        Ok(file::remove_directory(&self.config.directory(network))?)
    }

    async fn state(&self, network: NetworkId, tap: &str, interface: &str) -> Result<State, DriverError> {
        let namespace = self.namespace(network);
        let mut state = State { tap: self.host.link(tap).await?, ..State::default() };
        let directory = self.config.directory(network);
        for name in FILES {
            state.files.extend(file::read(&directory.join(name))?.map(|text| (name, text)));
        }
        if let Some(process) = self.process(network)? {
            let read = self.read.lock().get(&network) == Some(&process.pid());
            let here = process.is_in(&namespace);
            state.process = Some(Running { pid: process.pid(), arguments: process.arguments(), here, read });
        }
        let Some(inside) = enter(&namespace)? else { return Ok(state) };
        state.namespace = true;
        state.links = inside.links().await?;
        state.parameters = parameters(&namespace);
        if let Some(link) = state.links.iter().find(|link| link.name == interface) {
            state.addresses = inside.addresses().await?;
            state.addresses.retain(|address| address.link == link.index);
            state.routes = inside.routes().await?;
            state.checksums = checksum::is_computed(&namespace, interface)?;
        }
        Ok(state)
    }

    fn namespace(&self, network: NetworkId) -> Namespace {
        self.config.system.namespace(&device::dhcp_namespace(network))
    }

    /// Takes the steps. One that only a part of the service needs may fail without keeping the rest from being served;
    /// its error comes at the end.
    async fn follow(&self, service: &Service, steps: Vec<Step>) -> Result<(), DriverError> {
        let mut failed = None;
        for step in steps {
            let may_fail = step.may_fail();
            match self.step(service, step).await {
                Err(error) if may_fail => failed = failed.or(Some(error)),
                other => other?,
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn step(&self, service: &Service, step: Step) -> Result<(), DriverError> {
        match step {
            Step::MakeDirectory => file::make_directory(&service.directory)?,
            Step::WriteFile(name, text) => self.write(service, name, &text)?,
            Step::Stop => self.stop(service).await?,
            Step::Start => self.start(service).await?,
            Step::Reload => self.reload(service)?,
            Step::Release(leases) => self.release(service, leases).await,
            Step::CreateNamespace => {
                self.config.system.namespace_delete(&service.namespace)?;
                self.config.system.namespace_create(&service.namespace)?;
            }
            Step::DeleteTap => missing_is_fine(self.host.link_delete(&service.tap).await)?,
            Step::SetTap(change) => missing_is_fine(self.host.link_set(&service.tap, &change).await)?,
            Step::CreatePair => self.create_pair(service).await?,
            Step::AddChecksumRules => add_checksum_rules(&self.namespace(service.network)).await,
            step => self.inside(service, step).await?,
        }
        Ok(())
    }

    /// The steps that are one request to the kernel, inside the namespace.
    async fn inside(&self, service: &Service, step: Step) -> Result<(), DriverError> {
        let namespace = self.namespace(service.network);
        let inside = namespace.open()?;
        let interface = &service.interface;
        match step {
            Step::RaiseLoopback => inside.link_set("lo", &LinkChange::up()).await?,
            Step::SetParameter(key, value) => missing_is_fine(sysctl::write(&namespace, key, value))?,
            Step::DeleteDevice(name) => missing_is_fine(inside.link_delete(&name).await)?,
            Step::SetInterface(change) => inside.link_set(interface, &change).await?,
            Step::ComputeChecksums => checksum::compute(&namespace, interface)?,
            Step::DeleteAddress(address) => missing_is_fine(inside.address_delete(&address).await)?,
            Step::AddAddress(net) => inside.address_set(&Address::new(index(&inside, interface).await?, net)).await?,
            Step::DeleteRoute(route) => missing_is_fine(inside.route_delete(&route).await)?,
            Step::SetGateway(gateway) => set_gateway(&inside, index(&inside, interface).await?, gateway).await?,
            _ => {}
        }
        Ok(())
    }

    async fn create_pair(&self, service: &Service) -> Result<(), DriverError> {
        let pair = Pair { tap: &service.tap, name: &service.interface, mac: service.mac, mtu: service.mtu };
        Ok(pair.create(&self.host, &self.namespace(service.network)).await?)
    }

    fn write(&self, service: &Service, name: &str, text: &str) -> Result<(), DriverError> {
        self.read.lock().remove(&service.network);
        Ok(file::replace(&service.directory.join(name), text)?)
    }

    async fn stop(&self, service: &Service) -> Result<(), DriverError> {
        if let Some(process) = self.process(service.network)? {
            tracing::info!(network = %service.network, pid = process.pid(), "stopping dnsmasq");
            process.terminate(TERMINATE_GRACE).await?;
        }
        Ok(())
    }

    async fn start(&self, service: &Service) -> Result<(), DriverError> {
        let leases = service.directory.join("leases");
        let before = file::read(&leases)?.unwrap_or_default();
        file::replace(&leases, &files::leases_file(&service.leases, &before))?;
        if let Some(directory) =
            dnsmasq::log_file(service.network, &self.config).as_deref().and_then(|log| log.parent())
        {
            file::make_directory(directory)?;
        }
        let namespace = self.namespace(service.network);
        let started = process::run(Some(&namespace), &service.command, START_LIMIT).await;
        if let Err(ProcessError::Failed { .. }) = &started {
            // Another may sit on its ports whose pid file was lost.
            self.end_all(service.network).await?;
            process::run(Some(&namespace), &service.command, START_LIMIT).await?;
        } else {
            started?;
        }
        if let Some(process) = self.process(service.network)? {
            tracing::info!(network = %service.network, pid = process.pid(), "started dnsmasq");
            self.read.lock().insert(service.network, process.pid());
        }
        Ok(())
    }

    /// Ends the dnsmasq that the pid file names, and any other that serves from our files in our namespace. Where the
    /// file is lost, both must be so: another agent's view of the machine may have a file of that name too.
    async fn end_all(&self, network: NetworkId) -> Result<(), DriverError> {
        let namespace = self.namespace(network);
        let mut processes = Process::search(&dnsmasq::pid_file_argument(&self.config.directory(network)));
        processes.retain(|process| process.is_in(&namespace));
        processes.extend(self.process(network)?);
        for process in processes {
            process.terminate(TERMINATE_GRACE).await?;
        }
        Ok(())
    }

    fn reload(&self, service: &Service) -> Result<(), DriverError> {
        if let Some(process) = self.process(service.network)? {
            process.signal(Signal::SIGHUP)?;
            self.read.lock().insert(service.network, process.pid());
        }
        Ok(())
    }

    /// Gives back leases. One that dnsmasq keeps is told about and left: it ends by itself.
    async fn release(&self, service: &Service, mut leases: Vec<Lease>) {
        for _ in 0..RELEASE_TRIES {
            for lease in &leases {
                if let Err(error) = self.release_one(service, lease).await {
                    tracing::debug!(network = %service.network, address = %lease.address, %error, "release failed");
                }
            }
            let mut waited = Duration::ZERO;
            while !leases.is_empty() && waited < RELEASE_PAUSE {
                tokio::time::sleep(RELEASE_POLL).await;
                waited += RELEASE_POLL;
                let text = file::read(&service.directory.join("leases")).ok().flatten().unwrap_or_default();
                let held = lease::parse(&text);
                leases.retain(|lease| {
                    held.iter().any(|held| held.address == lease.address && held.holder == lease.holder)
                });
            }
            if leases.is_empty() {
                return;
            }
        }
        let left: Vec<String> = leases.iter().map(|lease| lease.address.to_string()).collect();
        tracing::warn!(network = %service.network, addresses = left.join(", "), "dnsmasq keeps leases that nobody holds");
    }

    async fn release_one(&self, service: &Service, lease: &Lease) -> Result<(), DriverError> {
        let namespace = self.namespace(service.network);
        let Some(command) = lease.release_command(&service.interface) else { return Ok(()) };
        match process::run(Some(&namespace), &command, START_LIMIT).await {
            Err(ProcessError::NotInstalled(_)) => {}
            other => return Ok(other?),
        }
        // dnsmasq takes the release only at the address that it gave the lease from.
        let server = service.addresses.iter().find(|net| net.contains(&lease.address)).map(|net| net.addr());
        if let Some(IpAddr::V4(server)) = server
            && let Some(packet) = lease.release_packet(server)
        {
            datagram::send(&namespace, (server, PORT_DHCP).into(), &packet)?;
        }
        Ok(())
    }
}

impl reconcile::Driver for Driver {
    type Key = NetworkId;
    type Wanted = Service;
    type Actual = State;
    type Error = DriverError;

    async fn read(&self) -> Result<BTreeMap<NetworkId, State>, DriverError> {
        let mut states = BTreeMap::new();
        for network in self.networks()? {
            let interface = file::read(&self.config.directory(network).join("interface"))?.unwrap_or_default();
            let port = interface.strip_prefix(device::DHCP_INTERFACE_PREFIX).unwrap_or_default();
            let tap = format!("{}{port}", device::TAP_PREFIX);
            states.insert(network, self.state(network, &tap, &interface).await?);
        }
        Ok(states)
    }

    fn in_sync(&self, wanted: &Service, actual: &State) -> bool {
        plan(wanted, actual).is_empty()
    }

    fn owns(&self, _: &NetworkId, _: &State) -> bool {
        // Only what has a directory of ours is read at all.
        true
    }

    async fn apply(&self, _: &NetworkId, wanted: &Service, _: Option<&State>) -> Result<(), DriverError> {
        self.reconcile(wanted).await.map(drop)
    }

    async fn remove(&self, network: &NetworkId, _: &State) -> Result<(), DriverError> {
        self.tear_down(*network).await?;
        self.forget(*network)
    }
}

/// A handle inside; none when there is no such namespace, or only a name without one, as a creation cut short leaves.
fn enter(namespace: &Namespace) -> Result<Option<Netlink>, kernel::Error> {
    match namespace.open() {
        Ok(inside) => Ok(Some(inside)),
        Err(error) if error.is_missing() || error.is_invalid() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Rules come by a program, which may fail or be missing; what matters is done without.
async fn add_checksum_rules(namespace: &Namespace) {
    match checksum::add_fill_rules(namespace).await {
        Ok(true) => {}
        Ok(false) => tracing::debug!("no iptables: the rules that fill checksums in are left out"),
        Err(error) => tracing::debug!(%error, "the rules that fill checksums in are left out"),
    }
}

async fn set_gateway(inside: &Netlink, link: u32, gateway: Gateway) -> Result<(), kernel::Error> {
    if gateway.on_link {
        inside.route_replace(&Route::new(IpNet::from(gateway.address), None, link)).await?;
    }
    inside.route_replace(&Route::default_via(gateway.address, link)).await
}

async fn index(inside: &Netlink, interface: &str) -> Result<u32, kernel::Error> {
    let missing = || kernel::Error::missing("find link", interface);
    inside.link(interface).await?.map(|link| link.index).ok_or_else(missing)
}

/// Those that this kernel has.
fn parameters(namespace: &Namespace) -> BTreeMap<String, String> {
    let known =
        plan::PARAMETERS.iter().filter_map(|(key, _)| Some(((*key).to_owned(), sysctl::read(namespace, key).ok()?)));
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_dnsmasq_is_said_with_its_remedy() {
        let error = DriverError::from(ProcessError::NotInstalled(dnsmasq::PROGRAM.to_owned()));
        let text = "dnsmasq is not installed: install the package dnsmasq-base (Debian, Ubuntu) or dnsmasq (elsewhere)";
        assert_eq!(error.to_string(), text);
        let error = DriverError::from(ProcessError::NotInstalled("other".to_owned()));
        assert_eq!(error.to_string(), "the program 'other' is not installed");
    }
}
