//! Objects as they are written: what a column does not hold is left out, what is put together from elsewhere may be null.

use std::collections::HashMap;

use db::{
    Conn,
    object::{self as rows, StoredBinding, StoredLevel, StoredOption, StoredPool, StoredSegment},
};
use serde_json::{Map, Value, json};
use types::{
    SegmentId, Standard,
    address_group::AddressGroup,
    network::Network,
    port::Port,
    security_group::{SecurityGroup, SecurityGroupRule},
    subnet::Subnet,
};

use super::{Kind, envelope};
use crate::Result;

/// The newest version of a kind.
fn newest(kind: Kind) -> &'static str {
    match kind {
        Kind::Port => "1.11",
        Kind::Network | Kind::SecurityGroupRule => "1.3",
        Kind::Subnet | Kind::AddressGroup => "1.2",
        Kind::SecurityGroup => "1.6",
    }
}

/// Fields that came with a version, and are not told to those who know older ones.
fn since(kind: Kind) -> &'static [(u32, &'static [&'static str])] {
    match kind {
        Kind::Port => &[(11, &["pvlan_type", "pvlan_community"]), (8, &["hints"])],
        Kind::Network => &[(3, &["pvlan"])],
        Kind::Subnet => &[(2, &["external"]), (1, &["dns_publish_fixed_ip"])],
        Kind::SecurityGroup | Kind::SecurityGroupRule | Kind::AddressGroup => &[],
    }
}

/// Fields that an object has that is gone.
fn of_gone(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Port => &[
            "data_plane_status",
            "dns",
            "hints",
            "pvlan_type",
            "pvlan_community",
            "qos_policy_id",
            "qos_network_policy_id",
        ],
        Kind::Network => &["pvlan", "dns_domain", "qos_policy_id"],
        _ => &[],
    }
}

fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.parse().ok()
}

/// The object in an older version; none where there is no such version.
pub(super) fn in_version(mut object: Value, kind: Kind, version: &str) -> Option<Value> {
    let wanted = minor(version)?;
    if Some(wanted) > minor(newest(kind)) {
        return None;
    }
    object["versioned_object.version"] = version.into();
    if let Some(data) = object.get_mut("versioned_object.data").and_then(Value::as_object_mut) {
        for (_, fields) in since(kind).iter().filter(|(came, _)| wanted < *came) {
            fields.iter().for_each(|field| drop(data.remove(*field)));
        }
    }
    Some(object)
}

/// An object of which only the id is left.
pub(super) fn gone(kind: Kind, id: &str) -> Value {
    let mut data = Map::new();
    data.insert("id".to_owned(), id.into());
    data.extend(of_gone(kind).iter().map(|field| ((*field).to_owned(), Value::Null)));
    envelope(kind.as_str(), newest(kind), data)
}

