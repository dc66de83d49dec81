//! Taking and freeing addresses in the database.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::IpAddr,
};

use db::{Conn, Race, Statement, ipam as rows, ipam::Candidate};
use types::{Mac, NetworkId, PortId, SubnetId, port::FixedIp};

use super::{
    FixedIpRequest, Hints, IpamError, Party, owner,
    plan::{self, Eligible, Wanted},
    pools::Pools,
    search::{Search, Taken},
};

/// Addresses probed in one statement at most.
const PROBE: usize = 1000;

/// The addresses of one new port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// In the order the API shows them.
    pub fixed_ips: Vec<FixedIp>,
    /// `immediate`, `deferred` (they come with the host) or `none` (the client wants none).
    pub ip_allocation: &'static str,
}

/// A port before an update, and what the update says of it.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// Its id.
    pub port_id: PortId,
    /// Its network, its owner, and its MAC and host as they will be.
    pub party: Party<'a>,
    /// Its MAC so far.
    pub old_mac: Mac,
    /// Its host so far; empty when not known.
    pub old_host: &'a str,
    /// Its `ip_allocation` so far.
    pub ip_allocation: &'a str,
    /// Its addresses so far.
    pub fixed_ips: &'a [FixedIp],
}

/// What became of a port's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reassigned {
    /// All it has now, in the order the API shows them.
    pub fixed_ips: Vec<FixedIp>,
    /// The new ones among them.
    pub added: Vec<FixedIp>,
    /// Those it has no longer.
    pub removed: Vec<FixedIp>,
}

/// What [`allocate`] is going to ask for ports of a network.
pub fn ahead(hints: &Hints, network: NetworkId) -> Vec<Statement> {
    let pools = hints.ipam_subnets(network).into_iter().map(|subnet| rows::pools_query(&subnet));
    std::iter::once(rows::candidates_query(network)).chain(pools).collect()
}

