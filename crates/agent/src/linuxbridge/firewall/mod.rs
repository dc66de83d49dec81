//! What passes to and from ports: security groups, and that no port pretends to be another.
//!
//! * **In force before the port is up.** A port is wired, and the server told of it, only when its rules are in force.
//! * **Fail closed.** A port whose rules the kernel refuses lets nothing pass, is shown, and is tried again; it holds up
//!   no other. Rules of the agent before stay until those of now take their place, in one transaction.
//! * **Only what changed is touched**: a member that a group gets is one element of one set; connections end when, and
//!   only when, nothing allows them any more.
//!
//! [`model`] and [`policy`] are what the server said, checked, and touch nothing; [`iptables`] and [`nftables`] put it in
//! force; [`connections`] finds what has to end.

mod connections;
mod iptables;
mod model;
mod nftables;
mod policy;
#[cfg(test)]
mod testing;
mod zones;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kernel::{Kernel, Namespace, nft::NftError, process::ProcessError};
use rpc::{l2::PortDetails, security_group::SecurityGroupInfo};
use tokio::time::Instant;

use self::{
    connections::Quarantine, iptables::Iptables, model::Mode, nftables::Nftables, policy::Policy, zones::Zones,
};
use super::config::{Firewall as Settings, FirewallDriver};

/// Pause before rules that were refused are tried again; doubled by each further refusal.
const RETRY: Duration = Duration::from_secs(1);
/// The longest pause.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Why rules are not in force.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Program(#[from] ProcessError),
    #[error(transparent)]
    Nft(#[from] NftError),
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// As for a moment after the last rule that referred to it has gone.
    #[error("the sets {0} are in use")]
    InUse(String),
    #[error("firewall_driver = {driver} cannot work on this host: {reason}")]
    Unusable { driver: &'static str, reason: String },
}

/// Whose rules stay although nobody has said what they shall be.
pub(super) enum Keep<'k> {
    /// Of these taps: the server has not answered for them yet.
    Taps(&'k BTreeSet<String>),
    /// All is known.
    Nothing,
}

impl Keep<'_> {
    fn keeps(&self, device: &str) -> bool {
        self.any(|tap| tap == device)
    }

    fn any(&self, test: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Taps(taps) => taps.iter().any(|tap| test(tap)),
            Self::Nothing => false,
        }
    }
}

enum Backend<K> {
    Iptables(Iptables),
    Nftables(Nftables<K>),
}

impl<K: Kernel> Backend<K> {
    fn zones(&mut self) -> Option<&mut Zones> {
        match self {
            Self::Iptables(iptables) => Some(iptables.zones()),
            Self::Nftables(nftables) => nftables.zones(),
        }
    }
}

/// The firewall of a host.
pub(super) struct Firewall<K> {
    namespace: Namespace,
    kernel: K,
    /// None: nothing is filtered.
    backend: Option<Backend<K>>,
    policy: Policy,
    /// What is in force.
    applied: Policy,
    dirty: bool,
    complete: bool,
    /// What another kind of firewall left has been removed, and connections that nothing allows have ended.
    settled: bool,
    /// Some connections have ended that could be allowed again.
    ended: bool,
    quarantine: Quarantine,
    refused: BTreeMap<String, String>,
    attempts: u32,
    not_before: Instant,
}

impl<K: Kernel> Firewall<K> {
    /// The firewall that the operator chose. Fails when it cannot work here.
    pub(super) async fn open(settings: &Settings, namespace: Namespace, kernel: K) -> Result<Self, Error> {
        let backend = if settings.enable { choose(settings, &namespace, &kernel).await? } else { None };
        Ok(Self {
            namespace,
            kernel,
            backend,
            policy: Policy::default(),
            applied: Policy::default(),
            dirty: false,
            complete: false,
            settled: false,
            ended: false,
            quarantine: Quarantine::default(),
            refused: BTreeMap::new(),
            attempts: 0,
            not_before: Instant::now(),
        })
    }

