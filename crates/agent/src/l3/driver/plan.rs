//! What brings a router from what is to what shall be. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use kernel::{
    Address, Kind, Link, LinkChange, Route,
    addr::{AddressFlags, AddressScope},
};
use types::device;

use crate::l3::desired::{Device, Hop, Wanted};

/// What a router has on this host.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// It is noted as this agent's.
    pub marked: bool,
    /// What was begun and never seen to be done, as when an agent is killed.
    pub unfinished: BTreeSet<Unfinished>,
    /// Its namespace can be entered.
    pub namespace: bool,
    /// The links in it.
    pub links: Vec<Link>,
    /// The other ends of its devices, in the host, by name.
    pub taps: BTreeMap<String, Link>,
    /// Addresses in the namespace.
    pub addresses: Vec<Address>,
    /// Routes of the namespace.
    pub routes: Vec<Route>,
    /// Those of the wanted parameters that this kernel has.
    pub parameters: BTreeMap<String, String>,
    /// By what the loaded rules are known.
    pub rules: Option<String>,
    /// Tables of rules that an agent of the other kind left, as family and name.
    pub strange_tables: Vec<String>,
    /// Text of radvd's file.
    pub radvd_file: Option<String>,
    /// Its radvd.
    pub radvd: Option<Running>,
    /// Text of keepalived's file.
    pub keepalived_file: Option<String>,
    /// Text of the script by which it checks the way out.
    pub check_file: Option<String>,
    /// Its keepalived.
    pub keepalived: Option<Running>,
    /// The process by which an agent of the other kind watches keepalived is there.
    pub monitor: bool,
}

/// What takes more than one step, the first of which is all that can be seen on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfinished {
    /// The rules stand; connections that they do not allow may go on.
    Rules,
    /// The file is written; radvd may not have read it.
    Radvd,
    /// The file is written; keepalived may not have read it.
    Keepalived,
    /// New addresses are set; neighbours may not have been told.
    Announcements,
}

impl Unfinished {
    const ALL: [Self; 4] = [Self::Rules, Self::Radvd, Self::Keepalived, Self::Announcements];

    fn word(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Radvd => "radvd",
            Self::Keepalived => "keepalived",
            Self::Announcements => "announcements",
        }
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(text: &str) -> BTreeSet<Self> {
        Self::ALL.into_iter().filter(|one| text.split_whitespace().any(|word| word == one.word())).collect()
    }

    pub(super) fn write(all: &BTreeSet<Self>) -> String {
        all.iter().map(|one| format!("{}\n", one.word())).collect()
    }
}

/// A program that lives and names the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its command line.
    pub arguments: Vec<String>,
    /// It runs in the namespace that has the name now.
    pub here: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Note that the router is this agent's, by which a later one knows.
    Mark,
    /// End a radvd.
    StopRadvd,
    /// Make the namespace.
    CreateNamespace,
    /// Switch its loopback on.
    RaiseLoopback,
    /// Set a parameter.
    SetParameter(String, &'static str),
    /// Delete a device in the namespace, and its other end with it.
    DeleteDevice(String),
    /// Delete a tap end whose other end is in a namespace that has no name any more.
    DeleteTap(String),
    /// Make a veth pair.
    CreatePair(Box<Device>),
    /// Change a device in the namespace.
    SetDevice(String, LinkChange),
    /// Change a tap end.
    SetTap(String, LinkChange),
    /// Put the rules in the place of those that stand, and end what they no longer allow.
    LoadRules(Vec<String>),
    /// Take an address from a device.
    DeleteAddress(Address),
    /// Give a device an address, and tell its neighbours.
    AddAddress(String, IpNet),
    /// Tell the neighbours of all addresses.
    Announce,
    /// Delete a route.
    DeleteRoute(Route),
    /// Set a route.
    SetRoute(IpNet, Vec<Hop>),
    /// Write radvd's file.
    WriteRadvd,
    /// Start radvd.
    StartRadvd,
    /// Have radvd read its file again.
    ReloadRadvd,
    /// Remove radvd's file.
    RemoveRadvd,
    /// End the process by which an agent of the other kind watches keepalived.
    EndMonitor,
    /// End a keepalived.
    StopKeepalived,
    /// Write keepalived's files.
    WriteKeepalived,
    /// Start keepalived.
    StartKeepalived,
    /// Have keepalived read its file again.
    ReloadKeepalived,
    /// Remove keepalived's files.
    RemoveKeepalived,
}

