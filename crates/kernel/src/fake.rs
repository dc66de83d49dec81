//! A kernel in memory, for tests of what an agent decides.
//!
//! It knows the rules that decisions rest on: names are unique in a namespace, a link that is made again has another
//! index, ports leave a bridge that is deleted, addresses and routes go with their link, both ends of a pair go
//! together. It moves no packet. Any request can be made to fail, and every change is noted.

mod flows;
mod nft;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use nix::errno::Errno;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use types::Mac;

use crate::{
    Address, Error, Event, Events, Forwarding, Host, Kernel, Kind, Link, LinkChange, Namespace, Neighbour, NewKind,
    NewLink, Result, Route,
    conntrack::Connection,
    neighbour::FLOOD,
    nft::{NftError, Table},
};

/// Where fake namespaces pretend to lie.
const DIRECTORY: &str = "/run/netns";
/// The name under which the root namespace is kept.
const ROOT: &str = "";

/// A machine in memory. Clones share it.
#[derive(Clone, Default)]
pub struct FakeHost(Arc<Mutex<World>>);

/// One of its namespaces.
#[derive(Clone)]
pub struct FakeKernel {
    host: FakeHost,
    namespace: String,
}

#[derive(Default)]
struct World {
    stacks: BTreeMap<String, Stack>,
    last_index: u32,
    changes: Vec<String>,
    failures: Vec<(String, Errno, usize)>,
}

#[derive(Default)]
struct Stack {
    links: Vec<Link>,
    policed: BTreeSet<u32>,
    /// Links with programs of a cache before.
    left: BTreeSet<u32>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    forwardings: Vec<Forwarding>,
    neighbours: Vec<Neighbour>,
    parameters: BTreeMap<String, String>,
    listeners: Vec<mpsc::Sender<Event>>,
    tables: nft::Tables,
}

// ===== impl FakeHost =====

impl FakeHost {
    /// A machine with a loopback and nothing else.
    pub fn new() -> Self {
        let host = Self::default();
        host.0.lock().add_stack(ROOT);
        host
    }

    /// Lets the next `times` requests fail whose text, for example `change link tap1`, contains `request`.
    pub fn fail(&self, request: &str, errno: Errno, times: usize) {
        self.0.lock().failures.push((request.to_owned(), errno, times));
    }

    /// The changes asked for since the last call, failed ones included, as `create link brq1`.
    pub fn take_changes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().changes)
    }

    /// Adds a link that no agent made, as hardware or a hypervisor would. Its index is returned.
    pub fn plug(&self, name: &str, kind: Kind) -> u32 {
        let mut world = self.0.lock();
        let index = world.next_index();
        let link = Link {
            index,
            name: name.to_owned(),
            kind,
            mac: Some(types::Mac([2, 0, 0, 0, (index >> 8) as u8, index as u8])),
            mtu: 1500,
            up: true,
            master: None,
            parent: None,
            alias: None,
            group: 0,
        };
        world.stack(ROOT).add(link);
        index
    }

    /// Somebody has `tc` look at what comes in by the link of that index, or no longer.
    pub fn police(&self, link: u32, on: bool) {
        let mut world = self.0.lock();
        let policed = &mut world.stack(ROOT).policed;
        let _ = if on { policed.insert(link) } else { policed.remove(&link) };
    }

    /// A cache that was before left its programs at the link of that index.
    pub fn leave_flows(&self, link: u32) {
        self.0.lock().stack(ROOT).left.insert(link);
    }

    /// A handle on the root namespace.
    pub fn kernel(&self) -> FakeKernel {
        FakeKernel { host: self.clone(), namespace: ROOT.to_owned() }
    }
}

impl Host for FakeHost {
    type Kernel = FakeKernel;

    fn root(&self) -> Result<FakeKernel> {
        Ok(self.kernel())
    }

    fn open(&self, name: &str) -> Result<FakeKernel> {
        if !self.0.lock().stacks.contains_key(name) {
            return Err(Error::new("open namespace", name, Errno::ENOENT));
        }
        Ok(FakeKernel { host: self.clone(), namespace: name.to_owned() })
    }

