//! The rules of a router: translation of addresses, the way to metadata, address scopes. Pure.
//!
//! All of them are one table, which takes the place of the former one in one transaction, so no packet ever meets half of
//! them. What is established does not pass through these chains again and keeps its translation.
//!
//! What stays between the networks of a router keeps its addresses, so it is not tracked either ([`Table::untracked`]):
//! following connections costs a quarter of the small packets that go through.
//!
//! The names of maps and chains say what they do, for whoever reads `nft list table inet isospin` in the namespace.
//! Marks are upstream's: the low half says where a packet came from, the high half its address scope.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net};
use rpc::l3::{AddressScopes, Router, RouterPort};
use types::device;

use super::config::{Config, MARK_MASK};
use crate::metadata::{ADDRESS_V4, ADDRESS_V6, PORT};

/// The family and name of the table.
pub const TABLE: (&str, &str) = ("inet", "isospin");
/// Masks of the two halves of a mark.
const INGRESS_MASK: u32 = MARK_MASK;
const SCOPE_MASK: u32 = 0xffff_0000;
/// The mark of networks without an address scope; those of scopes follow.
const NO_SCOPE: u32 = 1024;

/// A table of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What fills the table, without its comment.
    pub body: String,
    /// What the body is known by; it becomes the comment of the table.
    pub digest: String,
    /// Which addresses inside have which outside.
    pub translations: Translations,
}

/// Addresses inside and outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translations {
    /// The fixed address of each floating one.
    pub floating: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// The address of the gateway, which all others get.
    pub gateway: Option<Ipv4Addr>,
}

/// A table being written.
struct Table<'a> {
    text: String,
    router: &'a Router,
    config: &'a Config,
    gateway: Option<Gateway>,
}

#[derive(Clone)]
struct Gateway {
    device: String,
    address: Option<Ipv4Addr>,
}

impl Rules {
    /// The rules of a router with these ports inside. `serves`: of an HA router, this host is the one that serves.
    pub fn new(router: &Router, interfaces: &[&RouterPort], config: &Config, serves: bool) -> Self {
        let gateway = router.gw_port.as_ref().map(|port| Gateway {
            device: device::router_gateway(port.id),
            address: port.fixed_ips.iter().find_map(|ip| as_v4(ip.ip_address)),
        });
        let floating = match &gateway {
            Some(_) => floating(router),
            None => BTreeMap::new(),
        };
        let outside = gateway.as_ref().and_then(|gateway| gateway.address);
        let translations = Translations { floating, gateway: outside };
        let mut table = Table { text: String::new(), router, config, gateway };
        table.maps(&translations.floating);
        let inside = table.inside(&translations, interfaces);
        table.ingress(&inside, interfaces);
        if !serves {
            table.silence(interfaces);
        }
        table.scopes(&translations.floating, interfaces);
        if config.enable_metadata_proxy {
            table.metadata_guard();
        }
        table.destination(&translations.floating);
        table.source(&translations, interfaces);
        let body = table.text;
        Self { digest: format!("isospin {}", sha1_smol::Sha1::from(&body).digest()), body, translations }
    }

    /// One transaction that puts the table in the place of whatever has its name, and does away with `others`, which are
    /// given as family and name.
    pub fn transaction(&self, others: &[String]) -> String {
        // What is to be deleted must be there.
        let table = format!("{} {}", TABLE.0, TABLE.1);
        let mut text = format!("add table {table}\ndelete table {table}\n");
        let _ = write!(text, "table {table} {{\n    comment \"{}\"\n{}}}\n", self.digest, self.body);
        for other in others {
            let _ = writeln!(text, "delete table {other}");
        }
        text
    }
}

fn floating(router: &Router) -> BTreeMap<Ipv4Addr, Ipv4Addr> {
    let pairs = router.floating_ips.iter().filter_map(|ip| {
        let fixed = ip.fixed_ip_address?;
        Some((as_v4(ip.floating_ip_address)?, as_v4(fixed)?))
    });
    pairs.collect()
}

fn as_v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

