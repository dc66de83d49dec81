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
            // It holds the families for which rules of the ports that were asked about name the group. Rules of other
            // ports may do so for the other one, of which nothing is said then.
            for family in Family::BOTH {
                if let Some(list) = by_type.get(family.ethertype()) {
                    self.members.insert((id.clone(), family), members(list, family));
                }
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

    /// Devices by which the server can be asked about these groups, as few as will do: its answer about a device holds the
    /// rules of the device's groups, and members for the families for which these rules name them.
    pub(super) fn devices_for(&self, groups: &[String]) -> BTreeSet<String> {
        let mut devices: BTreeSet<String> = BTreeSet::new();
        for group in groups {
            let is_in = |port: &Port| port.groups.contains(group);
            let names = |port: &Port, family| {
                port.groups.iter().filter_map(|id| self.groups.get(id)).any(|own| own.names_for(group, family))
            };
            let [v4, v6] = Family::BOTH.map(|family| move |port: &Port| names(port, family));
            self.cover(&mut devices, is_in);
            self.cover(&mut devices, v4);
            self.cover(&mut devices, v6);
        }
        devices
    }

    /// Adds the device of a port of a kind, if there is one and none is among them.
    fn cover(&self, devices: &mut BTreeSet<String>, is_one: impl Fn(&Port) -> bool) {
        if devices.iter().any(|device| self.ports.get(device).is_some_and(&is_one)) {
            return;
        }
        let found = self.ports.iter().find(|(_, port)| port.mode == Mode::Filtered && is_one(port));
        devices.extend(found.map(|(device, _)| device.clone()));
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

    /// Ports that are new here. What a neighbour has asked them where they were before, this host may have seen answered,
    /// although it is not allowed by their rules any more.
    pub(super) fn arrived<'p>(&'p self, old: &Self) -> Vec<(&'p String, &'p Port)> {
        self.ports.iter().filter(|(device, _)| !old.ports.contains_key(*device)).collect()
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
    /// One of its rules for a family has that group as the other side.
    fn names_for(&self, group: &str, family: Family) -> bool {
        self.rules.iter().any(|rule| rule.family == family && matches!(&rule.remote, Remote::Group(id) if id == group))
    }

    /// One of its rules has that group as the other side.
    fn names(&self, group: &str) -> bool {
        self.rules.iter().any(|rule| matches!(&rule.remote, Remote::Group(id) if id == group))
    }
}

#[cfg(test)]
mod tests {
    use rpc::security_group::Member;

    use super::*;

    fn port(groups: &[&str]) -> Port {
        Port {
            bridge: "brq".to_owned(),
            mode: Mode::Filtered,
            mac: types::Mac([0; 6]),
            addresses: BTreeSet::new(),
            senders: Vec::new(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            provider: Vec::new(),
        }
    }

    fn from(group: &str, family: Family) -> Rule {
        Rule {
            direction: Direction::Ingress,
            family,
            protocol: None,
            source_ports: None,
            ports: None,
            icmp: None,
            remote: Remote::Group(group.to_owned()),
            local: None,
        }
    }

    #[test]
    fn a_group_is_asked_about_by_all_that_its_answers_have_to_hold() {
        let mut policy = Policy::default();
        let group = |rules: &[Rule]| Group { stateless: false, rules: rules.iter().cloned().collect() };
        policy.groups = [
            ("web".to_owned(), group(&[from("web", Family::V6)])),
            ("data".to_owned(), group(&[from("web", Family::V4), from("web", Family::V6)])),
            ("other".to_owned(), group(&[])),
        ]
        .into();
        policy.ports = [("a", &["web"][..]), ("b", &["other"]), ("c", &["data"]), ("d", &["data", "web"])]
            .map(|(device, groups)| (device.to_owned(), port(groups)))
            .into();
        let asked = |groups: &[&str]| {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            policy.devices_for(&groups).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(asked(&["web"]), ["a", "c"], "its rules and its members of both families");
        assert_eq!(asked(&["other"]), ["b"]);
        assert_eq!(asked(&["data"]), ["c"]);
        assert_eq!(asked(&["unknown"]), [""; 0]);
    }

    #[test]
    fn an_answer_about_one_family_says_nothing_of_the_other() {
        let answer = |by_type: &[(&str, &str)]| {
            let member =
                |(kind, address): &(&str, &str)| ((*kind).to_owned(), vec![Member::Address((*address).to_owned())]);
            let members = by_type.iter().map(member).collect();
            SecurityGroupInfo { sg_member_ips: [("g".to_owned(), members)].into(), ..Default::default() }
        };
        let mut policy = Policy::default();
        policy.take_groups(&answer(&[("IPv4", "10.0.0.1"), ("IPv6", "fd00::1")]));
        policy.take_groups(&answer(&[("IPv6", "fd00::2")]));
        let of = |family| policy.members[&("g".to_owned(), family)].iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((of(Family::V4), of(Family::V6)), (vec!["10.0.0.1/32".to_owned()], vec!["fd00::2/128".to_owned()]));
    }
}