    fn namespace(&self, name: &str) -> Namespace {
        Namespace::at(format!("{DIRECTORY}/{name}"))
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        Ok(self.0.lock().stacks.keys().filter(|name| *name != ROOT).cloned().collect())
    }

    fn namespace_create(&self, name: &str) -> Result<()> {
        let mut world = self.0.lock();
        world.note("create namespace", name)?;
        if world.stacks.contains_key(name) {
            return Err(Error::new("create namespace", name, Errno::EEXIST));
        }
        world.add_stack(name);
        Ok(())
    }

    fn namespace_delete(&self, name: &str) -> Result<()> {
        let mut world = self.0.lock();
        world.note("delete namespace", name)?;
        let gone = world.stacks.remove(name).map(|stack| stack.links).unwrap_or_default();
        gone.iter().for_each(|link| world.delete_peer(link));
        Ok(())
    }
}

// ===== impl FakeKernel =====

impl FakeKernel {
    /// Runs `work` on this namespace if the request is not to fail.
    fn ask<T>(
        &self,
        action: &'static str,
        object: &str,
        work: impl FnOnce(&mut World, &str) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        let mut world = self.host.0.lock();
        world.note(action, object)?;
        if !world.stacks.contains_key(&self.namespace) {
            return Err(Error::new(action, object, Errno::ENODEV));
        }
        work(&mut world, &self.namespace).map_err(|errno| Error::new(action, object, errno))
    }

    /// A request that changes nothing is not noted, but can fail.
    fn see<T>(&self, action: &'static str, object: &str, work: impl FnOnce(&mut Stack) -> T) -> Result<T> {
        let mut world = self.host.0.lock();
        world.refuse(action, object)?;
        Ok(work(world.stack(&self.namespace)))
    }
}

impl Kernel for FakeKernel {
    type Flows = flows::FakeFlows;

    async fn links(&self) -> Result<Vec<Link>> {
        self.see("list", "links", |stack| stack.links.clone())
    }

    async fn link(&self, name: &str) -> Result<Option<Link>> {
        self.see("read link", name, |stack| stack.links.iter().find(|link| link.name == name).cloned())
    }

    async fn link_create(&self, new: &NewLink) -> Result<()> {
        self.ask("create link", &new.name, |world, namespace| world.create(namespace, new))
    }

