//! Metadata through the DHCP namespace: instances, the proxies, the metadata agent and a compute service.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use isospin_agent::{
    dhcp,
    metadata::{
        self, Secret,
        proxy::{Rate, Window},
    },
};
use kernel::process::{Process, Signal};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};
use types::{NetworkId, device};

use super::{
    lab::{Instance, Lab, PATIENCE, until},
    nova::Nova,
};

const SECRET: &str = "abcdocker";
const URL_V4: &str = "http://169.254.169.254/openstack/latest/meta_data.json?x=1";
const URL_V6: &str = "http://[fe80::a9fe:a9fe%25eth0]/openstack/latest/meta_data.json?x=1";

/// A host whose DHCP agent serves metadata, with a metadata agent and a compute service.
struct Metadata {
    lab: Lab,
    nova: Arc<Nova>,
    agent: Option<(oneshot::Sender<()>, JoinHandle<Ended>)>,
}

type Ended = Result<(), metadata::AgentError>;

/// An instance that has a port and an address.
struct Vm {
    instance: Instance,
    id: String,
}

impl Metadata {
    async fn new(set: impl FnOnce(&mut dhcp::Config)) -> Self {
        let mut this = Self { lab: Lab::new().await, nova: Nova::start().await, agent: None };
        let mut config = this.config();
        set(&mut config);
        this.lab.host.start_with(config);
        this.start_agent();
        this
    }

    fn config(&self) -> dhcp::Config {
        let mut config = self.lab.host.config();
        config.enable_isolated_metadata = true;
        config
    }

    fn state_path(&self) -> PathBuf {
        self.lab.host.confs.parent().unwrap().to_owned()
    }

    fn start_agent(&mut self) {
        let mut config = metadata::Config::new("host-a", self.state_path());
        config.nova_metadata_port = self.nova.address.port();
        config.metadata_proxy_shared_secret = Secret::new(SECRET);
        config.report_interval = Duration::from_millis(100);
        let (stop, stopped) = oneshot::channel();
        let run = metadata::run(config, self.lab.server.bus.clone(), async {
            let _ = stopped.await;
        });
        self.agent = Some((stop, tokio::spawn(run)));
    }

    async fn stop_agent(&mut self) {
        let (stop, task) = self.agent.take().unwrap();
        let _ = stop.send(());
        task.await.unwrap().unwrap();
    }

    async fn serve(&mut self, subnets: &[(&str, Value)]) -> NetworkId {
        self.lab.serve(subnets).await
    }

    /// An instance with its address and the route that DHCP gives it.
    async fn boot(&self, network: NetworkId, id: &str) -> Vm {
        let (mut port, instance) = self.lab.boot(network, id, json!([])).await;
        port.device_id = id.to_owned();
        port.project_id = format!("project-of-{id}");
        self.lab.server.inner(|inner| inner.put(port.clone()));
        let v4 = port.fixed_ips.iter().find(|ip| ip.ip_address.is_ipv4());
        if let Some(ip) = v4 {
            let lease = instance.udhcpc(&[]).await;
            assert_eq!(lease["ip"], ip.ip_address.to_string());
            let routes: Vec<&str> = lease["staticroutes"].split(' ').collect();
            let at = routes.iter().position(|word| *word == "169.254.169.254/32").unwrap();
            let address = format!("{}/{}", lease["ip"], lease["mask"]);
            assert!(instance.run(&["ip", "address", "add", &address, "dev", "eth0"]).await);
            assert!(instance.run(&["ip", "route", "add", routes[at], "via", routes[at + 1]]).await);
        }
        Vm { instance, id: id.to_owned() }
    }

    fn haproxy(&self, network: NetworkId) -> Option<Process> {
        let pid = self.state_path().join(format!("external/pids/{network}.pid.haproxy"));
        Process::find(&pid, &network.to_string()).unwrap()
    }

