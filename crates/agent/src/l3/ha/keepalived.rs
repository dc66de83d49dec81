//! The file and the command line of a router's keepalived. Pure.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4},
    path::PathBuf,
};

use ipnet::{IpNet, Ipv4Net};
use rpc::l3::{Router, RouterPort};
use types::{Mac, RouterId, device};

use super::{
    check::{Check, IN_A_ROW},
    handover::Handover,
};
use crate::{
    l3::{
        config::{Config, Ha},
        desired::{Device, Hop},
    },
    metadata::Secret,
};

/// Its name, and what it calls itself.
pub const PROGRAM: &str = "keepalived";
/// Of equals, the one with the highest address serves; once it serves, it stays.
const PRIORITY: u8 = 50;
/// Seconds after which a new primary announces its addresses once more.
const GARP_DELAY: u32 = 60;
/// Where primary addresses are from, and what of it others have: metadata, and links of distributed routers.
const PRIMARY: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);
const TAKEN: [Ipv4Net; 2] = [
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 169, 254), 32),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 64, 0), 18),
];

/// A keepalived that a router shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepalived {
    /// What it does, as its file says.
    pub text: String,
    /// Directory of its files.
    pub directory: PathBuf,
    /// Where it notes its pid, and that of its child that speaks VRRP.
    pub pid_files: [PathBuf; 2],
    /// keepalived and its arguments.
    pub command: Vec<String>,
    /// The device on which the hosts of the router speak with each other.
    pub device: String,
    /// The address on it that the serving host has.
    pub primary: IpNet,
    /// The other hosts can be reached, so it may start.
    pub ready: bool,
    /// How it finds out whether the way out works.
    pub check: Check,
    /// How the hosts tell each other of connections.
    pub handover: Option<Handover>,
}

impl Keepalived {
    /// The keepalived of a router with these devices and routes, and this port among its hosts.
    pub fn new(
        router: &Router,
        port: &RouterPort,
        devices: &[Device],
        routes: &BTreeMap<IpNet, Vec<Hop>>,
        config: &Config,
    ) -> Self {
        let device = device::router_ha(port.id);
        let primary = primary_address(router.ha_vr_id, port);
        let directory = config.ha.directory(router.id);
        let pid_files = config.ha.pid_files(router.id);
        let argument = |path: &PathBuf| path.display().to_string();
        let [pid, child] = &pid_files;
        let file = argument(&directory.join(FILE));
        let command = [PROGRAM, "-P", "-f", &file, "-p", &argument(pid), "-r", &argument(child)];
        let interval = config.ha.vrrp_health_check_interval;
        let check = Check::new(router.ha_vr_id, &directory, (&primary, &device), routes, interval);
        Self {
            text: text(router, &device, primary, devices, routes, &check, &config.ha),
            check,
            command: command.map(str::to_owned).to_vec(),
            directory,
            pid_files,
            device,
            primary,
            ready: port.status == ACTIVE,
            handover: handover(router, port, &config.ha),
        }
    }

    /// Its file.
    pub fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }
}

/// Name of its file.
const FILE: &str = "keepalived.conf";
/// What the server calls a port that is wired.
const ACTIVE: &str = "ACTIVE";

impl Ha {
    /// Directory of the files of a router.
    pub fn directory(&self, router: RouterId) -> PathBuf {
        self.confs.join(router.to_string())
    }

    /// Where keepalived and its child note their pids.
    pub fn pid_files(&self, router: RouterId) -> [PathBuf; 2] {
        ["", "-vrrp"].map(|child| self.confs.join(format!("{router}.pid.keepalived{child}")))
    }

    /// The file that says whether this host serves a router.
    pub fn state_file(&self, router: RouterId) -> PathBuf {
        self.directory(router).join("state")
    }
}

/// Without a password, the hosts sign with what those on other networks do not know of the router.
fn handover(router: &Router, port: &RouterPort, ha: &Ha) -> Option<Handover> {
    let connections = ha.connections.as_ref()?;
    let own = port.fixed_ips.iter().find_map(|ip| match ip.ip_address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })?;
    let password = ha.vrrp_auth.as_ref().map(|(_, password)| String::from_utf8_lossy(password.reveal()));
    let port = connections.group.port().saturating_add(router.ha_vr_id.into());
    Some(Handover {
        own,
        group: SocketAddrV4::new(*connections.group.ip(), port),
        key: Secret::new(format!("{} {}", router.id, password.unwrap_or_default())),
        most: connections.most,
    })
}

