//! VXLAN networks: what the agent makes of messages, restarts and lost messages.

use std::{collections::BTreeSet, net::IpAddr};

use kernel::{Address, Forwarding, Vxlan, neighbour::FLOOD};
use oslo::context::Context;
use rpc::l2_population::{Entries, NetworkEntries};
use types::Mac;

use super::*;
use crate::linuxbridge::Overlay;

const VNI: u32 = 77;
const DEVICE: &str = "vxlan-77";
const OWN: &str = "10.0.0.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A host with a tunnel address, and a port of a VXLAN network on it.
struct Overlaid {
    host: FakeHost,
    server: Server,
    network: NetworkId,
    port: PortId,
    overlay: Overlay,
    running: Option<Running>,
}

impl Overlaid {
    async fn new(change: impl FnOnce(&mut Overlay)) -> Self {
        let (host, server, network) = (FakeHost::new(), Server::start(), NetworkId::random());
        let eth1 = host.plug("eth1", Kind::Hardware);
        host.kernel().address_set(&Address::new(eth1, format!("{OWN}/24").parse().unwrap())).await.unwrap();
        let port = server.port(network, NetworkType::Vxlan, None);
        server.change(port, |details| details.segmentation_id = Some(VNI));
        host.plug(&device::tap(port), Kind::Tun);
        let mut overlay = Overlay::new(ip(OWN));
        change(&mut overlay);
        let mut world = Self { host, server, network, port, overlay, running: None };
        world.start();
        world.until(async |world| world.server.are_up(&[world.port])).await;
        world
    }