    /// Anything is filtered at all.
    pub(super) fn is_on(&self) -> bool {
        self.backend.is_some()
    }

    /// The server's answer about groups and members, without news of ports.
    pub(super) fn take_groups(&mut self, info: &SecurityGroupInfo) {
        let mut policy = self.policy.clone();
        policy.take_groups(info);
        self.set(policy);
    }

    /// The server's answer about ports, each with the bridge of its network.
    pub(super) fn take_ports(&mut self, ports: &[(&str, String, &PortDetails)], info: &SecurityGroupInfo) {
        let mut policy = self.policy.clone();
        policy.take_groups(info);
        ports.iter().for_each(|(device, bridge, details)| policy.take_port(device, bridge, details, info));
        self.set(policy);
    }

    /// Only these taps are left.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        if self.policy.ports.keys().any(|device| !keep(device)) {
            let mut policy = self.policy.clone();
            policy.ports.retain(|device, _| keep(device));
            self.set(policy);
        }
    }

    fn set(&mut self, mut policy: Policy) {
        policy.tidy();
        if policy != self.policy {
            self.policy = policy;
            self.dirty = true;
            self.not_before = Instant::now();
        }
    }

    /// All taps have been answered for: what is left of others may go.
    pub(super) fn complete(&mut self) {
        self.dirty |= !self.complete;
        self.complete = true;
    }

    /// What is in force may have been changed by somebody else.
    pub(super) fn look_again(&mut self) {
        match &mut self.backend {
            Some(Backend::Iptables(iptables)) => iptables.forget(),
            Some(Backend::Nftables(nftables)) => nftables.forget(),
            None => return,
        }
        self.dirty = true;
    }

    /// Whether the rules of a tap are in force as the server last said them.
    pub(super) fn is_in_force(&self, device: &str) -> bool {
        self.backend.is_none()
            || (self.applied.ports.get(device).is_some_and(|port| Some(port) == self.policy.ports.get(device))
                && !self.refused.contains_key(device))
    }

    /// Devices by which to ask the server about groups that changed.
    pub(super) fn devices_for(&self, groups: &[String]) -> BTreeSet<String> {
        self.policy.devices_for(groups)
    }

    /// The bridges that have a filtered port.
    pub(super) fn bridges(&self) -> BTreeSet<String> {
        let filtered = self.applied.ports.values().filter(|port| port.mode == Mode::Filtered);
        filtered.map(|port| port.bridge.clone()).collect()
    }

    /// What was asked for is in force, but for ports that let nothing pass, and what nothing allows has ended.
    pub(super) fn is_settled(&self) -> bool {
        self.is_on() && !self.dirty
    }

    /// [`Self::work`] would not only see whether all is in force as it was.
    pub(super) fn is_changing(&self) -> bool {
        self.policy != self.applied || !self.refused.is_empty() || (self.complete && !self.settled)
    }

    /// [`Self::work`] has something to do.
    pub(super) fn is_due(&self) -> bool {
        self.next_time().is_some_and(|time| time <= Instant::now())
    }

    /// When there is something to do, if there is.
    pub(super) fn next_time(&self) -> Option<Instant> {
        (self.is_on() && (self.dirty || !self.refused.is_empty())).then_some(self.not_before)
    }

    /// Puts in force what is not yet. `unanswered` are taps that the server has not answered for.
    pub(super) async fn work(&mut self, unanswered: &BTreeSet<String>) {
        if !self.is_due() {
            return;
        }
        let keep = if self.complete { Keep::Nothing } else { Keep::Taps(unanswered) };
        let policy = self.policy.clone();
        let mut refused = BTreeMap::new();
        let all: Vec<String> = self.suspects(&policy);
        match self.apply(&policy, &keep).await {
            Ok(()) => self.done(policy, refused).await,
            Err(first) => {
                tracing::debug!(ports = all.len(), "some rules were refused: {}", crate::chain(&first));
                match self.apply(&closed(&policy, &all), &keep).await {
                    // With every new rule left out it is no better: it is not for any rule that it fails.
                    Err(_) => self.failed(&first),
                    Ok(()) => {
                        self.narrow(&policy, all, &mut refused, &keep).await;
                        let left: Vec<String> = refused.keys().cloned().collect();
                        match self.apply(&closed(&policy, &left), &keep).await {
                            Ok(()) => self.done(closed(&policy, &left), refused).await,
                            Err(error) => self.failed(&error),
                        }
                    }
                }
            }
        }
    }

    /// Finds, of ports of which some are refused, those.
    async fn narrow(
        &mut self,
        policy: &Policy,
        ports: Vec<String>,
        refused: &mut BTreeMap<String, String>,
        keep: &Keep<'_>,
    ) {
        let all = ports.clone();
        let mut open = vec![ports];
        while let Some(group) = open.pop() {
            let others: Vec<String> = all.iter().filter(|port| !group.contains(port)).cloned().collect();
            match (self.apply(&closed(policy, &others), keep).await, group.as_slice()) {
                (Ok(()), _) | (_, []) => {}
                (Err(error), [port]) => drop(refused.insert(port.clone(), crate::chain(&error))),
                (Err(_), more) => {
                    let (left, right) = more.split_at(more.len() / 2);
                    open.extend([left.to_vec(), right.to_vec()]);
                }
            }
        }
    }

    /// Ports whose rules are new: of those in force it is known that they are accepted.
    fn suspects(&self, policy: &Policy) -> Vec<String> {
        let same = |device: &String| {
            let port = |of: &Policy| of.ports.get(device).cloned();
            let groups = |of: &Policy| {
                let of_port = of.ports.get(device).into_iter().flat_map(|port| &port.groups);
                of_port.map(|id| of.groups.get(id).cloned()).collect::<Vec<_>>()
            };
            port(policy) == port(&self.applied) && groups(policy) == groups(&self.applied)
        };
        let filtered = policy.ports.iter().filter(|(_, port)| port.mode == Mode::Filtered);
        filtered.map(|(device, _)| device).filter(|device| !same(device)).cloned().collect()
    }

    async fn apply(&mut self, policy: &Policy, keep: &Keep<'_>) -> Result<(), Error> {
        match &mut self.backend {
            Some(Backend::Iptables(iptables)) => iptables.apply(policy, keep).await,
            Some(Backend::Nftables(nftables)) => nftables.apply(policy, keep).await,
            None => Ok(()),
        }
    }

    fn failed(&mut self, error: &Error) {
        if self.attempts == 0 {
            tracing::error!(
                "security groups are not in force as they should be: {}; trying again",
                crate::chain(error)
            );
        }
        self.dirty = true;
        self.postpone();
    }

    fn postpone(&mut self) {
        self.not_before = Instant::now() + (RETRY * (1 << self.attempts.min(5))).min(LAST_RETRY);
        self.attempts = self.attempts.saturating_add(1);
    }

    async fn done(&mut self, policy: Policy, refused: BTreeMap<String, String>) {
        for (device, reason) in refused.iter().filter(|(device, _)| !self.refused.contains_key(*device)) {
            tracing::error!(device, "the port lets nothing pass, its rules were refused: {reason}; trying again");
        }
        self.dirty = false;
        self.refused = refused;
        let old = std::mem::replace(&mut self.applied, policy);
        let first = self.complete && !self.settled;
        if first {
            self.remove_other().await;
        }
        self.settle_connections(&old, first).await;
        if self.refused.is_empty() && (self.settled || !first) {
            self.attempts = 0;
        } else {
            self.postpone();
        }
    }

    /// Of ports that allow less than before or are new here, or of all.
    async fn settle_connections(&mut self, old: &Policy, all: bool) {
        let Some(zones) = self.backend.as_mut().and_then(Backend::zones) else { return };
        let changed = [self.applied.shrunk(old), self.applied.arrived(old)].concat();
        let mut doubtful = connections::doubtful(&self.applied, old, &changed, zones);
        if self.complete {
            doubtful.abandoned = zones.abandoned(&self.applied);
        }
        let mut reading = if all { connections::everything() } else { doubtful.reading() };
        if all || self.ended {
            let every: Vec<_> = self.applied.ports.iter().collect();
            doubtful.widen(connections::doubtful(&self.applied, old, &every, zones));
        }
        if self.ended && !all {
            reading.extend(connections::ended());
        }
        let abandoned = doubtful.abandoned.clone();
        match connections::settle(&self.namespace, &self.applied, doubtful, reading).await {
            Ok(settled) => {
                self.ended = settled.ended;
                self.quarantine.take(settled);
                zones.release(&abandoned);
            }
            Err(error) => {
                tracing::warn!("connections that are no longer allowed may go on: {}", crate::chain(&error));
            }
        }
    }

    /// When [`Self::release`] has something to do, if it has.
    pub(super) fn quarantined_until(&self) -> Option<Instant> {
        self.quarantine.end()
    }

    /// Lets connections that ended a while ago begin the other way round, where that is allowed.
    pub(super) async fn release(&mut self) {
        if self.quarantined_until().is_none_or(|end| end > Instant::now()) {
            return;
        }
        let Some(zones) = self.backend.as_mut().and_then(Backend::zones) else { return };
        let every: Vec<_> = self.applied.ports.iter().collect();
        let all = connections::doubtful(&self.applied, &self.applied, &every, zones);
        if let Err(error) = connections::release(&self.namespace, &self.applied, all, &mut self.quarantine).await {
            tracing::warn!("some connections may not begin the other way round: {}", crate::chain(&error));
        }
    }

    /// What the other kind of firewall left, which now is in force twice.
    async fn remove_other(&mut self) {
        let removed = match &self.backend {
            Some(Backend::Iptables(_)) => nftables::remove(&self.kernel).await,
            Some(Backend::Nftables(_)) => Iptables::remove(&self.namespace).await,
            None => Ok(()),
        };
        match removed {
            Ok(()) => self.settled = true,
            Err(error) => {
                self.dirty = true;
                if self.attempts == 0 {
                    let reason = crate::chain(&error);
                    tracing::warn!("rules of another firewall driver are left: {reason}; trying again");
                }
            }
        }
    }
}

