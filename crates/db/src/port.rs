//! Ports and the rows that hang on them.

use std::{collections::HashMap, hash::Hash};

use sea_query::{Expr, ExprTrait, Query};
use serde_json::{Map, Value as Json};
use types::{
    PortId, SecurityGroupId, SegmentId,
    port::{AddressPair, Binding, ExtraDhcpOpt, Port},
};
use uuid::Uuid;

use crate::{
    Conn, DbError, Row, Value,
    ipam::{fixed_ips_child, fixed_ips_read},
    list::{Items, ListQuery, Listing, Scope, Source},
    schema::{Table, tables},
    standard::{standard_delete, standard_from_row, tagged, tags_of},
    whole::{Child, ID, Single},
};

const COLUMNS: [&str; 10] = [
    "id",
    "name",
    "project_id",
    "network_id",
    "mac_address",
    "admin_state_up",
    "status",
    "device_id",
    "device_owner",
    "ip_allocation",
];

const fn child(table: &'static Table, column: &'static str) -> Source {
    Source::Child { table, link: "port_id", column }
}

/// How ports are listed.
pub static LISTING: Listing = Listing {
    table: &tables::PORTS,
    columns: &COLUMNS,
    standard: true,
    scope: Scope::OfOwned { key: "network_id", table: &tables::NETWORKS },
    attributes: &[
        ("id", Source::Own("id")),
        ("name", Source::Own("name")),
        ("project_id", Source::Own("project_id")),
        ("network_id", Source::Own("network_id")),
        ("mac_address", Source::Own("mac_address")),
        ("admin_state_up", Source::Own("admin_state_up")),
        ("status", Source::Own("status")),
        ("device_id", Source::Own("device_id")),
        ("device_owner", Source::Own("device_owner")),
        ("ip_allocation", Source::Own("ip_allocation")),
        ("fixed_ips.ip_address", child(&tables::IPALLOCATIONS, "ip_address")),
        ("fixed_ips.subnet_id", child(&tables::IPALLOCATIONS, "subnet_id")),
        ("binding:host_id", child(&tables::ML2_PORT_BINDINGS, "host")),
        ("binding:vif_type", child(&tables::ML2_PORT_BINDINGS, "vif_type")),
        ("binding:vnic_type", child(&tables::ML2_PORT_BINDINGS, "vnic_type")),
        ("security_groups", child(&tables::SECURITYGROUPPORTBINDINGS, "security_group_id")),
        ("port_security_enabled", child(&tables::PORTSECURITYBINDINGS, "port_security_enabled")),
    ],
};

/// Which driver bound a port to which segment of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingLevel {
    /// The port.
    pub port_id: PortId,
    /// The host it is bound on.
    pub host: String,
    /// Name of the mechanism driver.
    pub driver: &'static str,
    /// The segment.
    pub segment_id: SegmentId,
}

