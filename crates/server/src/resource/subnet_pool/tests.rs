//! Prefixes come from pools as upstream's do, however many ask at once.

use std::collections::HashSet;

use serde_json::{Value, json};
use types::network::Network;

use super::*;
use crate::{
    resource::{address_scope::AddressScope, find_any, subnet::Subnet},
    testing,
};

async fn try_create<R: Resource>(ctx: &Ctx, mut body: Value) -> Result<R> {
    body.as_object_mut().unwrap().entry("project_id").or_insert_with(|| json!("p"));
    let given = Attributes::for_create(R::TABLE, body.as_object().unwrap().clone()).unwrap();
    let made = crate::retry::retrying(|| R::create(ctx, vec![given.clone()])).await?;
    Ok(made.into_iter().next().unwrap())
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().into_refusal().kind
}

async fn pool(ctx: &Ctx, prefixes: &[&str], more: Value) -> SubnetPool {
    let mut body = json!({"name": "p", "prefixes": prefixes});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    testing::create(ctx, body).await
}

async fn subnet(ctx: &Ctx, network: &Network, more: Value) -> Result<Subnet> {
    let mut body = json!({"network_id": network.id, "ip_version": 4});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    try_create(ctx, body).await
}

#[tokio::test]
async fn a_pool_gives_what_is_asked_for_out_of_the_smallest_block() {
    let ctx = testing::server(|_| {}).await;
    let network = testing::network(&ctx).await;
    let prefixes = ["10.0.0.0/9", "10.128.0.0/9", "192.168.3.0/24"];
    let pool = pool(&ctx, &prefixes, json!({"default_prefixlen": 26, "min_prefixlen": 16})).await;
    assert_eq!(pool.prefixes, ["10.0.0.0/8".parse().unwrap(), "192.168.3.0/24".parse::<IpNet>().unwrap()]);
    let from_pool = async |more: Value| {
        let mut body = more;
        body["subnetpool_id"] = json!(pool.id);
        subnet(&ctx, &network, body).await
    };
    let first = from_pool(json!({})).await.unwrap();
    assert_eq!((first.cidr.to_string().as_str(), first.subnetpool_id), ("192.168.3.0/26", Some(pool.id)));
    assert_eq!(first.gateway_ip, Some("192.168.3.1".parse().unwrap()));
    assert_eq!(from_pool(json!({"prefixlen": 24})).await.unwrap().cidr.to_string(), "10.0.0.0/24");
    assert_eq!(from_pool(json!({"cidr": "10.9.0.0/24"})).await.unwrap().cidr.to_string(), "10.9.0.0/24");
    let around = from_pool(json!({"gateway_ip": "10.7.7.7", "prefixlen": 28})).await.unwrap();
    assert_eq!(around.cidr.to_string(), "10.7.7.0/28");
    assert_eq!(kind(from_pool(json!({"cidr": "11.9.0.0/24"})).await), "SubnetAllocationError");
    assert_eq!(kind(from_pool(json!({"cidr": "10.9.0.0/25"})).await), "SubnetAllocationError");
    assert_eq!(kind(from_pool(json!({"prefixlen": 8})).await), "MinPrefixSubnetAllocationError");
    assert_eq!(kind(from_pool(json!({"prefixlen": 33})).await), "AddrFormatError");
    assert_eq!(kind(from_pool(json!({"ip_version": 6})).await), "BadRequest");
    assert_eq!(kind(subnet(&ctx, &network, json!({"cidr": "172.16.0.0/24"})).await), "NetworkSubnetPoolAffinityError");
    assert_eq!(kind(SubnetPool::delete(&ctx, &pool.id(), Condition::default()).await), "SubnetPoolDeleteError");
}

