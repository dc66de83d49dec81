//! Rules and members for firewalls.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use db::{address_group, list::ListQuery, member};
use oslo::{context::Context, messaging::envelope};
use rpc::{
    l2::Device,
    payload,
    security_group::{Callee, Member, Rule, SecuredDevice, SecurityGroupInfo},
};
use serde_json::Value;
use types::{
    AddressGroupId, PortId, SecurityGroupId,
    port::Port,
    security_group::{SecurityGroup, SecurityGroupRule},
};

use super::{Endpoint, RpcError};
use crate::{Result, resource};

/// Owners of the system, whose ports are not filtered.
const TRUSTED_OWNERS: [&str; 2] = ["network:", "neutron:"];
/// The caller's version from which members come with their MAC.
const MEMBERS_WITH_MAC: &str = "1.3";

impl Callee for Endpoint<'_> {
    type Error = RpcError;

    async fn security_group_info_for_devices(
        &self,
        _: &Context,
        devices: Vec<String>,
        call_version: Option<String>,
    ) -> Result<SecurityGroupInfo, RpcError> {
        let with_mac = call_version.is_some_and(|version| envelope::compatible(&version, MEMBERS_WITH_MAC));
        Ok(self.info(&devices, with_mac).await?)
    }

    async fn security_group_rules_for_devices(
        &self,
        _: &Context,
        devices: Vec<String>,
    ) -> Result<BTreeMap<String, SecuredDevice>, RpcError> {
        let mut info = self.info(&devices, false).await?;
        for device in info.devices.values_mut() {
            let mut rules: Vec<Rule> = Vec::new();
            for group in &device.security_groups {
                let of_group = info.security_groups.get(group).into_iter().flatten();
                rules.extend(of_group.flat_map(|rule| expand(rule, group, &device.fixed_ips, &info.sg_member_ips)));
            }
            rules.append(&mut device.security_group_rules);
            device.security_group_rules = rules;
        }
        Ok(info.devices.into_values().map(|device| (device.device.clone(), device)).collect())
    }
}

impl Endpoint<'_> {
    async fn info(&self, devices: &[String], with_mac: bool) -> Result<SecurityGroupInfo> {
        let names: Vec<Device> = devices.iter().map(|name| name.as_str().into()).collect();
        let found = self.resolve(&names).await?;
        let ids: Vec<PortId> = found.values().copied().collect();
        let mut ports = self.ports(&ids).await?;
        ports.retain(|_, port| !TRUSTED_OWNERS.iter().any(|owner| port.device_owner.starts_with(owner)));
        let groups = self.groups(ports.values()).await?;
        let mut info =
            SecurityGroupInfo { sg_member_ips: self.members(&groups, with_mac).await?, ..Default::default() };
        for group in groups.values() {
            let rules = group.security_group_rules.iter().map(|r| rule(r, group.stateful));
            info.security_groups.insert(group.id.to_string(), rules.collect());
        }
        for (device, id) in &found {
            if let Some(port) = ports.remove(id) {
                let secured = secured(device.name(), port, &groups, &self.ctx.config().dns_domain);
                info.devices.insert(id.to_string(), secured);
            }
        }
        Ok(info)
    }

    async fn groups<'p>(
        &self,
        ports: impl Iterator<Item = &'p Port>,
    ) -> Result<HashMap<SecurityGroupId, SecurityGroup>> {
        let ids: BTreeSet<SecurityGroupId> = ports.flat_map(|port| port.security_groups.iter().copied()).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let query = ListQuery::default().matching_any("id", ids.iter().map(Into::into).collect());
        let mut conn = self.ctx.db().reader().await?;
        let groups = resource::find_all::<SecurityGroup>(self.ctx, &mut conn, &query).await?;
        Ok(groups.into_iter().map(|group| (group.id, group)).collect())
    }

    /// The addresses of the security groups and address groups that the rules name as the other side, of the kinds for
    /// which they do.
    async fn members(
        &self,
        groups: &HashMap<SecurityGroupId, SecurityGroup>,
        with_mac: bool,
    ) -> Result<BTreeMap<String, Addresses>> {
        let mut members: BTreeMap<String, Addresses> = BTreeMap::new();
        let (mut remote, mut address_groups) = (BTreeSet::new(), BTreeSet::new());
        for rule in groups.values().flat_map(|group| &group.security_group_rules) {
            let named = match (rule.remote_group_id, rule.remote_address_group_id) {
                (Some(group), _) => {
                    remote.insert(group);
                    group.to_string()
                }
                (None, Some(group)) => {
                    address_groups.insert(group);
                    group.to_string()
                }
                (None, None) => continue,
            };
            members.entry(named).or_default().entry(rule.ethertype.clone()).or_default();
        }
        let member = |address: String, mac: Option<String>| match with_mac {
            true => Member::Pair(address, mac),
            false => Member::Address(address),
        };
        let mut conn = self.ctx.db().reader().await?;
        let remote: Vec<SecurityGroupId> = remote.into_iter().collect();
        for (group, found) in by_group(member::members(&mut conn, &remote).await?) {
            let found = found.into_iter().map(|found| (found.ip_address, found.mac_address.map(|mac| mac.to_string())));
            add(&mut members, &group.to_string(), found.map(|(address, mac)| member(address, mac)));
        }
        let address_groups: Vec<AddressGroupId> = address_groups.into_iter().collect();
        for (group, addresses) in address_group::addresses_of(&mut conn, &address_groups).await? {
            add(&mut members, &group.to_string(), addresses.into_iter().map(|address| member(address, None)));
        }
        Ok(members)
    }
}

