//! The seam between the agents and the kernel: what they ask of it, as two traits.
//!
//! [`Netlink`] and [`System`] are the real kernel; [`crate::fake`] is one in memory, for tests of what an agent decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::IpAddr,
};

use ipnet::IpNet;
use types::Mac;

use crate::{
    Address, Error, Events, FlowCache, Flows, Forwarding, Link, LinkChange, Namespace, Neighbour, Netlink, NewLink,
    Result, Route, System, announce,
    conntrack::{self, Connection},
    nft::{self, NftError},
    sysctl,
};

/// The links, addresses, routes and parameters of one namespace.
pub trait Kernel: Clone + Send + Sync + 'static {
    /// A cache of the ways of flows.
    type Flows: Flows;
    /// Every link.
    fn links(&self) -> impl Future<Output = Result<Vec<Link>>> + Send;
    /// The link of that name, if there is one.
    fn link(&self, name: &str) -> impl Future<Output = Result<Option<Link>>> + Send;
    /// Creates a link or a pair; `EEXIST` when the name is taken.
    fn link_create(&self, link: &NewLink) -> impl Future<Output = Result<()>> + Send;
    /// Changes settings of a link.
    fn link_set(&self, name: &str, change: &LinkChange) -> impl Future<Output = Result<()>> + Send;
    /// Deletes a link.
    fn link_delete(&self, name: &str) -> impl Future<Output = Result<()>> + Send;
    /// Indices of the links of which somebody filters, polices or mirrors what comes in, by `tc`.
    fn policed(&self) -> impl Future<Output = Result<BTreeSet<u32>>> + Send;
    /// Every address of every link.
    fn addresses(&self) -> impl Future<Output = Result<Vec<Address>>> + Send;
    /// Gives a link an address, or changes the attributes of one it has.
    fn address_set(&self, address: &Address) -> impl Future<Output = Result<()>> + Send;
    /// Takes an address from its link.
    fn address_delete(&self, address: &Address) -> impl Future<Output = Result<()>> + Send;
    /// Every route but those to the machine's own addresses.
    fn routes(&self) -> impl Future<Output = Result<Vec<Route>>> + Send;
    /// Adds a route, or puts it in the place of the one to the same destination with the same metric.
    fn route_replace(&self, route: &Route) -> impl Future<Output = Result<()>> + Send;
    /// Deletes a route.
    fn route_delete(&self, route: &Route) -> impl Future<Output = Result<()>> + Send;
    /// The permanent forwarding entries of every VXLAN device that lead to other hosts.
    fn forwardings(&self) -> impl Future<Output = Result<Vec<Forwarding>>> + Send;
    /// Adds a forwarding entry; one for a single MAC takes the place of the one that led elsewhere.
    fn forwarding_set(&self, entry: &Forwarding) -> impl Future<Output = Result<()>> + Send;
    /// Removes a forwarding entry.
    fn forwarding_delete(&self, entry: &Forwarding) -> impl Future<Output = Result<()>> + Send;
    /// The permanent neighbours of every link.
    fn neighbours(&self) -> impl Future<Output = Result<Vec<Neighbour>>> + Send;
    /// Adds a neighbour, or gives the one with its address another MAC.
    fn neighbour_set(&self, neighbour: &Neighbour) -> impl Future<Output = Result<()>> + Send;
    /// Removes a neighbour.
    fn neighbour_delete(&self, neighbour: &Neighbour) -> impl Future<Output = Result<()>> + Send;
    /// Reads a kernel parameter by its path below `/proc/sys`.
    fn sysctl(&self, key: &str) -> Result<String>;
    /// Writes a kernel parameter.
    fn sysctl_set(&self, key: &str, value: &str) -> Result<()>;
    /// Reads many kernel parameters at once; those that this kernel does not have are left out.
    fn sysctls(&self, keys: &[String]) -> Result<BTreeMap<String, String>>;
    /// Tells the neighbours of a link that these addresses are at its Ethernet address.
    fn announce(&self, link: &str, mac: Mac, addresses: &[IpAddr]) -> Result<()>;
    /// Asks again for the neighbours of a link with these addresses that have not answered.
    fn ask_again(&self, link: &str, mac: Mac, own: &[IpNet]) -> impl Future<Output = Result<()>> + Send;
    /// Has the kernel forget the tracked connections of a family (4 or 6) that `keep` does not want, and says how many.
    fn connections_retain(&self, ip_version: u8, keep: impl Fn(&Connection) -> bool + Send) -> Result<usize>;
    /// A cache of the ways of flows, without devices and suspended.
    fn flows(&self) -> Result<Self::Flows>;
    /// Has what another cache left at these links, by their indices, let every frame take the long way, and says at which
    /// it found any.
    fn silence_flows(&self, links: &[u32]) -> Result<BTreeSet<u32>>;
    /// What happens to links and addresses from now on.
    fn events(&self) -> Result<Events>;
    /// Runs a script of nftables as one transaction.
    fn nft(&self, script: &str) -> impl Future<Output = std::result::Result<(), NftError>> + Send;
    /// A table of nftables with all in it; none if it does not exist.
    fn nft_table(
        &self,
        family: &str,
        name: &str,
    ) -> impl Future<Output = std::result::Result<Option<nft::Table>, NftError>> + Send;
    /// Family and name of every table of nftables.
    fn nft_tables(&self) -> impl Future<Output = std::result::Result<Vec<(String, String)>, NftError>> + Send;
}