impl Table<'_> {
    fn line(&mut self, indent: usize, line: impl AsRef<str>) {
        let _ = writeln!(self.text, "{:indent$}{}", "", line.as_ref(), indent = indent * 4);
    }

    fn chain(&mut self, name: &str, hook: &str, rules: &[String]) {
        self.line(1, format!("chain {name} {{"));
        self.line(2, format!("type {hook}; policy accept;"));
        for rule in rules {
            self.line(2, rule);
        }
        self.line(1, "}");
    }

    fn map(&mut self, name: &str, kind: &str, elements: &[String]) {
        self.line(1, format!("map {name} {{"));
        self.line(2, format!("type {kind};"));
        self.line(2, format!("elements = {{ {} }}", elements.join(", ")));
        self.line(1, "}");
    }

    /// Of one floating address to one fixed address and back. Of several that lead to one fixed address, the first is
    /// the one that it gets outside.
    fn maps(&mut self, floating: &BTreeMap<Ipv4Addr, Ipv4Addr>) {
        if floating.is_empty() {
            return;
        }
        let to_fixed: Vec<String> = floating.iter().map(|(outside, inside)| format!("{outside} : {inside}")).collect();
        let mut back = BTreeMap::new();
        for (outside, inside) in floating {
            back.entry(inside).or_insert(outside);
        }
        let to_floating: Vec<String> = back.iter().map(|(inside, outside)| format!("{inside} : {outside}")).collect();
        self.map("fixed_of", "ipv4_addr : ipv4_addr", &to_fixed);
        self.map("floating_of", "ipv4_addr : ipv4_addr", &to_floating);
    }

    /// Several hosts have devices with the same Ethernet addresses; bridges must not learn them by what the kernel of one
    /// that does not serve says of itself.
    fn silence(&mut self, interfaces: &[&RouterPort]) {
        let inside = interfaces.iter().map(|port| device::router_interface(port.id));
        let names: Vec<String> = inside.chain(self.gateway.iter().map(|gateway| gateway.device.clone())).collect();
        let said = "{ mld-listener-report, mld-listener-done, mld2-listener-report, nd-router-solicit }";
        let rules: Vec<String> =
            names.iter().map(|name| format!("oifname \"{name}\" icmpv6 type {said} drop")).collect();
        self.chain("silence", "filter hook output priority filter", &rules);
    }

    /// Subnets between which nothing is ever translated: those that the router is on, with nothing in them that leads
    /// elsewhere. What is sent to a floating address is sent to none of them, nor are the answers to it, for whoever
    /// sends it from inside is seen by an address outside.
    fn inside(&self, translations: &Translations, interfaces: &[&RouterPort]) -> Vec<Ipv4Net> {
        let elsewhere = translations.floating.keys().chain(&translations.gateway).copied().chain(as_v4(ADDRESS_V4));
        let elsewhere: Vec<Ipv4Addr> = elsewhere.collect();
        let routes =
            |net: &Ipv4Net| self.router.routes.iter().any(|route| IpNet::V4(*net).contains(&route.destination));
        let nets = interfaces.iter().flat_map(|port| &port.fixed_ips).filter_map(|ip| {
            let net = Ipv4Net::new(as_v4(ip.ip_address)?, ip.prefixlen).ok()?.trunc();
            Some(net).filter(|net| !routes(net) && !elsewhere.iter().any(|address| net.contains(address)))
        });
        let nets: BTreeSet<Ipv4Net> = nets.collect();
        nets.into_iter().collect()
    }

    /// What needs no connection tracking: packets between those subnets, and IPv6, of which only requests for metadata
    /// are ever translated. Where there are address scopes, the answer of a connection is known by its connection.
    fn untracked(&mut self, inside: &[Ipv4Net], interfaces: &[&RouterPort]) -> Vec<String> {
        if !Marks::new(interfaces.iter().copied().chain(self.router.gw_port.as_ref())).0.is_empty() {
            return Vec::new();
        }
        let mut rules = Vec::new();
        if !inside.is_empty() {
            let nets: Vec<String> = inside.iter().map(ToString::to_string).collect();
            self.line(1, "set inside {");
            self.line(2, "type ipv4_addr;");
            self.line(2, "flags interval; auto-merge;");
            self.line(2, format!("elements = {{ {} }}", nets.join(", ")));
            self.line(1, "}");
            rules.push("ip saddr @inside ip daddr @inside notrack accept".to_owned());
        }
        rules.push(format!("ip6 daddr != {ADDRESS_V6} notrack accept"));
        rules
    }

    /// Notes on each packet what the later chains ask, before its connection is looked up.
    fn ingress(&mut self, inside: &[Ipv4Net], interfaces: &[&RouterPort]) {
        let mark = |mark: u16| format!("meta mark set meta mark & {SCOPE_MASK:#x} | {mark:#x}");
        let mut rules = self.untracked(inside, interfaces);
        if let Some(gateway) = &self.gateway {
            rules.push(format!("iifname \"{}\" {}", gateway.device, mark(self.config.external_ingress_mark)));
        }
        if self.config.enable_metadata_proxy {
            let mark = mark(self.config.metadata_access_mark);
            rules.extend(metadata_requests().map(|request| format!("{request} {mark}")));
        }
        self.chain("ingress", "filter hook prerouting priority raw", &rules);
    }

    /// Networks of different address scopes do not reach each other but by translated addresses. Only the first packet
    /// of a connection is judged; its answers may pass.
    fn scopes(&mut self, floating: &BTreeMap<Ipv4Addr, Ipv4Addr>, interfaces: &[&RouterPort]) {
        let marks = Marks::new(interfaces.iter().copied().chain(self.router.gw_port.as_ref()));
        if marks.0.is_empty() {
            return;
        }
        let mut ingress = Vec::new();
        let mut forward = vec!["ct direction reply accept".to_owned(), "ct status dnat accept".to_owned()];
        if let Some(gateway) = self.gateway.as_ref().filter(|_| !floating.is_empty()) {
            let fixed: BTreeSet<String> = floating.values().map(ToString::to_string).collect();
            let fixed = Vec::from_iter(fixed).join(", ");
            forward.push(format!("oifname \"{}\" ip saddr {{ {fixed} }} accept", gateway.device));
        }
        for port in interfaces.iter().copied().chain(self.router.gw_port.as_ref()) {
            let is_outside = self.router.gw_port.as_ref().is_some_and(|gateway| gateway.id == port.id);
            let name = if is_outside { device::router_gateway(port.id) } else { device::router_interface(port.id) };
            for (family, scope) in families(&port.address_scopes) {
                let mark = marks.of(scope);
                ingress.push(format!(
                    "iifname \"{name}\" meta nfproto {family} meta mark set meta mark & {INGRESS_MASK:#x} | {mark:#x}"
                ));
                // What leaves here by another address than its own belongs to the scope outside.
                let translated = is_outside && family == "ipv4" && self.router.enable_snat;
                if !translated {
                    forward.push(format!(
                        "oifname \"{name}\" meta nfproto {family} meta mark & {SCOPE_MASK:#x} != {mark:#x} drop"
                    ));
                }
            }
        }
        self.chain("scope", "filter hook prerouting priority mangle + 1", &ingress);
        self.chain("forward", "filter hook forward priority filter", &forward);
    }

    /// The port of the proxy is for what was sent to the metadata service and for nothing else.
    fn metadata_guard(&mut self) {
        let (port, mark) = (self.config.metadata_port, self.config.metadata_access_mark);
        let rule = format!("tcp dport {port} meta mark & {INGRESS_MASK:#x} != {mark:#x} drop");
        self.chain("metadata", "filter hook input priority filter", &[rule]);
    }

    fn destination(&mut self, floating: &BTreeMap<Ipv4Addr, Ipv4Addr>) {
        let mut rules = Vec::new();
        if !floating.is_empty() {
            rules.push("dnat ip to ip daddr map @fixed_of".to_owned());
            self.chain("destination_of_own", "nat hook output priority -100", &rules.clone());
        }
        if self.config.enable_metadata_proxy {
            let port = self.config.metadata_port;
            rules.extend(metadata_requests().map(|request| format!("{request} redirect to :{port}")));
        }
        self.chain("destination", "nat hook prerouting priority dstnat", &rules);
    }

    /// As upstream: floating addresses first; what stays inside keeps its address unless it was sent to a floating one,
    /// whose answers must come back this way; the rest gets the gateway's, where that is wanted.
    fn source(&mut self, translations: &Translations, interfaces: &[&RouterPort]) {
        let Some(Gateway { device, address: Some(address) }) = self.gateway.clone() else { return };
        let random = if self.config.use_random_fully { " fully-random" } else { "" };
        let mut rules = vec![format!("oifname != \"{device}\" ct status ! dnat accept")];
        if !translations.floating.is_empty() {
            rules.push(format!("snat ip to ip saddr map @floating_of{random}"));
        }
        let marks = Marks::new(interfaces.iter().copied().chain(self.router.gw_port.as_ref()));
        let scope = self.router.gw_port.as_ref().and_then(|port| port.address_scopes.ipv4.clone());
        if let Some(scope) = scope.filter(|_| self.router.enable_snat) {
            let mark = marks.of(Some(&scope));
            rules.push(format!("oifname \"{device}\" meta mark & {SCOPE_MASK:#x} == {mark:#x} accept"));
        }
        if self.router.enable_snat {
            rules.push(format!("oifname \"{device}\" meta nfproto ipv4 snat ip to {address}{random}"));
        }
        let mark = self.config.external_ingress_mark;
        rules.push(format!(
            "meta mark & {INGRESS_MASK:#x} != {mark:#x} ct status dnat meta nfproto ipv4 snat ip to {address}{random}"
        ));
        self.chain("source", "nat hook postrouting priority srcnat", &rules);
    }
}

