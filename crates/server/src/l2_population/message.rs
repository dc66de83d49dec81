//! The messages: read from the database, and sent.

use std::collections::{BTreeMap, BTreeSet};

use db::{
    Conn,
    agent::Agent,
    l2_population::{self as rows, ActivePort},
};
use rpc::l2_population::{AddressChange, Changes, Client, Entries, FLOOD, NetworkEntries, PortEntry};
use serde_json::{Map, Value};
use types::{NetworkId, PortId, Segment};

use super::{News, may_be_replicated};
use crate::{Ctx, Result, schedule::choice};

/// A host that has a tunnel end.
struct End {
    host: String,
    ip: String,
    configurations: Map<String, Value>,
}

/// Tells agents.
pub(crate) async fn tell(ctx: &Ctx, news: &News) -> Result<()> {
    let mut conn = ctx.db().reader().await?;
    let conn = &mut conn;
    match news {
        News::Opened { port, network_id, host, first } => opened(ctx, conn, *port, (*network_id, host), *first).await,
        News::Closed { network_id, host, entries } => {
            let Some((end, segment)) = place(conn, *network_id, host).await? else { return Ok(()) };
            let mut gone = flood_if_last(conn, *network_id, host).await?;
            gone.extend(entries.iter().cloned());
            remove(ctx, [(*network_id, of(&segment, [(end.ip, gone)]))].into()).await
        }
        News::Standby { network_id, host, entries } => {
            let Some((end, segment)) = place(conn, *network_id, host).await? else { return Ok(()) };
            remove(ctx, [(*network_id, of(&segment, [(end.ip, entries.clone())]))].into()).await
        }
        News::RouterPortClosed { network_id, router } => router_port_closed(ctx, conn, *network_id, router).await,
        News::Readdressed { network_id, host, before, after } => {
            let Some((end, _)) = place(conn, *network_id, host).await? else { return Ok(()) };
            let change = AddressChange { before: before.clone(), after: after.clone() };
            let changes = Changes { chg_ip: [(*network_id, [(end.ip, change)].into())].into() };
            Ok(client(ctx).to_all().update_fdb_entries(&ctx.caller, changes).await?)
        }
        News::Refreshed { network_id, host } => refreshed(ctx, conn, *network_id, host).await,
        News::AgentGone { host, tunnel_ip } => agent_gone(ctx, conn, host, tunnel_ip).await,
    }
}

async fn opened(
    ctx: &Ctx,
    conn: &mut Conn,
    port: PortId,
    (network, host): (NetworkId, &str),
    first: bool,
) -> Result<()> {
    let Some((end, segment)) = place(conn, network, host).await? else { return Ok(()) };
    let active = rows::active_ports(conn, network).await?;
    // Gone, down or moved by now: the message about that follows.
    let Some(port) = active.iter().find(|active| active.id == port) else { return Ok(()) };
    let replicated = Replicated::load(conn, network, &active).await?;
    if port.host != host && !replicated.is_on(port, host) {
        return Ok(());
    }
    let mut entries = Vec::new();
    if first {
        let everything = everything(conn, &end, &active, &replicated).await?;
        if !everything.is_empty() {
            let everything = [(network, of(&segment, everything))].into();
            client(ctx).to_server(host).add_fdb_entries(&ctx.caller, everything).await?;
        }
        entries.push(flood());
    }
    if replicated.has_one_place(port) {
        entries.extend(of_port(port));
    }
    if entries.is_empty() {
        return Ok(());
    }
    let entries = [(network, of(&segment, [(end.ip, entries)]))].into();
    Ok(client(ctx).to_all().add_fdb_entries(&ctx.caller, entries).await?)
}

