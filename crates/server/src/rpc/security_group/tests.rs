//! What firewalls are told: rules, members, and how much that costs.

use std::time::Instant;

use oslo::context::Context;
use serde_json::json;
use types::{address_group::AddressGroup, attribute::Attributes, network::Network};

use super::*;
use crate::{Ctx, event, resource::Resource, testing};

/// Members of one group.
const MEMBERS: usize = 2000;
/// Devices asked for at once.
const DEVICES: usize = 500;

fn tap(port: &Port) -> String {
    format!("tap{}", &port.id.to_string()[..11])
}

async fn info(ctx: &Ctx, devices: Vec<String>) -> SecurityGroupInfo {
    let endpoint = Endpoint { ctx };
    endpoint.security_group_info_for_devices(&Context::admin(), devices, Some("1.3".into())).await.ok().unwrap()
}

async fn ports(ctx: &Ctx, network: &Network, count: usize, more: &Value) -> Vec<Port> {
    let mut body = json!({"network_id": network.id, "project_id": "p", "device_owner": "compute:nova"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let given = Attributes::for_create(Port::TABLE, body.as_object().unwrap().clone()).unwrap();
    let made = Port::create(ctx, vec![given; count]).await.unwrap();
    event::settle(ctx).await;
    made
}

#[tokio::test]
async fn both_kinds_of_groups_have_members_of_the_kind_that_rules_ask_for() {
    let ctx = testing::server(|_| {}).await;
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let group: SecurityGroup = testing::create(&ctx, json!({"name": "g", "stateful": false})).await;
    let addresses = json!({"name": "a", "addresses": ["192.0.2.0/24", "2001:db8::/64"]});
    let addresses: AddressGroup = testing::create(&ctx, addresses).await;
    for rule in [
        json!({"direction": "ingress", "remote_group_id": group.id}),
        json!({"direction": "egress", "remote_address_group_id": addresses.id, "protocol": "tcp"}),
        json!({"direction": "ingress", "remote_ip_prefix": "198.51.100.7/24"}),
    ] {
        let mut rule = rule;
        rule["security_group_id"] = json!(group.id);
        testing::create::<SecurityGroupRule>(&ctx, rule).await;
    }
    let pair = json!({"security_groups": [group.id], "allowed_address_pairs": [{"ip_address": "10.9.0.0/16"}]});
    let made = ports(&ctx, &network, 2, &pair).await;
    let other = &made[1];
    let told = info(&ctx, vec![tap(&made[0])]).await;
    let pairs = |list: &[(&str, Option<String>)]| -> Vec<Member> {
        list.iter().map(|(address, mac)| Member::Pair((*address).to_owned(), mac.clone())).collect()
    };
    let mut wanted: Vec<(String, Option<String>)> =
        made.iter().map(|port| (port.fixed_ips[0].ip_address.to_string(), None)).collect();
    wanted.extend(made.iter().map(|port| ("10.9.0.0/16".to_owned(), Some(port.mac_address.to_string()))));
    let wanted: Vec<(&str, Option<String>)> = wanted.iter().map(|(a, mac)| (a.as_str(), mac.clone())).collect();
    let mut of_group = told.sg_member_ips[&group.id.to_string()].clone();
    of_group.values_mut().for_each(|list| list.sort_unstable());
    let mut sorted = pairs(&wanted);
    sorted.sort_unstable();
    assert_eq!(of_group, BTreeMap::from([("IPv4".to_owned(), sorted)]), "no rule asks for IPv6");
    let of_addresses = &told.sg_member_ips[&addresses.id.to_string()];
    assert_eq!(*of_addresses, BTreeMap::from([("IPv4".to_owned(), pairs(&[("192.0.2.0/24", None)]))]));
    let device = &told.devices[&made[0].id.to_string()];
    assert_eq!(device.security_group_remote_address_groups, [addresses.id.to_string()]);
    assert_eq!(device.security_group_source_groups, [group.id.to_string()]);
    let rules = &told.security_groups[&group.id.to_string()];
    assert!(rules.iter().all(|rule| rule.stateful == Some(false)));
    assert!(rules.iter().any(|rule| rule.source_ip_prefix.as_deref() == Some("198.51.100.0/24")));

    let endpoint = Endpoint { ctx: &ctx };
    let old = endpoint.security_group_rules_for_devices(&Context::admin(), vec![tap(&made[0])]).await.ok().unwrap();
    let rules = &old[&tap(&made[0])].security_group_rules;
    let from: Vec<&str> = rules
        .iter()
        .filter(|rule| rule.remote_group_id.is_some())
        .filter_map(|rule| rule.source_ip_prefix.as_deref())
        .collect();
    let neighbour = format!("{}/32", other.fixed_ips[0].ip_address);
    assert!(from.contains(&neighbour.as_str()) && from.contains(&"10.9.0.0/16"), "{from:?}");
    assert!(!from.contains(&format!("{}/32", made[0].fixed_ips[0].ip_address).as_str()), "not itself");
    let to: Vec<_> = rules.iter().filter(|rule| rule.remote_address_group_id.is_some()).collect();
    assert_eq!(to.len(), 1);
    assert_eq!(to[0].dest_ip_prefix.as_deref(), Some("192.0.2.0/24"));
}

#[tokio::test]
async fn ports_without_security_are_named_as_such() {
    let ctx = testing::server(|_| {}).await;
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let made = ports(&ctx, &network, 1, &json!({"port_security_enabled": false})).await;
    let told = info(&ctx, vec![tap(&made[0]), "tap00000000-00".to_owned()]).await;
    assert_eq!(told.devices.len(), 1);
    assert!(!told.devices[&made[0].id.to_string()].port_security_enabled);
    assert!(told.security_groups.is_empty());
}

/// A member is added to a large group: what the server does until a host has the answer.
#[tokio::test]
async fn a_large_group_is_answered_for_many_devices_at_once() {
    let unlimited = |config: &mut crate::config::Config| config.quotas.limits.extend([("port".to_owned(), -1)]);
    let ctx = testing::server(unlimited).await;
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/16").await;
    let group: SecurityGroup = testing::create(&ctx, json!({"name": "g"})).await;
    let rule = json!({"security_group_id": group.id, "direction": "ingress", "remote_group_id": group.id});
    testing::create::<SecurityGroupRule>(&ctx, rule).await;
    let grouped = json!({"security_groups": [group.id]});
    let mut made = Vec::new();
    while made.len() < MEMBERS - 1 {
        made.extend(ports(&ctx, &network, (MEMBERS - 1 - made.len()).min(500), &grouped).await);
    }
    let mut told = ctx.parts.bus.listen(rpc::l2_agent::SECURITY_GROUP_UPDATE, "a");
    for asked in [1, DEVICES] {
        let devices: Vec<String> = made.iter().take(asked).map(tap).collect();
        let began = Instant::now();
        made.extend(ports(&ctx, &network, 1, &grouped).await);
        let created = began.elapsed();
        assert_eq!(told.next().await.unwrap().method, "security_groups_member_updated");
        let notified = began.elapsed();
        let answer = rpc::interface::encode(&info(&ctx, devices).await);
        let answered = began.elapsed();
        println!("{asked} devices: created {created:?}, notified {notified:?}, answered {answered:?}");
        assert_eq!(answer["devices"].as_object().unwrap().len(), asked);
        assert_eq!(answer["sg_member_ips"][group.id.to_string()]["IPv4"].as_array().unwrap().len(), made.len());
    }
}
