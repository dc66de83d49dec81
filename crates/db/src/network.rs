//! Networks.

use std::collections::{HashMap, HashSet};

use sea_query::{Expr, ExprTrait, Query, SelectStatement};
use types::{AddressScopeId, NetworkId, SubnetId, network::Network, segment::Segment};
use uuid::Uuid;

use crate::{
    Conn, DbError, Row, Statement, Value,
    list::{Items, ListQuery, Listing, Scope, Source, targets},
    schema::tables,
    segment::{segments_child, segments_read},
    standard::{standard_from_row, tagged, tags_of},
    whole::{Child, ID, PROJECT, Single},
};

/// `networkrbacs.action` of a network that projects may use.
pub const ACCESS_AS_SHARED: &str = "access_as_shared";
/// `networkrbacs.action` of a network that projects may reach the outside by.
pub const ACCESS_AS_EXTERNAL: &str = "access_as_external";

const COLUMNS: [&str; 7] = ["id", "name", "project_id", "status", "admin_state_up", "mtu", "availability_zone_hints"];

const fn segment(column: &'static str) -> Source {
    Source::Child { table: &tables::NETWORKSEGMENTS, link: "network_id", column }
}

/// How networks are listed.
pub static LISTING: Listing = Listing {
    table: &tables::NETWORKS,
    columns: &COLUMNS,
    standard: true,
    scope: Scope::Granted { key: "id", table: &tables::NETWORKRBACS, actions: &[ACCESS_AS_SHARED, ACCESS_AS_EXTERNAL] },
    attributes: &[
        ("id", Source::Own("id")),
        ("name", Source::Own("name")),
        ("project_id", Source::Own("project_id")),
        ("status", Source::Own("status")),
        ("admin_state_up", Source::Own("admin_state_up")),
        ("mtu", Source::Own("mtu")),
        ("availability_zone_hints", Source::Own("availability_zone_hints")),
        ("shared", Source::Granted { key: "id", table: &tables::NETWORKRBACS, action: ACCESS_AS_SHARED }),
        ("router:external", Source::Exists { table: &tables::EXTERNALNETWORKS, link: "network_id", only: &[] }),
        ("is_default", Source::Child { table: &tables::EXTERNALNETWORKS, link: "network_id", column: "is_default" }),
        ("provider:network_type", segment("network_type")),
        ("provider:physical_network", segment("physical_network")),
        ("provider:segmentation_id", segment("segmentation_id")),
    ],
};

/// Whole networks from the rows [`LISTING`] selected, in their order, as the project sees them that asks.
pub async fn networks_from_rows(
    conn: &mut Conn,
    rows: Vec<Row>,
    project_id: Option<&str>,
) -> Result<Vec<Network>, DbError> {
    let mut networks = rows.iter().map(network_from_row).collect::<Result<Vec<_>, _>>()?;
    if networks.is_empty() {
        return Ok(networks);
    }
    let ids: Vec<String> = networks.iter().map(|n| n.id.to_string()).collect();
    let tagged = tagged(&rows, COLUMNS.len())?;
    let queries = children(project_id).map(|child| child.query(&ids));
    let children = conn.select_all(queries.each_ref()).await?;
    let tags = tags_of(conn, &tagged).await?;
    complete(&mut networks, &children, tags)?;
    Ok(networks)
}

/// A page of whole networks, as the project sees them that asks.
pub async fn networks_page(
    conn: &mut Conn,
    query: &ListQuery,
    project_id: Option<&str>,
) -> Result<Items<Network>, DbError> {
    let first = single(conn, query, project_id);
    let mut found = LISTING.wholes(conn, query, &children(project_id), first).await?;
    let (count, last, reverse) = (found.count(), found.last(), query.reverse);
    Ok(Items::new(count, last, move || {
        let mut items = found.rows.iter().map(network_from_row).collect::<Result<Vec<_>, _>>()?;
        complete(&mut items, &found.children, found.tags)?;
        if reverse {
            items.reverse();
        }
        Ok(items)
    }))
}