impl Step {
    /// The rest of the router works without it.
    pub fn may_fail(&self) -> bool {
        !matches!(self, Self::CreateNamespace | Self::CreatePair(_) | Self::SetDevice(..) | Self::LoadRules(_))
    }

    /// The kernel may make more of it than was asked, as when an address takes its routes along.
    pub fn may_uncover_another(&self) -> bool {
        !matches!(
            self,
            Self::Mark
                | Self::WriteRadvd
                | Self::ReloadRadvd
                | Self::RemoveRadvd
                | Self::LoadRules(_)
                | Self::Announce
                | Self::WriteKeepalived
                | Self::ReloadKeepalived
        )
    }
}

/// The steps from `state` to `wanted`, in their order.
///
/// The rules stand before the devices and addresses that they are for, and go before them: nothing is answered, or sent,
/// that is not translated as it shall be. What keepalived has in its hands is left to it.
pub fn plan(wanted: &Wanted, state: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend((!state.marked).then_some(Step::Mark));
    let stray = state.radvd.as_ref().is_some_and(|running| !running.here);
    if stray || (state.radvd.is_some() && wanted.radvd.is_none()) {
        steps.push(Step::StopRadvd);
    }
    steps.extend(state.monitor.then_some(Step::EndMonitor));
    let stray = state.keepalived.as_ref().is_some_and(|running| !running.here);
    if stray || (state.keepalived.is_some() && wanted.ha.is_none()) {
        steps.push(Step::StopKeepalived);
    }
    if !state.namespace {
        steps.push(Step::CreateNamespace);
    }
    parameters(&mut steps, wanted, state, |key| !is_of_device(key));
    if !state.links.iter().any(|link| link.name == "lo" && link.up) {
        steps.push(Step::RaiseLoopback);
    }
    let half = state.unfinished.contains(&Unfinished::Rules);
    if half || state.rules.as_ref() != Some(&wanted.rules.digest) || !state.strange_tables.is_empty() {
        steps.push(Step::LoadRules(state.strange_tables.clone()));
    }
    let made = devices(&mut steps, wanted, state);
    parameters(&mut steps, wanted, state, is_of_device);
    addresses(&mut steps, wanted, state, &made);
    steps.extend(state.unfinished.contains(&Unfinished::Announcements).then_some(Step::Announce));
    if wanted.ha.is_none() {
        routes(&mut steps, wanted, state, &made);
    }
    keepalived(&mut steps, wanted, state, &made);
    radvd(&mut steps, wanted, state, &made);
    steps
}

fn is_of_device(key: &str) -> bool {
    key.contains(&format!("/{}", device::ROUTER_GATEWAY_PREFIX))
}

fn parameters(steps: &mut Vec<Step>, wanted: &Wanted, state: &State, of: impl Fn(&str) -> bool) {
    for (key, value) in wanted.parameters.iter().filter(|(key, _)| of(key)) {
        // A kernel without IPv6 has no parameters of it. Those of what is new are not known yet.
        let is_new = !state.namespace || (is_of_device(key) && !has_link(state, key.split('/').nth(3)));
        if state.parameters.get(key).map_or(is_new, |known| known != value) {
            steps.push(Step::SetParameter(key.clone(), value));
        }
    }
}

fn has_link(state: &State, name: Option<&str>) -> bool {
    state.links.iter().any(|link| Some(link.name.as_str()) == name)
}

