//! What agents hear, as they hear it.

use std::time::Duration;

use oslo::{
    context::Context,
    messaging::{Incoming, Listener},
};
use rpc::{l2::Device, l2_population::TOPIC};
use serde_json::{Value, json};
use types::{NetworkType, PortId, attribute::Attributes, device::tap, network::Network};

use super::*;
use crate::{
    event,
    resource::{Condition, Resource},
    testing,
};

const FLOOD: [&str; 2] = ["00:00:00:00:00:00", "0.0.0.0"];

struct World {
    ctx: Ctx,
    network: Network,
    listeners: [Listener; 2],
}

impl World {
    /// A network and two hosts, `a` at 10.0.0.1 and `b` at 10.0.0.2.
    async fn of(network_type: NetworkType) -> Self {
        let ctx = testing::serving(|config| {
            config.ml2.l2_population = true;
            config.ml2.project_network_types = vec![network_type];
            config.ml2.vxlan_ranges = vec![(434, 434)];
        })
        .await;
        let world = ["a", "b"].map(|host| ctx.parts.bus.listen(TOPIC, host));
        for (number, host) in ["a", "b"].into_iter().enumerate() {
            let mut state = testing::linux_bridge(host);
            state.configurations.insert("tunneling_ip".to_owned(), json!(format!("10.0.0.{}", number + 1)));
            state.configurations.insert("tunnel_types".to_owned(), json!(["vxlan"]));
            testing::report(&ctx, state).await;
        }
        let network = testing::network(&ctx).await;
        testing::subnet(&ctx, &network, "10.9.0.0/24").await;
        Self { ctx, network, listeners: world }
    }

    async fn new() -> Self {
        Self::of(NetworkType::Vxlan).await
    }

    async fn port(&self, host: &str) -> Port {
        testing::instance_port(&self.ctx, &self.network, host).await
    }

    /// A port that its agent has wired.
    async fn active(&self, host: &str) -> Port {
        let port = self.port(host).await;
        self.up(&port, host, false).await;
        port
    }

    async fn up(&self, port: &Port, host: &str, refresh: bool) {
        let devices = Some(vec![Device::from(tap(port.id).as_str())]);
        let (ctx, host) = (Context::admin(), Some(host.to_owned()));
        self.l2().update_device_list(&ctx, devices, None, None, host, Some(refresh)).await.unwrap();
        event::settle(&self.ctx).await;
    }

    async fn down(&self, port: &Port, host: &str) {
        let device = Device::from(tap(port.id).as_str());
        self.l2().update_device_down(&Context::admin(), device, None, Some(host.to_owned())).await.unwrap();
        event::settle(&self.ctx).await;
    }

    fn l2(&self) -> rpc::l2::Client {
        rpc::l2::Client::new(self.ctx.parts.bus.clone())
    }

    async fn update(&self, port: PortId, body: Value) -> Result<Port> {
        let given = Attributes::for_update(Port::TABLE, body.as_object().unwrap().clone()).unwrap();
        let updated = Port::update(&self.ctx, &port.to_string(), given, Condition::default()).await;
        event::settle(&self.ctx).await;
        updated
    }

    async fn delete(&self, port: PortId) {
        Port::delete(&self.ctx, &port.to_string(), Condition::default()).await.unwrap();
        event::settle(&self.ctx).await;
    }

    /// All messages since the last call: how each was sent, its method, and its entries of the network.
    async fn heard(&mut self) -> Vec<(String, Value)> {
        let mut heard = Vec::new();
        for (host, listener) in ["a", "b"].into_iter().zip(&mut self.listeners) {
            while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(50), listener.next()).await {
                let Incoming { method, mut args, fanout, .. } = message;
                // Both hear what is sent to all; it is looked at once.
                if fanout && host == "b" {
                    continue;
                }
                let to = if fanout { "all" } else { host };
                let method = method.replace("_fdb_entries", "");
                heard.push((format!("{method} {to}"), args["fdb_entries"].take()));
            }
        }
        heard
    }

    /// A message about entries, by host.
    fn entries(&self, ports: Value) -> Value {
        json!({self.network.id.to_string(): {"segment_id": 434, "network_type": "vxlan", "ports": ports}})
    }
}

fn entry(port: &Port) -> Value {
    json!([port.mac_address, port.fixed_ips[0].ip_address])
}

fn message(kind: &str, entries: Value) -> (String, Value) {
    (kind.to_owned(), entries)
}

#[tokio::test]
async fn the_first_two_ports_of_a_host_bring_it_everything() {
    let mut world = World::new().await;
    let one = world.active("a").await;
    let expected = [message("add all", world.entries(json!({"10.0.0.1": [FLOOD, entry(&one)]})))];
    assert_eq!(world.heard().await, expected, "nothing is on other hosts");
    for _ in 0..2 {
        let port = world.active("b").await;
        let everything = world.entries(json!({"10.0.0.1": [FLOOD, entry(&one)]}));
        let news = world.entries(json!({"10.0.0.2": [FLOOD, entry(&port)]}));
        assert_eq!(world.heard().await, [message("add all", news), message("add b", everything)]);
    }
    let third = world.active("b").await;
    let expected = [message("add all", world.entries(json!({"10.0.0.2": [entry(&third)]})))];
    assert_eq!(world.heard().await, expected);
}