/// The address of the router's number in the first free /24.
fn primary_address(number: u8, port: &RouterPort) -> IpNet {
    let own = port.fixed_ips.iter().filter_map(|ip| match IpNet::new(ip.ip_address, ip.prefixlen) {
        Ok(IpNet::V4(net)) => Some(net.trunc()),
        _ => None,
    });
    let taken: Vec<Ipv4Net> = TAKEN.into_iter().chain(own).collect();
    let free =
        |net: &Ipv4Net| !taken.iter().any(|other| other.contains(&net.network()) || net.contains(&other.network()));
    let net = PRIMARY.subnets(24).ok().and_then(|mut nets| nets.find(free)).unwrap_or(PRIMARY);
    let [a, b, c, _] = net.network().octets();
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, number), 24))
}

fn text(
    router: &Router,
    device: &str,
    primary: IpNet,
    devices: &[Device],
    routes: &BTreeMap<IpNet, Vec<Hop>>,
    check: &Check,
    ha: &Ha,
) -> String {
    let mut text = String::new();
    let mut line = |indent: usize, line: String| {
        let _ = writeln!(text, "{:indent$}{line}", "", indent = indent * 4);
    };
    let priority = router.priority.unwrap_or(PRIORITY);
    line(0, "global_defs {".to_owned());
    line(1, "notification_email_from neutron@openstack.local".to_owned());
    line(1, "router_id neutron".to_owned());
    if check.text.is_some() {
        // Or keepalived looks for an account of another name.
        line(1, "script_user root".to_owned());
    }
    line(0, "}".to_owned());
    if check.text.is_some() {
        line(0, format!("vrrp_script {} {{", check.name));
        line(1, format!("script \"{}\"", check.file.display()));
        line(1, format!("interval {}", check.interval));
        line(1, format!("fall {IN_A_ROW}"));
        line(1, format!("rise {IN_A_ROW}"));
        line(0, "}".to_owned());
    }
    line(0, format!("vrrp_instance VR_{} {{", router.ha_vr_id));
    line(1, "state BACKUP".to_owned());
    line(1, format!("interface {device}"));
    line(1, format!("virtual_router_id {}", router.ha_vr_id));
    line(1, format!("priority {priority}"));
    line(1, format!("garp_master_delay {GARP_DELAY}"));
    line(1, "nopreempt".to_owned());
    line(1, format!("advert_int {}", ha.vrrp_advert_int));
    if let Some((kind, password)) = &ha.vrrp_auth {
        line(1, "authentication {".to_owned());
        line(2, format!("auth_type {kind}"));
        line(2, format!("auth_pass {}", String::from_utf8_lossy(password.reveal())));
        line(1, "}".to_owned());
    }
    line(1, "track_interface {".to_owned());
    line(2, device.to_owned());
    line(1, "}".to_owned());
    line(1, "virtual_ipaddress {".to_owned());
    line(2, format!("{primary} dev {device}"));
    line(1, "}".to_owned());
    line(1, "virtual_ipaddress_excluded {".to_owned());
    addresses(devices).into_iter().for_each(|address| line(2, address));
    line(1, "}".to_owned());
    line(1, "virtual_routes {".to_owned());
    self::routes(routes).into_iter().for_each(|route| line(2, route));
    line(1, "}".to_owned());
    if check.text.is_some() {
        line(1, "track_script {".to_owned());
        line(2, check.name.clone());
        line(1, "}".to_owned());
    }
    line(0, "}".to_owned());
    text.truncate(text.trim_end().len());
    text
}

/// All addresses of the devices, those of the link among them: the kernel makes none, or all hosts would have them.
fn addresses(devices: &[Device]) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for device in devices {
        let name = &device.name;
        addresses.extend(device.addresses.iter().map(|address| format!("{address} dev {name} no_track")));
        addresses.push(format!("{}/64 dev {name} scope link no_track", link_local(device.mac)));
    }
    addresses.sort();
    addresses
}

/// What is on the link comes before what leads by way of it.
fn routes(routes: &BTreeMap<IpNet, Vec<Hop>>) -> Vec<String> {
    let on_link = |hops: &[Hop]| hops.iter().all(|hop| hop.gateway.is_none());
    let mut sorted: Vec<(&IpNet, &Vec<Hop>)> = routes.iter().collect();
    sorted.sort_by_key(|(_, hops)| !on_link(hops));
    let route = |(destination, hops): (&IpNet, &Vec<Hop>)| {
        let mut text = destination.to_string();
        match &hops[..] {
            [Hop { gateway: None, device }] => {
                let _ = write!(text, " dev {device} scope link");
            }
            [Hop { gateway: Some(gateway), device }] => {
                let _ = write!(text, " via {gateway} dev {device}");
            }
            hops => {
                for hop in hops {
                    let gateway = hop.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
                    let _ = write!(text, " nexthop{gateway} dev {}", hop.device);
                }
            }
        }
        text + " no_track protocol static"
    };
    sorted.into_iter().map(route).collect()
}

/// The address that IPv6 makes of an Ethernet address for the link.
fn link_local(mac: Mac) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0;
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f)))
}