/// A device that an agent makes in the namespace of a router.
pub fn is_router_device(link: &Link) -> bool {
    let prefixes = [device::ROUTER_INTERFACE_PREFIX, device::ROUTER_GATEWAY_PREFIX, device::ROUTER_HA_PREFIX];
    link.kind == Kind::Veth && prefixes.iter().any(|prefix| link.name.starts_with(prefix))
}

/// Returns the names of the devices that are made anew.
fn devices(steps: &mut Vec<Step>, wanted: &Wanted, state: &State) -> BTreeSet<String> {
    let is_wanted = |link: &Link| wanted.devices.iter().any(|device| device.name == link.name);
    let surplus = state.links.iter().filter(|link| is_router_device(link) && !is_wanted(link));
    steps.extend(surplus.map(|link| Step::DeleteDevice(link.name.clone())));
    let mut made = BTreeSet::new();
    for device in &wanted.devices {
        let link = state.links.iter().find(|link| link.name == device.name);
        let tap = state.taps.get(&device.tap);
        match (link, tap) {
            (Some(link), Some(tap)) if link.kind == Kind::Veth => {
                let change = change(device, link, Some(device.mac));
                push_change(steps, change, |change| Step::SetDevice(device.name.clone(), change));
                push_change(steps, self::change(device, tap, None), |change| Step::SetTap(device.tap.clone(), change));
            }
            (link, tap) => {
                steps.extend(link.map(|link| Step::DeleteDevice(link.name.clone())));
                // It would be in the way.
                steps.extend(tap.filter(|_| link.is_none()).map(|tap| Step::DeleteTap(tap.name.clone())));
                steps.push(Step::CreatePair(Box::new(device.clone())));
                made.insert(device.name.clone());
            }
        }
    }
    made
}

fn change(device: &Device, link: &Link, mac: Option<types::Mac>) -> LinkChange {
    LinkChange {
        mac: mac.filter(|mac| link.mac != Some(*mac)),
        mtu: device.mtu.filter(|mtu| link.mtu != *mtu),
        up: (!link.up).then_some(true),
        ..LinkChange::default()
    }
}

fn push_change(steps: &mut Vec<Step>, change: LinkChange, step: impl FnOnce(LinkChange) -> Step) {
    if !change.is_empty() {
        steps.push(step(change));
    }
}

/// The addresses that an agent gave a device; those that the kernel found by itself do not last, or are of the link.
fn is_given(address: &Address) -> bool {
    address.scope != AddressScope::Link && address.flags.contains(AddressFlags::Permanent)
}

fn addresses(steps: &mut Vec<Step>, wanted: &Wanted, state: &State, made: &BTreeSet<String>) {
    let of_keepalived = |device: &Device| wanted.ha.is_some() && !device.name.starts_with(device::ROUTER_HA_PREFIX);
    let primary = wanted.ha.as_ref().map(|keepalived| keepalived.primary);
    for device in wanted.devices.iter().filter(|device| !of_keepalived(device)) {
        let index = state.links.iter().find(|link| link.name == device.name).map(|link| link.index);
        let index = index.filter(|_| !made.contains(&device.name));
        let held = state.addresses.iter().filter(|address| Some(address.link) == index);
        let held: Vec<&Address> = held.collect();
        let surplus = held.iter().filter(|address| {
            is_given(address) && !device.addresses.contains(&address.net) && Some(address.net) != primary
        });
        steps.extend(surplus.map(|address| Step::DeleteAddress((*address).clone())));
        let missing = device.addresses.iter().filter(|net| !held.iter().any(|address| address.net == **net));
        // The port's own first: the kernel prefers the first of a subnet as a source.
        let mut missing: Vec<&IpNet> = missing.collect();
        missing.sort_by_key(|net| (net.prefix_len() == net.max_prefix_len(), **net));
        steps.extend(missing.into_iter().map(|net| Step::AddAddress(device.name.clone(), *net)));
    }
}

