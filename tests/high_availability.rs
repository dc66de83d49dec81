//! An HA router on three hosts, from the API to packets: a host that is cut off or dies is replaced in time and its
//! connections go on, a healed partition leaves one that serves, the API says who does, and nothing runs for a router but
//! keepalived. Needs root. `make bench-failover` kills hosts over and over, and measures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::{
    cloud::{Cloud, HOSTS, Plan},
    deployment::Plugged,
    host::Instance,
    http::{id, text},
    process::{Signal, signal},
};

/// Seconds between two advertisements.
const INTERVAL: f64 = 1.0;
/// What is promised besides three of them, and what the load of the machine that tests may add.
const BESIDES: f64 = 1.0;
const LOAD: f64 = 3.0;
const OUTSIDE: &str = "203.0.113.1";
const GATEWAY: &str = "10.0.0.1/24";
/// Where the outside listens.
const PORT: u16 = 7777;

struct Scene {
    cloud: Cloud,
    router: String,
    networks: [String; 2],
    subnet: String,
    floating: Value,
    /// One on each host.
    instances: Vec<(Value, Plugged)>,
    outside: Instance,
}

impl Scene {
    fn start() -> Result<Self> {
        let program = std::env::var("ISOSPIN_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_isospin").to_owned());
        let plan = Plan::new(program).firewall("noop").l2_population();
        let plan = HOSTS.into_iter().fold(plan, |plan, host| plan.agent(host, "l3"));
        let options =
            format!("[DEFAULT]\nha_vrrp_advert_int = {INTERVAL}\nagent_down_time = 12\nha_conntrackd_enabled = true\n");
        let cloud = plan.common(&options).start()?;
        let api = cloud.api();
        let public =
            json!({"router:external": true, "provider:network_type": "flat", "provider:physical_network": "public"});
        let networks = [id(&api.create("networks", public)?), id(&api.create("networks", json!({}))?)];
        let subnet = |network: &str, cidr: &str, gateway: &str| json!({"network_id": network, "ip_version": 4, "cidr": cidr, "gateway_ip": gateway, "enable_dhcp": false});
        api.create("subnets", subnet(&networks[0], "203.0.113.0/24", OUTSIDE))?;
        let subnet = id(&api.create("subnets", subnet(&networks[1], "10.0.0.0/24", "10.0.0.1"))?);
        let wish = json!({"ha": true, "external_gateway_info": {"network_id": networks[0]}});
        let router = api.create("routers", wish)?;
        ensure!(router["ha"] == true, "{router}");
        let mut instances = Vec::new();
        for host in HOSTS {
            let wish = json!({"network_id": networks[1], "binding:host_id": host, "device_owner": "compute:nova"});
            let port = api.create("ports", wish)?;
            let plugged = cloud.node(host).plug(&port)?;
            let address = text(&port["fixed_ips"][0], "ip_address");
            let inside = &plugged.instance.namespace;
            for words in [
                "link set eth0 mtu 1400 up",
                &format!("address add {address}/24 dev eth0"),
                "route add default via 10.0.0.1",
            ] {
                testkit::host::run(inside, "ip", words)?;
            }
            instances.push((port, plugged));
        }
        let wish = json!({"floating_network_id": networks[0]});
        let floating = api.create("floatingips", wish)?;
        let outside = Instance::new(cloud.outside(), "lan".to_owned(), Path::new("/"));
        let this = Self { router: id(&router), networks, subnet, floating, instances, outside, cloud };
        this.interface("add")?;
        let ports: Vec<String> = this.instances.iter().map(|(port, _)| id(port)).collect();
        this.cloud.until_active(&ports)?;
        Ok(this)
    }

    fn interface(&self, action: &str) -> Result<()> {
        let path = format!("/v2.0/routers/{}/{action}_router_interface", self.router);
        let answer = self.cloud.api().json("PUT", &path, &json!({"subnet_id": self.subnet}))?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(())
    }

    fn namespace(&self) -> String {
        format!("qrouter-{}", self.router)
    }

    /// Which hosts have the router's addresses.
    fn serving(&self) -> Vec<&'static str> {
        let has = |host: &str| {
            let shown = self.cloud.node(host).run(&format!("ip -n {} -brief -4 address show", self.namespace()));
            shown.is_ok_and(|shown| shown.contains(GATEWAY))
        };
        HOSTS.into_iter().filter(|host| has(host)).collect()
    }

    /// What the API says of each host.
    fn states(&self) -> Result<BTreeMap<String, String>> {
        let told = self.cloud.api().get(&format!("/v2.0/routers/{}/l3-agents", self.router))?;
        let agents = told["agents"].as_array().context("a list")?;
        Ok(agents.iter().map(|agent| (text(agent, "host"), text(agent, "ha_state"))).collect())
    }

    /// Waits until these hosts serve, and the API says so and that the others wait; which they are.
    fn until_serving(&self, count: usize) -> Result<Vec<&'static str>> {
        let mut serving = Vec::new();
        self.cloud.until(&format!("{count} of three serve: {:?} {:?}", self.serving(), self.states()), || {
            serving = self.serving();
            let expected = |host: &str| if serving.contains(&host) { "active" } else { "standby" };
            let states = self.states()?;
            Ok(serving.len() == count
                && HOSTS.iter().all(|host| states.get(*host).is_some_and(|state| state == expected(host))))
        })?;
        Ok(serving)
    }

    /// Nothing runs in the router's namespace but keepalived: itself and its child.
    fn only_keepalived_runs(&self) -> Result<()> {
        for host in HOSTS {
            let pids = self.cloud.node(host).run(&format!("ip netns pids {}", self.namespace()))?;
            let names = pids.split_whitespace().map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")));
            let names = names.collect::<Result<Vec<_>, _>>()?;
            ensure!(names == ["keepalived\n"; 2], "{host} runs {names:?}");
        }
        Ok(())
    }

    fn until_only_keepalived_runs(&self) -> Result<()> {
        let mut last = Ok(());
        let waited = self.cloud.until("each host has a keepalived", || {
            last = self.only_keepalived_runs();
            Ok(last.is_ok())
        });
        waited.with_context(|| format!("{last:?}"))
    }

    /// Hosts other than that one: the instance of the first has the floating IP, that of the second goes by SNAT.
    fn bystanders(&self, active: &str) -> Result<[&(Value, Plugged); 2]> {
        let mut others = HOSTS.iter().zip(&self.instances).filter(|(host, _)| **host != active).map(|(_, one)| one);
        let [known, hidden] = [others.next().context("another")?, others.next().context("one more")?];
        self.cloud.api().update("floatingips", &id(&self.floating), json!({"port_id": id(&known.0)}))?;
        self.until_pings(&self.outside, &text(&self.floating, "floating_ip_address"))?;
        self.until_pings(&hidden.1.instance, OUTSIDE)?;
        Ok([known, hidden])
    }

    fn until_pings(&self, from: &Instance, to: &str) -> Result<()> {
        self.cloud.until(&format!("{to} answers"), || Ok(from.ping(to, 1)? == 1))
    }

    /// Does something to the serving host; how long nothing passed by the floating IP and by SNAT.
    fn failover(&mut self, what: impl FnOnce(&mut Self, &'static str) -> Result<()>) -> Result<&'static str> {
        let serving = self.until_serving(1)?;
        let active = serving[0];
        let [_, hidden] = self.bystanders(active)?;
        let floating = text(&self.floating, "floating_ip_address");
        let flow = Flow::start(&hidden.1.instance)?;
        let pings = [self.outside.pings(&floating)?, hidden.1.instance.pings(OUTSIDE)?];
        let began = Instant::now();
        what(self, active)?;
        let next = |scene: &Self| scene.serving().into_iter().any(|host| host != active);
        self.cloud.until("another host serves", || Ok(next(self)))?;
        for host in HOSTS.iter().zip(&self.instances).filter(|(host, _)| **host != active).map(|(_, one)| one) {
            self.until_pings(&host.1.instance, OUTSIDE)?;
        }
        self.until_pings(&self.outside, &floating)?;
        self.cloud.until("a connection by SNAT goes on", || flow.went_on())?;
        for (pings, way) in pings.into_iter().zip(["the floating IP", "SNAT"]) {
            let elapsed = began.elapsed();
            let (sent, answered) = pings.stop()?;
            // They are sent evenly, however busy the machine is.
            let gap = elapsed.mul_f64(f64::from(sent - answered) / f64::from(sent));
            println!("  nothing passed by {way} for {gap:?}");
            ensure!(gap < Duration::from_secs_f64(3.0 * INTERVAL + BESIDES + LOAD), "too long by {way}: {gap:?}");
        }
        Ok(active)
    }

    fn connect(&self, host: &str, state: &str) -> Result<()> {
        for card in ["eth1", "eth2"] {
            self.cloud.node(host).run(&format!("ip link set {card} {state}"))?;
        }
        Ok(())
    }

    /// What a host loses that is switched off: its links, its agents, and all that is not on its disk.
    fn die(&mut self, host: &'static str) -> Result<()> {
        self.connect(host, "down")?;
        let pids = self.cloud.node(host).run(&format!("ip netns pids {}", self.namespace()))?;
        for pid in pids.split_whitespace() {
            signal(pid.parse()?, Signal::SIGKILL)?;
        }
        for kind in ["l3", "linuxbridge"] {
            self.cloud.kill_agent(host, kind)?;
        }
        self.cloud.node(host).run(&format!("ip netns delete {}", self.namespace())).map(drop)
    }

    /// A host that died is switched on; all three serve or wait again.
    fn revive(&mut self, host: &'static str) -> Result<()> {
        self.connect(host, "up")?;
        for kind in ["linuxbridge", "l3"] {
            self.cloud.start_agent(host, kind)?;
        }
        self.until_only_keepalived_runs()?;
        self.until_serving(1).map(drop)
    }

    /// The serving host dies, and is revived when it is no longer missed.
    fn replaced(&mut self) -> Result<Replaced> {
        let active = self.until_serving(1)?[0];
        self.bystanders(active)?;
        let floating = text(&self.floating, "floating_ip_address");
        let pings = (Instant::now(), self.outside.pings(&floating)?);
        let began = Instant::now();
        self.die(active)?;
        self.cloud.until("another host serves", || Ok(self.serving().into_iter().any(|host| host != active)))?;
        let serves = began.elapsed();
        self.until_pings(&self.outside, &floating)?;
        let elapsed = pings.0.elapsed();
        let (sent, answered) = pings.1.stop()?;
        self.revive(active)?;
        Ok(Replaced { serves, silent: elapsed.mul_f64(f64::from(sent - answered) / f64::from(sent)) })
    }

    fn nothing_is_left(self) -> Result<()> {
        let api = self.cloud.api();
        api.delete("floatingips", &id(&self.floating))?;
        self.interface("remove")?;
        api.delete("routers", &self.router)?;
        for ((port, plugged), host) in self.instances.iter().zip(HOSTS) {
            self.cloud.node(host).unplug(plugged)?;
            api.delete("ports", &id(port))?;
        }
        for network in &self.networks {
            api.delete("networks", network)?;
        }
        // The network of the router's hosts went with it.
        ensure!(
            api.list("networks", "")?.is_empty() && api.list("ports", "")?.is_empty(),
            "networks or ports are left"
        );
        let left = || self.cloud.left_behind();
        self.cloud.until(&format!("nothing is left of {:?}", left()), || Ok(left().is_empty()))?;
        // Answers to agents that were killed before they came.
        let errors =
            self.cloud.errors().into_iter().filter(|line| !line.contains("isospin.oslo.messaging.rabbit.reply"));
        assert_eq!(errors.collect::<Vec<_>>(), Vec::<String>::new());
        self.cloud.stop()
    }
}

/// What the death of a host took.
#[derive(Debug, Clone, Copy)]
struct Replaced {
    /// Until another one served.
    serves: Duration,
    /// How long nothing passed by the floating IP.
    silent: Duration,
}

/// A connection out of an instance on which something is always under way.
struct Flow {
    count: Arc<AtomicUsize>,
    thread: thread::JoinHandle<std::io::Error>,
    seen: AtomicUsize,
}

impl Flow {
    fn start(from: &Instance) -> Result<Self> {
        let mut stream = from.namespace.run(|| TcpStream::connect((OUTSIDE, PORT)))??;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let thread = thread::spawn(move || {
            loop {
                if let Err(error) = stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0])) {
                    return error;
                }
                // Once it is not looked at any more, it ends.
                if Arc::strong_count(&counted) == 1 {
                    return std::io::ErrorKind::Other.into();
                }
                counted.fetch_add(1, Ordering::Relaxed);
                #[allow(clippy::disallowed_methods)]
                thread::sleep(Duration::from_millis(2));
            }
        });
        Ok(Self { count, thread, seen: AtomicUsize::new(usize::MAX) })
    }

    /// Whether something was answered since this was asked first.
    fn went_on(&self) -> Result<bool> {
        ensure!(!self.thread.is_finished(), "the connection broke");
        let now = self.count.load(Ordering::Relaxed);
        let _ = self.seen.compare_exchange(usize::MAX, now, Ordering::Relaxed, Ordering::Relaxed);
        Ok(now > self.seen.load(Ordering::Relaxed) + 3)
    }
}