/// Whole ports from the rows [`LISTING`] selected, in their order.
pub async fn ports_from_rows(conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Port>, DbError> {
    let mut ports = rows.iter().map(port_from_row).collect::<Result<Vec<_>, _>>()?;
    if ports.is_empty() {
        return Ok(ports);
    }
    let ids: Vec<String> = ports.iter().map(|p| p.id.to_string()).collect();
    let tagged = tagged(&rows, COLUMNS.len())?;
    let queries = children().map(|child| child.query(&ids));
    let children = conn.select_all(queries.each_ref()).await?;
    let tags = tags_of(conn, &tagged).await?;
    complete(&mut ports, &children, tags)?;
    Ok(ports)
}

/// A page of whole ports.
pub async fn ports_page(conn: &mut Conn, query: &ListQuery) -> Result<Items<Port>, DbError> {
    static SINGLE: Single = Single::new();
    let children = children();
    let single = || LISTING.whole_query(&ListQuery::by_id(ID), &children);
    let first = query.only_id().map(|id| SINGLE.statement(conn, &[(ID, id)], single));
    let mut found = LISTING.wholes(conn, query, &children, first).await?;
    let (count, last, reverse) = (found.count(), found.last(), query.reverse);
    Ok(Items::new(count, last, move || {
        let mut items = found.rows.iter().map(port_from_row).collect::<Result<Vec<_>, _>>()?;
        complete(&mut items, &found.children, found.tags)?;
        if reverse {
            items.reverse();
        }
        Ok(items)
    }))
}

/// Puts what hangs on ports to them.
fn complete(ports: &mut [Port], children: &[Vec<Row>; 6], mut tags: HashMap<i64, Vec<String>>) -> Result<(), DbError> {
    let [fixed_ips, bindings, groups, security, pairs, options] = children;
    let mut fixed_ips = fixed_ips_read(fixed_ips)?;
    let mut bindings = bindings_read(bindings)?;
    let mut groups = security_groups_read(groups)?;
    let security: HashMap<PortId, bool> =
        security.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect::<Result<_, DbError>>()?;
    let mut pairs = address_pairs_read(pairs)?;
    let mut options = dhcp_options_read(options)?;
    for port in ports {
        port.standard.tags = tags.remove(&port.standard.standard_attr_id).unwrap_or_default();
        port.fixed_ips = fixed_ips.remove(&port.id).unwrap_or_default();
        port.security_groups = groups.remove(&port.id).unwrap_or_default();
        port.port_security_enabled = security.get(&port.id).copied().unwrap_or(true);
        port.allowed_address_pairs = pairs.remove(&port.id).unwrap_or_default();
        port.extra_dhcp_opts = options.remove(&port.id).unwrap_or_default();
        if let Some(binding) = bindings.remove(&port.id) {
            port.binding = binding;
        }
    }
    Ok(())
}

fn port_from_row(row: &Row) -> Result<Port, DbError> {
    let project_id: String = row.get::<Option<String>>(2)?.unwrap_or_default();
    let ip_allocation: Option<String> = row.get(9)?;
    Ok(Port {
        id: row.get(0)?,
        name: row.get::<Option<String>>(1)?.unwrap_or_default(),
        tenant_id: project_id.clone(),
        project_id,
        network_id: row.get(3)?,
        mac_address: row.get(4)?,
        admin_state_up: row.get(5)?,
        status: row.get(6)?,
        device_id: row.get(7)?,
        device_owner: row.get(8)?,
        fixed_ips: Vec::new(),
        allowed_address_pairs: Vec::new(),
        extra_dhcp_opts: Vec::new(),
        security_groups: Vec::new(),
        port_security_enabled: true,
        ip_allocation: match ip_allocation.as_deref() {
            Some("deferred") => "deferred",
            Some("none") => "none",
            _ => "immediate",
        },
        binding: Binding::default(),
        standard: standard_from_row(row, COLUMNS.len())?,
    })
}

// ===== what hangs on ports =====

fn grouped<K: Eq + Hash, T>(
    pairs: impl Iterator<Item = Result<(K, T), DbError>>,
) -> Result<HashMap<K, Vec<T>>, DbError> {
    let mut groups: HashMap<K, Vec<T>> = HashMap::new();
    for pair in pairs {
        let (key, item) = pair?;
        groups.entry(key).or_default().push(item);
    }
    Ok(groups)
}

/// What hangs on ports: addresses, bindings, groups, port security, address pairs, DHCP options.
fn children() -> [Child; 6] {
    [
        fixed_ips_child(),
        bindings_child(),
        Child::of(&tables::SECURITYGROUPPORTBINDINGS, "port_id", &["security_group_id"]),
        Child::of(&tables::PORTSECURITYBINDINGS, "port_id", &["port_security_enabled"]),
        Child::of(&tables::ALLOWEDADDRESSPAIRS, "port_id", &["mac_address", "ip_address"]),
        Child::of(&tables::EXTRADHCPOPTS, "port_id", &["opt_name", "opt_value", "ip_version"]),
    ]
}

/// The active bindings, each with the driver that bound it.
fn bindings_child() -> Child {
    let (table, levels) = (&tables::ML2_PORT_BINDINGS, "ml2_port_binding_levels");
    let same = |column| Expr::col((levels, column)).equals((table.name, column));
    let level = same("port_id").and(same("host")).and(Expr::col((levels, "level")).eq(0));
    Child::of(table, "port_id", &["host", "vnic_type", "vif_type", "vif_details", "profile"])
        .only(Expr::col((table.name, "status")).eq("ACTIVE"))
        .beside(levels, level, &["driver"])
}

fn bindings_read(rows: &[Row]) -> Result<HashMap<PortId, Binding>, DbError> {
    rows.iter()
        .map(|row| {
            let mut vif_details = object(&row.get::<String>(4)?);
            if let Some(driver) = row.get::<Option<String>>(6)? {
                vif_details.insert("bound_drivers".to_owned(), serde_json::json!({ "0": driver }));
            }
            let binding = Binding {
                host: row.get(1)?,
                vnic_type: row.get(2)?,
                vif_type: row.get(3)?,
                vif_details,
                profile: object(&row.get::<String>(5)?),
            };
            Ok((row.get(0)?, binding))
        })
        .collect()
}

fn object(text: &str) -> Map<String, Json> {
    serde_json::from_str(text).unwrap_or_default()
}

fn text(object: &Map<String, Json>) -> String {
    if object.is_empty() { String::new() } else { serde_json::to_string(object).unwrap_or_default() }
}

fn security_groups_read(rows: &[Row]) -> Result<HashMap<PortId, Vec<SecurityGroupId>>, DbError> {
    let mut groups = grouped(rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))))?;
    groups.values_mut().for_each(|list: &mut Vec<SecurityGroupId>| list.sort_unstable());
    Ok(groups)
}

