use std::{collections::BTreeSet, time::Duration};

use db::{agent::Agent, standard::now};
use oslo::messaging::{Incoming, Listener};
use serde_json::json;
use types::{NetworkId, NetworkType, Segment, SegmentId, agent::kind, device::dhcp_device_id};

use super::{choice, dhcp, failover};
use crate::{Ctx, Error, event, resource, testing};

const DOWN_TIME: Duration = Duration::from_secs(75);

async fn hosts(ctx: &Ctx, network: NetworkId) -> BTreeSet<String> {
    let mut conn = ctx.db().reader().await.unwrap();
    let agents = db::dhcp_binding::agents_of_network(&mut conn, network).await.unwrap();
    agents.into_iter().map(|agent| agent.host).collect()
}

async fn dhcp_agent(ctx: &Ctx, host: &str) -> Agent {
    let mut conn = ctx.db().reader().await.unwrap();
    db::agent::agent_on_host(&mut conn, kind::DHCP, host).await.unwrap().unwrap()
}

/// What an agent was told so far: method, and the priority of its payload.
async fn told(listener: &mut Listener) -> Vec<(String, Option<u64>)> {
    let mut told = Vec::new();
    while let Ok(Some(Incoming { method, args, .. })) =
        tokio::time::timeout(Duration::from_millis(20), listener.next()).await
    {
        told.push((method, args["payload"]["priority"].as_u64()));
    }
    told
}

fn kind_of(error: Error) -> String {
    match error {
        Error::Refused(refusal) => refusal.kind,
        other => panic!("not refused: {other}"),
    }
}

#[test]
fn alive_is_a_matter_of_agent_down_time() {
    let now = now();
    let ago = |seconds| now - chrono::Duration::seconds(seconds);
    assert!(choice::is_alive(ago(75), now, DOWN_TIME));
    assert!(!choice::is_alive(ago(76), now, DOWN_TIME));
    assert!(choice::is_alive(ago(-5), now, DOWN_TIME), "a clock that runs ahead is no death");
}

#[test]
fn a_starting_agent_gets_time_for_each_network() {
    let now = now();
    let ago = |seconds| now - chrono::Duration::seconds(seconds);
    assert!(choice::is_starting(ago(149), 0, now, DOWN_TIME));
    assert!(!choice::is_starting(ago(150), 0, now, DOWN_TIME));
    assert!(choice::is_starting(ago(169), 10, now, DOWN_TIME));
    assert!(!choice::is_starting(ago(170), 10, now, DOWN_TIME));
}

#[test]
fn places_are_filled_from_the_lowest() {
    assert_eq!(choice::vacant_index(&[], 1, false), Some(1));
    assert_eq!(choice::vacant_index(&[1], 1, false), None);
    assert_eq!(choice::vacant_index(&[1], 1, true), Some(2));
    assert_eq!(choice::vacant_index(&[1, 3], 3, false), Some(2));
    assert_eq!(choice::vacant_index(&[2], 2, false), Some(1));
}

#[test]
fn mappings_decide_about_flat_and_tunnel_types_about_overlays() {
    let segment = |network_type, physical: Option<&str>| Segment {
        id: SegmentId::random(),
        network_id: NetworkId::random(),
        network_type,
        physical_network: physical.map(str::to_owned),
        segmentation_id: None,
        segment_index: 0,
    };
    let configurations =
        json!({"interface_mappings": {"a": "eth1"}, "bridge_mappings": {"b": "br"}, "tunnel_types": ["vxlan"]});
    let carries =
        |network_type, physical| choice::carries(configurations.as_object().unwrap(), &segment(network_type, physical));
    assert!(carries(NetworkType::Local, None));
    assert!(carries(NetworkType::Flat, Some("a")) && carries(NetworkType::Vlan, Some("b")));
    assert!(!carries(NetworkType::Flat, Some("c")) && !carries(NetworkType::Flat, None));
    assert!(carries(NetworkType::Vxlan, None) && !carries(NetworkType::Gre, None));
}

#[tokio::test]
async fn the_first_subnet_gives_a_network_to_the_least_loaded_agent() {
    let ctx = testing::server(|_| {}).await;
    testing::host(&ctx, "a").await;
    testing::report(&ctx, testing::linux_bridge("b")).await;
    let mut loaded = testing::dhcp("b");
    loaded.configurations.insert("networks".into(), json!(3));
    testing::report(&ctx, loaded).await;
    let mut listener = ctx.parts.bus.listen(rpc::dhcp_agent::TOPIC, "a");

    let network = testing::network(&ctx).await;
    assert!(hosts(&ctx, network.id).await.is_empty(), "a network alone is given to nobody");
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    assert_eq!(hosts(&ctx, network.id).await, ["a".to_owned()].into());
    let both = [("network_create_end".to_owned(), Some(0)), ("subnet_create_end".to_owned(), Some(3))];
    assert_eq!(told(&mut listener).await, both);
    testing::instance_port(&ctx, &network, "a").await;
    assert_eq!(told(&mut listener).await, [("port_create_end".to_owned(), Some(5))]);
}

#[tokio::test]
async fn dead_disabled_and_unreaching_agents_are_not_chosen() {
    let ctx = testing::server(|_| {}).await;
    testing::host(&ctx, "dead").await;
    testing::silence(&ctx, "dead", 1000).await;
    testing::report(&ctx, testing::dhcp("no-l2-agent")).await;
    testing::host(&ctx, "disabled").await;
    let mut disabled = dhcp_agent(&ctx, "disabled").await;
    disabled.admin_state_up = false;
    let mut tx = ctx.db().begin().await.unwrap();
    db::agent::agent_update(&mut tx, &disabled).await.unwrap();
    tx.commit().await.unwrap();
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    assert!(hosts(&ctx, network.id).await.is_empty());
}