    /// What upstream's agent leaves for a network: a file for haproxy, and haproxy with it.
    async fn leave_haproxy(&self, network: NetworkId) {
        let state = self.state_path();
        for directory in ["ns-metadata-proxy", "external/pids"] {
            fs::create_dir_all(state.join(directory)).unwrap();
        }
        let file = state.join(format!("ns-metadata-proxy/{network}.conf"));
        let (pid, socket) = (state.join(format!("external/pids/{network}.pid.haproxy")), state.join("metadata_proxy"));
        let text = format!(
            "global\n user root\n group root\n maxconn 1024\n nbthread 2\n pidfile {}\n daemon\n\
             defaults\n mode http\n option http-server-close\n option forwardfor\n retries 3\n \
             timeout http-request 30s\n timeout connect 30s\n timeout client 32s\n timeout server 32s\n \
             timeout http-keep-alive 30s\n\
             listen listener\n bind 169.254.169.254:80\n server metadata {}\n \
             http-request del-header X-Neutron-Router-ID\n http-request set-header X-Neutron-Network-ID {network}\n",
            pid.display(),
            socket.display(),
        );
        fs::write(&file, text).unwrap();
        let namespace = self.lab.host.namespace(network);
        let command = ["haproxy", "-f", file.to_str().unwrap()].map(str::to_owned);
        kernel::process::run(Some(&namespace), &command, PATIENCE).await.unwrap();
        until("haproxy runs", || self.haproxy(network).is_some()).await;
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.agent {
            task.abort();
        }
        for entry in fs::read_dir(self.state_path().join("external/pids")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let network = name.split('.').next().unwrap_or_default();
            if let Ok(Some(process)) = Process::find(&entry.path(), network) {
                let _ = process.signal(Signal::SIGKILL);
            }
        }
    }
}

