//! The whole agent on the fake kernel under a paused clock: whatever happens, in whatever order, ends as it should.

use kernel::{Errno, LinkChange, fake::FakeHost};
use proptest::{collection::vec, prelude::*};
use tokio::{sync::oneshot, task::JoinHandle};
use types::{NetworkType, PortId};

use super::*;

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/linuxbridge/server.rs"]
mod server;

mod overlay;

use server::Server;

const PORTS: usize = 5;
const NETWORKS: usize = 2;
const GRACE: Duration = Duration::from_secs(20);
/// The second network is a VLAN of this interface's, the first of this host only.
const UPLINK: &str = "eth1";
const VLAN: &str = "eth1.101";

/// Anything that can happen to a host, by number of port or network.
#[derive(Debug, Clone)]
enum Step {
    Plug(usize),
    Unplug(usize),
    Replace(usize),
    ToggleAdminState(usize),
    ChangeMtu(usize, u32),
    TakeFromBridge(usize),
    DeleteBridge(usize),
    RefuseKernel(usize, usize),
    RefuseServer(u32),
    Restart,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (port, network) = (0..PORTS, 0..NETWORKS);
    prop_oneof![
        3 => port.clone().prop_map(Step::Plug),
        2 => port.clone().prop_map(Step::Unplug),
        1 => port.clone().prop_map(Step::Replace),
        1 => port.clone().prop_map(Step::ToggleAdminState),
        1 => (network.clone(), 1200..1500u32).prop_map(|(network, mtu)| Step::ChangeMtu(network, mtu)),
        1 => port.prop_map(Step::TakeFromBridge),
        1 => network.prop_map(Step::DeleteBridge),
        1 => (0..4usize, 1..4usize).prop_map(|(request, times)| Step::RefuseKernel(request, times)),
        1 => (1..4u32).prop_map(Step::RefuseServer),
        1 => Just(Step::Restart),
        3 => (0..2000u64).prop_map(Step::Wait),
    ]
}

struct Running(oneshot::Sender<()>, JoinHandle<Result<(), Error>>);

struct World {
    host: FakeHost,
    server: Server,
    networks: Vec<NetworkId>,
    ports: Vec<PortId>,
    mtu: Vec<u32>,
    up: Vec<bool>,
    plugged: Vec<bool>,
    agent: Option<Running>,
}

impl World {
    fn new() -> Self {
        let server = Server::start();
        let networks: Vec<_> = (0..NETWORKS).map(|_| NetworkId::random()).collect();
        let port = |i: usize| match i % NETWORKS {
            0 => server.port(networks[0], NetworkType::Local, None),
            other => server.port(networks[other], NetworkType::Vlan, Some("physnet1")),
        };
        let ports: Vec<PortId> = (0..PORTS).map(port).collect();
        for port in ports.iter().skip(1).step_by(NETWORKS) {
            server.change(*port, |details| {
                details.segmentation_id = Some(101);
                details.mtu = Some(1450);
            });
        }
        let (mtu, up, plugged) = (vec![1450; NETWORKS], vec![true; PORTS], vec![false; PORTS]);
        let host = FakeHost::new();
        host.plug(UPLINK, Kind::Hardware);
        let mut world = Self { host, server, networks, ports, mtu, up, plugged, agent: None };
        world.start();
        world
    }

    fn start(&mut self) {
        let mut config = Config::new("host-a");
        config.empty_bridge_grace = GRACE;
        config.physical_interface_mappings = [("physnet1".to_owned(), UPLINK.to_owned())].into();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = serve(self.host.kernel(), config, self.server.bus.clone(), async { drop(stopped.await) });
        self.agent = Some(Running(stop, tokio::spawn(run)));
    }

    async fn stop(&mut self) {
        if let Some(Running(stop, task)) = self.agent.take() {
            drop(stop);
            let _ = task.await.unwrap();
        }
    }

    fn tap(&self, port: usize) -> String {
        device::tap(self.ports[port])
    }

    async fn unplug(&mut self, port: usize) {
        if std::mem::take(&mut self.plugged[port]) {
            self.host.kernel().link_delete(&self.tap(port)).await.unwrap();
        }
    }

