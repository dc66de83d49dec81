//! Two networks with the same addresses, their instances on three hosts, and what happens to them.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use testkit::{
    cloud::{Cloud, HOSTS},
    deployment::Plugged,
    host::{PATIENCE, run},
    http::{id, text},
};

use crate::{capture::Capture, mode::Mode};

/// Echo requests of one question.
const COUNT: u32 = 3;
/// A tunnel end that no host has.
const NOBODY: &str = "99";

pub(crate) struct Scene<'c> {
    cloud: &'c mut Cloud,
    mode: Mode,
    red: Network,
    blue: Network,
}

struct Network {
    id: String,
    /// The name of its device on each host.
    device: String,
    instances: Vec<Instance>,
}

struct Instance {
    host: usize,
    port: Value,
    address: String,
    plugged: Plugged,
}

impl<'c> Scene<'c> {
    pub(crate) fn set(cloud: &'c mut Cloud, mode: Mode) -> Result<Self> {
        mode.configure(cloud)?;
        let red = Network::make(cloud, mode, "red", 100, &[0, 1, 2])?;
        let blue = Network::make(cloud, mode, "blue", 200, &[1, 2])?;
        let ports: Vec<String> = red.instances.iter().chain(&blue.instances).map(|one| id(&one.port)).collect();
        cloud.until_active(&ports)?;
        Ok(Self { cloud, mode, red, blue })
    }

    pub(crate) fn play(&mut self) -> Result<()> {
        let fragments = Capture::start(&self.cloud.tunnels(), "lan", "ip[6:2] & 0x3fff != 0 or ip6[6] = 44")?;
        self.addresses()?;
        self.everyone_reaches_everyone()?;
        ensure!(fragments.stop()?.is_empty(), "packets of full size were fragmented");
        self.networks_are_apart()?;
        self.hosts_know_each_other()?;
        self.questions_on_the_wire()?;
        // What follows does not depend on the family of the tunnels.
        if self.mode != Mode::PopulationV6 {
            self.agents_are_killed()?;
            self.a_host_goes()?;
        }
        self.nothing_is_left()
    }

    /// Addresses are given by DHCP, with the MTU; those that nobody gives are set by hand.
    fn addresses(&self) -> Result<()> {
        for one in &self.red.instances {
            let told = one.plugged.instance.dhcp()?;
            ensure!(told["ip"] == one.address && told["mtu"] == self.mode.mtu().to_string(), "DHCP told {told:?}");
        }
        for one in &self.blue.instances {
            let inside = &one.plugged.instance.namespace;
            run(inside, "ip", &format!("link set eth0 mtu {} up", self.mode.mtu()))?;
            run(inside, "ip", &format!("address add {}/24 dev eth0", one.address))?;
        }
        for one in self.red.instances.iter().chain(&self.blue.instances) {
            run(&one.plugged.instance.namespace, "ip", &format!("address add {}/64 dev eth0 nodad", one.v6()))?;
        }
        Ok(())
    }

    fn everyone_reaches_everyone(&self) -> Result<()> {
        for network in [&self.red, &self.blue] {
            for from in &network.instances {
                for to in network.instances.iter().filter(|to| to.host != from.host) {
                    from.reaches(&to.address, self.mode.mtu() - 28)?;
                    from.reaches(&to.v6(), self.mode.mtu() - 48)?;
                    from.reaches(&format!("{}%eth0", to.link_local()?), self.mode.mtu() - 48)?;
                }
            }
        }
        Ok(())
    }

    fn networks_are_apart(&self) -> Result<()> {
        let (red, blue) = (&self.red.instances[2], &self.blue.instances[0]);
        ensure!(red.ping(&blue.address, 56)? == 0 && blue.ping(&red.address, 56)? == 0, "networks see each other");
        Ok(())
    }

    /// What stands in the devices' tables, where it is set and not learnt.
    fn hosts_know_each_other(&self) -> Result<()> {
        for (host, name) in HOSTS.iter().enumerate() {
            let expected = match self.mode {
                Mode::Multicast => continue,
                Mode::Everyone => (0..3).filter(|other| *other != host).map(|other| self.flood(other)).collect(),
                _ => self.entries_of_others(host),
            };
            self.cloud.until(&format!("{name} knows {expected:?} but {:?}", self.entries(host)), || {
                Ok(self.entries(host)? == expected)
            })?;
            self.answers(host)?;
        }
        if self.mode == Mode::Multicast {
            let shown = self.cloud.node(HOSTS[0]).run(&format!("ip -d link show {}", self.red.device))?;
            let vni: u32 = self.red.device["vxlan-".len()..].parse()?;
            let group = format!("group 239.1.{}.{}", (vni >> 8) & 0xff, vni & 0xff);
            ensure!(shown.contains(&group), "{group}: {shown}");
        }
        Ok(())
    }