/// Sends back what comes, on a machine, until the test ends.
fn echo(at: &Instance) -> Result<()> {
    let listener = at.namespace.run(|| TcpListener::bind((OUTSIDE, PORT)))??;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || stream.try_clone().and_then(|mut to| std::io::copy(&mut stream, &mut to)));
        }
    });
    Ok(())
}

#[test]
fn a_host_that_goes_is_replaced_and_a_healed_partition_has_one_that_serves() {
    let mut scene = Scene::start().unwrap();
    echo(&scene.outside).unwrap();
    scene.until_serving(1).unwrap();
    scene.until_only_keepalived_runs().unwrap();

    println!("the serving host is cut off:");
    let cut = scene.failover(|scene, active| scene.connect(active, "down")).unwrap();
    // It does not know better, until it hears the other.
    assert!(scene.until_serving(2).unwrap().contains(&cut));
    scene.connect(cut, "up").unwrap();
    let serving = scene.until_serving(1).unwrap();
    scene.bystanders(serving[0]).unwrap();

    println!("the serving host dies:");
    let dead = scene.failover(Scene::die).unwrap();
    scene.until_serving(1).unwrap();
    scene.revive(dead).unwrap();
    scene.nothing_is_left().unwrap();
}

/// `ISOSPIN_PROGRAM`: the program that is measured, if not the one that this was built with.
#[test]
#[ignore = "a measurement: make bench-failover"]
fn how_long_a_killed_host_is_missed() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut scene = Scene::start().unwrap();
    scene.until_only_keepalived_runs().unwrap();
    let replaced = Vec::from_iter((1..=rounds).map(|round| {
        let replaced = scene.replaced().unwrap();
        println!("round {round} of {rounds}: {replaced:?}");
        replaced
    }));
    let goal = 3.0 * INTERVAL + BESIDES;
    println!(
        "| a killed host, advertisements every {INTERVAL} s | median s | longest s | goal s |\n|---|---:|---:|---:|"
    );
    let serves = replaced.iter().map(|it| it.serves).collect();
    let silent = replaced.iter().map(|it| it.silent).collect();
    let kinds: [(&str, Vec<Duration>); 2] =
        [("until another serves", serves), ("nothing passes by the floating IP", silent)];
    for (name, times) in kinds {
        let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
        seconds.sort_by(f64::total_cmp);
        let (median, longest) = (seconds[seconds.len() / 2], seconds[seconds.len() - 1]);
        println!("| {name} | {median:.2} | {longest:.2} | {goal:.2} |");
    }
    scene.nothing_is_left().unwrap();
}
