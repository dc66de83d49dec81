//! Networks.

use std::sync::Arc;

use db::{
    Conn, Row, Tx,
    list::{Items, ListQuery, Listing},
    network as rows, standard,
};
use types::{
    NetworkId, Standard,
    attribute::{Attributes, ResourceTable, table::NETWORK},
};

use super::{Condition, Resource, find};
use crate::{
    Ctx, Refusal, Result,
    binding::vif_type,
    config::Mechanism,
    event::{self, Event},
    quota,
    segment::{self, Wanted},
};

pub use types::network::Network;

/// Owners of ports that go with their network.
pub const AUTO_DELETE_OWNERS: [&str; 1] = ["network:dhcp"];

impl Resource for Network {
    const TABLE: &'static ResourceTable = &NETWORK;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    const AT_A_GLANCE: bool = true;

    async fn page(ctx: &Ctx, conn: &mut Conn, query: &ListQuery) -> Result<Items<Self>> {
        Ok(rows::networks_page(conn, query, ctx.caller.project_id.as_deref()).await?)
    }

    async fn load(ctx: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::networks_from_rows(conn, rows, ctx.caller.project_id.as_deref()).await?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        quota::check(ctx, &mut tx, "network", &given).await?;
        let mut networks = Vec::with_capacity(given.len());
        for given in &given {
            networks.push(insert(ctx, &mut tx, given).await?);
        }
        let made = networks.iter().map(|network| Event::NetworkCreated(Arc::new(network.clone()))).collect();
        let recorded = event::record(ctx, &mut tx, made).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(networks)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, condition: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let before: Self = find(ctx, &mut tx, id).await?;
        condition.check(&before.standard)?;
        let mut network = before.clone();
        change_segment(ctx, &mut tx, &mut network, &given).await?;
        change_access(&mut tx, &mut network, &given).await?;
        change_plain(ctx, &mut network, &given)?;
        if given.contains("mtu") {
            refuse_small_mtu(&mut tx, &network).await?;
        }
        rows::network_update(&mut tx, &network).await?;
        if let Some(description) = given.text("description") {
            standard::standard_describe(&mut tx, &mut network.standard, description).await?;
        }
        if network != before {
            standard::standard_touch(&mut tx, &mut network.standard).await?;
        }
        let updated = Event::NetworkUpdated { network: Arc::new(network.clone()), mtu: given.contains("mtu") };
        let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(network)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let network: Self = find(ctx, &mut tx, id).await?;
        condition.check(&network.standard)?;
        let mut events = super::floatingip::remove_idle_on(ctx, &mut tx, network.id).await?;
        refuse_if_used(&mut tx, network.id).await?;
        events.extend(remove(ctx, &mut tx, network).await?);
        let recorded = event::record(ctx, &mut tx, events).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// Removes a network that nothing uses; the events are to be recorded with it.
pub(super) async fn remove(ctx: &Ctx, tx: &mut Tx, network: Network) -> Result<Vec<Event>> {
    let mut events = super::port::delete_all_of_network(ctx, tx, network.id).await?;
    events.extend(super::subnet::delete_all_of_network(ctx, tx, network.id).await?);
    segment::release(tx, &ctx.config().ml2, &network.segments).await?;
    rows::network_delete(tx, &network).await?;
    events.push(Event::NetworkDeleted(Arc::new(network)));
    Ok(events)
}

/// Writes one new network with its segments.
pub(super) async fn insert(ctx: &Ctx, tx: &mut Tx, given: &Attributes) -> Result<Network> {
    let config = ctx.config();
    let project_id = given.text("project_id").unwrap_or_default().to_owned();
    if !project_id.is_empty() {
        super::security_group::ensure_default(ctx, tx, &project_id).await?;
    }
    let description = given.text("description").unwrap_or_default();
    let mut network = Network {
        name: given.text("name").unwrap_or_default().to_owned(),
        tenant_id: project_id.clone(),
        project_id,
        admin_state_up: given.bool("admin_state_up").unwrap_or(true),
        shared: given.bool("shared").unwrap_or(false),
        router_external: given.bool("router:external").unwrap_or(false),
        is_default: Some(false),
        port_security_enabled: given.bool("port_security_enabled").unwrap_or(true),
        availability_zone_hints: given.typed("availability_zone_hints").unwrap_or_default(),
        ..Network::default()
    };
    super::agent::check_zones(tx, "network", &network.availability_zone_hints).await?;
    network.standard = standard::standard_insert(tx, "networks", description, 1).await?;
    // Segments refer to the network's row, which must hold the MTU that the segments allow: the row goes first.
    rows::network_insert(tx, &network).await?;
    let wanted = Wanted::from_attributes(given)?;
    network.segments = segment::claim(tx, &config.ml2, network.id, &wanted, network.router_external).await?;
    network.mtu = mtu(ctx, &network, given.int("mtu").unwrap_or(0))?;
    rows::network_update(tx, &network).await?;
    if given.bool("ha") == Some(true) {
        super::router::ha::claim_network(tx, ctx.project_id(), network.id).await?;
    }
    Ok(network)
}

/// What the segments allow, or less if the request asks for less.
fn mtu(ctx: &Ctx, network: &Network, asked: i64) -> Result<u32> {
    let max = segment::max_mtu(&ctx.config().ml2, ctx.config().global_physnet_mtu, &network.segments);
    match u32::try_from(asked) {
        Ok(0) => Ok(max),
        Ok(asked) if max == 0 || asked <= max => Ok(asked),
        _ => Err(Refusal::invalid_input(format!("Requested MTU is too big, maximum is {max}")).into()),
    }
}

fn change_plain(ctx: &Ctx, network: &mut Network, given: &Attributes) -> Result<()> {
    if let Some(name) = given.text("name") {
        name.clone_into(&mut network.name);
    }
    if let Some(up) = given.bool("admin_state_up") {
        network.admin_state_up = up;
    }
    if let Some(enabled) = given.bool("port_security_enabled") {
        network.port_security_enabled = enabled;
    }
    if let Some(asked) = given.int("mtu") {
        network.mtu = mtu(ctx, network, asked)?;
    }
    Ok(())
}

/// An MTU must carry the smallest packet that each subnet's hosts may send whole.
async fn refuse_small_mtu(tx: &mut Tx, network: &Network) -> Result<()> {
    const IPV4: u32 = 68;
    const IPV6: u32 = 1280;
    let prefixes = db::subnet::cidrs_on(tx, network.id).await?;
    let needed = match () {
        () if !prefixes.is_empty() && network.mtu < IPV4 => IPV4,
        () if prefixes.iter().any(|prefix| prefix.addr().is_ipv6()) && network.mtu < IPV6 => IPV6,
        () => return Ok(()),
    };
    let message = format!("MTU of {} is not valid, subnet requires a minimum of {needed}", network.id);
    Err(Refusal::conflict("NetworkMTUSubnetConflict", message).into())
}

/// `shared` and `router:external` are rows of other tables.
async fn change_access(tx: &mut Tx, network: &mut Network, given: &Attributes) -> Result<()> {
    // Others may share it by a policy of their own; the attribute sets what everyone may do.
    let shared = given.contains("shared") && rows::is_shared_with_all(tx, network.id).await?;
    match given.bool("shared") {
        Some(true) if !shared => rows::access_grant(tx, network, rows::ACCESS_AS_SHARED).await?,
        Some(false) if shared => {
            if !rows::other_projects(tx, network).await?.is_empty() {
                let message = format!(
                    "Unable to reconfigure sharing settings for network {}. Multiple projects are using it.",
                    network.id
                );
                return Err(Refusal::conflict("InvalidSharedSetting", message).into());
            }
            rows::access_revoke(tx, network.id, rows::ACCESS_AS_SHARED).await?;
        }
        _ => {}
    }
    match given.bool("router:external") {
        Some(true) if !network.router_external => rows::external_set(tx, network).await?,
        Some(false) if network.router_external => {
            super::router_port::refuse_gateways(tx, network.id).await?;
            rows::external_clear(tx, network.id).await?;
        }
        _ => {}
    }
    network.shared = given.bool("shared").unwrap_or(network.shared);
    network.router_external = given.bool("router:external").unwrap_or(network.router_external);
    network.is_default = network.router_external.then_some(network.is_default.unwrap_or(false));
    Ok(())
}

/// A network keeps its type and its physical network, and `segments` are not looked at. The id may be changed while nothing
/// is bound to it but by drivers that follow.
async fn change_segment(ctx: &Ctx, tx: &mut Tx, network: &mut Network, given: &Attributes) -> Result<()> {
    let first = network.segments.first();
    let kept = |name: &str, is: Option<&str>| given.text(name).is_none_or(|wanted| Some(wanted) == is);
    if !kept("provider:network_type", first.map(|segment| segment.network_type.as_str()))
        || !kept("provider:physical_network", first.and_then(|segment| segment.physical_network.as_deref()))
    {
        let message = "Plugin does not support updating the following provider network attributes: \
                       provider:network_type, provider:physical_network";
        return Err(Refusal::invalid_input(message).into());
    }
    let Some(id) = given.int("provider:segmentation_id").filter(|id| *id != 0) else { return Ok(()) };
    let [segment] = network.segments.as_mut_slice() else {
        let message = "Provider network attributes can be updated only in provider networks with a single segment.";
        return Err(Refusal::invalid_input(message).into());
    };
    let follow = vif_types_that_follow(ctx, tx).await?;
    if db::segment::has_ports_bound_otherwise(tx, network.id, &follow).await? {
        let message = format!(
            "Provider network attribute provider:segmentation_id cannot be updated if any port in the network has not \
             the following binding:vif_type: {}",
            follow.join(", ")
        );
        return Err(Refusal::invalid_input(message).into());
    }
    segment::renumber(tx, &ctx.config().ml2, segment, id).await
}

/// Ports that are not bound, and those of Open vSwitch, whose agents look at the network again.
async fn vif_types_that_follow(ctx: &Ctx, tx: &mut Tx) -> Result<Vec<&'static str>> {
    let mut follow = vec![vif_type::UNBOUND, vif_type::BINDING_FAILED];
    if ctx.config().ml2.mechanism_drivers.contains(&Mechanism::OpenVSwitch) {
        let agents = db::agent::agents(tx, Some(Mechanism::OpenVSwitch.agent_kind()), None).await?;
        follow.extend(agents.iter().map(|_| vif_type::OVS));
    }
    Ok(follow)
}

async fn refuse_if_used(tx: &mut Tx, network: NetworkId) -> Result<()> {
    let used = rows::ports_in_use(tx, network, &AUTO_DELETE_OWNERS).await?;
    if used.is_empty() {
        return Ok(());
    }
    let ports = used.join(",");
    let message = format!(
        "Unable to complete operation on network {network}. There are one or more ports still in use on the \
         network, id for these ports is: {ports}."
    );
    Err(Refusal::conflict("NetworkInUse", message).into())
}