/// Puts what hangs on networks to them.
fn complete(
    networks: &mut [Network],
    children: &[Vec<Row>; 6],
    mut tags: HashMap<i64, Vec<String>>,
) -> Result<(), DbError> {
    let [subnets, segments, shared, external, security, zones] = children;
    let scopes = scopes_read(subnets)?;
    let (mut subnets, mut segments) = (subnets_read(subnets)?, segments_read(segments)?);
    let shared = shared.iter().map(|row| row.get(0)).collect::<Result<HashSet<NetworkId>, _>>()?;
    let (external, security): (HashMap<_, bool>, HashMap<_, bool>) = (by_network(external)?, by_network(security)?);
    let mut zones = zones_read(zones)?;
    for network in networks {
        network.standard.tags = tags.remove(&network.standard.standard_attr_id).unwrap_or_default();
        network.ipv4_address_scope = scopes.get(&(network.id, 4)).map(ToString::to_string);
        network.ipv6_address_scope = scopes.get(&(network.id, 6)).map(ToString::to_string);
        let subnets = subnets.remove(&network.id).unwrap_or_default();
        network.l2_adjacency = !subnets.iter().any(|(_, routed)| *routed);
        network.subnets = subnets.into_iter().map(|(id, _)| id).collect();
        network.shared = shared.contains(&network.id);
        network.is_default = external.get(&network.id).copied();
        network.router_external = network.is_default.is_some();
        network.port_security_enabled = security.get(&network.id).copied().unwrap_or(true);
        network.availability_zones = zones.remove(&network.id).unwrap_or_default();
        network.segments = segments.remove(&network.id).unwrap_or_default();
    }
    Ok(())
}

fn network_from_row(row: &Row) -> Result<Network, DbError> {
    let project_id: String = row.get::<Option<String>>(2)?.unwrap_or_default();
    let hints: Option<String> = row.get(6)?;
    Ok(Network {
        id: row.get(0)?,
        name: row.get::<Option<String>>(1)?.unwrap_or_default(),
        tenant_id: project_id.clone(),
        project_id,
        status: row.get::<Option<String>>(3)?.unwrap_or_default(),
        admin_state_up: row.get::<Option<bool>>(4)?.unwrap_or(true),
        mtu: row.get(5)?,
        availability_zone_hints: hints.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        standard: standard_from_row(row, COLUMNS.len())?,
        ..Network::default()
    })
}

/// What hangs on networks: subnets with the pools they are from, segments, whether they are shared with a project, external
/// networks, port security, availability zones.
fn children(project_id: Option<&str>) -> [Child; 6] {
    let (shared, zones) = (&tables::NETWORKRBACS, &tables::NETWORKDHCPAGENTBINDINGS);
    let from = Expr::col((tables::SUBNETS.name, "subnetpool_id")).equals(("subnetpools", "id"));
    let agent = Expr::col((zones.name, "dhcp_agent_id")).equals(("agents", "id"));
    [
        Child::of(&tables::SUBNETS, "network_id", &["id", "segment_id"]).beside(
            "subnetpools",
            from,
            &["ip_version", "address_scope_id"],
        ),
        segments_child(),
        Child::of(shared, "object_id", &[])
            .only(Expr::col((shared.name, "action")).eq(ACCESS_AS_SHARED))
            .only(Expr::col((shared.name, "target_project")).is_in(targets(project_id))),
        Child::of(&tables::EXTERNALNETWORKS, "network_id", &["is_default"]),
        security_child(),
        Child::of(zones, "network_id", &[]).beside("agents", agent, &["availability_zone"]),
    ]
}

fn security_child() -> Child {
    Child::of(&tables::NETWORKSECURITYBINDINGS, "network_id", &["port_security_enabled"])
}

/// What of a network its new ports are made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footing {
    /// Its id.
    pub id: NetworkId,
    /// Whether ports that do not say otherwise are filtered.
    pub port_security_enabled: bool,
    /// Its segments.
    pub segments: Vec<Segment>,
}