/// Addresses by the kind of packets they are in.
type Addresses = BTreeMap<String, Vec<Member>>;

/// They come sorted by their group.
fn by_group(members: Vec<member::Member>) -> Vec<(SecurityGroupId, Vec<member::Member>)> {
    let mut groups: Vec<(SecurityGroupId, Vec<member::Member>)> = Vec::new();
    for member in members {
        match groups.last_mut() {
            Some((group, list)) if *group == member.group => list.push(member),
            _ => groups.push((member.group, vec![member])),
        }
    }
    groups
}

fn add(members: &mut BTreeMap<String, Addresses>, group: &str, found: impl Iterator<Item = Member>) {
    let Some(addresses) = members.get_mut(group) else { return };
    for member in found {
        let (Member::Pair(address, _) | Member::Address(address)) = &member;
        if let Some(list) = addresses.get_mut(ethertype(address)) {
            list.push(member);
        }
    }
}

fn ethertype(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

fn rule(rule: &SecurityGroupRule, stateful: bool) -> Rule {
    let prefix = rule.normalized_cidr.clone().or_else(|| rule.remote_ip_prefix.clone());
    let (source_ip_prefix, dest_ip_prefix) = if rule.direction == "ingress" { (prefix, None) } else { (None, prefix) };
    Rule {
        direction: rule.direction.clone(),
        ethertype: rule.ethertype.clone(),
        protocol: rule.protocol.clone(),
        port_range_min: rule.port_range_min,
        port_range_max: rule.port_range_max,
        source_ip_prefix,
        dest_ip_prefix,
        remote_group_id: rule.remote_group_id.map(|group| group.to_string()),
        remote_address_group_id: rule.remote_address_group_id.map(|group| group.to_string()),
        stateful: Some(stateful),
        ..Rule::default()
    }
}

/// A rule as older callers know it: with its group, and one for each member where its other side is a group. The port's
/// own addresses are none of the other side.
fn expand(rule: &Rule, group: &str, own: &[String], members: &BTreeMap<String, Addresses>) -> Vec<Rule> {
    let rule = Rule { security_group_id: Some(group.to_owned()), stateful: None, ..rule.clone() };
    let Some(remote) = rule.remote_group_id.as_ref().or(rule.remote_address_group_id.as_ref()) else {
        return vec![rule];
    };
    let members = members.get(remote).and_then(|by_type| by_type.get(&rule.ethertype)).map_or(&[][..], Vec::as_slice);
    let for_member = |member: &Member| {
        let (Member::Pair(address, _) | Member::Address(address)) = member;
        if own.contains(address) {
            return None;
        }
        let full = match address.contains('/') {
            true => "",
            false if address.contains(':') => "/128",
            false => "/32",
        };
        let prefix = Some(format!("{address}{full}"));
        let mut rule = rule.clone();
        match rule.direction.as_str() {
            "ingress" => rule.source_ip_prefix = prefix,
            _ => rule.dest_ip_prefix = prefix,
        }
        Some(rule)
    };
    members.iter().filter_map(for_member).collect()
}

fn secured(device: &str, port: Port, groups: &HashMap<SecurityGroupId, SecurityGroup>, domain: &str) -> SecuredDevice {
    let addresses: Vec<String> = port.fixed_ips.iter().map(|fixed| fixed.ip_address.to_string()).collect();
    let rules = || port.security_groups.iter().filter_map(|id| groups.get(id)).flat_map(|g| &g.security_group_rules);
    let sources: BTreeSet<String> = rules().filter_map(|rule| Some(rule.remote_group_id?.to_string())).collect();
    let address_groups: BTreeSet<String> =
        rules().filter_map(|rule| Some(rule.remote_address_group_id?.to_string())).collect();
    let named = ["id", "fixed_ips", "security_groups", "port_security_enabled"];
    let mut secured = SecuredDevice {
        id: port.id.to_string(),
        device: device.to_owned(),
        security_group_rules: provider_rules(&addresses),
        fixed_ips: addresses,
        security_groups: port.security_groups.iter().map(ToString::to_string).collect(),
        security_group_source_groups: sources.into_iter().collect(),
        security_group_remote_address_groups: address_groups.into_iter().collect(),
        port_security_enabled: port.port_security_enabled,
        port: serde_json::Map::new(),
    };
    if let Value::Object(mut rest) = rpc::interface::encode(&payload::Port::new(port, domain)) {
        rest.retain(|key, _| !named.contains(&key.as_str()));
        secured.port = rest;
    }
    secured
}

/// What always reaches a port: router advertisements and the answers of DHCP servers.
fn provider_rules(addresses: &[String]) -> Vec<Rule> {
    let ingress = |ethertype: &str, protocol: &str| Rule {
        direction: "ingress".to_owned(),
        ethertype: ethertype.to_owned(),
        protocol: Some(protocol.to_owned()),
        ..Rule::default()
    };
    let dhcp = |ethertype: &str, from: i32, to: i32, prefix: String| Rule {
        source_port_range_min: Some(from),
        source_port_range_max: Some(from),
        port_range_min: Some(to),
        port_range_max: Some(to),
        dest_ip_prefix: Some(prefix),
        ..ingress(ethertype, "udp")
    };
    let (six, four): (Vec<&String>, Vec<&String>) = addresses.iter().partition(|address| address.contains(':'));
    let mut rules = Vec::new();
    if !six.is_empty() {
        rules.push(Rule { source_port_range_min: Some(134), ..ingress("IPv6", "ipv6-icmp") });
    }
    // Servers also answer to all, and to link-local addresses, which a port has before it has any other.
    rules.extend(four.iter().map(|address| dhcp("IPv4", 67, 68, format!("{address}/32"))));
    rules.push(dhcp("IPv4", 67, 68, "255.255.255.255/32".to_owned()));
    rules.extend(six.iter().map(|address| dhcp("IPv6", 547, 546, format!("{address}/128"))));
    rules.push(dhcp("IPv6", 547, 546, "fe80::/64".to_owned()));
    rules
}

#[cfg(test)]
mod tests;
