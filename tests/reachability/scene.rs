//! Two tenants with the same addresses on three hosts, and the world as the model sees it.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::IpAddr,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::{
    cloud::{Cloud, HOSTS, OUTSIDE, Plan},
    deployment::{Plugged, succeeded},
    http::{Client, id, text},
};

use crate::{
    ending::Before,
    model::{Answer, At, Carries, Machine, State, World},
    probe::{Heard, Prober, Question, SERVED},
};

/// How long the cloud may take to be as the API says.
const REST: Duration = Duration::from_secs(120);
/// Who waits so long says for what.
const SLOW: Duration = Duration::from_secs(5);
/// Where a tenant's networks lie: the same for both, but the first prefix of IPv6, which the outside knows a way to.
const NETWORKS: [(&str, &str, &str); 4] = [
    ("a1", "10.0.1.0/24", "fd00:a1::/64"),
    ("a2", "10.0.2.0/24", "fd00:2::/64"),
    ("b1", "10.0.1.0/24", "fd00:b1::/64"),
    ("b2", "10.0.2.0/24", "fd00:2::/64"),
];
pub(crate) const TENANTS: [&str; 2] = ["a", "b"];
/// An address besides its own that the first instance of each network has on its card.
const BESIDES: u8 = 200;
/// An address that no subnet holds, on the card of the first instance of each tenant.
pub(crate) const BEYOND: &str = "198.51.100.7";

/// What of a cloud takes part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    /// Security groups are in force.
    pub(crate) filtered: bool,
    /// Routers, an external network and floating IPs.
    pub(crate) routed: bool,
    /// So many of the routers are HA routers.
    pub(crate) ha: usize,
}

/// An instance that runs.
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) port: String,
    pub(crate) host: &'static str,
    pub(crate) plugged: Plugged,
    machine: Machine,
    lines: String,
}

pub(crate) struct Scene {
    pub(crate) parts: Parts,
    pub(crate) cloud: Cloud,
    pub(crate) instances: Vec<Instance>,
    prober: Prober,
    outside: Option<Machine>,
    pub(crate) before: Before,
}

impl Scene {
    /// Everything is there, and nothing yet asked.
    pub(crate) fn start(plan: Plan, parts: Parts) -> Result<Self> {
        let began = Instant::now();
        let cloud = plan.start()?;
        println!("the cloud stands after {:?}", began.elapsed());
        let before = Before::look(&cloud)?;
        let mut scene = Self { parts, cloud, instances: Vec::new(), prober: Prober::new()?, outside: None, before };
        let api = scene.cloud.api();
        if parts.routed {
            scene.external(&api)?;
        }
        for (name, v4, v6) in NETWORKS {
            scene.tenant_network(&api, name, [v4, v6])?;
        }
        scene.boot_all(&api)?;
        if parts.routed {
            scene.routers(&api)?;
        }
        println!("the scene is set after {:?}", began.elapsed());
        Ok(scene)
    }

    fn external(&mut self, api: &Client) -> Result<()> {
        let attributes = json!({
            "name": "public", "router:external": true, "provider:network_type": "flat",
            "provider:physical_network": "public", "project_id": "operator",
        });
        let network = id(&api.create("networks", attributes)?);
        let pool = json!([{"start": "203.0.113.100", "end": "203.0.113.199"}]);
        let v4 = json!({
            "network_id": network, "ip_version": 4, "cidr": "203.0.113.0/24", "gateway_ip": "203.0.113.1",
            "enable_dhcp": false, "allocation_pools": pool,
        });
        let v6 = json!({
            "network_id": network, "ip_version": 6, "cidr": "2001:db8:cafe::/64", "gateway_ip": "2001:db8:cafe::1",
            "enable_dhcp": false,
        });
        api.create_all("subnets", vec![v4, v6])?;
        let addresses: Vec<IpAddr> = OUTSIDE.iter().filter_map(|cidr| cidr.split('/').next()?.parse().ok()).collect();
        self.prober.serve("outside", &self.cloud.outside(), &addresses)?;
        let at = At::Network(network);
        self.outside =
            Some(Machine { name: "outside".to_owned(), at, addresses, gateways: Vec::new(), routes: Vec::new() });
        Ok(())
    }