#[tokio::test]
async fn what_goes_takes_the_flood_entry_with_the_last() {
    let mut world = World::new().await;
    let (one, two) = (world.active("a").await, world.active("a").await);
    world.heard().await;
    world.delete(one.id).await;
    let expected = [message("remove all", world.entries(json!({"10.0.0.1": [entry(&one)]})))];
    assert_eq!(world.heard().await, expected);
    world.down(&two, "a").await;
    let gone = world.entries(json!({"10.0.0.1": [FLOOD, entry(&two)]}));
    assert_eq!(world.heard().await, [message("remove all", gone.clone())]);
    world.down(&two, "a").await;
    assert_eq!(world.heard().await, [], "it was down");
    world.delete(two.id).await;
    assert_eq!(world.heard().await, [message("remove all", gone)]);
}

#[tokio::test]
async fn asking_again_brings_everything_both_ways() {
    let mut world = World::new().await;
    let (one, two) = (world.active("a").await, world.active("a").await);
    world.heard().await;
    world.up(&two, "a", true).await;
    let own = world.entries(json!({"10.0.0.1": [FLOOD, entry(&one), entry(&two)]}));
    let nothing = world.entries(json!({}));
    let mut heard = world.heard().await;
    heard.iter_mut().for_each(|(_, entries)| sort(entries));
    assert_eq!(heard, [message("add a", nothing), message("add all", sorted(own))]);
}

fn sort(entries: &mut Value) {
    for network in entries.as_object_mut().unwrap().values_mut() {
        for ports in network["ports"].as_object_mut().unwrap().values_mut() {
            ports.as_array_mut().unwrap().sort_by_key(ToString::to_string);
        }
    }
}

fn sorted(mut entries: Value) -> Value {
    sort(&mut entries);
    entries
}

#[tokio::test]
async fn changed_addresses_are_told_as_before_and_after() {
    let mut world = World::new().await;
    let port = world.active("a").await;
    world.heard().await;
    world.update(port.id, json!({"fixed_ips": [{"ip_address": "10.9.0.77"}]})).await.unwrap();
    let (mac, network) = (port.mac_address, world.network.id.to_string());
    let change = json!({"before": [entry(&port)], "after": [[mac, "10.9.0.77"]]});
    let expected = json!({"chg_ip": {network.clone(): {"10.0.0.1": change}}});
    assert_eq!(world.heard().await, [message("update all", expected)]);
    world
        .update(port.id, json!({"fixed_ips": [{"ip_address": "10.9.0.77"}, {"ip_address": "10.9.0.78"}]}))
        .await
        .unwrap();
    let expected = json!({"chg_ip": {network: {"10.0.0.1": {"after": [[mac, "10.9.0.78"]]}}}});
    assert_eq!(world.heard().await, [message("update all", expected)]);
}

#[tokio::test]
async fn a_port_that_moves_is_gone_from_its_old_host() {
    let mut world = World::new().await;
    let port = world.active("a").await;
    world.heard().await;
    world.update(port.id, json!({"binding:host_id": "b"})).await.unwrap();
    let gone = world.entries(json!({"10.0.0.1": [FLOOD, entry(&port)]}));
    assert_eq!(world.heard().await, [message("remove all", gone)]);
    world.up(&port, "b", false).await;
    let there = world.entries(json!({"10.0.0.2": [FLOOD, entry(&port)]}));
    assert_eq!(world.heard().await, [message("add all", there)]);
}

#[tokio::test]
async fn what_is_not_tunnelled_is_told_to_nobody() {
    let mut world = World::of(NetworkType::Local).await;
    let port = world.active("a").await;
    world.up(&port, "a", true).await;
    world.delete(port.id).await;
    assert_eq!(world.heard().await, []);
}