/// The query behind [`footing`]. To read all of a network takes a server three times as long.
pub fn footing_query(conn: &Conn, query: &ListQuery) -> Statement {
    static OF_ANYBODY: Single = Single::new();
    let made = |query: &ListQuery| {
        let mut select = Query::select();
        select.from(tables::NETWORKS.name).expr(Expr::col((tables::NETWORKS.name, "id")));
        for child in [security_child(), segments_child()] {
            child.join(&mut select, (tables::NETWORKS.name, "id"));
        }
        select.cond_where(LISTING.condition(query)).take()
    };
    match query.only_id() {
        Some(id) => OF_ANYBODY.statement(conn, &[(ID, id)], || made(&ListQuery::by_id(ID))),
        None => conn.statement(&made(query)),
    }
}

/// What ports of one network are made by, if the query finds it.
pub async fn footing(conn: &mut Conn, query: &ListQuery) -> Result<Option<Footing>, DbError> {
    let rows = conn.ask(footing_query(conn, query)).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let (id, port_security_enabled) = (first.get(0)?, first.get::<Option<bool>>(2)?.unwrap_or(true));
    let segments: Vec<Row> = rows.into_iter().filter_map(segment_beside).collect();
    Ok(Some(Footing { id, port_security_enabled, segments: segments_read(&segments)?.remove(&id).unwrap_or_default() }))
}

/// The segment that stands behind the network and its port security, if there is one.
fn segment_beside(row: Row) -> Option<Row> {
    let segment = row.into_values().split_off(3);
    (segment.first() != Some(&Value::Null)).then(|| Row::new(segment))
}

/// The first statement for one network, where nothing else is asked for.
fn single(conn: &Conn, query: &ListQuery, project_id: Option<&str>) -> Option<Statement> {
    static OF_NOBODY: Single = Single::new();
    static OF_PROJECT: Single = Single::new();
    let id = query.only_id()?;
    let made = |project| LISTING.whole_query(&ListQuery::by_id(ID), &children(project));
    Some(match project_id {
        None => OF_NOBODY.statement(conn, &[(ID, id)], || made(None)),
        Some(project) => OF_PROJECT.statement(conn, &[(ID, id), (PROJECT, project)], || made(Some(PROJECT))),
    })
}

/// The subnets of each network, and whether each belongs to a segment.
fn subnets_read(rows: &[Row]) -> Result<HashMap<NetworkId, Vec<(SubnetId, bool)>>, DbError> {
    let mut subnets: HashMap<NetworkId, Vec<(SubnetId, bool)>> = HashMap::new();
    for row in rows {
        subnets.entry(row.get(0)?).or_default().push((row.get(1)?, row.get::<Option<String>>(2)?.is_some()));
    }
    subnets.values_mut().for_each(|list| list.sort_unstable());
    Ok(subnets)
}

/// The address scopes of the pools that the subnets of networks are from, by network and IP version.
fn scopes_read(subnets: &[Row]) -> Result<HashMap<(NetworkId, u8), AddressScopeId>, DbError> {
    let mut scopes = HashMap::new();
    for subnet in subnets {
        if let Some(scope) = subnet.get(4)? {
            scopes.insert((subnet.get(0)?, subnet.get(3)?), scope);
        }
    }
    Ok(scopes)
}

