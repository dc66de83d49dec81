//! Reads what a router has on this host, and brings it to what it shall have.
//!
//! [`plan`] decides; this file reads and does. Every step may find its work done already, and may be done again after
//! it was cut short.

mod plan;
mod program;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use kernel::{
    Address, Host, Kernel, LinkChange, Namespace, Route, System, conntrack::Connection, file, missing_is_fine,
    nft::NftError, process::ProcessError,
};
use parking_lot::Mutex;
use tokio::{task::JoinSet, time::Instant};
use types::{RouterId, device};

use super::{
    config::Config,
    desired::{Device, Hop, Wanted},
    ha::keepalived,
    nat::{TABLE, Translations},
    radvd,
};
use crate::{chain, interface::Pair, metadata::ADDRESS_V4};

pub use plan::{Running, State, Step, Unfinished, is_router_device, plan};

/// How often a plan may uncover another one, as when an address takes its routes along.
const ROUNDS: usize = 3;
/// When neighbours are told of a new address: at once, and again in case the device was not wired yet, or the frame lost.
const ANNOUNCEMENTS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(2)];
/// What an agent of the other kind names its chains, and the tables that they are in.
const STRANGE_CHAINS: &str = "neutron-l3-agent-";
const STRANGE_TABLES: [&str; 4] = ["nat", "mangle", "filter", "raw"];

/// What went wrong on this host.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// There is no radvd.
    #[error(
        "radvd is not installed, and hosts on IPv6 networks learn of their router from it; install the package radvd"
    )]
    RadvdMissing,
    /// There is no keepalived.
    #[error("keepalived is not installed, and decides which host serves an HA router; install the package keepalived")]
    KeepalivedMissing,
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Rules were refused.
    #[error(transparent)]
    Rules(#[from] NftError),
    /// A program failed.
    #[error(transparent)]
    Process(ProcessError),
    /// What was done did not last.
    #[error("router {0} does not stay as it is made")]
    Unsettled(RouterId),
}

/// The routers of this host.
pub struct Driver<H: Host = System> {
    config: Arc<Config>,
    host: H,
    root: H::Kernel,
    /// Announcements that are still to be made.
    announcing: Mutex<JoinSet<()>>,
    /// When each keepalived was last asked for something.
    signalled: Mutex<HashMap<RouterId, Instant>>,
}

/// What came of bringing a router in line.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Addresses that could not be given to their device.
    pub without: BTreeSet<IpAddr>,
    /// Why the router is not whole; the rest of it works.
    pub error: Option<DriverError>,
}

impl From<ProcessError> for DriverError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::NotInstalled(program) if program == radvd::PROGRAM => Self::RadvdMissing,
            ProcessError::NotInstalled(program) if program == keepalived::PROGRAM => Self::KeepalivedMissing,
            other => Self::Process(other),
        }
    }
}

impl<H: Host> Driver<H> {
    /// The routers of a machine.
    pub fn new(config: Arc<Config>, host: H) -> Result<Self, DriverError> {
        let root = host.root()?;
        Ok(Self { config, host, root, announcing: Mutex::default(), signalled: Mutex::default() })
    }

    /// The routers that have something here and are this agent's, or its predecessor's.
    pub async fn routers(&self) -> Result<BTreeSet<RouterId>, DriverError> {
        let marks = file::list(&self.config.routers)?;
        let mut routers: BTreeSet<RouterId> = marks.iter().filter_map(|name| name.parse().ok()).collect();
        for name in self.host.namespaces()? {
            let id = name.strip_prefix(device::ROUTER_NAMESPACE_PREFIX).and_then(|id| id.parse().ok());
            if let Some(router) = id.filter(|router| !routers.contains(router))
                && self.is_wired(&name).await?
            {
                routers.insert(router);
            }
        }
        Ok(routers)
    }

    /// Whether a router has something here that is this agent's, or its predecessor's.
    pub async fn has(&self, router: RouterId) -> Result<bool, DriverError> {
        let marked = file::exists(&self.config.mark(router)) || self.has_programs(router);
        Ok(marked || self.is_wired(&device::router_namespace(router)).await?)
    }

