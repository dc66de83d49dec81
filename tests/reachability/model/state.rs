//! What the API says, as far as it decides who reaches whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde_json::Value;
use testkit::http::{Client, id, text};

/// Everything that was read.
#[derive(Debug, Default, Clone)]
pub(crate) struct State {
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) ports: BTreeMap<String, Port>,
    pub(crate) routers: BTreeMap<String, Router>,
    pub(crate) floating: Vec<Floating>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) address_groups: BTreeMap<String, Vec<IpNet>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Subnet {
    pub(crate) network: String,
    pub(crate) cidr: IpNet,
    pub(crate) gateway: Option<IpAddr>,
}

#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) network: String,
    pub(crate) mac: String,
    pub(crate) owner: String,
    pub(crate) device: String,
    pub(crate) up: bool,
    /// Subnets and addresses.
    pub(crate) fixed: Vec<(String, IpAddr)>,
    /// Prefixes and MACs that the port may use besides.
    pub(crate) pairs: Vec<(IpNet, String)>,
    pub(crate) groups: Vec<String>,
    pub(crate) security: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Router {
    pub(crate) up: bool,
    pub(crate) snat: bool,
    /// The external network and the addresses on it.
    pub(crate) external: Option<(String, Vec<(String, IpAddr)>)>,
    pub(crate) routes: Vec<(IpNet, IpAddr)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Floating {
    pub(crate) address: IpAddr,
    /// The router that carries it and the address behind it, while it is associated.
    pub(crate) to: Option<(String, IpAddr)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) stateful: bool,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) ingress: bool,
    pub(crate) v6: bool,
    pub(crate) protocol: Option<String>,
    pub(crate) ports: (Option<u16>, Option<u16>),
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone)]
pub(crate) enum Remote {
    Anybody,
    Prefix(IpNet),
    Group(String),
    AddressGroup(String),
}

impl State {
    /// Reads it. What the service does not serve is as if there were none.
    pub(crate) fn read(api: &Client) -> Self {
        let list = |collection: &str| api.list(collection, "").unwrap_or_default();
        Self::from_lists(list)
    }

    pub(crate) fn from_lists(list: impl Fn(&str) -> Vec<Value>) -> Self {
        let by_id = |value: &Value| id(value);
        // How many hosts a router has, and by what they speak with each other, is nothing to who reaches whom.
        let is_of_hosts = |value: &&Value| value["device_owner"] == "network:router_ha_interface";
        Self {
            subnets: list("subnets").iter().map(|value| (by_id(value), subnet(value))).collect(),
            ports: list("ports")
                .iter()
                .filter(|value| !is_of_hosts(value))
                .map(|value| (by_id(value), port(value)))
                .collect(),
            routers: list("routers").iter().map(|value| (by_id(value), router(value))).collect(),
            floating: list("floatingips").iter().map(floating).collect(),
            groups: list("security-groups").iter().map(|value| (by_id(value), group(value))).collect(),
            address_groups: list("address-groups").iter().map(|value| (by_id(value), prefixes(value))).collect(),
        }
    }

    /// The addresses of all ports in a group, which a rule with this remote group means.
    pub(crate) fn members(&self, group: &str) -> Vec<IpNet> {
        let members = self.ports.values().filter(|port| port.groups.iter().any(|of| of == group));
        let addresses = |port: &Port| {
            let fixed = port.fixed.iter().map(|(_, address)| IpNet::from(*address));
            fixed.chain(port.pairs.iter().map(|(prefix, _)| *prefix)).collect::<Vec<_>>()
        };
        members.flat_map(addresses).collect()
    }

