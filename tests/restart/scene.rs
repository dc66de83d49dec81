//! A host with networks, routers and ports, made by calls of the API.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use kernel::Namespace;
use serde_json::{Value, json};
use testkit::{
    deployment::Room,
    host::{Host, Instance, NAME, run, tap},
    http::{id, text},
};

/// How long all together may take to come true, on a machine busy with other tests.
const PATIENCE: Duration = Duration::from_secs(180);

/// How much there is. Each router joins its share of the networks and has a way out and a floating IP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) networks: usize,
    pub(super) ports: usize,
    pub(super) routers: usize,
}

/// The host, and who talks on it: two on one network, one on another that a router joins to it, and one outside.
pub(super) struct Scene {
    pub(super) host: Host,
    pub(super) networks: Vec<String>,
    pub(super) routers: Vec<String>,
    pub(super) one: Talker,
    pub(super) two: Talker,
    pub(super) far: Talker,
    pub(super) outside: Talker,
    /// The floating IP of `one`.
    pub(super) floating: String,
    // The other ends of cards that nobody talks by.
    _crowd: Room,
}

/// Who talks, at which address.
pub(super) struct Talker {
    pub(super) instance: Instance,
    pub(super) address: String,
}

impl Scene {
    /// Makes everything, and waits until it is ACTIVE.
    pub(super) fn build(program: &str, configuration: &str, size: Size) -> Result<Self> {
        let host = Host::start(program, configuration)?;
        let client = host.client();
        let crowd = Room::start()?;
        run(&crowd.namespace(), "sysctl", "-q -w net.ipv6.conf.default.disable_ipv6=1")?;
        let public = network(&host, "203.0.112.0/20", &json!({"router:external": true}), false)?;
        let mut networks = Vec::new();
        for number in 0..size.networks {
            networks.push(network(&host, &cidr(number), &json!({}), true)?);
        }
        let outside = plug(&host, "outside", &port(&host, &public.0, 1)?[0])?;
        open(&host)?;
        let mut ports = Vec::new();
        for (network, _) in &networks {
            ports.push(port(&host, network, size.ports / size.networks)?);
        }
        let share = size.networks / size.routers;
        let mut routers = Vec::new();
        let mut floating = Vec::new();
        for (subnets, ports) in networks.chunks(share).zip(ports.chunks(share)) {
            let router = router(&host, &public.0, subnets)?;
            let wish = json!({"floating_network_id": public.0, "port_id": id(&ports[0][0])});
            floating.push(text(&client.create("floatingips", wish)?, "floating_ip_address"));
            routers.push(router);
        }
        let one = plug(&host, "one", &ports[0][0])?;
        let two = plug(&host, "two", &ports[0][1])?;
        let far = plug(&host, "far", &ports[1][0])?;
        let talk = [&one, &two, &far].map(|talker| talker.instance.tap.clone());
        let idle = ports.iter().flatten().filter(|port| !talk.contains(&tap(port)));
        fill(&host, &crowd.namespace(), &idle.collect::<Vec<_>>())?;
        let networks = networks.into_iter().chain([public]).map(|(network, _)| network).collect();
        let floating = floating.swap_remove(0);
        let scene = Self { host, networks, routers, one, two, far, outside, floating, _crowd: crowd };
        scene.until_active()?;
        for (from, to) in scene.ways() {
            scene.host.until(&format!("{to} answers"), || Ok(from.ping(&to, 1)? == 1))?;
        }
        Ok(scene)
    }

    /// Who reaches whom: on a bridge, through a router, and by a floating IP.
    pub(super) fn ways(&self) -> [(&Instance, String); 3] {
        let (one, outside) = (&self.one.instance, &self.outside.instance);
        [(one, self.two.address.clone()), (one, self.far.address.clone()), (outside, self.floating.clone())]
    }

    fn until_active(&self) -> Result<()> {
        let client = self.host.client();
        let began = Instant::now();
        loop {
            let ports = client.list("ports", "?fields=status&fields=device_owner")?;
            // The gateway of a router is a port of no network of a tenant, and is wired all the same.
            let waiting =
                ports.iter().filter(|port| port["status"] != "ACTIVE" && port["device_owner"] != "network:floatingip");
            let floating = client.list("floatingips", "?fields=status")?;
            let waiting = waiting.count() + floating.iter().filter(|ip| ip["status"] != "ACTIVE").count();
            if waiting == 0 {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{waiting} of {} ports are not ACTIVE", ports.len());
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn cidr(number: usize) -> String {
    format!("10.{}.{}.0/24", number / 250, number % 250)
}

/// A network and its subnet.
fn network(host: &Host, cidr: &str, attributes: &Value, dhcp: bool) -> Result<(String, String)> {
    let network = id(&host.client().create("networks", attributes.clone())?);
    let subnet = json!({"network_id": network, "ip_version": 4, "cidr": cidr, "enable_dhcp": dhcp});
    let subnet = id(&host.client().create("subnets", subnet)?);
    Ok((network, subnet))
}

fn port(host: &Host, network: &str, number: usize) -> Result<Vec<Value>> {
    let one =
        json!({"network_id": network, "binding:host_id": NAME, "device_owner": "compute:nova", "device_id": "vm"});
    host.client().create_all("ports", vec![one; number])
}

fn router(host: &Host, public: &str, networks: &[(String, String)]) -> Result<String> {
    let router = json!({"external_gateway_info": {"network_id": public}});
    let router = id(&host.client().create("routers", router)?);
    for (_, subnet) in networks {
        let path = format!("/v2.0/routers/{router}/add_router_interface");
        let answer = host.client().json("PUT", &path, &json!({"subnet_id": subnet}))?;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    Ok(router)
}

/// Lets ping and TCP in to everybody.
fn open(host: &Host) -> Result<()> {
    let groups = host.client().list("security-groups", "?name=default")?;
    let group = groups.first().map(id).context("ports have a group")?;
    let rule = |protocol| json!({"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", "protocol": protocol});
    host.client().create_all("security-group-rules", ["icmp", "tcp"].map(rule).into()).map(drop)
}

/// An instance that can talk, with the address that it would get by DHCP.
fn plug(host: &Host, name: &str, port: &Value) -> Result<Talker> {
    let instance = host.plug(name, port)?;
    let address = text(&port["fixed_ips"][0], "ip_address");
    let (prefix, gateway) = match address.starts_with("203.") {
        true => ("20", "203.0.112.1".to_owned()),
        false => ("24", address.rsplit_once('.').map(|(net, _)| format!("{net}.1")).unwrap_or_default()),
    };
    let ip = |words: &str| run(&instance.namespace, "ip", words);
    ip("link set eth0 mtu 1400 up")?;
    ip(&format!("address add {address}/{prefix} dev eth0"))?;
    ip(&format!("route add default via {gateway}"))?;
    Ok(Talker { instance, address })
}

/// Plugs the cards of instances in that never talk.
fn fill(host: &Host, crowd: &Namespace, ports: &[&Value]) -> Result<()> {
    let (mut cables, mut up) = (String::new(), String::new());
    for (number, port) in ports.iter().enumerate() {
        let (tap, mac, inside) = (tap(port), text(port, "mac_address"), crowd.path().display());
        cables += &format!("link add {tap} up type veth peer name c{number} address {mac} netns {inside}\n");
        up += &format!("link set c{number} up\n");
    }
    for (namespace, lines) in [(&host.root(), cables), (crowd, up)] {
        let batch = host.service.directory().join("batch");
        std::fs::write(&batch, lines)?;
        run(namespace, "ip", &format!("-batch {}", batch.display()))?;
    }
    Ok(())
}