    fn tenant_network(&self, api: &Client, name: &str, cidrs: [&str; 2]) -> Result<()> {
        let tenant = &name[..1];
        let network = api.create("networks", json!({"name": name, "project_id": tenant}))?;
        let subnet = |cidr: &str| {
            let version = if cidr.contains(':') { 6 } else { 4 };
            let mut attributes = json!({
                "name": format!("{name}-{version}"), "network_id": id(&network), "ip_version": version, "cidr": cidr,
                "project_id": tenant,
            });
            if version == 6 {
                // One network's instances choose their addresses, the others' have them assigned.
                let mode = if name == "a1" { "slaac" } else { "dhcpv6-stateful" };
                if name == "a1" {
                    // A router whose address here is made of its MAC answers for the first one of the prefix all the
                    // same, as every router does, once whoever had that is forgotten.
                    attributes["gateway_ip"] = json!(cidr.replace("/64", "1"));
                }
                attributes["ipv6_ra_mode"] = json!(mode);
                attributes["ipv6_address_mode"] = json!(mode);
            }
            attributes
        };
        api.create_all("subnets", cidrs.map(subnet).into()).map(drop)
    }

    /// The groups that instances are put into: of servers, of those that servers' group lets in, and one without memory.
    fn groups(&self, api: &Client, tenant: &str) -> Result<Vec<String>> {
        let group = |name: &str, stateful: bool| {
            api.create("security-groups", json!({"name": name, "project_id": tenant, "stateful": stateful}))
                .map(|g| id(&g))
        };
        let (web, data, plain) = (group("web", true)?, group("data", true)?, group("plain", false)?);
        for ethertype in ["IPv4", "IPv6"] {
            let icmp = if ethertype == "IPv4" { "icmp" } else { "ipv6-icmp" };
            for (group, protocol, port, remote) in [
                (&web, "tcp", Some(80), None),
                (&web, icmp, None, None),
                (&data, "udp", Some(81), Some(&web)),
                (&data, "tcp", Some(81), Some(&web)),
                (&plain, "udp", None, None),
                (&plain, icmp, None, None),
            ] {
                api.create(
                    "security-group-rules",
                    json!({
                        "security_group_id": group, "direction": "ingress", "ethertype": ethertype, "protocol": protocol,
                        "port_range_min": port, "port_range_max": port, "remote_group_id": remote, "project_id": tenant,
                    }),
                )?;
            }
        }
        let prefixes = json!(["10.0.2.0/24", "fd00:2::/64"]);
        api.create("address-groups", json!({"name": tenant, "project_id": tenant, "addresses": prefixes}))?;
        Ok(vec![web, data, plain])
    }

    /// Another instance takes the place of one that is deleted: same name, groups and host, other addresses, since
    /// neighbours may remember whose the old ones were.
    pub(crate) fn replace(&mut self, index: usize, port_first: bool) -> Result<()> {
        let api = self.cloud.api();
        let (old, node) = (&self.instances[index], self.cloud.node(self.instances[index].host));
        let was = api.show("ports", &old.port)?;
        if port_first {
            api.delete("ports", &old.port)?;
        }
        node.unplug(&old.plugged)?;
        if !port_first {
            api.delete("ports", &old.port)?;
        }
        let subnets = api.list("subnets", "")?;
        let fixed =
            was["fixed_ips"].as_array().context("a port has addresses")?.iter().map(|one| another(one, &subnets));
        let mut attributes = json!({"fixed_ips": fixed.collect::<Result<Vec<_>>>()?});
        for kept in ["name", "network_id", "project_id", "binding:host_id", "device_id", "device_owner"] {
            attributes[kept] = was[kept].clone();
        }
        attributes["port_security_enabled"] = was["port_security_enabled"].clone();
        attributes["security_groups"] = was["security_groups"].clone();
        let port = api.create("ports", attributes)?;
        let instance = Instance::boot(&self.cloud, old.host, &port, &subnets)?;
        self.prober.serve(&instance.name, &instance.plugged.instance.namespace, &instance.machine.addresses)?;
        self.instances[index] = instance;
        Ok(())
    }