/// One value for each network.
fn by_network<T: crate::FromValue>(rows: &[Row]) -> Result<HashMap<NetworkId, T>, DbError> {
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Those of the networks that are shared with the project, or with everyone.
pub(crate) async fn shared_among(
    conn: &mut Conn,
    ids: &[String],
    project_id: Option<&str>,
) -> Result<HashSet<NetworkId>, DbError> {
    conn.select(&shared_query(ids, project_id)).await?.iter().map(|row| row.get(0)).collect()
}

fn shared_query(ids: &[String], project_id: Option<&str>) -> SelectStatement {
    let mut select = tables::NETWORKRBACS.select(&["object_id"]);
    select.and_where(Expr::col("object_id").is_in(ids.iter().map(String::as_str)));
    select.and_where(Expr::col("action").eq(ACCESS_AS_SHARED));
    select.and_where(Expr::col("target_project").is_in(targets(project_id)));
    select
}

/// Availability zones of the DHCP agents that serve each network.
fn zones_read(rows: &[Row]) -> Result<HashMap<NetworkId, Vec<String>>, DbError> {
    let mut zones: HashMap<NetworkId, Vec<String>> = HashMap::new();
    for row in rows {
        if let Some(zone) = row.get::<Option<String>>(1)? {
            zones.entry(row.get(0)?).or_default().push(zone);
        }
    }
    for list in zones.values_mut() {
        list.sort_unstable();
        list.dedup();
    }
    Ok(zones)
}

/// Writes the rows of a new network, except those of its segments. Its standard attributes have their row already.
pub async fn network_insert(conn: &mut Conn, network: &Network) -> Result<(), DbError> {
    let hints = serde_json::to_string(&network.availability_zone_hints).unwrap_or_default();
    let columns =
        ["id", "name", "project_id", "status", "admin_state_up", "mtu", "availability_zone_hints", "standard_attr_id"];
    let row = vec![
        network.id.into(),
        (&network.name).into(),
        (&network.project_id).into(),
        (&network.status).into(),
        network.admin_state_up.into(),
        network.mtu.into(),
        hints.into(),
        network.standard.standard_attr_id.into(),
    ];
    conn.insert(&tables::NETWORKS, &columns, vec![row]).await?;
    let security = vec![network.id.into(), network.port_security_enabled.into()];
    conn.insert(&tables::NETWORKSECURITYBINDINGS, &["network_id", "port_security_enabled"], vec![security]).await?;
    if network.shared {
        access_grant(conn, network, ACCESS_AS_SHARED).await?;
    }
    if network.router_external {
        external_set(conn, network).await?;
    }
    Ok(())
}

/// Writes what can be changed of a network; its standard attributes are not touched.
pub async fn network_update(conn: &mut Conn, network: &Network) -> Result<(), DbError> {
    let sql = "UPDATE networks SET name = ?, admin_state_up = ?, mtu = ? WHERE id = ?";
    let binds = vec![(&network.name).into(), network.admin_state_up.into(), network.mtu.into(), network.id.into()];
    conn.sql(sql, binds).await?;
    let sql = "UPDATE networksecuritybindings SET port_security_enabled = ? WHERE network_id = ?";
    if conn.execute(sql, vec![network.port_security_enabled.into(), network.id.into()]).await? == 0 {
        let present = "SELECT network_id FROM networksecuritybindings WHERE network_id = ?";
        if conn.sql(present, vec![network.id.into()]).await?.is_empty() {
            let row = vec![network.id.into(), network.port_security_enabled.into()];
            let columns = ["network_id", "port_security_enabled"];
            conn.insert(&tables::NETWORKSECURITYBINDINGS, &columns, vec![row]).await?;
        }
    }
    Ok(())
}

/// The owners of networks, by the networks' ids.
pub async fn network_owners(conn: &mut Conn, ids: &[String]) -> Result<HashMap<String, Option<String>>, DbError> {
    let mut select = tables::NETWORKS.select(&["id", "project_id"]);
    select.and_where(Expr::col("id").is_in(ids.iter().map(String::as_str)));
    conn.select(&select).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// What is granted on networks to everyone and to these projects: network, action, whom to.
pub async fn network_grants(
    conn: &mut Conn,
    ids: &[String],
    projects: &[String],
) -> Result<Vec<(String, String, String)>, DbError> {
    let mut select = tables::NETWORKRBACS.select(&["object_id", "action", "target_project"]);
    select.and_where(Expr::col("object_id").is_in(ids.iter().map(String::as_str)));
    select.and_where(Expr::col("target_project").is_in(projects.iter().map(String::as_str).chain(["*"])));
    conn.select(&select).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
}

/// Whether everyone may use a network.
pub async fn is_shared_with_all(conn: &mut Conn, network: NetworkId) -> Result<bool, DbError> {
    Ok(shared_among(conn, &[network.to_string()], None).await?.contains(&network))
}

/// Opens a network to every project.
pub async fn access_grant(conn: &mut Conn, network: &Network, action: &str) -> Result<(), DbError> {
    let columns = ["id", "object_id", "project_id", "target_project", "action"];
    let row: Vec<Value> =
        vec![Uuid::new_v4().into(), network.id.into(), (&network.project_id).into(), "*".into(), action.into()];
    conn.insert(&tables::NETWORKRBACS, &columns, vec![row]).await
}

/// Takes that back.
pub async fn access_revoke(conn: &mut Conn, network: NetworkId, action: &str) -> Result<(), DbError> {
    let sql = "DELETE FROM networkrbacs WHERE object_id = ? AND action = ? AND target_project = '*'";
    conn.sql(sql, vec![network.into(), action.into()]).await.map(|_| ())
}

/// Makes a network external.
pub async fn external_set(conn: &mut Conn, network: &Network) -> Result<(), DbError> {
    external_mark(conn, network.id).await?;
    access_grant(conn, network, ACCESS_AS_EXTERNAL).await
}

/// Makes a network external without granting it to anyone.
pub async fn external_mark(conn: &mut Conn, network: NetworkId) -> Result<(), DbError> {
    let row = vec![network.into(), false.into()];
    conn.insert(&tables::EXTERNALNETWORKS, &["network_id", "is_default"], vec![row]).await
}

/// Makes it internal again.
pub async fn external_clear(conn: &mut Conn, network: NetworkId) -> Result<(), DbError> {
    conn.sql("DELETE FROM externalnetworks WHERE network_id = ?", vec![network.into()]).await?;
    let sql = "DELETE FROM networkrbacs WHERE object_id = ? AND action = ?";
    conn.sql(sql, vec![network.into(), ACCESS_AS_EXTERNAL.into()]).await.map(|_| ())
}

/// Projects that have ports on the network by its being shared with everyone: neither the owner nor any that it is
/// shared with by name.
pub async fn other_projects(conn: &mut Conn, network: &Network) -> Result<Vec<String>, DbError> {
    let sql = "SELECT DISTINCT project_id FROM ports WHERE network_id = ? AND project_id <> ? AND project_id <> '' \
               AND project_id NOT IN (SELECT target_project FROM networkrbacs WHERE object_id = ? AND action = ?)";
    let binds = vec![network.id.into(), (&network.project_id).into(), network.id.into(), ACCESS_AS_SHARED.into()];
    let rows = conn.sql(sql, binds).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Ports that keep the network from being deleted: those whose owner is none of `automatic`.
pub async fn ports_in_use(conn: &mut Conn, network: NetworkId, automatic: &[&str]) -> Result<Vec<String>, DbError> {
    let mut select = tables::PORTS.select(&["id"]);
    select.and_where(Expr::col("network_id").eq(network.to_string()));
    select.and_where(Expr::col("device_owner").is_not_in(automatic.iter().copied()));
    select.limit(10);
    conn.select(&select).await?.iter().map(|row| row.get(0)).collect()
}

/// Removes a network's own row, what hangs on it by cascade, and its standard attributes.
pub async fn network_delete(conn: &mut Conn, network: &Network) -> Result<(), DbError> {
    let segments = crate::segment::segment_standard_ids(conn, &network.id.to_string()).await?;
    for sql in [
        "DELETE FROM networkrbacs WHERE object_id = ?",
        "DELETE FROM networksegments WHERE network_id = ?",
        "DELETE FROM networks WHERE id = ?",
    ] {
        conn.sql(sql, vec![network.id.into()]).await?;
    }
    let mut standard = segments;
    standard.push(network.standard.standard_attr_id);
    crate::standard::standard_delete(conn, &standard).await
}
