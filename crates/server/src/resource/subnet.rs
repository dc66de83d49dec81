//! Subnets: prefixes on a network, from which ports get addresses.
//!
//! [`check`] holds the rules a subnet must obey; the addresses themselves are the business of [`crate::ipam`].

mod check;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use db::{
    Conn, Row, Tx, ipam as ipam_rows,
    list::{ListQuery, Listing},
    standard, subnet as rows,
};
use ipnet::IpNet;
use serde_json::{Map, Value};
use types::{
    NetworkId, PortId, SegmentId, Standard, SubnetId,
    attribute::{Attributes, ResourceTable, table::SUBNET},
    network::Network,
    port::Port,
    subnet::{AllocationPool, HostRoute, Ipv6Mode},
};

use super::{Condition, Resource, find, find_all, subnet_pool::allocate};
use crate::{
    Ctx, Error, Refusal, Result,
    event::{self, Event},
    ipam::{self, IpamError, owner, pools},
    quota,
};

pub use types::subnet::Subnet;

impl Resource for Subnet {
    const TABLE: &'static ResourceTable = &SUBNET;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    const UNSHOWN: &'static [&'static str] = &["shared"];

    fn unshown(&self, target: &mut Map<String, Value>) {
        target.insert("shared".to_owned(), self.shared.into());
    }

    async fn load(ctx: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::subnets_from_rows(conn, rows, ctx.caller.project_id.as_deref()).await?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        quota::check(ctx, &mut tx, "subnet", &given).await?;
        let mut subnets = Vec::with_capacity(given.len());
        let mut events = Vec::new();
        for given in &given {
            let subnet = insert(ctx, &mut tx, given).await?;
            events.extend(add_auto_addresses(ctx, &mut tx, &subnet).await?);
            events.extend(super::router::reach(ctx, &mut tx, &subnet).await?);
            subnets.push(subnet);
        }
        let made = subnets.iter().map(|subnet| Event::SubnetCreated(Arc::new(subnet.clone())));
        let recorded = event::record(ctx, &mut tx, made.chain(events).collect()).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(subnets)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, condition: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let before: Self = find(ctx, &mut tx, id).await?;
        condition.check(&before.standard)?;
        let mut after = before.clone();
        change(&mut after, &given);
        check::update(ctx, &mut tx, &given, &before, &after).await?;
        write(ctx, &mut tx, &before, &mut after).await?;
        let recorded = event::record(ctx, &mut tx, vec![Event::SubnetUpdated(Arc::new(after.clone()))]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(after)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let subnet: Self = find(ctx, &mut tx, id).await?;
        condition.check(&subnet.standard)?;
        rows::subnet_lock(&mut tx, subnet.id).await?;
        refuse_if_used(&mut tx, &subnet).await?;
        let before = ports_with_auto_addresses(ctx, &mut tx, &subnet).await?;
        remove(ctx, &mut tx, &subnet).await?;
        touch_network(&mut tx, subnet.network_id).await?;
        let ids = before.iter().map(|port| port.id.into()).collect();
        let after = find_all(ctx, &mut tx, &ListQuery::default().matching_any("id", ids)).await?;
        let mut events = changed_ports(before, after);
        events.push(Event::SubnetDeleted(Arc::new(subnet)));
        let recorded = event::record(ctx, &mut tx, events).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// Removes every subnet of a network about to be deleted; the events are to be recorded with it.
pub async fn delete_all_of_network(ctx: &Ctx, tx: &mut Tx, network: NetworkId) -> Result<Vec<Event>> {
    let subnets: Vec<Subnet> = find_all(ctx, tx, &ListQuery::default().matching("network_id", network)).await?;
    let mut events = Vec::with_capacity(subnets.len());
    for subnet in subnets {
        remove(ctx, tx, &subnet).await?;
        events.push(Event::SubnetDeleted(Arc::new(subnet)));
    }
    Ok(events)
}

/// Writes one new subnet with its pools.
pub(super) async fn insert(ctx: &Ctx, tx: &mut Tx, given: &Attributes) -> Result<Subnet> {
    // Boxed, since the compiler looks only so deep into what callers wait for.
    let pool = Box::pin(allocate::pool_of(ctx, tx, given)).await?;
    let cidr = Box::pin(allocate::prefix(tx, pool.as_ref(), given)).await?;
    let mut subnet = from_attributes(given, cidr)?;
    subnet.subnetpool_id = pool.as_ref().map(|pool| pool.id);
    check::create(ctx, &subnet)?;
    let network: Network = find(ctx, tx, &subnet.network_id.to_string()).await?;
    check::mtu(&network, &subnet)?;
    subnet.allocation_pools = pools_of(given, &subnet)?;
    rows::network_lock(tx, network.id, subnet.id).await?;
    check::overlap(tx, &subnet).await?;
    allocate::affinity(tx, network.id, subnet.ip_version, pool.as_ref()).await?;
    check::segment(tx, &subnet, None).await?;
    subnet.shared = network.shared;
    subnet.router_external = network.router_external;
    // Upstream counts a change of its service types as one of the subnet, even while it is being made.
    let revision = i64::from(!subnet.service_types.is_empty());
    let description = given.text("description").unwrap_or_default();
    subnet.standard = standard::standard_insert(tx, "subnets", description, revision).await?;
    rows::subnet_insert(tx, &subnet).await?;
    subnet.standard.tags = given.typed("tags").unwrap_or_default();
    standard::tags_add(tx, subnet.standard.standard_attr_id, &subnet.standard.tags).await?;
    ipam_rows::ipam_subnet_insert(tx, subnet.id, &subnet.allocation_pools).await?;
    touch_network(tx, network.id).await?;
    Ok(subnet)
}

fn from_attributes(given: &Attributes, cidr: IpNet) -> Result<Subnet> {
    let missing = |name: &str| Error::Internal(format!("a checked subnet has no {name}"));
    let project_id = given.text("project_id").unwrap_or_default().to_owned();
    let gateway_ip = match given.get("gateway_ip") {
        None => Some(pools::default_gateway(cidr)),
        Some(_) => given.parsed("gateway_ip"),
    };
    Ok(Subnet {
        id: SubnetId::random(),
        name: given.text("name").unwrap_or_default().to_owned(),
        tenant_id: project_id.clone(),
        project_id,
        network_id: given.parsed("network_id").ok_or_else(|| missing("network_id"))?,
        ip_version: given.int("ip_version").and_then(|v| v.try_into().ok()).ok_or_else(|| missing("ip_version"))?,
        cidr,
        gateway_ip,
        allocation_pools: Vec::new(),
        dns_nameservers: given.typed("dns_nameservers").unwrap_or_default(),
        host_routes: routes(given),
        enable_dhcp: given.bool("enable_dhcp").unwrap_or(true),
        ipv6_ra_mode: given.text("ipv6_ra_mode").and_then(Ipv6Mode::parse),
        ipv6_address_mode: given.text("ipv6_address_mode").and_then(Ipv6Mode::parse),
        subnetpool_id: None,
        service_types: service_types(given),
        segment_id: given.parsed("segment_id"),
        router_external: false,
        shared: false,
        standard: Standard::default(),
    })
}

fn routes(given: &Attributes) -> Vec<HostRoute> {
    let mut routes: Vec<HostRoute> = given.typed("host_routes").unwrap_or_default();
    routes.sort_unstable();
    routes.dedup();
    routes
}

fn service_types(given: &Attributes) -> Vec<String> {
    let mut owners: Vec<String> = given.typed("service_types").unwrap_or_default();
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// The pools that are asked for, or all around the gateway.
fn pools_of(given: &Attributes, subnet: &Subnet) -> Result<Vec<AllocationPool>> {
    let asked: Option<Vec<AllocationPool>> = given.typed("allocation_pools");
    let chosen = match asked {
        None => pools::generate(subnet.cidr, subnet.gateway_ip),
        Some(asked) => {
            pools::validate(&asked, subnet.cidr)?;
            if let Some(gateway) = subnet.gateway_ip {
                pools::validate_gateway(gateway, &asked)?;
            }
            if asked.is_empty() { pools::generate(subnet.cidr, subnet.gateway_ip) } else { asked }
        }
    };
    if let Some(gateway) = subnet.gateway_ip.filter(|g| pools::gateway_is_invalid(subnet.cidr, *g)) {
        return Err(IpamError::IpamValueInvalid { gateway, cidr: subnet.cidr }.into());
    }
    let mut chosen = chosen;
    chosen.sort_unstable();
    Ok(chosen)
}

/// What an update says, on top of what there is.
fn change(subnet: &mut Subnet, given: &Attributes) {
    if let Some(name) = given.text("name") {
        name.clone_into(&mut subnet.name);
    }
    if let Some(description) = given.text("description") {
        subnet.standard.description = Some(description.to_owned());
    }
    if given.contains("gateway_ip") {
        subnet.gateway_ip = given.parsed::<IpAddr>("gateway_ip");
    }
    if let Some(enabled) = given.bool("enable_dhcp") {
        subnet.enable_dhcp = enabled;
    }
    if given.contains("allocation_pools") {
        subnet.allocation_pools = given.typed("allocation_pools").unwrap_or_default();
    }
    if given.contains("dns_nameservers") {
        subnet.dns_nameservers = given.typed("dns_nameservers").unwrap_or_default();
    }
    if given.contains("host_routes") {
        subnet.host_routes = routes(given);
    }
    if given.contains("service_types") {
        subnet.service_types = service_types(given);
    }
    if given.contains("segment_id") {
        subnet.segment_id = given.parsed::<SegmentId>("segment_id");
    }
}

/// Writes what an update changed.
///
/// As upstream has it, the revision counts changes of the subnet itself; one of its pools, routes or name servers only
/// moves the time. The network's revision counts what changes the subnet but its description.
async fn write(ctx: &Ctx, tx: &mut Tx, before: &Subnet, after: &mut Subnet) -> Result<()> {
    rows::subnet_update(tx, before, after).await?;
    if before.allocation_pools != after.allocation_pools {
        let ipam_subnet = ipam::ipam_subnet(&ctx.parts.ipam, tx, after.id).await?;
        ipam_rows::pools_replace(tx, after.id, &ipam_subnet, &after.allocation_pools).await?;
        ctx.parts.ipam.forget(after.id);
        after.allocation_pools.sort_unstable();
    }
    let plain = |s: &Subnet| (s.name.clone(), s.gateway_ip, s.enable_dhcp, s.segment_id, s.service_types.clone());
    let parts = |s: &Subnet| (s.allocation_pools.clone(), s.dns_nameservers.clone(), s.host_routes.clone());
    let described = before.standard.description != after.standard.description;
    if described {
        let description = after.standard.description.clone().unwrap_or_default();
        standard::standard_describe(tx, &mut after.standard, &description).await?;
    }
    if plain(before) != plain(after) {
        touch_network(tx, after.network_id).await?;
    }
    if described || plain(before) != plain(after) {
        standard::standard_touch(tx, &mut after.standard).await?;
    } else if parts(before) != parts(after) {
        rows::subnet_changed(tx, after).await?;
    }
    Ok(())
}

async fn touch_network(tx: &mut Tx, network: NetworkId) -> Result<()> {
    let key = rows::network_standard_id(tx, network).await?;
    Ok(standard::standard_touch_ids(tx, key.as_slice()).await?)
}

/// Ports that were there before a subnet on which hosts form their own addresses get theirs.
async fn add_auto_addresses(ctx: &Ctx, tx: &mut Tx, subnet: &Subnet) -> Result<Vec<Event>> {
    if !is_auto(subnet) {
        return Ok(Vec::new());
    }
    let on_network = ListQuery::default().matching("network_id", subnet.network_id);
    let before: Vec<Port> = find_all(ctx, tx, &on_network).await?;
    let candidate = ipam_rows::Candidate {
        id: subnet.id,
        cidr: subnet.cidr,
        enable_dhcp: subnet.enable_dhcp,
        auto_address: true,
        service_types: subnet.service_types.clone(),
        segment_id: subnet.segment_id,
    };
    ipam::add_auto_addresses(&ctx.parts.ipam, tx, subnet.network_id, &candidate).await?;
    touch_ports(tx, subnet.id).await?;
    let after: Vec<Port> = find_all(ctx, tx, &on_network).await?;
    Ok(changed_ports(before, after))
}

/// The ports whose addresses differ, as events to be recorded.
fn changed_ports(before: Vec<Port>, after: Vec<Port>) -> Vec<Event> {
    let mut after: HashMap<PortId, Port> = after.into_iter().map(|port| (port.id, port)).collect();
    let pairs = before.into_iter().filter_map(|before| Some((after.remove(&before.id)?, before)));
    pairs
        .filter(|(after, before)| after.fixed_ips != before.fixed_ips)
        .map(|(after, before)| Event::PortUpdated { before: Arc::new(before), after: Arc::new(after) })
        .collect()
}

/// A change of its addresses is one of the port.
async fn touch_ports(tx: &mut Tx, subnet: SubnetId) -> Result<()> {
    let ports = rows::ports_on(tx, subnet).await?;
    let keys: Vec<i64> = ports.into_iter().map(|(_, key)| key).collect();
    Ok(standard::standard_touch_ids(tx, &keys).await?)
}

/// The ports that lose an address they formed themselves with the subnet.
async fn ports_with_auto_addresses(ctx: &Ctx, tx: &mut Tx, subnet: &Subnet) -> Result<Vec<Port>> {
    if !is_auto(subnet) {
        return Ok(Vec::new());
    }
    let ids = rows::ports_on(tx, subnet.id).await?.into_iter().map(|(id, _)| id.into()).collect();
    find_all(ctx, tx, &ListQuery::default().matching_any("id", ids)).await
}

/// Do hosts form their own addresses on it?
fn is_auto(subnet: &Subnet) -> bool {
    [subnet.ipv6_address_mode, subnet.ipv6_ra_mode].into_iter().flatten().any(Ipv6Mode::is_auto_address)
}

/// Router interfaces hold a subnet, and so does every other port, unless it goes with the subnet or only has an
/// address that it formed itself.
async fn refuse_if_used(tx: &mut Tx, subnet: &Subnet) -> Result<()> {
    let mut user = rows::port_on(tx, subnet.id, &owner::ROUTER_INTERFACES, true).await?;
    if user.is_none() && !is_auto(subnet) {
        user = rows::port_on(tx, subnet.id, &owner::AUTO_DELETE, false).await?;
    }
    if user.is_none() {
        return Ok(());
    }
    let message = format!(
        "Unable to complete operation on subnet {}: One or more ports have an IP allocation from this subnet.",
        subnet.id
    );
    Err(Refusal::conflict("SubnetInUse", message).into())
}

/// Removes a subnet and what address management knows of it.
async fn remove(ctx: &Ctx, tx: &mut Tx, subnet: &Subnet) -> Result<()> {
    touch_ports(tx, subnet.id).await?;
    match ipam::ipam_subnet(&ctx.parts.ipam, tx, subnet.id).await {
        Ok(ipam_subnet) => ipam_rows::ipam_subnet_delete(tx, &ipam_subnet).await?,
        Err(IpamError::SubnetNotFound(_)) => {}
        Err(other) => return Err(other.into()),
    }
    rows::subnet_delete(tx, subnet).await?;
    ctx.parts.ipam.forget(subnet.id);
    Ok(())
}

#[cfg(test)]
mod tests;