    /// The ports of the red network on other hosts. The DHCP agent's is on the first.
    fn entries_of_others(&self, host: usize) -> BTreeSet<String> {
        let others = self.red.instances.iter().filter(|one| one.host != host);
        let ports =
            others.flat_map(|one| [self.flood(one.host), self.unicast(one.host, &text(&one.port, "mac_address"))]);
        let dhcp = self.red.dhcp_mac(self.cloud).filter(|_| host != 0);
        ports.chain(dhcp.map(|mac| self.unicast(0, &mac))).collect()
    }

    fn flood(&self, host: usize) -> String {
        self.unicast(host, "00:00:00:00:00:00")
    }

    fn unicast(&self, host: usize, mac: &str) -> String {
        format!("{mac} dst {} self permanent", self.mode.end(host))
    }

    fn entries(&self, host: usize) -> Result<BTreeSet<String>> {
        let shown = self.cloud.node(HOSTS[host]).run(&format!("bridge fdb show dev {}", self.red.device))?;
        let permanent =
            shown.lines().map(str::trim).filter(|line| line.contains(" dst ") && line.contains("permanent"));
        Ok(permanent.map(str::to_owned).collect())
    }

    /// Where the host answers for others, it knows their addresses; elsewhere it knows none.
    fn answers(&self, host: usize) -> Result<()> {
        let shown =
            self.cloud.node(HOSTS[host]).run(&format!("ip neighbour show dev {} nud permanent", self.red.device))?;
        let known = |address: &str| shown.lines().any(|line| line.split(' ').next() == Some(address));
        for one in self.red.instances.iter().filter(|one| one.host != host) {
            let addresses = [one.address.clone(), one.v6(), one.link_local()?];
            let wanted = self.mode == Mode::Responder;
            ensure!(addresses.iter().all(|address| known(address) == wanted), "{addresses:?} {wanted}: {shown}");
        }
        Ok(())
    }

    /// Whether instances' questions for addresses leave their host.
    fn questions_on_the_wire(&self) -> Result<()> {
        let (one, others) = self.red.instances.split_first().context("there are instances")?;
        // The Ethernet type within the tunnel, behind UDP and VXLAN. Of IPv6 only the fixed header is before UDP.
        let (udp, arp) = if self.mode == Mode::PopulationV6 { ("ip6[68:2]", "ip6") } else { ("udp[28:2]", "udp") };
        let capture = Capture::start(&self.cloud.tunnels(), "lan", &format!("{arp} and {udp} = 0x0806"))?;
        for other in others {
            run(&one.plugged.instance.namespace, "ip", "neighbour flush all")?;
            run(&other.plugged.instance.namespace, "ip", "neighbour flush all")?;
            one.reaches(&other.address, 56)?;
        }
        let seen = capture.stop()?;
        ensure!(seen.is_empty() == (self.mode == Mode::Responder), "questions on the wire: {seen:?}");
        Ok(())
    }

    /// Agents on both ends of a stream of packets, one after the other. What its predecessor left wrong is put right.
    fn agents_are_killed(&mut self) -> Result<()> {
        let pings = self.red.instances[0].plugged.instance.pings(&self.red.instances[2].address)?;
        let ports: Vec<String> = self.red.instances.iter().map(|one| id(&one.port)).collect();
        for host in [2, 0] {
            let name = HOSTS[host];
            self.cloud.kill_agent(name, "linuxbridge")?;
            let stale = self.mode.end(0).replace("11", NOBODY);
            if self.mode != Mode::Multicast {
                let add = format!("bridge fdb append 00:00:00:00:00:00 dev {} dst {stale}", self.red.device);
                self.cloud.node(name).run(&add)?;
            }
            // Packets pass without it.
            thread::sleep(Duration::from_millis(300));
            self.cloud.start_agent(name, "linuxbridge")?;
            self.cloud.until(&format!("the agent of {name} is in sync"), || {
                Ok(!self.entries(host)?.iter().any(|entry| entry.contains(&format!("dst {stale} "))))
            })?;
            self.cloud.until_active(&ports)?;
        }
        self.hosts_know_each_other()?;
        let (sent, answered) = pings.stop()?;
        ensure!(sent > 10 && sent == answered, "{answered} of {sent} answered");
        Ok(())
    }