impl Vm {
    /// Status and body of an answer; status 0 when there is none.
    async fn get(&self, url: &str, more: &[&str]) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--globoff", "--max-time", "20", "--write-out", "\n%{http_code}", url]).args(more);
        let namespace = self.instance.namespace.clone();
        let output = tokio::task::spawn_blocking(move || namespace.run(|| command.output()).unwrap().unwrap());
        let text = String::from_utf8(output.await.unwrap().stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    async fn until_status(&self, status: u16) {
        let started = Instant::now();
        while self.get(URL_V4, &[]).await.0 != status {
            assert!(started.elapsed() < PATIENCE, "waited too long for status {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn own(&self) -> (u16, String) {
        (200, format!("for {}", self.id))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_gets_its_own_metadata_over_both_families() {
    let mut metadata = Metadata::new(|_| {}).await;
    let network = metadata.serve(&[("10.40.0.0/24", json!({})), ("2001:db8:40::/64", json!({}))]).await;
    let vm = metadata.boot(network, "vm-1").await;
    assert_eq!(vm.get(URL_V4, &[]).await, vm.own());
    let asked = metadata.nova.last();
    let v4 = metadata.lab.server.inner(|inner| {
        let port = inner.info(network).ports.iter().find(|port| port.device_id == "vm-1").unwrap();
        port.fixed_ips.iter().find(|ip| ip.ip_address.is_ipv4()).unwrap().ip_address
    });
    let expected = json!({
        "request": "GET /openstack/latest/meta_data.json?x=1",
        "host": metadata.nova.address.to_string(),
        "x-forwarded-for": v4.to_string(),
        "x-instance-id": "vm-1",
        "x-tenant-id": "project-of-vm-1",
        "x-instance-id-signature": asked["x-instance-id-signature"],
    });
    assert_eq!(asked, expected);
    assert_eq!(vm.get(URL_V6, &[]).await, vm.own());
    assert!(metadata.nova.last()["x-forwarded-for"].as_str().unwrap().starts_with("fe80::f816:3eff:fe"));
    // The agent tells that it lives: by a call that is answered, then without waiting.
    let reports = || metadata.lab.server.inner(|inner| inner.reports.clone());
    let of_metadata = || reports().into_iter().filter(|state| state.agent_type == "Metadata agent").collect::<Vec<_>>();
    until("reports follow", || of_metadata().iter().any(|state| !state.start_flag)).await;
    let first = &of_metadata()[0];
    assert_eq!((first.binary.as_str(), first.topic.as_str()), ("neutron-metadata-agent", "N/A"));
    assert!(first.start_flag && first.availability_zone.is_none());
    let keys: Vec<&str> = first.configurations.keys().map(String::as_str).collect();
    assert_eq!(keys, ["metadata_proxy_socket", "nova_metadata_host", "nova_metadata_port", "log_agent_heartbeats"]);
}

/// As on a provider's network, whose own router advertises, or nobody does: nothing but the link-local address is needed.
#[tokio::test(flavor = "multi_thread")]
async fn without_dhcpv6_and_without_a_router_an_instance_gets_its_metadata() {
    let mut metadata = Metadata::new(|_| {}).await;
    let slaac = json!({"ipv6_address_mode": "slaac"});
    for (name, modes) in [("by-router", slaac), ("by-hand", json!({"gateway_ip": null}))] {
        let network = metadata.serve(&[("2001:db8:40::/64", modes)]).await;
        let vm = metadata.boot(network, name).await;
        assert_eq!(vm.get(URL_V6, &[]).await, vm.own(), "{name}");
        let asked = metadata.nova.last();
        assert_eq!(asked["x-instance-id"], name);
        assert!(asked["x-forwarded-for"].as_str().unwrap().starts_with("fe80::f816:3eff:fe"), "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_anothers_metadata() {
    let mut metadata = Metadata::new(|_| {}).await;
    // Both networks have the same addresses.
    let blue = metadata.serve(&[("10.40.0.0/24", json!({}))]).await;
    let red = metadata.serve(&[("10.40.0.0/24", json!({}))]).await;
    let (one, two) = (metadata.boot(blue, "vm-1").await, metadata.boot(red, "vm-2").await);
    assert_eq!(one.get(URL_V4, &[]).await, one.own());
    assert_eq!(two.get(URL_V4, &[]).await, two.own());
    let (network, router) = (format!("X-Neutron-Network-ID: {red}"), format!("X-Neutron-Router-ID: {red}"));
    let lies = ["-H", &network, "-H", &router, "-H", "X-Forwarded-For: 10.40.0.9", "-H", "X-Instance-ID: vm-2"];
    assert_eq!(one.get(URL_V4, &lies).await, one.own());
    // An address that no port has.
    assert!(one.instance.run(&["ip", "address", "flush", "dev", "eth0", "scope", "global"]).await);
    assert!(one.instance.run(&["ip", "address", "add", "10.40.0.99/24", "dev", "eth0"]).await);
    let dhcp = metadata.lab.server.dhcp_ports(blue)[0].fixed_ips[0].ip_address.to_string();
    assert!(one.instance.run(&["ip", "route", "replace", "169.254.169.254/32", "via", &dhcp]).await);
    let (status, text) = one.get(URL_V4, &[]).await;
    assert_eq!(status, 404);
    assert!(text.contains(&format!("Instance was not found on network {blue}.")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_and_a_restart_of_the_agent_is_not_noticed() {
    let mut metadata = Metadata::new(|_| {}).await;
    let network = metadata.serve(&[("10.40.0.0/24", json!({}))]).await;
    let vm = metadata.boot(network, "vm-1").await;
    for status in [403, 404, 500, 503] {
        metadata.nova.answer_with(status);
        assert_eq!(vm.get(URL_V4, &[]).await.0, status);
    }
    metadata.nova.answer_with(200);
    metadata.stop_agent().await;
    let (answer, ()) = tokio::join!(vm.get(URL_V4, &[]), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        metadata.start_agent();
    });
    assert_eq!(answer, vm.own());
    // Killed, it leaves its socket behind, which the next takes over.
    metadata.agent.take().unwrap().1.abort();
    assert_eq!(vm.get(URL_V4, &[]).await.0, 503);
    metadata.start_agent();
    assert_eq!(vm.get(URL_V4, &[]).await, vm.own());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_too_often_is_put_off() {
    let window = |limit| Window { duration: Duration::from_secs(60), limit };
    let rate = Rate { base: window(5), burst: window(3), ipv4: true, ipv6: false };
    let mut metadata = Metadata::new(|config| config.metadata_proxy.rate = Some(rate)).await;
    let network = metadata.serve(&[("10.40.0.0/24", json!({}))]).await;
    let (one, two) = (metadata.boot(network, "vm-1").await, metadata.boot(network, "vm-2").await);
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(one.get(URL_V4, &[]).await.0);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(two.get(URL_V4, &[]).await, two.own());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_holds_connections_keeps_no_other_waiting() {
    let mut metadata = Metadata::new(|_| {}).await;
    let network = metadata.serve(&[("10.40.0.0/24", json!({}))]).await;
    let (one, two) = (metadata.boot(network, "vm-1").await, metadata.boot(network, "vm-2").await);
    let namespace = one.instance.namespace.clone();
    let hold = move || {
        let connect = |_| {
            let mut stream = TcpStream::connect("169.254.169.254:80").unwrap();
            let _ = stream.write_all(b"GET / HT");
            stream
        };
        (0..600).map(connect).collect::<Vec<_>>()
    };
    let held = tokio::task::spawn_blocking(move || namespace.run(hold).unwrap()).await.unwrap();
    assert_eq!(two.get(URL_V4, &[]).await, two.own());
    drop(held);
    one.until_status(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_haproxy_is_taken_over_without_a_lost_request() {
    let mut metadata = Metadata::new(|_| {}).await;
    let network = metadata.serve(&[("10.40.0.0/24", json!({}))]).await;
    let vm = Arc::new(metadata.boot(network, "vm-1").await);
    metadata.lab.host.stop().await;
    assert_eq!(vm.get(URL_V4, &[]).await.0, 0);
    metadata.leave_haproxy(network).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut loads = Vec::new();
    for _ in 0..3 {
        let (vm, stop, answered) = (Arc::clone(&vm), Arc::clone(&stop), Arc::clone(&answered));
        loads.push(tokio::spawn(async move {
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                answers.push(vm.get(URL_V4, &[]).await);
                answered.fetch_add(1, Ordering::Relaxed);
            }
            answers
        }));
    }
    until("requests are answered", || answered.load(Ordering::Relaxed) > 10).await;
    metadata.lab.host.start_with(metadata.config());
    let files = [format!("external/pids/{network}.pid.haproxy"), format!("ns-metadata-proxy/{network}.conf")];
    let state = metadata.state_path();
    until("haproxy and its files are gone", || !files.iter().any(|file| state.join(file).exists())).await;
    let before = answered.load(Ordering::Relaxed);
    until("they still are", || answered.load(Ordering::Relaxed) > before + 10).await;
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        for answer in load.await.unwrap() {
            assert_eq!(answer, vm.own());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_served_elsewhere_has_no_proxy() {
    let mut metadata = Metadata::new(|_| {}).await;
    let network = metadata.serve(&[("10.40.0.0/24", json!({"gateway_ip": "10.40.0.1"}))]).await;
    let vm = metadata.boot(network, "vm-1").await;
    assert_eq!(vm.get(URL_V4, &[]).await, vm.own());
    // A router comes to the gateway.
    let mut interface = metadata.lab.server.create_port(network, json!([])).await;
    interface.device_owner = "network:router_interface".to_owned();
    interface.device_id = "the-router".to_owned();
    interface.fixed_ips[0].ip_address = [10, 40, 0, 1].into();
    interface.revision_number += 1;
    metadata.lab.server.inner(|inner| inner.put(interface.clone()));
    metadata.lab.server.tell_port(&interface).await;
    metadata.lab.until_ready(interface.id).await;
    vm.until_status(0).await;
    // It goes again.
    metadata.lab.server.delete_port(&interface).await;
    vm.until_status(200).await;
    metadata.lab.server.delete_network(network).await;
    let name = device::dhcp_namespace(network);
    until("the namespace is gone", || !metadata.lab.host.system().namespace_exists(&name)).await;
}