/// A policy in which these ports let nothing pass.
fn closed(policy: &Policy, ports: &[String]) -> Policy {
    let mut policy = policy.clone();
    for port in ports {
        if let Some(port) = policy.ports.get_mut(port) {
            port.mode = Mode::Closed;
        }
    }
    policy
}

async fn choose<K: Kernel>(
    settings: &Settings,
    namespace: &Namespace,
    kernel: &K,
) -> Result<Option<Backend<K>>, Error> {
    let iptables = || Iptables::open(namespace.clone(), settings.ipset).map(Backend::Iptables);
    let unusable = |driver, reason| Error::Unusable { driver, reason };
    match settings.driver {
        FirewallDriver::Noop => Ok(None),
        FirewallDriver::Iptables => iptables().map(Some).map_err(|reason| unusable("iptables", reason)),
        FirewallDriver::Nftables => {
            let opened = Nftables::open(kernel.clone(), settings.tracking).await.map(Backend::Nftables);
            opened.map(Some).map_err(|reason| unusable("nftables", reason))
        }
        FirewallDriver::Auto => match Nftables::open(kernel.clone(), settings.tracking).await {
            Ok(nftables) => Ok(Some(Backend::Nftables(nftables))),
            Err(first) => {
                tracing::info!("security groups are enforced by iptables, for nftables cannot: {first}");
                iptables().map(Some).map_err(|second| unusable("auto", format!("{first}; {second}")))
            }
        },
    }
}