/// Takes addresses for new ports; `None` leaves the choice to us. The answers are in the order of the ports.
pub async fn allocate(
    hints: &Hints,
    conn: &mut Conn,
    ports: &[(Party<'_>, Option<&[FixedIpRequest]>)],
) -> Result<Vec<Allocation>, IpamError> {
    let mut subnets: HashMap<NetworkId, Vec<Candidate>> = HashMap::new();
    let mut wanted = Vec::with_capacity(ports.len());
    let mut deferred = vec![false; ports.len()];
    for (i, (party, fixed)) in ports.iter().enumerate() {
        let candidates = match subnets.entry(party.network_id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let candidates = rows::candidates(conn, party.network_id).await?;
                hints.set_subnets(party.network_id, candidates.iter().map(|subnet| subnet.id));
                new.insert(candidates)
            }
        };
        match eligible(conn, candidates, party, *fixed).await? {
            Eligible::Deferred => deferred[i] = true,
            Eligible::Subnets(eligible) => {
                let planned = plan::for_new_port(&eligible, party, *fixed);
                for want in explained(conn, planned).await? {
                    wanted.push((i, party.network_id, want));
                }
            }
        }
    }
    let given = take(hints, conn, wanted).await?;
    let mut out: Vec<Allocation> = Vec::with_capacity(ports.len());
    for (fixed_ips, ((_, fixed), deferred)) in grouped(given, ports.len()).into_iter().zip(ports.iter().zip(deferred)) {
        let ip_allocation = match fixed {
            Some([]) => "none",
            _ if deferred => "deferred",
            _ => "immediate",
        };
        out.push(Allocation { fixed_ips, ip_allocation });
    }
    Ok(out)
}

/// Writes which port has which address. The port rows must exist.
pub async fn store(conn: &mut Conn, network_id: NetworkId, given: &[(PortId, &[FixedIp])]) -> Result<(), IpamError> {
    let rows: Vec<_> = given.iter().flat_map(|(port, ips)| ips.iter().map(|ip| (*port, *ip))).collect();
    Ok(rows::fixed_ips_insert(conn, network_id, &rows).await?)
}

/// Frees addresses of ports about to be deleted, for others to have. Their rows in `ipallocations` go with the ports.
pub async fn release(hints: &Hints, conn: &mut Conn, ips: &[FixedIp]) -> Result<(), IpamError> {
    let mut by_subnet: HashMap<SubnetId, Vec<IpAddr>> = HashMap::new();
    for ip in ips {
        by_subnet.entry(ip.subnet_id).or_default().push(ip.ip_address);
    }
    for (subnet, addresses) in by_subnet {
        // Without such a row the subnet is being deleted, and its allocations with it.
        let Some(ipam_subnet) = known_ipam_subnet(hints, conn, subnet).await? else { continue };
        for some in addresses.chunks(PROBE) {
            rows::allocations_delete(conn, &ipam_subnet, some).await?;
        }
        hints.add_gaps(subnet, &addresses);
    }
    Ok(())
}

/// Changes the addresses of a port. `requested` is the `fixed_ips` of the update, when it has them.
pub async fn reassign(
    hints: &Hints,
    conn: &mut Conn,
    port: &Current<'_>,
    requested: Option<&[FixedIpRequest]>,
) -> Result<Reassigned, IpamError> {
    let new_mac = port.party.mac != port.old_mac;
    let moved = port.party.host != port.old_host && !port.party.host.is_empty();
    let with_mac = if new_mac { plan::with_new_mac(port.fixed_ips, requested) } else { None };
    match with_mac.as_deref().or(requested) {
        Some(wanted) => replace(hints, conn, port, wanted, new_mac).await,
        None if moved && port.old_host.is_empty() && port.ip_allocation == "deferred" && port.fixed_ips.is_empty() => {
            arrive(hints, conn, port).await
        }
        None => {
            if moved && !port.fixed_ips.is_empty() {
                check_host(conn, port).await?;
            }
            Ok(Reassigned { fixed_ips: port.fixed_ips.to_vec(), ..Reassigned::default() })
        }
    }
}

async fn replace(
    hints: &Hints,
    conn: &mut Conn,
    port: &Current<'_>,
    requested: &[FixedIpRequest],
    new_mac: bool,
) -> Result<Reassigned, IpamError> {
    let party = &port.party;
    let candidates = rows::candidates(conn, party.network_id).await?;
    let is_auto = |id| candidates.iter().any(|s| s.id == id && s.auto_address);
    let change = plan::reassignment(port.fixed_ips, requested, party.device_owner, is_auto);
    let by_address = |ip: &FixedIp| FixedIpRequest {
        subnet_id: Some(ip.subnet_id),
        ip_address: Some(ip.ip_address),
        delete_subnet: false,
    };
    let all: Vec<FixedIpRequest> = change.add.iter().copied().chain(change.keep.iter().map(by_address)).collect();
    let subnets = match eligible(conn, &candidates, party, Some(&all)).await? {
        Eligible::Subnets(subnets) => subnets,
        Eligible::Deferred => Vec::new(),
    };
    // With a new MAC the addresses formed from the old one go, and others come on the same subnets.
    let mut handled: Vec<SubnetId> = change.keep.iter().map(|ip| ip.subnet_id).collect();
    if !new_mac {
        handled.extend(change.remove.iter().map(|ip| ip.subnet_id));
    }
    let planned = plan::for_update(&subnets, party, &change.add, &handled);
    let wanted = explained(conn, planned).await?;
    release(hints, conn, &change.remove).await?;
    rows::fixed_ips_delete(conn, party.network_id, port.port_id, &change.remove).await?;
    let wanted = wanted.into_iter().map(|want| (0, party.network_id, want)).collect();
    let added = grouped(take(hints, conn, wanted).await?, 1).pop().unwrap_or_default();
    store(conn, party.network_id, &[(port.port_id, &added)]).await?;
    let fixed_ips = shown(change.keep.into_iter().chain(added.iter().copied()).collect());
    Ok(Reassigned { fixed_ips, added, removed: change.remove })
}

/// The host is known at last: allocate as on create.
async fn arrive(hints: &Hints, conn: &mut Conn, port: &Current<'_>) -> Result<Reassigned, IpamError> {
    let added = allocate(hints, conn, &[(port.party, None)]).await?.pop().map(|a| a.fixed_ips).unwrap_or_default();
    store(conn, port.party.network_id, &[(port.port_id, &added)]).await?;
    Ok(Reassigned { fixed_ips: added.clone(), added, removed: Vec::new() })
}

/// Can the port keep its addresses on its new host?
async fn check_host(conn: &mut Conn, port: &Current<'_>) -> Result<(), IpamError> {
    let candidates = rows::candidates(conn, port.party.network_id).await?;
    let Eligible::Subnets(valid) = eligible(conn, &candidates, &port.party, None).await? else { return Ok(()) };
    if port.fixed_ips.iter().all(|ip| valid.iter().any(|s| s.id == ip.subnet_id)) {
        return Ok(());
    }
    Err(IpamError::HostNotCompatibleWithFixedIps { host: port.party.host.to_owned(), port_id: port.port_id })
}

async fn eligible<'a>(
    conn: &mut Conn,
    candidates: &'a [Candidate],
    party: &Party<'_>,
    fixed: Option<&[FixedIpRequest]>,
) -> Result<Eligible<'a>, IpamError> {
    let routed = !party.host.is_empty() && candidates.iter().any(|s| s.segment_id.is_some());
    let segments = if routed { rows::segments_of_host(conn, party.host).await? } else { Vec::new() };
    plan::eligible(candidates, party, &segments, fixed)
}