#[tokio::test]
async fn an_agent_removed_by_an_operator_takes_its_hosts_entries_along() {
    let mut world = World::new().await;
    let port = world.active("a").await;
    let mut tunnels = world.ctx.parts.bus.listen(rpc::l2_agent::TUNNEL_DELETE, "b");
    let (ctx, vxlan) = (Context::admin(), Some("vxlan".to_owned()));
    world.l2().tunnel_sync(&ctx, Some("10.0.0.1".to_owned()), vxlan, Some("a".to_owned())).await.unwrap();
    world.heard().await;
    let mut conn = world.ctx.db().reader().await.unwrap();
    let agent = db::agent::agents(&mut conn, None, Some("a")).await.unwrap().remove(0);
    drop(conn);
    Agent::delete(&world.ctx, &agent.id.to_string(), Condition::default()).await.unwrap();
    event::settle(&world.ctx).await;
    let gone = world.entries(json!({"10.0.0.1": [FLOOD, entry(&port)]}));
    assert_eq!(world.heard().await, [message("remove all", gone)]);
    let told = tunnels.next().await.unwrap();
    assert_eq!(told.args, json!({"tunnel_ip": "10.0.0.1", "tunnel_type": "vxlan"}));
    let mut conn = world.ctx.db().reader().await.unwrap();
    assert!(db::tunnel::endpoints(&mut conn, NetworkType::Vxlan).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_active_port_keeps_its_mac() {
    let world = World::new().await;
    let port = world.port("").await;
    let mut tx = world.ctx.db().begin().await.unwrap();
    db::provisioning::port_status_set(&mut tx, port.id, status::ACTIVE).await.unwrap();
    tx.commit().await.unwrap();
    let refused = world.update(port.id, json!({"mac_address": "fa:16:3e:00:00:77"})).await.unwrap_err();
    let expected = format!("unable to modify mac_address of ACTIVE port {}", port.id);
    assert!(refused.to_string().contains(&expected), "{refused}");
    let mut tx = world.ctx.db().begin().await.unwrap();
    db::provisioning::port_status_set(&mut tx, port.id, status::DOWN).await.unwrap();
    tx.commit().await.unwrap();
    world.update(port.id, json!({"mac_address": "fa:16:3e:00:00:77"})).await.unwrap();
}

/// What the compute service sees while many ports come at once: however the transactions interleave, at least one of
/// them brings everything.
#[tokio::test]
async fn of_many_ports_at_once_one_brings_everything() {
    let mut world = World::new().await;
    world.active("a").await;
    let mut ports = Vec::new();
    for _ in 0..10 {
        ports.push(world.port("b").await);
    }
    world.heard().await;
    let devices = ports.iter().map(|port| Device::from(tap(port.id).as_str())).collect();
    let (ctx, host) = (Context::admin(), Some("b".to_owned()));
    world.l2().update_device_list(&ctx, Some(devices), None, None, host, None).await.unwrap();
    event::settle(&world.ctx).await;
    let heard = world.heard().await;
    assert_eq!(heard.iter().filter(|(kind, _)| kind == "add b").count(), 2);
    assert_eq!(heard.iter().filter(|(kind, _)| kind == "add all").count(), 10);
}

/// The rows of a highly available router that both hosts have.
async fn ha_router(world: &World) -> String {
    let router = uuid::Uuid::new_v4().to_string();
    let election = [world.port("a").await, world.port("b").await];
    for host in ["a", "b"] {
        testing::report(&world.ctx, testing::l3(host)).await;
    }
    let mut tx = world.ctx.db().begin().await.unwrap();
    let standard = db::standard::standard_insert(&mut tx, "routers", "", 0).await.unwrap().standard_attr_id;
    let text = "INSERT INTO routers (id, standard_attr_id, enable_snat) VALUES (?, ?, ?)";
    tx.execute(text, vec![router.as_str().into(), standard.into(), true.into()]).await.unwrap();
    for (host, port) in ["a", "b"].into_iter().zip(election) {
        let agent = db::agent::agent_on_host(&mut tx, types::agent::kind::L3, host).await.unwrap().unwrap();
        let text =
            "INSERT INTO ha_router_agent_port_bindings (port_id, router_id, l3_agent_id, state) VALUES (?, ?, ?, ?)";
        let binds = vec![port.id.into(), router.as_str().into(), agent.id.into(), "standby".into()];
        tx.execute(text, binds).await.unwrap();
    }
    tx.commit().await.unwrap();
    router
}

#[tokio::test]
async fn a_port_of_a_highly_available_router_is_in_no_one_place() {
    let mut world = World::new().await;
    let router = ha_router(&world).await;
    let body = json!({"network_id": world.network.id, "device_owner": HA_INTERFACE, "device_id": router,
        "binding:host_id": "a"});
    let port: Port = testing::create(&world.ctx, body).await;
    world.up(&port, "a", false).await;
    let [a, b] = ["10.0.0.1", "10.0.0.2"].map(|ip| world.entries(json!({ip: [FLOOD]})));
    assert_eq!(world.heard().await, [message("add a", b.clone()), message("add all", a.clone())]);
    world.up(&port, "b", false).await;
    assert_eq!(world.heard().await, [message("add all", b), message("add b", a)]);
    world.down(&port, "b").await;
    let standby = world.entries(json!({"10.0.0.2": [entry(&port)]}));
    assert_eq!(world.heard().await, [message("remove all", standby)]);
    // The interface is taken from the router.
    let mut tx = world.ctx.db().begin().await.unwrap();
    db::port::ports_delete(&mut tx, std::slice::from_ref(&port)).await.unwrap();
    let recorded = event::record(&world.ctx, &mut tx, vec![Event::PortDeleted(port.into())]).await.unwrap();
    tx.commit().await.unwrap();
    recorded.emit(&world.ctx).await;
    event::settle(&world.ctx).await;
    let gone = world.entries(json!({"10.0.0.1": [FLOOD], "10.0.0.2": [FLOOD]}));
    assert_eq!(world.heard().await, [message("remove all", gone)]);
}