    /// Three instances on each network, one on each host.
    fn boot_all(&mut self, api: &Client) -> Result<()> {
        let (networks, subnets) = (api.list("networks", "")?, api.list("subnets", "")?);
        let mut ports = Vec::new();
        for tenant in TENANTS {
            let groups = if self.parts.filtered { self.groups(api, tenant)? } else { Vec::new() };
            let own = networks.iter().filter(|network| network["project_id"] == tenant);
            for (network, host) in own.flat_map(|network| HOSTS.map(|host| (network, host))) {
                let place = HOSTS.iter().position(|known| *known == host).unwrap_or_default();
                let mut attributes = json!({
                    "name": format!("{}-{host}", text(network, "name")), "network_id": id(network), "project_id": tenant,
                    "binding:host_id": host, "device_id": format!("vm-{host}"), "device_owner": "compute:nova",
                    "fixed_ips": places(&subnets, network, place),
                });
                match groups.get(place) {
                    Some(group) => attributes["security_groups"] = json!([group]),
                    None => attributes["port_security_enabled"] = json!(false),
                }
                ports.push((host, api.create("ports", attributes)?));
            }
        }
        let booted = thread::scope(|scope| {
            let boot = |(host, port): &(&'static str, Value)| {
                let (cloud, subnets, host, port) = (&self.cloud, &subnets, *host, port.clone());
                scope.spawn(move || Instance::boot(cloud, host, &port, subnets))
            };
            let threads: Vec<_> = ports.iter().map(boot).collect();
            threads.into_iter().map(|thread| thread.join().ok().context("a thread ended")?).collect::<Result<Vec<_>>>()
        })?;
        for instance in booted {
            let machine = &instance.machine;
            self.prober.serve(&instance.name, &instance.plugged.instance.namespace, &machine.addresses)?;
            self.instances.push(instance);
        }
        Ok(())
    }

    /// A router for each tenant, and a floating IP each that is in use.
    fn routers(&mut self, api: &Client) -> Result<()> {
        let networks = api.list("networks", "")?;
        let external = networks.iter().find(|network| network["name"] == "public").map(id).context("it was made")?;
        for (index, tenant) in TENANTS.into_iter().enumerate() {
            let gateway = json!({"network_id": external});
            let ha = index < self.parts.ha;
            let attributes = json!({"name": tenant, "project_id": tenant, "external_gateway_info": gateway, "ha": ha});
            let router = api.create("routers", attributes)?;
            for subnet in api.list("subnets", &format!("?project_id={tenant}"))? {
                let path = format!("/v2.0/routers/{}/add_router_interface", id(&router));
                let answer = api.json("PUT", &path, &json!({"subnet_id": id(&subnet)}))?;
                ensure!(answer.status == 200, "{}", answer.text());
            }
            let instance =
                self.instances.iter().find(|instance| instance.name.starts_with(tenant)).context("booted")?;
            for (number, port) in [Some(instance.port.clone()), None].into_iter().enumerate() {
                let attributes = json!({
                    "floating_network_id": external, "port_id": port, "project_id": tenant,
                    "description": format!("{tenant}{number}"),
                });
                api.create("floatingips", attributes)?;
            }
        }
        self.way_back(api)
    }

    /// The outside knows the way to the prefixes of IPv6 that are one tenant's only, by its router.
    pub(crate) fn way_back(&mut self, api: &Client) -> Result<()> {
        let Some(outside) = &mut self.outside else { return Ok(()) };
        let mut routes = Vec::new();
        for router in api.list("routers", "")? {
            let Some((.., prefix)) = NETWORKS.iter().find(|(name, ..)| name.starts_with(&text(&router, "name"))) else {
                continue;
            };
            let flush = format!("-6 route flush exact {prefix}");
            testkit::host::run(&self.cloud.outside(), "ip", &flush)?;
            let addresses =
                router["external_gateway_info"]["external_fixed_ips"].as_array().cloned().unwrap_or_default();
            let addresses = addresses.iter().filter_map(|one| text(one, "ip_address").parse::<IpAddr>().ok());
            for address in addresses.filter(IpAddr::is_ipv6) {
                testkit::host::run(&self.cloud.outside(), "ip", &format!("route replace {prefix} via {address}"))?;
                routes.push((prefix.parse()?, address));
            }
        }
        outside.routes = routes;
        Ok(())
    }

    /// What the model works on, as the API has it now.
    fn world(&self) -> World {
        let state = State::read(&self.cloud.api());
        let machines = self.instances.iter().map(|instance| instance.machine.clone()).chain(self.outside.clone());
        World { state, machines: machines.collect() }
    }