/// A requested subnet that does not serve the port may also not exist, which is another refusal.
async fn explained(conn: &mut Conn, planned: Result<Vec<Wanted>, IpamError>) -> Result<Vec<Wanted>, IpamError> {
    match planned {
        Err(IpamError::SubnetNotOnNetwork { subnet_id, .. }) if !rows::subnet_exists(conn, subnet_id).await? => {
            Err(IpamError::SubnetNotFound(subnet_id))
        }
        other => other,
    }
}

/// Takes what is wanted, each item for the port with that index.
async fn take(
    hints: &Hints,
    conn: &mut Conn,
    wanted: Vec<(usize, NetworkId, Wanted)>,
) -> Result<Vec<(usize, FixedIp)>, IpamError> {
    let mut given: Vec<(usize, FixedIp)> = Vec::with_capacity(wanted.len());
    let mut groups: Vec<(NetworkId, Vec<SubnetId>, bool, Vec<usize>)> = Vec::new();
    for (port, network, want) in wanted {
        match want {
            Wanted::Address { subnet_id, address } => {
                given.push((port, FixedIp { subnet_id, ip_address: address }));
            }
            Wanted::Any { subnets, lowest } => {
                match groups.iter_mut().find(|(_, s, l, _)| *s == subnets && *l == lowest) {
                    Some((_, _, _, ports)) => ports.push(port),
                    None => groups.push((network, subnets, lowest, vec![port])),
                }
            }
        }
    }
    check_free(hints, conn, &given).await?;
    for (network, subnets, lowest, ports) in groups {
        let found = find_free(hints, conn, &subnets, ports.len(), lowest, &given).await?;
        if found.len() < ports.len() {
            return Err(IpamError::IpAddressGenerationFailure(network));
        }
        given.extend(ports.into_iter().zip(found));
    }
    insert(hints, conn, &given).await?;
    Ok(given)
}

/// Refuses addresses that are taken, or named twice.
async fn check_free(hints: &Hints, conn: &mut Conn, given: &[(usize, FixedIp)]) -> Result<(), IpamError> {
    let mut by_subnet: HashMap<SubnetId, HashSet<IpAddr>> = HashMap::new();
    let refused = |subnet_id, address| Err(IpamError::IpAddressAlreadyAllocated { address, subnet_id });
    for (_, ip) in given {
        if !by_subnet.entry(ip.subnet_id).or_default().insert(ip.ip_address) {
            return refused(ip.subnet_id, ip.ip_address);
        }
    }
    for (subnet, addresses) in by_subnet {
        let ipam_subnet = ipam_subnet(hints, conn, subnet).await?;
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        for some in addresses.chunks(PROBE) {
            if let Some(address) = rows::taken(conn, &ipam_subnet, some).await?.first() {
                return refused(subnet, *address);
            }
        }
    }
    Ok(())
}

/// Free addresses from the first of the subnets that has some; fewer than `count` only when none has more.
async fn find_free(
    hints: &Hints,
    conn: &mut Conn,
    subnets: &[SubnetId],
    count: usize,
    lowest: bool,
    given: &[(usize, FixedIp)],
) -> Result<Vec<FixedIp>, IpamError> {
    let mut found: Vec<FixedIp> = Vec::with_capacity(count);
    for subnet in subnets {
        let ipam_subnet = ipam_subnet(hints, conn, *subnet).await?;
        let stored = rows::pools(conn, &ipam_subnet).await?;
        let pools = Pools::new(stored.first().is_some_and(|p| p.start.is_ipv4()), &stored);
        let except = given.iter().filter(|(_, ip)| ip.subnet_id == *subnet).map(|(_, ip)| ip.ip_address).collect();
        let count = count - found.len();
        let search = Search { hints, subnet: *subnet, pools: &pools, count, lowest, except: &except };
        let free = search.run(&mut Stored { conn, ipam_subnet: &ipam_subnet }).await?;
        found.extend(free.into_iter().map(|ip_address| FixedIp { subnet_id: *subnet, ip_address }));
        if found.len() >= search.count {
            break;
        }
    }
    Ok(found)
}