fn address_pairs_read(rows: &[Row]) -> Result<HashMap<PortId, Vec<AddressPair>>, DbError> {
    let pair = |row: &Row| Ok((row.get(0)?, AddressPair { mac_address: row.get(1)?, ip_address: row.get(2)? }));
    let mut pairs = grouped(rows.iter().map(pair))?;
    let order = |a: &AddressPair, b: &AddressPair| (a.mac_address, &a.ip_address).cmp(&(b.mac_address, &b.ip_address));
    pairs.values_mut().for_each(|list| list.sort_by(order));
    Ok(pairs)
}

fn dhcp_options_read(rows: &[Row]) -> Result<HashMap<PortId, Vec<ExtraDhcpOpt>>, DbError> {
    let mut options = grouped(rows.iter().map(|row| {
        let option = ExtraDhcpOpt { opt_name: row.get(1)?, opt_value: row.get(2)?, ip_version: row.get(3)? };
        Ok((row.get(0)?, option))
    }))?;
    let by_name = |a: &ExtraDhcpOpt, b: &ExtraDhcpOpt| (a.ip_version, &a.opt_name).cmp(&(b.ip_version, &b.opt_name));
    options.values_mut().for_each(|list| list.sort_by(by_name));
    Ok(options)
}

// ===== writing =====

/// Writes the rows of new ports at the latest with the commit, except those of their addresses. Their standard attributes
/// have their rows already.
pub async fn ports_insert(conn: &mut Conn, ports: &[Port], levels: &[BindingLevel]) -> Result<(), DbError> {
    let columns = [
        "id",
        "name",
        "project_id",
        "network_id",
        "mac_address",
        "admin_state_up",
        "status",
        "device_id",
        "device_owner",
        "ip_allocation",
        "standard_attr_id",
    ];
    let rows = ports.iter().map(|port| {
        vec![
            port.id.into(),
            (&port.name).into(),
            (&port.project_id).into(),
            port.network_id.into(),
            port.mac_address.into(),
            port.admin_state_up.into(),
            (&port.status).into(),
            (&port.device_id).into(),
            (&port.device_owner).into(),
            port.ip_allocation.into(),
            port.standard.standard_attr_id.into(),
        ]
    });
    conn.insert_behind(&tables::PORTS, &columns, rows.collect()).await?;
    let rows = ports.iter().map(|port| vec![port.id.into(), port.port_security_enabled.into()]);
    conn.insert_behind(&tables::PORTSECURITYBINDINGS, &["port_id", "port_security_enabled"], rows.collect()).await?;
    bindings_insert(conn, ports.iter().map(|port| (port.id, &port.binding)), "ACTIVE").await?;
    levels_insert(conn, levels).await?;
    security_groups_insert(conn, ports).await?;
    address_pairs_insert(conn, ports).await?;
    dhcp_options_insert(conn, ports).await
}