    fn plug(&mut self, port: usize) {
        if !std::mem::replace(&mut self.plugged[port], true) {
            self.host.plug(&self.tap(port), Kind::Tun);
        }
    }

    async fn take(&mut self, step: Step) {
        let kernel = self.host.kernel();
        match step {
            Step::Plug(port) => self.plug(port),
            Step::Unplug(port) => self.unplug(port).await,
            Step::Replace(port) => {
                self.unplug(port).await;
                self.plug(port);
            }
            Step::ToggleAdminState(port) => {
                self.up[port] = !self.up[port];
                let up = self.up[port];
                self.server.change(self.ports[port], |details| details.admin_state_up = up);
                self.server.port_update(self.ports[port]).await;
            }
            Step::ChangeMtu(network, mtu) => {
                self.mtu[network] = mtu;
                for port in (0..PORTS).filter(|port| port % NETWORKS == network) {
                    self.server.change(self.ports[port], |details| details.mtu = Some(mtu));
                }
                self.server.network_update(self.networks[network]).await;
            }
            Step::TakeFromBridge(port) => {
                let out = LinkChange { master: Some(None), ..LinkChange::default() };
                let _ = kernel.link_set(&self.tap(port), &out).await;
            }
            Step::DeleteBridge(network) => drop(kernel.link_delete(&device::bridge(self.networks[network])).await),
            Step::RefuseKernel(request, times) => {
                let request = ["create link", "change link brq", "change link tap", "list links"][request];
                self.host.fail(request, Errno::EBUSY, times);
            }
            Step::RefuseServer(times) => self.server.fail(times),
            Step::Restart => {
                self.stop().await;
                self.start();
            }
            Step::Wait(time) => tokio::time::sleep(Duration::from_millis(time)).await,
        }
    }

    /// What must stand: name, bridge, MTU, up or down.
    fn expected(&self) -> BTreeMap<String, (Option<String>, u32, bool)> {
        let mut expected = BTreeMap::new();
        for port in (0..PORTS).filter(|port| self.plugged[*port]) {
            let network = port % NETWORKS;
            let bridge = device::bridge(self.networks[network]);
            expected.insert(bridge.clone(), (None, self.mtu[network], true));
            if network == 1 {
                expected.insert(VLAN.to_owned(), (Some(bridge.clone()), 1500, true));
            }
            expected.insert(self.tap(port), (Some(bridge), self.mtu[network], self.up[port]));
        }
        expected
    }

    async fn actual(&self) -> BTreeMap<String, (Option<String>, u32, bool)> {
        let links = self.host.kernel().links().await.unwrap();
        let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
        let ours = links.iter().filter(|link| link.name != "lo" && link.name != UPLINK);
        // Outside a bridge, as when somebody deletes that while the agent is away, a VLAN device may be another's.
        let ours = ours.filter(|link| link.name != VLAN || link.master.is_some());
        ours.map(|link| (link.name.clone(), (link.master.and_then(name), link.mtu, link.up))).collect()
    }
}

/// The kernel refuses a read at the agent's start: that ends it, and whoever started it starts it again.
fn revive(world: &mut World) {
    if world.agent.as_ref().is_some_and(|agent| agent.1.is_finished()) {
        world.agent = None;
        world.start();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_sequence_ends_as_a_fresh_agent_would_have_it(steps in vec(step(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                revive(&mut world);
                world.take(step).await;
            }
            // Failures that were not used up are used up meanwhile; bridges without ports outlive their grace.
            for _ in 0..30 {
                tokio::time::sleep(GRACE / 4).await;
                revive(&mut world);
            }
            prop_assert_eq!(world.actual().await, world.expected());
            let wired = (0..PORTS).filter(|port| world.plugged[*port] && world.up[*port]);
            let wired: Vec<_> = wired.map(|port| world.ports[port]).collect();
            prop_assert!(world.server.are_up(&wired), "a wired port was not reported");
            world.host.take_changes();
            world.stop().await;
            world.start();
            tokio::time::sleep(GRACE * 2).await;
            prop_assert_eq!(world.host.take_changes(), Vec::<String>::new(), "a fresh agent finds nothing to do");
            Ok(())
        })?;
    }
}