    /// A router's own addresses: network, subnet, address.
    pub(crate) fn interfaces(&self, router: &str) -> Vec<(&str, &str, IpAddr)> {
        const OWNERS: [&str; 4] = [
            "network:router_interface",
            "network:ha_router_replicated_interface",
            "network:router_interface_distributed",
            "network:router_gateway",
        ];
        let ports = self.ports.values();
        let ports = ports.filter(|port| port.device == router && OWNERS.contains(&port.owner.as_str()) && port.up);
        let addresses = |port: &'_ Port| {
            let fixed = port.fixed.clone();
            fixed.into_iter()
        };
        let mut found = Vec::new();
        for port in ports {
            for (subnet, address) in addresses(port) {
                if let Some((subnet, known)) = self.subnets.get_key_value(&subnet) {
                    found.push((known.network.as_str(), subnet.as_str(), address));
                }
            }
        }
        found
    }

    /// The subnets of a network.
    pub(crate) fn on(&self, network: &str) -> impl Iterator<Item = &Subnet> {
        self.subnets.values().filter(move |subnet| subnet.network == network)
    }

    /// Every address that anybody has, for a list of whom to ask.
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        let fixed = self.ports.values().flat_map(|port| port.fixed.iter().map(|(_, address)| *address));
        fixed.chain(self.floating.iter().map(|floating| floating.address)).collect()
    }
}

fn subnet(value: &Value) -> Subnet {
    Subnet {
        network: text(value, "network_id"),
        cidr: text(value, "cidr").parse().unwrap(),
        gateway: text(value, "gateway_ip").parse().ok(),
    }
}

fn port(value: &Value) -> Port {
    let mac = text(value, "mac_address");
    let pair = |value: &Value| {
        let given = text(value, "mac_address");
        (prefix(&text(value, "ip_address")), if given.is_empty() { mac.clone() } else { given })
    };
    Port {
        network: text(value, "network_id"),
        owner: text(value, "device_owner"),
        device: text(value, "device_id"),
        up: value["admin_state_up"] == true,
        fixed: fixed(&value["fixed_ips"]),
        pairs: array(&value["allowed_address_pairs"]).iter().map(pair).collect(),
        groups: array(&value["security_groups"]).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        security: value["port_security_enabled"] != false,
        mac: mac.clone(),
    }
}

fn router(value: &Value) -> Router {
    let gateway = &value["external_gateway_info"];
    let route = |value: &Value| (prefix(&text(value, "destination")), text(value, "nexthop").parse().unwrap());
    Router {
        up: value["admin_state_up"] == true,
        snat: gateway["enable_snat"] == true,
        external: gateway.is_object().then(|| (text(gateway, "network_id"), fixed(&gateway["external_fixed_ips"]))),
        routes: array(&value["routes"]).iter().map(route).collect(),
    }
}

fn floating(value: &Value) -> Floating {
    let behind = text(value, "fixed_ip_address").parse().ok();
    Floating {
        address: text(value, "floating_ip_address").parse().unwrap(),
        to: behind.map(|address| (text(value, "router_id"), address)),
    }
}

fn group(value: &Value) -> Group {
    Group {
        stateful: value["stateful"] != false,
        rules: array(&value["security_group_rules"]).iter().map(rule).collect(),
    }
}

fn rule(value: &Value) -> Rule {
    let number = |name: &str| value[name].as_u64().map(|number| u16::try_from(number).unwrap());
    let given = |name: &str| Some(text(value, name)).filter(|text| !text.is_empty());
    let remote = match (given("remote_ip_prefix"), given("remote_group_id"), given("remote_address_group_id")) {
        (Some(cidr), ..) => Remote::Prefix(prefix(&cidr)),
        (_, Some(group), _) => Remote::Group(group),
        (.., Some(group)) => Remote::AddressGroup(group),
        _ => Remote::Anybody,
    };
    Rule {
        ingress: value["direction"] == "ingress",
        v6: value["ethertype"] == "IPv6",
        protocol: given("protocol").filter(|protocol| protocol != "any" && protocol != "0"),
        ports: (number("port_range_min"), number("port_range_max")),
        remote,
    }
}

fn prefixes(value: &Value) -> Vec<IpNet> {
    array(&value["addresses"]).iter().filter_map(Value::as_str).map(prefix).collect()
}

fn fixed(value: &Value) -> Vec<(String, IpAddr)> {
    array(value).iter().map(|one| (text(one, "subnet_id"), text(one, "ip_address").parse().unwrap())).collect()
}

/// A prefix, or an address alone.
fn prefix(text: &str) -> IpNet {
    let net: Result<IpNet, _> = text.parse();
    net.map(|net| net.trunc()).unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