    async fn link_set(&self, name: &str, change: &LinkChange) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        self.ask("change link", name, |world, namespace| world.change(namespace, name, change))
    }

    async fn link_delete(&self, name: &str) -> Result<()> {
        self.ask("delete link", name, |world, namespace| {
            let link = world.stack(namespace).remove(name).ok_or(Errno::ENODEV)?;
            world.delete_peer(&link);
            Ok(())
        })
    }

    async fn policed(&self) -> Result<BTreeSet<u32>> {
        self.see("list", "queueing disciplines", |stack| stack.policed.clone())
    }

    async fn addresses(&self) -> Result<Vec<Address>> {
        self.see("list", "addresses", |stack| stack.addresses.clone())
    }

    async fn address_set(&self, address: &Address) -> Result<()> {
        self.ask("set address", &address.net.to_string(), |world, namespace| {
            let stack = world.stack(namespace);
            stack.links.iter().find(|link| link.index == address.link).ok_or(Errno::ENODEV)?;
            stack.addresses.retain(|a| (a.link, a.net) != (address.link, address.net));
            stack.addresses.push(address.clone());
            Ok(())
        })
    }

    async fn address_delete(&self, address: &Address) -> Result<()> {
        self.ask("delete address", &address.net.to_string(), |world, namespace| {
            let addresses = &mut world.stack(namespace).addresses;
            let before = addresses.len();
            addresses.retain(|a| (a.link, a.net) != (address.link, address.net));
            if addresses.len() == before { Err(Errno::EADDRNOTAVAIL) } else { Ok(()) }
        })
    }

    async fn routes(&self) -> Result<Vec<Route>> {
        self.see("list", "routes", |stack| stack.routes.clone())
    }

    async fn route_replace(&self, route: &Route) -> Result<()> {
        self.ask("set route to", &route.object(), |world, namespace| {
            let routes = &mut world.stack(namespace).routes;
            routes.retain(|r| {
                (r.destination(), r.metric(), r.table()) != (route.destination(), route.metric(), route.table())
            });
            routes.push(route.clone());
            Ok(())
        })
    }

    async fn route_delete(&self, route: &Route) -> Result<()> {
        self.ask("delete route to", &route.object(), |world, namespace| {
            let routes = &mut world.stack(namespace).routes;
            let before = routes.len();
            routes.retain(|r| r != route);
            if routes.len() == before { Err(Errno::ESRCH) } else { Ok(()) }
        })
    }

    async fn forwardings(&self) -> Result<Vec<Forwarding>> {
        self.see("list", "forwarding entries", |stack| stack.forwardings.clone())
    }

    async fn forwarding_set(&self, entry: &Forwarding) -> Result<()> {
        self.ask("forward", &entry.object(), |world, namespace| {
            let stack = world.stack(namespace);
            let vxlan = |link: &&Link| link.index == entry.link && matches!(link.kind, Kind::Vxlan(_));
            stack.links.iter().find(vxlan).ok_or(Errno::EOPNOTSUPP)?;
            let replaced = |e: &Forwarding| e.link == entry.link && e.mac == entry.mac;
            stack.forwardings.retain(|e| !replaced(e) || (entry.mac == FLOOD && e.remote != entry.remote));
            stack.forwardings.push(*entry);
            Ok(())
        })
    }

    async fn forwarding_delete(&self, entry: &Forwarding) -> Result<()> {
        self.ask("stop forwarding", &entry.object(), |world, namespace| {
            let entries = &mut world.stack(namespace).forwardings;
            entries.iter().find(|e| (e.link, e.mac) == (entry.link, entry.mac)).ok_or(Errno::ENOENT)?;
            entries.retain(|e| e != entry);
            Ok(())
        })
    }

    async fn neighbours(&self) -> Result<Vec<Neighbour>> {
        self.see("list", "neighbours", |stack| stack.neighbours.clone())
    }

    async fn neighbour_set(&self, neighbour: &Neighbour) -> Result<()> {
        self.ask("set neighbour", &neighbour.object(), |world, namespace| {
            let stack = world.stack(namespace);
            stack.links.iter().find(|link| link.index == neighbour.link).ok_or(Errno::ENODEV)?;
            stack.neighbours.retain(|n| (n.link, n.address) != (neighbour.link, neighbour.address));
            stack.neighbours.push(*neighbour);
            Ok(())
        })
    }

    async fn neighbour_delete(&self, neighbour: &Neighbour) -> Result<()> {
        self.ask("delete neighbour", &neighbour.object(), |world, namespace| {
            let same = |n: &Neighbour| (n.link, n.address) == (neighbour.link, neighbour.address);
            let neighbours = &mut world.stack(namespace).neighbours;
            neighbours.iter().find(|n| same(n)).ok_or(Errno::ENOENT)?;
            neighbours.retain(|n| !same(n));
            Ok(())
        })
    }

    fn sysctl(&self, key: &str) -> Result<String> {
        self.see("read sysctl", key, |stack| stack.parameters.get(key).cloned().unwrap_or_else(|| "0".to_owned()))
    }

    fn sysctl_set(&self, key: &str, value: &str) -> Result<()> {
        self.ask("write sysctl", key, |world, namespace| {
            world.stack(namespace).parameters.insert(key.to_owned(), value.to_owned());
            Ok(())
        })
    }

    fn sysctls(&self, keys: &[String]) -> Result<BTreeMap<String, String>> {
        keys.iter().map(|key| Ok((key.clone(), self.sysctl(key)?))).collect()
    }

    fn announce(&self, link: &str, _: Mac, addresses: &[IpAddr]) -> Result<()> {
        let addresses = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        self.ask("announce", &format!("{addresses} on {link}"), |_, _| Ok(()))
    }

    async fn ask_again(&self, link: &str, _: Mac, _: &[IpNet]) -> Result<()> {
        // Nobody is reached, so nobody is asked for.
        self.see("ask neighbours on", link, |_| ())
    }

    fn connections_retain(&self, _: u8, _: impl Fn(&Connection) -> bool + Send) -> Result<usize> {
        // No packet moves, so there are none.
        self.see("end connections", "of the fake", |_| 0)
    }

    fn flows(&self) -> Result<flows::FakeFlows> {
        self.ask("open", "flows", |_, _| Ok(()))?;
        Ok(flows::FakeFlows(self.clone()))
    }

    fn silence_flows(&self, links: &[u32]) -> Result<BTreeSet<u32>> {
        self.see("silence", "flows", |stack| links.iter().filter(|link| stack.left.contains(link)).copied().collect())
    }

    fn events(&self) -> Result<Events> {
        let (sender, receiver) = mpsc::channel(4096);
        self.see("watch links in", "the fake", |stack| stack.listeners.push(sender))?;
        Ok(Events::new(receiver))
    }

    async fn nft(&self, script: &str) -> std::result::Result<(), NftError> {
        let mut world = self.host.0.lock();
        script.lines().for_each(|line| world.changes.push(format!("nft {}", line.trim())));
        world.refuse("run", "nft script")?;
        let stack = world.stack(&self.namespace);
        stack.tables = nft::run(&stack.tables, script)?;
        Ok(())
    }

    async fn nft_table(&self, family: &str, name: &str) -> std::result::Result<Option<Table>, NftError> {
        let key = (family.to_owned(), name.to_owned());
        Ok(self.see("list", "nft table", |stack| stack.tables.get(&key).cloned())?)
    }

    async fn nft_tables(&self) -> std::result::Result<Vec<(String, String)>, NftError> {
        Ok(self.see("list", "nft tables", |stack| stack.tables.keys().cloned().collect())?)
    }
}