    fn start(&mut self) {
        let mut config = Config::new("host-a");
        config.vxlan = Some(self.overlay.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let run = serve(self.host.kernel(), config, self.server.bus.clone(), async { drop(stopped.await) });
        self.running = Some(Running(stop, tokio::spawn(run)));
    }

    async fn restart(&mut self) {
        if let Some(Running(stop, task)) = self.running.take() {
            drop(stop);
            task.await.unwrap().unwrap();
        }
        self.server.forget();
        self.start();
        self.until(async |world| world.server.are_up(&[world.port])).await;
    }

    async fn until(&self, holds: impl AsyncFn(&Self) -> bool) {
        for _ in 0..100 {
            if holds(self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it never held; entries are {:?}", self.entries().await);
    }

    /// Entries of the device, as `*>10.0.0.2` or `1>10.0.0.2`.
    async fn entries(&self) -> BTreeSet<String> {
        let name = |mac: Mac| if mac == FLOOD { "*".to_owned() } else { mac.0[5].to_string() };
        let entries = self.host.kernel().forwardings().await.unwrap();
        entries.into_iter().map(|entry| format!("{}>{}", name(entry.mac), entry.remote)).collect()
    }

    async fn until_entries(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        self.until(async |world| world.entries().await == expected).await;
    }

    /// `("10.0.0.2", &["*", "1"])`
    fn fdb(&self, host: &str, entries: &[&str]) -> Entries {
        let entry = |text: &&str| match text.parse::<u8>() {
            Ok(last) => (Mac([0xfa, 0x16, 0x3e, 0, 0, last]).to_string(), format!("10.9.0.{last}")),
            Err(_) => (FLOOD.to_string(), "0.0.0.0".to_owned()),
        };
        let ports = [(host.to_owned(), entries.iter().map(entry).collect())].into();
        let entries = NetworkEntries { segment_id: Some(VNI), network_type: NetworkType::Vxlan, ports };
        [(self.network, entries)].into()
    }

    async fn device(&self) -> Vxlan {
        match self.host.kernel().link(DEVICE).await.unwrap().unwrap().kind {
            Kind::Vxlan(vxlan) => vxlan,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn entries_follow_messages_and_outlive_the_agent() {
    let mut world = Overlaid::new(|overlay| overlay.l2_population = true).await;
    let asked = world.server.refreshes();
    assert!(asked > 0);
    assert_eq!((world.device().await.group, world.device().await.proxy), (None, false));
    let (server, ctx) = (&world.server, Context::admin());
    server.fdb_everything("host-a", world.fdb("10.0.0.2", &["*", "1"])).await;
    server.fdb().add_fdb_entries(&ctx, world.fdb("10.0.0.3", &["*", "2"])).await.unwrap();
    world.until_entries(&["*>10.0.0.2", "1>10.0.0.2", "*>10.0.0.3", "2>10.0.0.3"]).await;
    server.fdb().remove_fdb_entries(&ctx, world.fdb("10.0.0.2", &["1"])).await.unwrap();
    world.until_entries(&["*>10.0.0.2", "*>10.0.0.3", "2>10.0.0.3"]).await;

    world.host.take_changes();
    world.restart().await;
    assert!(world.server.refreshes() > asked, "it asks for everything again");
    world.until_entries(&["*>10.0.0.2", "*>10.0.0.3", "2>10.0.0.3"]).await;
    let changes = world.host.take_changes();
    assert!(!changes.iter().any(|change| change.contains("forward") && !change.contains("192.0.2.1")), "{changes:?}");
    // The host that went while the agent was away is in no message: only everything shows that.
    world.server.fdb_everything("host-a", world.fdb("10.0.0.3", &["*", "2"])).await;
    world.until_entries(&["*>10.0.0.3", "2>10.0.0.3"]).await;
    // Whoever deletes the device deletes what it knew; the agent knows it still.
    world.host.kernel().link_delete(DEVICE).await.unwrap();
    world.until_entries(&["*>10.0.0.3", "2>10.0.0.3"]).await;
}

#[tokio::test(start_paused = true)]
async fn with_nothing_told_the_predecessors_entries_go_in_the_end() {
    let world = Overlaid::new(|overlay| overlay.l2_population = true).await;
    let link = world.host.kernel().link(DEVICE).await.unwrap().unwrap().index;
    world.host.kernel().forwarding_set(&Forwarding { link, mac: FLOOD, remote: ip("10.0.0.9") }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    world.until_entries(&["*>10.0.0.9"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.until_entries(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn the_responder_answers_for_what_it_was_told_of() {
    let change = |overlay: &mut Overlay| (overlay.l2_population, overlay.arp_responder) = (true, true);
    let world = Overlaid::new(change).await;
    assert!(world.device().await.proxy);
    world.server.fdb_everything("host-a", world.fdb("10.0.0.2", &["*", "1"])).await;
    world.until_entries(&["*>10.0.0.2", "1>10.0.0.2"]).await;
    let neighbours = world.host.kernel().neighbours().await.unwrap();
    assert_eq!(neighbours.iter().map(|n| n.address).collect::<Vec<_>>(), [ip("10.9.0.1")]);
}

#[tokio::test(start_paused = true)]
async fn without_groups_and_population_floods_go_to_every_end() {
    let mut world = Overlaid::new(|overlay| overlay.group = None).await;
    world.until(async |world| !world.server.tunnels().is_empty()).await;
    assert_eq!(world.server.tunnels(), [("host-a".to_owned(), OWN.to_owned())]);
    world.until_entries(&[]).await;
    world.server.tunnel_update("10.0.0.2").await;
    world.server.tunnel_update(OWN).await;
    world.until_entries(&["*>10.0.0.2"]).await;
    world.server.tunnel("host-b", "10.0.0.3");
    world.restart().await;
    world.until_entries(&["*>10.0.0.3"]).await;
    world.server.tunnel_delete("10.0.0.3").await;
    world.until_entries(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_needs_no_entries_and_another_one_another_device() {
    let mut world = Overlaid::new(|_| ()).await;
    let before = world.host.kernel().link(DEVICE).await.unwrap().unwrap().index;
    assert_eq!(world.device().await.group, Some(ip("224.0.0.1")));
    world.restart().await;
    assert_eq!(world.host.kernel().link(DEVICE).await.unwrap().unwrap().index, before, "adopted");
    world.overlay.group = Some("239.0.0.0/8".parse().unwrap());
    world.restart().await;
    world.until(async |world| world.device().await.group == Some(ip("239.0.0.77"))).await;
    let made = world.host.kernel().link(DEVICE).await.unwrap().unwrap();
    assert!(made.up && made.master.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_cannot_ends_the_agent_with_the_reason() {
    let (host, server) = (FakeHost::new(), Server::start());
    let eth1 = host.plug("eth1", Kind::Hardware);
    host.kernel().address_set(&Address::new(eth1, format!("{OWN}/24").parse().unwrap())).await.unwrap();
    host.fail("forward 00:00:00:00:00:00", Errno::EOPNOTSUPP, 1);
    let mut config = Config::new("host-a");
    config.vxlan = Some(Overlay { l2_population: true, ..Overlay::new(ip(OWN)) });
    let error = serve(host.kernel(), config, server.bus.clone(), std::future::pending()).await.unwrap_err();
    let expected = "this kernel cannot do VXLAN with forwarding entries of the server (l2_population); change the options \
                    of [vxlan], or set enable_vxlan = false";
    assert_eq!(error.to_string(), expected);
    assert_eq!(host.kernel().link("vxlan-probe").await.unwrap(), None, "the probe is gone");
}
