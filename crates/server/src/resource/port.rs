//! Ports.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use db::{
    Conn, Later, Row, Tx,
    list::{Items, ListQuery, Listing},
    network::{Footing, footing, footing_query},
    port as rows, standard,
};
use serde_json::{Map, Value};
use types::{
    Mac, NetworkId, PortId, SecurityGroupId, Standard,
    attribute::{Attributes, ResourceTable, check::address_pairs_within, table::PORT},
    network::Network,
    port::{AddressPair, Binding, ExtraDhcpOpt},
};

use super::{Condition, Resource, find, find_all, find_any, floatingip, router_port, security_group};
use crate::{
    Ctx, Error, Refusal, Result,
    binding::{self, Agents, vif_type},
    event::{self, Event},
    ipam::{self, FixedIpRequest, Party},
    l2_population, mac, provisioning, quota,
};

pub use types::port::Port;

/// Revision upstream arrives at when it has made a port without a host, and with one.
const NEW_REVISION: i64 = 1;
const NEW_BOUND_REVISION: i64 = 3;

impl Resource for Port {
    const TABLE: &'static ResourceTable = &PORT;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    const AT_A_GLANCE: bool = true;

    async fn page(_: &Ctx, conn: &mut Conn, query: &ListQuery) -> Result<Items<Self>> {
        Ok(rows::ports_page(conn, query).await?)
    }