    /// Whether a device in a namespace has its other end in this host.
    async fn is_wired(&self, namespace: &str) -> Result<bool, DriverError> {
        let Some(inside) = self.enter(namespace)? else { return Ok(false) };
        // Somebody else's may go while it is looked at.
        let links = inside.links().await.unwrap_or_default();
        for link in links.iter().filter(|link| is_router_device(link)) {
            let Some((_, part)) = link.name.split_once('-') else { continue };
            if self.root.link(&format!("{}{part}", device::TAP_PREFIX)).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Brings a router to what it shall have.
    pub async fn reconcile(&self, wanted: &Wanted) -> Result<Outcome, DriverError> {
        let mut outcome = Outcome::default();
        for _ in 0..ROUNDS {
            let state = self.state(wanted).await?;
            let steps = plan(wanted, &state);
            if steps.is_empty() {
                return Ok(outcome);
            }
            tracing::debug!(router = %wanted.router, ?steps, "changing the router");
            let lasting = !steps.iter().any(Step::may_uncover_another);
            outcome = self.follow(wanted, steps).await?;
            if lasting || outcome.error.is_some() {
                return Ok(outcome);
            }
        }
        let state = self.state(wanted).await?;
        match plan(wanted, &state).is_empty() {
            true => Ok(outcome),
            false => Err(DriverError::Unsettled(wanted.router)),
        }
    }

    /// Takes away everything of a router.
    pub async fn tear_down(&self, router: RouterId) -> Result<(), DriverError> {
        self.end_programs(router).await?;
        let name = device::router_namespace(router);
        if let Some(inside) = self.enter(&name)? {
            for link in inside.links().await?.iter().filter(|link| is_router_device(link)) {
                missing_is_fine(inside.link_delete(&link.name).await)?;
            }
        }
        self.host.namespace_delete(&name)?;
        Ok(file::remove(&self.config.mark(router))?)
    }

    async fn state(&self, wanted: &Wanted) -> Result<State, DriverError> {
        let mark = file::read(&self.config.mark(wanted.router))?;
        let mut state = State {
            marked: mark.is_some(),
            unfinished: mark.map(|text| Unfinished::read(&text)).unwrap_or_default(),
            ..State::default()
        };
        self.read_programs(wanted, &mut state)?;
        for device in &wanted.devices {
            state.taps.extend(self.root.link(&device.tap).await?.map(|link| (device.tap.clone(), link)));
        }
        let Some(inside) = self.enter(&wanted.namespace)? else { return Ok(state) };
        state.namespace = true;
        state.links = inside.links().await?;
        state.addresses = inside.addresses().await?;
        state.routes = inside.routes().await?;
        state.parameters = inside.sysctls(&Vec::from_iter(wanted.parameters.keys().cloned()))?;
        state.rules = inside.nft_table(TABLE.0, TABLE.1).await?.and_then(|table| table.comment);
        state.strange_tables = strange_tables(&inside).await?;
        Ok(state)
    }

    /// A handle inside; none when there is no such namespace, or only a name without one, as a creation cut short
    /// leaves.
    fn enter(&self, namespace: &str) -> Result<Option<H::Kernel>, kernel::Error> {
        match self.host.open(namespace) {
            Ok(inside) => Ok(Some(inside)),
            Err(error) if error.is_missing() || error.is_invalid() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes that something is begun, or done. What is not done, an agent that comes later does again.
    fn note(&self, router: RouterId, what: Unfinished, begun: bool) {
        let mark = self.config.mark(router);
        let noted = file::read(&mark).and_then(|text| {
            let mut all = Unfinished::read(&text.unwrap_or_default());
            let changed = if begun { all.insert(what) } else { all.remove(&what) };
            if changed { file::replace(&mark, &Unfinished::write(&all)) } else { Ok(()) }
        });
        if let Err(error) = noted {
            tracing::warn!(%router, error = chain(&error), "what is begun for the router is not noted");
        }
    }

    fn namespace(&self, wanted: &Wanted) -> Namespace {
        self.host.namespace(&wanted.namespace)
    }

    /// Takes the steps. One that only a part of the router needs may fail without keeping the rest from working.
    async fn follow(&self, wanted: &Wanted, steps: Vec<Step>) -> Result<Outcome, DriverError> {
        let mut outcome = Outcome::default();
        let mut new = BTreeMap::new();
        for step in steps {
            let may_fail = step.may_fail();
            if step == Step::Announce && wanted.ha.is_none() {
                new.extend(wanted.devices.iter().map(|device| (device.name.clone(), all_of(device))));
                continue;
            }
            let address = match &step {
                Step::AddAddress(device, net) => Some((device.clone(), net.addr())),
                _ => None,
            };
            if address.is_some() && new.is_empty() {
                self.note(wanted.router, Unfinished::Announcements, true);
            }
            match self.step(wanted, step).await {
                Ok(()) => {
                    if let Some((device, address)) = address {
                        new.entry(device).or_insert_with(Vec::new).push(address);
                    }
                }
                Err(error) if may_fail => {
                    outcome.without.extend(address.map(|(_, address)| address));
                    outcome.error = outcome.error.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        self.announce(wanted, new);
        self.note(wanted.router, Unfinished::Announcements, false);
        Ok(outcome)
    }

    async fn step(&self, wanted: &Wanted, step: Step) -> Result<(), DriverError> {
        let Some(step) = self.program_step(wanted, step).await? else { return Ok(()) };
        match step {
            Step::Mark => {
                file::make_directory(&self.config.routers)?;
                file::replace(&self.config.mark(wanted.router), "")?;
            }
            Step::CreateNamespace => {
                self.host.namespace_delete(&wanted.namespace)?;
                self.host.namespace_create(&wanted.namespace)?;
            }
            Step::DeleteTap(name) => missing_is_fine(self.root.link_delete(&name).await)?,
            Step::SetTap(name, change) => missing_is_fine(self.root.link_set(&name, &change).await)?,
            Step::CreatePair(device) => self.create_pair(wanted, &device).await?,
            Step::LoadRules(others) => self.load_rules(wanted, &others).await?,
            step => inside(&self.host.open(&wanted.namespace)?, step).await?,
        }
        Ok(())
    }

    async fn create_pair(&self, wanted: &Wanted, device: &Device) -> Result<(), DriverError> {
        let pair = Pair { tap: &device.tap, name: &device.name, mac: device.mac, mtu: device.mtu };
        Ok(pair.create(&self.root, &self.namespace(wanted)).await?)
    }

    /// Puts the rules in force, and has the kernel forget connections whose addresses have gone to somebody else.
    async fn load_rules(&self, wanted: &Wanted, others: &[String]) -> Result<(), DriverError> {
        let inside = self.host.open(&wanted.namespace)?;
        self.note(wanted.router, Unfinished::Rules, true);
        inside.nft(&wanted.rules.transaction(others)).await?;
        let translations = &wanted.rules.translations;
        let ended = inside.connections_retain(4, |connection| is_current(translations, connection))?;
        if ended > 0 {
            tracing::info!(router = %wanted.router, ended, "ended connections of addresses that changed hands");
        }
        self.note(wanted.router, Unfinished::Rules, false);
        Ok(())
    }

    /// Tells the neighbours of the device with this tap end of all its addresses.
    pub fn announce_device(&self, wanted: &Wanted, tap: &str) {
        let device = wanted.devices.iter().find(|device| device.tap == tap);
        let all = device.map(|device| (device.name.clone(), all_of(device)));
        self.announce(wanted, all.into_iter().collect());
    }

    /// Tells the neighbours of each device of its new addresses.
    fn announce(&self, wanted: &Wanted, new: BTreeMap<String, Vec<IpAddr>>) {
        let device = |name: &str| wanted.devices.iter().find(|device| device.name == name).cloned();
        let news: Vec<(Device, Vec<IpAddr>)> =
            new.into_iter().filter_map(|(name, addresses)| Some((device(&name)?, addresses))).collect();
        if news.is_empty() {
            return;
        }
        let (host, namespace) = (self.host.clone(), wanted.namespace.clone());
        let mut announcing = self.announcing.lock();
        while announcing.try_join_next().is_some() {}
        announcing.spawn(async move {
            let began = tokio::time::Instant::now();
            for after in ANNOUNCEMENTS {
                tokio::time::sleep_until(began + after).await;
                let told = tell(&host, &namespace, &news).await;
                if let Err(error) = told {
                    tracing::debug!(error = chain(&error), "new addresses were not announced");
                    return;
                }
            }
        });
    }
}

/// Tells the neighbours of devices of addresses. What the kernel has asked them before the device was wired, nobody heard
/// either, and it would ask again only after a second.
async fn tell<H: Host>(host: &H, namespace: &str, news: &[(Device, Vec<IpAddr>)]) -> kernel::Result<()> {
    let inside = host.open(namespace)?;
    for (device, addresses) in news {
        inside.announce(&device.name, device.mac, addresses)?;
        let own: Vec<IpNet> = device.addresses.iter().copied().collect();
        inside.ask_again(&device.name, device.mac, &own).await?;
    }
    Ok(())
}

fn all_of(device: &Device) -> Vec<IpAddr> {
    device.addresses.iter().map(IpNet::addr).collect()
}

/// The steps that are one request to the kernel, inside the namespace.
async fn inside(inside: &impl Kernel, step: Step) -> Result<(), DriverError> {
    match step {
        Step::SetParameter(key, value) => missing_is_fine(inside.sysctl_set(&key, value))?,
        Step::RaiseLoopback => inside.link_set("lo", &LinkChange::up()).await?,
        Step::DeleteDevice(name) => missing_is_fine(inside.link_delete(&name).await)?,
        Step::SetDevice(name, change) => inside.link_set(&name, &change).await?,
        Step::DeleteAddress(address) => missing_is_fine(inside.address_delete(&address).await)?,
        Step::AddAddress(name, net) => inside.address_set(&Address::new(index(inside, &name).await?, net)).await?,
        Step::DeleteRoute(route) => missing_is_fine(inside.route_delete(&route).await)?,
        Step::SetRoute(destination, hops) => set_route(inside, destination, &hops).await?,
        _ => {}
    }
    Ok(())
}

async fn set_route(inside: &impl Kernel, destination: IpNet, hops: &[Hop]) -> Result<(), kernel::Error> {
    let route = match hops {
        [hop] => Route::new(destination, hop.gateway, index(inside, &hop.device).await?),
        hops => {
            let mut resolved = Vec::new();
            for hop in hops {
                let link = index(inside, &hop.device).await?;
                resolved.extend(hop.gateway.map(|gateway| (gateway, link)));
            }
            Route::shared(destination, &resolved)
        }
    };
    inside.route_replace(&route).await
}

async fn index(inside: &impl Kernel, name: &str) -> Result<u32, kernel::Error> {
    inside.link(name).await?.map(|link| link.index).ok_or_else(|| kernel::Error::missing("find link", name))
}

/// Whether a connection is translated as a new one between the same ends could be. One that is not translated at all
/// stays, for it concerns nobody's address but its own, unless it was sent to a floating address before anybody had it:
/// whoever goes on sending would never be heard.
fn is_current(translations: &Translations, connection: &Connection) -> bool {
    let (original, reply) = (&connection.original, &connection.reply);
    let v4 = |address: IpAddr| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let leads = |outside: IpAddr, inside: IpAddr| {
        let fixed = v4(outside).and_then(|outside| translations.floating.get(&outside));
        fixed.is_some() && fixed.copied() == v4(inside)
    };
    // Sent to a floating address, or by the router's redirection to the metadata service.
    let redirected = original.destination != reply.source && original.destination != ADDRESS_V4;
    let is_floating = v4(original.destination).is_some_and(|address| translations.floating.contains_key(&address));
    // Sent by a floating address, or by the gateway's.
    let hidden = original.source != reply.destination && v4(reply.destination) != translations.gateway;
    (!(redirected || is_floating) || leads(original.destination, reply.source))
        && (!hidden || leads(reply.destination, original.source))
}

/// The tables of an agent of the other kind: those of iptables that have its chains.
async fn strange_tables(inside: &impl Kernel) -> Result<Vec<String>, NftError> {
    let mut strange = Vec::new();
    for (family, name) in inside.nft_tables().await? {
        if !["ip", "ip6"].contains(&family.as_str()) || !STRANGE_TABLES.contains(&name.as_str()) {
            continue;
        }
        let table = inside.nft_table(&family, &name).await?.unwrap_or_default();
        if table.chains.keys().any(|chain| chain.starts_with(STRANGE_CHAINS)) {
            strange.push(format!("{family} {name}"));
        }
    }
    Ok(strange)
}

#[cfg(test)]
mod tests;