/// The members that are there.
fn present(members: Value) -> Map<String, Value> {
    match members {
        Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}

fn nested(name: &str, version: &str, members: Value) -> Value {
    envelope(name, version, present(members))
}

fn stand(data: &mut Map<String, Value>, standard: &Standard) {
    data.insert("revision_number".to_owned(), standard.revision_number.into());
    data.extend(standard.description.clone().map(|text| ("description".to_owned(), text.into())));
    data.insert("created_at".to_owned(), standard.created_at.clone().into());
    data.insert("updated_at".to_owned(), standard.updated_at.clone().into());
}

/// Fields that are shown whether or not there is something.
fn synthetic(data: &mut Map<String, Value>, members: Value) {
    if let Value::Object(members) = members {
        data.extend(members);
    }
}

fn segment(segment: &StoredSegment) -> Value {
    let mut data = present(json!({
        "id": segment.id,
        "network_id": segment.network_id,
        "network_type": segment.network_type,
        "physical_network": segment.physical_network,
        "segmentation_id": segment.segmentation_id,
        "is_dynamic": segment.is_dynamic,
        "segment_index": segment.segment_index,
        "hosts": [],
    }));
    stand(&mut data, &segment.standard);
    envelope("NetworkSegment", "1.0", data)
}

/// Ports, with a number of queries that does not depend on how many they are.
pub(super) async fn ports(conn: &mut Conn, ports: &[Port]) -> Result<Vec<Value>> {
    let ids: Vec<String> = ports.iter().map(|port| port.id.to_string()).collect();
    let mut bindings = rows::bindings_of(conn, &ids).await?;
    let mut levels = rows::levels_of(conn, &ids).await?;
    let mut options = rows::options_of(conn, &ids).await?;
    let named = levels.values().flatten().filter_map(|level| Some(level.segment_id?.to_string())).collect::<Vec<_>>();
    let segments: HashMap<SegmentId, StoredSegment> =
        rows::segments_by(conn, "id", &named).await?.into_iter().map(|segment| (segment.id, segment)).collect();
    let written = ports.iter().map(|port| {
        let bindings = bindings.remove(&port.id).unwrap_or_default();
        let levels = levels.remove(&port.id).unwrap_or_default();
        let options = options.remove(&port.id).unwrap_or_default();
        self::port(port, &bindings, &levels, &options, &segments)
    });
    Ok(written.collect())
}

fn port(
    port: &Port,
    bindings: &[StoredBinding],
    levels: &[StoredLevel],
    options: &[StoredOption],
    segments: &HashMap<SegmentId, StoredSegment>,
) -> Value {
    let id = port.id;
    let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
    let binding = |binding: &StoredBinding| {
        let mut data = present(json!({
            "port_id": id,
            "host": binding.host,
            "vif_type": binding.vif_type,
            "vnic_type": binding.vnic_type,
            "status": binding.status,
        }));
        let profile = if binding.profile.is_empty() { "{}" } else { binding.profile.as_str() };
        data.insert("profile".to_owned(), profile.into());
        data.insert("vif_details".to_owned(), text(&binding.vif_details));
        envelope("PortBinding", "1.0", data)
    };
    let level = |level: &StoredLevel| {
        let members = json!({
            "port_id": id,
            "host": level.host,
            "level": level.level,
            "driver": level.driver,
            "segment_id": level.segment_id,
        });
        let mut data = present(members);
        let bound = level.segment_id.and_then(|id| segments.get(&id));
        data.insert("segment".to_owned(), bound.map_or(Value::Null, segment));
        envelope("PortBindingLevel", "1.1", data)
    };
    let option = |option: &StoredOption| {
        let members = json!({
            "id": option.id,
            "port_id": id,
            "opt_name": option.name,
            "opt_value": option.value,
            "ip_version": option.ip_version,
        });
        nested("ExtraDhcpOpt", "1.1", members)
    };
    let address = |fixed: &types::port::FixedIp| {
        let members = json!({
            "port_id": id,
            "subnet_id": fixed.subnet_id,
            "network_id": port.network_id,
            "ip_address": fixed.ip_address,
        });
        nested("IPAllocation", "1.0", members)
    };
    let pair = |pair: &types::port::AddressPair| {
        let members = json!({"port_id": id, "mac_address": pair.mac_address, "ip_address": pair.ip_address});
        nested("AllowedAddressPair", "1.0", members)
    };
    let security = json!({"id": id, "port_security_enabled": port.port_security_enabled});
    let mut data = present(json!({
        "id": id,
        "project_id": port.project_id,
        "name": port.name,
        "network_id": port.network_id,
        "mac_address": port.mac_address,
        "admin_state_up": port.admin_state_up,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "status": port.status,
    }));
    synthetic(
        &mut data,
        json!({
            "allowed_address_pairs": port.allowed_address_pairs.iter().map(pair).collect::<Vec<_>>(),
            "bindings": bindings.iter().map(binding).collect::<Vec<_>>(),
            "data_plane_status": null,
            "dhcp_options": options.iter().map(option).collect::<Vec<_>>(),
            "distributed_bindings": [],
            "dns": null,
            "fixed_ips": port.fixed_ips.iter().map(address).collect::<Vec<_>>(),
            "hints": null,
            "security": nested("PortSecurity", "1.0", security),
            "security_group_ids": port.security_groups,
            "pvlan_type": null,
            "pvlan_community": null,
            "qos_policy_id": null,
            "qos_network_policy_id": null,
            "binding_levels": levels.iter().map(level).collect::<Vec<_>>(),
        }),
    );
    stand(&mut data, &port.standard);
    envelope("Port", newest(Kind::Port), data)
}

/// Networks with their segments.
pub(super) async fn networks(conn: &mut Conn, networks: &[Network]) -> Result<Vec<Value>> {
    let ids: Vec<String> = networks.iter().map(|network| network.id.to_string()).collect();
    let segments = rows::segments_by(conn, "network_id", &ids).await?;
    let written = networks.iter().map(|network| {
        let own: Vec<Value> = segments.iter().filter(|s| s.network_id == network.id).map(segment).collect();
        let security = json!({"id": network.id, "port_security_enabled": network.port_security_enabled});
        let mut data = present(json!({
            "id": network.id,
            "project_id": network.project_id,
            "name": network.name,
            "status": network.status,
            "admin_state_up": network.admin_state_up,
            "shared": network.shared,
            "mtu": network.mtu,
        }));
        if !network.availability_zone_hints.is_empty() {
            data.insert("availability_zone_hints".to_owned(), json!(network.availability_zone_hints));
        }
        synthetic(
            &mut data,
            json!({
                "security": nested("NetworkPortSecurity", "1.0", security),
                "segments": own,
                "pvlan": null,
                "dns_domain": null,
                "qos_policy_id": null,
            }),
        );
        stand(&mut data, &network.standard);
        envelope("Network", newest(Kind::Network), data)
    });
    Ok(written.collect())
}

/// Subnets with their pools.
pub(super) async fn subnets(conn: &mut Conn, subnets: &[Subnet]) -> Result<Vec<Value>> {
    let ids: Vec<String> = subnets.iter().map(|subnet| subnet.id.to_string()).collect();
    let mut pools = rows::pools_of(conn, &ids).await?;
    Ok(subnets.iter().map(|of| subnet(of, &pools.remove(&of.id).unwrap_or_default())).collect())
}

fn subnet(subnet: &Subnet, pools: &[StoredPool]) -> Value {
    let id = subnet.id;
    let pool = |pool: &StoredPool| {
        nested("IPAllocationPool", "1.0", json!({"id": pool.id, "subnet_id": id, "start": pool.start, "end": pool.end}))
    };
    let server = |(order, address): (usize, &String)| {
        nested("DNSNameServer", "1.0", json!({"address": address, "subnet_id": id, "order": order}))
    };
    let route = |route: &types::subnet::HostRoute| {
        let members = json!({"subnet_id": id, "destination": route.destination, "nexthop": route.nexthop});
        nested("Route", "1.0", members)
    };
    let mode = |mode: Option<types::subnet::Ipv6Mode>| mode.map(types::subnet::Ipv6Mode::as_str);
    let mut data = present(json!({
        "id": id,
        "project_id": subnet.project_id,
        "name": subnet.name,
        "network_id": subnet.network_id,
        "segment_id": subnet.segment_id,
        "subnetpool_id": subnet.subnetpool_id,
        "ip_version": subnet.ip_version,
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway_ip,
        "enable_dhcp": subnet.enable_dhcp,
        "ipv6_ra_mode": mode(subnet.ipv6_ra_mode),
        "ipv6_address_mode": mode(subnet.ipv6_address_mode),
    }));
    synthetic(
        &mut data,
        json!({
            "allocation_pools": pools.iter().map(pool).collect::<Vec<_>>(),
            "shared": subnet.shared,
            "dns_nameservers": subnet.dns_nameservers.iter().enumerate().map(server).collect::<Vec<_>>(),
            "dns_publish_fixed_ip": false,
            "host_routes": subnet.host_routes.iter().map(route).collect::<Vec<_>>(),
            "service_types": subnet.service_types,
            "external": subnet.router_external,
        }),
    );
    stand(&mut data, &subnet.standard);
    envelope("Subnet", newest(Kind::Subnet), data)
}

/// Security groups with their rules.
pub(super) async fn security_groups(conn: &mut Conn, groups: &[SecurityGroup]) -> Result<Vec<Value>> {
    let ids: Vec<String> = groups.iter().map(|group| group.id.to_string()).collect();
    let default = rows::default_groups_among(conn, &ids).await?;
    let written = groups.iter().map(|group| {
        let rules: Vec<Value> = group.security_group_rules.iter().map(security_group_rule).collect();
        let mut data = present(json!({
            "id": group.id,
            "name": group.name,
            "project_id": group.project_id,
            "shared": group.shared,
            "stateful": group.stateful,
            "is_default": default.contains(&group.id),
            "rules": rules,
        }));
        stand(&mut data, &group.standard);
        envelope("SecurityGroup", newest(Kind::SecurityGroup), data)
    });
    Ok(written.collect())
}

/// A rule.
pub(super) fn security_group_rule(rule: &SecurityGroupRule) -> Value {
    let mut data = present(json!({
        "id": rule.id,
        "project_id": rule.project_id,
        "security_group_id": rule.security_group_id,
        "remote_group_id": rule.remote_group_id,
        "remote_address_group_id": rule.remote_address_group_id,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_range_min,
        "port_range_max": rule.port_range_max,
        "remote_ip_prefix": rule.remote_ip_prefix,
        "belongs_to_default_sg": rule.belongs_to_default_sg.unwrap_or_default(),
    }));
    data.insert("normalized_cidr".to_owned(), json!(rule.normalized_cidr));
    stand(&mut data, &rule.standard);
    envelope("SecurityGroupRule", newest(Kind::SecurityGroupRule), data)
}

/// An address group.
pub(super) fn address_group(group: &AddressGroup) -> Value {
    let address = |address: &String| {
        nested("AddressAssociation", "1.0", json!({"address": address, "address_group_id": group.id}))
    };
    let mut data = present(json!({
        "id": group.id,
        "name": group.name,
        "project_id": group.project_id,
        "shared": group.shared,
        "addresses": group.addresses.iter().map(address).collect::<Vec<_>>(),
    }));
    stand(&mut data, &group.standard);
    envelope("AddressGroup", newest(Kind::AddressGroup), data)
}
