//! All that the server has said: ports, groups and their members; and what follows from a change of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use rpc::{l2::PortDetails, security_group::SecurityGroupInfo};

use super::model::{Direction, Family, Flow, Group, Mode, Port, Remote, Rule, members};

/// Members of a group that are of one family.
pub(super) type SetKey = (String, Family);

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Policy {
    /// By the name of their tap.
    pub ports: BTreeMap<String, Port>,
    pub groups: BTreeMap<String, Group>,
    pub members: BTreeMap<SetKey, BTreeSet<IpNet>>,
}

impl Policy {
    /// The server's answer about groups.
    pub(super) fn take_groups(&mut self, info: &SecurityGroupInfo) {
        for (id, rules) in &info.security_groups {
            let stateless = rules.iter().any(|rule| rule.stateful == Some(false));
            let rules = rules.iter().filter_map(Rule::read).collect();
            self.groups.insert(id.clone(), Group { stateless, rules });
        }
        for (id, by_type) in &info.sg_member_ips {
            for family in Family::BOTH {
                let list = by_type.get(family.ethertype()).map_or(&[][..], Vec::as_slice);
                self.members.insert((id.clone(), family), members(list, family));
            }
        }
    }

    /// The server's answer about a port; `bridge` is that of its network.
    pub(super) fn take_port(&mut self, device: &str, bridge: &str, details: &PortDetails, info: &SecurityGroupInfo) {
        let secured = info.devices.get(&details.port_id.to_string());
        self.ports.insert(device.to_owned(), Port::new(bridge, details, secured));
    }

    /// Forgets groups and members that no port refers to any more.
    pub(super) fn tidy(&mut self) {
        let used: BTreeSet<&String> = self.ports.values().flat_map(|port| &port.groups).collect();
        let used: BTreeSet<String> = used.into_iter().cloned().collect();
        self.groups.retain(|id, _| used.contains(id));
        let named = self.used_sets();
        self.members.retain(|key, _| named.contains(key));
    }

    /// The sets that rules of the groups of ports refer to, the empty ones too: a set that stands before it has members
    /// needs no change of rules when it gets one.
    pub(super) fn used_sets(&self) -> BTreeSet<SetKey> {
        let rules = self.groups.values().flat_map(|group| &group.rules);
        let named = rules.filter_map(|rule| match &rule.remote {
            Remote::Group(id) => Some((id.clone(), rule.family)),
            _ => None,
        });
        named.collect()
    }

    /// Whether connections of the port are not tracked.
    pub(super) fn is_stateless(&self, port: &Port) -> bool {
        port.groups.iter().filter_map(|id| self.groups.get(id)).any(|group| group.stateless)
    }

    /// What may reach a port, or what it may reach, those that hold for every port first.
    pub(super) fn rules<'p>(
        &'p self,
        port: &'p Port,
        direction: Direction,
        family: Family,
    ) -> impl Iterator<Item = &'p Rule> {
        let of_groups = port.groups.iter().filter_map(|id| self.groups.get(id)).flat_map(|group| &group.rules);
        port.provider.iter().chain(of_groups).filter(move |rule| rule.direction == direction && rule.family == family)
    }

    /// A device by which the server can be asked about each of these groups, as few as will do.
    pub(super) fn devices_for(&self, groups: &[String]) -> BTreeSet<String> {
        let mut devices: BTreeSet<String> = BTreeSet::new();
        for group in groups {
            let knows = |port: &Port| {
                port.groups.contains(group)
                    || port.groups.iter().filter_map(|id| self.groups.get(id)).any(|own| own.names(group))
            };
            if devices.iter().any(|device| self.ports.get(device).is_some_and(knows)) {
                continue;
            }
            let found = self.ports.iter().find(|(_, port)| port.mode == Mode::Filtered && knows(port));
            devices.extend(found.map(|(device, _)| device.clone()));
        }
        devices
    }

    /// Whether a port lets a connection begin.
    pub(super) fn allows(&self, port: &Port, direction: Direction, flow: &Flow) -> bool {
        if matches!(port.mode, Mode::Open | Mode::Trusted) {
            return true;
        }
        let family = Family::of(flow.source);
        let is_dhcp = flow.protocol == 17 && matches!((flow.source_port, flow.destination_port), (68, 67) | (546, 547));
        if direction == Direction::Egress && (is_dhcp || flow.protocol == 58) {
            return true;
        }
        let is_member = |group: &str, address: IpAddr| {
            let set = self.members.get(&(group.to_owned(), family));
            set.is_some_and(|set| set.contains(&IpNet::from(address)) || set.iter().any(|net| net.contains(&address)))
        };
        self.rules(port, direction, family).any(|rule| rule.allows(flow, is_member))
    }

    /// Ports that allow less than they did, or are no longer what they were: old state of connections may have to go.
    pub(super) fn shrunk<'p>(&self, old: &'p Self) -> Vec<(&'p String, &'p Port)> {
        let fewer_rules: BTreeSet<&String> = old
            .groups
            .iter()
            .filter(|(id, group)| self.groups.get(*id).is_some_and(|new| !group.rules.is_subset(&new.rules)))
            .map(|(id, _)| id)
            .collect();
        let fewer_members: BTreeSet<&String> = old
            .members
            .iter()
            .filter(|(key, set)| self.members.get(*key).is_some_and(|new| !set.is_subset(new)))
            .map(|((id, _), _)| id)
            .collect();
        let shrunk = |port: &Port| {
            port.groups.iter().any(|id| {
                fewer_rules.contains(id)
                    || old.groups.get(id).is_some_and(|group| fewer_members.iter().any(|set| group.names(set)))
            })
        };
        let changed = |device: &String, port: &Port| self.ports.get(device) != Some(port);
        old.ports.iter().filter(|(device, port)| changed(device, port) || shrunk(port)).collect()
    }
}

impl Group {
    /// One of its rules has that group as the other side.
    fn names(&self, group: &str) -> bool {
        self.rules.iter().any(|rule| matches!(&rule.remote, Remote::Group(id) if id == group))
    }
}