    /// The last host loses its ports; where every host is flooded, it goes itself.
    fn a_host_goes(&mut self) -> Result<()> {
        let gone = 2;
        for network in [&mut self.red, &mut self.blue] {
            let leaving: Vec<Instance> = network.instances.extract_if(.., |one| one.host == gone).collect();
            for one in leaving {
                self.cloud.api().delete("ports", &id(&one.port))?;
                self.cloud.node(HOSTS[gone]).unplug(&one.plugged)?;
            }
        }
        if self.mode == Mode::Everyone {
            self.cloud.kill_agent(HOSTS[gone], "linuxbridge")?;
            let agents = self.cloud.api().list("agents", &format!("?host={}", HOSTS[gone]))?;
            let agent = agents.first().context("the agent has reported")?;
            self.cloud.api().delete("agents", &id(agent))?;
        }
        let end = self.mode.end(gone);
        for (host, name) in HOSTS.iter().enumerate().take(gone) {
            self.cloud.until(&format!("{name} forgets the host: {:?}", self.entries(host)), || {
                Ok(!self.entries(host)?.iter().any(|entry| entry.contains(&end)))
            })?;
        }
        if self.mode == Mode::Everyone {
            self.cloud.start_agent(HOSTS[gone], "linuxbridge")?;
            self.cloud.until("the host is back", || Ok(self.entries(0)?.iter().any(|entry| entry.contains(&end))))?;
        }
        let (one, other) = (&self.red.instances[0], &self.red.instances[1]);
        one.reaches(&other.address, 56)
    }

    /// Ports, instances and networks go, in one order or another.
    fn nothing_is_left(&mut self) -> Result<()> {
        let plug_first = matches!(self.mode, Mode::Multicast | Mode::Population | Mode::PopulationV6);
        for network in [&mut self.red, &mut self.blue] {
            for one in network.instances.drain(..) {
                if plug_first {
                    self.cloud.node(HOSTS[one.host]).unplug(&one.plugged)?;
                }
                self.cloud.api().delete("ports", &id(&one.port))?;
                if !plug_first {
                    self.cloud.node(HOSTS[one.host]).unplug(&one.plugged)?;
                }
            }
            self.cloud.api().delete("networks", &network.id)?;
        }
        let left = || self.cloud.left_behind();
        self.cloud.until(&format!("nothing is left of {:?}", left()), || Ok(left().is_empty()))
    }
}

impl Network {
    /// A network whose instances have addresses from `first` on; only the red one has DHCP.
    fn make(cloud: &Cloud, mode: Mode, name: &str, first: usize, hosts: &[usize]) -> Result<Self> {
        let api = cloud.api();
        let network = api.create("networks", json!({"name": name, "mtu": mode.mtu()}))?;
        let subnet = |version: u64, cidr: &str| {
            let dhcp = version == 4 && name == "red";
            json!({"network_id": id(&network), "ip_version": version, "cidr": cidr, "gateway_ip": null, "enable_dhcp": dhcp})
        };
        let subnets = [subnet(4, "10.9.0.0/24"), subnet(6, "fd00:9::/64")].map(|subnet| api.create("subnets", subnet));
        let [v4, v6] = subnets;
        let (v4, v6) = (id(&v4?), id(&v6?));
        let mut instances = Vec::new();
        for host in hosts {
            let number = first + host + 1;
            let (address, second) = (format!("10.9.0.{number}"), format!("fd00:9::{number}"));
            let port = api.create(
                "ports",
                json!({
                    "network_id": id(&network), "device_owner": "compute:nova", "binding:host_id": HOSTS[*host],
                    "fixed_ips": [{"subnet_id": v4, "ip_address": address}, {"subnet_id": v6, "ip_address": second}],
                }),
            )?;
            let plugged = cloud.node(HOSTS[*host]).plug(&port)?;
            instances.push(Instance { host: *host, port, address, plugged });
        }
        let device = format!("vxlan-{}", network["provider:segmentation_id"]);
        Ok(Self { id: id(&network), device, instances })
    }

    fn dhcp_mac(&self, cloud: &Cloud) -> Option<String> {
        let query = format!("?network_id={}&device_owner=network:dhcp", self.id);
        cloud.api().list("ports", &query).ok()?.first().map(|port| text(port, "mac_address"))
    }
}

impl Instance {
    fn v6(&self) -> String {
        self.address.replace("10.9.0.", "fd00:9::")
    }

    /// The address that its card gives itself.
    fn link_local(&self) -> Result<String> {
        let shown = run(&self.plugged.instance.namespace, "ip", "-brief -6 address show dev eth0 scope link")?;
        let shown = String::from_utf8(shown.stdout)?;
        let address = shown.split_whitespace().find_map(|word| word.strip_suffix("/64"));
        Ok(address.context("a card with IPv6 has one")?.to_owned())
    }

    /// How many packets with that much inside come back; none may be fragmented.
    fn ping(&self, to: &str, size: u64) -> Result<u32> {
        let words = format!("-n -q -M do -i 0.02 -W 1 -c {COUNT} -s {size} {to}");
        let mut command = std::process::Command::new("ping");
        command.args(words.split(' '));
        let output = self.plugged.instance.namespace.run(|| command.output())??;
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find(|line| line.contains("packets transmitted")).unwrap_or_default();
        Ok(line.split([' ', ',']).filter_map(|word| word.parse().ok()).nth(1).unwrap_or(0))
    }

    /// Sooner or later, and then every time.
    fn reaches(&self, to: &str, size: u64) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.ping(to, size)? == COUNT {
                return Ok(());
            }
        }
        bail!("{} does not reach {to} with {size} bytes", self.address)
    }
}