/// Everything on other hosts for the host, and everything on the host for all: either side may have missed something.
async fn refreshed(ctx: &Ctx, conn: &mut Conn, network: NetworkId, host: &str) -> Result<()> {
    let Some((end, segment)) = place(conn, network, host).await? else { return Ok(()) };
    let active = rows::active_ports(conn, network).await?;
    let replicated = Replicated::load(conn, network, &active).await?;
    let everything = [(network, of(&segment, everything(conn, &end, &active, &replicated).await?))].into();
    client(ctx).to_server(host).add_fdb_entries(&ctx.caller, everything).await?;
    if rows::active_count(conn, network, host).await? == 0 {
        return Ok(());
    }
    let own = active.iter().filter(|port| port.host == host && replicated.has_one_place(port));
    let entries = std::iter::once(flood()).chain(own.flat_map(of_port)).collect();
    let entries = [(network, of(&segment, [(end.ip, entries)]))].into();
    Ok(client(ctx).to_all().add_fdb_entries(&ctx.caller, entries).await?)
}

async fn router_port_closed(ctx: &Ctx, conn: &mut Conn, network: NetworkId, router: &str) -> Result<()> {
    let hosts = rows::ha_hosts_of_router(conn, router).await?;
    let ends = ends(conn, &hosts).await?;
    let Some(segment) = first_segment(conn, network, &ends).await? else { return Ok(()) };
    let mut gone = Vec::new();
    for end in ends {
        let flood = flood_if_last(conn, network, &end.host).await?;
        gone.extend((!flood.is_empty()).then_some((end.ip, flood)));
    }
    if gone.is_empty() { Ok(()) } else { remove(ctx, [(network, of(&segment, gone))].into()).await }
}

/// The host's agent is gone with its configuration; its tunnel address is what is known of it. Its segments are told by
/// the types that are tunnels.
async fn agent_gone(ctx: &Ctx, conn: &mut Conn, host: &str, tunnel_ip: &str) -> Result<()> {
    // Another agent of the host, or the same one which came back, has told of itself.
    if end_of(conn, host).await?.is_some() {
        return Ok(());
    }
    let mut ports: BTreeMap<NetworkId, Vec<PortEntry>> = BTreeMap::new();
    for port in rows::active_ports_on_host(conn, host).await? {
        ports.entry(port.network_id).or_insert_with(|| vec![flood()]).extend(of_port(&port));
    }
    let networks: Vec<String> = ports.keys().map(ToString::to_string).collect();
    let segments = db::segment::segments_of(conn, &networks).await?;
    let entries = ports.into_iter().filter_map(|(network, entries)| {
        let segment = segments.get(&network)?.iter().find(|segment| segment.network_type.is_tunnel())?;
        Some((network, of(segment, [(tunnel_ip.to_owned(), entries)])))
    });
    remove(ctx, entries.collect()).await
}

async fn remove(ctx: &Ctx, entries: Entries) -> Result<()> {
    let told = |network: &NetworkEntries| network.ports.values().any(|entries| !entries.is_empty());
    if !entries.values().any(told) {
        return Ok(());
    }
    Ok(client(ctx).to_all().remove_fdb_entries(&ctx.caller, entries).await?)
}

/// What is on other hosts: each one's wish for what is flooded, and its ports.
async fn everything(
    conn: &mut Conn,
    own: &End,
    active: &[ActivePort],
    replicated: &Replicated,
) -> Result<BTreeMap<String, Vec<PortEntry>>> {
    let mut hosts: BTreeSet<String> = active.iter().map(|port| port.host.clone()).collect();
    hosts.extend(replicated.hosts());
    hosts.remove(&own.host);
    let mut everything = BTreeMap::new();
    for end in ends(conn, &hosts).await? {
        let ports = active.iter().filter(|port| port.host == end.host && replicated.has_one_place(port));
        let entries: Vec<PortEntry> = ports.flat_map(of_port).collect();
        let wanted = active.iter().any(|port| port.host == end.host && replicated.has_one_place(port));
        if wanted || replicated.hosts().any(|host| host == end.host) {
            everything.insert(end.ip, std::iter::once(flood()).chain(entries).collect());
        }
    }
    Ok(everything)
}

/// Ports of a network that are on several hosts.
struct Replicated {
    ha: BTreeMap<String, BTreeSet<String>>,
    distributed: BTreeSet<String>,
}

impl Replicated {
    async fn load(conn: &mut Conn, network: NetworkId, active: &[ActivePort]) -> Result<Self> {
        let any = active.iter().any(|port| may_be_replicated(&port.device_owner));
        let ha = if any { rows::ha_hosts(conn, network).await? } else { BTreeMap::new() };
        Ok(Self { ha, distributed: rows::distributed_hosts(conn, network).await? })
    }

