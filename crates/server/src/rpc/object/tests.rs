//! Objects are written as upstream 29 writes them, and agents that take them hear of every change.

use std::collections::BTreeMap;

use oslo::messaging::Listener;
use types::agent::kind;

use super::*;
use crate::{
    event,
    resource::{Condition, Resource, address_group::Change},
    testing,
};

/// The answers of upstream 29 to the questions that its agent for Open vSwitch asks, about the same resources.
const UPSTREAM: &str = include_str!("../../../tests/data/objects.json");

/// What an object is made of, without what differs between two of them: kinds of values by the names of fields.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, member)| match name.as_str() {
                    "versioned_object.name" | "versioned_object.namespace" | "versioned_object.version" => {
                        (name.clone(), member.clone())
                    }
                    _ => (name.clone(), shape(member)),
                })
                .collect(),
        ),
        Value::Array(items) => {
            let mut shapes: Vec<Value> = items.iter().map(shape).collect();
            shapes.sort_by_key(Value::to_string);
            shapes.into()
        }
        Value::Null => Value::Null,
        Value::Bool(_) => "truth".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
    }
}

async fn pulled(ctx: &Ctx, kind: &str, version: &str, filters: Value) -> Vec<Value> {
    let endpoint = Endpoint { ctx };
    let filters = filters.as_object().cloned();
    endpoint.bulk_pull(&Context::admin(), kind.to_owned(), version.to_owned(), filters).await.ok().unwrap()
}

/// The resources of which upstream was asked.
async fn world(ctx: &Ctx) -> (Network, SecurityGroup, AddressGroup, Port) {
    let network: Network = testing::create(ctx, json!({"name": "ovo"})).await;
    testing::create::<Subnet>(
        ctx,
        json!({"network_id": network.id, "ip_version": 4, "cidr": "10.0.0.0/24",
            "dns_nameservers": ["10.0.0.9", "10.0.0.8"],
            "host_routes": [{"destination": "10.9.0.0/24", "nexthop": "10.0.0.3"}]}),
    )
    .await;
    testing::create::<Subnet>(
        ctx,
        json!({"network_id": network.id, "ip_version": 6, "cidr": "2001:db8::/64", "ipv6_ra_mode": "slaac",
            "ipv6_address_mode": "slaac", "gateway_ip": null, "service_types": ["compute:nova"]}),
    )
    .await;
    let addresses: AddressGroup = testing::create(ctx, json!({"name": "ovo", "addresses": ["10.0.0.0/24"]})).await;
    let group: SecurityGroup = testing::create(ctx, json!({"name": "ovo"})).await;
    for rule in [
        json!({"protocol": "tcp", "port_range_min": 1, "port_range_max": 3, "remote_ip_prefix": "10.0.0.7/8"}),
        json!({"remote_address_group_id": addresses.id}),
    ] {
        let mut rule = rule;
        rule["security_group_id"] = json!(group.id);
        rule["direction"] = "ingress".into();
        testing::create::<SecurityGroupRule>(ctx, rule).await;
    }
    let port: Port = testing::create(
        ctx,
        json!({"network_id": network.id, "security_groups": [group.id],
            "allowed_address_pairs": [{"ip_address": "10.0.0.77"}],
            "extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400"}], "binding:host_id": "h"}),
    )
    .await;
    (network, group, addresses, port)
}

#[tokio::test]
async fn objects_are_made_of_what_upstreams_are() {
    let ctx = testing::server(|_| {}).await;
    let (network, group, addresses, port) = world(&ctx).await;
    let upstream: BTreeMap<String, Value> = serde_json::from_str(UPSTREAM).unwrap();
    for (kind, version, filters) in [
        ("Port", "1.11", json!({"id": [port.id]})),
        ("Port", "1.11", json!({"security_group_ids": [group.id]})),
        ("Network", "1.3", json!({"id": [network.id]})),
        ("Subnet", "1.2", json!({"network_id": network.id})),
        ("SecurityGroup", "1.6", json!({"id": [group.id]})),
        ("SecurityGroupRule", "1.3", json!({"security_group_id": [group.id]})),
        ("AddressGroup", "1.2", json!({"id": [addresses.id]})),
    ] {
        let mut ours = shape(&pulled(&ctx, kind, version, filters).await.into());
        let mut theirs = shape(&upstream[kind]);
        // Networks here are of another type, whose segment has no number.
        for network in [&mut ours, &mut theirs].into_iter().flat_map(|list| list.as_array_mut().unwrap()) {
            let segments = network.pointer_mut("/versioned_object.data/segments");
            for segment in segments.into_iter().flat_map(|segments| segments.as_array_mut().unwrap()) {
                segment["versioned_object.data"].as_object_mut().unwrap().remove("segmentation_id");
            }
        }
        assert_eq!(ours, theirs, "{kind}");
    }
}

