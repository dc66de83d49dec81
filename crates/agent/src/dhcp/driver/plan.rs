//! What brings a network's DHCP server from what is to what shall be. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use kernel::{Address, Kind, Link, LinkChange, Route};

use crate::{
    dhcp::{
        desired::{Gateway, Service},
        lease::{self, Lease},
    },
    metadata::ADDRESS_V6,
};

/// Parameters of the namespace. The addresses of a DHCP server are its port's, and never an advertisement's; and as the
/// server saw to it that nobody else has them, IPv6 clients need not wait until that was found out once more.
pub(super) const PARAMETERS: [(&str, &str); 3] = [
    ("net/ipv4/ip_nonlocal_bind", "1"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

/// What a network has on this host.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Its namespace can be entered.
    pub namespace: bool,
    /// The links in it.
    pub links: Vec<Link>,
    /// The tap end, in the host.
    pub tap: Option<Link>,
    /// The kernel computes the checksums of what leaves the interface.
    pub checksums: bool,
    /// Addresses of the interface.
    pub addresses: Vec<Address>,
    /// Routes of the namespace.
    pub routes: Vec<Route>,
    /// Those of [`PARAMETERS`] that this kernel has.
    pub parameters: BTreeMap<String, String>,
    /// Texts of the files.
    pub files: BTreeMap<&'static str, String>,
    /// Its dnsmasq.
    pub process: Option<Running>,
}

/// A dnsmasq that lives and names the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its pid.
    pub pid: i32,
    /// Its command line.
    pub arguments: Vec<String>,
    /// It runs in the namespace that has the name now.
    pub here: bool,
    /// It is known to have read the files as they are.
    pub read: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Make the directory; it is what tells a later agent that the namespace is ours.
    MakeDirectory,
    /// End dnsmasq.
    Stop,
    /// Make the namespace.
    CreateNamespace,
    /// Switch its loopback on.
    RaiseLoopback,
    /// Set a parameter of it.
    SetParameter(&'static str, &'static str),
    /// Delete a device in the namespace.
    DeleteDevice(String),
    /// Delete a tap end whose other end is in a namespace that has no name any more.
    DeleteTap,
    /// Make the veth pair.
    CreatePair,
    /// Change the interface.
    SetInterface(LinkChange),
    /// Change the tap end.
    SetTap(LinkChange),
    /// Have the kernel compute checksums.
    ComputeChecksums,
    /// Take an address from the interface.
    DeleteAddress(Address),
    /// Give the interface an address.
    AddAddress(IpNet),
    /// Delete a route of the interface.
    DeleteRoute(Route),
    /// Set the default route of a family.
    SetGateway(Gateway),
    /// Write a file.
    WriteFile(&'static str, String),
    /// Start dnsmasq.
    Start,
    /// Have dnsmasq read its files again.
    Reload,
    /// Give back leases whose holder went.
    Release(Vec<Lease>),
    /// Make the rules by which an agent of the other kind sees to checksums.
    AddChecksumRules,
}

impl Step {
    /// The rest of the service works without it.
    pub fn may_fail(&self) -> bool {
        matches!(self, Self::AddAddress(IpNet::V6(_)) | Self::SetGateway(_) | Self::DeleteRoute(_))
    }

    /// The kernel may make more of it than was asked, as when an address takes its routes along. What is written to a
    /// file is what is read.
    pub fn may_uncover_another(&self) -> bool {
        !matches!(self, Self::WriteFile(..) | Self::Reload | Self::Release(_))
    }
}

/// The steps from `state` to `service`, in their order.
pub fn plan(service: &Service, state: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    let stray = state.process.as_ref().is_some_and(|process| !process.here);
    if state.files.is_empty() {
        steps.push(Step::MakeDirectory);
    }
    if stray {
        steps.push(Step::Stop);
    }
    namespace(&mut steps, state);
    let new_pair = devices(&mut steps, service, state);
    let new_addresses = addresses(&mut steps, service, state, new_pair);
    routes(&mut steps, service, state, new_pair);
    let new_files = files(&mut steps, service, state);
    process(&mut steps, service, state, new_pair || new_addresses, new_files);
    if new_pair {
        steps.push(Step::AddChecksumRules);
    }
    steps
}

fn namespace(steps: &mut Vec<Step>, state: &State) {
    if !state.namespace {
        steps.push(Step::CreateNamespace);
    }
    if !state.links.iter().any(|link| link.name == "lo" && link.up) {
        steps.push(Step::RaiseLoopback);
    }
    for (key, value) in PARAMETERS {
        // A kernel without IPv6 has no parameters of it. Those of a new namespace are not known yet.
        let known = state.parameters.get(key);
        if known.map_or(!state.namespace, |known| known != value) {
            steps.push(Step::SetParameter(key, value));
        }
    }
}

fn devices(steps: &mut Vec<Step>, service: &Service, state: &State) -> bool {
    let is_stale = |link: &&Link| link.kind == Kind::Veth && link.name != service.interface;
    steps.extend(state.links.iter().filter(is_stale).map(|link| Step::DeleteDevice(link.name.clone())));
    let Some(interface) = state.links.iter().find(|link| link.name == service.interface) else {
        if state.tap.is_some() {
            steps.push(Step::DeleteTap);
        }
        steps.push(Step::CreatePair);
        steps.push(Step::ComputeChecksums);
        return true;
    };
    let up = |link: &Link| (!link.up).then_some(true);
    let mtu = |link: &Link| service.mtu.filter(|mtu| *mtu != link.mtu);
    let mac = Some(service.mac).filter(|mac| interface.mac != Some(*mac));
    let change = LinkChange { mac, mtu: mtu(interface), up: up(interface), ..LinkChange::default() };
    if !change.is_empty() {
        steps.push(Step::SetInterface(change));
    }
    if let Some(tap) = &state.tap {
        let change = LinkChange { mtu: mtu(tap), up: up(tap), ..LinkChange::default() };
        if !change.is_empty() {
            steps.push(Step::SetTap(change));
        }
    }
    if !state.checksums {
        steps.push(Step::ComputeChecksums);
    }
    false
}

fn addresses(steps: &mut Vec<Step>, service: &Service, state: &State, new_pair: bool) -> bool {
    // Of link-local addresses only the metadata service's is set by hand.
    let set_by_hand = |address: &&Address| address.is_global() || address.net.addr() == ADDRESS_V6;
    let held: Vec<&Address> = if new_pair { Vec::new() } else { state.addresses.iter().filter(set_by_hand).collect() };
    let surplus = held.iter().filter(|address| !service.addresses.contains(&address.net));
    let missing = service.addresses.iter().filter(|net| !held.iter().any(|address| address.net == **net));
    let before = steps.len();
    steps.extend(surplus.map(|address| Step::DeleteAddress((*address).clone())));
    steps.extend(missing.map(|net| Step::AddAddress(*net)));
    steps.len() > before
}

fn routes(steps: &mut Vec<Step>, service: &Service, state: &State, new_pair: bool) {
    let interface = state.links.iter().find(|link| link.name == service.interface).filter(|_| !new_pair);
    let ours =
        |route: &&Route| interface.is_some_and(|interface| route.uses(interface.index)) && route.is_set_by_hand();
    let held: Vec<&Route> = state.routes.iter().filter(ours).collect();
    let wanted = |route: &Route| {
        let destination = route.destination();
        service.gateways.iter().any(|gateway| match route.gateway() {
            Some(hop) => hop == gateway.address && destination == Some(any(hop)),
            None => gateway.on_link && destination == Some(IpNet::from(gateway.address)),
        })
    };
    let stands =
        |gateway: &&Gateway| !held.iter().any(|route| route.gateway() == Some(gateway.address) && wanted(route));
    let missing: Vec<&Gateway> = service.gateways.iter().filter(stands).collect();
    let replaced = |route: &Route| {
        let family = route.destination().filter(|net| net.prefix_len() == 0);
        family.is_some_and(|net| missing.iter().any(|gateway| any(gateway.address) == net))
    };
    // A default route that changes is replaced at one stroke, after which the way to the former gateway may go.
    let surplus = held.iter().filter(|route| !wanted(route) && !replaced(route));
    let surplus: Vec<Step> = surplus.map(|route| Step::DeleteRoute((*route).clone())).collect();
    steps.extend(missing.into_iter().copied().map(Step::SetGateway));
    steps.extend(surplus);
}

fn any(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::V4(Default::default()),
        IpAddr::V6(_) => IpNet::V6(Default::default()),
    }
}

fn files(steps: &mut Vec<Step>, service: &Service, state: &State) -> bool {
    let texts = [
        ("interface", &service.interface),
        ("host", &service.files.host),
        ("addn_hosts", &service.files.addn_hosts),
        ("opts", &service.files.opts),
    ];
    let before = steps.len();
    let changed = texts.into_iter().filter(|(name, text)| state.files.get(name) != Some(*text));
    steps.extend(changed.map(|(name, text)| Step::WriteFile(name, text.clone())));
    steps.len() > before
}

fn process(steps: &mut Vec<Step>, service: &Service, state: &State, new_place: bool, new_files: bool) {
    match state.process.as_ref().filter(|process| process.here) {
        None => steps.push(Step::Start),
        // It would find new addresses by itself, but clients and caches that know the old ones it would not forget.
        Some(process) if new_place || process.arguments != service.command => {
            steps.push(Step::Stop);
            steps.push(Step::Start);
        }
        Some(process) if new_files || !process.read => {
            steps.push(Step::Reload);
            let leases = state.files.get("leases").map_or_else(Vec::new, |text| lease::parse(text));
            let orphans = lease::orphans(leases, &service.holders);
            if !orphans.is_empty() {
                steps.push(Step::Release(orphans));
            }
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests;