/// What instances send to the metadata service, by both families.
fn metadata_requests() -> impl Iterator<Item = String> {
    let request = |address: IpAddr| {
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        let prefix = device::ROUTER_INTERFACE_PREFIX;
        format!("iifname \"{prefix}*\" {family} daddr {address} tcp dport {PORT}")
    };
    [ADDRESS_V4, ADDRESS_V6].into_iter().map(request)
}

fn families(scopes: &AddressScopes) -> [(&'static str, Option<&str>); 2] {
    [("ipv4", scopes.ipv4.as_deref()), ("ipv6", scopes.ipv6.as_deref())]
}

/// A mark for each address scope of a router. None are needed where no network has one.
struct Marks(BTreeSet<String>);

impl Marks {
    fn new<'a>(ports: impl Iterator<Item = &'a RouterPort>) -> Self {
        let scopes = ports.flat_map(|port| [port.address_scopes.ipv4.clone(), port.address_scopes.ipv6.clone()]);
        Self(scopes.flatten().collect())
    }

    fn of(&self, scope: Option<&str>) -> u32 {
        let place = scope.and_then(|scope| self.0.iter().position(|known| known == scope));
        let id = place.map_or(NO_SCOPE, |place| NO_SCOPE + 1 + place as u32);
        id << 16
    }
}