    async fn load(_: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::ports_from_rows(conn, rows).await?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        let standards = standards_of(&mut tx, &given).await?;
        ask_ahead(ctx, &mut tx, &given).await?;
        quota::check(ctx, &mut tx, "port", &given).await?;
        let ports = insert_described(ctx, &mut tx, &given, standards).await?;
        let made = ports.iter().map(|port| Event::PortCreated(Arc::new(port.clone()))).collect();
        let recorded = event::record(ctx, &mut tx, made).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(ports)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, condition: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let before: Self = find(ctx, &mut tx, id).await?;
        condition.check(&before.standard)?;
        let after = change(ctx, &mut tx, &before, &given).await?;
        let updated = Event::PortUpdated { before: Arc::new(before), after: Arc::new(after.clone()) };
        let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(after)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let port: Self = find(ctx, &mut tx, id).await?;
        condition.check(&port.standard)?;
        router_port::refuse_deletion(&mut tx, &port).await?;
        let mut events = floatingip::leave_port(ctx, &mut tx, &port).await?;
        events.extend(remove_all(ctx, &mut tx, vec![port]).await?);
        let recorded = event::record(ctx, &mut tx, events).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// Removes every port of a network about to be deleted; the events are to be recorded with it.
pub async fn delete_all_of_network(ctx: &Ctx, tx: &mut Tx, network: NetworkId) -> Result<Vec<Event>> {
    let ports: Vec<Port> = find_all(ctx, tx, &ListQuery::default().matching("network_id", network)).await?;
    remove_all(ctx, tx, ports).await
}

/// Removes ports, whoever they belong to; the events are to be recorded with it.
pub(super) async fn remove_all(ctx: &Ctx, tx: &mut Tx, ports: Vec<Port>) -> Result<Vec<Event>> {
    for port in &ports {
        ipam::release(&ctx.parts.ipam, tx, &port.fixed_ips).await?;
    }
    rows::ports_delete(tx, &ports).await?;
    Ok(ports.into_iter().map(|port| Event::PortDeleted(Arc::new(port))).collect())
}

// ===== create =====

/// Makes a port of the network service itself, which needs no place in its owner's quota.
pub async fn create_unmetered(ctx: &Ctx, given: Attributes) -> Result<Port> {
    let mut tx = ctx.db().begin().await?;
    let port = insert_all(ctx, &mut tx, std::slice::from_ref(&given)).await?.pop();
    let port = port.ok_or_else(|| Error::Internal("a create made nothing".to_owned()))?;
    let recorded = event::record(ctx, &mut tx, vec![Event::PortCreated(Arc::new(port.clone()))]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(port)
}

/// Asks in one flight what the steps of a creation begin with.
async fn ask_ahead(ctx: &Ctx, tx: &mut Tx, given: &[Attributes]) -> Result<()> {
    let mut statements = quota::ahead(tx, "port", given);
    let networks: HashSet<NetworkId> = given.iter().filter_map(|given| given.parsed("network_id")).collect();
    for network in networks {
        statements.push(footing_query(tx, &seen(ctx, &network.to_string())));
        statements.extend(ipam::ahead(&ctx.parts.ipam, network));
    }
    let projects: HashSet<&str> = given.iter().map(|given| given.text("project_id").unwrap_or_default()).collect();
    statements.extend(projects.into_iter().map(db::security_group::default_group_query));
    Ok(tx.ahead(statements).await?)
}

pub(super) async fn insert_all(ctx: &Ctx, tx: &mut Tx, given: &[Attributes]) -> Result<Vec<Port>> {
    let standards = standards_of(tx, given).await?;
    insert_described(ctx, tx, given, standards).await
}

/// The standard attributes of new ports. Nothing is needed to write them, so they travel with the first questions, and
/// their keys are there when the ports are.
async fn standards_of(tx: &mut Tx, given: &[Attributes]) -> Result<Vec<(Standard, Later)>> {
    let mut standards = Vec::with_capacity(given.len());
    for given in given {
        let host = given.text("binding:host_id").unwrap_or_default();
        let revision = if host.is_empty() { NEW_REVISION } else { NEW_BOUND_REVISION };
        let mut standard = standard::new(Some(given.text("description").unwrap_or_default()), revision);
        standard.tags = given.typed("tags").unwrap_or_default();
        let key = standard::standard_insert_behind(tx, "ports", &standard).await?;
        standards.push((standard, key));
    }
    Ok(standards)
}

async fn insert_described(
    ctx: &Ctx,
    tx: &mut Tx,
    given: &[Attributes],
    standards: Vec<(Standard, Later)>,
) -> Result<Vec<Port>> {
    let networks = networks_of(ctx, tx, given).await?;
    let mut ports = Vec::with_capacity(given.len());
    for given in given {
        let port = described(&networks, given)?;
        router_port::refuse_foreign_router(ctx, tx, &port).await?;
        ports.push(port);
    }
    choose_macs(ctx, tx, &mut ports, given).await?;
    allocate_addresses(ctx, tx, &mut ports, given).await?;
    let (mut agents, mut default_groups) = (Agents::default(), HashMap::new());
    let mut levels = Vec::new();
    for (port, given) in ports.iter_mut().zip(given) {
        secure(ctx, tx, port, given, &mut default_groups).await?;
        levels.extend(binding::bind(ctx, tx, &mut agents, port, &network(&networks, port.network_id)?.segments).await?);
    }
    for (port, (standard, key)) in ports.iter_mut().zip(standards) {
        port.standard = Standard { standard_attr_id: tx.number(&key).await?, ..standard };
        standard::tags_add(tx, port.standard.standard_attr_id, &port.standard.tags).await?;
    }
    rows::ports_insert(tx, &ports, &levels).await?;
    for (network, ports) in by_network(&ports) {
        let addresses: Vec<_> = ports.iter().map(|port| (port.id, port.fixed_ips.as_slice())).collect();
        ipam::store(tx, network, &addresses).await?;
    }
    for port in &ports {
        provisioning::block_wiring(ctx, tx, port).await?;
        provisioning::block_dhcp(tx, port).await?;
    }
    Ok(ports)
}

/// The networks that the caller may put ports on.
async fn networks_of(ctx: &Ctx, tx: &mut Tx, given: &[Attributes]) -> Result<HashMap<NetworkId, Footing>> {
    let ids: HashSet<&str> = given.iter().filter_map(|given| given.text("network_id")).collect();
    let mut networks = HashMap::with_capacity(ids.len());
    for id in ids {
        let found = footing(tx, &seen(ctx, id)).await?;
        let network = found.ok_or_else(|| Refusal::not_found(Network::TABLE.noun, id))?;
        networks.insert(network.id, network);
    }
    Ok(networks)
}

/// The network of this id, as far as the caller sees it.
fn seen(ctx: &Ctx, id: &str) -> ListQuery {
    let mut query = ListQuery { limit: Some(1), ..ListQuery::by_id(id) };
    Network::restrict(ctx, &mut query);
    query
}

fn network(networks: &HashMap<NetworkId, Footing>, id: NetworkId) -> Result<&Footing> {
    networks.get(&id).ok_or_else(|| Error::Internal(format!("network {id} was not loaded")))
}

fn by_network(ports: &[Port]) -> BTreeMap<NetworkId, Vec<&Port>> {
    let mut groups: BTreeMap<NetworkId, Vec<&Port>> = BTreeMap::new();
    for port in ports {
        groups.entry(port.network_id).or_default().push(port);
    }
    groups
}

/// The port as the request describes it, without what has to be looked up or allocated.
fn described(networks: &HashMap<NetworkId, Footing>, given: &Attributes) -> Result<Port> {
    let network_id = given.parsed("network_id").unwrap_or_else(NetworkId::random);
    let network = network(networks, network_id)?;
    let project_id = given.text("project_id").unwrap_or_default().to_owned();
    let device_owner = given.text("device_owner").unwrap_or_default().to_owned();
    Ok(Port {
        id: PortId::random(),
        name: given.text("name").unwrap_or_default().to_owned(),
        tenant_id: project_id.clone(),
        project_id,
        network_id,
        mac_address: given.parsed("mac_address").unwrap_or(Mac([0; 6])),
        admin_state_up: given.bool("admin_state_up").unwrap_or(true),
        status: provisioning::status::DOWN.to_owned(),
        device_id: given.text("device_id").unwrap_or_default().to_owned(),
        port_security_enabled: !is_trusted(&device_owner)
            && given.bool("port_security_enabled").unwrap_or(network.port_security_enabled),
        device_owner,
        fixed_ips: Vec::new(),
        allowed_address_pairs: Vec::new(),
        extra_dhcp_opts: dhcp_options(&[], given),
        security_groups: Vec::new(),
        ip_allocation: "immediate",
        binding: Binding {
            host: given.text("binding:host_id").unwrap_or_default().to_owned(),
            vnic_type: given.text("binding:vnic_type").unwrap_or("normal").to_owned(),
            profile: given.object("binding:profile").cloned().unwrap_or_default(),
            ..Binding::default()
        },
        standard: Standard::default(),
    })
}

/// Ports of the network service itself: no groups, no anti-spoofing.
pub fn is_trusted(device_owner: &str) -> bool {
    device_owner.starts_with("network:") || device_owner.starts_with("neutron:")
}

async fn choose_macs(ctx: &Ctx, tx: &mut Tx, ports: &mut [Port], given: &[Attributes]) -> Result<()> {
    let mut wanting: BTreeMap<NetworkId, usize> = BTreeMap::new();
    for (port, given) in ports.iter().zip(given) {
        if given.text("mac_address").is_some() {
            mac::check_free(tx, port.network_id, port.mac_address).await?;
        } else {
            *wanting.entry(port.network_id).or_default() += 1;
        }
    }
    let config = ctx.config();
    for (network, count) in wanting {
        let macs = mac::generate(tx, network, config.base_mac, count, config.mac_generation_retries).await?;
        let without =
            ports.iter_mut().zip(given).filter(|(p, g)| p.network_id == network && g.text("mac_address").is_none());
        for ((port, _), mac) in without.zip(macs) {
            port.mac_address = mac;
        }
    }
    Ok(())
}

async fn allocate_addresses(ctx: &Ctx, tx: &mut Tx, ports: &mut [Port], given: &[Attributes]) -> Result<()> {
    let requested: Vec<Option<Vec<FixedIpRequest>>> = given.iter().map(|given| given.typed("fixed_ips")).collect();
    let parties: Vec<_> = ports.iter().zip(&requested).map(|(port, asked)| (party(port), asked.as_deref())).collect();
    let allocations = ipam::allocate(&ctx.parts.ipam, tx, &parties).await?;
    for (port, allocation) in ports.iter_mut().zip(allocations) {
        port.fixed_ips = allocation.fixed_ips;
        port.ip_allocation = allocation.ip_allocation;
    }
    Ok(())
}

fn party(port: &Port) -> Party<'_> {
    Party {
        network_id: port.network_id,
        device_owner: &port.device_owner,
        mac: port.mac_address,
        host: &port.binding.host,
    }
}

/// Refuses more address pairs than are configured, and a profile that its column does not hold.
fn refuse_too_much(ctx: &Ctx, given: &Attributes) -> Result<()> {
    const PROFILE_LENGTH: usize = 4095;
    let pairs = given.list("allowed_address_pairs").unwrap_or_default();
    address_pairs_within(ctx.config().max_allowed_address_pair, pairs)?;
    if given.get("binding:profile").is_some_and(|profile| profile.to_string().len() > PROFILE_LENGTH) {
        return Err(Refusal::invalid_input("binding:profile value too large").into());
    }
    Ok(())
}

/// Port security, groups and address pairs of a new port; they depend on each other and on its addresses.
async fn secure(
    ctx: &Ctx,
    tx: &mut Tx,
    port: &mut Port,
    given: &Attributes,
    default_groups: &mut HashMap<String, SecurityGroupId>,
) -> Result<()> {
    refuse_too_much(ctx, given)?;
    let filtered = port.port_security_enabled && !port.fixed_ips.is_empty();
    match groups(given) {
        Some(groups) if !groups.is_empty() && !filtered => return Err(groups_need_security().into()),
        Some(groups) => port.security_groups = known_groups(ctx, tx, groups, &port.project_id).await?,
        None if filtered && !is_trusted(&port.device_owner) => {
            let group = match default_groups.get(&port.project_id) {
                Some(group) => *group,
                None => security_group::ensure_default(ctx, tx, &port.project_id).await?,
            };
            default_groups.insert(port.project_id.clone(), group);
            port.security_groups = vec![group];
        }
        None => {}
    }
    if let Some(pairs) = given.list("allowed_address_pairs") {
        port.allowed_address_pairs = address_pairs(pairs, port.mac_address)?;
        if !port.allowed_address_pairs.is_empty() && !port.port_security_enabled {
            return Err(pairs_need_security().into());
        }
    }
    Ok(())
}

fn groups(given: &Attributes) -> Option<Vec<SecurityGroupId>> {
    let list = given.get("security_groups")?;
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut groups: Vec<SecurityGroupId> = list.iter().filter_map(|id| id.as_str()?.parse().ok()).collect();
    groups.sort_unstable();
    groups.dedup();
    Some(groups)
}

/// Administrators may put any group on a port, others the project's own and those shared with it.
async fn known_groups(
    ctx: &Ctx,
    tx: &mut Tx,
    groups: Vec<SecurityGroupId>,
    project_id: &str,
) -> Result<Vec<SecurityGroupId>> {
    if groups.is_empty() {
        return Ok(groups);
    }
    if !ctx.caller.is_admin {
        let usable = db::security_group::security_groups_usable(tx, &groups, project_id).await?;
        if let Some(id) = groups.iter().find(|id| !usable.contains(id)) {
            return Err(Refusal::not_found("SecurityGroup", id).into());
        }
    }
    let known = rows::security_groups_known(tx, &groups).await?;
    if let Some(id) = groups.iter().find(|id| !known.contains_key(id)) {
        return Err(Refusal::not_found("SecurityGroup", id).into());
    }
    if known.values().any(|stateful| *stateful) && known.values().any(|stateful| !*stateful) {
        let message = "Error Cannot apply both stateful and stateless security groups on the same port at the same time \
                       while attempting the operation.";
        return Err(Refusal::conflict("SecurityGroupConflict", message).into());
    }
    Ok(groups)
}

fn groups_need_security() -> Refusal {
    Refusal::bad_request(
        "PortSecurityAndIPRequiredForSecurityGroups",
        "Port security must be enabled and port must have an IP address in order to use security groups.",
    )
}

fn pairs_need_security() -> Refusal {
    Refusal::conflict(
        "AddressPairAndPortSecurityRequired",
        "Port Security must be enabled in order to have allowed address pairs on a port.",
    )
}

/// A pair without a MAC has the port's own.
fn address_pairs(pairs: &[Value], own: Mac) -> Result<Vec<AddressPair>> {
    let mut seen = HashSet::new();
    let mut out = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let mac_address = pair["mac_address"].as_str().and_then(|text| text.parse().ok()).unwrap_or(own);
        let ip_address = pair["ip_address"].as_str().unwrap_or_default().to_owned();
        if !seen.insert((mac_address, ip_address.clone())) {
            let message =
                format!("Request contains duplicate address pair: mac_address {mac_address} ip_address {ip_address}.");
            return Err(Refusal::bad_request("DuplicateAddressPairInRequest", message).into());
        }
        out.push(AddressPair { mac_address, ip_address });
    }
    Ok(out)
}

/// The options after the request: each one given replaces the one of its name and version, or removes it by null.
fn dhcp_options(current: &[ExtraDhcpOpt], given: &Attributes) -> Vec<ExtraDhcpOpt> {
    let mut options = current.to_vec();
    for option in given.list("extra_dhcp_opts").unwrap_or_default() {
        let Some(name) = option["opt_name"].as_str() else { continue };
        let version = option["ip_version"].as_u64().and_then(|v| u8::try_from(v).ok()).unwrap_or(4);
        options.retain(|o| o.opt_name != name || o.ip_version != version);
        if let Some(value) = option["opt_value"].as_str() {
            let (opt_name, opt_value) = (name.to_owned(), value.to_owned());
            options.push(ExtraDhcpOpt { opt_name, opt_value, ip_version: version });
        }
    }
    options.sort_by(|a, b| (a.ip_version, &a.opt_name).cmp(&(b.ip_version, &b.opt_name)));
    options
}

// ===== update =====

pub(super) async fn change(ctx: &Ctx, tx: &mut Tx, before: &Port, given: &Attributes) -> Result<Port> {
    refuse_too_much(ctx, given)?;
    let mut after = before.clone();
    change_plain(&mut after, given);
    if after.device_id != before.device_id || after.device_owner != before.device_owner {
        router_port::refuse_foreign_router(ctx, tx, &after).await?;
    }
    if given.contains("fixed_ips") {
        floatingip::refuse_address_change(tx, before, given).await?;
    }
    change_mac(ctx, tx, before, &mut after, given).await?;
    change_addresses(ctx, tx, before, &mut after, given).await?;
    change_security(ctx, tx, before, &mut after, given).await?;
    after.extra_dhcp_opts = dhcp_options(&before.extra_dhcp_opts, given);
    let rebound = rebind(ctx, tx, before, &mut after, given).await?;
    rows::port_update(tx, before, &after).await?;
    if let Some(description) = given.text("description") {
        standard::standard_describe(tx, &mut after.standard, description).await?;
    }
    if after != *before {
        standard::standard_touch(tx, &mut after.standard).await?;
    }
    if rebound {
        provisioning::block_wiring(ctx, tx, &after).await?;
    }
    if before.fixed_ips != after.fixed_ips || before.mac_address != after.mac_address {
        provisioning::block_dhcp(tx, &after).await?;
    }
    Ok(after)
}

fn change_plain(port: &mut Port, given: &Attributes) {
    for (name, field) in
        [("name", &mut port.name), ("device_id", &mut port.device_id), ("device_owner", &mut port.device_owner)]
    {
        if let Some(text) = given.text(name) {
            text.clone_into(field);
        }
    }
    if let Some(up) = given.bool("admin_state_up") {
        port.admin_state_up = up;
    }
}

async fn change_mac(ctx: &Ctx, tx: &mut Tx, before: &Port, after: &mut Port, given: &Attributes) -> Result<()> {
    let Some(mac) = given.parsed::<Mac>("mac_address").filter(|mac| *mac != before.mac_address) else { return Ok(()) };
    let vif = before.binding.vif_type.as_str();
    if !matches!(vif, vif_type::UNBOUND | vif_type::BINDING_FAILED) {
        let message = format!(
            "Unable to complete operation on port {}, port is already bound, port type: {vif}, old_mac {}, new_mac {mac}.",
            before.id, before.mac_address
        );
        return Err(Refusal::conflict("PortBound", message).into());
    }
    l2_population::refuse_other_mac(ctx, before)?;
    mac::check_free(tx, before.network_id, mac).await?;
    after.mac_address = mac;
    Ok(())
}

async fn change_addresses(ctx: &Ctx, tx: &mut Tx, before: &Port, after: &mut Port, given: &Attributes) -> Result<()> {
    let host = given.text("binding:host_id").unwrap_or(&before.binding.host).to_owned();
    let current = ipam::Current {
        port_id: before.id,
        party: Party { host: &host, ..party(after) },
        old_mac: before.mac_address,
        old_host: &before.binding.host,
        ip_allocation: before.ip_allocation,
        fixed_ips: &before.fixed_ips,
    };
    let requested: Option<Vec<FixedIpRequest>> = given.typed("fixed_ips");
    let reassigned = ipam::reassign(&ctx.parts.ipam, tx, &current, requested.as_deref()).await?;
    after.fixed_ips = reassigned.fixed_ips;
    Ok(())
}

async fn change_security(ctx: &Ctx, tx: &mut Tx, before: &Port, after: &mut Port, given: &Attributes) -> Result<()> {
    after.port_security_enabled = given.bool("port_security_enabled").unwrap_or(before.port_security_enabled);
    let filtered = after.port_security_enabled && !after.fixed_ips.is_empty();
    if let Some(groups) = groups(given) {
        if !groups.is_empty() && !filtered {
            return Err(groups_need_security().into());
        }
        after.security_groups = known_groups(ctx, tx, groups, &after.project_id).await?;
    } else if !after.port_security_enabled && !after.security_groups.is_empty() {
        let message = "Port has security group associated. Cannot disable port security or IP address until security \
                       group is removed.";
        return Err(Refusal::conflict("PortSecurityPortHasSecurityGroup", message).into());
    }
    if let Some(pairs) = given.get("allowed_address_pairs") {
        let pairs = pairs.as_array().map(Vec::as_slice).unwrap_or_default();
        after.allowed_address_pairs = address_pairs(pairs, after.mac_address)?;
    }
    if !after.allowed_address_pairs.is_empty() && !after.port_security_enabled {
        return Err(pairs_need_security().into());
    }
    Ok(())
}

/// Binds again when the request changes what the binding depends on; true when it did.
async fn rebind(ctx: &Ctx, tx: &mut Tx, before: &Port, after: &mut Port, given: &Attributes) -> Result<bool> {
    let wanted = Binding {
        host: match given.get("binding:host_id") {
            Some(host) => host.as_str().unwrap_or_default().to_owned(),
            None => before.binding.host.clone(),
        },
        vnic_type: given.text("binding:vnic_type").unwrap_or(&before.binding.vnic_type).to_owned(),
        profile: match given.get("binding:profile") {
            Some(profile) => profile.as_object().cloned().unwrap_or_else(Map::new),
            None => before.binding.profile.clone(),
        },
        ..before.binding.clone()
    };
    if wanted.vnic_type != before.binding.vnic_type && before.binding.vif_type != vif_type::UNBOUND {
        let message = format!(
            "Unable to complete operation on port {} for network {}. Port already has an attached device {}.",
            before.id, before.network_id, before.device_id
        );
        return Err(Refusal::conflict("PortInUse", message).into());
    }
    // A port that could not be bound is tried again whenever it is touched.
    let failed = before.binding.vif_type == vif_type::BINDING_FAILED;
    if wanted == before.binding && !failed {
        return Ok(false);
    }
    let moved = wanted.host != before.binding.host;
    after.binding = wanted;
    if moved {
        provisioning::status::DOWN.clone_into(&mut after.status);
    }
    bind_now(ctx, tx, &before.binding.host, after).await?;
    Ok(true)
}

/// Binds the port on its host and writes its active binding.
async fn bind_now(ctx: &Ctx, tx: &mut Tx, old_host: &str, port: &mut Port) -> Result<()> {
    let network: Network = find_any(ctx, tx, &port.network_id.to_string()).await?;
    let level = binding::bind(ctx, tx, &mut Agents::default(), port, &network.segments).await?;
    rows::binding_replace(tx, port.id, old_host, &port.binding, level.as_ref()).await?;
    Ok(())
}

/// Binds a port of a router to the host of its agent.
pub async fn bind_to(ctx: &Ctx, id: PortId, host: &str) -> Result<()> {
    let mut tx = ctx.db().begin().await?;
    let before: Port = find_any(ctx, &mut tx, &id.to_string()).await?;
    let given = Attributes([("binding:host_id".to_owned(), host.into())].into_iter().collect());
    let after = change(ctx, &mut tx, &before, &given).await?;
    let bound = Event::PortUpdated { before: Arc::new(before), after: Arc::new(after) };
    let recorded = event::record(ctx, &mut tx, vec![bound]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(())
}

/// Tries to bind a port that has a host and is not bound: an agent asks for it, or has come back.
pub async fn bind_again(ctx: &Ctx, id: PortId) -> Result<Option<Port>> {
    let mut tx = ctx.db().begin().await?;
    let before: Port = match find_any(ctx, &mut tx, &id.to_string()).await {
        Err(Error::Refused(_)) => return Ok(None),
        found => found?,
    };
    let bound = !matches!(before.binding.vif_type.as_str(), vif_type::UNBOUND | vif_type::BINDING_FAILED);
    if bound || before.binding.host.is_empty() {
        return Ok(Some(before));
    }
    let mut after = before.clone();
    bind_now(ctx, &mut tx, &before.binding.host, &mut after).await?;
    if after.binding == before.binding {
        return Ok(Some(before));
    }
    standard::standard_touch(&mut tx, &mut after.standard).await?;
    provisioning::block_wiring(ctx, &mut tx, &after).await?;
    let bound = Event::PortUpdated { before: Arc::new(before), after: Arc::new(after.clone()) };
    let recorded = event::record(ctx, &mut tx, vec![bound]).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(Some(after))
}