#[tokio::test]
async fn many_at_once_get_prefixes_that_lie_apart() {
    let ctx = testing::server(|_| {}).await;
    let pool = pool(&ctx, &["10.0.0.0/22"], json!({"default_prefixlen": 26})).await;
    let mut networks = Vec::new();
    for _ in 0..20 {
        networks.push(testing::network(&ctx).await);
    }
    let asking = networks.iter().map(|network| subnet(&ctx, network, json!({"subnetpool_id": pool.id})));
    let answers = futures_util::future::join_all(asking).await;
    let given: HashSet<IpNet> = answers.iter().flatten().map(|subnet| subnet.cidr).collect();
    assert_eq!(given.len(), 16, "all the pool has, each once");
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 4);
}

#[tokio::test]
async fn a_project_has_its_share() {
    let ctx = testing::server(|_| {}).await;
    let network = testing::network(&ctx).await;
    let pool = pool(&ctx, &["2001:db8::/48"], json!({"default_quota": 2})).await;
    let six = json!({"subnetpool_id": pool.id, "ip_version": 6});
    for wanted in ["2001:db8::/64", "2001:db8:0:1::/64"] {
        assert_eq!(subnet(&ctx, &network, six.clone()).await.unwrap().cidr.to_string(), wanted);
    }
    assert_eq!(kind(subnet(&ctx, &network, six.clone()).await), "SubnetPoolQuotaExceeded");
    let mut other = six;
    other["project_id"] = json!("other");
    assert!(subnet(&ctx, &network, other).await.is_ok(), "each project has its own");
}

#[tokio::test]
async fn prefixes_are_added_and_taken_away() {
    let ctx = testing::server(|_| {}).await;
    let network = testing::network(&ctx).await;
    let pool = pool(&ctx, &["10.0.0.0/16"], json!({"default_prefixlen": 24})).await;
    let id = pool.id();
    let change = async |what, list: &[&str]| {
        let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
        change_prefixes(&ctx, &id, what, &list).await
    };
    let texts = |prefixes: Vec<IpNet>| prefixes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(change(Change::Add, &["10.1.0.0/16"]).await.unwrap()), ["10.0.0.0/15"]);
    assert_eq!(texts(change(Change::Remove, &["10.0.0.0/16"]).await.unwrap()), ["10.1.0.0/16"]);
    subnet(&ctx, &network, json!({"subnetpool_id": pool.id})).await.unwrap();
    assert_eq!(kind(change(Change::Remove, &["10.1.0.0/25"]).await), "IllegalSubnetPoolPrefixUpdate");
    assert_eq!(kind(change(Change::Add, &["2001:db8::/32"]).await), "PrefixVersionMismatch");
    let smaller =
        Attributes::for_update(SubnetPool::TABLE, json!({"prefixes": ["10.1.0.0/17"]}).as_object().unwrap().clone());
    let refused = SubnetPool::update(&ctx, &id, smaller.unwrap(), Condition::default()).await;
    assert_eq!(kind(refused), "IllegalSubnetPoolPrefixUpdate");
    let stored: SubnetPool = find_any(&ctx, &mut ctx.db().reader().await.unwrap(), &id).await.unwrap();
    assert_eq!((texts(stored.prefixes), stored.standard.revision_number), (vec!["10.1.0.0/16".to_owned()], 0));
    let own = testing::network(&ctx).await;
    testing::subnet(&ctx, &own, "172.16.9.0/24").await;
    let onboarded = onboard(&ctx, &id, Some(&own.id.to_string())).await.unwrap();
    assert_eq!(onboarded[0]["cidr"], "172.16.9.0/24");
    assert_eq!(kind(onboard(&ctx, &id, Some(&own.id.to_string())).await), "IllegalSubnetPoolUpdate");
}

