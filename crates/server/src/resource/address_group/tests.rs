//! Addresses come and go as upstream's do, and agents hear of it.

use oslo::messaging::Incoming;
use serde_json::json;
use types::SecurityGroupId;

use super::*;
use crate::{
    resource::{security_group::SecurityGroup, security_group_rule::SecurityGroupRule},
    testing,
};

fn kind<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().into_refusal().kind
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn addresses_are_prefixes_each_once() {
    let ctx = testing::server(|_| {}).await;
    let given = json!({"name": "a", "addresses": ["10.0.0.9/24", "2001:DB8::1/64", "10.0.0.5/32"]});
    let group: AddressGroup = testing::create(&ctx, given).await;
    assert_eq!(group.addresses, ["10.0.0.0/24", "10.0.0.5/32", "2001:db8::/64"]);
    assert_eq!(group.standard.revision_number, 3);
    let id = group.id();
    let change = async |change, list: &[&str]| change_addresses(&ctx, &id, change, &texts(list)).await;
    assert_eq!(kind(change(Change::Add, &["10.0.0.0/24", "10.9.0.0/24"]).await), "AddressesAlreadyExist");
    assert_eq!(kind(change(Change::Remove, &["10.9.0.0/24"]).await), "AddressesNotFound");
    assert_eq!(kind(change(Change::Add, &["nonsense"]).await), "AddrFormatError");
    let more = change(Change::Add, &["10.9.0.7/24", "10.9.0.0/24"]).await.unwrap();
    assert_eq!(more.addresses, ["10.0.0.0/24", "10.0.0.5/32", "10.9.0.0/24", "2001:db8::/64"]);
    let fewer = change(Change::Remove, &["10.0.0.0/24", "10.0.0.5/32"]).await.unwrap();
    let stored: AddressGroup = find(&ctx, &mut ctx.db().reader().await.unwrap(), &id).await.unwrap();
    assert_eq!(stored, fewer);
    assert_eq!(stored.standard.revision_number, 6);
}

#[tokio::test]
async fn a_rule_keeps_its_address_group_and_hears_of_it() {
    let ctx = testing::server(|_| {}).await;
    let group: AddressGroup = testing::create(&ctx, json!({"name": "a", "addresses": ["10.0.0.0/24"]})).await;
    let secured: SecurityGroup = testing::create(&ctx, json!({"name": "g"})).await;
    let mut told = ctx.parts.bus.listen(rpc::l2_agent::SECURITY_GROUP_UPDATE, "a");
    let rule = json!({"security_group_id": secured.id, "direction": "ingress", "remote_address_group_id": group.id});
    let rule: SecurityGroupRule = testing::create(&ctx, rule).await;
    assert_eq!(kind(AddressGroup::delete(&ctx, &group.id(), Condition::default()).await), "AddressGroupInUse");
    change_addresses(&ctx, &group.id(), Change::Add, &texts(&["10.1.0.0/24"])).await.unwrap();
    event::settle(&ctx).await;
    for why in ["the rule", "the address"] {
        let Incoming { method, args, .. } = told.next().await.unwrap();
        let groups: Vec<SecurityGroupId> = serde_json::from_value(args["security_groups"].clone()).unwrap();
        assert_eq!((method.as_str(), groups), ("security_groups_rule_updated", vec![secured.id]), "{why}");
    }
    SecurityGroupRule::delete(&ctx, &rule.id(), Condition::default()).await.unwrap();
    AddressGroup::delete(&ctx, &group.id(), Condition::default()).await.unwrap();
    let gone = find::<AddressGroup>(&ctx, &mut ctx.db().reader().await.unwrap(), &group.id()).await;
    assert_eq!(kind(gone), "AddressGroupNotFound");
}
