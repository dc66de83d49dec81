//! Rules and members for firewalls.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use db::{list::ListQuery, member};
use oslo::{context::Context, messaging::envelope};
use rpc::{
    l2::Device,
    payload,
    security_group::{Callee, Member, Rule, SecuredDevice, SecurityGroupInfo},
};
use serde_json::Value;
use types::{
    PortId, SecurityGroupId,
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
            let rules = device.security_groups.iter().filter_map(|group| info.security_groups.get(group)).flatten();
            let expanded: Vec<Rule> = rules.flat_map(|rule| expand(rule, &info.sg_member_ips)).collect();
            device.security_group_rules.extend(expanded);
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

    /// The addresses of the groups that the rules name as the other side.
    async fn members(
        &self,
        groups: &HashMap<SecurityGroupId, SecurityGroup>,
        with_mac: bool,
    ) -> Result<BTreeMap<String, BTreeMap<String, Vec<Member>>>> {
        let rules = groups.values().flat_map(|group| &group.security_group_rules);
        let remote: BTreeSet<SecurityGroupId> = rules.filter_map(|rule| rule.remote_group_id).collect();
        let remote: Vec<SecurityGroupId> = remote.into_iter().collect();
        let empty = || BTreeMap::from(["IPv4", "IPv6"].map(|ethertype| (ethertype.to_owned(), Vec::new())));
        let mut members: BTreeMap<_, BTreeMap<_, Vec<Member>>> =
            remote.iter().map(|group| (group.to_string(), empty())).collect();
        let mut conn = self.ctx.db().reader().await?;
        for found in member::members(&mut conn, &remote).await? {
            let ethertype = ethertype(&found.ip_address);
            let member = match with_mac {
                true => Member::Pair(found.ip_address, found.mac_address.map(|mac| mac.to_string())),
                false => Member::Address(found.ip_address),
            };
            let of_group = members.entry(found.group.to_string()).or_insert_with(empty);
            of_group.entry(ethertype.to_owned()).or_default().push(member);
        }
        Ok(members)
    }
}

fn ethertype(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

fn rule(rule: &SecurityGroupRule, stateful: bool) -> Rule {
    let prefix = rule.remote_ip_prefix.clone();
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
        remote_address_group_id: rule.remote_address_group_id.clone(),
        stateful: Some(stateful),
        ..Rule::default()
    }
}

/// A rule whose other side is a group, as one rule for each member.
fn expand(rule: &Rule, members: &BTreeMap<String, BTreeMap<String, Vec<Member>>>) -> Vec<Rule> {
    let Some(group) = &rule.remote_group_id else { return vec![rule.clone()] };
    let members = members.get(group).and_then(|by_type| by_type.get(&rule.ethertype)).map_or(&[][..], Vec::as_slice);
    let for_member = |member: &Member| {
        let (Member::Pair(address, _) | Member::Address(address)) = member;
        let full = if address.contains('/') {
            ""
        } else if address.contains(':') {
            "/128"
        } else {
            "/32"
        };
        let prefix = Some(format!("{address}{full}"));
        let mut rule = Rule { remote_group_id: None, ..rule.clone() };
        match rule.direction.as_str() {
            "ingress" => rule.source_ip_prefix = prefix,
            _ => rule.dest_ip_prefix = prefix,
        }
        rule
    };
    members.iter().map(for_member).collect()
}

fn secured(device: &str, port: Port, groups: &HashMap<SecurityGroupId, SecurityGroup>, domain: &str) -> SecuredDevice {
    let addresses: Vec<String> = port.fixed_ips.iter().map(|fixed| fixed.ip_address.to_string()).collect();
    let rules = port.security_groups.iter().filter_map(|id| groups.get(id)).flat_map(|g| &g.security_group_rules);
    let sources: BTreeSet<String> = rules.filter_map(|rule| rule.remote_group_id).map(|id| id.to_string()).collect();
    let named = ["id", "fixed_ips", "security_groups", "port_security_enabled"];
    let mut secured = SecuredDevice {
        id: port.id.to_string(),
        device: device.to_owned(),
        security_group_rules: provider_rules(&addresses),
        fixed_ips: addresses,
        security_groups: port.security_groups.iter().map(ToString::to_string).collect(),
        security_group_source_groups: sources.into_iter().collect(),
        security_group_remote_address_groups: Vec::new(),
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
    rules.extend(four.iter().map(|address| dhcp("IPv4", 67, 68, format!("{address}/32"))));
    if !four.is_empty() {
        rules.push(dhcp("IPv4", 67, 68, "255.255.255.255/32".to_owned()));
    }
    rules.extend(six.iter().map(|address| dhcp("IPv6", 547, 546, format!("{address}/128"))));
    if !six.is_empty() {
        rules.push(dhcp("IPv6", 547, 546, "fe80::/64".to_owned()));
    }
    rules
}