    /// Its addresses are on one host.
    fn has_one_place(&self, port: &ActivePort) -> bool {
        let ha = may_be_replicated(&port.device_owner) && self.ha.contains_key(&port.device_id);
        !ha && port.device_owner != rows::DISTRIBUTED_INTERFACE && port.device_owner != rows::HA_INTERFACE
    }

    fn is_on(&self, port: &ActivePort, host: &str) -> bool {
        self.ha.get(&port.device_id).is_some_and(|hosts| hosts.contains(host))
    }

    fn hosts(&self) -> impl Iterator<Item = String> + '_ {
        self.ha.values().flatten().chain(&self.distributed).cloned()
    }
}

// ===== hosts and segments =====

/// The host's tunnel end and the segment of the network that it tunnels; none where there is nothing to tell.
async fn place(conn: &mut Conn, network: NetworkId, host: &str) -> Result<Option<(End, Segment)>> {
    let Some(end) = end_of(conn, host).await? else { return Ok(None) };
    let segment = first_segment(conn, network, std::slice::from_ref(&end)).await?;
    Ok(segment.map(|segment| (end, segment)))
}

/// The segment that ports are bound to by these agents, if they are to hear of it.
async fn first_segment(conn: &mut Conn, network: NetworkId, ends: &[End]) -> Result<Option<Segment>> {
    let segments = db::segment::segments_of(conn, &[network.to_string()]).await?;
    let mut segments = segments.into_values().flatten();
    let carried = segments.find(|segment| ends.iter().any(|end| choice::carries(&end.configurations, segment)));
    Ok(carried.filter(|segment| ends.iter().any(|end| end.is_told_of(segment))))
}

async fn end_of(conn: &mut Conn, host: &str) -> Result<Option<End>> {
    Ok(ends(conn, &[host.to_owned()].into()).await?.into_iter().next())
}

/// The tunnel ends of these hosts that have one.
async fn ends(conn: &mut Conn, hosts: &BTreeSet<String>) -> Result<Vec<End>> {
    let mut ends: BTreeMap<String, End> = BTreeMap::new();
    for end in rows::agents_of_hosts(conn, hosts).await?.iter().filter_map(End::of) {
        ends.entry(end.host.clone()).or_insert(end);
    }
    Ok(ends.into_values().collect())
}

impl End {
    fn of(agent: &Agent) -> Option<Self> {
        let configurations: Map<String, Value> = serde_json::from_str(&agent.configurations).ok()?;
        let ip = configurations.get("tunneling_ip")?.as_str()?.to_owned();
        Some(Self { host: agent.host.clone(), ip, configurations })
    }

    /// By its `l2pop_network_types`, or else by what it tunnels.
    fn is_told_of(&self, segment: &Segment) -> bool {
        let types = |key: &str| self.configurations.get(key).and_then(Value::as_array);
        let types = types("l2pop_network_types").or_else(|| types("tunnel_types"));
        types.is_some_and(|types| types.iter().any(|word| word.as_str() == Some(segment.network_type.as_str())))
    }
}

// ===== entries =====

fn client(ctx: &Ctx) -> Client {
    Client::new(ctx.parts.bus.clone())
}

fn flood() -> PortEntry {
    (FLOOD.0.to_owned(), FLOOD.1.to_owned())
}

async fn flood_if_last(conn: &mut Conn, network: NetworkId, host: &str) -> Result<Vec<PortEntry>> {
    let last = rows::active_count(conn, network, host).await? == 0;
    Ok(last.then(flood).into_iter().collect())
}

fn of_port(port: &ActivePort) -> Vec<PortEntry> {
    let mac = port.mac_address.to_string();
    port.addresses.iter().map(|address| (mac.clone(), address.to_string())).collect()
}

fn of(segment: &Segment, ports: impl IntoIterator<Item = (String, Vec<PortEntry>)>) -> NetworkEntries {
    NetworkEntries {
        segment_id: segment.segmentation_id,
        network_type: segment.network_type,
        ports: ports.into_iter().collect(),
    }
}