fn routes(steps: &mut Vec<Step>, wanted: &Wanted, state: &State, made: &BTreeSet<String>) {
    let index = |name: &str| {
        let link = state.links.iter().find(|link| link.name == name && !made.contains(name));
        link.map(|link| link.index)
    };
    let hops = |hops: &[Hop]| -> Option<Vec<(Option<IpAddr>, u32)>> {
        let mut hops: Vec<_> =
            hops.iter().map(|hop| Some((hop.gateway, index(&hop.device)?))).collect::<Option<Vec<_>>>()?;
        hops.sort();
        Some(hops)
    };
    let held: Vec<&Route> = state.routes.iter().filter(|route| route.is_static()).collect();
    let mut missing: Vec<(&IpNet, &Vec<Hop>)> = wanted.routes.iter().collect();
    missing.retain(|(destination, wanted)| {
        let wanted = hops(wanted);
        !held.iter().any(|route| route.destination().as_ref() == Some(destination) && Some(route.hops()) == wanted)
    });
    // What is on the link first, because the others lead by way of it.
    missing.sort_by_key(|(_, hops)| hops.iter().any(|hop| hop.gateway.is_some()));
    let surplus = held.iter().filter(|route| match route.destination() {
        Some(destination) => !wanted.routes.contains_key(&destination),
        None => false,
    });
    // A route that changes is replaced at one stroke, after which the way to its former next hop may go.
    let surplus: Vec<Step> = surplus.map(|route| Step::DeleteRoute((*route).clone())).collect();
    steps.extend(missing.into_iter().map(|(destination, hops)| Step::SetRoute(*destination, hops.clone())));
    steps.extend(surplus);
}

fn keepalived(steps: &mut Vec<Step>, wanted: &Wanted, state: &State, made: &BTreeSet<String>) {
    let Some(keepalived) = &wanted.ha else {
        steps.extend(state.keepalived_file.is_some().then_some(Step::RemoveKeepalived));
        return;
    };
    let running = state.keepalived.as_ref().filter(|running| running.here);
    if running.is_none() && !keepalived.ready {
        return;
    }
    let changed = state.keepalived_file.as_ref() != Some(&keepalived.text);
    let unread = state.unfinished.contains(&Unfinished::Keepalived);
    steps.extend((changed || state.check_file != keepalived.check.text).then_some(Step::WriteKeepalived));
    match running {
        None => steps.push(Step::StartKeepalived),
        // One that an agent of the other kind started may say more of itself.
        Some(running)
            if running.arguments.strip_suffix(&["-D".to_owned()]).unwrap_or(&running.arguments)
                != keepalived.command =>
        {
            steps.push(Step::StopKeepalived);
            steps.push(Step::StartKeepalived);
        }
        Some(_) if changed || unread || !made.is_empty() => steps.push(Step::ReloadKeepalived),
        Some(_) => {}
    }
}

fn radvd(steps: &mut Vec<Step>, wanted: &Wanted, state: &State, made: &BTreeSet<String>) {
    let Some(radvd) = &wanted.radvd else {
        steps.extend(state.radvd_file.is_some().then_some(Step::RemoveRadvd));
        return;
    };
    let changed = state.radvd_file.as_ref() != Some(&radvd.text);
    let unread = state.unfinished.contains(&Unfinished::Radvd);
    steps.extend(changed.then_some(Step::WriteRadvd));
    match state.radvd.as_ref().filter(|running| running.here) {
        None => steps.push(Step::StartRadvd),
        Some(running) if running.arguments != radvd.command => {
            steps.push(Step::StopRadvd);
            steps.push(Step::StartRadvd);
        }
        Some(_) if changed || unread || made.iter().any(|name| radvd.text.contains(name)) => {
            steps.push(Step::ReloadRadvd);
        }
        Some(_) => {}
    }
}