/// Adds bindings, all of the same status (`ACTIVE` or `INACTIVE`).
pub async fn bindings_insert<'a>(
    conn: &mut Conn,
    bindings: impl Iterator<Item = (PortId, &'a Binding)>,
    status: &str,
) -> Result<(), DbError> {
    let columns = ["port_id", "host", "vif_type", "vnic_type", "profile", "vif_details", "status"];
    let rows: Vec<Vec<Value>> = bindings
        .map(|(port, binding)| {
            vec![
                port.into(),
                (&binding.host).into(),
                (&binding.vif_type).into(),
                (&binding.vnic_type).into(),
                text(&binding.profile).into(),
                text(&stored_details(binding)).into(),
                status.into(),
            ]
        })
        .collect();
    conn.insert_behind(&tables::ML2_PORT_BINDINGS, &columns, rows).await
}

/// `bound_drivers` is worked out when a port is read, never stored.
fn stored_details(binding: &Binding) -> Map<String, Json> {
    let mut details = binding.vif_details.clone();
    details.remove("bound_drivers");
    details
}

/// Adds binding levels.
pub async fn levels_insert(conn: &mut Conn, levels: &[BindingLevel]) -> Result<(), DbError> {
    let columns = ["port_id", "host", "level", "driver", "segment_id"];
    let row = |level: &BindingLevel| {
        vec![level.port_id.into(), (&level.host).into(), 0.into(), level.driver.into(), level.segment_id.into()]
    };
    conn.insert_behind(&tables::ML2_PORT_BINDING_LEVELS, &columns, levels.iter().map(row).collect()).await
}

async fn security_groups_insert(conn: &mut Conn, ports: &[Port]) -> Result<(), DbError> {
    let rows =
        ports.iter().flat_map(|port| port.security_groups.iter().map(|group| vec![port.id.into(), group.into()]));
    conn.insert_behind(&tables::SECURITYGROUPPORTBINDINGS, &["port_id", "security_group_id"], rows.collect()).await
}

async fn address_pairs_insert(conn: &mut Conn, ports: &[Port]) -> Result<(), DbError> {
    let rows = ports.iter().flat_map(|port| {
        let row = |pair: &AddressPair| vec![port.id.into(), pair.mac_address.into(), (&pair.ip_address).into()];
        port.allowed_address_pairs.iter().map(row)
    });
    conn.insert_behind(&tables::ALLOWEDADDRESSPAIRS, &["port_id", "mac_address", "ip_address"], rows.collect()).await
}

async fn dhcp_options_insert(conn: &mut Conn, ports: &[Port]) -> Result<(), DbError> {
    let rows = ports.iter().flat_map(|port| {
        port.extra_dhcp_opts.iter().map(|option| {
            vec![
                Uuid::new_v4().into(),
                port.id.into(),
                (&option.opt_name).into(),
                (&option.opt_value).into(),
                option.ip_version.into(),
            ]
        })
    });
    let columns = ["id", "port_id", "opt_name", "opt_value", "ip_version"];
    conn.insert_behind(&tables::EXTRADHCPOPTS, &columns, rows.collect()).await
}

/// Writes what differs between a port as it was and as it shall be, except its addresses and standard attributes.
pub async fn port_update(conn: &mut Conn, before: &Port, after: &Port) -> Result<(), DbError> {
    let sql = "UPDATE ports SET name = ?, mac_address = ?, admin_state_up = ?, status = ?, device_id = ?, \
               device_owner = ?, ip_allocation = ? WHERE id = ?";
    let binds = vec![
        (&after.name).into(),
        after.mac_address.into(),
        after.admin_state_up.into(),
        (&after.status).into(),
        (&after.device_id).into(),
        (&after.device_owner).into(),
        after.ip_allocation.into(),
        after.id.into(),
    ];
    conn.execute(sql, binds).await.map_err(named_by_ports)?;
    let port = std::slice::from_ref(after);
    if before.port_security_enabled != after.port_security_enabled {
        clear(conn, &tables::PORTSECURITYBINDINGS, after.id).await?;
        let row = vec![after.id.into(), after.port_security_enabled.into()];
        conn.insert(&tables::PORTSECURITYBINDINGS, &["port_id", "port_security_enabled"], vec![row]).await?;
    }
    if before.security_groups != after.security_groups {
        clear(conn, &tables::SECURITYGROUPPORTBINDINGS, after.id).await?;
        security_groups_insert(conn, port).await?;
    }
    if before.allowed_address_pairs != after.allowed_address_pairs {
        clear(conn, &tables::ALLOWEDADDRESSPAIRS, after.id).await?;
        address_pairs_insert(conn, port).await?;
    }
    if before.extra_dhcp_opts != after.extra_dhcp_opts {
        clear(conn, &tables::EXTRADHCPOPTS, after.id).await?;
        dhcp_options_insert(conn, port).await?;
    }
    Ok(())
}