    /// Asks everybody everything; what is not as the model says, one a line.
    pub(crate) fn differences(&mut self) -> Result<(usize, Vec<String>)> {
        let world = self.world();
        let mut targets = world.state.addresses();
        targets.extend(world.machines.iter().flat_map(|machine| machine.addresses.iter().copied()));
        let asked = all(&world, &targets);
        let expected: Vec<Option<Answer>> =
            asked.iter().map(|(from, to, carries)| world.answer(&from.name, *to, *carries)).collect();
        let mut questions = Vec::new();
        for ((from, to, carries), expected) in asked.iter().zip(&expected) {
            let expected = expected.is_some();
            questions.push(Question { from: &from.name, to: *to, carries: *carries, expected });
        }
        let same_wire = |question: &Question<'_>| world.is_on_wire(question.from, question.to);
        let heard = self.prober.ask(&questions, same_wire)?;
        let pairs = questions.iter().zip(expected.iter().zip(&heard));
        let differ = pairs.filter(|(_, (expected, heard))| !agree(expected.as_ref(), heard));
        let lines = differ.map(|(question, (expected, heard))| {
            format!(
                "{} asks {} by {:?}: {expected:?} expected, heard {heard:?}",
                question.from, question.to, question.carries
            )
        });
        Ok((questions.len(), lines.collect()))
    }

    /// Waits until all packets do what the model says; how many questions were asked and how long it took.
    pub(crate) fn settles(&mut self) -> Result<(usize, Duration)> {
        let (began, mut slow) = (Instant::now(), SLOW);
        loop {
            let (asked, differences) = self.differences()?;
            if differences.is_empty() {
                return Ok((asked, began.elapsed()));
            }
            let shown = &differences[..differences.len().min(30)];
            // What is waited for long says why, whether or not it comes true.
            if began.elapsed() > slow {
                println!("      {:?}: {} are not so, as {}", began.elapsed(), differences.len(), shown[0]);
                slow = began.elapsed() + SLOW;
            }
            ensure!(began.elapsed() < REST, "{} of {asked} are not so:\n  {}", differences.len(), shown.join("\n  "));
        }
    }

    /// Moves an instance to another host, as a live migration does.
    pub(crate) fn move_to(&mut self, index: usize, host: &'static str) -> Result<()> {
        let instance = &mut self.instances[index];
        let old = self.cloud.node(instance.host);
        let port = self.cloud.api().update("ports", &instance.port, json!({"binding:host_id": host}))?;
        old.unplug(&instance.plugged)?;
        self.cloud.node(host).plug_again(&instance.plugged, &port)?;
        instance.host = host;
        instance.set_up()
    }
}

impl Instance {
    /// Plugged in, and set up by DHCP; what DHCP does not do here is set up as its port says.
    fn boot(cloud: &Cloud, host: &'static str, port: &Value, subnets: &[Value]) -> Result<Self> {
        let (name, plugged) = (text(port, "name"), cloud.node(host).plug(port)?);
        let fixed: Vec<Value> = port["fixed_ips"].as_array().cloned().unwrap_or_default();
        let mut machine = Machine {
            name: name.clone(),
            at: At::Port(id(port)),
            addresses: Vec::new(),
            gateways: Vec::new(),
            routes: Vec::new(),
        };
        let mut lines = "link set eth0 mtu 1450 up\n".to_owned();
        let mut families: Vec<(IpAddr, &Value)> = Vec::new();
        for one in &fixed {
            let subnet = subnets.iter().find(|subnet| subnet["id"] == one["subnet_id"]).context("a port's subnet")?;
            families.push((text(one, "ip_address").parse()?, subnet));
        }
        families.sort_by_key(|(address, _)| address.is_ipv6());
        for (address, subnet) in &families {
            let (cidr, gateway) = (text(subnet, "cidr"), text(subnet, "gateway_ip"));
            let length = cidr.split('/').nth(1).context("a prefix")?;
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            writeln!(lines, "address replace {address}/{length} dev eth0{nodad}")?;
            writeln!(lines, "route replace default via {gateway} dev eth0")?;
            machine.addresses.push(*address);
            machine.gateways.push(gateway.parse()?);
        }
        if name.ends_with(HOSTS[0]) {
            let prefix = text(families[0].1, "cidr");
            machine.addresses.push(prefix.replace(".0/24", &format!(".{BESIDES}")).parse()?);
            if name.contains('1') {
                machine.addresses.push(BEYOND.parse()?);
            }
        }
        for address in &machine.addresses[families.len()..] {
            writeln!(lines, "address replace {address}/32 dev eth0")?;
        }
        let instance = Self { name, port: id(port), host, plugged, machine, lines };
        instance.quiet()?;
        cloud.until_active(std::slice::from_ref(&instance.port))?;
        let told = instance.plugged.instance.dhcp()?;
        let own = told.get("ip").and_then(|ip| ip.parse().ok());
        ensure!(own == instance.machine.addresses.first().copied(), "{} was given {told:?}", instance.name);
        instance.set_up()?;
        Ok(instance)
    }