#[tokio::test]
async fn pools_of_a_scope_lie_apart_and_networks_are_of_one_scope() {
    let ctx = testing::server(|_| {}).await;
    let scope: AddressScope = testing::create(&ctx, json!({"name": "s", "ip_version": 4})).await;
    let one = pool(&ctx, &["10.0.0.0/8"], json!({"address_scope_id": scope.id, "default_prefixlen": 24})).await;
    let body = json!({"name": "two", "prefixes": ["10.3.0.0/16"], "address_scope_id": scope.id});
    assert_eq!(kind(try_create::<SubnetPool>(&ctx, body).await), "AddressScopePrefixConflict");
    let two = pool(&ctx, &["12.0.0.0/8"], json!({"address_scope_id": scope.id, "default_prefixlen": 24})).await;
    let outside = pool(&ctx, &["13.0.0.0/8"], json!({"default_prefixlen": 24})).await;
    let network = testing::network(&ctx).await;
    for pool in [&one, &two] {
        subnet(&ctx, &network, json!({"subnetpool_id": pool.id})).await.unwrap();
    }
    let refused = subnet(&ctx, &network, json!({"subnetpool_id": outside.id})).await;
    assert_eq!(kind(refused), "NetworkAddressScopeAffinityError");
    let shown: Network = find_any(&ctx, &mut ctx.db().reader().await.unwrap(), &network.id.to_string()).await.unwrap();
    assert_eq!((shown.ipv4_address_scope, shown.ipv6_address_scope), (Some(scope.id.to_string()), None));
    assert_eq!(kind(AddressScope::delete(&ctx, &scope.id(), Condition::default()).await), "AddressScopeInUse");
    let six: AddressScope = testing::create(&ctx, json!({"name": "six", "ip_version": 6})).await;
    let body = json!({"name": "x", "prefixes": ["14.0.0.0/8"], "address_scope_id": six.id});
    assert_eq!(kind(try_create::<SubnetPool>(&ctx, body).await), "IllegalSubnetPoolIpVersionAssociationToAddressScope");
}

#[tokio::test]
async fn there_is_one_default_pool_of_a_version() {
    let ctx = testing::server(|_| {}).await;
    let network = testing::network(&ctx).await;
    let default = json!({"use_default_subnetpool": true});
    assert_eq!(kind(subnet(&ctx, &network, default.clone()).await), "BadRequest");
    let pool = pool(&ctx, &["10.0.0.0/8"], json!({"is_default": true, "default_prefixlen": 24})).await;
    let body = json!({"name": "two", "prefixes": ["11.0.0.0/8"], "is_default": true});
    assert_eq!(kind(try_create::<SubnetPool>(&ctx, body).await), "InvalidInput");
    assert_eq!(subnet(&ctx, &network, default).await.unwrap().subnetpool_id, Some(pool.id));
}

#[test]
fn pools_have_bounds() {
    let described = |body: Value| {
        let mut body = body.as_object().unwrap().clone();
        body.extend(json!({"name": "p", "project_id": "p"}).as_object().unwrap().clone());
        match described(&Attributes::for_create(SubnetPool::TABLE, body).unwrap()) {
            Ok(pool) => format!("{} {} {}", pool.min_prefixlen, pool.max_prefixlen, pool.default_prefixlen),
            Err(error) => error.into_refusal().message,
        }
    };
    let ten = ["10.0.0.0/8"];
    assert_eq!(described(json!({"prefixes": ten})), "8 32 8");
    assert_eq!(described(json!({"prefixes": ["2001:db8::/32"]})), "64 128 64");
    assert_eq!(described(json!({"prefixes": []})), "Empty subnet pool prefix list.");
    let wrong = described(json!({"prefixes": ten, "min_prefixlen": 20, "max_prefixlen": 10}));
    assert_eq!(wrong, "Illegal prefix bounds: min_prefixlen=20, max_prefixlen=10.");
    let wrong = described(json!({"prefixes": ten, "max_prefixlen": 33}));
    assert_eq!(wrong, "Illegal prefix bounds: max_prefixlen=33, ip_version_max=32.");
    let wrong = described(json!({"prefixes": ten, "default_prefixlen": 4}));
    assert_eq!(wrong, "Illegal prefix bounds: default_prefixlen=4, min_prefixlen=8.");
}