/// A plain statement does not tell the table whose key was violated.
fn named_by_ports(error: DbError) -> DbError {
    match error {
        DbError::Duplicate { table, constraint } if table.is_empty() => {
            DbError::Duplicate { table: tables::PORTS.name.to_owned(), constraint }
        }
        other => other,
    }
}

async fn clear(conn: &mut Conn, table: &'static Table, port: PortId) -> Result<(), DbError> {
    let mut delete = Query::delete();
    delete.from_table(table.name).and_where(Expr::col("port_id").eq(port.to_string()));
    conn.delete(&delete).await.map(|_| ())
}

/// Replaces the active binding of a port, and the levels of its old host.
pub async fn binding_replace(
    conn: &mut Conn,
    port: PortId,
    old_host: &str,
    binding: &Binding,
    level: Option<&BindingLevel>,
) -> Result<(), DbError> {
    binding_delete(conn, port, old_host).await?;
    if old_host != binding.host {
        // An inactive binding on the new host gives way.
        binding_delete(conn, port, &binding.host).await?;
    }
    bindings_insert(conn, std::iter::once((port, binding)), "ACTIVE").await?;
    match level {
        Some(level) => levels_insert(conn, std::slice::from_ref(level)).await,
        None => Ok(()),
    }
}

/// Removes the binding of a port on a host with its levels; false when there is none.
pub async fn binding_delete(conn: &mut Conn, port: PortId, host: &str) -> Result<bool, DbError> {
    let binds = || vec![port.into(), host.into()];
    conn.execute("DELETE FROM ml2_port_binding_levels WHERE port_id = ? AND host = ?", binds()).await?;
    Ok(conn.execute("DELETE FROM ml2_port_bindings WHERE port_id = ? AND host = ?", binds()).await? > 0)
}

/// A binding of a port that may have several, as the extended API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct HostBinding {
    /// Host, vif and profile.
    pub binding: Binding,
    /// `ACTIVE` or `INACTIVE`.
    pub status: String,
}

/// All bindings of a port.
pub async fn bindings_by_port(conn: &mut Conn, port: PortId) -> Result<Vec<HostBinding>, DbError> {
    let sql = "SELECT host, vnic_type, vif_type, vif_details, profile, status FROM ml2_port_bindings \
               WHERE port_id = ? ORDER BY host";
    let rows = conn.sql(sql, vec![port.into()]).await?;
    rows.iter()
        .map(|row| {
            let binding = Binding {
                host: row.get(0)?,
                vnic_type: row.get(1)?,
                vif_type: row.get(2)?,
                vif_details: object(&row.get::<String>(3)?),
                profile: object(&row.get::<String>(4)?),
            };
            Ok(HostBinding { binding, status: row.get(5)? })
        })
        .collect()
}

/// Marks a binding as `ACTIVE` or `INACTIVE`.
pub async fn binding_status_set(conn: &mut Conn, port: PortId, host: &str, status: &str) -> Result<(), DbError> {
    let sql = "UPDATE ml2_port_bindings SET status = ? WHERE port_id = ? AND host = ?";
    conn.execute(sql, vec![status.into(), port.into(), host.into()]).await.map(|_| ())
}

/// Removes ports and what hangs on them. Their addresses are released before.
pub async fn ports_delete(conn: &mut Conn, ports: &[Port]) -> Result<(), DbError> {
    if ports.is_empty() {
        return Ok(());
    }
    let mut delete = Query::delete();
    delete.from_table("ports").and_where(Expr::col("id").is_in(ports.iter().map(|p| p.id.to_string())));
    conn.delete(&delete).await?;
    let standard: Vec<i64> = ports.iter().map(|p| p.standard.standard_attr_id).collect();
    standard_delete(conn, &standard).await
}

/// Those of the groups that exist, and whether each is stateful.
pub async fn security_groups_known(
    conn: &mut Conn,
    ids: &[SecurityGroupId],
) -> Result<HashMap<SecurityGroupId, bool>, DbError> {
    let mut select = tables::SECURITYGROUPS.select(&["id", "stateful"]);
    select.and_where(Expr::col("id").is_in(ids.iter().map(ToString::to_string)));
    let rows = conn.select(&select).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}