#[tokio::test]
async fn a_bound_port_tells_its_segment_and_its_details() {
    let ctx = testing::server(|_| {}).await;
    testing::host(&ctx, "a").await;
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let port = testing::instance_port(&ctx, &network, "a").await;
    let told = pulled(&ctx, "Port", "1.11", json!({"id": port.id})).await;
    let data = &told[0]["versioned_object.data"];
    let level = &data["binding_levels"][0]["versioned_object.data"];
    assert_eq!(level["segment"]["versioned_object.data"]["network_id"], json!(network.id));
    let details = data["bindings"][0]["versioned_object.data"]["vif_details"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(details).unwrap().is_object(), "JSON within: {details}");
}

#[tokio::test]
async fn older_agents_are_not_told_what_they_do_not_know() {
    let ctx = testing::server(|_| {}).await;
    let (network, _, _, port) = world(&ctx).await;
    let has = |object: &Value, field: &str| object["versioned_object.data"].get(field).is_some();
    let ten = &pulled(&ctx, "Port", "1.10", json!({"id": port.id})).await[0];
    assert!(!has(ten, "pvlan_type") && has(ten, "hints") && ten["versioned_object.version"] == "1.10");
    let five = &pulled(&ctx, "Port", "1.5", json!({"id": port.id})).await[0];
    assert!(!has(five, "hints"));
    assert!(!has(&pulled(&ctx, "Network", "1.1", json!({"id": network.id})).await[0], "pvlan"));
}

#[tokio::test]
async fn what_cannot_be_pulled_fails_as_upstream_fails() {
    let ctx = testing::server(|_| {}).await;
    let endpoint = Endpoint { ctx: &ctx };
    let admin = Context::admin();
    let bulk = async |kind: &str, version: &str, filters: Value| {
        let asked = endpoint.bulk_pull(&admin, kind.to_owned(), version.to_owned(), filters.as_object().cloned());
        asked.await.map_err(|error| error.into_failure().class)
    };
    assert_eq!(bulk("Nothing", "1.0", json!({})).await, Err("InvalidResourceTypeClass".to_owned()));
    assert_eq!(bulk("Port", "1.11", json!({"colour": ["x"]})).await, Err("InvalidInput".to_owned()));
    assert_eq!(bulk("Port", "1.11", json!({"security_group_ids": ["x"]})).await, Ok(Vec::new()));
    assert_eq!(bulk("PortForwarding", "1.3", json!({"floatingip_id": ["x"]})).await, Ok(Vec::new()));
    let one = async |kind: &str| {
        let asked = endpoint.pull(&admin, kind.to_owned(), "1.0".to_owned(), "x".to_owned());
        asked.await.map_err(|error| error.into_failure().class)
    };
    assert_eq!(one("Port").await, Err("CallbackNotFound".to_owned()));
    assert_eq!(one("QosPolicy").await, Ok(Value::Null));
}

async fn taker(ctx: &Ctx, versions: &[(&str, &str)]) {
    let mut state = testing::linux_bridge("ovs-host");
    state.agent_type = kind::OPEN_VSWITCH.to_owned();
    let versions = versions.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned()));
    state.resource_versions = Some(versions.collect());
    testing::report(ctx, state).await;
}

async fn next(listener: &mut Listener) -> (String, Value) {
    let told = tokio::time::timeout(std::time::Duration::from_secs(20), listener.next()).await.unwrap().unwrap();
    assert_eq!((told.method.as_str(), told.version.as_str()), ("push", "1.1"));
    let event = told.args["event_type"].as_str().unwrap().to_owned();
    (event, told.args["resource_list"][0].clone())
}

#[tokio::test]
async fn agents_hear_of_changes_in_the_version_they_take() {
    let ctx = testing::server(|_| {}).await;
    taker(&ctx, &[("AddressGroup", "1.2"), ("Port", "1.10"), ("SecurityGroup", "1.6")]).await;
    let topic = |kind: &str, version: &str| rpc::resource::push_topic(kind, version);
    let mut groups = ctx.parts.bus.listen(&topic("AddressGroup", "1.2"), "a");
    let mut ports = ctx.parts.bus.listen(&topic("Port", "1.10"), "a");
    let (_, _, addresses, port) = world(&ctx).await;
    let (event, object) = next(&mut groups).await;
    assert_eq!((event.as_str(), &object["versioned_object.data"]["id"]), ("updated", &json!(addresses.id)));
    let (_, object) = next(&mut ports).await;
    assert_eq!(object["versioned_object.version"], "1.10");
    assert_eq!(object["versioned_object.data"]["id"], json!(port.id));
    let more = ["192.0.2.0/24".to_owned()];
    resource::address_group::change_addresses(&ctx, &addresses.id(), Change::Add, &more).await.unwrap();
    Port::delete(&ctx, &port.id(), Condition::default()).await.unwrap();
    event::settle(&ctx).await;
    let (_, object) = next(&mut groups).await;
    assert_eq!(object["versioned_object.data"]["addresses"].as_array().unwrap().len(), 2);
    let (event, object) = next(&mut ports).await;
    assert_eq!((event.as_str(), &object["versioned_object.data"]["id"]), ("deleted", &json!(port.id)));
}