    /// No address is waited for, none made up, and no hint of a router's followed.
    fn quiet(&self) -> Result<()> {
        let set = || {
            for parameter in ["accept_dad", "accept_ra", "router_solicitations", "accept_redirects"] {
                for of in ["default", "eth0"] {
                    fs::write(format!("/proc/sys/net/ipv6/conf/{of}/{parameter}"), "0")?;
                }
            }
            // A shorter way that a router has told of would be remembered when the router is gone.
            for of in ["all", "default", "eth0"] {
                fs::write(format!("/proc/sys/net/ipv4/conf/{of}/accept_redirects"), "0")?;
            }
            anyhow::Ok(())
        };
        self.plugged.instance.namespace.run(set)?
    }

    fn set_up(&self) -> Result<()> {
        self.quiet()?;
        let mut file = tempfile::NamedTempFile::new()?;
        std::io::Write::write_all(&mut file, self.lines.as_bytes())?;
        self.batch(file.path())?;
        // An address that somebody else had on his card is told of, as systems do; neighbours would remember him.
        let namespace = &self.plugged.instance.namespace;
        let shown: Value =
            serde_json::from_slice(&testkit::host::run(namespace, "ip", "-json link show eth0")?.stdout)?;
        let mac = text(&shown[0], "address").parse()?;
        Ok(kernel::announce::announce(namespace, "eth0", mac, &self.machine.addresses)?)
    }

    fn batch(&self, path: &Path) -> Result<()> {
        let mut command = Command::new("ip");
        command.arg("-batch").arg(path);
        let output = self.plugged.instance.namespace.run(|| command.output())??;
        succeeded(&self.name, &output).map(drop)
    }
}

/// The addresses of the instance in a place of a network: far enough from each other that a rule may mean some of them.
fn places(subnets: &[Value], network: &Value, place: usize) -> Vec<Value> {
    let on = subnets.iter().filter(|subnet| subnet["network_id"] == network["id"]);
    let fixed = |subnet: &Value| {
        let cidr = text(subnet, "cidr");
        let mut fixed = json!({"subnet_id": id(subnet)});
        if subnet["ipv6_address_mode"] != "slaac" {
            let number = 11 + 100 * place;
            let first = cidr.split('/').next().unwrap_or_default();
            let first = first.strip_suffix(".0").map_or_else(|| first.to_owned(), |net| format!("{net}."));
            fixed["ip_address"] = json!(format!("{first}{number}"));
        }
        fixed
    };
    on.map(fixed).collect()
}

/// The address after one, for who takes its place.
fn another(fixed: &Value, subnets: &[Value]) -> Result<Value> {
    let subnet = subnets.iter().find(|subnet| subnet["id"] == fixed["subnet_id"]).context("a port's subnet")?;
    let mut next = json!({"subnet_id": id(subnet)});
    if subnet["ipv6_address_mode"] != "slaac" {
        let address: IpAddr = text(fixed, "ip_address").parse()?;
        let after = match address {
            IpAddr::V4(address) => IpAddr::V4((address.to_bits() + 1).into()),
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() + 1).into()),
        };
        next["ip_address"] = json!(after.to_string());
    }
    Ok(next)
}

/// Every question: from each machine to each address of a family that it has, but its own.
fn all<'a>(world: &'a World, targets: &BTreeSet<IpAddr>) -> Vec<(&'a Machine, IpAddr, Carries)> {
    let mut asked = Vec::new();
    let ports = SERVED.into_iter();
    let ways = ports.flat_map(|to| [Carries::Tcp { from: 40_000, to }, Carries::Udp { from: 40_000, to }]);
    let ways: Vec<Carries> = ways.chain([Carries::Echo { reply: false }]).collect();
    for machine in &world.machines {
        let speaks = |to: &&IpAddr| machine.addresses.iter().any(|own| own.is_ipv4() == to.is_ipv4());
        for to in targets.iter().filter(speaks).filter(|to| !machine.addresses.contains(to)) {
            asked.extend(ways.iter().map(|carries| (machine, *to, *carries)));
        }
    }
    asked
}

fn agree(expected: Option<&Answer>, heard: &Heard) -> bool {
    match (expected, heard) {
        (None, Heard::Nothing) | (Some(_), Heard::Echo) => true,
        (Some(Answer::Machine(name, source)), Heard::Name(who, from)) => name == who && source == from,
        _ => false,
    }
}