async fn insert(hints: &Hints, conn: &mut Conn, given: &[(usize, FixedIp)]) -> Result<(), IpamError> {
    let mut ids: HashMap<SubnetId, String> = HashMap::new();
    for (_, ip) in given {
        if let Entry::Vacant(new) = ids.entry(ip.subnet_id) {
            new.insert(ipam_subnet(hints, conn, ip.subnet_id).await?);
        }
        hints.unsee(ip.subnet_id, ip.ip_address);
    }
    let new: Vec<(&str, IpAddr)> =
        given.iter().filter_map(|(_, ip)| Some((ids.get(&ip.subnet_id)?.as_str(), ip.ip_address))).collect();
    // Where another server was faster the next choice is a wider one.
    let (hints, subnets): (_, Vec<SubnetId>) = (hints.clone(), ids.keys().copied().collect());
    let race = Race::new(move || subnets.iter().for_each(|subnet| hints.lost_race(*subnet)));
    Ok(rows::allocations_insert(conn, &new, race).await?)
}

/// Gives every port of the network that hosts its own address an address on a new subnet of that kind.
///
/// Returns the ports that have one more address now.
pub async fn add_auto_addresses(
    hints: &Hints,
    conn: &mut Conn,
    network_id: NetworkId,
    subnet: &Candidate,
) -> Result<Vec<PortId>, IpamError> {
    let ports = rows::parties(conn, network_id).await?;
    let auto = |port: &rows::PortParty| {
        let serves =
            !owner::is_router_interface_or_snat(&port.device_owner) && plan::serves(subnet, &port.device_owner);
        let address = plan::auto_address(subnet.cidr, port.mac).filter(|_| serves)?;
        Some((port.id, FixedIp { subnet_id: subnet.id, ip_address: address }))
    };
    let given: Vec<(PortId, FixedIp)> = ports.iter().filter_map(auto).collect();
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let numbered: Vec<_> = given.iter().enumerate().map(|(i, (_, ip))| (i, *ip)).collect();
    insert(hints, conn, &numbered).await?;
    rows::fixed_ips_insert(conn, network_id, &given).await?;
    Ok(given.into_iter().map(|(port, _)| port).collect())
}

/// The id `ipamallocations` knows a subnet by.
pub async fn ipam_subnet(hints: &Hints, conn: &mut Conn, subnet: SubnetId) -> Result<String, IpamError> {
    known_ipam_subnet(hints, conn, subnet).await?.ok_or(IpamError::SubnetNotFound(subnet))
}

/// Forgets what was remembered of a subnet, when it is deleted or its pools change.
pub fn forget_subnet(hints: &Hints, subnet: SubnetId) {
    hints.forget(subnet);
}

async fn known_ipam_subnet(hints: &Hints, conn: &mut Conn, subnet: SubnetId) -> Result<Option<String>, IpamError> {
    if let Some(id) = hints.ipam_subnet(subnet) {
        return Ok(Some(id));
    }
    let id = rows::ipam_subnet(conn, subnet).await?;
    if let Some(id) = &id {
        hints.set_ipam_subnet(subnet, id);
    }
    Ok(id)
}

fn grouped(given: Vec<(usize, FixedIp)>, ports: usize) -> Vec<Vec<FixedIp>> {
    let mut out = vec![Vec::new(); ports];
    for (port, ip) in given {
        if let Some(ips) = out.get_mut(port) {
            ips.push(ip);
        }
    }
    out.into_iter().map(shown).collect()
}

/// In the order the API shows them: by text.
fn shown(mut ips: Vec<FixedIp>) -> Vec<FixedIp> {
    if ips.len() > 1 {
        ips.sort_by_cached_key(|ip| (ip.ip_address.to_string(), ip.subnet_id));
    }
    ips
}

/// The database's knowledge of one subnet.
struct Stored<'a> {
    conn: &'a mut Conn,
    ipam_subnet: &'a str,
}

impl Taken for Stored<'_> {
    async fn among(&mut self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, IpamError> {
        let mut taken = Vec::new();
        for some in addresses.chunks(PROBE) {
            taken.extend(rows::taken(self.conn, self.ipam_subnet, some).await?);
        }
        Ok(taken)
    }

    async fn all(&mut self) -> Result<Vec<IpAddr>, IpamError> {
        Ok(rows::allocations(self.conn, self.ipam_subnet).await?)
    }
}