// ===== impl World =====

impl World {
    fn next_index(&mut self) -> u32 {
        self.last_index += 1;
        self.last_index
    }

    fn add_stack(&mut self, name: &str) {
        let index = self.next_index();
        let lo = Link {
            index,
            name: "lo".to_owned(),
            kind: Kind::Hardware,
            mac: None,
            mtu: 65536,
            up: false,
            master: None,
            parent: None,
            alias: None,
            group: 0,
        };
        self.stack(name).add(lo);
    }

    fn stack(&mut self, name: &str) -> &mut Stack {
        self.stacks.entry(name.to_owned()).or_default()
    }

    fn note(&mut self, action: &'static str, object: &str) -> Result<()> {
        self.changes.push(format!("{action} {object}"));
        self.refuse(action, object)
    }

    fn refuse(&mut self, action: &'static str, object: &str) -> Result<()> {
        let text = format!("{action} {object}");
        let due = self.failures.iter_mut().find(|(request, _, times)| *times > 0 && text.contains(request.as_str()));
        due.map_or(Ok(()), |(_, errno, times)| {
            *times -= 1;
            Err(Error::new(action, object, *errno))
        })
    }

    fn create(&mut self, namespace: &str, new: &NewLink) -> std::result::Result<(), Errno> {
        if let NewKind::Vlan { parent, id } = new.kind {
            let same = |link: &Link| link.parent == Some(parent) && link.kind == Kind::Vlan(id);
            if self.stack(namespace).links.iter().any(same) {
                return Err(Errno::EEXIST);
            }
        }
        let index = self.add(namespace, &new.name, kind_of(&new.kind))?;
        if let NewKind::Veth { peer, settings } = &new.kind {
            let target = settings.namespace.as_ref().and_then(Namespace::name).unwrap_or(namespace).to_owned();
            let other = self.add(&target, peer, Kind::Veth)?;
            let settings = LinkChange { namespace: None, ..(**settings).clone() };
            self.change(&target, peer, &settings)?;
            self.stack(&target).links.iter_mut().filter(|l| l.index == other).for_each(|l| l.parent = Some(index));
            self.stack(namespace).links.iter_mut().filter(|l| l.index == index).for_each(|l| l.parent = Some(other));
        }
        if let NewKind::Vlan { parent, .. } = new.kind {
            self.stack(namespace).links.iter_mut().filter(|l| l.index == index).for_each(|l| l.parent = Some(parent));
        }
        self.change(namespace, &new.name, &new.settings)
    }