/// A machine: a root namespace and named ones.
pub trait Host: Clone + Send + Sync + 'static {
    /// What a namespace of it is handled by.
    type Kernel: Kernel;
    /// A handle on the root namespace.
    fn root(&self) -> Result<Self::Kernel>;
    /// A handle on a named namespace.
    fn open(&self, name: &str) -> Result<Self::Kernel>;
    /// The namespace of that name, whether or not it exists.
    fn namespace(&self, name: &str) -> Namespace;
    /// The names that exist, sorted.
    fn namespaces(&self) -> Result<Vec<String>>;
    /// Creates a namespace; `EEXIST` when the name is taken.
    fn namespace_create(&self, name: &str) -> Result<()>;
    /// Removes a namespace's name. Gone already is success.
    fn namespace_delete(&self, name: &str) -> Result<()>;
}

impl Kernel for Netlink {
    type Flows = FlowCache;

    async fn links(&self) -> Result<Vec<Link>> {
        self.links().await
    }

    async fn link(&self, name: &str) -> Result<Option<Link>> {
        self.link(name).await
    }

    async fn link_create(&self, link: &NewLink) -> Result<()> {
        self.link_create(link).await
    }

    async fn link_set(&self, name: &str, change: &LinkChange) -> Result<()> {
        self.link_set(name, change).await
    }

    async fn link_delete(&self, name: &str) -> Result<()> {
        self.link_delete(name).await
    }

    async fn policed(&self) -> Result<BTreeSet<u32>> {
        self.policed().await
    }

    async fn addresses(&self) -> Result<Vec<Address>> {
        self.addresses().await
    }

    async fn address_set(&self, address: &Address) -> Result<()> {
        self.address_set(address).await
    }

    async fn address_delete(&self, address: &Address) -> Result<()> {
        self.address_delete(address).await
    }

    async fn routes(&self) -> Result<Vec<Route>> {
        self.routes().await
    }

    async fn route_replace(&self, route: &Route) -> Result<()> {
        self.route_replace(route).await
    }

    async fn route_delete(&self, route: &Route) -> Result<()> {
        self.route_delete(route).await
    }

    async fn forwardings(&self) -> Result<Vec<Forwarding>> {
        self.forwardings().await
    }

    async fn forwarding_set(&self, entry: &Forwarding) -> Result<()> {
        self.forwarding_set(entry).await
    }

    async fn forwarding_delete(&self, entry: &Forwarding) -> Result<()> {
        self.forwarding_delete(entry).await
    }

    async fn neighbours(&self) -> Result<Vec<Neighbour>> {
        self.neighbours().await
    }

    async fn neighbour_set(&self, neighbour: &Neighbour) -> Result<()> {
        self.neighbour_set(neighbour).await
    }

    async fn neighbour_delete(&self, neighbour: &Neighbour) -> Result<()> {
        self.neighbour_delete(neighbour).await
    }

    fn sysctl(&self, key: &str) -> Result<String> {
        sysctl::read(self.namespace(), key)
    }

    fn sysctl_set(&self, key: &str, value: &str) -> Result<()> {
        sysctl::write(self.namespace(), key, value)
    }

    fn sysctls(&self, keys: &[String]) -> Result<BTreeMap<String, String>> {
        sysctl::read_all(self.namespace(), keys)
    }

    fn announce(&self, link: &str, mac: Mac, addresses: &[IpAddr]) -> Result<()> {
        announce::announce(self.namespace(), link, mac, addresses)
    }

    async fn ask_again(&self, link: &str, mac: Mac, own: &[IpNet]) -> Result<()> {
        let Some(found) = self.link(link).await? else { return Err(Error::missing("find link", link)) };
        let from = |to: IpAddr| own.iter().find(|net| net.contains(&to)).map(|net| (net.addr(), to));
        let questions: Vec<_> = self.unanswered(found.index).await?.into_iter().filter_map(from).collect();
        if questions.is_empty() { Ok(()) } else { announce::ask(self.namespace(), link, mac, &questions) }
    }

    fn connections_retain(&self, ip_version: u8, keep: impl Fn(&Connection) -> bool + Send) -> Result<usize> {
        conntrack::retain(self.namespace(), ip_version, keep)
    }

    fn flows(&self) -> Result<FlowCache> {
        FlowCache::open(self.namespace())
    }

    fn silence_flows(&self, links: &[u32]) -> Result<BTreeSet<u32>> {
        FlowCache::silence(self.namespace(), links)
    }

    fn events(&self) -> Result<Events> {
        Events::open(self.namespace())
    }

    async fn nft(&self, script: &str) -> std::result::Result<(), NftError> {
        let script = script.to_owned();
        self.with_nft(move |nft| nft.run(&script)).await
    }

    async fn nft_table(&self, family: &str, name: &str) -> std::result::Result<Option<nft::Table>, NftError> {
        let (family, name) = (family.to_owned(), name.to_owned());
        self.with_nft(move |nft| nft.table(&family, &name)).await
    }

    async fn nft_tables(&self) -> std::result::Result<Vec<(String, String)>, NftError> {
        self.with_nft(|nft| nft.tables()).await
    }
}

impl Host for System {
    type Kernel = Netlink;

    fn root(&self) -> Result<Netlink> {
        self.root().open()
    }

    fn open(&self, name: &str) -> Result<Netlink> {
        self.namespace(name).open()
    }

    fn namespace(&self, name: &str) -> Namespace {
        self.namespace(name)
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        self.namespaces()
    }

    fn namespace_create(&self, name: &str) -> Result<()> {
        self.namespace_create(name).map(drop)
    }

    fn namespace_delete(&self, name: &str) -> Result<()> {
        self.namespace_delete(name)
    }
}