#[tokio::test]
async fn an_agent_that_asks_is_given_what_nobody_serves() {
    let ctx = testing::server(|_| {}).await;
    let (served, bare) = (testing::network(&ctx).await, testing::network(&ctx).await);
    testing::subnet(&ctx, &served, "10.0.0.0/24").await;
    testing::host(&ctx, "a").await;
    dhcp::auto_schedule(&ctx, "a").await.unwrap();
    assert_eq!(hosts(&ctx, served.id).await, ["a".to_owned()].into());
    assert!(hosts(&ctx, bare.id).await.is_empty(), "a network without DHCP is served by nobody");
    testing::host(&ctx, "b").await;
    dhcp::auto_schedule(&ctx, "b").await.unwrap();
    assert_eq!(hosts(&ctx, served.id).await, ["a".to_owned()].into(), "one agent is enough");
}

#[tokio::test]
async fn two_agents_serve_a_network_when_two_are_wanted() {
    let ctx = testing::server(|config| config.dhcp_agents_per_network = 2).await;
    for host in ["a", "b", "c"] {
        testing::host(&ctx, host).await;
    }
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let hosts = hosts(&ctx, network.id).await;
    assert_eq!(hosts.len(), 2);
    let mut listeners: Vec<_> = hosts.iter().map(|h| ctx.parts.bus.listen(rpc::dhcp_agent::TOPIC, h)).collect();
    testing::instance_port(&ctx, &network, "a").await;
    let mut priorities = Vec::new();
    for listener in &mut listeners {
        priorities.extend(told(listener).await.into_iter().filter_map(|(_, priority)| priority));
    }
    priorities.sort_unstable();
    assert_eq!(priorities, [5, 6], "one agent serves a new port first");
}

#[tokio::test]
async fn operators_add_and_remove_and_are_told_what_is_wrong() {
    let ctx = testing::server(|_| {}).await;
    testing::host(&ctx, "a").await;
    testing::host(&ctx, "b").await;
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let first = hosts(&ctx, network.id).await.pop_first().unwrap();
    let (this, other) = (dhcp_agent(&ctx, &first).await, dhcp_agent(&ctx, if first == "a" { "b" } else { "a" }).await);
    let mut listener = ctx.parts.bus.listen(rpc::dhcp_agent::TOPIC, &other.host);

    dhcp::add(&ctx, other.id, network.id).await.unwrap();
    assert_eq!(hosts(&ctx, network.id).await.len(), 2, "an operator may exceed the wanted number");
    assert_eq!(kind_of(dhcp::add(&ctx, other.id, network.id).await.unwrap_err()), "NetworkHostedByDHCPAgent");
    assert_eq!(kind_of(dhcp::add(&ctx, other.id, NetworkId::random()).await.unwrap_err()), "NetworkNotFound");
    dhcp::remove(&ctx, other.id, network.id).await.unwrap();
    assert_eq!(kind_of(dhcp::remove(&ctx, other.id, network.id).await.unwrap_err()), "NetworkNotHostedByDhcpAgent");
    assert_eq!(hosts(&ctx, network.id).await, [this.host.clone()].into());
    event::settle(&ctx).await;
    let methods: Vec<String> = told(&mut listener).await.into_iter().map(|(method, _)| method).collect();
    assert_eq!(methods, ["network_create_end", "network_delete_end"]);
}

#[tokio::test]
async fn networks_of_a_dead_agent_move_and_their_port_is_kept() {
    let ctx = testing::server(|_| {}).await;
    testing::host(&ctx, "a").await;
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let device_id = dhcp_device_id("a", network.id);
    let body = json!({"network_id": network.id, "device_owner": "network:dhcp", "device_id": device_id});
    let port: types::port::Port = testing::create(&ctx, body).await;

    failover::reschedule(&ctx).await.unwrap();
    testing::silence(&ctx, "a", 149).await;
    failover::reschedule(&ctx).await.unwrap();
    testing::silence(&ctx, "a", 1000).await;
    failover::reschedule(&ctx).await.unwrap();
    assert_eq!(hosts(&ctx, network.id).await, ["a".to_owned()].into(), "nobody else lives");

    testing::host(&ctx, "b").await;
    let (mut a, mut b) =
        (ctx.parts.bus.listen(rpc::dhcp_agent::TOPIC, "a"), ctx.parts.bus.listen(rpc::dhcp_agent::TOPIC, "b"));
    failover::reschedule(&ctx).await.unwrap();
    assert_eq!(hosts(&ctx, network.id).await, ["b".to_owned()].into());
    assert!(told(&mut a).await.is_empty(), "the dead are not told");
    assert_eq!(told(&mut b).await, [("network_create_end".to_owned(), Some(0))]);
    let mut conn = ctx.db().reader().await.unwrap();
    let kept: types::port::Port = resource::find(&ctx, &mut conn, &port.id.to_string()).await.unwrap();
    assert_eq!(kept.device_id, "reserved_dhcp_port");
    assert_eq!(kept.fixed_ips, port.fixed_ips);
    assert!(kept.standard.revision_number > port.standard.revision_number);
}