    fn add(&mut self, namespace: &str, name: &str, kind: Kind) -> std::result::Result<u32, Errno> {
        if self.stack(namespace).links.iter().any(|link| link.name == name) {
            return Err(Errno::EEXIST);
        }
        let index = self.next_index();
        let mac = Some(types::Mac([2, 0, 0, 1, (index >> 8) as u8, index as u8]));
        let link = Link {
            index,
            name: name.to_owned(),
            kind,
            mac,
            mtu: 1500,
            up: false,
            master: None,
            parent: None,
            alias: None,
            group: 0,
        };
        self.stack(namespace).add(link);
        Ok(index)
    }

    fn change(&mut self, namespace: &str, name: &str, change: &LinkChange) -> std::result::Result<(), Errno> {
        let stack = self.stack(namespace);
        if let Some(Some(master)) = change.master {
            stack.links.iter().find(|link| link.index == master).ok_or(Errno::ENODEV)?;
        }
        let link = stack.links.iter_mut().find(|link| link.name == name).ok_or(Errno::ENODEV)?;
        link.mac = change.mac.or(link.mac);
        link.mtu = change.mtu.unwrap_or(link.mtu);
        link.up = change.up.unwrap_or(link.up);
        link.master = change.master.unwrap_or(link.master);
        link.group = change.group.unwrap_or(link.group);
        link.alias = change.alias.clone().or(link.alias.take());
        if let Some(bridge) = change.bridge {
            link.kind = Kind::Bridge(bridge);
        }
        let link = link.clone();
        stack.tell(&Event::Link(link));
        if let Some(target) = change.namespace.as_ref().and_then(Namespace::name) {
            let moved = self.stack(namespace).remove(name).ok_or(Errno::ENODEV)?;
            self.stack(target).add(Link { master: None, up: false, ..moved });
        }
        Ok(())
    }

    /// Deletes the other end of a pair, wherever it is.
    fn delete_peer(&mut self, link: &Link) {
        if link.kind != Kind::Veth {
            return;
        }
        for stack in self.stacks.values_mut() {
            let name = stack.links.iter().find(|l| Some(l.index) == link.parent).map(|l| l.name.clone());
            name.and_then(|name| stack.remove(&name));
        }
    }
}

// ===== impl Stack =====

impl Stack {
    fn tell(&mut self, event: &Event) {
        self.listeners.retain(|listener| listener.try_send(event.clone()).is_ok());
    }

    fn add(&mut self, link: Link) {
        self.links.push(link.clone());
        self.tell(&Event::Link(link));
    }

    fn remove(&mut self, name: &str) -> Option<Link> {
        let place = self.links.iter().position(|link| link.name == name)?;
        let link = self.links.remove(place);
        self.links.iter_mut().filter(|l| l.master == Some(link.index)).for_each(|l| l.master = None);
        self.addresses.retain(|address| address.link != link.index);
        self.routes.retain(|route| !route.uses(link.index));
        self.forwardings.retain(|entry| entry.link != link.index);
        self.neighbours.retain(|neighbour| neighbour.link != link.index);
        let above: Vec<_> = self
            .links
            .iter()
            .filter(|l| matches!(l.kind, Kind::Vlan(_)) && l.parent == Some(link.index))
            .map(|l| l.name.clone())
            .collect();
        self.tell(&Event::LinkGone(link.clone()));
        above.iter().for_each(|name| drop(self.remove(name)));
        Some(link)
    }
}

fn kind_of(kind: &NewKind) -> Kind {
    match kind {
        NewKind::Bridge(bridge) => Kind::Bridge(*bridge),
        NewKind::Vlan { id, .. } => Kind::Vlan(*id),
        NewKind::Vxlan(vxlan) => Kind::Vxlan(vxlan.clone()),
        NewKind::Veth { .. } => Kind::Veth,
        NewKind::Dummy => Kind::Other("dummy".to_owned()),
    }
}
